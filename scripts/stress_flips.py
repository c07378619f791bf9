"""Flips single bits in the files of a library and tells who notices.

Two libraries of random vectors, one of half-precision floats and one of sign codes: 40 videos each, some in several
stretches, some without content, some failed, written in several commits with replaced and removed videos between.
A flip: one bit of one file is turned, the library is opened, all its videos are searched for two queries and listed; if
nobody noticed, it is verified; then the bit is turned back. Of the flips a third falls on any byte, a third on any
file, a third on any kind of file (of files of rows the vectors and all beside them are two kinds), so that small ones
get their share. The reads run in child processes with a limit on their memory.
Printed: for every kind who noticed, and what nobody did: Lance's hint at the newest version, which is never asked.
    python scripts/stress_flips.py --flips 10000 --seed 0 --json flips.json
Exit status 1 if a search gave another answer without a word, a read ended its process, met an error that is none of
ours, or took more than MEMORY_BYTES.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

import visil.library.store
import visil.library.verify
from visil.benchmarks.report import format_table, run_facts, write_json
from visil.benchmarks.untrained import untrained_bundle
from visil.errors import VisilError
from visil.library.files import content_hash
from visil.library.library import Library
from visil.library.second import SECOND
from visil.library.settings import TABLE, read_settings
from visil.library.store import FileFacts, Store, StoredVideo
from visil.library.sums import Sums
from visil.model.bundle import Bundle
from visil.model.model import Model, VectorEncoder
from visil.model.network import NetworkSettings
from visil.values import VideoInfo

ROOT = Path(__file__).resolve().parents[1]
NUM_VIDEOS, NUM_REGIONS, BITS = 40, 9, 128
STRETCH_FRAMES = 40  # instead of 2,048, so that short videos have several
MEMORY_BYTES = 6 << 30  # of address space in a child: torch alone takes 3 of it
VIDEO = VideoInfo((64, 48), (64, 48), (64, 48), 0, "h264", 0.0)
BY_READ, BY_VERIFY, BY_NOBODY, WRONG, UNFORESEEN, ENDED = "read", "verify", "nobody", "WRONG", "UNFORESEEN", "ENDED"
FAULTS = (WRONG, UNFORESEEN, ENDED)


@dataclass(frozen=True)
class Flip:
    """A bit of a file of a library; `kind` is what the file, or that place in it, is for."""

    kind: str
    file: str
    offset: int
    bit: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=10_000, help="[default: 10000]")
    parser.add_argument("--seed", type=int, default=0, help="[default: 0]")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="child processes  [default: all cores]"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="save settings, versions and results here")
    options = parser.parse_args()
    began_s = time.monotonic()
    outcomes: list[tuple[Flip, str, str]] = []
    with tempfile.TemporaryDirectory(prefix="visil-flips-") as folder:
        rng = np.random.default_rng(options.seed)
        for kind, bundle in bundles().items():
            library = Path(folder) / kind
            make_library(library, bundle, seed=options.seed)
            flips = list(draw_flips(library, options.flips // 2, rng))
            shares = [flips[number :: options.workers] for number in range(options.workers)]
            with ThreadPoolExecutor(options.workers) as threads:
                for found in threads.map(try_flips, [library] * len(shares), shares):
                    outcomes += found
    seconds = time.monotonic() - began_s
    results = tell(outcomes)
    print(f"{len(outcomes)} flips in {seconds:.0f} s")
    if options.json is not None:
        write_json(options.json, run_facts(ROOT, vars(options)), {**results, "seconds": round(seconds)})
    return 1 if any(outcome in FAULTS for _, outcome, _ in outcomes) else 0


def bundles() -> dict[str, Bundle]:
    """A small network of random weights, for floats and for sign codes."""
    floats = untrained_bundle(size_px=64, num_pictures=30)
    dim = floats.tensors["whitening.projection"].shape[1]
    settings = replace(floats.settings, network=NetworkSettings(bits=BITS))
    return {"floats": floats, "codes": Bundle(settings, {**floats.tensors, "binarization.projection": torch.eye(dim)})}


def make_library(path: Path, bundle: Bundle, *, seed: int) -> None:
    """See above; the files of the videos lie beside it."""
    visil.library.store.STRETCH_FRAMES = visil.library.verify.STRETCH_FRAMES = STRETCH_FRAMES
    model = Model(bundle, device="cpu")
    library = Library.create(path, model)
    store = Store(path / TABLE, model.dim)
    rng = np.random.default_rng(seed)
    files = path.with_name(f"{path.name}-videos")
    files.mkdir()
    videos = [random_video(number, files, model, rng) for number in range(NUM_VIDEOS)]
    for first in range(0, NUM_VIDEOS, 10):
        store.append(videos[first : first + 10])
    store.put(videos[3:5])
    store.delete([videos[7].id])
    store.update_files({videos[12].id: replace(videos[12].file, root=str(files))})
    if library.verify():
        raise SystemExit(f"the library is not whole: {library.verify()}")


def random_video(number: int, files: Path, model: Model, rng: np.random.Generator) -> StoredVideo:
    """Every seventh has no content, every eleventh failed, every fifth is long."""
    path = files / f"video_{number:02}.mp4"
    path.write_text(f"stands for video {number}")
    file = FileFacts(str(path), path.stat().st_size, path.stat().st_mtime_ns, content_hash(path))
    if number % 11 == 10:
        return StoredVideo(path.name, file, None, "no video stream", "no_video_stream")
    num_frames = (
        0
        if number % 7 == 6
        else int(rng.integers(STRETCH_FRAMES, 3 * STRETCH_FRAMES) if number % 5 == 0 else 1 + rng.integers(20))
    )
    vectors = rng.standard_normal((num_frames, NUM_REGIONS, model.dim), dtype=np.float32)
    encoder = VectorEncoder(model)
    if num_frames:
        unit = torch.nn.functional.normalize(torch.from_numpy(vectors), dim=-1)
        encoder.add(unit, np.arange(num_frames, dtype=np.float64))
    encoded = encoder.finish(num_samples=max(1, num_frames), duration_s=float(max(1, num_frames)), video=VIDEO)
    return StoredVideo(path.name, file, encoded)


# --- which bits ------------------------------------------------------------------------------------------------------


def draw_flips(library: Path, count: int, rng: np.random.Generator) -> Iterator[Flip]:
    places = pieces(library)
    sizes = np.array([end - start for _, _, start, end in places])
    by_kind, by_file = defaultdict(list), defaultdict(list)
    for number, (kind, file, *_) in enumerate(places):
        by_kind[kind].append(number)
        by_file[file].append(number)
    groups = [[list(range(len(places)))], list(by_file.values()), list(by_kind.values())]
    for number in range(count):
        of_one = groups[number % 3]
        members = of_one[rng.integers(len(of_one))]
        chosen = members[rng.choice(len(members), p=sizes[members] / sizes[members].sum())]
        kind, file, start, end = places[chosen]
        yield Flip(kind, file, int(rng.integers(start, end)), int(rng.integers(8)))


def pieces(library: Path) -> list[tuple[str, str, int, int]]:
    """Kind, file, and from where to where in it, of all that a library holds."""
    sums = Sums(library)
    found = []
    for path in sorted(library.rglob("*")):
        size = path.stat().st_size if path.is_file() else 0
        name = path.relative_to(library).as_posix()
        known = sums.by_name.get(name)
        edges = [0, *(edge for piece in (known.bulk if known else ()) for edge in piece), size]
        for number, (start, end) in enumerate(pairwise(edges)):
            if end > start:
                found.append((kind_of(path, is_vectors=number % 2 == 1), name, start, end))
    return found


def kind_of(path: Path, *, is_vectors: bool) -> str:
    if SECOND in path.parts:
        return "second copies"
    if path.parent.name == "data":
        return "rows: vectors" if is_vectors else "rows: beside vectors"
    if path.suffix == ".json":
        return "hint at the newest version"
    return {"_versions": "versions", "_transactions": "transactions", "_deletions": "deletions"}.get(
        path.parent.name, path.name
    )


# --- who notices -----------------------------------------------------------------------------------------------------


def try_flips(library: Path, flips: Sequence[Flip]) -> list[tuple[Flip, str, str]]:
    """The outcome of every flip and what was said, each in a child that may end of it."""
    outcomes: list[tuple[Flip, str, str]] = []
    while len(outcomes) < len(flips):
        with tempfile.TemporaryDirectory(prefix="visil-flips-") as folder:
            copy = Path(shutil.copytree(library, Path(folder) / "library"))
            child = subprocess.Popen(
                [sys.executable, __file__, "--child", str(copy)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            waiting = "\n".join(json.dumps(asdict(flip)) for flip in flips[len(outcomes) :])
            said, errors = child.communicate(waiting)
            for line in said.splitlines():
                outcomes.append((flips[len(outcomes)], *json.loads(line)))
            if len(outcomes) < len(flips):
                why = errors.strip().splitlines()[-1:] or [f"status {child.returncode}"]
                outcomes.append((flips[len(outcomes)], ENDED, why[0]))
    return outcomes


def child(library: str) -> None:
    """Flips on standard input, outcomes on standard output."""
    visil.library.store.STRETCH_FRAMES = visil.library.verify.STRETCH_FRAMES = STRETCH_FRAMES
    limit_memory()
    path = Path(library)
    model = Library.open(path, device="cpu").model
    expected, _ = read(path, None)
    assert not Library.open(path, device="cpu").verify()
    for line in sys.stdin:
        flip = Flip(**json.loads(line))
        turn(path / flip.file, flip)
        try:
            outcome = look(path, model if flip.file.startswith(TABLE) else None, expected)
        finally:
            turn(path / flip.file, flip)
        print(json.dumps(outcome), flush=True)


def look(path: Path, model: Model | None, expected: Any) -> tuple[str, str]:
    try:
        found, damaged = read(path, model)
        if damaged:
            return BY_READ, next(iter(damaged.values()))
        findings = Library.open(path, device="cpu").verify()
        if found != expected:
            return WRONG, f"verify: {findings[:1]}"
        return (BY_VERIFY, findings[0].problem) if findings else (BY_NOBODY, "")
    except VisilError as error:
        return BY_READ, str(error)
    except Exception as error:  # what no part of the product foresaw
        return UNFORESEEN, f"{type(error).__name__}: {error}"


def read(path: Path, model: Model | None) -> tuple[Any, dict[str, str]]:
    """All that a search and a list show, and the videos that are left out."""
    library = Library.open(path, device="cpu") if model is None else Library(path, read_settings(path), model)
    videos = [(record.id, record.status, record.reason, record.file, record.duration_s) for record in library.list()]
    results = list(library.search_many(["id:video_00.mp4", "id:video_01.mp4"], rerank="all", top=NUM_VIDEOS))
    for result in results:
        if result.error is not None:
            raise VisilError(result.error)
    matches = [(match.video, match.score) for result in results for match in result.matches]
    return (videos, matches), dict(library.damaged)


def turn(path: Path, flip: Flip) -> None:
    with path.open("r+b") as file:
        file.seek(flip.offset)
        (byte,) = file.read(1)
        file.seek(flip.offset)
        file.write(bytes([byte ^ (1 << flip.bit)]))


def limit_memory() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


# --- what is said ----------------------------------------------------------------------------------------------------


def tell(outcomes: Sequence[tuple[Flip, str, str]]) -> dict[str, Any]:
    columns = (BY_READ, BY_VERIFY, BY_NOBODY, *FAULTS)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for flip, outcome, _ in outcomes:
        counts[flip.kind][outcome] += 1
        counts["all"][outcome] += 1
    rows = [(kind, sum(of.values()), *(of[column] for column in columns)) for kind, of in counts.items()]
    print(format_table(("noticed by", "flips", *columns), sorted(rows, key=lambda row: row[0] == "all")))
    unnoticed = Counter(flip.file for flip, outcome, _ in outcomes if outcome == BY_NOBODY)
    for file, count in unnoticed.items():
        print(f"noticed by nobody, and without effect on any answer: {count} in {file}")
    for flip, outcome, said in outcomes:
        if outcome in FAULTS:
            print(f"{outcome}: {flip.file}, byte {flip.offset}, bit {flip.bit}: {said}")
    return {"noticed": {kind: dict(of) for kind, of in counts.items()}}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        sys.exit(main())

"""Indexes damaged copies of real files and tells how each ended.

Every copy has one kind of damage: flipped bits, cuts, spliced headers, swapped boxes, extreme numbers
(visil/synth/damage.py), a clock that steps or lies, odd streams (visil/synth/remuxing.py). All go through Library.add
with a small bundle, then the library is verified.
Printed: how many of each kind were indexed, indexed with a warning, or failed and with which reason class; workers
that had to be replaced; the largest memory of the process tree; how long it took.
    python scripts/fuzz_media.py --seed 0 --count 2000 --json fuzz.json
Exit status: 0 if every file is a row of the library, indexed or failed with a known reason, and the library is whole;
1 otherwise: the files are kept in --work and named. An exception that no reader foresaw counts as otherwise.
"""

from __future__ import annotations

import logging
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from visil.benchmarks.memory import MemoryWatch
from visil.benchmarks.report import benchmark_parser, format_table, run_facts, write_json
from visil.defaults import DEFAULT_BUNDLE
from visil.errors import REASON_CLASSES
from visil.library.library import Library
from visil.library.store import FAILED, VideoRecord
from visil.media.limits import DecodeLimits
from visil.model.bundle import Bundle
from visil.model.model import Model, load_model
from visil.synth.damage import DAMAGES
from visil.synth.remuxing import REMUXES

ROOT = Path(__file__).resolve().parents[1]
KINDS = DAMAGES | REMUXES
MAX_SOURCE_BYTES = 1 << 20  # small files take all kinds of damage, and 2,000 copies fit on any disk
UNFORESEEN = re.compile(r"\w+(Error|Exception|Warning): ")  # the name of an exception instead of a reason


def main() -> int:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--count", type=int, default=2000, help="damaged files  [default: 2000]")
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        help="folder of files to damage; may be given several times  [default: hard_media and videos of shared/data]",
    )
    parser.add_argument("--stall-seconds", type=float, default=20.0, help="[default: 20]")
    options = parser.parse_args()
    shared = ROOT.parent / "shared" / "data"
    folders = options.data or [shared / "hard_media", shared / "videos"]

    started = _WorkerCount()
    options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.work) as folder, MemoryWatch() as memory:
        kinds = write_damaged(_sources(folders), Path(folder), count=options.count, seed=options.seed)
        library = Library.create(Path(folder) / "library", _small_model())
        began_s = time.monotonic()
        library.add(
            list(kinds), workers=options.workers, limits=DecodeLimits(stall_s=options.stall_seconds), progress=None
        )
        seconds = time.monotonic() - began_s
        records = {Path(record.file.path): record for record in library.list()}
        endings = {path: _ending(records.get(path)) for path in kinds}
        findings = library.verify()
        wrong = {path: end for path, end in endings.items() if end.startswith("otherwise")}
        for path in wrong:
            path.rename(options.work / path.name)

    counts = Counter((end, kinds[path]) for path, end in endings.items())
    rows = [
        (end, *(counts[end, kind] for kind in KINDS), total) for end, total in Counter(endings.values()).most_common()
    ]
    print(format_table(("ending", *KINDS, "all"), rows))
    print(
        f"{len(kinds)} files, {started.count - options.workers} workers replaced, "
        f"peak memory {memory.peak_bytes / 1e6:.0f} MB, {seconds:.0f} s with {options.workers} workers, "
        f"{len(findings)} findings of verify"
    )
    for path, end in wrong.items():
        print(f"{options.work / path.name}: {end}", file=sys.stderr)
    for finding in findings:
        print(finding, file=sys.stderr)
    if options.json:
        results = {"endings": {" / ".join(key): count for key, count in counts.items()}, "seconds": seconds}
        results |= {"workers_replaced": started.count - options.workers, "peak_bytes": memory.peak_bytes}
        write_json(options.json, run_facts(ROOT, vars(options)), results)
    return 1 if wrong or findings else 0


def write_damaged(sources: Sequence[Path], folder: Path, *, count: int, seed: int) -> dict[Path, str]:
    """Files and the kind of damage of each; file k depends on the sources, the seed and k alone."""
    contents = [source.read_bytes() for source in sources]
    kinds = {}
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        chosen, kind = int(rng.integers(len(sources))), list(KINDS)[number % len(KINDS)]
        path = folder / f"{number:05d} {kind} of {sources[chosen].name}"
        path.write_bytes(KINDS[kind](contents[chosen], contents, rng))
        kinds[path] = kind
    return kinds


def _sources(folders: Sequence[Path]) -> list[Path]:
    found = sorted(path for folder in folders for path in folder.iterdir() if path.is_file())
    sources = [path for path in found if 0 < path.stat().st_size <= MAX_SOURCE_BYTES and path.suffix not in NO_MEDIA]
    if not sources:
        raise SystemExit(f"no files of at most {MAX_SOURCE_BYTES} bytes in {', '.join(map(str, folders))}; --data DIR")
    return sources


NO_MEDIA = (".json", ".md")


def _small_model() -> Model:
    model = load_model(DEFAULT_BUNDLE, device="cpu")
    preprocessing = replace(model.settings.preprocessing, size_px=64, min_samples=3)
    return Model(Bundle(replace(model.settings, preprocessing=preprocessing), model.bundle.tensors), device="cpu")


def _ending(record: VideoRecord | None) -> str:
    if record is None:
        return "otherwise: no row"
    if record.status != FAILED:
        return "indexed with a warning" if record.reason else "indexed"
    if record.reason_class not in REASON_CLASSES or UNFORESEEN.match(record.reason):
        return f"otherwise: {record.reason_class}: {record.reason}"
    return f"failed: {record.reason_class}"


class _WorkerCount(logging.Handler):
    """How many decoding workers were started."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        started = logging.getLogger("visil.media.worker_process")
        started.addHandler(self)
        started.setLevel(logging.DEBUG)
        started.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


if __name__ == "__main__":
    sys.exit(main())

"""Kills `visil index` at random moments, again and again, and compares what it leaves behind with an undisturbed run.

A round: an empty place, then the same command until it ends by itself, killed (SIGKILL to its whole process group) at
moments drawn uniformly over the time of an undisturbed run; rounds follow until all kills are done. Commits hold few
videos, so that many moments lie in one. After every kill:
  - the library verifies (or there is none yet), but for files whose sums and copies were not written yet, and no
    process of the command is left;
  - all that was committed is still there, and the next run decodes none of it again.
At the end of every round its content equals that of the undisturbed run: rows, hashes and times exactly, vectors to one
step of float16 (batches round differently).
    python scripts/stress_kill.py --kills 50 --seed 0
Exit status 1 if anything of that does not hold. Needs /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import numpy as np

import visil.library.ingest
from visil import Library
from visil.benchmarks.report import run_facts, write_json
from visil.library.second import SECOND
from visil.library.settings import SETTINGS
from visil.library.store import VideoRecord
from visil.library.sums import SUMS
from visil.library.verify import Finding

ROOT = Path(__file__).resolve().parents[1]
VIDEOS = ROOT.parent / "shared" / "data" / "videos"
FLOAT16_STEP = 2.0**-10  # of numbers up to 1
MARK = "VISIL_STRESS_KILL"  # in the environment of every process that a run starts
PATIENCE_S = 30.0  # for processes whose parent was killed to end


@dataclass
class Tally:
    """What was seen; `problems` must be empty at the end."""

    kills: int = 0
    kills_before_there_was_a_library: int = 0
    rounds: int = 0
    kills_after_new_commits: int = 0
    kills_before_the_sums: int = 0
    decoded_twice: int = 0
    problems: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="[default: 50]")
    parser.add_argument("--seed", type=int, default=0, help="[default: 0]")
    parser.add_argument("--videos", type=Path, default=VIDEOS, help="folder of real videos  [default: of shared/data]")
    parser.add_argument("--files", type=int, default=24, help="how many of them, the smallest  [default: 24]")
    parser.add_argument("--workers", type=int, default=2, help="decoding processes  [default: 2]")
    parser.add_argument("--commit-videos", type=int, default=3, help="[default: 3]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save settings, versions and results here")
    options = parser.parse_args()
    found = sorted(options.videos.glob("*.mp4"), key=lambda path: (path.stat().st_size, path))
    with tempfile.TemporaryDirectory(prefix="visil-kill-") as folder:
        stress = Stress(Path(folder), found[: options.files], options.workers, options.commit_videos)
        tally = stress.run(options.kills, np.random.default_rng(options.seed))
    results = {"undisturbed_s": round(stress.undisturbed_s, 1), **vars(tally)}
    print(json.dumps(results, indent=1))
    if options.json is not None:
        write_json(options.json, run_facts(ROOT, vars(options)), results)
    return 1 if tally.problems else 0


class Stress:
    """Runs of one command on the same files, each library in a place of its own."""

    def __init__(self, folder: Path, files: Sequence[Path], workers: int, commit_videos: int) -> None:
        self._folder = folder
        self._command = [*map(str, files), "--workers", str(workers), "--quiet"]
        self._commit_videos = commit_videos
        self.undisturbed_s = 0.0

    def run(self, kills: int, rng: np.random.Generator) -> Tally:
        tally = Tally()
        whole = self._folder / "undisturbed"
        started_s = time.monotonic()
        if self._index(whole).wait() not in (0, 1):
            raise SystemExit("the undisturbed run failed")
        self.undisturbed_s = time.monotonic() - started_s
        expected = contents(whole)
        while tally.kills < kills and not tally.problems:
            tally.rounds += 1
            self._round(self._folder / f"round_{tally.rounds}", kills, rng, tally)
            if not tally.problems:
                tally.problems += differences(contents(self._folder / f"round_{tally.rounds}"), expected)
        return tally

    def _round(self, library: Path, kills: int, rng: np.random.Generator, tally: Tally) -> None:
        committed: dict[str, VideoRecord] = {}
        kills_before = tally.kills
        while not tally.problems:
            started_s = time.monotonic()
            mark = uuid4().hex
            decoded = self._folder / f"{mark}.decoded"
            process = self._index(library, mark=mark, decoded=decoded)
            try:
                status = process.wait(rng.uniform(0, self.undisturbed_s) if tally.kills < kills else None)
            except subprocess.TimeoutExpired:
                status = None
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                tally.kills += 1
            if not all_ended(mark):
                tally.problems.append(f"kill {tally.kills}: a process of the command is left")
            again = set(decoded.read_text().splitlines()) if decoded.exists() else set()
            twice = again & {record.file.path for record in committed.values()}
            tally.decoded_twice += len(twice)
            tally.problems += [f"kill {tally.kills}: {path} was committed and decoded again" for path in sorted(twice)]
            if status is not None:
                if status not in (0, 1):
                    tally.problems.append(f"round {tally.rounds}: the command ended with {status}")
                if tally.kills == kills_before:  # faster than the first run, which found cold caches
                    self.undisturbed_s = time.monotonic() - started_s
                return
            before, committed = committed, self._after_a_kill(library, tally)
            tally.kills_after_new_commits += len(committed) > len(before)
            tally.problems += [f"kill {tally.kills}: {id} is lost" for id in before if committed.get(id) != before[id]]
            print(f"kill {tally.kills}, round {tally.rounds}: {len(committed)} videos committed", flush=True)

    def _after_a_kill(self, library: Path, tally: Tally) -> dict[str, VideoRecord]:
        if not (library / SETTINGS).exists():
            tally.kills_before_there_was_a_library += 1
            return {}
        opened = Library.open(library, device="cpu")
        findings = opened.verify()
        tally.kills_before_the_sums += any(is_about_sums(finding) for finding in findings)
        tally.problems += [f"kill {tally.kills}: {finding}" for finding in findings if not is_about_sums(finding)]
        return {record.id: record for record in opened.list()}

    def _index(self, library: Path, *, mark: str = "", decoded: Path | None = None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *(sys.executable, __file__, "--child", str(self._commit_videos), str(decoded or os.devnull)),
                *("index", *self._command, "--library", str(library)),
            ],
            env={**os.environ, MARK: mark},
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )


def run_command(commit_videos: str, decoded: str, *command: str) -> None:
    """`visil COMMAND` with small commits, which notes the files that it hands to the decoders."""
    decode_files = visil.library.ingest.decode_files

    def noting(paths, *arguments, **options):
        def noted():
            for path in paths:
                with Path(decoded).open("a") as file:
                    file.write(f"{path}\n")
                yield path

        return decode_files(noted(), *arguments, **options)

    visil.library.ingest.COMMIT_VIDEOS = int(commit_videos)
    visil.library.ingest.decode_files = noting
    sys.argv = ["visil", *command]
    runpy.run_module("visil.cli.main", run_name="__main__")


def is_about_sums(finding: Finding) -> bool:
    """Whether it says that the sums of a commit were not written, or not to the end, or its second copies."""
    lacks_a_sum = finding.id == SUMS or "has no sum yet" in finding.problem
    return not finding.damage and (lacks_a_sum or finding.id.split("/")[0] == SECOND)


def all_ended(mark: str) -> bool:
    """Whether every process with this mark ends within PATIENCE_S."""
    deadline_s = time.monotonic() + PATIENCE_S
    while any_runs(mark):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.1)
    return True


def any_runs(mark: str) -> bool:
    wanted = f"{MARK}={mark}".encode()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in environment.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
    return False


def contents(library: Path) -> dict[str, tuple[VideoRecord, np.ndarray, np.ndarray, np.ndarray]]:
    """Of every video: what is recorded, times, vectors and descriptors."""
    opened = Library.open(library, device="cpu")
    nothing = np.zeros(0)
    found = {}
    for record in opened.list():
        if record.video is None:
            found[record.id] = (record, nothing, nothing, nothing)
        else:
            encoded = opened.encoded(record.id)
            vectors = encoded.region_vectors
            found[record.id] = (record, vectors.times_s, vectors.vectors, encoded.descriptors)
    return found


def differences(found, expected) -> list[str]:
    """What is not equal between the contents of two libraries."""
    problems = [f"{id} is in one library only" for id in sorted(found.keys() ^ expected.keys())]
    for id in sorted(found.keys() & expected.keys()):
        (record, times_s, *arrays), (other, other_times_s, *other_arrays) = found[id], expected[id]
        if record != other or not np.array_equal(times_s, other_times_s):
            problems.append(f"{id}: other facts or times")
        for ours, theirs in zip(arrays, other_arrays, strict=True):
            if ours.shape != theirs.shape or not np.allclose(
                ours.astype(np.float32), theirs.astype(np.float32), rtol=0, atol=FLOAT16_STEP
            ):
                problems.append(f"{id}: other vectors")
    return problems


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        run_command(*sys.argv[2:])
    else:
        sys.exit(main())

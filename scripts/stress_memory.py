"""What indexing takes in memory: one very long file, and many short ones.

Counted is the PSS of the whole process tree (visil/benchmarks/memory.py; Linux only), sampled five times a second.
Long: the peak of `visil index` on 720p H.264 of --hours, made by repeating a clip of DATA/videos. Many: Library.add of
--files short videos, 25 real clips again and again under other titles; the median over the 25 that end with the 50th
video, and over the last 25.
    python scripts/stress_memory.py --hours 3 --files 200 --workers 2 --json memory.json
Aims: less than 1.5 GB for three hours; after 200 files within 10 % of after 50. Three hours take 1.7 GB in --work and
about 10 minutes on 4 cores.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from visil.benchmarks.memory import MemoryWatch, tree_pss_bytes
from visil.benchmarks.report import benchmark_parser, format_table, run_facts, write_json
from visil.defaults import DEFAULT_BUNDLE
from visil.library.ingest import Progress
from visil.library.library import Library
from visil.model.model import load_model
from visil.synth.repeating import repeat_video
from visil.synth.video_file import video_facts

ROOT = Path(__file__).resolve().parents[1]
LONG_SOURCE = "bbb_opening__two_seconds.mp4"  # 1280 x 720, 24 frames a second
NUM_SOURCES = 25  # of different sizes and lengths
FIRST_FILES = 50  # what they took is what more may take


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder with videos/")
    parser.add_argument("--hours", type=float, default=3.0, help="length of the long file, 0: none  [default: 3]")
    parser.add_argument("--files", type=int, default=200, help="short files, 0: none  [default: 200]")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    videos = options.data / "videos"
    rows: list[tuple[str, float]] = []
    for bundle in options.model or [DEFAULT_BUNDLE]:
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            if options.hours:
                source = videos / LONG_SOURCE
                seconds, peak_bytes = index_long(source, Path(folder), options.hours, bundle, options.workers)
                rows.append((f"{bundle}: {options.hours:g} h of 720p, peak MB ({seconds:.0f} s)", peak_bytes / 1e6))
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            if options.files:
                after = index_many(sorted(videos.glob("*.mp4")), Path(folder), options.files, bundle, options.workers)
                first, last = (statistics.median(after[end - NUM_SOURCES : end]) for end in (FIRST_FILES, len(after)))
                rows.append((f"{bundle}: after {FIRST_FILES} files, MB", first / 1e6))
                rows.append((f"{bundle}: after {options.files} files, MB", last / 1e6))
                rows.append((f"{bundle}: ratio", last / first))
    print(f"{options.workers} workers")
    print(format_table(["what", "value"], rows))
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)), {"rows": rows})


def index_long(source: Path, folder: Path, hours: float, bundle: str, workers: int) -> tuple[float, int]:
    """Seconds and peak memory of indexing one long file from the command line."""
    repeat_video(source, folder / "long.mp4", times=round(hours * 3600 / video_facts(source).duration_s))
    arguments = ["index", folder / "long.mp4", "--library", folder / "library", "--model", bundle, "--workers", workers]
    started_s = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "visil.cli.main", *map(str, arguments)])
    with MemoryWatch(process.pid) as memory:
        status = process.wait()
    if status:
        sys.exit(f"indexing ended with {status}")
    return time.monotonic() - started_s, memory.peak_bytes


def index_many(sources: list[Path], folder: Path, count: int, bundle: str, workers: int) -> list[int]:
    """Memory after each of many short files."""
    step = len(sources) // NUM_SOURCES
    files = [folder / f"{number:05}.mp4" for number in range(count)]
    for number, file in enumerate(files):
        repeat_video(sources[number % NUM_SOURCES * step], file, times=1, title=f"copy {number}")
    after: list[int] = []

    def tell(told: Progress) -> None:
        if told.done:
            after.append(tree_pss_bytes())

    Library.create(folder / "library", load_model(bundle)).add(files, workers=workers, progress=tell)
    return after


if __name__ == "__main__":
    main()

"""Samples a second of indexing, and of its two halves alone.

Files: all of DATA/videos (200 clips of 1 to 60 s), and --long copies of 720p H.264 of --minutes, made by repeating one
of them. Timed, each on all cores, --rounds times in turn, the median counts: decoding alone (worker processes, frames
thrown away), the backbone alone (the pictures of the first samples, in the same chunks, from memory), the whole path
(Library.add into a new library). Not timed: imports, loading the bundle.
    python scripts/bench_index.py --model BUNDLE.safetensors --json index.json
Printed beside them: the smaller half, the limit on a GPU; and 1 / (1/decoding + 1/backbone), the limit where both
halves share the same cores. Aim: 0.85 of the smaller half; on shared cores the second limit is all there is.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import cycle
from pathlib import Path

import numpy as np

from visil.benchmarks.report import benchmark_parser, format_table, run_facts, write_json
from visil.defaults import DEFAULT_BUNDLE
from visil.library.library import Library
from visil.media.decoding import decode_files
from visil.model.model import Model, load_model
from visil.synth.repeating import repeat_video
from visil.synth.video_file import video_facts
from visil.values import Frames

ROOT = Path(__file__).resolve().parents[1]
LONG_SOURCE = "bbb_opening__two_seconds.mp4"  # 1280 x 720, 24 frames a second
NUM_PICTURES = 512  # kept for the backbone alone, and encoded again until it has seen as many as the whole path
COLUMNS = ("", "decoding", "backbone", "whole", "of the smaller", "shared limit", "of it")


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder with videos/")
    parser.add_argument("--long", type=int, default=8, help="number of long files  [default: 8]")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each of them  [default: 10]")
    parser.add_argument("--rounds", type=int, default=3, help="[default: 3]")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        clips = [path for path in (options.data / "videos").iterdir() if path.suffix not in (".csv", ".md")]
        long = [Path(folder) / f"long_{number}.mp4" for number in range(options.long)]
        source = options.data / "videos" / LONG_SOURCE
        for number, path in enumerate(long):
            times = round(options.minutes * 60 / video_facts(source).duration_s)
            repeat_video(source, path, times=times, title=f"copy {number}")  # equal files would be encoded once
        for bundle in options.model or [DEFAULT_BUNDLE]:
            model = load_model(bundle, device=options.device)
            for name, paths in (("clips", sorted(clips)), ("720p", long)):
                speeds = measure(model, paths, Path(folder), workers=options.workers, rounds=options.rounds)
                rows.append((f"{model.settings.name}, {name}", *speeds))
    print(format_table(COLUMNS, [(name, *(f"{value:.2f}" for value in values)) for name, *values in rows]))
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)), {"columns": COLUMNS, "rows": rows})


def measure(model: Model, paths: Sequence[Path], folder: Path, *, workers: int, rounds: int) -> tuple[float, ...]:
    """Samples a second of decoding, of the backbone and of the whole path, and their ratios."""
    chunks: list[np.ndarray] = []
    num_samples = decode(model, paths, workers, keep=chunks)  # also reads the files into the system's cache
    model.region_vectors(chunks[0])

    def whole() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as library:
            report = Library.create(library, model).add(paths, workers=workers)
            assert report.num_samples == num_samples, "a file failed"

    seconds: list[tuple[float, ...]] = []
    for _ in range(rounds):
        seconds.append(
            (
                timed(lambda: decode(model, paths, workers)),
                timed(lambda: encode(model, chunks, num_samples)),
                timed(whole),
            )
        )
    decoding, backbone, all_of_it = (num_samples / statistics.median(way) for way in zip(*seconds, strict=True))
    smaller, shared = min(decoding, backbone), 1 / (1 / decoding + 1 / backbone)
    return decoding, backbone, all_of_it, all_of_it / smaller, shared, all_of_it / shared


def decode(model: Model, paths: Sequence[Path], workers: int, *, keep: list[np.ndarray] | None = None) -> int:
    """Decode all files; their number of samples. The pictures of the first go into `keep`."""
    num_samples = 0
    with closing(decode_files(paths, model.settings.preprocessing, workers=workers)) as events:
        for _, event in events:
            if isinstance(event, Frames):
                if keep is not None and num_samples < NUM_PICTURES:
                    keep.append(event.images)
                num_samples += len(event)
    return num_samples


def encode(model: Model, chunks: Sequence[np.ndarray], num_samples: int) -> None:
    """Put as many pictures as that through the backbone."""
    for images in cycle(chunks):
        if num_samples <= 0:
            break
        model.region_vectors(images)
        num_samples -= len(images)


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


if __name__ == "__main__":
    main()

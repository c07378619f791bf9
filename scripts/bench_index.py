"""Samples a second of indexing, and of its two halves alone; seconds of video a second of the whole.

Files: all of DATA/videos (200 clips of 1 to 60 s), and --long copies of 720p H.264 of --minutes, made by repeating one
of them. Timed, each on all cores, --rounds times in turn, bundle after bundle in every round, the median counts:
decoding alone (worker processes, frames thrown away), the backbone alone (the pictures of the first samples, in the
same chunks, from memory), the whole path (Library.add into a new library). Not timed: imports, loading the bundle.
    python scripts/bench_index.py --model mini --model BUNDLE.safetensors --json index.json
Printed beside them: the smaller half, the limit on a GPU; and 1 / (1/decoding + 1/backbone), the limit where both
halves share the same cores. Aim: 0.85 of the smaller half; on shared cores the second limit is all there is.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import cycle
from pathlib import Path
from statistics import median

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
COLUMNS = ("", "decoding", "backbone", "whole", "video s a s", "of the smaller", "shared limit", "of it")


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
        models = [load_model(bundle, device=options.device) for bundle in options.model or [DEFAULT_BUNDLE]]
        for name, paths in (("clips", sorted(clips)), ("720p", long)):
            runs = [Run(model, paths, Path(folder), options.workers) for model in models]
            for run in runs * options.rounds:
                run.measure()
            rows += [(f"{run.model.settings.name}, {name}", *run.speeds()) for run in runs]
    print(format_table(COLUMNS, [(name, *(f"{value:.2f}" for value in values)) for name, *values in rows]))
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)), {"columns": COLUMNS, "rows": rows})


class Run:
    """Files and a bundle; what the rounds took."""

    def __init__(self, model: Model, paths: Sequence[Path], folder: Path, workers: int) -> None:
        self.model = model
        self._paths, self._folder, self._workers = paths, folder, workers
        self._chunks: list[np.ndarray] = []
        self._num_samples, self._video_s = self._decode(keep=True)  # also reads the files into the system's cache
        self._seconds: list[tuple[float, float, float]] = []
        model.region_vectors(self._chunks[0])

    def measure(self) -> None:
        """One round."""
        self._seconds.append((timed(self._decode), timed(self._encode), timed(self._index)))

    def speeds(self) -> tuple[float, ...]:
        """Samples a second of decoding, of the backbone and of the whole path, and what they say of each other."""
        decoding, backbone, whole = (self._num_samples / median(way) for way in zip(*self._seconds, strict=True))
        video = whole * self._video_s / self._num_samples
        smaller, shared = min(decoding, backbone), 1 / (1 / decoding + 1 / backbone)
        return decoding, backbone, whole, video, whole / smaller, shared, whole / shared

    def _decode(self, *, keep: bool = False) -> tuple[int, float]:
        """Decode all files: samples, and seconds of video. The pictures of the first samples may be kept."""
        num_samples, seconds = 0, [0.0] * len(self._paths)
        with closing(decode_files(self._paths, self.model.settings.preprocessing, workers=self._workers)) as events:
            for number, event in events:
                if isinstance(event, Frames):
                    if keep and num_samples < NUM_PICTURES:
                        self._chunks.append(event.images)
                    num_samples += len(event)
                    seconds[number] = event.duration_s
        return num_samples, sum(seconds)

    def _encode(self) -> None:
        """As many pictures as there are samples through the backbone."""
        missing = self._num_samples
        for images in cycle(self._chunks):
            if missing <= 0:
                break
            self.model.region_vectors(images)
            missing -= len(images)

    def _index(self) -> None:
        with tempfile.TemporaryDirectory(dir=self._folder) as library:
            report = Library.create(library, self.model).add(self._paths, workers=self._workers)
            assert report.num_samples == self._num_samples, "a file failed"


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


if __name__ == "__main__":
    main()

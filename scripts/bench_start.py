"""Time of `visil search clip.mp4` from process start to printed table, in a library of 1,000 videos.

The clip: 10 s of 720p at 25 pictures a second, made. The library: 1,000 videos of 60 samples whose vectors are random,
200 of them get a fine score. Both lie in the page cache, as after a first search.
Timed in a fresh process each time: phases that add up to the whole (visil/benchmarks/startup.py). One unmeasured
search a bundle, then the bundles in turn; medians, and the range of the whole.
The aim is about what is not `import torch`, decode and encode: at most 1 s.
    python scripts/bench_start.py --model BUNDLE.safetensors --runs 7 --json start.json
About 20 seconds to make a library (0.1 to 0.6 GB), then 3 to 6 seconds a search.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from visil.benchmarks.benchmark_search import load_models
from visil.benchmarks.report import benchmark_parser, format_table, run_facts, write_json
from visil.benchmarks.startup import DECODE, ENCODE, PHASES, TORCH
from visil.defaults import DEFAULT_BUNDLE
from visil.errors import DataError
from visil.library.library import SETTINGS, Library
from visil.library.settings import FORMAT_VERSION
from visil.library.store import FileFacts, StoredVideo
from visil.model.model import Model
from visil.synth.scenes import distinct_scenes, scene_pictures
from visil.synth.video_file import write_video
from visil.values import EncodedVideo, RegionVectors

ROOT = Path(__file__).resolve().parents[1]
CLIP_S, CLIP_FPS, CLIP_SIZE_PX = 10.0, 25, (1280, 720)
VIDEO_SAMPLES = 60
VIDEOS_A_COMMIT = 50
AIM_S = 1.0


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--videos", type=int, default=1000, help="[default: 1000]")
    parser.add_argument("--runs", type=int, default=7, help="measured searches a bundle  [default: 7]")
    options = parser.parse_args()

    place = options.work / f"start-{options.videos}-seed{options.seed}"
    place.mkdir(parents=True, exist_ok=True)
    clip = place / "clip.mp4"
    if not clip.exists():
        scene = distinct_scenes(np.random.default_rng(options.seed), 1)[0]
        write_video(clip, scene_pictures(scene, duration_s=CLIP_S, fps=CLIP_FPS, size_px=CLIP_SIZE_PX), CLIP_FPS)
    folders = {
        model.settings.name: filled_library(place, model, clip, num_videos=options.videos, seed=options.seed)
        for model in load_models(dict.fromkeys([DEFAULT_BUNDLE, *options.model]), device=options.device)
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in folders}
    for number in range(options.runs + 1):
        for name, folder in folders.items():
            seconds = timed_search(clip, folder, device=options.device, report=place / "phases.json")
            if number:
                runs[name].append(seconds)

    figures = {name: summary(measured) for name, measured in runs.items()}
    rows = [(row, *(figures[name][row] for name in figures)) for row in next(iter(figures.values()))]
    print(format_table(("seconds", *figures), rows))
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)), figures)


def filled_library(place: Path, model: Model, clip: Path, *, num_videos: int, seed: int) -> Path:
    """The folder of a library of random vectors, made unless it is there."""
    folder = place / f"format{FORMAT_VERSION}" / f"{model.settings.name}-{model.bundle.hash[:12]}"
    library = Library.open(folder) if (folder / SETTINGS).exists() else Library.create(folder, model)
    rng = np.random.default_rng(seed)
    encoded = model.encode(clip)
    for first in range(library.num_searchable, num_videos, VIDEOS_A_COMMIT):
        numbers = range(first, min(first + VIDEOS_A_COMMIT, num_videos))
        library._store.put([random_video(number, encoded, rng) for number in numbers])
        library.refresh()
    return folder


def random_video(number: int, like: EncodedVideo, rng: np.random.Generator) -> StoredVideo:
    """A row of the table of the same kinds of vectors as another video's."""
    _, num_regions, dim = like.region_vectors.vectors.shape
    dtype = like.region_vectors.vectors.dtype
    num_parts = -(-VIDEO_SAMPLES // 30)
    if dtype == np.uint8:
        vectors = rng.integers(0, 256, (VIDEO_SAMPLES, num_regions, dim), dtype=np.uint8)
    else:
        vectors = _unit(rng.standard_normal((VIDEO_SAMPLES, num_regions, dim), dtype=np.float32)).astype(dtype)
    encoded = replace(
        like,
        region_vectors=RegionVectors(vectors, np.arange(VIDEO_SAMPLES, dtype=np.float64)),
        descriptors=_unit(rng.standard_normal((num_parts, like.descriptors.shape[1]), dtype=np.float32)),
        num_samples=VIDEO_SAMPLES,
        duration_s=float(VIDEO_SAMPLES),
    )
    return StoredVideo(f"video_{number:06d}", FileFacts(f"video_{number:06d}.mp4", 1, 0, f"{number:064x}"), encoded)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def timed_search(clip: Path, library: Path, *, device: str, report: Path) -> dict[str, float]:
    """Seconds of every phase of one search, and of the process from its table to its end."""
    command = [sys.executable, "-P", "-m", "visil.benchmarks.startup", report, repr(time.monotonic())]
    search = ["search", clip, "--library", library, "--device", device, "--format", "table", "--quiet"]
    begin_s = time.monotonic()
    ended = subprocess.run([*command, *search], capture_output=True, text=True, check=False)
    whole_s = time.monotonic() - begin_s
    if ended.returncode or "video_" not in ended.stdout:
        raise DataError(f"the search failed: {ended.stderr.strip()}")
    seconds: dict[str, float] = json.loads(report.read_text(encoding="utf-8"))
    return {**seconds, "process end": whole_s - sum(seconds.values())}


def summary(runs: list[dict[str, float]]) -> dict[str, float]:
    """Medians by phase; the sums are of each run, so that their medians are not sums of the medians."""
    whole = [sum(run[phase] for phase in PHASES) for run in runs]
    beyond = [sum(run[phase] for phase in PHASES if phase not in (TORCH, DECODE, ENCODE)) for run in runs]
    return {
        **{phase: median(run[phase] for run in runs) for phase in PHASES},
        "process start to table": median(whole),
        "fastest": min(whole),
        "slowest": max(whole),
        "beyond torch, decode, encode": median(beyond),
        "aim for that": AIM_S,
        "ratio to the aim": median(beyond) / AIM_S,
        "table to process end": median(run["process end"] for run in runs),
    }


if __name__ == "__main__":
    main()

"""What digests and sums cost in CPU time: the same searches and commits with and without them, in turn, in one process.

A library of random vectors of a bundle, all in the page cache: 200 videos of 60 samples in four commits.
Search: one query of 60 samples against all, fine scores included; opening: the table with all descriptors, as every
command does once; commit: 50 such videos, where it would be written while others are encoded. `encode` is what the same
50 videos take to encode on this machine, from 60 pictures of the bundle's size, for the share of a commit in indexing.
One unmeasured round, then rounds with and without; medians, and the ratio of each.
    python scripts/bench_digests.py --rounds 15 --json digests.json
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import torch

from visil.benchmarks.report import benchmark_parser, format_table, run_facts, write_json
from visil.library.library import Library
from visil.library.settings import TABLE
from visil.library.store import FileFacts, Store, StoredVideo, create_table
from visil.model.model import Model, VectorEncoder, load_model
from visil.values import Frames, VideoInfo

ROOT = Path(__file__).resolve().parents[1]
VIDEO = VideoInfo((160, 160), (160, 160), (160, 160), 0, "h264", 0.0)
NUM_VIDEOS, VIDEOS_A_COMMIT, SAMPLES = 200, 50, 60


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="measured, with and without  [default: 15]")
    options = parser.parse_args()
    model = load_model(*options.model[:1], device=options.device)
    rng = np.random.default_rng(options.seed)
    encode_s, num_regions = timed_encoding(model, rng)
    videos = [random_video(number, model, num_regions, rng) for number in range(NUM_VIDEOS)]
    query = videos[0].encoded
    with tempfile.TemporaryDirectory(dir=options.work if options.work.is_dir() else None) as folder:
        library = Library.create(Path(folder) / "library", model)
        store = Store(library.path / TABLE, model.dim)
        for first in range(0, NUM_VIDEOS, VIDEOS_A_COMMIT):
            store.append(videos[first : first + VIDEOS_A_COMMIT])
        library.refresh()
        steps: dict[str, Callable[[], float]] = {
            "search": lambda: timed(lambda: library.search(query, rerank="all")),
            "opening": lambda: timed(lambda: Store(library.path / TABLE, model.dim).descriptors()),
            "commit": lambda: commit(Path(folder), model, videos[:VIDEOS_A_COMMIT]),
        }
        seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in steps}
        for number in range(options.rounds + 1):
            for name, step in steps.items():
                for is_without, kept in enumerate(seconds[name]):
                    with without() if is_without else ExitStack():
                        took_s = step()
                    if number:
                        kept.append(took_s)
    results = {
        name: {"with": median(ours), "without": median(theirs), "ratio": median(ours) / median(theirs)}
        for name, (ours, theirs) in seconds.items()
    }
    extra_s = results["commit"]["with"] - results["commit"]["without"]
    results["indexing"] = {"with": encode_s + extra_s, "without": encode_s, "ratio": 1 + extra_s / encode_s}
    rows = [(name, *of.values()) for name, of in results.items()]
    print(format_table(("CPU seconds", "with", "without", "ratio"), rows))
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)), results)


def timed_encoding(model: Model, rng: np.random.Generator) -> tuple[float, int]:
    """Seconds to encode the pictures of VIDEOS_A_COMMIT videos, and regions of each."""
    side = model.settings.preprocessing.size_px
    pictures = rng.integers(0, 256, (SAMPLES, side, side, 3), dtype=np.uint8)
    times_s = np.arange(SAMPLES, dtype=np.float64)
    model.encode_frames([Frames(pictures[:4], times_s[:4], VIDEO, 4.0)])  # builds the backbone
    began_s = time.process_time()
    encoded = model.encode_frames([Frames(pictures, times_s, VIDEO, float(SAMPLES))])
    return (time.process_time() - began_s) * VIDEOS_A_COMMIT, encoded.region_vectors.vectors.shape[1]


def random_video(number: int, model: Model, num_regions: int, rng: np.random.Generator) -> StoredVideo:
    """Random unit vectors, stored as the bundle stores them."""
    vectors = torch.from_numpy(rng.standard_normal((SAMPLES, num_regions, model.dim), dtype=np.float32))
    encoder = VectorEncoder(model)
    encoder.add(torch.nn.functional.normalize(vectors, dim=-1), np.arange(SAMPLES, dtype=np.float64))
    encoded = encoder.finish(num_samples=SAMPLES, duration_s=float(SAMPLES), video=VIDEO)
    return StoredVideo(f"video_{number:03}.mp4", FileFacts(f"/video_{number:03}.mp4", 1, 0, f"{number:064x}"), encoded)


def commit(folder: Path, model: Model, videos: Sequence[StoredVideo]) -> float:
    """Seconds to write videos to a new table."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        create_table(Path(place) / TABLE, model.dim)
        store = Store(Path(place) / TABLE, model.dim)
        return timed(lambda: store.append(videos))


@contextmanager
def without() -> Iterator[None]:
    """As if there were no digests and no sums."""
    with (
        patch.object(Store, "_problems", lambda self, rows: [""] * len(rows)),
        patch.object(Store, "_is_sound", lambda self, path: True),
        patch.object(Store, "note_files", lambda self: None),
        patch("visil.library.rows.row_digest", lambda *_: ""),
    ):
        yield


def timed(step: Callable[[], object]) -> float:
    """CPU seconds that it takes, of all threads."""
    began_s = time.process_time()
    step()
    return time.process_time() - began_s


if __name__ == "__main__":
    main()

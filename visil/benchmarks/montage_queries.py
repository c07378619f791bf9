"""Clips inside long montages: the files of the benchmark of long videos, and where each clip is.

real videos, stills ─► [plan ─► montages with a clip each, the clips as files of their own] ─► scripts/bench_montage.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from visil.benchmarks.benchmark_files import Job, Montage, make, rng_of
from visil.errors import DataError
from visil.evaluation.real_videos import RealVideo, RealVideos
from visil.synth.edits import EDITS_VERSION, cut_clip
from visil.synth.montage import Shot, Source, plan_host
from visil.synth.montage_truth import PlainVideo
from visil.synth.truth import write_truths

CLIP_S = 10.0
MONTAGE_FPS, MONTAGE_SIZE_PX = 10, (320, 180)


@dataclass(frozen=True)
class MontageQuery:
    """A clip and the one montage that holds it.

    Attributes:
        clip: the clip as a file of its own, the query.
        montage: the file to be found.
        source: the real video that both were cut from.
        at_s: where the clip starts in the montage.
        tokens: what the clip shows: what else is related to it (`montage_truth.related`) is neither a match nor a false
            one.
    """

    clip: Path
    montage: Path
    source: str
    at_s: float
    tokens: frozenset[str] = field(repr=False)


def montage_queries(
    real: RealVideos,
    stills: Sequence[Source],
    folder: Path,
    *,
    split: str,
    seed: int,
    num_montages: int,
    montage_s: float,
    workers: int,
) -> list[MontageQuery]:
    """Make clips of as many components, each inside its own montage; no montage shows anything else of any of them.

    Args:
        stills: of the split, for the pans.
        folder: the clips go to `queries`, the montages to `library`; what is there already stays.

    Raises:
        DataError: there are too few components with a video as long as a clip, or too few pieces for a montage.
    """
    videos = real.of_split(split)
    by_component: dict[str, list[RealVideo]] = {}
    for video in videos:
        if video.duration_s >= CLIP_S:
            by_component.setdefault(video.component, []).append(video)
    if len(by_component) < num_montages:
        raise DataError(
            f"{num_montages} montages need as many components with a video of {CLIP_S:g} s, "
            f"there are {len(by_component)}"
        )
    rng = rng_of(seed, "clips")
    chosen = [str(name) for name in rng.permutation(sorted(by_component))[:num_montages]]
    sources = {video.file: _source(real, video) for video in videos}
    queries, jobs = [], list[Job]()
    for number, component in enumerate(chosen):
        candidates = by_component[component]
        video = candidates[int(rng.integers(len(candidates)))]
        start_s = float(rng.uniform(0, video.duration_s - CLIP_S))
        shots = plan_host(
            rng,
            [*sources.values(), *stills],
            fps=MONTAGE_FPS,
            duration_s=montage_s,
            clip=Shot(sources[video.file], round(CLIP_S * MONTAGE_FPS), start_s),
            avoid_components={sources[other.file].component for name in chosen for other in by_component[name]},
        )
        montage = Montage(folder / "library" / f"montage_{number:02d}.mp4", tuple(shots), MONTAGE_FPS, MONTAGE_SIZE_PX)
        clip = Clip(folder / "queries" / f"clip_{number:02d}.mp4", sources[video.file].path, start_s)
        (piece,) = [piece for piece in montage.truth.pieces if piece.file == video.file]
        shown = PlainVideo(video.file, piece.component, piece.footage)
        queries.append(MontageQuery(clip.path, montage.path, video.file, piece.start_s, shown.tokens))
        jobs += [montage, clip]
    make(jobs, workers=workers)
    return queries


@dataclass(frozen=True)
class Clip(Job):
    """A part of a source as a file of its own."""

    source: Path
    start_s: float

    @property
    def version(self) -> int:
        return EDITS_VERSION

    def write(self) -> None:
        truth = cut_clip(self.source, self.path, start_s=self.start_s, duration_s=CLIP_S)
        write_truths(self.path.with_suffix(".json"), [truth])


def _source(real: RealVideos, video: RealVideo) -> Source:
    return Source(real.folder / video.file, f"video:{video.component}", video.duration_s, video.footage)

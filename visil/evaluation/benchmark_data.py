"""The made files of the benchmarks: distractors, edited queries, montages with their clips.

    real videos, test pictures ─► [distractors, edited queries, montages] ─► benchmark_search

What is made depends on the seed, the settings, the tables of the data and the code that makes it, and lies in
a folder named after all of them: a second run finds it, a change makes it anew. A test picture has one role
(distractor, host, or pan of a montage), so that no picture of a query lies in the library by another way.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import multiprocessing
import tarfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

import numpy as np

import visil.synth
from visil.errors import DataError
from visil.evaluation.real_videos import RealVideo, RealVideos, read_real_videos
from visil.synth.camera import moving_crop
from visil.synth.edits import FAMILIES, apply_edit, cut_clip
from visil.synth.montage import Part, plan_around, write_montage
from visil.synth.truth import EditTruth, read_truths, write_truths
from visil.synth.video_file import read_still, video_facts, write_video

EDIT_FAMILIES = (
    "crop_60",
    "mirror",
    "letterbox",
    "grayscale",
    "blur",
    "boxes",
    "low_144p",
    "speed_1_25",
    "clip_20",
    "picture_in_picture",
)
MIN_SOURCE_S = 10.0  # of the real videos that queries are made from
FILM_OF_REAL_VIDEOS = "bower-media-samples/big-buck-bunny-480p-30s"  # its pictures are of the film of bbb_*
NUM_HOSTS = 200  # test pictures kept for picture-in-picture

DISTRACTOR_S, DISTRACTOR_FPS, DISTRACTOR_SIZE_PX = 8.0, 6, (256, 192)
CLIP_S = 10.0
MONTAGE_FPS, MONTAGE_SIZE_PX = 10, (320, 180)
MIN_CUT_S = 2.0  # shorter videos are not cut into montages

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BenchmarkData:
    """What the benchmarks share.

    Attributes:
        real: the real videos; all of them are in every library.
        folder: where made files lie.
        hosts, pans: test pictures for picture-in-picture and for montages.
    """

    real: RealVideos
    folder: Path
    seed: int
    hosts: tuple[Path, ...]
    pans: tuple[Path, ...]

    @property
    def library_folders(self) -> list[Path]:
        """What the library of the benchmarks holds: the real videos and the distractors."""
        return [self.real.folder, self.folder / "distractors"]


@dataclass(frozen=True)
class MontageQuery:
    """A clip and the montage that holds it; `truth.source` is the montage, on whose side its times are.

    Attributes:
        clip: the clip as a file of its own, the query.
        montage: the file to be found.
        source: the real video that the clip is from.
    """

    clip: Path
    montage: Path
    source: str
    truth: EditTruth


def prepare(
    data: Path, work: Path, *, seed: int, num_distractors: int, num_hosts: int = NUM_HOSTS, workers: int
) -> BenchmarkData:
    """Read the real videos of `data/videos` and make distractors from the test pictures of `data/images`."""
    real = read_real_videos(data / "videos")
    read = [
        *(data / "videos" / f"{name}.csv" for name in ("manifest", "split")),
        data / "images" / "index.csv",
    ]
    code = [Path(__file__), *sorted(Path(visil.synth.__file__).parent.glob("*.py"))]
    folder = work / f"seed{seed}-{num_distractors}-{_digest([*read, *code])}"
    stills = _test_stills(data / "images", folder / "stills")
    if len(stills) <= num_distractors + num_hosts:
        raise DataError(
            f"{len(stills)} test pictures are too few for {num_distractors} distractors, {num_hosts} hosts and pans"
        )
    order = [stills[i] for i in _rng(seed, "roles of test pictures").permutation(len(stills))]
    distractors = [
        _Distractor(folder / "distractors" / f"distractor_{i:04d}.mp4", seed, still)
        for i, still in enumerate(order[:num_distractors])
    ]
    _make(distractors, workers)
    pans_from = num_distractors + num_hosts
    return BenchmarkData(real, folder, seed, tuple(order[num_distractors:pans_from]), tuple(order[pans_from:]))


def edited_queries(data: BenchmarkData, *, per_family: int, workers: int) -> dict[Path, EditTruth]:
    """Queries of every family, each of another footage: path -> truth."""
    by_footage: dict[str, list[RealVideo]] = {}
    for video in _sources(data):
        by_footage.setdefault(video.footage, []).append(video)
    if len(by_footage) < per_family:
        raise DataError(
            f"{per_family} queries a family need as many footages of {MIN_SOURCE_S} s, not {len(by_footage)}"
        )
    queries = []
    for family in EDIT_FAMILIES:
        rng = _rng(data.seed, "sources", family)
        for i, footage in enumerate(rng.permutation(sorted(by_footage))[:per_family]):
            source = by_footage[footage][rng.integers(len(by_footage[footage]))]
            host = data.hosts[i % len(data.hosts)] if FAMILIES[family].has_host else None
            path = data.folder / "queries" / f"{family}_{i:02d}.mp4"
            queries.append(_Edit(path, data.seed, data.real.folder / source.file, family, host))
    _make(queries, workers)
    return {query.path: read_truths(query.path.with_suffix(".json"))[0] for query in queries}


def montage_queries(data: BenchmarkData, *, num_montages: int, montage_s: float, workers: int) -> list[MontageQuery]:
    """Clips of as many components, each inside its own montage of parts from none of these components."""
    by_component: dict[str, list[RealVideo]] = {}
    for video in _sources(data):
        by_component.setdefault(video.component, []).append(video)
    if len(by_component) < num_montages:
        raise DataError(f"{num_montages} montages need as many components, there are {len(by_component)}")
    rng = _rng(data.seed, "clips")
    chosen = [str(name) for name in rng.permutation(sorted(by_component))[:num_montages]]
    others = {
        data.real.folder / video.file: video.duration_s
        for video in data.real.of_split("test")
        if video.component not in chosen and video.duration_s >= MIN_CUT_S
    }
    folder = data.folder / f"montages-{num_montages}x{montage_s:g}s"
    montages, queries = [], []
    for i, component in enumerate(chosen):
        source = data.real.folder / by_component[component][rng.integers(len(by_component[component]))].file
        free_s = video_facts(source).duration_s - CLIP_S
        start_s = max(0.0, float(rng.uniform(0, free_s)) if free_s > 0 else 0.0)
        path = folder / "library" / f"montage_{i:02d}.mp4"
        montages.append(_Montage(path, data.seed, source, start_s, montage_s, others, data.pans[i::num_montages]))
        queries.append(_Clip(folder / "queries" / f"clip_{i:02d}.mp4", data.seed, source, start_s))
    _make([*montages, *queries], workers)
    return [
        MontageQuery(query.path, montage.path, query.source.name, _truth_of_clip(montage, query))
        for montage, query in zip(montages, queries, strict=True)
    ]


def _truth_of_clip(montage: _Montage, clip: _Clip) -> EditTruth:
    """Where the clip is in the montage; each was cut from the source on its own."""
    (inside,) = [truth for truth in read_truths(montage.path.with_suffix(".json")) if truth.source == clip.source.name]
    return EditTruth(
        query=clip.path.name,
        source=montage.path.name,
        family="montage",
        strength=inside.strength,
        query_start_s=0.0,
        query_end_s=inside.end_s - inside.start_s,
        start_s=inside.query_start_s,
        end_s=inside.query_end_s,
        labels=inside.labels,
    )


def _sources(data: BenchmarkData) -> list[RealVideo]:
    """Test videos long enough to be edited."""
    return [video for video in data.real.of_split("test") if video.duration_s >= MIN_SOURCE_S]


# --- files, made in parallel; one that is there is complete ---


class _Job(Protocol):
    @property
    def path(self) -> Path: ...

    def write(self) -> list[EditTruth]: ...


@dataclass(frozen=True)
class _Distractor:
    path: Path
    seed: int
    still: Path

    def write(self) -> list[EditTruth]:
        pictures = moving_crop(
            read_still(self.still),
            _rng(self.seed, self.path.name),
            num_pictures=round(DISTRACTOR_S * DISTRACTOR_FPS),
            size_px=DISTRACTOR_SIZE_PX,
        )
        write_video(self.path, pictures, DISTRACTOR_FPS)
        return []


@dataclass(frozen=True)
class _Edit:
    path: Path
    seed: int
    source: Path
    family: str
    host: Path | None

    def write(self) -> list[EditTruth]:
        host = None if self.host is None else read_still(self.host)
        return [apply_edit(self.source, self.family, self.path, _rng(self.seed, self.path.name), host=host)]


@dataclass(frozen=True)
class _Clip:
    path: Path
    seed: int
    source: Path
    start_s: float

    def write(self) -> list[EditTruth]:
        return [cut_clip(self.source, self.path, start_s=self.start_s, duration_s=CLIP_S)]


@dataclass(frozen=True)
class _Montage:
    path: Path
    seed: int
    source: Path
    start_s: float
    montage_s: float
    others: dict[Path, float]
    pans: tuple[Path, ...]

    def write(self) -> list[EditTruth]:
        rng = _rng(self.seed, self.path.name)
        clip = Part(self.source, round(CLIP_S * MONTAGE_FPS), self.start_s)
        num_pictures = round(self.montage_s * MONTAGE_FPS)
        parts = plan_around(
            rng,
            clip,
            self.others,
            self.pans,
            at_picture=int(rng.integers(num_pictures - clip.num_pictures + 1)),
            num_pictures=num_pictures,
            fps=MONTAGE_FPS,
        )
        return write_montage(self.path, parts, rng, fps=MONTAGE_FPS, size_px=MONTAGE_SIZE_PX)


def _make(jobs: Sequence[_Job], workers: int) -> None:
    """Write what is missing. The truth of a file is written after it, so a file with a truth is complete."""
    missing = [job for job in jobs if not job.path.with_suffix(".json").exists()]
    if not missing:
        return
    for folder in {job.path.parent for job in missing}:
        folder.mkdir(parents=True, exist_ok=True)
    logger.info("making %d files in %s", len(missing), missing[0].path.parent)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for _ in pool.map(_make_one, missing, chunksize=1 if len(missing) < 500 else 20):
            pass


def _make_one(job: _Job) -> None:
    write_truths(job.path.with_suffix(".json"), job.write())


def _test_stills(images: Path, folder: Path) -> list[Path]:
    """Unpack the test pictures that are not of the film of the real videos, in the order of the index."""
    with (images / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["split"] == "test" and r["source"] != FILM_OF_REAL_VIDEOS]
    names_by_shard: dict[str, list[str]] = {}
    for row in rows:
        names_by_shard.setdefault(row["shard"], []).append(row["name"])
    folder.mkdir(parents=True, exist_ok=True)
    for shard, names in names_by_shard.items():
        missing = [name for name in names if not (folder / name).exists()]
        if missing:
            with tarfile.open(images / shard) as tar:
                for name in missing:
                    part = folder / f"{name}.part"
                    part.write_bytes(cast(IO[bytes], tar.extractfile(name)).read())
                    part.replace(folder / name)
    return [folder / row["name"] for row in rows]


def _rng(seed: int, *purpose: str) -> np.random.Generator:
    """A generator of its own for every purpose, so that a change of one leaves the others."""
    return np.random.default_rng([seed, *(zlib.crc32(word.encode()) for word in purpose)])


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]

"""Making the files of a benchmark: in parallel, once, and anew where what makes them has changed.

    benchmark_data: plan ─► [jobs ─► file, truth, key] ─► benchmark_search

Beside `name.mp4` lies `name.key`, a digest of the job, written last. A file whose key is that of its job is complete
and up to date, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from visil.synth.camera import moving_crop
from visil.synth.edits import EDITS_VERSION, apply_edit
from visil.synth.furniture import FURNITURE_VERSION, furnish
from visil.synth.montage import MONTAGE_VERSION, Shot, montage_truth, write_montage
from visil.synth.montage_truth import MontageTruth, write_montage_truth
from visil.synth.truth import EditTruth, read_truths, write_truths
from visil.synth.video_file import read_still, write_video

PANS_VERSION = 1
PROGRESS_SECONDS = 20.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job(ABC):
    """A file to be made. The fields of a kind of job say everything that the file depends on, but for the code.

    Attributes:
        path: of the file; its name is part of the job, the folder is not.
    """

    path: Path

    @property
    @abstractmethod
    def version(self) -> int:
        """Of the code that makes the file: raised when it makes another one of the same fields."""

    @abstractmethod
    def write(self) -> None:
        """Make the file, and beside it the truth of which pictures it shows when, if there is any."""

    @property
    def key(self) -> str:
        """Digest of all that the file depends on."""
        values = [(field.name, getattr(self, field.name)) for field in fields(self)]
        text = json.dumps([type(self).__name__, self.version, values], default=_plain)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Pan(Job):
    """A camera moving over a still, under furniture if a kind is named; all of a kind and seed are furnished alike."""

    still: Path
    seed: int
    duration_s: float
    fps: int
    size_px: tuple[int, int]
    furniture: str = ""

    @property
    def version(self) -> int:
        """Both versions in one number: keys of files that are made hold it."""
        return PANS_VERSION if not self.furniture else PANS_VERSION * 1000 + FURNITURE_VERSION

    def write(self) -> None:
        pictures = moving_crop(
            read_still(self.still),
            rng_of(self.seed, self.path.name),
            num_pictures=round(self.duration_s * self.fps),
            size_px=self.size_px,
        )
        if self.furniture:
            pictures = furnish(pictures, self.furniture, self.seed, fps=self.fps)
        write_video(self.path, pictures, self.fps)


@dataclass(frozen=True)
class Montage(Job):
    """Shots one after the other."""

    shots: tuple[Shot, ...]
    fps: int
    size_px: tuple[int, int]

    @property
    def version(self) -> int:
        return MONTAGE_VERSION

    @property
    def truth(self) -> MontageTruth:
        return montage_truth(self.path.name, self.shots, fps=self.fps)

    def write(self) -> None:
        truth = write_montage(self.path, self.shots, fps=self.fps, size_px=self.size_px)
        write_montage_truth(self.path.with_suffix(".json"), truth)


@dataclass(frozen=True)
class Compilation(Montage):
    """Clips of several videos, one after the other.

    Attributes:
        source_keys: of the jobs that made the videos, in the order of the shots; empty for a real video.
    """

    source_keys: tuple[str, ...]


@dataclass(frozen=True)
class Edit(Job):
    """An edited copy of a part of a source.

    Attributes:
        source_key: of the job that made the source; empty for a real video.
        span_s: the part; None: all of it.
        hosts: stills for the footage around.
    """

    source: Path
    source_key: str
    family: str
    level: str
    seed: int
    span_s: tuple[float, float] | None
    hosts: tuple[Path, ...]
    max_short_side_px: int
    max_fps: int

    @property
    def version(self) -> int:
        return EDITS_VERSION

    @property
    def truth(self) -> EditTruth:
        """Of the made file."""
        return read_truths(self.path.with_suffix(".json"))[0]

    def write(self) -> None:
        truth = apply_edit(
            self.source,
            self.family,
            self.level,
            self.path,
            rng_of(self.seed, self.path.name),
            span_s=self.span_s,
            host_stills=self.hosts,
            max_short_side_px=self.max_short_side_px,
            max_fps=self.max_fps,
        )
        write_truths(self.path.with_suffix(".json"), [truth])


def make(jobs: Sequence[Job], *, workers: int) -> None:
    """Write what is missing or was made by another job."""
    waiting = [job for job in jobs if not _is_made(job)]
    if not waiting:
        return
    for folder in {job.path.parent for job in waiting}:
        folder.mkdir(parents=True, exist_ok=True)
    logger.info("making %d of %d files", len(waiting), len(jobs))
    said_s = time.monotonic()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done, _ in enumerate(pool.map(_make_one, waiting, chunksize=1 + min(7, len(waiting) // 100)), start=1):
            if time.monotonic() - said_s > PROGRESS_SECONDS:
                said_s = time.monotonic()
                logger.info("made %d of %d files", done, len(waiting))


def rng_of(seed: int, *purpose: str) -> np.random.Generator:
    """A generator of its own for every purpose, so that a change of one leaves the others."""
    return np.random.default_rng([seed, *(zlib.crc32(word.encode()) for word in purpose)])


def _make_one(job: Job) -> None:
    job.write()
    job.path.with_suffix(".key").write_text(job.key, encoding="utf-8")


def _is_made(job: Job) -> bool:
    try:
        return job.path.with_suffix(".key").read_text(encoding="utf-8") == job.key and job.path.exists()
    except OSError:
        return False


def _plain(value: object) -> object:
    """For JSON: values as their fields, files by name."""
    if isinstance(value, Path):
        return value.name
    return [getattr(value, field.name) for field in fields(value)]  # type: ignore[arg-type]

"""How much there is to do, before a long run, and what it will take on the disk.

jobs × what is stored ─► [workload] ─► a line before the run, bytes done while it runs
                         this module
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from visil.library.planning import Job
from visil.library.store import FAILED, VideoRecord
from visil.media.decoding import DecodeLimits, probe_durations
from visil.media.preprocessing import Preprocessing
from visil.model.model import Model

LONG_RUN_BYTES = 1 << 30  # less makes a library of some 20 MB and ends within minutes: nothing to plan
NUM_PROBED = 64  # headers that are read, or rows that are known, for the samples a byte of video makes
PROBE_STALL_S, PROBES_S = 2.0, 10.0  # one header, and all: on a disk that does not answer nobody waits for an estimate
BLOCK_BYTES = 512  # of `st_blocks`, whatever the disk has
BYTES_PER_VIDEO = 1024  # facts of a row, measured: 0.6 kB, and more with long paths


@dataclass(frozen=True)
class Workload:
    """What a run has to do.

    Attributes:
        num_files, num_bytes: files to decode, and their sizes without the holes of sparse files.
        library_bytes: estimate of what the library will grow by; None for a short run, or where nothing tells.
        free_bytes: on the disk of the library.
    """

    num_files: int
    num_bytes: int
    library_bytes: int | None
    free_bytes: int


def workload(
    jobs: Sequence[Job],
    records: Sequence[VideoRecord],
    *,
    model: Model,
    preprocessing: Preprocessing,
    limits: DecodeLimits,
    folder: Path,
) -> Workload:
    """What these jobs are for a library in this folder that holds these videos."""
    to_decode = [job for job in jobs if job.copy_of is None]
    num_bytes = sum(map(bytes_to_decode, to_decode))
    library_bytes = None
    if num_bytes >= LONG_RUN_BYTES:
        rate = _known_rate(records) or _probed_rate(to_decode, preprocessing, limits)
        if rate is not None:
            num_rows = sum(len(job.targets) for job in jobs)
            library_bytes = round(rate * num_bytes * bytes_per_sample(model)) + num_rows * BYTES_PER_VIDEO
    return Workload(len(to_decode), num_bytes, library_bytes, shutil.disk_usage(folder).free)


def bytes_to_decode(job: Job) -> int:
    """What the file of a job takes on its disk, at most its size: gigabytes of nothing are soon read."""
    size_bytes = job.targets[0].file.size_bytes
    try:
        blocks = getattr(job.path.stat(), "st_blocks", 0)  # Windows does not tell, some network drives say 0
    except OSError:
        blocks = 0
    return min(size_bytes, blocks * BLOCK_BYTES) if blocks else size_bytes


def bytes_per_sample(model: Model) -> float:
    """What a sample takes in the table: its region vectors, its time, its share of a descriptor."""
    num_regions = model.bundle.tensors["check.region_vectors"].shape[-2]  # of the fixed picture, as of most others
    part_samples = model.settings.part_samples
    descriptor = 0.0 if part_samples is None else model.dim * 4 / part_samples
    return num_regions * model.stored_dim * model.stored_dtype.itemsize + 8 + descriptor


def _known_rate(records: Sequence[VideoRecord]) -> float | None:
    """Samples a byte of video, of what the library holds."""
    known = [record for record in records if record.status != FAILED and not record.file.is_feature_set]
    if len(known) < NUM_PROBED:
        return None
    return sum(record.num_samples for record in known) / sum(record.file.size_bytes for record in known)


def _probed_rate(jobs: Sequence[Job], preprocessing: Preprocessing, limits: DecodeLimits) -> float | None:
    """Samples a byte of video, by the headers of some files, evenly chosen; of the first of them on a slow disk."""
    probed = jobs[:: -(-len(jobs) // NUM_PROBED)]
    limits = replace(limits, stall_s=min(limits.stall_s, PROBE_STALL_S))
    durations_s = probe_durations(_in_time(probed), limits=limits)
    told = [(job, duration_s) for job, duration_s in zip(probed, durations_s, strict=False) if duration_s is not None]
    least = preprocessing.min_samples if preprocessing.fills_short_videos else 1
    num_samples = sum(max(least, duration_s * preprocessing.fps) for _, duration_s in told)
    return num_samples / sum(bytes_to_decode(job) for job, _ in told) if told else None


def _in_time(jobs: Sequence[Job]) -> Iterator[Path]:
    """The path of one after another until PROBES_S have passed."""
    begin_s = time.monotonic()
    for job in jobs:
        if time.monotonic() - begin_s >= PROBES_S:
            return
        yield job.path

"""Adds videos to a library: find, plan, decode and encode, commit in batches.

    files ─► plan ─► [decode_files ─► VideoEncoder ─► commits] ─► table
                     this module

Decoding runs in worker processes, encoding here, and a commit holds whole videos only. An interrupt commits what is
ready; running the same command again goes on from there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from visil.errors import MediaError
from visil.library.files import content_hash, find_files
from visil.library.planning import Job, Plan, plan
from visil.library.store import Store, StoredVideo
from visil.media.decoding import DecodeLimits, decode_files
from visil.media.preprocessing import Preprocessing
from visil.model.model import Model, VideoEncoder
from visil.values import EncodedVideo, Frames

# A commit costs milliseconds whatever it holds; a crash costs at most one.
COMMIT_VIDEOS = 64
COMMIT_BYTES = 64 << 20
COMMIT_SECONDS = 10.0


@dataclass
class IngestReport:
    """What `add` did. Paths and ids are text; `failed` and `unreadable` hold (path, reason)."""

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    moved: list[tuple[str, str, str]] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    unchanged: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    failed_before: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    num_samples: int = 0

    @property
    def num_inputs(self) -> int:
        """Files looked at."""
        stored = len(self.added) + len(self.replaced) + self.unchanged
        return stored + len(self.failed) + len(self.failed_before)


@dataclass(frozen=True)
class Progress:
    """How far an `add` is: videos done and to do, samples encoded, failures."""

    done: int
    total: int
    num_samples: int
    failures: int


def add_files(
    store: Store,
    model: Model,
    preprocessing: Preprocessing,
    paths: Sequence[str | Path],
    *,
    pattern: str | None,
    include: Sequence[str],
    exclude: Sequence[str],
    workers: int,
    retry_failed: bool,
    reader: str,
    limits: DecodeLimits,
    progress: Callable[[Progress], None] | None,
) -> IngestReport:
    """See `Library.add`; the caller holds the writer lock."""
    found = find_files(paths, pattern=pattern, include=include, exclude=exclude)
    todo = plan(
        found.files,
        store.records(),
        hash_file=content_hash,
        roots=[Path(os.path.abspath(path)) for path in paths],
        retry_failed=retry_failed,
    )
    report = _report(todo, found.unreadable)
    store.update_files(todo.new_files)
    total = sum(len(job.targets) for job in todo.jobs) + len(report.failed)

    def tell() -> None:
        if progress is not None:
            done = len(report.added) + len(report.replaced) + len(report.failed)
            progress(Progress(done, total, report.num_samples, len(report.failed)))

    tell()
    encode_jobs(
        store, model, preprocessing, todo.jobs, workers=workers, reader=reader, limits=limits, report=report, tell=tell
    )
    return report


def encode_jobs(
    store: Store,
    model: Model,
    preprocessing: Preprocessing,
    jobs: Sequence[Job],
    *,
    workers: int,
    reader: str,
    limits: DecodeLimits,
    report: IngestReport,
    tell: Callable[[], None],
) -> None:
    """Decode, encode and store the files of `jobs`, or copy what is stored; the caller holds the writer lock.

    Whatever ends it, what was finished is committed. A file that fails becomes a failure row, one that changed while
    it was read leaves its rows as they are.

    Args:
        preprocessing: how the files are sampled; its pictures are those of the model's bundle.
        report: gets what happens to every file.
        tell: called after every job.
    """
    commits = _Commits(store, report)
    before = Store(store.uri, model.dim)  # copies read what was stored before this call, whatever is replaced meanwhile
    try:
        for job in jobs:
            if job.copy_of is not None:
                commits.finish(job, before.read(job.copy_of).encoded, None)
                tell()
        to_encode = [job for job in jobs if job.copy_of is None]
        encoders: dict[int, VideoEncoder] = {}
        with closing(
            decode_files((j.path for j in to_encode), preprocessing, workers=workers, reader=reader, limits=limits)
        ) as events:
            for index, event in events:
                if isinstance(event, Frames):
                    encoders.setdefault(index, VideoEncoder(model)).add(event)
                    report.num_samples += len(event)
                    commits.flush_if_due()  # a long video must not keep finished ones waiting
                else:
                    job, encoder = to_encode[index], encoders.pop(index, None)
                    if reason := _changed(job):  # nothing is stored, so that the next run tries again
                        report.failed += [(target.file.path, reason) for target in job.targets]
                    else:
                        commits.finish(job, *_finished(encoder, event.error))
                    tell()
    finally:
        commits.flush()


def _report(todo: Plan, unreadable: Sequence[tuple[str, str]]) -> IngestReport:
    return IngestReport(
        moved=todo.moved,
        vanished=[record.file.path for record in todo.vanished],
        unchanged=len(todo.unchanged),
        failed=[*unreadable, *todo.unreadable],
        failed_before=[(record.file.path, record.reason) for record in todo.failed_before],
    )


def _changed(job: Job) -> str:
    """Why what was read is not the content that was hashed, or an empty text."""
    file = job.targets[0].file
    try:
        status = job.path.stat()
    except OSError:
        return "vanished while it was read"
    unchanged = (status.st_size, status.st_mtime_ns) == (file.size_bytes, file.mtime_ns)
    return "" if unchanged else "changed while it was read; index it again"


def _finished(encoder: VideoEncoder | None, error: MediaError | None) -> tuple[EncodedVideo | None, MediaError | None]:
    """The encoded video, or why there is none."""
    if error is not None or encoder is None:
        return None, error or MediaError("no frame was decoded", "no_frames")
    try:
        return encoder.finish(), None
    except MediaError as failure:
        return None, failure


class _Commits:
    """Collects finished videos and writes them together."""

    def __init__(self, store: Store, report: IngestReport) -> None:
        self._store = store
        self._report = report
        self._waiting: list[StoredVideo] = []
        self._first_at_s = 0.0

    def finish(self, job: Job, encoded: EncodedVideo | None, error: MediaError | None) -> None:
        """A job is done: its rows go into the next commit."""
        reason = encoded.warning if encoded is not None else ""
        if error is not None:
            reason = str(error).removeprefix(f"{job.path}: ")
        for target in job.targets:
            if not self._waiting:
                self._first_at_s = time.monotonic()
            self._waiting.append(
                StoredVideo(target.id, target.file, encoded, reason, error.reason_class if error is not None else "")
            )
            if error is not None:
                self._report.failed.append((target.file.path, reason))
                continue
            (self._report.added if target.is_new else self._report.replaced).append(target.id)
            if reason:
                self._report.warnings.append((target.file.path, reason))
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write what is waiting if it is many, large or old."""
        if self._waiting and (
            len(self._waiting) >= COMMIT_VIDEOS
            or sum(video.num_bytes for video in self._waiting) >= COMMIT_BYTES
            or time.monotonic() - self._first_at_s >= COMMIT_SECONDS
        ):
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        waiting, self._waiting = self._waiting, []
        self._store.put(waiting)

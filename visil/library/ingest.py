"""Adds videos to a library: find, plan, decode and encode, commit in batches.

    files ─► plan ─► looking_back ─► [decode_files ─► VideoEncoder ─► commits] ─► table
                                     this module

All of it goes on at once: processes decode, two threads encode, another writes, files are hashed beside. A commit holds
whole videos only. An interrupt commits what is ready; running the same command again goes on from there.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from visil.errors import MediaError
from visil.library.files import Look, PassedOver, content_hash, find_files, look_of, seen
from visil.library.looking_back import look_back
from visil.library.planning import Job, Plan, Target, plan
from visil.library.store import DamagedVideoError, Store, StoredVideo, VideoRecord
from visil.library.workload import Workload, bytes_to_decode, workload
from visil.media.decoding import DecodeEnd, DecodeLimits, decode_files
from visil.media.preprocessing import Preprocessing
from visil.media.reader import RULES
from visil.model.model import Model, VideoEncoder
from visil.model.threads import independent_threads
from visil.values import EncodedVideo, Frames

# A crash costs what is being collected and written, a hundredth of the run, at most a minute. Not less: every commit
# adds a file to the table and writes a list of all of them, and one every 10 s of a whole day would be 5 GB of lists.
COMMIT_VIDEOS = 256
COMMIT_BYTES = 64 << 20
FIRST_COMMIT_SECONDS = 5.0
COMMIT_SECONDS = 60.0
COMMIT_SHARE = 0.01

# Two chunks at once: 10 to 25 % more pictures of short videos a second on busy cores; three gave no more.
ENCODING_THREADS = 2

Event = tuple[int, Frames | DecodeEnd]
Outcome = tuple[EncodedVideo | None, MediaError | None]  # of a whole video


@dataclass
class IngestReport:
    """What `add` did. Paths and ids are text.

    Attributes:
        moved: (id, old path, new path).
        unchanged: neither moved nor read anew.
        failed, failed_before, warnings: (path, reason).
        passed_over: what else is in the folders.
        forgotten: source code that an earlier visil took for a video: a move to another bundle leaves its row behind.
        kept: (path, reason): were cut short, and the new try gave less, so that they stay as they were.
        num_again: of the videos that were replaced, how many an earlier visil may have read wrongly.
        unreachable: (path, reason): were read by older rules, and cannot be looked at; they stay as they were.
        num_cut_short: of the videos that were stored, how many a stall, a crash or a limit cut short.
        unmounted: (folder, number of its videos): missing or empty, so that nothing is known about them.
        num_samples, num_bytes: encoded, and read to the end, by this run.
    """

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    moved: list[tuple[str, str, str]] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    unmounted: list[tuple[str, int]] = field(default_factory=list)
    unchanged: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    failed_before: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    passed_over: PassedOver = field(default_factory=PassedOver)
    forgotten: list[str] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    num_again: int = 0
    unreachable: list[tuple[str, str]] = field(default_factory=list)
    num_cut_short: int = 0
    num_samples: int = 0
    num_bytes: int = 0

    @property
    def num_inputs(self) -> int:
        """Files looked at, and folders that are not there."""
        stored = len(self.added) + len(self.replaced) + len(self.kept) + self.unchanged
        elsewhere = {*self.replaced, *(path for path, _ in (*self.kept, *self.failed, *self.failed_before))}
        only_moved = sum(id not in elsewhere and path not in elsewhere for id, _, path in self.moved)
        return stored + only_moved + self.num_failures

    @property
    def num_failures(self) -> int:
        """Of these, how many could not be read, now or before."""
        return len(self.failed) + len(self.failed_before) + len(self.unmounted)


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done, total: videos.
        num_samples: encoded so far.
        failures: of the videos done.
        num_bytes: size of the files done; what is left takes about as long as its share of `workload.num_bytes`.
        workload: all that there is to do.
    """

    done: int
    total: int
    num_samples: int
    failures: int
    num_bytes: int
    workload: Workload


def add_files(
    store: Store,
    model: Model,
    preprocessing: Preprocessing,
    paths: Sequence[str | Path],
    *,
    pattern: str | None,
    include: Sequence[str],
    exclude: Sequence[str],
    only: Set[str] | None,
    workers: int,
    retry_failed: bool,
    reader: str,
    limits: DecodeLimits,
    progress: Callable[[Progress], None] | None,
    looked_back: Callable[[int, int], None] | None,
) -> IngestReport:
    """See `Library.add`; the caller holds the writer lock."""
    roots = [Path(os.path.abspath(path)) for path in paths]
    found = find_files(paths, pattern=pattern, include=include, exclude=exclude, only=only)
    records = store.records()
    todo = plan(
        found.files,
        records,
        hash_file=content_hash,
        roots=roots,
        retry_failed=retry_failed,
    )
    report = _report(todo, found.unreadable)
    report.passed_over = found.passed_over
    store.update_files(todo.new_files)
    older = look_back(
        store, todo, records, preprocessing, roots=roots, workers=workers, limits=limits, progress=looked_back
    )
    report.unreachable = older.unreachable
    again = {target.id for job in older.jobs for target in job.targets if target.is_again}
    report.unchanged = _num_unchanged(todo, again)
    encode_jobs(
        store,
        model,
        preprocessing,
        older.jobs,
        workers=workers,
        reader=reader,
        limits=limits,
        report=report,
        known=records,
        progress=progress,
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
    known: Sequence[VideoRecord],
    progress: Callable[[Progress], None] | None,
) -> None:
    """Decode, encode and store the files of `jobs`, or copy what is stored; the caller holds the writer lock.

    Whatever ends it, what was finished is committed. A file that fails becomes a failure row, one that changed while
    it was read leaves its rows as they are.

    Args:
        preprocessing: how the files are sampled; its pictures are those of the model's bundle.
        report: gets what happens to every file.
        known: videos that tell how many samples to expect.
        progress: called before the first job and after every one.
    """
    work = workload(jobs, known, model=model, preprocessing=preprocessing, limits=limits, folder=store.uri.parent)
    total = sum(len(job.targets) for job in jobs) + len(report.failed)

    def tell() -> None:
        if progress is not None:
            done = len(report.added) + len(report.replaced) + len(report.kept) + len(report.failed)
            progress(Progress(done, total, report.num_samples, len(report.failed), report.num_bytes, work))

    tell()
    before = Store(store.uri, model.dim)  # copies read what was stored before this call, whatever is replaced meanwhile
    with (
        closing(Commits(store, report, stored={record.id for record in before.records()})) as commits,
        closing(_Hashes(workers)) as hashes,
    ):
        to_encode = [job for job in jobs if job.copy_of is None]
        for job in jobs:
            if job.copy_of is not None:
                try:
                    copied = before.read(job.copy_of)
                except DamagedVideoError:
                    to_encode.append(replace(job, copy_of=None))
                    continue
                commits.finish(job, copied.encoded, None, rules=copied.rules)
                tell()
        with (
            closing(
                decode_files(hashes.begin(to_encode), preprocessing, workers=workers, reader=reader, limits=limits)
            ) as events,
            closing(_Encoding(model)) as encoding,
        ):
            for index, event, outcome in encoding.results(events):
                if isinstance(event, Frames):
                    report.num_samples += len(event)
                    commits.flush_if_due()  # a long video must not keep finished ones waiting
                    continue
                job = to_encode[index]
                report.num_bytes += bytes_to_decode(job)
                try:
                    commits.finish(hashes.complete(index, job), *outcome)
                except _FileChangedError as error:  # nothing is stored, so that the next run tries again
                    report.failed += [(target.file.path, str(error)) for target in job.targets]
                tell()


def _num_unchanged(todo: Plan, again: Set[str] = frozenset()) -> int:
    """Rows of which nothing changes, not even the path."""
    others = again | {id for id, _, _ in todo.moved}
    return sum(record.id not in others for record in todo.unchanged)


def _report(todo: Plan, unreadable: Sequence[tuple[str, str]]) -> IngestReport:
    return IngestReport(
        moved=todo.moved,
        vanished=[record.file.path for record in todo.vanished],
        unmounted=list(todo.unmounted.items()),
        unchanged=_num_unchanged(todo),
        failed=[*(given for given in unreadable if not _is_of(given[0], todo.unmounted)), *todo.unreadable],
        failed_before=[(record.file.path, record.reason) for record in todo.failed_before],
    )


def _is_of(path: str, unmounted: Iterable[str]) -> bool:
    """Whether a path is a folder that is not mounted, lies in one, or holds one."""
    given = Path(os.path.abspath(path))
    return any(given.is_relative_to(root) or Path(root).is_relative_to(given) for root in unmounted)


class _Encoding:
    """Encodes a few chunks at once, so that while the last pictures of one are computed, the next has begun."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._threads = independent_threads(ENCODING_THREADS)
        self._encoders: dict[int, VideoEncoder] = {}

    def results(self, events: Iterable[Event]) -> Iterator[tuple[int, Frames | DecodeEnd, Outcome]]:
        """Events in their order when they are dealt with; what became of the video is known at its end."""
        begun: deque[tuple[int, Frames | DecodeEnd, Future[Outcome]]] = deque()
        latest: dict[int, Future[Outcome]] = {}  # of each video: its chunks go in order
        has_backbone = False

        def first() -> tuple[int, Frames | DecodeEnd, Outcome]:
            index, event, future = begun[0]
            outcome = future.result()
            begun.popleft()
            return index, event, outcome

        try:
            for index, event in events:
                future = self._threads.submit(self._take, index, event, latest.pop(index, None))
                begun.append((index, event, future))
                if isinstance(event, Frames):
                    latest[index] = future
                    if not has_backbone:
                        future.result()  # the first chunk builds it, alone
                        has_backbone = True
                while len(begun) > 2 * ENCODING_THREADS or (begun and begun[0][2].done()):
                    yield first()
        except KeyboardInterrupt:
            while begun:  # a moment's work, and whole videos may be in it
                yield first()
            raise
        while begun:
            yield first()

    def close(self) -> None:
        """Give up what has not begun."""
        self._threads.shutdown(cancel_futures=True)

    def _take(self, index: int, event: Frames | DecodeEnd, before: Future[Outcome] | None) -> Outcome:
        if before is not None:
            before.result()
        if isinstance(event, Frames):
            self._encoders.setdefault(index, VideoEncoder(self._model)).add(event)
            return None, None
        return _finished(self._encoders.pop(index, None), event.error)


def _finished(encoder: VideoEncoder | None, error: MediaError | None) -> Outcome:
    """The encoded video, or why there is none."""
    if error is not None or encoder is None:
        return None, error or MediaError("no frame was decoded", "no_frames")
    try:
        return encoder.finish(), None
    except MediaError as failure:
        return None, failure


class _FileChangedError(Exception):
    """What was decoded may not be what was hashed; the message says why, for the report."""


class _Hashes:
    """Hashes files while they are decoded: a file is read from the disk once, and nobody waits for the hash."""

    def __init__(self, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="visil-hash")
        self._stop = threading.Event()
        self._begun: dict[int, Future[str]] = {}
        self._seen: dict[int, Look | None] = {}

    def begin(self, jobs: Sequence[Job]) -> Iterator[Path]:
        """The path of each job, its file looked at and its hash begun when the path is taken."""
        for index, job in enumerate(jobs):
            self._seen[index] = seen(job.path)
            if not job.sha256:
                self._begun[index] = self._threads.submit(content_hash, job.path, stop=self._stop)
            yield job.path

    def complete(self, index: int, job: Job) -> Job:
        """The job with the hash of its content.

        Raises:
            _FileChangedError: the file is not what it was when it was found, or cannot be read.
        """
        try:
            if index in self._begun:
                job = job.with_hash(self._begun.pop(index).result())
            now = look_of(job.path.stat())
        except FileNotFoundError:
            raise _FileChangedError("vanished while it was read") from None
        except OSError as error:
            raise _FileChangedError(f"cannot be read ({error.strerror or error})") from error
        file = job.targets[0].file
        if now[:2] != (file.size_bytes, file.mtime_ns) or now != self._seen.pop(index):
            raise _FileChangedError("changed while it was read; index it again")
        return job

    def close(self) -> None:
        """Give up what is under way."""
        self._stop.set()
        self._threads.shutdown(cancel_futures=True)


def _gives_less(encoded: EncodedVideo | None, target: Target) -> bool:
    """Whether the row has more of the same content than this result; a whole video is never less."""
    if encoded is None:
        return target.num_kept > 0 or target.is_again
    is_in_part = encoded.cut_short if target.is_again else encoded.warning
    return encoded.num_samples < target.num_kept and is_in_part != ""


class Commits:
    """Collects finished videos and has another thread write them together, one commit at a time.

    At most one commit is being written and one collected: a slow disk holds the encoding up, not the memory. What the
    writing thread raises comes out of every later call here, and nothing more is written. An interrupt may come between
    any two steps: a commit may then be written a second time, to the same rows.
    """

    def __init__(self, store: Store, report: IngestReport, stored: set[str]) -> None:
        self._store = store
        self._report = report
        self._stored = stored  # ids that are in the table
        self._waiting: list[StoredVideo] = []
        self._started_s = self._first_at_s = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="visil-write")
        self._writing: Future[None] | None = None

    def finish(self, job: Job, encoded: EncodedVideo | None, error: MediaError | None, *, rules: int = RULES) -> None:
        """A job is done: its rows go into the next commit.

        Args:
            rules: version of the reading rules by which the file was read.
        """
        reason, reason_class = (encoded.warning, encoded.cut_short) if encoded is not None else ("", "")
        if error is not None:
            reason, reason_class = str(error).removeprefix(f"{job.path}: "), error.reason_class
        for target in job.targets:
            if _gives_less(encoded, target):
                self._report.kept.append((target.file.path, reason))
                continue
            if not self._waiting:
                self._first_at_s = time.monotonic()
            self._waiting.append(StoredVideo(target.id, target.file, encoded, reason, reason_class, rules))
            if error is not None:
                self._report.failed.append((target.file.path, reason))
                continue
            (self._report.added if target.is_new else self._report.replaced).append(target.id)
            self._report.num_again += target.is_again
            if reason:
                self._report.warnings.append((target.file.path, reason))
            self._report.num_cut_short += reason_class != ""
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write what is waiting if it is many, large or old."""
        if self._waiting and (
            len(self._waiting) >= COMMIT_VIDEOS
            or sum(video.num_bytes for video in self._waiting) >= COMMIT_BYTES
            or self._is_old()
        ):
            self._flush()

    def _is_old(self) -> bool:
        now_s = time.monotonic()
        limit_s = min(COMMIT_SECONDS, max(FIRST_COMMIT_SECONDS, COMMIT_SHARE * (now_s - self._started_s)))
        return now_s - self._first_at_s >= limit_s

    def close(self) -> None:
        """Write what is waiting, and wait until it is written."""
        try:
            self._flush()
            self._wait()
        finally:
            self._thread.shutdown()

    def _flush(self) -> None:
        self._wait()
        if self._waiting:
            self._writing = self._thread.submit(self._write, self._waiting)
            self._waiting = []

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(self, videos: Sequence[StoredVideo]) -> None:
        new = [video for video in videos if video.id not in self._stored]
        self._store.put([video for video in videos if video.id in self._stored])
        self._store.append(new)
        self._stored.update(video.id for video in new)

"""Moves a library to another bundle: every video is encoded anew beside the old vectors, then one file is replaced.

    library.toml ─► videos.lance                         what readers see until the end
    reindex.toml ─► [model-2.safetensors, videos-2.lance] ─► renamed to library.toml: the switch
                    this module

Ids and paths stay. The new generation is complete before it is used: it holds every video of the old one, by id and
content. A killed run goes on where it stopped, because reindex.toml says what the half-made files are for.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from visil.commands import visil_command
from visil.errors import LibraryError, MediaError, ModelError
from visil.library.disk import flush_folder, replace_file
from visil.library.files import content_hash, is_source_code
from visil.library.ingest import IngestReport, Progress, encode_jobs
from visil.library.planning import Job, Target
from visil.library.settings import SETTINGS, LibrarySettings, read_settings, write_settings
from visil.library.store import FAILED, FileFacts, Store, StoredVideo, VideoRecord, create_table
from visil.library.sums import Sums, being_replaced
from visil.library.upgrading import bring_up_to_date
from visil.media.decoding import DecodeLimits
from visil.media.preprocessing import Preprocessing
from visil.model.bundle import Bundle, load_bundle
from visil.model.model import Model

PENDING = "reindex.toml"  # what library.toml will be; there from the beginning of a move to its end


class UnfinishedReindexError(LibraryError):
    """Some videos could not be encoded anew, so the library stays with its old bundle; what is ready is kept.

    Attributes:
        report: of this run; `failed` names the videos.
    """

    def __init__(self, message: str, report: IngestReport) -> None:
        super().__init__(message)
        self.report = report


def begin(path: Path, settings: LibrarySettings, model: Model, sampling: str) -> LibrarySettings:
    """The settings of the next generation, with its bundle, and an empty table if none is there from an earlier run.

    Raises:
        LibraryError: a move to another bundle or sampling is unfinished.
        OSError: it cannot be written.
    """
    wanted = settings.next_generation(model.settings.name, model.bundle.hash, sampling)
    if (path / PENDING).exists():
        begun = read_settings(path, name=PENDING)
        if replace(begun, format_version=wanted.format_version) != wanted:
            raise LibraryError(
                f"library {path}: a move to bundle {begun.bundle_name!r} ({begun.bundle_hash[:12]}), sampling by "
                f"{begun.sampling!r}, is unfinished; finish it, or delete {path / PENDING} to give it up"
            )
        if not _holds_bundle(path / wanted.bundle_file, model.bundle):
            _save_bundle(path / wanted.bundle_file, model.bundle)
        if not begun.has_digests:
            bring_up_to_date(path, begun, model, name=PENDING)
        return wanted
    shutil.rmtree(path / wanted.table_file, ignore_errors=True)  # of a move that was given up
    _save_bundle(path / wanted.bundle_file, model.bundle)
    create_table(path / wanted.table_file, model.dim)
    write_settings(path, wanted, name=PENDING)
    return wanted


def _save_bundle(path: Path, bundle: Bundle) -> None:
    with being_replaced(path):
        bundle.save(path)


def _holds_bundle(path: Path, bundle: Bundle) -> bool:
    try:
        return load_bundle(path).hash == bundle.hash
    except ModelError:
        return False


def switch(path: Path) -> None:
    """Make the generation that was begun the one in use."""
    flush_folder(path / read_settings(path, name=PENDING).table_file)
    Sums(path).forget([path / PENDING])
    with being_replaced(path / SETTINGS):
        replace_file(path / PENDING, path / SETTINGS)


def encode_anew(
    old: Store,
    new: Store,
    model: Model,
    preprocessing: Preprocessing,
    *,
    workers: int,
    reader: str,
    limits: DecodeLimits,
    samples_alike: bool,
    progress: Callable[[Progress], None] | None,
) -> IngestReport:
    """Bring `new` to hold every video of `old`, encoded with `model`; the caller holds the writer lock.

    Failed rows of source code, which an earlier visil took for a video, are left behind.

    Args:
        samples_alike: whether a whole video has as many samples as before.

    Raises:
        UnfinishedReindexError: files are gone, changed, or cannot be decoded any more.
    """
    records = old.records()
    forgotten = {
        row.id: row.file.path for row in records if row.status == FAILED and is_source_code(Path(row.file.path))
    }
    videos = [row for row in records if row.id not in forgotten]
    todo = plan_move(videos, new.records(), look_at=_as_it_is, samples_alike=samples_alike)
    new.delete(todo.surplus)
    new.update_files(todo.new_files)
    new.put(todo.failures)
    report = IngestReport(unchanged=len(todo.ready), failed=todo.unreadable, forgotten=[*forgotten.values()])
    report.failed_before += [(video.file.path, video.reason) for video in todo.failures]
    encode_jobs(
        new,
        model,
        preprocessing,
        todo.jobs,
        workers=workers,
        reader=reader,
        limits=limits,
        report=report,
        known=videos,
        progress=progress,
    )
    new.refresh()
    made = {record.id: record for record in new.records()}
    lost = [video.file.path for video in videos if not _is_ready(video, made.get(video.id), samples_alike)]
    if lost:
        library = old.uri.parent
        reason = dict([*report.warnings, *report.failed])[lost[0]]
        raise UnfinishedReindexError(
            f"{len(lost)} of {len(videos)} videos cannot be encoded with bundle {model.settings.name!r} (first: "
            f"{lost[0]}: {reason}); bring their files back, `{visil_command('remove', 'ID...', library=library)}` or "
            f"`{visil_command('index', 'PATH...', library=library)}` them, then run this again; until then the library "
            "answers with its old bundle",
            report,
        )
    return report


@dataclass
class MovePlan:
    """What is to be done for a new generation; see `plan_move`."""

    ready: list[VideoRecord] = field(default_factory=list)
    new_files: dict[str, FileFacts] = field(default_factory=dict)  # of ready videos, moved or touched meanwhile
    surplus: list[str] = field(default_factory=list)  # ids that were removed meanwhile
    failures: list[StoredVideo] = field(default_factory=list)  # failed before, and cannot even be tried now
    jobs: list[Job] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # path, reason


def plan_move(
    old: Sequence[VideoRecord],
    new: Sequence[VideoRecord],
    *,
    look_at: Callable[[FileFacts], FileFacts],
    samples_alike: bool,
) -> MovePlan:
    """What the new generation lacks of the old one.

    A content is encoded once, from any file that still has it: of two equal files one may be gone.

    Args:
        look_at: a file as it is now; raises MediaError if it does not hold the content that was indexed.
        samples_alike: whether a whole video has as many samples in both.
    """
    made = {record.id: record for record in new}
    ids = {record.id for record in old}
    result = MovePlan(surplus=[record.id for record in new if record.id not in ids])
    waiting: dict[str, list[VideoRecord]] = defaultdict(list)
    for record in sorted(old, key=lambda r: r.file.path):
        its = made.get(record.id)
        if its is None or not _is_ready(record, its, samples_alike):
            waiting[record.file.sha256].append(record)
            continue
        result.ready.append(record)
        if its.file != record.file:
            result.new_files[record.id] = record.file
    encoded = {record.file.sha256: made[record.id] for record in result.ready if record.status != FAILED}
    for sha256, records in waiting.items():
        copied = encoded.get(sha256)
        if copied is not None and all(_is_ready(record, copied, samples_alike) for record in records):
            targets = [Target(record.id, record.file, is_new=True) for record in records]
            result.jobs.append(Job(tuple(targets), copy_of=copied.id))
        else:
            _plan_content(records, look_at, result)
    return result


def _plan_content(records: Sequence[VideoRecord], look_at: Callable[[FileFacts], FileFacts], result: MovePlan) -> None:
    """One content that is not encoded yet, and the videos that have it."""
    readable: list[Target] = []
    others: list[Target] = []
    problems: list[str] = []
    for record in records:
        try:
            readable.append(Target(record.id, look_at(record.file), is_new=True))
        except MediaError as error:
            others.append(Target(record.id, record.file, is_new=True))
            problems.append(str(error))
    if readable:
        result.jobs.append(Job((*readable, *others)))
        return
    for record, problem in zip(records, problems, strict=True):
        if record.status == FAILED:
            result.failures.append(
                StoredVideo(record.id, record.file, None, record.reason, record.reason_class, record.rules)
            )
        else:
            result.unreadable.append((record.file.path, problem))


def _is_ready(old: VideoRecord, new: VideoRecord | None, samples_alike: bool) -> bool:
    """Nothing of a video is lost with the old generation.

    Equal content, and it fails only if it failed before, is cut short only if it failed or was before, and no sooner.
    """
    if new is None or new.file.sha256 != old.file.sha256:
        return False
    if new.status == FAILED:
        return old.status == FAILED
    if not new.is_to_retry:
        return True
    return old.is_to_retry and (new.num_samples >= old.num_samples or not samples_alike)


def _as_it_is(file: FileFacts) -> FileFacts:
    """The facts of a file that may have been touched, but has the content that was indexed."""
    if file.is_feature_set:
        raise MediaError("its region vectors came from a feature file: it cannot be encoded anew", "unreadable")
    path = Path(file.path)
    try:
        status = path.stat()
        if (status.st_size, status.st_mtime_ns) == (file.size_bytes, file.mtime_ns):
            return file
        if status.st_size == file.size_bytes and content_hash(path) == file.sha256:
            return replace(file, mtime_ns=status.st_mtime_ns)
    except FileNotFoundError as error:
        raise MediaError("its file is gone", "unreadable") from error
    except OSError as error:
        raise MediaError(f"its file cannot be read ({error.strerror or error})", "unreadable") from error
    raise MediaError("its file has changed since it was indexed", "unreadable")

"""What adding a set of files changes in a library: a pure function of what is found and what is stored.

found files × stored videos ─► [plan] ─► update paths, copy, encode, report
                               this module
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from visil.commands import shell_word
from visil.library.files import FoundFile, file_facts, new_id
from visil.library.store import FAILED, FileFacts, VideoRecord


@dataclass(frozen=True)
class Target:
    """A row to write: an id and the file it stands for.

    Attributes:
        num_kept: samples of this content that the row holds; a result that gives less must not replace it.
        is_again: older rules may have read these samples wrongly, and sound ones may be fewer.
    """

    id: str
    file: FileFacts
    is_new: bool
    num_kept: int = 0
    is_again: bool = False


@dataclass(frozen=True)
class Job:
    """One content, encoded once (or copied from a stored video), and the rows it fills.

    The hash of a content that no other file can have is not known yet: it is computed while the file is decoded.
    """

    targets: tuple[Target, ...]
    copy_of: str | None = None

    @property
    def path(self) -> Path:
        return Path(self.targets[0].file.path)

    @property
    def sha256(self) -> str:
        """Of its content; empty while it is not known."""
        return self.targets[0].file.sha256

    def with_hash(self, sha256: str) -> Job:
        """The same, its content known."""
        return replace(self, targets=tuple(replace(t, file=replace(t.file, sha256=sha256)) for t in self.targets))


@dataclass
class Plan:
    """What is to be done, and what is only to be said."""

    unchanged: list[VideoRecord] = field(default_factory=list)
    failed_before: list[VideoRecord] = field(default_factory=list)
    new_files: dict[str, FileFacts] = field(default_factory=dict)  # id -> the file it stands for now
    moved: list[tuple[str, str, str]] = field(default_factory=list)  # id, old path, new path
    jobs: list[Job] = field(default_factory=list)
    vanished: list[VideoRecord] = field(default_factory=list)
    unmounted: dict[str, int] = field(default_factory=dict)  # root that is missing or empty -> its videos
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # path, reason


Look = tuple[FoundFile, FileFacts, VideoRecord | None]  # a file, as it is now, and the row of its path


def plan(
    found: Sequence[FoundFile],
    records: Sequence[VideoRecord],
    *,
    hash_file: Callable[[Path], str],
    roots: Iterable[Path],
    retry_failed: bool = False,
) -> Plan:
    """Decide about every file, in the order of their paths, so that the answer depends on nothing else.

    A file whose path, size and time are stored is not read. Of the others those are hashed whose size another file
    or row has too, because they may be equal: the same content under the same path only updates the time; under a new
    path it is a move if the old path is gone, else a second row that is not encoded again. An id survives moves and
    changes. A content whose hash is not known equals no other: not that of a file that was not read, nor that of a row
    that `verify --repair` could not keep.

    When a whole root is missing or empty, a drive is taken to be unmounted: its videos are neither gone nor moved,
    unless one of them is found again at the same path below another root: then the root was renamed.

    To try again what failed or was cut short reads it anew, whoever has the same content.

    Rows that came from a feature file have no file that could be found or gone; only their ids are taken.
    """
    result = Plan()
    taken: set[str] = {record.id for record in records}
    records = [record for record in records if not record.file.is_feature_set]
    pending = _changed_or_new(found, records, result, hash_file=hash_file, retry_failed=retry_failed)
    below = tuple(roots)
    gone: dict[str, list[VideoRecord]] = defaultdict(list)
    for missing in _gone(records, pending, below, result):  # popped from the end: first path first
        gone[missing.file.sha256].append(missing)
    stored = {
        record.file.sha256: record.id
        for record in reversed(records)
        if record.status != FAILED and not (retry_failed and record.is_to_retry)
    }
    targets: dict[str, list[Target]] = {}
    for file, facts, record in pending:
        if record is None and facts.sha256 and gone[facts.sha256]:
            old = gone[facts.sha256].pop()
            result.new_files[old.id] = facts
            result.moved.append((old.id, old.file.path, facts.path))
            if old.is_to_retry and retry_failed:
                record = old
            else:
                (result.failed_before if old.status == FAILED else result.unchanged).append(old)
                continue
        id = record.id if record is not None else new_id(file, taken)
        taken.add(id)
        content = facts.sha256 or facts.path  # not hashed: like no other
        is_same = record is not None and record.file.sha256 == facts.sha256 != ""
        num_kept = record.num_samples if record is not None and is_same else 0
        targets.setdefault(content, []).append(Target(id, facts, is_new=record is None, num_kept=num_kept))
    result.jobs = [Job(tuple(rows), copy_of=stored.get(content)) for content, rows in targets.items()]
    result.vanished = sorted(
        (r for rows in gone.values() for r in rows if any(Path(r.file.path).is_relative_to(root) for root in below)),
        key=lambda r: r.id,
    )
    return result


def _changed_or_new(
    found: Sequence[FoundFile],
    records: Sequence[VideoRecord],
    result: Plan,
    *,
    hash_file: Callable[[Path], str],
    retry_failed: bool,
) -> list[Look]:
    """The files that need a new row or new vectors; what is known of the others goes into the plan."""
    by_path = {record.file.path: record for record in records}
    pending: list[Look] = []
    unknown: list[Look] = []
    for file in found:
        path = str(file.path)
        record = by_path.get(path)
        try:
            path.encode()  # the table holds text
            facts = file_facts(file, *file.stat(), sha256="")
        except OSError as error:
            result.unreadable.append((path, f"cannot be read ({error.strerror or error})"))
            continue
        except UnicodeEncodeError:
            result.unreadable.append((shell_word(path), "its name is not valid UTF-8; rename it"))
            continue
        if record is not None and (record.file.size_bytes, record.file.mtime_ns) == (facts.size_bytes, facts.mtime_ns):
            if record.is_to_retry and retry_failed:
                pending.append((file, record.file, record))
                continue
            (result.failed_before if record.status == FAILED else result.unchanged).append(record)
            if facts.root and not record.file.root:  # it was given by name before
                result.new_files[record.id] = replace(record.file, root=facts.root)
        else:
            unknown.append((file, facts, record))

    sizes = Counter(record.file.size_bytes for record in records)
    sizes.update(facts.size_bytes for _, facts, _ in unknown)
    for file, facts, record in unknown:
        if sizes[facts.size_bytes] > 1:
            try:
                facts = replace(facts, sha256=hash_file(file.path))
            except OSError as error:
                result.unreadable.append((facts.path, f"cannot be read ({error.strerror or error})"))
                continue
        is_only_touched = record is not None and record.file.sha256 == facts.sha256 != ""
        if record is not None and is_only_touched and not (record.is_to_retry and retry_failed):
            result.new_files[record.id] = facts
            (result.failed_before if record.status == FAILED else result.unchanged).append(record)
        else:
            pending.append((file, facts, record))
    return sorted(pending, key=lambda look: look[1].path)


def _gone(
    records: Sequence[VideoRecord], pending: Sequence[Look], roots: Sequence[Path], result: Plan
) -> list[VideoRecord]:
    """Rows whose file is gone, the last path first; those of unmounted roots are counted instead."""
    is_lost_root = cache(is_lost)
    gone = [r for r in sorted(records, key=lambda r: r.file.path, reverse=True) if is_gone(r.file.path)]
    lost = [r for r in gone if r.file.root and is_lost_root(r.file.root)]
    found = {
        (_below_root(facts), facts.sha256)
        for _, facts, record in pending
        if record is None and facts.root and facts.sha256
    }
    renamed = {r.file.root for r in lost if (_below_root(r.file), r.file.sha256) in found}
    unmounted = Counter(r.file.root for r in lost if r.file.root not in renamed)
    result.unmounted = {
        root: count
        for root, count in sorted(unmounted.items())
        if any(given.is_relative_to(root) or Path(root).is_relative_to(given) for given in roots)
    }
    return [record for record in gone if record.file.root not in unmounted]


def _below_root(file: FileFacts) -> str:
    return os.path.relpath(file.path, file.root)


def is_gone(path: str) -> bool:
    """A file that may be there, but cannot be looked at, is not gone."""
    try:
        return not Path(path).exists()
    except OSError:
        return False


def is_lost(root: str) -> bool:
    """Whether a folder is missing or empty, as the place of an unmounted drive is."""
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is None
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False

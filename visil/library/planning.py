"""What adding a set of files changes in a library: a pure function of what is found and what is stored.

found files × stored videos ─► [plan] ─► update paths, copy, encode, report
                               this module
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from visil.library.files import FoundFile, file_facts, new_id
from visil.library.store import FAILED, FileFacts, VideoRecord


@dataclass(frozen=True)
class Target:
    """A row to write: an id and the file it stands for."""

    id: str
    file: FileFacts
    is_new: bool


@dataclass(frozen=True)
class Job:
    """One content, encoded once (or copied from a stored video), and the rows it fills."""

    targets: tuple[Target, ...]
    copy_of: str | None = None

    @property
    def path(self) -> Path:
        return Path(self.targets[0].file.path)


@dataclass
class Plan:
    """What is to be done, and what is only to be said."""

    unchanged: list[VideoRecord] = field(default_factory=list)
    failed_before: list[VideoRecord] = field(default_factory=list)
    new_files: dict[str, FileFacts] = field(default_factory=dict)  # id -> the file it stands for now
    moved: list[tuple[str, str, str]] = field(default_factory=list)  # id, old path, new path
    jobs: list[Job] = field(default_factory=list)
    vanished: list[VideoRecord] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # path, reason


def plan(
    found: Sequence[FoundFile],
    records: Sequence[VideoRecord],
    *,
    hash_file: Callable[[Path], str],
    roots: Iterable[Path],
    retry_failed: bool = False,
) -> Plan:
    """Decide about every file, in the order of their paths, so that the answer depends on nothing else.

    A file whose path, size and time are stored is not read. Any other is hashed: the same content under the same path
    only updates the time; under a new path it is a move if the old path is gone, else a second row that is not encoded
    again. An id survives moves and changes.
    """
    result = Plan()
    by_path = {record.file.path: record for record in records}
    pending: list[tuple[FoundFile, FileFacts, VideoRecord | None]] = []
    for file in found:
        path = str(file.path)
        record = by_path.get(path)
        try:
            path.encode()  # the table holds text
            size_bytes, mtime_ns = file.stat()
            retried = record is not None and record.status == FAILED and retry_failed
            if record is not None and (record.file.size_bytes, record.file.mtime_ns) == (
                size_bytes,
                mtime_ns,
            ):
                if retried:
                    pending.append((file, record.file, record))
                elif record.status == FAILED:
                    result.failed_before.append(record)
                else:
                    result.unchanged.append(record)
                continue
            facts = file_facts(file, size_bytes, mtime_ns, hash_file(file.path))
        except OSError as error:
            result.unreadable.append((path, f"cannot be read ({error.strerror or error})"))
            continue
        except UnicodeEncodeError:
            result.unreadable.append((ascii(path), "its name is not valid UTF-8; rename it"))
            continue
        if record is not None and record.file.sha256 == facts.sha256 and not retried:
            result.new_files[record.id] = facts
            (result.failed_before if record.status == FAILED else result.unchanged).append(record)
        else:
            pending.append((file, facts, record))

    gone: dict[str, list[VideoRecord]] = defaultdict(list)
    for record in sorted(records, key=lambda r: r.file.path, reverse=True):  # popped from the end: first path first
        if _is_gone(record.file.path):
            gone[record.file.sha256].append(record)
    stored = {record.file.sha256: record.id for record in reversed(records) if record.status != FAILED}
    taken: set[str] = {record.id for record in records}
    targets: dict[str, list[Target]] = {}
    for file, facts, record in pending:
        if record is None and gone[facts.sha256]:
            old = gone[facts.sha256].pop()
            result.new_files[old.id] = facts
            result.moved.append((old.id, old.file.path, facts.path))
            if old.status == FAILED and retry_failed:
                record = old
            else:
                (result.failed_before if old.status == FAILED else result.unchanged).append(old)
                continue
        id = record.id if record is not None else new_id(file, taken)
        taken.add(id)
        targets.setdefault(facts.sha256, []).append(Target(id, facts, is_new=record is None))
    result.jobs = [Job(tuple(rows), copy_of=stored.get(sha256)) for sha256, rows in targets.items()]
    below = tuple(roots)
    result.vanished = sorted(
        (r for rows in gone.values() for r in rows if any(Path(r.file.path).is_relative_to(root) for root in below)),
        key=lambda r: r.id,
    )
    return result


def _is_gone(path: str) -> bool:
    """A file that may be there, but cannot be looked at, is not gone."""
    try:
        return not Path(path).exists()
    except OSError:
        return False

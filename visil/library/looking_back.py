"""Rows that were read by older rules: marked where the rules agree, read again where they may not, or left and named.

    plan ─► [rows of older rules ─► their files probed, a content once] ─► marks | jobs | what cannot be reached
            this module

Files are probed in decoding workers. What was found out is committed now and then, so that an interrupted run goes on.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from visil.library.planning import Job, Plan, Target, is_gone
from visil.library.store import FAILED, Store, VideoRecord
from visil.media.decoding import DecodeLimits, probe_files
from visil.media.preprocessing import Preprocessing
from visil.media.reader import RULES

MARK_SECONDS = 30.0  # what a crash costs; a commit reads and writes a few bytes of every row
NOT_TO_BE_LOOKED_AT = ("unreadable", "stalled")  # reason classes: of the disk more than of the file
GONE = "its file is gone"


@dataclass
class Content:
    """What is probed once: a file, and all that has its content.

    Attributes:
        rows: of older rules.
        new: rows that are to become copies of these.
    """

    path: str
    rows: list[VideoRecord] = field(default_factory=list)
    new: list[Target] = field(default_factory=list)


@dataclass
class Findings:
    """What is to be done about rows of older rules.

    Attributes:
        jobs: those of the plan, and those that read files again.
        unreachable: path and reason of videos whose rows stay as they are.
    """

    jobs: list[Job]
    unreachable: list[tuple[str, str]]


def look_back(
    store: Store,
    todo: Plan,
    records: Sequence[VideoRecord],
    preprocessing: Preprocessing,
    *,
    roots: Sequence[Path],
    workers: int,
    limits: DecodeLimits,
    progress: Callable[[int, int], None] | None,
) -> Findings:
    """Probe the files of a plan whose rows were read by older rules; the caller holds the writer lock.

    Rows of equal content share what is found, wherever their files are. Failed rows stay what they are, those of
    feature files were never decoded.

    Args:
        roots: what the plan is about; rows below them whose files are gone are named.
        progress: called before the first file and after every one with how many are done and how many there are.
    """
    contents = contents_to_probe(todo, records)
    unreachable: list[tuple[str, str]] = []
    doubtful: list[Content] = []
    tell = progress or (lambda done, total: None)
    with closing(_Marks(store)) as marks:
        marks.add([r for r in records if r.file.is_feature_set and r.rules < RULES])
        if contents:
            tell(0, len(contents))
        paths = [Path(content.path) for content in contents]
        with closing(probe_files(paths, preprocessing, workers=workers, limits=limits)) as events:
            for done, (index, end) in enumerate(events, 1):
                content = contents[index]
                if end.error is not None and end.error.reason_class in NOT_TO_BE_LOOKED_AT:
                    reason = str(end.error).removeprefix(f"{content.path}: ")
                    unreachable += [(row.file.path, reason) for row in content.rows]
                elif end.error is not None or end.doubt:
                    doubtful.append(content)
                else:
                    marks.add(content.rows)
                tell(done, len(contents))
    probed = {row.id for content in contents for row in content.rows}
    unreachable += [(row.file.path, GONE) for row in _gone(records, todo, roots) if row.id not in probed]
    return Findings(_with_again(todo, doubtful), unreachable)


def contents_to_probe(todo: Plan, records: Sequence[VideoRecord]) -> list[Content]:
    """The contents of older rows of which there is a file: one that is unchanged, or one that is to become a copy."""
    of_content: dict[str, list[VideoRecord]] = defaultdict(list)
    for row in filter(_is_older, records):
        of_content[row.file.sha256 or row.id].append(row)
    contents: dict[str, Content] = {}
    for row in filter(_is_older, todo.unchanged):
        key = row.file.sha256 or row.id
        contents.setdefault(key, Content(todo.new_files.get(row.id, row.file).path, of_content[key]))
    for job in todo.jobs:
        if job.copy_of is not None and job.sha256 in of_content:
            content = contents.setdefault(job.sha256, Content(str(job.path), of_content[job.sha256]))
            content.new = list(job.targets)
    return list(contents.values())


def _is_older(row: VideoRecord) -> bool:
    return row.rules < RULES and row.status != FAILED and not row.file.is_feature_set


def _with_again(todo: Plan, doubtful: Sequence[Content]) -> list[Job]:
    """The jobs of a plan, and those that read these contents again, for all their rows and copies."""
    planned = {target.id for job in todo.jobs for target in job.targets}
    again: list[Job] = []
    for content in doubtful:
        targets = content.new + [
            Target(row.id, todo.new_files.get(row.id, row.file), is_new=False, num_kept=row.num_samples, is_again=True)
            for row in content.rows
            if row.id not in planned
        ]
        again.append(Job(tuple(sorted(targets, key=lambda target: target.file.path != content.path))))
    no_copies = {target.id for content in doubtful for target in content.new}
    return [job for job in todo.jobs if job.targets[0].id not in no_copies] + again


def _gone(records: Sequence[VideoRecord], todo: Plan, roots: Sequence[Path]) -> Iterator[VideoRecord]:
    for row in filter(_is_older, records):
        path = Path(row.file.path)
        if row.id not in todo.new_files and any(path.is_relative_to(root) for root in roots) and is_gone(str(path)):
            yield row


class _Marks:
    """Rows that are known to fit the rules of today, committed together now and then."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, int] = {}
        self._marked_s = time.monotonic()

    def add(self, rows: Sequence[VideoRecord]) -> None:
        self._waiting |= {row.id: RULES for row in rows}
        if time.monotonic() - self._marked_s >= MARK_SECONDS:
            self.flush()

    def close(self) -> None:
        self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        self._store.update_rules(self._waiting)
        self._waiting = {}
        self._marked_s = time.monotonic()

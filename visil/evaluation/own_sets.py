"""Data sets of the user's own: a folder of tables, a CSV of pairs, or a JSON of relevant videos.

    manifest.csv + pairs.csv [+ split.csv] ─┐
    pairs.csv (a, b, label)                ─┼─► [own_set] ─► GroundTruth
    {query: {label: [videos]}}             ─┘   this module

The labels say which tasks there are:

- ND, PART, SI, REL, AMBIGUOUS: the levels ND, ND+PART and ND+PART+SI. A pair of a higher level, and an ambiguous one,
  is neither ranked nor counted; REL pairs and pairs that are not listed are negatives. Pairs with `hard` in their note
  are also a task of their own, `ND hard`.
- ND, DS, CS, IS, DA: the tasks of FIVR-200K, all of them, by its rules.
- 1 and 0: the task `relevant`.
- others: a task for each.

But for FIVR's, every query belongs to every task, so that its list counts in the micro-AP of a task in which nothing is
relevant to it: what is found there is a false alarm. Labels that fit none of these but are spelt like one, and numbers,
are an error: a slip of the pen makes no task. A CSV of pairs, and a JSON without a database, name only what is
relevant: every scored video is ranked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from visil.errors import DataError
from visil.evaluation.ground_truth import NO_VIDEOS, GroundTruth, Task
from visil.evaluation.published_sets import FIVR_LABELS, fivr_tasks
from visil.evaluation.real_videos import (
    AMBIGUOUS,
    LABELS,
    LEVELS,
    ND,
    PART,
    REL,
    SI,
    Pair,
    components_of,
    read_pairs,
    read_real_videos,
    related_pairs,
)
from visil.evaluation.tables import read_json

HARD = "ND hard"
RELEVANT, NOT_RELEVANT = "1", "0"
POSITIVE, NOT_POSITIVE = frozenset({ND, PART, SI, RELEVANT}), frozenset({AMBIGUOUS, REL, NOT_RELEVANT})
SHAPE = '{query: {label: [videos]}}, or {"queries": {query: {label: [videos]}}, "database": [videos]}'

Relations = Mapping[str, Mapping[str, Sequence[str]]]  # query -> label -> videos
Pairs = Mapping[str, Mapping[str, Pair]]  # video -> other video -> label


def is_own_set(path: Path) -> bool:
    """Whether a path looks like a data set of one of these kinds."""
    return path.is_file() or (path / "manifest.csv").exists() or (path / "pairs.csv").exists()


def own_set(path: Path, *, split: str | None = None) -> GroundTruth:
    """Read a data set from a folder, a CSV or a JSON file.

    Args:
        split: rows of `split.csv` to take; None: all rows.

    Raises:
        DataError: the file is of another kind, damaged or of another shape; labels are unknown; nothing is relevant to
            anything; there is no such split.
    """
    if path.is_dir():
        return _of_folder(path, split)
    if split is not None:
        raise DataError(f"{path}: has no split {split!r}; only a folder with split.csv has splits")
    if path.suffix.lower() == ".csv":
        pairs = read_pairs(path)
        links = [(a, b) for a, b in related_pairs(pairs) if pairs[a][b].label != NOT_RELEVANT]
        return _of_pairs(path, path.stem, pairs, components_of(pairs, links), database=None)
    if path.suffix.lower() == ".json":
        return _of_json(path)
    raise DataError(f"{path}: a data set is a folder with manifest.csv and pairs.csv, a .csv of pairs or a .json")


def _of_folder(folder: Path, split: str | None) -> GroundTruth:
    real = read_real_videos(folder)
    splits = sorted({video.split for video in real.videos.values()})
    if split is not None and split not in splits:
        raise DataError(f"{folder}: no split {split!r}; there are {', '.join(splits)}")
    videos = list(real.videos.values()) if split is None else real.of_split(split)
    files = [video.file for video in videos]
    inside = set(files)
    pairs = {
        file: {other: pair for other, pair in real.pairs.get(file, {}).items() if other in inside} for file in files
    }
    name = folder.resolve().name if split is None else f"{folder.resolve().name} {split}"
    return _of_pairs(folder, name, pairs, {video.file: video.component for video in videos}, database=files)


def _of_pairs(
    path: Path, name: str, pairs: Pairs, components: Mapping[str, str], database: Sequence[str] | None
) -> GroundTruth:
    """Every video that has a relevant partner is a query."""
    relations: dict[str, dict[str, list[str]]] = {}
    hard: dict[str, frozenset[str]] = {}
    for video, others in pairs.items():
        for other, pair in others.items():
            relations.setdefault(video, {}).setdefault(pair.label, []).append(other)
        hard[video] = frozenset(other for other, pair in others.items() if pair.label == ND and pair.is_hard)
    queries = [video for video in pairs if relations.get(video, {}).keys() - NOT_POSITIVE]
    tasks, warnings = _tasks(path, {query: relations[query] for query in queries}, hard)
    components = {query: components[query] for query in queries}
    return _ground_truth(path, name, queries, tasks, database, components=components, warnings=warnings)


def _of_json(path: Path) -> GroundTruth:
    table = read_json(path)
    database: list[str] | None = None
    warnings = []
    if _is_wrapped(table):
        if "database" in table:
            listed = table["database"]
            if not isinstance(listed, list) or not all(isinstance(video, str) for video in listed):
                raise DataError(f'{path}: "database" must be a list of ids')
            database = list(dict.fromkeys(listed))
            if len(database) < len(listed):
                warnings.append(f"{len(listed) - len(database)} videos of the database are listed twice: counted once")
        table = table["queries"]
    relations = _relations(path, table)
    lists = [videos for labels in relations.values() for videos in labels.values()]
    if repeated := sum(len(videos) - len(set(videos)) for videos in lists):
        warnings.append(f"{repeated} videos are listed twice under one label: counted once")
    if own := sum(any(query in videos for videos in labels.values()) for query, labels in relations.items()):
        warnings.append(f"{own} queries are listed among their own videos: not counted")
    if doubtful := sum(len(_contradictory(labels)) for labels in relations.values()):
        warnings.append(
            f"{doubtful} videos are listed as relevant and under {AMBIGUOUS}, {REL} or {NOT_RELEVANT} for one query: "
            "counted as relevant"
        )
    if database is not None and (unknown := set().union(*lists) - set(database)):
        warnings.append(f"{len(unknown)} listed videos are not in the database, such as {min(unknown)!r}: not counted")
    tasks, of_tasks = _tasks(path, relations, {})
    return _ground_truth(path, path.stem, list(relations), tasks, database, warnings=[*warnings, *of_tasks])


def _contradictory(labels: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Videos of a query that one label says are relevant and another that they are not, or may not be."""
    positive, not_positive = (
        NO_VIDEOS.union(*(labels.get(label, ()) for label in wanted)) for wanted in (POSITIVE, NOT_POSITIVE)
    )
    return positive & not_positive


def _is_wrapped(table: Any) -> bool:
    """Whether the queries lie under `queries`; a query may have that name too, but then lists lie below it."""
    if not isinstance(table, dict) or not {"queries"} <= table.keys() <= {"queries", "database"}:
        return False
    queries = table["queries"]
    return "database" in table or (isinstance(queries, dict) and all(isinstance(q, dict) for q in queries.values()))


def _relations(path: Path, table: Any) -> dict[str, dict[str, list[str]]]:
    """The mapping of a JSON, once its shape is sure."""
    if not isinstance(table, dict) or not table:
        raise DataError(f"{path}: must be {SHAPE}")
    for query, labels in table.items():
        if not isinstance(labels, dict):
            raise DataError(f"{path}: {query!r} has no {{label: [videos]}}; the file must be {SHAPE}")
        for label, videos in labels.items():
            if not isinstance(videos, list) or not all(isinstance(video, str) and video for video in videos):
                raise DataError(f"{path}: {query!r}, {label!r}: must be a list of ids (texts)")
    return table


def _tasks(path: Path, relations: Relations, hard: Mapping[str, Set[str]]) -> tuple[list[Task], list[str]]:
    """The tasks that the labels stand for, and warnings of those that are not shown.

    But for those of FIVR-200K, none is empty and none repeats another's relevant videos.
    """
    labels = {label for of_query in relations.values() for label, videos in of_query.items() if videos}
    if labels <= LABELS:
        tasks = [_level(relations, name, wanted) for name, wanted in LEVELS.items()]
        tasks.append(_hard(tasks[0], hard))
    elif labels <= set(FIVR_LABELS):
        return _some_relevant(path, fivr_tasks(relations, list(relations))), []
    elif labels <= {RELEVANT, NOT_RELEVANT}:
        tasks = [Task("relevant", _with_label(relations, {RELEVANT}))]
    elif meant := {label for label in labels if label.upper() in LABELS.union(FIVR_LABELS)}:
        raise DataError(
            f"{path}: labels {', '.join(sorted(labels))} do not belong together "
            f"({', '.join(sorted(meant))}: write {', '.join(sorted({label.upper() for label in meant}))}); "
            f"use {', '.join(sorted(LABELS))}, or {', '.join(FIVR_LABELS)}, or names of your own"
        )
    elif unclear := {label for label in labels if not label.strip() or _is_number(label)}:
        raise DataError(
            f"{path}: the label {min(unclear)!r} is no name of a task; use {RELEVANT} (relevant) and {NOT_RELEVANT} "
            "(not), or names of your own"
        )
    else:
        tasks = [Task(label, _with_label(relations, {label})) for label in sorted(labels)]
    kept: dict[str, Task] = {}
    repeated, empty = [], []
    for task in _some_relevant(path, tasks):
        same = next((name for name, other in kept.items() if task.relevant == other.relevant), None)
        if same is not None:
            repeated.append(f"{task.name} (as {same})")
        elif any(task.relevant.values()):
            kept[task.name] = task
        elif task.name != HARD:
            empty.append(task.name)
    happened = {"the relevant videos of another": repeated, "no relevant videos": empty}
    warnings = [
        f"{len(names)} tasks have {what}, not shown: {', '.join(names)}" for what, names in happened.items() if names
    ]
    return list(kept.values()), warnings


def _some_relevant(path: Path, tasks: list[Task]) -> list[Task]:
    if not any(videos for task in tasks for videos in task.relevant.values()):
        raise DataError(f"{path}: nothing is relevant to any query: there is nothing to find")
    return tasks


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True


def _level(relations: Relations, name: str, wanted: Set[str]) -> Task:
    relevant = _with_label(relations, wanted)
    more = _with_label(relations, LABELS - {REL})
    left_out = {query: more[query] - videos for query, videos in relevant.items()}
    return Task(name, relevant, left_out=left_out)


def _hard(near_duplicates: Task, hard: Mapping[str, Set[str]]) -> Task:
    """Of the near-duplicates only the hard ones count; the others are left out."""
    relevant = {query: frozenset(hard.get(query, ())) for query in near_duplicates.relevant}
    left_out = {
        query: near_duplicates.left_out[query] | near_duplicates.relevant[query] - videos
        for query, videos in relevant.items()
    }
    return Task(HARD, relevant, left_out=left_out)


def _with_label(relations: Relations, wanted: Set[str]) -> dict[str, frozenset[str]]:
    """The videos with one of the labels, of every query, itself apart."""
    return {
        query: frozenset(video for label in wanted for video in labels.get(label, ()) if video != query)
        for query, labels in relations.items()
    }


def _ground_truth(
    path: Path,
    name: str,
    queries: Sequence[str],
    tasks: Sequence[Task],
    database: Sequence[str] | None,
    *,
    components: Mapping[str, str] | None = None,
    warnings: Iterable[str] = (),
) -> GroundTruth:
    relevant = sorted(NO_VIDEOS.union(*(videos for task in tasks for videos in task.relevant.values())))
    without = sum(not any(task.relevant.get(query) for task in tasks) for query in queries)
    if without:
        warnings = [*warnings, f"{without} queries have no relevant videos: not in the mAP"]
    return GroundTruth(
        name,
        tuple(queries),
        tuple(relevant if database is None else database),
        tuple(tasks),
        components=components or {},
        source=str(path),
        is_open=database is None,
        warnings=tuple(warnings),
    )

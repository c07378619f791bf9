"""VCDB, VSC2022 and VCSL: ground truth from the files that their authors give out.

    folder of annotation files ─► [VCDB, VSC2022: GroundTruth; VSC2022, VCSL: SegmentTruth]
                                  this module

None of these annotations comes with visil. The readers follow the published descriptions of the files and the code that
reads them, and were tried on made-up files of that form only, never on the published ones.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from visil.errors import DataError
from visil.evaluation.annotation_files import (
    VCDB_DISTRACTORS,
    VCDB_FILES,
    VCSL_LABELS,
    VCSL_PAIRS,
    VCSL_SETS,
    VSC_FILE,
    VSC_VIDEOS,
)
from visil.evaluation.ground_truth import GroundTruth, Task
from visil.evaluation.safe_pickle import read_pickle
from visil.evaluation.segment_files import read_vcsl_boxes, read_vsc_segments, vsc_id
from visil.evaluation.segments import COPY_OVERLAP, SEGMENT_AP, Pair, SegmentTruth
from visil.evaluation.tables import check_regular, csv_rows, read_json

_TIME = re.compile(r"\d{1,3}(:\d{1,2}){0,2}(\.\d+)?", re.ASCII)


# --- VCDB ---


def vcdb(folder: Path, *, with_distractors: bool) -> GroundTruth:
    """VCDB from one of `VCDB_FILES`, the first that is there.

    `vcdb.pickle` is the file of the S2VS evaluator, {queries: [ids], positives: {query: {ids}}, dataset: [ids of the
    distractors]}; it is read without unpickling. `vcdb.json` is the same as JSON. `annotation/*.txt` are the original
    files, one a group of videos, with rows `fileA,fileB,startA,endA,startB,endB`; ids are then the names of the files
    as written there, and the distractors are the lines of `distractors.txt`.

    Raises:
        DataError: a file is damaged or of another shape, or there are no distractors where they are asked for.
    """
    name = next(name for name in VCDB_FILES if any(folder.glob(name)))
    if name.endswith(".txt"):
        queries, positives = _vcdb_original(sorted(folder.glob(name)))
        path = folder / VCDB_DISTRACTORS
        distractors = id_list(path) if with_distractors else []
    else:
        path = folder / name
        table = read_json(path) if name.endswith(".json") else read_pickle(path)
        queries, positives, distractors = _vcdb_table(path, table)
    if with_distractors and not distractors:
        raise DataError(f"{path}: lists no distractors; VCDB without them is called VCDB")
    return vcdb_ground_truth(queries, positives, distractors if with_distractors else (), source=str(folder))


def vcdb_ground_truth(
    queries: Sequence[str],
    positives: Mapping[str, Collection[str]],
    distractors: Sequence[str] = (),
    *,
    source: str = "",
) -> GroundTruth:
    """Task `VCDB` ranks the core videos, which are the queries; `VCDB-DIST`, if there are distractors, those too.

    As published, the micro-AP pools the videos of queries without positives too.

    Raises:
        DataError: a video is twice among the queries and distractors, or one with positives is no query.
    """
    relevant = {query: frozenset(positives.get(query, ())) for query in (*queries, *positives)}
    tasks = [Task("VCDB", relevant, removed=frozenset(distractors))]
    name = "VCDB"
    if distractors:
        name = "VCDB-DIST"
        tasks.append(Task(name, relevant))
    return GroundTruth(name, tuple(queries), (*queries, *distractors), tuple(tasks), source=source)


def _vcdb_table(path: Path, table: Any) -> tuple[list[str], dict[str, frozenset[str]], list[str]]:
    if not isinstance(table, dict) or not {"queries", "positives"} <= table.keys():
        raise DataError(f"{path}: needs queries, positives and, for VCDB with distractors, dataset")
    queries = _ids(path, "queries", table["queries"])
    distractors = _ids(path, "dataset", table.get("dataset", []))
    if not isinstance(table["positives"], dict):
        raise DataError(f"{path}: positives must be {{query: ids}}")
    positives = {
        _ids(path, "positives", [query])[0]: frozenset(_ids(path, f"positives of {str(query)[:40]!r}", videos))
        for query, videos in table["positives"].items()
    }
    core = set(queries)
    return queries, positives, [video for video in distractors if video not in core]


def _vcdb_original(paths: Iterable[Path]) -> tuple[list[str], dict[str, frozenset[str]]]:
    """Videos that share a segment are relevant to each other; each video that is named is a query."""
    partners: dict[str, set[str]] = {}
    for path in paths:
        check_regular(path)
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = list(csv.reader(file, skipinitialspace=True, strict=True))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: is no text of comma-separated rows ({error})") from error
        for number, row in enumerate(rows, start=1):
            if not row:
                continue
            if len(row) != 6 or not all(_TIME.fullmatch(time.strip()) for time in row[2:]):
                raise DataError(
                    f"{path}, row {number}: is {','.join(row)[:80]!r}, not fileA,fileB,startA,endA,startB,endB (h:m:s)"
                )
            a, b = row[0].strip(), row[1].strip()
            partners.setdefault(a, set()).add(b)
            partners.setdefault(b, set()).add(a)
    return list(partners), {video: frozenset(others - {video}) for video, others in partners.items()}


# --- VSC2022 ---


def vsc2022(folder: Path, split: str) -> GroundTruth:
    """The descriptor track of VSC2022: pairs of a query and a reference with a true segment, pooled into one list.

    Queries and references are those of the metadata tables beside the ground truth; without these tables, whatever is
    scored. The names of the files are those of the training set; other splits are looked for under theirs.

    Raises:
        DataError: a file is damaged, or a metadata table has a video twice or lacks one of the ground truth.
    """
    path = folder / VSC_FILE.format(split=split)
    relevant: dict[str, set[str]] = {}
    for query, reference in read_vsc_segments(path, scored=False).pairs:
        relevant.setdefault(query, set()).add(reference)
    task = Task(
        "descriptor track", {query: frozenset(found) for query, found in relevant.items()}, pools_every_query=True
    )
    queries, references = list(relevant), sorted(set().union(*relevant.values()))
    tables = [folder / name.format(split=split) for name in VSC_VIDEOS]
    is_open = not all(table.exists() for table in tables)
    if not is_open:
        listed = [
            [vsc_id(row["video_id"], letter, f"{table}, line {line}") for line, row in csv_rows(table, ["video_id"])]
            for table, letter in zip(tables, "QR", strict=True)
        ]
        for table, ids, used in zip(tables, listed, (queries, references), strict=True):
            if unknown := set(used) - set(ids):
                raise DataError(f"{table}: lacks {min(unknown)}, which has a segment in {path.name}")
            if len(set(ids)) < len(ids):
                raise DataError(f"{table}: {Counter(ids).most_common(1)[0][0]} is there twice")
        queries, references = listed
    return GroundTruth(
        f"VSC2022 {split}", tuple(queries), tuple(references), (task,), source=str(path), is_open=is_open
    )


def vsc2022_segments(folder: Path, split: str) -> SegmentTruth:
    """The matching track of VSC2022: segment average precision."""
    path = folder / VSC_FILE.format(split=split)
    return SegmentTruth(f"VSC2022 {split}", read_vsc_segments(path, scored=False), SEGMENT_AP, source=str(path))


# --- VCSL ---


def vcsl_segments(folder: Path, split: str) -> SegmentTruth:
    """VCSL: copied segments of every pair of a split, in query sets where `split_meta_pairs.json` is there.

    Raises:
        DataError: a file is missing, damaged or of another shape, or a query set names a pair that the split lacks.
    """
    path = folder / VCSL_PAIRS.format(split=split)
    rows = [(row["query_id"], row["reference_id"]) for _, row in csv_rows(path, ["query_id", "reference_id"])]
    pairs = list(dict.fromkeys(rows))
    if len(pairs) < len(rows):
        raise DataError(f"{path}: {len(rows) - len(pairs)} pairs are there twice")
    boxes = read_vcsl_boxes(folder / VCSL_LABELS, pairs).among(pairs)
    sets = _vcsl_query_sets(folder / VCSL_SETS, split, pairs) if (folder / VCSL_SETS).exists() else {}
    return SegmentTruth(f"VCSL {split}", boxes, COPY_OVERLAP, sets, source=str(folder))


def _vcsl_query_sets(path: Path, split: str, pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    table = read_json(path)
    of_split = table.get(split) if isinstance(table, dict) else None
    if not isinstance(of_split, dict) or not all(isinstance(keys, list) for keys in of_split.values()):
        raise DataError(f'{path}: must be {{"{split}": {{query set: ["query-reference", ...]}}, ...}}')
    pair_of_key = {f"{query}-{reference}": (query, reference) for query, reference in pairs}
    for name, keys in of_split.items():
        for key in keys:
            if not isinstance(key, str) or key not in pair_of_key:
                raise DataError(f"{path}: query set {name!r} has {str(key)[:80]!r}, which is no pair of {split}")
    return {name: [pair_of_key[key] for key in keys] for name, keys in of_split.items()}


# --- lists of ids ---


def id_list(path: Path) -> list[str]:
    """Ids of a text file, one a line, each once.

    Raises:
        DataError: the file cannot be read, or is no text in UTF-8.
    """
    check_regular(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text in UTF-8") from error
    if any("\0" in line for line in lines):
        raise DataError(f"{path}: holds a NUL byte; is it a list of ids, one a line?")
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


def _ids(path: Path, what: str, values: Any) -> list[str]:
    if not isinstance(values, list | tuple | set | frozenset) or not all(isinstance(value, str) for value in values):
        raise DataError(f"{path}: {what}: must be texts")
    return sorted(values) if isinstance(values, set | frozenset) else list(values)

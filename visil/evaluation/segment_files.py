"""Reads boxes of copied segments: VSC2022's CSV files and VCSL's JSON files, of a truth or of a system.

    matching track CSV, VCSL JSON ─► [read_predictions] ─► PairBoxes ─► segments.evaluate_segments
                                     this module

Whatever is wrong with a file is one DataError that names the file and the place.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from itertools import chain
from math import isfinite, nan
from pathlib import Path

import numpy as np

from visil.errors import DataError
from visil.evaluation.segments import SEGMENT_AP, Pair, PairBoxes, SegmentTruth
from visil.evaluation.tables import csv_rows, read_json

ID_LETTERS = ("Q", "R")  # of queries and of references
PAIR_COLUMNS = ("query_id", "ref_id")
BOX_COLUMNS = ("query_start", "ref_start", "query_end", "ref_end")


def read_predictions(path: Path, truth: SegmentTruth) -> PairBoxes:
    """The boxes that a system predicts, from the file format of the data set's challenge.

    VSC2022: CSV with the columns of `read_vsc_segments`. VCSL: JSON as in `read_vcsl_boxes`.

    Raises:
        DataError: as of those.
    """
    if truth.metric == SEGMENT_AP:
        return read_vsc_segments(path, scored=True)
    return read_vcsl_boxes(path, truth.boxes.pairs)


def read_vsc_segments(path: Path, *, scored: bool) -> PairBoxes:
    """Segments from a CSV file of VSC2022, one a row, several rows a pair.

    Columns in any order: query_id, ref_id, query_start, query_end, ref_start, ref_end (seconds) and, if `scored`,
    score (higher is surer); others are ignored. Ids are Q or R and digits; plain integers become Q%06d and R%06d.

    Raises:
        DataError: a column is missing; a row is too short, or holds an id of another form, something that is no
            finite number or a segment that ends before it starts; the file is not CSV in UTF-8.
    """
    columns = [*BOX_COLUMNS, *(["score"] if scored else [])]
    pairs: dict[Pair, int] = {}
    pair, values = array("q"), array("d")
    for line, cells in csv_rows(path, [*PAIR_COLUMNS, *columns]):
        where = f"{path}, line {line}"
        key = vsc_id(cells["query_id"], ID_LETTERS[0], where), vsc_id(cells["ref_id"], ID_LETTERS[1], where)
        pair.append(pairs.setdefault(key, len(pairs)))
        values.extend([_number(cells[name], where) for name in columns])
    table = np.array(values).reshape(len(pair), len(columns))
    scores = table[:, len(BOX_COLUMNS)] if scored else np.zeros(len(pair))
    return _boxes(path, tuple(pairs), np.array(pair), table[:, : len(BOX_COLUMNS)], scores)


def read_vcsl_boxes(path: Path, pairs: Sequence[Pair]) -> PairBoxes:
    """Boxes from a JSON file of VCSL: `{"<query>-<reference>": [[query start, ref start, query end, ref end], ...]}`.

    Args:
        pairs: of the split: their keys are looked for. A key of another pair, which cannot be told apart into two
            ids, becomes the pair (key, ""), so that it can be counted.

    Returns:
        The pairs of the file; those that it lacks are not there.

    Raises:
        DataError: the file is not JSON of that shape, a key comes twice, no pair of the split is in it, a number
            is not finite or a box ends before it starts.
    """
    table = read_json(path)
    if not isinstance(table, dict):
        raise DataError(f'{path}: must be a JSON object {{"<query>-<reference>": [[4 numbers], ...]}}')
    known = {f"{query}-{reference}": (query, reference) for query, reference in pairs}
    if not known.keys() & table.keys():
        raise DataError(f"{path}: holds no pair of the split; keys look like {next(iter(known), '')[:80]!r}")
    counts = []
    for key, boxes in table.items():
        if not isinstance(boxes, list) or not all(isinstance(box, list) and len(box) == 4 for box in boxes):
            raise DataError(f"{path}: {key[:80]!r}: must be a list of [query start, ref start, query end, ref end]")
        counts.append(len(boxes))
    values = list(chain.from_iterable(chain.from_iterable(table.values())))
    # bool is an int: type() keeps it out.
    if not {type(value) for value in values} <= {int, float}:
        key, wrong = next(
            (key, value)
            for key, boxes in table.items()
            for value in chain.from_iterable(boxes)
            if type(value) not in (int, float)
        )
        raise DataError(f"{path}: {key[:80]!r}: {str(wrong)[:80]!r} is no number")
    try:
        numbers = np.array(values, dtype=np.float64).reshape(-1, 4)
    except OverflowError as error:
        raise DataError(f"{path}: holds a number that is too large for a time in seconds") from error
    return _boxes(
        path,
        tuple(known.get(key, (key, "")) for key in table),
        np.repeat(np.arange(len(table)), counts),
        numbers,
        np.zeros(len(numbers)),
    )


def _boxes(path: Path, pairs: tuple[Pair, ...], pair: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> PairBoxes:
    try:
        return PairBoxes(pairs, pair, boxes, scores)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def vsc_id(text: str, letter: str, where: str) -> str:
    """A video's id as VSC2022 writes it: a plain integer gets its letter and six digits.

    Args:
        letter: one of ID_LETTERS.
        where: file and place, for the message.

    Raises:
        DataError: it is neither an integer nor the letter and digits.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        return f"{letter}{int(text):06d}"
    if not re.fullmatch(rf"{letter}[0-9]{{1,18}}", text, re.ASCII):
        raise DataError(f"{where}: id {text[:80]!r} must be {letter} and digits, such as {letter}000123")
    return text


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = nan
    if not isfinite(number):
        raise DataError(f"{where}: {text[:80]!r} is no finite number")
    return number

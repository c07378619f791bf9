"""Reads boxes of copied segments: VSC2022's CSV files and VCSL's JSON files, of a truth or of a system.

    matching track CSV, VCSL JSON ─► [read_predictions] ─► PairBoxes ─► segments.evaluate_segments
                                     this module

Whatever is wrong with a file is one DataError that names the file and the place.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from visil.errors import DataError
from visil.evaluation.segments import SEGMENT_AP, Pair, PairBoxes, SegmentTruth

PAIR_COLUMNS = ("query_id", "ref_id")
BOX_COLUMNS = ("query_start", "ref_start", "query_end", "ref_end")
ID_LETTERS = ("Q", "R")


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
    columns = [*PAIR_COLUMNS, *BOX_COLUMNS, *(["score"] if scored else [])]
    lines: list[int] = []
    pairs: dict[Pair, int] = {}
    pair: list[int] = []
    texts: list[list[str]] = []
    for line, (query, reference, *numbers) in _csv_rows(path, columns):
        key = (
            vsc_id(query, ID_LETTERS[0], f"{path}, line {line}"),
            vsc_id(reference, ID_LETTERS[1], f"{path}, line {line}"),
        )
        pair.append(pairs.setdefault(key, len(pairs)))
        texts.append(numbers)
        lines.append(line)
    values = _numbers(path, lines, texts, len(columns) - len(PAIR_COLUMNS))
    scores = values[:, len(BOX_COLUMNS)] if scored else np.zeros(len(values))
    return _boxes(path, tuple(pairs), np.array(pair, dtype=np.int64), values[:, : len(BOX_COLUMNS)], scores)


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
    table = _read_json(path)
    if not isinstance(table, dict):
        raise DataError(f'{path}: must be a JSON object {{"<query>-<reference>": [[4 numbers], ...]}}')
    known = {f"{query}-{reference}": (query, reference) for query, reference in pairs}
    if not known.keys() & table.keys():
        raise DataError(f"{path}: holds no pair of the split; keys look like {next(iter(known), '')!r}")
    counts = []
    for key, boxes in table.items():
        if not isinstance(boxes, list) or not all(isinstance(box, list) and len(box) == 4 for box in boxes):
            raise DataError(f"{path}: {key!r}: must be a list of [query start, ref start, query end, ref end]")
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
        raise DataError(f"{path}: {key!r}: {str(wrong)[:80]!r} is no number")
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


def _csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and the named columns of every row that is not empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            missing = [name for name in columns if header.count(name) != 1]
            if missing:
                raise DataError(
                    f"{path}: needs the columns {', '.join(columns)}, each once; look at {', '.join(missing)}"
                )
            places = [header.index(name) for name in columns]
            for row in reader:
                if not row:
                    continue
                if len(row) < len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(row)} of {len(header)} columns; is the file cut off?"
                    )
                yield reader.line_num, [row[place] for place in places]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV in UTF-8: {error}") from error


def vsc_id(text: str, letter: str, where: str) -> str:
    """A video's id as VSC2022 writes it: a plain integer gets its letter and six digits.

    Args:
        letter: one of ID_LETTERS: of queries or of references.
        where: file and place, for the message.

    Raises:
        DataError: it is neither an integer nor the letter and digits.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]+", text, re.ASCII):
        return f"{letter}{int(text):06d}" if len(text) <= 18 else f"{letter}{text}"
    if not re.fullmatch(rf"{letter}[0-9]+", text, re.ASCII):
        raise DataError(f"{where}: id {text[:80]!r} must be {letter} and digits, such as {letter}000123")
    return text


def _numbers(path: Path, lines: Sequence[int], texts: Sequence[Sequence[str]], width: int) -> np.ndarray:
    """The texts as numbers, float64 [N, width]."""
    try:
        return np.array([[float(text) for text in row] for row in texts], dtype=np.float64).reshape(len(texts), width)
    except ValueError:
        for line, text in ((line, text) for line, row in zip(lines, texts, strict=True) for text in row):
            if not _is_number(text):
                raise DataError(f"{path}, line {line}: {text[:80]!r} is no number") from None
        raise


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_json(path: Path) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no number")

    def once(members: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(members)
        if len(table) < len(members):
            repeated = Counter(key for key, _ in members).most_common(1)[0][0]
            raise ValueError(f"key {repeated[:80]!r} comes twice")
        return table

    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text, parse_constant=refuse, object_pairs_hook=once)
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as JSON: {reason}") from error

"""Similarity files of any system: JSON, CSV or npz, given on query by query.

    file ─► [Scores] ─► evaluate
            this module

JSON  {query: {video: score}}, as the published evaluators take it. It is read with a reader of its own: those of the
      standard library and of the registries either hold the whole file in memory as objects (20 times its size) or
      cannot see that a key comes twice. Each query's text is found by its braces and given to `json`.
CSV   query,video,score in any order of columns and rows; query_id and ref_id (VSC2022) are understood too.
npz   `queries` text [Q], `videos` text [V], `scores` number [Q, V].
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv

from visil.errors import DataError
from visil.evaluation.npz_files import read_npz
from visil.evaluation.scores import QueryScores, Scores
from visil.evaluation.tables import MAX_LENGTH, one_line

READ_BYTES = 1 << 20
SHOWN_CHARACTERS = 80  # of a name or value in a message
CSV_COLUMNS = {"query": ("query", "query_id"), "video": ("video", "ref_id"), "score": ("score",)}  # ours: as written
SHAPE = '{"query": {"video": 0.5, ...}, ...}'
MAX_ESCAPES = 2 * MAX_LENGTH  # in an id: a character takes two at most
MAX_TEXT = 6 * MAX_ESCAPES + 2  # characters of JSON that an id may take: `\\u1234` for each, and quotes
# Numbers, commas and whole texts of an object; what follows is its end, a bracket that must not be there, or a text
# that is not complete yet. Repeats have an end because each costs memory, and are not possessive because Python before
# 3.11.4 matches those of groups wrongly.
_FLAT = re.compile(
    rf'(?:[^"{{}}\[\]]+|"[^"\\]*(?:\\.[^"\\]*){{0,{MAX_ESCAPES}}}"){{1,1000}}',
    re.DOTALL,
)
_SPACE = re.compile(r"[ \t\n\r]+")


def read_scores(path: str | Path) -> Scores:
    """The scores in a file; its name says how they are written: `.json`, `.csv` or `.npz`.

    JSON and npz are read while they are iterated, so most of what is wrong with one is found then.

    Raises:
        DataError: no such file, another kind of file, or one that is damaged.
    """
    path = Path(path)
    kinds: dict[str, Callable[[Path], Scores]] = {".json": JsonScores, ".csv": CsvScores, ".npz": NpzScores}
    if path.suffix.lower() not in kinds:
        raise DataError(f"{path}: scores are read from {', '.join(kinds)}")
    if not path.is_file():
        raise DataError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    return kinds[path.suffix.lower()](path)


class JsonScores:
    """`{query: {video: score}}`; one query is in memory at a time."""

    available = None

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[QueryScores]:
        seen: set[str] = set()
        videos: Sequence[str] = ()
        try:
            with self._path.open("rb") as file:
                for query, text in _Objects(file).pairs():
                    if query in seen:
                        raise ValueError(f"query {_shown(query)} comes twice")
                    seen.add(query)
                    found, scores = _scores_of_text(query, text)
                    if found != videos:
                        videos = found
                    yield QueryScores(query, videos, scores)
        except (OSError, ValueError) as error:  # ValueError: also of the decoder
            raise DataError(f"{self._path}: {one_line(error)}") from error
        if not seen:
            raise DataError(f"{self._path}: no query in it; expected {SHAPE}")


def _scores_of_text(query: str, text: str) -> tuple[list[str], np.ndarray]:
    """Videos and scores of the text of one flat object."""
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except ValueError as error:
        raise ValueError(f"query {_shown(query)}: not valid JSON ({one_line(error)})") from error
    videos = [video for video, _ in pairs]
    _check_length(videos)
    if len(set(videos)) < len(videos):
        raise ValueError(f"query {_shown(query)}: video {_shown(_repeated(videos))} comes twice")
    if "\\u" in text:
        _check_text(videos)
    if not {type(score) for _, score in pairs} <= {int, float}:
        video, score = next((v, s) for v, s in pairs if type(s) not in (int, float))
        raise ValueError(f"query {_shown(query)}, video {_shown(video)}: {json.dumps(score)[:40]} is not a number")
    try:
        scores = np.array([score for _, score in pairs], dtype=np.float64)
    except OverflowError:
        raise ValueError(f"query {_shown(query)}: a score is beyond the range of numbers") from None
    _check_finite(query, videos, scores)
    return videos, scores


class _Objects:
    """Keys of a JSON object and the texts of their flat objects, one after the other."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._is_complete = False

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Raises ValueError where the file is not what it should be."""
        self._expect("{", f"the file must hold {SHAPE}")
        if self._next() == "}":
            self._at += 1
        else:
            while True:
                query = self._key()
                self._expect(":", f"no `:` after query {_shown(query)}")
                yield query, self._flat_object(query)
                if self._next() == "}":
                    self._at += 1
                    break
                self._expect(",", f"neither `,` nor `}}` after query {_shown(query)}")
        if self._next():
            raise ValueError("there is more behind the end of the JSON object")

    def _key(self) -> str:
        if self._next() != '"':
            raise ValueError(f"expected the name of a query, got {self._rest()}")
        if self._length_of_flat(0) == 0:
            raise ValueError("the file is cut off in the name of a query")
        try:
            query, self._at = json.JSONDecoder().raw_decode(self._text, self._at)
        except ValueError as error:
            raise ValueError(f"the name of a query is not valid JSON ({one_line(error)})") from error
        _check_text([query])
        _check_length([query])
        return str(query)

    def _flat_object(self, query: str) -> str:
        """The text of `{...}`, which must hold no other object or list."""
        if self._next() != "{":
            raise ValueError(f"query {_shown(query)}: expected {{video: score}}, got {self._rest()}")
        length = self._length_of_flat(1)  # moves the position when it reads
        end = self._at + length
        following = self._text[end : end + 1]
        if following in ("", '"'):
            raise ValueError(f"query {_shown(query)}: the file is cut off in its scores")
        if following != "}":
            raise ValueError(f"query {_shown(query)}: expected {{video: score}} with numbers, got {following!r} in it")
        text = self._text[self._at : end + 1]
        self._at = end + 1
        return text

    def _length_of_flat(self, offset: int) -> int:
        """How far from here `_FLAT` comes, from an offset on; as much is read as it needs."""
        while True:
            offset = _end_of(_FLAT, self._text, self._at + offset) - self._at
            start = self._at + offset
            if self._text[start : start + 1] == '"' and len(self._text) - start > MAX_TEXT:
                raise ValueError(
                    f"the id {_shown(self._text[start + 1 : start + MAX_TEXT])} has over {MAX_LENGTH:,} characters"
                )
            if self._text[self._at + offset : self._at + offset + 1] not in ("", '"') or not self._read():
                return offset

    def _expect(self, character: str, message: str) -> None:
        if self._next() != character:
            raise ValueError(f"{message}, got {self._rest()}")
        self._at += 1

    def _next(self) -> str:
        """The next character that is no space, empty at the end; the position moves to it."""
        while True:
            self._at = _end_of(_SPACE, self._text, self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read():
                return ""

    def _rest(self) -> str:
        found = self._text[self._at : self._at + 20]
        return repr(found) if found else "the end of the file"

    def _read(self) -> bool:
        """Read on, at least as much as is waiting, so that a long text costs no square; what was used is dropped."""
        waiting = self._text[self._at :]
        block = self._file.read(max(READ_BYTES, len(waiting)))
        self._text, self._at = waiting + self._decoder.decode(block, final=not block), 0
        return bool(block)


class CsvScores:
    """Rows of query, video and score, those of a query anywhere in the file: 100 bytes a row while they are read."""

    available = None

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            columns = _columns(path)
            table = _table(path, columns)
        except (OSError, ValueError, pa.ArrowException, csv.Error) as error:
            raise DataError(f"{path}: {one_line(error)}") from error
        queries, query_of = _ids(table[columns["query"]])
        self._videos, video_of = _ids(table[columns["video"]])
        for what, ids in (("query", queries), ("video", self._videos)):
            if "" in ids:
                raise DataError(f"{path}: a row has no {what}")
            try:
                _check_length(ids)
            except ValueError as error:
                raise DataError(f"{path}: {error}") from None
        scores = table[columns["score"]].to_numpy()
        order = np.argsort(query_of, kind="stable")  # rows of a query together, in the order of the file
        self._video_of, self._scores = video_of[order], scores[order]
        starts = np.searchsorted(query_of[order], np.arange(len(queries) + 1))
        self._rows = [
            (query, slice(start, stop)) for query, start, stop in zip(queries, starts[:-1], starts[1:], strict=True)
        ]
        if not self._rows:
            raise DataError(f"{path}: no row in it")

    def __iter__(self) -> Iterator[QueryScores]:
        seen: Sequence[str] = ()
        before = np.zeros(0, np.int64)
        for query, rows in self._rows:
            codes, scores = self._video_of[rows], self._scores[rows]
            if not np.array_equal(codes, before):
                before = codes
                seen = [self._videos[code] for code in codes.tolist()]
            try:
                if len(np.unique(codes)) < len(codes):
                    raise ValueError(f"query {_shown(query)}: video {_shown(_repeated(seen))} comes twice")
                _check_finite(query, seen, scores)
            except ValueError as error:
                raise DataError(f"{self._path}: {error}") from None
            yield QueryScores(query, seen, scores)


def _columns(path: Path) -> dict[str, str]:
    """What the columns of a CSV are called in it."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file), [])
    if any(name != name.strip() for name in header):
        raise ValueError(
            "its first line has spaces beside names of columns; ids would have them too: write a,b, not a, b"
        )
    found = {}
    for ours, names in CSV_COLUMNS.items():
        present = [name for name in header if name in names]
        if len(present) != 1:
            raise ValueError(
                f"its first line must name {', '.join(CSV_COLUMNS)} once each, got {_shown(', '.join(header))}"
            )
        found[ours] = present[0]
    return found


def _table(path: Path, columns: dict[str, str]) -> pa.Table:
    text = pa.dictionary(pa.int32(), pa.string())
    types = {columns["query"]: text, columns["video"]: text, columns["score"]: pa.float64()}
    options = pa.csv.ConvertOptions(
        column_types=types, include_columns=list(types), null_values=[], strings_can_be_null=False
    )
    try:
        return pa.csv.read_csv(path, convert_options=options)
    except pa.ArrowInvalid:
        _name_bad_row(path, columns)
        raise


def _name_bad_row(path: Path, columns: dict[str, str]) -> None:
    """Find what Arrow could not read: it names neither query nor video."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        for row in rows:
            query, video, score = (row[columns[name]] for name in CSV_COLUMNS)
            if score is None or video is None or query is None:
                raise ValueError(
                    f"line {rows.line_num}: a row without all columns; is it cut off, or a quote not closed?"
                )
            if not _is_number(score):
                pair = f"query {_shown(query)}, video {_shown(video)}"
                raise ValueError(f"line {rows.line_num}, {pair}: {_shown(score)} is not a number")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # which Python reads, and nobody else


def _ids(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Different texts of a column in the order they first come in, and which of them each row has, int64 [N]."""
    whole = column.unify_dictionaries().combine_chunks()
    codes, first = np.unique(whole.indices.to_numpy(), return_index=True)
    by_appearance = codes[np.argsort(first)]
    rank = np.empty(len(whole.dictionary), np.int64)
    rank[by_appearance] = np.arange(len(by_appearance))
    return whole.dictionary.take(pa.array(by_appearance)).to_pylist(), rank[whole.indices.to_numpy()]


class NpzScores:
    """Arrays `queries`, `videos` and `scores`, every pair scored; a row is converted at a time."""

    available = None

    def __init__(self, path: Path) -> None:
        self._path = path
        queries, videos, self._scores = read_npz(path, ("queries", "videos", "scores"))
        try:
            self._queries, self._videos = _names("queries", queries), _names("videos", videos)
        except ValueError as error:
            raise DataError(f"{path}: {one_line(error)}") from error
        expected = (len(self._queries), len(self._videos))
        if self._scores.shape != expected or self._scores.dtype.kind not in "fiu":
            raise DataError(
                f"{path}: scores must be numbers {list(expected)}, a row a query, "
                f"got {self._scores.dtype} {list(self._scores.shape)}"
            )

    def __iter__(self) -> Iterator[QueryScores]:
        for query, row in zip(self._queries, self._scores, strict=True):
            with np.errstate(over="ignore"):  # a long double that leaves the range is not finite, see below
                scores = row.astype(np.float64)
            try:
                _check_finite(query, self._videos, scores)
            except ValueError as error:
                raise DataError(f"{self._path}: {error}") from None
            yield QueryScores(query, self._videos, scores)


def _names(name: str, array: np.ndarray) -> list[str]:
    if array.dtype.kind != "U" or array.ndim != 1 or len(array) == 0:
        raise ValueError(f"{name} must be a list of text, got {array.dtype} {list(array.shape)}")
    names: list[str] = array.tolist()
    if len(set(names)) < len(names):
        raise ValueError(f"{name}: {_shown(_repeated(names))} comes twice")
    _check_text(names)
    _check_length(names)
    return names


def _check_finite(query: str, videos: Sequence[str], scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        worst = int(np.argmin(np.isfinite(scores)))
        raise ValueError(
            f"query {_shown(query)}, video {_shown(videos[worst])}: {scores[worst]} is not a finite number"
        )


def _check_length(ids: Sequence[str]) -> None:
    """A longer one is damage, and no message could name it."""
    longest = max(ids, key=len, default="")
    if len(longest) > MAX_LENGTH:
        raise ValueError(f"the id {_shown(longest)} has {len(longest):,} characters, over {MAX_LENGTH:,}")


def _check_text(ids: Sequence[str]) -> None:
    """Half of a surrogate pair is no text: it can be neither written nor shown."""
    try:
        "".join(ids).encode()
    except UnicodeEncodeError:
        bad = next(id for id in ids if any("\ud800" <= character <= "\udfff" for character in id))
        raise ValueError(f"the id {bad!a} is not valid Unicode") from None


def _repeated(ids: Sequence[str]) -> str:
    return Counter(ids).most_common(1)[0][0]


def _shown(text: object) -> str:
    """As it is quoted in a message: a damaged file can have names without end."""
    quoted = repr(text)
    return quoted if len(quoted) <= SHOWN_CHARACTERS else f"{quoted[:SHOWN_CHARACTERS]}..."


def _end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Where matches from `start` on, one after the other, end."""
    while match := pattern.match(text, start):
        start = match.end()
    return start

"""Text files of annotations, read strictly: CSV with named columns, and JSON.

file ─► [rows, value] ─► data sets

Whatever is wrong with a file is one DataError that names the file and, in a CSV, the line.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import Any, NoReturn

from visil.errors import DataError

MAX_LENGTH = 1000
"""Characters of a cell or key: longer ones are damage, and no message could name them."""


def one_line(error: Exception) -> str:
    """What an error says, without line breaks and advice for programmers."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not text in UTF-8; save it as that"
    said = str(error).partition("; use sys.set_int_max_str_digits")[0]
    return " ".join((said or type(error).__name__).split())[:300]


def check_regular(path: Path) -> None:
    """Raises DataError for a pipe or a device, which may have no end, and for what is not there or a folder."""
    try:
        is_regular = S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if not is_regular:
        raise DataError(f"{path}: cannot be read (not a regular file)")


def csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells, by column, of every row that is not empty.

    UTF-8, with or without a byte order mark; any line ends; spaces behind a comma do not count. The header names the
    columns, in any order; there may be more of them than `columns`.

    Raises:
        DataError: the file cannot be read, one of `columns` is missing, a column comes twice, a row has more or fewer
            cells than the header, or a cell holds a NUL byte or over `MAX_LENGTH` characters.
    """
    check_regular(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True, skipinitialspace=True)
            header = [name.strip() for name in next(reader, [])]
            if not any(header):
                raise DataError(f"{path}: has no first line; needs the columns {', '.join(columns)}")
            missing = [name for name in columns if name not in header]
            if missing:
                raise DataError(f"{path}: no column {', '.join(missing)}; needs {', '.join(columns)}")
            if len(set(header)) < len(header):
                raise DataError(f"{path}: column {Counter(header).most_common(1)[0][0]!r} is there twice")
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(row)} cells for {len(header)} columns; "
                        "is it cut off, or a text with a comma not in quotes?"
                    )
                if any(len(cell) > MAX_LENGTH for cell in row):
                    raise DataError(
                        f"{path}, line {reader.line_num}: a cell has over {MAX_LENGTH:,} characters; "
                        "is a quote not closed?"
                    )
                if any("\0" in cell for cell in row):
                    raise DataError(f"{path}, line {reader.line_num}: holds a NUL byte; is it text in UTF-8?")
                yield reader.line_num, dict(zip(header, row, strict=True))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is no CSV in UTF-8 ({one_line(error)})") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file, UTF-8 with or without a byte order mark.

    Raises:
        DataError: the file cannot be read, is no JSON, is nested too deeply, has a key twice or of over
            `MAX_LENGTH` characters, NaN or Infinity.
    """
    check_regular(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_refuse, object_pairs_hook=_once)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except RecursionError as error:
        raise DataError(f"{path}: is no annotation: it is nested too deeply") from error
    except ValueError as error:  # also of the decoder
        raise DataError(f"{path}: is no JSON in UTF-8 ({one_line(error)})") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(members)
    if any(len(key) > MAX_LENGTH for key in table):
        raise ValueError(f"a key has over {MAX_LENGTH:,} characters")
    if len(table) < len(members):
        repeated = Counter(key for key, _ in members).most_common(1)[0][0]
        raise ValueError(f"key {repeated[:80]!r} comes twice")
    return table

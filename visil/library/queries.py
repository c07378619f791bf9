"""What a user may search for: files, parts of files, folders, lists and ids, spelled out one by one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf
from pathlib import Path

from visil.errors import DataError
from visil.library.files import find_files, is_there

_TIME = r"(?:(?:\d+|\d+:[0-5]?\d):[0-5]?\d|\d+)(?:\.\d+)?"  # h:mm:ss, m:ss or seconds, each with a fraction or without
_RANGE = re.compile(rf"({_TIME})?-({_TIME})?", re.ASCII)


@dataclass(frozen=True)
class VideoQuery:
    """A video or still picture to search for.

    Attributes:
        span_s: (start, end) of the part that is meant, seconds since the first shown frame; the end may be infinite.
            None: all of it.
    """

    path: Path
    span_s: tuple[float, float] | None = None


def video_query(name: str) -> VideoQuery:
    """A file, or a part of one: `clip.mp4@1:20-1:40`, `clip.mp4@80-` (to the end), `clip.mp4@-1:40` (from the start).

    An existing path wins over any other reading. Whether the file is there is not looked at.

    Raises:
        DataError: the name is empty, or the file is there, and what follows is no range.
    """
    if not name:
        raise DataError("an empty name stands for no video")
    file, _, written = name.rpartition("@")
    if is_there(name) or not file:
        return VideoQuery(Path(name))
    match = _RANGE.fullmatch(written)
    if match is None or written == "-":
        if not is_there(file):
            return VideoQuery(Path(name))
        raise DataError(f"{name}: {written!r} is no range; write START-END, as in {Path(file).name}@1:20-1:40")
    start_s, end_s = _seconds(match[1] or "0"), _seconds(match[2]) if match[2] else inf
    if start_s >= end_s:
        raise DataError(f"{name}: the range ends before it begins; write START-END")
    if Path(file).is_dir():
        raise DataError(f"{name}: a range is a part of one video, and this is a folder")
    return VideoQuery(Path(file), (start_s, end_s))


def _seconds(text: str) -> float:
    seconds = 0.0
    for number in text.split(":"):
        seconds = 60 * seconds + float(number)
    return seconds


def expand_query(given: str | Path) -> list[str]:
    """Files, parts of files and `id:ID` as given; a folder by its videos, below it as given; `@list.txt` by its lines.

    Lines are files, parts of files, folders (relative ones from the current folder) or ids; those that begin with `#`
    are comments. An existing path wins over any other reading.

    Raises:
        DataError: an empty name, a folder without a video, or a list that cannot be read.
    """
    name = str(given)
    if not name:  # a variable that is not set
        raise DataError("an empty query names nothing; the current folder is `.`")
    if is_there(name) and Path(name).is_dir():
        found = find_files([name])
        if not found.files:
            raise DataError(f"{name}: no video in this folder{found.passed_over.how_to_enter}")
        return [str(Path(name, file.path.relative_to(file.root))) for file in found.files]
    if name.startswith("@") and not is_there(name):
        if name == "@":
            raise DataError("@: the list has no name; write @list.txt")
        nested = [[line] if line.startswith("@") else expand_query(line) for line in _lines(Path(name[1:]))]
        return [query for queries in nested for query in queries]
    return [name]


def _lines(path: Path) -> list[str]:
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"@{path}: the list is not a regular file")
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except UnicodeDecodeError:
        raise DataError(f"@{path}: not a list of queries: it is no text in UTF-8") from None
    except (OSError, ValueError) as error:
        raise DataError(f"@{path}: the list cannot be read ({getattr(error, 'strerror', None) or error})") from error
    queries = [line for line in lines if line and not line.startswith("#")]
    if not queries:
        raise DataError(f"@{path}: the list names no query")
    return queries

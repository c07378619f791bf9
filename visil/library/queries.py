"""What a user may search for: files, folders, lists and ids, spelled out one by one."""

from __future__ import annotations

from pathlib import Path

from visil.errors import DataError
from visil.library.files import find_files, is_there


def expand_query(given: str | Path) -> list[str]:
    """Files and `id:ID` as given; a folder by its videos, `@list.txt` by its lines.

    Lines are files, folders (relative ones from the current folder) or ids; those that begin with `#` are comments. An
    existing path wins over any other reading.

    Raises:
        DataError: a folder without a video, or a list that cannot be read.
    """
    name = str(given)
    if is_there(name) and Path(name).is_dir():
        files = find_files([name]).files
        if not files:
            raise DataError(f"{name}: no video in this folder")
        return [str(file.path) for file in files]
    if name.startswith("@") and not is_there(name):
        nested = [[line] if line.startswith("@") else expand_query(line) for line in _lines(Path(name[1:]))]
        return [query for queries in nested for query in queries]
    return [name]


def _lines(path: Path) -> list[str]:
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"@{path}: the list is not a regular file")
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, ValueError) as error:
        raise DataError(f"@{path}: the list cannot be read ({error})") from error
    queries = [line for line in lines if line and not line.startswith("#")]
    if not queries:
        raise DataError(f"@{path}: the list names no query")
    return queries

"""What a user may search for: files, folders, lists and ids, spelled out one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from visil.errors import DataError
from visil.library.files import find_files, is_there


def expand_queries(queries: Iterable[str | Path]) -> Iterator[str]:
    """Files and `id:ID` as given; folders by their videos, `@list.txt` by its lines (paths or ids, `#` comments).

    An existing path wins over any other reading.

    Raises:
        DataError: a folder without a video, or a list that cannot be read.
    """
    for given in queries:
        name = str(given)
        if is_there(name) and Path(name).is_dir():
            files = find_files([name])
            if not files:
                raise DataError(f"{name}: no video in this folder")
            yield from (str(file.path) for file in files)
        elif name.startswith("@") and not is_there(name):
            yield from _lines(Path(name[1:]))
        else:
            yield name


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"@{path}: the list cannot be read ({error})") from error
    queries = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not queries:
        raise DataError(f"@{path}: the list names no query")
    return queries

"""second/: a copy of the little that nothing else can restore, which a repair puts back.

    commit ─► sums ─► [second/NAME: NAME without its vectors] ─► NAME again, when it is not what was written
                      this module

Vectors can be encoded again and a bundle has copies elsewhere. Settings, the newest version of the table, the files of
rows deleted and what lies beside the vectors in a file of rows (whose they are, and where) are small, and one bit of
them costs many videos. A copy has no sum of its own: it counts while it fits the sum of its file, so it needs no sync,
and none that is wrong or old is ever put back.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from visil.library.disk import replace_file
from visil.library.lance_files import DATA, DELETIONS, MANIFESTS, manifests
from visil.library.sums import FileSum, Sums, beside

SECOND = "second"


def copy_of(path: Path, folder: Path) -> Path:
    """Where the copy of a file, or of a folder, of the library in `folder` lies."""
    return folder / SECOND / path.relative_to(folder)


def written_versions(sums: Sums, table: Path) -> dict[int, Path]:
    """The file of every version of a table that has a sum or a copy, by its number, be it there or not.

    A copy comes after its file and its sum, so it tells of a version even where both are lost.
    """
    copied = {number: table / MANIFESTS / copy.name for number, copy in manifests(copy_of(table, sums.folder)).items()}
    return copied | {number: sums.folder / name for number, name in sums.manifests(table).items()}


def is_copied(sums: Sums, path: Path) -> bool:
    """Whether there is a copy of a file that can be read, and it is what was written."""
    known = sums.of(path)
    try:
        return known is not None and replace(known, bulk=()).fits_quickly(copy_of(path, sums.folder))
    except OSError:  # nothing needs a copy while its file is sound
        return False


def keep_copies(sums: Sums, table: Path, files: Iterable[Path]) -> None:
    """Copy those of the files of a table that have no copy of their size, and drop the copies of all others.

    Raises:
        OSError: it cannot be written.
    """
    lacking = {sums.name(path): (path, known) for path, known in _to_copy(sums, files)}
    for kind in (MANIFESTS, DELETIONS, DATA):
        folder = copy_of(table, sums.folder) / kind
        for entry in folder.iterdir() if folder.exists() else ():
            name = f"{table.name}/{kind}/{entry.name}"
            if name not in lacking:
                entry.unlink()
            elif entry.stat().st_size == _size_beside(*lacking[name]):
                del lacking[name]
    for path, known in lacking.values():
        _copy(path, known, copy_of(path, sums.folder))


def renew_copies(sums: Sums, files: Iterable[Path]) -> list[str]:
    """Copy those of these files that have no copy, or one that is not what was written.

    Returns:
        Names of those whose copy was there, and damaged or old.

    Raises:
        OSError: it cannot be written.
    """
    sums.reload()
    renewed = []
    for path, known in _to_copy(sums, files):
        if not is_copied(sums, path):
            copy = copy_of(path, sums.folder)
            if copy.exists():
                renewed.append(sums.name(path))
            _copy(path, known, copy)
    return renewed


def put_back(sums: Sums, files: Iterable[Path]) -> list[str]:
    """Make files what they were, beside their vectors, if they are not and their copies are.

    Files that the system does not let be read stay as they are: whoever needs them says so.

    Returns:
        What was done, a line each.

    Raises:
        OSError: it cannot be written.
    """
    done = []
    for path in files:
        known = sums.of(path)
        if known is None or not is_copied(sums, path):
            continue
        try:
            if known.fits_quickly(path):
                continue
            problem = "was damaged"
        except FileNotFoundError:
            problem = "was gone"
        except OSError:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if known.bulk:
            _write_beside(path, known, copy_of(path, sums.folder))
        else:
            _write_whole(path, copy_of(path, sums.folder))
        done.append(f"{sums.name(path)} {problem}: its second copy is put back")
    return done


def _to_copy(sums: Sums, files: Iterable[Path]) -> Iterator[tuple[Path, FileSum]]:
    """Those that have a sum; files of rows only if it is known where their vectors lie."""
    for path in files:
        known = sums.of(path)
        if known is not None and (known.beside or path.parent.name != DATA):
            yield path, known


def _size_beside(path: Path, known: FileSum) -> int:
    return path.stat().st_size - sum(end - start for start, end in known.bulk)


def _copy(path: Path, known: FileSum, copy: Path) -> None:
    """Nothing, if the file itself is not what was written: what is there may be a copy of what it was."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(copy)
    with partial.open("wb") as file:
        file.writelines(beside(path, known.bulk))
    if replace(known, bulk=()).fits_quickly(partial):
        partial.replace(copy)
    else:
        partial.unlink()


def _write_whole(path: Path, copy: Path) -> None:
    partial = _partial(copy)
    with partial.open("wb") as file:
        file.write(copy.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    replace_file(partial, path)


def _write_beside(path: Path, known: FileSum, copy: Path) -> None:
    """In place, since its vectors may take a GB: if this is interrupted, the file is damaged as before."""
    with copy.open("rb") as source, path.open("r+b" if path.exists() else "w+b") as file:
        for start, end in known.bulk:
            file.write(source.read(start - file.tell()))
            file.seek(end)
        file.write(source.read())
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _partial(copy: Path) -> Path:
    return copy.with_name(f".{copy.name}.partial")

"""What a library asks of the disk: one writer at a time, and nothing old given up before the new is really there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from visil.errors import LibraryError

LOCK = "writer.lock"


@contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """One writer at a time; readers never lock.

    Raises:
        LibraryError: another process is writing.
        OSError: the folder cannot be written.
    """
    try:
        with filelock.FileLock(path / LOCK, timeout=0):
            yield
    except filelock.Timeout:
        raise LibraryError(f"library {path}: another process is writing to it; try again when it is done") from None


def replace_file(source: Path, target: Path) -> None:
    """Rename a file over another of the same folder, and see the rename on the disk."""
    source.replace(target)
    _flush_names(target.parent)


def flush_folder(path: Path) -> None:
    """See all below a folder on the disk, files before their names.

    Lance does not do it, and what they replace is about to be given up.
    """
    entries = [path, *path.rglob("*")]
    for entry in entries:
        if entry.is_file():
            with entry.open("rb+") as opened:
                os.fsync(opened.fileno())
    for entry in entries:
        if entry.is_dir():
            _flush_names(entry)


def _flush_names(folder: Path) -> None:
    """See on the disk which files a folder holds."""
    if hasattr(os, "O_DIRECTORY"):  # Windows has no such thing, and needs none
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

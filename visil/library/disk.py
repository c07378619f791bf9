"""What a library asks of the disk: one writer at a time, and nothing old given up before the new is really there."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from visil.errors import LibraryError

LOCK = "writer.lock"
TRIAL = (".visil-", ".partial")  # how the name of a folder begins and ends in which a disk is tried; a kill leaves it
ELSEWHERE = "keep the library on another disk (--library DIR, or VISIL_LIBRARY); videos may lie on this one"

# What a file system answers that has no such thing, and no answer of a full, damaged or read-only disk.
_LACKING = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.EMLINK}


@contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """One writer at a time; readers never lock.

    Raises:
        LibraryError: another process is writing, or the disk has no locks.
        OSError: the folder cannot be written.
    """
    if not _can(_lock, path):  # else filelock would take the file itself for the lock, which a killed process leaves
        raise LibraryError(f"library {path}: {NO_LOCKS}; {ELSEWHERE}")
    try:
        with filelock.FileLock(path / LOCK, timeout=0):
            yield
    except filelock.Timeout:
        raise LibraryError(f"library {path}: another process is writing to it; try again when it is done") from None


NO_LINKS = "this disk has no hard links, which every commit needs (exFAT, FAT and some network drives have none)"
NO_LOCKS = (
    "this disk has no file locks, without which two processes could write at once (some network drives have none)"
)
NO_RENAMES = "this disk cannot rename a file over another, which every commit needs"


def what_is_lacking(folder: Path) -> str:
    """What a library needs of a disk and this folder does not give, in words; empty if it gives all.

    Raises:
        OSError: nothing can be written there.
    """
    for attempt, lacking in ((_link, NO_LINKS), (_lock, NO_LOCKS), (_rename, NO_RENAMES)):
        if not _can(attempt, folder):
            return lacking
    return ""


def is_left_by_a_trial(name: str) -> bool:
    """Whether this is the name of a folder that a killed process may have left, and nobody needs."""
    prefix, suffix = TRIAL
    return name.startswith(prefix) and name.endswith(suffix)


def _can(attempt: Callable[[Path], None], folder: Path) -> bool:
    prefix, suffix = TRIAL
    with tempfile.TemporaryDirectory(prefix=prefix, suffix=suffix, dir=folder) as place:
        try:
            attempt(Path(place))
        except OSError as error:
            if error.errno not in _LACKING:
                raise
            return False
    return True


def _link(place: Path) -> None:
    (place / "a").touch()
    os.link(place / "a", place / "b")


def _rename(place: Path) -> None:
    (place / "a").touch()
    (place / "b").touch()
    (place / "a").replace(place / "b")


def _lock(place: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows has other locks, everywhere
        return
    with (place / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """A folder that is there, with those on the way to it; if nothing comes to lie in it, what was made goes again."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


@contextmanager
def undone_on_error(path: Path, *, keep: Collection[str]) -> Iterator[None]:
    """Remove what comes to lie in a folder if the block fails, but for names to keep; the caller holds the lock."""
    try:
        yield
    except BaseException:
        for entry in path.iterdir():
            if entry.name not in keep:
                with suppress(OSError):
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        raise


def replace_file(source: Path, target: Path) -> None:
    """Rename a file over another of the same disk, and see the rename there."""
    source.replace(target)
    _flush_names(target.parent)


def flush_folder(path: Path) -> None:
    """See all below a folder on the disk, files before their names.

    Lance does not do it, and what they replace is about to be given up.
    """
    entries = [path, *path.rglob("*")]
    _flush_contents(entry for entry in entries if entry.is_file())
    for entry in entries:
        if entry.is_dir():
            _flush_names(entry)


def flush_files(paths: Iterable[Path], *, below: Path) -> None:
    """See files on the disk, then their names, and those of the folders on the way to them from the one they are below.

    Lance does not do it, and somebody is about to rely on them.
    """
    files = list(paths)
    _flush_contents(files)
    ways = (file.parents[: len(file.relative_to(below).parts)] for file in files)
    for folder in sorted({folder for way in ways for folder in way}, reverse=True):
        _flush_names(folder)


def _flush_contents(files: Iterable[Path]) -> None:
    for file in files:
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())


def _flush_names(folder: Path) -> None:
    """See on the disk which files a folder holds."""
    if hasattr(os, "O_DIRECTORY"):  # Windows has no such thing, and needs none
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

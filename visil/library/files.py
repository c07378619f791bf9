"""Which files to index, and what they are called in the library.

PATH... ─► [find, name, hash] ─► ingest
           this module
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path, PurePosixPath

from visil.errors import DataError
from visil.library.store import FileFacts

# What a folder is searched for; a file named on the command line is tried whatever it is called.
VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .apng .asf .avi .divx .dv .f4v .flv .gif .h264 .hevc .ivf .m1v .m2t .m2ts .m2v .m4v .mjpeg .mjpg .mkv "
    ".mov .mp4 .mpe .mpeg .mpg .mts .mxf .nut .ogm .ogv .qt .rm .rmvb .ts .vob .webm .wmv .wtv .y4m".split()
)


@dataclass(frozen=True)
class FoundFile:
    """A file to index.

    Attributes:
        path: absolute, links kept as they are.
        root: the folder it was found under.
        name: what becomes its id: the path below the root, or what `{id}` matched.
    """

    path: Path
    root: Path
    name: str

    def stat(self) -> tuple[int, int]:
        """Size in bytes and modification time in nanoseconds, now."""
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class Found:
    """The videos below some paths, sorted by path, each once; and the paths that could not be looked at, with why."""

    files: tuple[FoundFile, ...]
    unreadable: tuple[tuple[str, str], ...]


def find_files(paths: Sequence[str | Path], *, pattern: str | None = None) -> Found:
    """Look for videos.

    Args:
        paths: files (taken as they are) and folders (searched for VIDEO_SUFFIXES; hidden names are passed over).
        pattern: with folders, the path below the folder, `{id}` standing for the id: `{id}/video.*`. `*` matches
            within one name, `**` across folders.

    Raises:
        DataError: the pattern has no `{id}`.
    """
    matcher = _pattern_matcher(pattern) if pattern is not None else None
    found: dict[Path, FoundFile] = {}
    unreadable: list[tuple[str, str]] = []

    def skip(error: OSError) -> None:
        unreadable.append((str(error.filename), f"cannot be entered ({error.strerror})"))

    for given in paths:
        path = Path(os.path.abspath(given))
        if not is_there(path):
            unreadable.append((str(given), "no such file or folder"))
        elif path.is_dir():
            for below in _walk(path, skip):
                relative = PurePosixPath(below.relative_to(path).as_posix())
                name = _name(relative, below, matcher)
                if name is not None:
                    found.setdefault(below, FoundFile(below, path, name))
        elif path.is_file():
            found.setdefault(path, FoundFile(path, path.parent, path.name))
        else:
            unreadable.append((str(given), "not a regular file"))
    return Found(tuple(found[path] for path in sorted(found)), tuple(unreadable))


def is_there(path: str | Path) -> bool:
    """Whether there is a file or folder of this name; no error for a text that cannot be a name."""
    try:
        return Path(path).exists()
    except OSError:
        return False


def _name(relative: PurePosixPath, path: Path, matcher: re.Pattern[str] | None) -> str | None:
    if matcher is None:
        return str(relative) if path.suffix.lower() in VIDEO_SUFFIXES else None
    match = matcher.fullmatch(str(relative))
    return match["id"] if match else None


def _walk(folder: Path, skip: Callable[[OSError], None]) -> Iterator[Path]:
    """Files below a folder; links to folders are followed, each folder is entered once."""
    entered: set[tuple[int, int]] = set()
    for directory, folders, names in os.walk(folder, onerror=skip, followlinks=True):
        status = Path(directory).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(directory, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _pattern_matcher(pattern: str) -> re.Pattern[str]:
    if pattern.count("{id}") != 1:
        raise DataError(f"pattern {pattern!r} must hold {{id}} once, as in '{{id}}/video.*'")
    tokens = {"{id}": "(?P<id>.+)", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\{id\}|\*\*|\*|\?)", re.sub(r"\*{3,}", "**", pattern))
    return re.compile("".join(tokens.get(piece, re.escape(piece)) for piece in pieces), re.DOTALL)


def new_id(file: FoundFile, taken: set[str] | dict[str, object]) -> str:
    """The id of a new video: its name, with folders of its root before it while that is taken.

    The last resort is a piece of the hash of its path, so that every file gets an id, and the same one whatever else
    is indexed with it.
    """
    candidate = file.name
    for parent in (file.root, *file.root.parents):
        if candidate not in taken:
            return candidate
        if parent.name:
            candidate = f"{parent.name}/{candidate}"
    hashed = f"{candidate}#{_short_hash(file.path)}"
    numbered = (f"{hashed}-{number}" for number in count(2))  # earlier files of this path left and kept their ids
    return next(id for id in chain((candidate, hashed), numbered) if id not in taken)


def _short_hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def content_hash(path: Path) -> str:
    """SHA-256 of a whole file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_facts(file: FoundFile, size_bytes: int, mtime_ns: int, sha256: str) -> FileFacts:
    """What the table keeps of a file."""
    return FileFacts(str(file.path), size_bytes, mtime_ns, sha256, str(file.root))

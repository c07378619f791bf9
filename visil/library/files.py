"""Which files to index, and what they are called in the library.

PATH... ─► [find, name, hash] ─► ingest
           this module
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path, PurePosixPath

from visil.errors import DataError
from visil.library.store import FileFacts

# What a folder is searched for; a file named on the command line is tried whatever it is called.
VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .apng .asf .avi .divx .dv .f4v .flv .gif .h264 .hevc .ivf .m1v .m2t .m2ts .m2v .m4v .mjpeg .mjpg .mkv "
    ".mov .mp4 .mpe .mpeg .mpg .mts .mxf .nut .ogm .ogv .qt .rm .rmvb .ts .vob .webm .wmv .wtv .y4m".split()
)
# Pictures, and videos under names that are not looked for: passed over, and told.
OTHER_MEDIA_SUFFIXES = frozenset(
    ".264 .265 .amv .avif .bik .bmp .braw .dav .evo .h265 .heic .heif .insv .jpe .jpeg .jpg .jxl .lrv .mj2 .mod .nsv "
    ".obu .ogg .png .r3d .smk .swf .tif .tiff .tod .tp .trp .vro .webp".split()
)
# Trash and system folders of Windows, macOS and network drives, in lower case; those of Linux (.Trash-1000) are hidden.
TRASH_FOLDERS = frozenset({"$recycle.bin", "#recycle", "@recycle", "system volume information"})
SOURCE_CODE_SUFFIXES = frozenset({".ts", ".mts"})  # of TypeScript as well as of MPEG transport streams
PACKET_BYTES = (188, 192, 204)  # of a transport stream: plain, with time codes, with error correction
SYNC_BYTE = 0x47  # each of its packets begins with
HEAD_BYTES = 4096  # twenty packets
HASH_BLOCK_BYTES = 1 << 20  # long enough that reading and hashing run at full speed


@dataclass(frozen=True)
class FoundFile:
    """A file to index.

    Attributes:
        path: absolute, links kept as they are.
        root: the folder it was found under, or that it lies in.
        name: what becomes its id: the path below the root, or what `{id}` matched.
        is_given: it was named itself, not found in a folder.
    """

    path: Path
    root: Path
    name: str
    is_given: bool = False

    def stat(self) -> tuple[int, int]:
        """Size in bytes and modification time in nanoseconds, now."""
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns


@dataclass
class PassedOver:
    """What the folders hold besides videos that a user may have meant: paths.

    Attributes:
        media: other media (OTHER_MEDIA_SUFFIXES).
        links: links to nothing that would be taken if there were a file.
        folders: trash and hidden folders, which were not entered.
    """

    media: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)

    @property
    def how_to_enter(self) -> str:
        """What is to be said of the folders where no video was found; empty if there are none."""
        first, *others = sorted(self.folders) or [""]
        more = f" and {len(others)} more" if others else ""
        return f"; {first}{more} passed over: a trash or hidden folder is read if you name it itself" if first else ""


@dataclass(frozen=True)
class Found:
    """The videos below some paths.

    Attributes:
        files: sorted by path, each once.
        unreadable: (path, reason) of what could not be looked at.
    """

    files: tuple[FoundFile, ...]
    unreadable: tuple[tuple[str, str], ...]
    passed_over: PassedOver = field(default_factory=PassedOver)


def find_files(
    paths: Sequence[str | Path],
    *,
    pattern: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    only: Set[str] | None = None,
) -> Found:
    """Look for videos.

    Patterns are for what lies below a folder; a file that is given is taken. `*` and `?` match within one name, `**`
    across folders (`**/` also none).

    Args:
        paths: files (taken as they are) and folders (searched for VIDEO_SUFFIXES). What is hidden is passed over, and
            so are TRASH_FOLDERS, unless a path lies in such a folder or `include` names it; TypeScript, always; links
            to nothing, unless `only` names them.
        pattern: the path of a video below its folder, `{id}` standing for its id: `{id}/video.*`.
        include: only what one of these matches, or lies in a folder that one matches: `news/2024-*`, `*.mov`. A
            pattern without a slash is for names at any depth, one with a slash for paths below the folder; upper and
            lower case are alike, as in suffixes.
        exclude: not what one of these matches, and nothing in such a folder, whatever is included.
        only: of what is below a folder, the videos of these names (see `FoundFile`); None: all.

    Raises:
        DataError: a path is empty, the pattern has no `{id}`, or one to include or exclude is empty or an absolute
            path.
    """
    selection = _Selection(pattern, include, exclude, only)
    found: dict[Path, FoundFile] = {}
    passed_over = PassedOver()
    unreadable: list[tuple[str, str]] = []

    def skip(error: OSError) -> None:
        unreadable.append((str(error.filename), f"cannot be looked at ({error.strerror})"))

    for given in paths:
        if str(given) == "":  # a variable that is not set
            raise DataError("an empty path names nothing; the current folder is `.`")
        path = Path(os.path.abspath(given))
        if not is_there(path):
            unreadable.append(
                (str(given), "a link to nothing" if _is_link_to_nothing(path) else "no such file or folder")
            )
        elif path.is_dir():
            for below, name in _walk(path, selection, passed_over, skip):
                found.setdefault(below, FoundFile(below, path, name))
        elif path.is_file():
            found.setdefault(path, FoundFile(path, path.parent, path.name, is_given=True))
        else:
            unreadable.append((str(given), "not a regular file"))
    passed_over.media -= {str(path) for path in found}  # named itself
    passed_over.links -= {os.path.abspath(path) for path, _ in unreadable}
    return Found(tuple(found[path] for path in sorted(found)), tuple(unreadable), passed_over)


def is_there(path: str | Path) -> bool:
    """Whether there is a file or folder of this name; no error for a text that cannot be a name, or is none."""
    try:
        return str(path) != "" and Path(path).exists()
    except OSError:
        return False


Look = tuple[int, int, int]
"""Size of a file in bytes, and the times when its content and when anything of it was last changed, in ns."""


def seen(path: Path) -> Look | None:
    """What a file looks like; None if it cannot be looked at. Unlike before: it changed meanwhile."""
    try:
        return look_of(path.stat())
    except (OSError, ValueError):
        return None


def look_of(status: os.stat_result) -> Look:
    """What tells a file from what it was.

    The last time tells, but on Windows, of what was written or put in its place with its old time; new rights or links
    are taken for a change. Not the inode: some drives (FAT, FUSE) number a file anew when nobody has it open.
    """
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _is_link_to_nothing(path: Path) -> bool:
    """Whether there is a link of this name, and no file."""
    try:
        return path.is_symlink() and not path.exists()
    except OSError:
        return False


class _Selection:
    """Which files below a folder are taken, and under which names; see `find_files`."""

    def __init__(
        self, pattern: str | None, include: Sequence[str], exclude: Sequence[str], only: Set[str] | None
    ) -> None:
        self._pattern = None if pattern is None else _pattern_matcher(pattern)
        self._include = [_glob_matcher(glob) for glob in include]
        self._exclude = [_glob_matcher(glob) for glob in exclude]
        self._only = only
        self._named = {name.casefold() for glob in include for name in glob.split("/")}

    @property
    def names_videos(self) -> bool:
        """Whether it is said which videos there are: what is not there is missed."""
        return self._only is not None

    def enters(self, relative: str) -> bool:
        """Whether the folder at this path below its root is searched."""
        return not self._excludes(relative) and not self.passes_over_folder(relative)

    def passes_over_folder(self, relative: str) -> bool:
        """Whether the folder at this path is trash or hidden, and nobody named it."""
        name = PurePosixPath(relative).name.casefold()
        return (name.startswith(".") or name in TRASH_FOLDERS) and name not in self._named

    def _excludes(self, relative: str) -> bool:
        return any(matcher.fullmatch(relative) for matcher in self._exclude)

    def _includes(self, relative: str) -> bool:
        return not self._include or any(matcher.fullmatch(relative) for matcher in self._include)

    def name(self, relative: str) -> str | None:
        """The name of the file at this path below its root, None if it is not taken."""
        if self._excludes(relative) or not self._includes(relative):
            return None
        if self._pattern is None:
            name = relative if PurePosixPath(relative).suffix.lower() in VIDEO_SUFFIXES else None
        else:
            match = self._pattern.fullmatch(relative)
            name = match["id"] if match else None
        return name if self._only is None or name in self._only else None

    def passes_over(self, relative: str) -> bool:
        """Whether a file that is not taken is one that a user may have meant."""
        is_chosen = self._includes(relative) and not self._excludes(relative)
        goes_by_suffix = self._pattern is None and self._only is None
        return goes_by_suffix and is_chosen and PurePosixPath(relative).suffix.lower() in OTHER_MEDIA_SUFFIXES


def _walk(
    root: Path, selection: _Selection, passed_over: PassedOver, skip: Callable[[OSError], None]
) -> Iterator[tuple[Path, str]]:
    """Files below a folder that are taken, with their names; what is passed over is noted.

    Links to folders are followed, each is entered once.
    """
    entered: set[tuple[int, int]] = set()
    for directory, folders, names in os.walk(root, onerror=skip, followlinks=True):
        try:
            status = Path(directory).stat()
        except OSError as error:  # it was there a moment ago
            skip(error)
            continue
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        below = "" if Path(directory) == root else f"{Path(directory).relative_to(root).as_posix()}/"
        passed_over.folders |= {
            str(Path(directory, name)) for name in folders if selection.passes_over_folder(below + name)
        }
        folders[:] = sorted(name for name in folders if selection.enters(below + name))
        for entry in sorted(names):
            if entry.startswith("."):
                continue
            path, name = Path(directory, entry), selection.name(below + entry)
            if name is None and selection.passes_over(below + entry):
                passed_over.media.add(str(path))
            elif name is not None and _is_file(path, skip):
                if not is_source_code(path):
                    yield path, name
                elif _is_empty(path):  # a recording that failed, or an empty text: nobody can tell
                    passed_over.media.add(str(path))
            elif name is not None and _is_link_to_nothing(path):
                if selection.names_videos:
                    skip(FileNotFoundError(errno.ENOENT, "a link to nothing", str(path)))
                else:
                    passed_over.links.add(str(path))


def _is_file(path: Path, skip: Callable[[OSError], None]) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # a folder whose names may be read, but nothing else
        skip(error)
        return False


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        return False


def is_source_code(path: Path) -> bool:
    """Whether a file that is called like a transport stream is TypeScript, or another text.

    A video of another kind under such a name has zero bytes in its first boxes, as no text has.
    """
    if path.suffix.lower() not in SOURCE_CODE_SUFFIXES:
        return False
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:  # who tries to decode it will say why
        return False
    return 0 not in head and not any(
        head[start::period].count(SYNC_BYTE) == len(head[start::period]) > 2
        for period in PACKET_BYTES
        for start in range(period)
    )


def _pattern_matcher(pattern: str) -> re.Pattern[str]:
    if pattern.count("{id}") != 1:
        raise DataError(f"pattern {pattern!r} must hold {{id}} once, as in '{{id}}/video.*'")
    return re.compile("(?P<id>.+)".join(map(_glob_expression, pattern.split("{id}"))), re.DOTALL)


def _glob_matcher(glob: str) -> re.Pattern[str]:
    """Of paths that match, and of all below them."""
    if not glob.strip("/") or glob.startswith("/"):
        raise DataError(f"pattern {glob!r} must be a name, or a path below the folders that are searched: 'old/*.avi'")
    anywhere = "" if "/" in glob.rstrip("/") else "(?:.*/)?"
    below_root = glob.removeprefix("./").rstrip("/")
    return re.compile(f"{anywhere}{_glob_expression(below_root)}(?:/.*)?", re.DOTALL | re.IGNORECASE)


def _glob_expression(glob: str) -> str:
    """The regular expression of a pattern."""
    tokens = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"((?<![^/])\*\*/|\*\*|\*|\?)", re.sub(r"\*{3,}", "**", glob))
    return "".join(tokens.get(piece, re.escape(piece)) for piece in pieces)


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


def content_hash(path: Path, *, stop: threading.Event | None = None, tell: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a whole file, hexadecimal.

    Args:
        stop: set by another thread when nobody wants the hash any more.
        tell: called with the bytes that are read, now and then.

    Raises:
        OSError: the file cannot be read, or the hash is not wanted.
    """
    digest = hashlib.sha256()
    num_bytes = 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(HASH_BLOCK_BYTES):
            if stop is not None and stop.is_set():
                raise InterruptedError(errno.EINTR, "given up")
            digest.update(block)
            num_bytes += len(block)
            if tell is not None:
                tell(num_bytes)
    return digest.hexdigest()


def file_facts(file: FoundFile, size_bytes: int, mtime_ns: int, *, sha256: str) -> FileFacts:
    """What the table keeps of a file. One that was given has no root: nobody said that its folder holds videos."""
    root = "" if file.is_given else str(file.root)
    return FileFacts(str(file.path), size_bytes, mtime_ns, sha256, root)

"""What has become of the file of a video since it was indexed: looked at before a match is shown.

matches ─► [gone, changed, or the query's own file? if a copy: still these bytes?] ─► people who decide what to delete
           this module
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from visil.library.files import content_hash
from visil.library.store import FileFacts

GONE, CHANGED, SAME_FILE = "gone", "changed", "same file"


class OwnFile:
    """The file that a query was read from, looked at once, when it is first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_file(self, status: os.stat_result, *, is_equal: bool) -> bool:
        """Whether a file of this status is one and the same: a hard link, a symbolic link, or below another mount.

        Two mounts of one disk may be two devices to the system; then the inode decides, where the content is equal.
        """
        own = self._status
        if own is None or status.st_ino == 0 or own.st_ino != status.st_ino:
            return False
        return own.st_dev == status.st_dev or is_equal

    @cached_property
    def _status(self) -> os.stat_result | None:
        try:
            return self._path.stat()
        except (OSError, ValueError):
            return None


class Contents:
    """What files hold now, by reading all of them: size and time stay when a disk fails, or a tool puts them back.

    One belongs to one search: a file that nobody writes to meanwhile is read once, however many queries equal it.

    Args:
        tell: called with the path of the file that is read and the share of it, in [0, 1], that is.
    """

    def __init__(self, tell: Callable[[str, float], None] | None = None) -> None:
        self._tell = tell
        self._hashes: dict[tuple[Path, int, int, int, int, int], str] = {}

    def facts(self, path: Path) -> FileFacts:
        """A file as it is now.

        Raises:
            OSError: it cannot be read.
        """
        status = path.stat()
        size, mtime_ns = status.st_size, status.st_mtime_ns
        seen = (path, status.st_dev, status.st_ino, size, mtime_ns, status.st_ctime_ns)
        if seen not in self._hashes:
            told = self._tell
            share = None if told is None else lambda num_bytes: told(str(path), min(1.0, num_bytes / max(1, size)))
            self._hashes[seen] = content_hash(path, tell=share)
        return FileFacts(os.path.abspath(path), size, mtime_ns, self._hashes[seen])

    def problem(self, read: FileFacts) -> str:
        """`gone`, `changed`, or why a file cannot be read; empty: every byte is as it was when it was read before."""
        state = file_state(read)
        if state:
            return state
        try:
            return "" if self.facts(Path(read.path)).sha256 == read.sha256 else CHANGED
        except (FileNotFoundError, NotADirectoryError):
            return GONE
        except (OSError, ValueError) as error:
            return f"cannot be read ({getattr(error, 'strerror', None) or error})"


def file_state(stored: FileFacts, own: OwnFile | None = None, *, is_equal: bool = False) -> str:
    """`gone`, `same file` or `changed`; empty: it is as it was, or nobody can tell.

    Args:
        stored: the file as it was when it was read.
        own: the query's, if it has one.
        is_equal: the query has the content that the file had then.
    """
    if stored.is_feature_set:
        return ""
    try:
        status = Path(stored.path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return GONE
    except (OSError, ValueError) as error:  # it may be there: no permission to look
        return GONE if getattr(error, "errno", None) == errno.ELOOP else ""
    if own is not None and own.is_file(status, is_equal=is_equal):
        return SAME_FILE
    return "" if (status.st_size, status.st_mtime_ns) == (stored.size_bytes, stored.mtime_ns) else CHANGED

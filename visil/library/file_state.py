"""What has become of the file of a video since it was indexed: looked at before a match is shown.

matches ─► [gone, changed, or the query's own file?] ─► people who decide what to delete
           this module
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

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
    except (OSError, ValueError):  # it may be there: no permission to look
        return ""
    if own is not None and own.is_file(status, is_equal=is_equal):
        return SAME_FILE
    return "" if (status.st_size, status.st_mtime_ns) == (stored.size_bytes, stored.mtime_ns) else CHANGED

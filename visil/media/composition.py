"""How far the times of presentation of an MP4 or MOV file are from those of decoding, told without its pictures.

    file ─► moov ─► [table of offsets of a track] ─► probing.py
                    this module

FFmpeg hands out the table of frames with their times of decoding; the offsets are in a box of their own (ISO/IEC
14496-12, 8.6.1.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

MAX_BOXES = 10_000  # of one level
MAX_TABLE_BYTES = 64 << 20  # eight million frames, each with an offset of its own


class _Box(NamedTuple):
    """Where the contents of a box lie."""

    name: bytes
    start: int
    end: int


def offset_spread(path: Path, track_id: int) -> int | None:
    """Difference of the largest and the smallest offset of a track, in units of its times; None: it is not known.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file_end = file.seek(0, 2)
        movie = next(_boxes(file, _Box(b"", 0, file_end), b"moov"), None)
        if movie is None or any(_boxes(file, movie, b"mvex")):  # frames follow in fragments
            return None
        for track in _boxes(file, movie, b"trak"):
            if _track_id(file, track) == track_id:
                return _spread(file, track)
    return None


def _boxes(file: BinaryIO, parent: _Box, name: bytes) -> Iterator[_Box]:
    """The boxes of this name directly in another one."""
    position = parent.start
    for _ in range(MAX_BOXES):
        file.seek(position)
        head = file.read(16)
        size, head_bytes = int.from_bytes(head[:4]), 8
        if size == 1:
            size, head_bytes = int.from_bytes(head[8:16]), 16
        elif size == 0:
            size = parent.end - position
        if len(head) < 8 or size < head_bytes or position + size > parent.end:
            return
        if head[4:8] == name:
            yield _Box(name, position + head_bytes, position + size)
        position += size


def _inner(file: BinaryIO, box: _Box, *names: bytes) -> _Box | None:
    """The first box at a path within another one."""
    found: _Box | None = box
    for name in names:
        found = None if found is None else next(_boxes(file, found, name), None)
    return found


def _track_id(file: BinaryIO, track: _Box) -> int | None:
    header = _inner(file, track, b"tkhd")
    if header is None:
        return None
    file.seek(header.start)
    fields = file.read(24)
    return int.from_bytes(fields[20:24] if fields[:1] == b"\x01" else fields[12:16])


def _spread(file: BinaryIO, track: _Box) -> int | None:
    table = _inner(file, track, b"mdia", b"minf", b"stbl")
    if table is None:
        return None
    offsets = _inner(file, table, b"ctts")
    if offsets is None:
        return 0
    file.seek(offsets.start + 4)
    num_runs = int.from_bytes(file.read(4))
    if not 0 < 8 * num_runs <= min(offsets.end - offsets.start - 8, MAX_TABLE_BYTES):
        return None
    runs = np.frombuffer(file.read(8 * num_runs), ">i4").reshape(-1, 2).astype(np.int64)  # frames, offset of each
    return int(np.ptp(runs[:, 1]))

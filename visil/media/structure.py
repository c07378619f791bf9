"""What the first bytes say about a file that no demuxer would open.

    file ─► opening.py ─► [cut, damaged, or no video at all?] ─► the reason of a failure
                          this module

Walks the outermost parts of the containers that most videos come in; reads a few bytes of each, decodes nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Set
from pathlib import Path
from typing import BinaryIO

from visil.errors import MediaError

MAX_PARTS = 10_000  # no real file has so many before its headers are complete


class Headers(enum.Enum):
    """What is there of the headers without which a container cannot be read."""

    UNKNOWN = "no container that this module knows"
    CUT = "the file ends before they are complete"
    WHOLE = "complete, so what is wrong lies within"


def headers_of(path: Path) -> Headers:
    """State of the headers of an MP4, MOV, Matroska, WebM or AVI file.

    Raises:
        OSError, ValueError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] in ISO_FIRST_BOXES:
            return _iso(file, {b"moov", b"meta"} if _has_picture_brand(file) else {b"moov"})
        if head.startswith(EBML):
            return _matroska(file)
        if head.startswith(b"RIFF") and head[8:] == b"AVI ":
            return _avi(file)
    return Headers.UNKNOWN


def cut_off(path: Path) -> MediaError:
    """The failure of a file whose headers are `Headers.CUT`."""
    return MediaError(f"{path}: cut off before its headers are complete; get the whole file", "truncated")


def is_animated_webp(path: Path) -> bool:
    """Whether a WebP file says that it holds several pictures (RFC 9649, 2.7: the flags of its VP8X chunk)."""
    with path.open("rb") as file:
        head = file.read(21)
    return len(head) == 21 and head[:4] + head[8:16] == b"RIFFWEBPVP8X" and bool(head[20] & 0b10)


# --- ISO base media (MP4, MOV, 3GP): size and name of every box ------------------------------------------------------

ISO_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"sidx"}


def _iso(file: BinaryIO, wanted: Set[bytes]) -> Headers:
    """The box `moov` says what a video holds, `meta` what a picture does."""
    end = _size_bytes(file)
    position = 0
    for _ in range(MAX_PARTS):
        file.seek(position)
        head = file.read(16)
        size = int.from_bytes(head[:4])
        if size == 1:
            size = int.from_bytes(head[8:16])
        elif size == 0:  # to the end of the file
            size = end - position
        if len(head) < 8 or size < 8 or position + size > end:
            return Headers.CUT
        if head[4:8] in wanted:
            return Headers.WHOLE
        position += size
    return Headers.UNKNOWN


PICTURE_BRANDS = {b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2"}
MAX_FILE_TYPE_BYTES = 4096  # a thousand brands; real files name five


def is_iso_picture(path: Path) -> bool:
    """Whether a file is a HEIF or AVIF still: it has a brand of these and no `moov`, which would hold a sequence."""
    with path.open("rb") as file:
        return _has_picture_brand(file) and _iso(file, {b"moov"}) is not Headers.WHOLE


def _has_picture_brand(file: BinaryIO) -> bool:
    file.seek(0)
    head = file.read(MAX_FILE_TYPE_BYTES)
    brands = head[8 : int.from_bytes(head[:4])]
    return head[4:8] == b"ftyp" and any(brands[k : k + 4] in PICTURE_BRANDS for k in range(0, len(brands), 4))


# --- Matroska and WebM: elements of an EBML document -----------------------------------------------------------------

EBML, SEGMENT, TRACKS = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b"


def _matroska(file: BinaryIO) -> Headers:
    """The element `Tracks` within the segment says what the file holds."""
    end = _size_bytes(file)
    position = 0
    for _ in range(MAX_PARTS):
        file.seek(position)
        head = file.read(12)
        if not head or not head[0]:
            return Headers.CUT if not head else Headers.UNKNOWN
        id_bytes = 9 - head[0].bit_length()
        name, rest = head[:id_bytes], head[id_bytes:]
        if not rest or not rest[0]:
            return Headers.CUT if not rest else Headers.UNKNOWN
        size_bytes = 9 - rest[0].bit_length()
        position += id_bytes + size_bytes
        if name == SEGMENT:  # its size may be unknown; go inside
            continue
        size = int.from_bytes(rest[:size_bytes]) & ((1 << (7 * size_bytes)) - 1)
        if position + size > end:
            return Headers.CUT
        if name == TRACKS:
            return Headers.WHOLE
        position += size
    return Headers.UNKNOWN


# --- AVI: RIFF chunks ------------------------------------------------------------------------------------------------


def _avi(file: BinaryIO) -> Headers:
    """All chunks before the list `movi`, where the pictures are."""
    position = 12
    for _ in range(MAX_PARTS):
        file.seek(position)
        head = file.read(12)
        if len(head) < 12:
            return Headers.CUT
        if head[:4] == b"LIST" and head[8:] == b"movi":
            return Headers.WHOLE
        size = int.from_bytes(head[4:8], "little")
        position += 8 + size + size % 2
    return Headers.UNKNOWN


def _size_bytes(file: BinaryIO) -> int:
    return file.seek(0, 2)

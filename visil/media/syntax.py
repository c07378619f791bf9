"""What a packet says of itself, for the codecs and containers where it is known to be true.

file ─► packets ─► [group, leaf or neither] ─► those that are needed ─► decoded pictures
                   this module

Read from the packet itself: containers call pictures key frames that later ones reach behind (open groups), and few
tell which no other needs. A family is here if a test shows that dropping changes no picture; all others, and packets
that are not understood, are decoded in full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import av
from av.container import InputContainer
from av.video.stream import VideoStream


class Syntax(NamedTuple):
    """Of one packet, which holds one frame.

    Attributes:
        starts_group: nothing from here on refers to, or is shown before, what comes before.
        is_leaf: no other frame refers to it.
        is_kept: it holds settings that later packets need.
    """

    starts_group: bool
    is_leaf: bool
    is_kept: bool


PacketSyntax = Callable[[av.Packet], Syntax | None]  # None: not understood

# One packet is one frame there, fields of interlaced pictures included.
WHOLE_FRAMES = ("mov", "matroska")
WHOLE_STILLS = ("mov", "matroska", "avi")
STILL = Syntax(starts_group=True, is_leaf=True, is_kept=False)
GROUP_START = Syntax(starts_group=True, is_leaf=False, is_kept=False)
LINK = Syntax(starts_group=False, is_leaf=False, is_kept=False)


def packet_syntax(container: InputContainer, stream: VideoStream) -> PacketSyntax | None:
    """How packets of this stream are read; None where that is not known."""
    container_name = container.format.name.split(",")[0]
    codec, extradata = stream.codec_context.name, stream.codec_context.extradata or b""
    if container_name in WHOLE_FRAMES and extradata[:1] == b"\x01":  # else units have start codes, not lengths
        if codec == "h264" and len(extradata) > 4:
            return lambda packet: _h264(packet, (extradata[4] & 3) + 1)
        if codec == "hevc" and len(extradata) > 21:
            return lambda packet: _hevc(packet, (extradata[21] & 3) + 1, num_layers=extradata[21] >> 3 & 7)
    if container_name in WHOLE_FRAMES and codec in ("vp9", "libdav1d"):
        return _vp9 if codec == "vp9" else _av1
    if container_name in WHOLE_STILLS:
        return {"mjpeg": _mjpeg, "prores": lambda _: STILL}.get(codec)
    return None


# ITU-T H.264, table 7-1, and H.265, table 7-1: types of units
H264_SLICE, H264_IDR, H264_PARAMETERS, H264_REMARKS = 1, 5, {7, 8}, {6, 9, 12}
HEVC_SLICES, HEVC_IDR, HEVC_PARAMETERS, HEVC_REMARKS = {*range(10), 21}, {19, 20}, {32, 33, 34}, {35, 38, 39, 40}


def _h264(packet: av.Packet, length_bytes: int) -> Syntax | None:
    units = [(first & 31, first >> 5 & 3) for first, _ in _unit_headers(packet, length_bytes)]
    kinds = {kind for kind, _ in units}
    pictures = kinds - H264_PARAMETERS - H264_REMARKS
    if pictures not in ({H264_SLICE}, {H264_IDR}):
        return None
    return Syntax(
        starts_group=pictures == {H264_IDR},
        is_leaf=all(importance == 0 for kind, importance in units if kind in pictures),
        is_kept=not kinds.isdisjoint(H264_PARAMETERS),
    )


def _hevc(packet: av.Packet, length_bytes: int, *, num_layers: int) -> Syntax | None:
    """A slice of an even type is referred to in higher temporal layers only."""
    units = [
        (first >> 1 & 63, (first & 1, second >> 3), second & 7) for first, second in _unit_headers(packet, length_bytes)
    ]
    kinds = {kind for kind, _, _ in units}
    pictures = kinds - HEVC_PARAMETERS - HEVC_REMARKS
    layers = {layer for kind, _, layer in units if kind in pictures}  # from 1
    one_view = all(view == (0, 0) for _, view, _ in units)
    if len(pictures) != 1 or not pictures <= HEVC_SLICES | HEVC_IDR or not one_view or max(layers) > num_layers:
        return None
    (kind,) = pictures
    return Syntax(
        starts_group=kind in HEVC_IDR,
        is_leaf=kind in HEVC_SLICES and kind % 2 == 0 and layers == {num_layers},
        is_kept=not kinds.isdisjoint(HEVC_PARAMETERS),
    )


def _unit_headers(packet: av.Packet, length_bytes: int) -> list[tuple[int, int]]:
    """The first two bytes of every unit; empty if the units do not fill the packet."""
    data, place, headers = memoryview(packet), 0, []
    while place + length_bytes + 2 <= len(data):
        headers.append((data[place + length_bytes], data[place + length_bytes + 1]))
        place += length_bytes + int.from_bytes(data[place : place + length_bytes], "big")
    return headers if place == len(data) else []


def _mjpeg(packet: av.Packet) -> Syntax | None:
    """Pictures with quantisation and Huffman tables of their own; others may use those of an earlier one."""
    head = bytes(memoryview(packet)[:4096])
    return STILL if b"\xff\xdb" in head and b"\xff\xc4" in head else None


def _vp9(packet: av.Packet) -> Syntax | None:
    """A key frame resets all that a decoder holds; which of the others are leaves is not looked for."""
    first = memoryview(packet)[0]
    marker, is_high_profile, shows_existing, is_no_key = first >> 6, first >> 4 & 3 == 3, first >> 3 & 1, first >> 2 & 1
    if marker != 2 or is_high_profile:
        return None
    return LINK if shows_existing or is_no_key else GROUP_START


# AV1 specification, section 6.2.2: types of units
AV1_SEQUENCE, AV1_FRAME_HEADER, AV1_FRAME = 1, 3, 6


def _av1(packet: av.Packet) -> Syntax | None:
    """A shown key frame behind a sequence header resets all that a decoder holds."""
    data, place, has_sequence = memoryview(packet), 0, False
    while place + 2 < len(data):
        kind, has_extension, has_size = data[place] >> 3 & 15, data[place] >> 2 & 1, data[place] >> 1 & 1
        if has_extension or not has_size:
            return None  # layers; or the last unit, whose end is that of the packet
        size, num_bytes = _leb128(data[place + 1 : place + 9])
        place += 1 + num_bytes
        if kind in (AV1_FRAME, AV1_FRAME_HEADER):
            is_shown_key = data[place] >> 4 == 0b0001  # no existing frame, of type key, shown
            return GROUP_START if has_sequence and is_shown_key else LINK
        has_sequence |= kind == AV1_SEQUENCE
        place += size
    return None


def _leb128(data: memoryview) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and how many bytes it takes."""
    number = 0
    for index, byte in enumerate(data):
        number |= (byte & 127) << 7 * index
        if byte < 128:
            return number, index + 1
    return 0, len(data)

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


def packet_syntax(container: InputContainer, stream: VideoStream) -> PacketSyntax | None:
    """How packets of this stream are read; None where that is not known."""
    container_name = container.format.name.split(",")[0]
    codec, extradata = stream.codec_context.name, stream.codec_context.extradata or b""
    if container_name in WHOLE_FRAMES and extradata[:1] == b"\x01":  # else units have start codes, not lengths
        if codec == "h264" and len(extradata) > 4:
            return lambda packet: _h264(packet, (extradata[4] & 3) + 1)
        if codec == "hevc" and len(extradata) > 21:
            return lambda packet: _hevc(packet, (extradata[21] & 3) + 1, num_layers=extradata[21] >> 3 & 7)
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

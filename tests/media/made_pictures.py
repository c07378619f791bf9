"""HEIC and AVIF stills made in the tests, as phones and browsers write them."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

HEVC_OPTIONS = {"x265-params": "log-level=none:pools=none:frame-threads=1:info=0:qp=4"}
HEVC_PARAMETERS = (32, 33, 34)  # types of the units of video, sequence and picture


def write_heic(path: Path, tiles: list[np.ndarray], grid: tuple[int, int] | None = None) -> Path:
    """A HEIC still of one item, or of a grid of (rows, columns) items as phones write it.

    Args:
        tiles: uint8 RGB [H, W, 3], of one size; several for a grid only, row by row.
    """
    height, width = tiles[0].shape[:2]
    pictures = [_hevc(tile) for tile in tiles]
    items = [(k + 1, b"hvc1", content) for k, (_, content) in enumerate(pictures)]
    properties = [box(b"hvcC", pictures[0][0]), _full_box(b"ispe", struct.pack(">II", width, height))]
    uses = [(item, (0x81, 2)) for item, _, _ in items]  # the first is essential
    references = b""
    if grid is not None:
        rows, columns = grid
        primary, size_px = len(tiles) + 1, (columns * width, rows * height)
        items.append((primary, b"grid", struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *size_px)))
        properties.append(_full_box(b"ispe", struct.pack(">II", *size_px)))
        uses.append((primary, (3,)))
        parts = struct.pack(f">HH{len(tiles)}H", primary, len(tiles), *range(1, primary))
        references = _full_box(b"iref", box(b"dimg", parts))

    def meta(first_byte: int) -> bytes:
        places, at = b"", first_byte
        for item, _, content in items:
            places += struct.pack(">HHHII", item, 0, 1, at, len(content))
            at += len(content)
        entries = b"".join(_full_box(b"infe", struct.pack(">HH4sx", item, 0, kind), 2) for item, kind, _ in items)
        associations = b"".join(struct.pack(f">HB{len(which)}B", item, len(which), *which) for item, which in uses)
        return _full_box(
            b"meta",
            _full_box(b"hdlr", struct.pack(">I4s12xx", 0, b"pict"))
            + _full_box(b"pitm", struct.pack(">H", items[-1][0]))
            + _full_box(b"iloc", struct.pack(">BBH", 0x44, 0, len(items)) + places)
            + _full_box(b"iinf", struct.pack(">H", len(items)) + entries)
            + references
            + box(
                b"iprp",
                box(b"ipco", b"".join(properties)) + _full_box(b"ipma", struct.pack(">I", len(uses)) + associations),
            ),
        )

    head = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    first_byte = len(head) + len(meta(0)) + 8
    path.write_bytes(head + meta(first_byte) + box(b"mdat", b"".join(content for _, _, content in items)))
    return path


def write_avif(path: Path, pictures: list[np.ndarray]) -> Path:
    """An AVIF still of one picture, or an animated one, four pictures a second."""
    with av.open(str(path), "w", format="avif") as output:
        stream = output.add_stream("libsvtav1", rate=4, options={"preset": "12"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    return path


def _hevc(picture: np.ndarray) -> tuple[bytes, bytes]:
    """The configuration record and the bytes of a picture."""
    encoder = av.CodecContext.create("libx265", "w")
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.options = "yuv420p", Fraction(1), HEVC_OPTIONS
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    stream = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode()])
    units = [unit.rstrip(b"\0") for unit in stream.split(b"\0\0\1")[1:]]
    is_parameters = [unit[0] >> 1 in HEVC_PARAMETERS for unit in units]
    arrays = [
        struct.pack(">BHH", unit[0] >> 1, 1, len(unit)) + unit
        for unit, is_one in zip(units, is_parameters, strict=True)
        if is_one
    ]
    record = bytes.fromhex("01" + 12 * "00" + "f000fcfdf8f800000f") + bytes([len(arrays)]) + b"".join(arrays)
    slices = [unit for unit, is_one in zip(units, is_parameters, strict=True) if not is_one]
    return record, b"".join(struct.pack(">I", len(unit)) + unit for unit in slices)


def box(name: bytes, content: bytes) -> bytes:
    """A box of ISO media."""
    return struct.pack(">I4s", 8 + len(content), name) + content


def _full_box(name: bytes, content: bytes, version: int = 0) -> bytes:
    return box(name, struct.pack(">I", version << 24) + content)

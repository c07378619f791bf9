"""A real ONNX network, written byte by byte: the unit vector of the mean colours of pictures.

image uint8 [B, H, W, 3] ─ Cast ─ ReduceMean over H and W ─ LpNormalization ─► embedding float [B, 3]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

IR_VERSION, OPERATOR_SET = 8, 13
FLOAT, UINT8 = 1, 2
INT_ATTRIBUTE, INTS_ATTRIBUTE = 2, 7


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def part(field: int, content: bytes | str) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def varint(value: int) -> bytes:
    low = [value >> shift & 127 for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(byte | 128 for byte in low[:-1]), low[-1]])


def node(kind: str, takes: str, gives: str, **attributes: int | list[int]) -> bytes:
    written = [
        part(1, name) + b"".join(number(8, v) for v in value) + number(20, INTS_ATTRIBUTE)
        if isinstance(value, list)
        else part(1, name) + number(3, value) + number(20, INT_ATTRIBUTE)
        for name, value in attributes.items()
    ]
    return part(1, takes) + part(2, gives) + part(4, kind) + b"".join(part(5, attribute) for attribute in written)


def value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    sides = b"".join(part(1, number(1, side) if isinstance(side, int) else part(2, side)) for side in shape)
    return part(1, name) + part(2, part(1, number(1, kind) + part(2, sides)))


def write_mean_colours(path: Path, *, channels: int = 3, name: str = "mean colours") -> Path:
    graph = (
        part(1, node("Cast", "image", "pixels", to=FLOAT))
        + part(1, node("ReduceMean", "pixels", "means", axes=[1, 2], keepdims=0))
        + part(1, node("LpNormalization", "means", "embedding", axis=1, p=2))
        + part(2, name)
        + part(11, value("image", UINT8, ["batch", "height", "width", channels]))
        + part(12, value("embedding", FLOAT, ["batch", channels]))
    )
    path.write_bytes(number(1, IR_VERSION) + part(7, graph) + part(8, number(2, OPERATOR_SET)))
    return path

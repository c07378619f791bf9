"""Damaged copies of files: what disks, networks and strangers make of videos.

    bytes of a real file ─► [one kind of damage, seeded] ─► bytes that a decoder must survive

The same generator state gives the same bytes. Nothing here knows a container, but for the boxes that are swapped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

HEADER_BYTES = 4096  # where most of what a decoder believes is written
MOST_FLIPS = 1000
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)  # where arithmetic overflows
ISO_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"moof", b"traf", b"mvex")


def flip_bits(content: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """From one to a thousand bits are other ones, half of the time in the headers only."""
    damaged = bytearray(content)
    most = min(len(content), HEADER_BYTES) if rng.random() < 0.5 else len(content)
    for place in rng.integers(0, most, _log_uniform(1, MOST_FLIPS, rng)):
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def cut(content: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """The end is missing, the beginning is, a stretch in the middle is, or a stretch is zeros (an unfinished copy)."""
    start, stop = sorted(int(place) for place in rng.integers(0, len(content) + 1, 2))
    ways = (
        content[:stop],
        content[start:],
        content[:start] + content[stop:],
        content[:start] + bytes(stop - start) + content[stop:],
    )
    return ways[rng.integers(len(ways))]


def splice_header(content: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """The first bytes are those of another file, over its own or before them."""
    header = others[int(rng.integers(len(others)))][: _log_uniform(16, 16 * HEADER_BYTES, rng)]
    return header + content[len(header) if rng.random() < 0.5 else 0 :]


def swap_boxes(content: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """Two neighbouring parts have changed places: boxes of ISO media on any level, else stretches of any length."""
    neighbours = _neighbouring_boxes(content, 0, len(content))
    if not neighbours:
        neighbours = [tuple(sorted(int(place) for place in rng.integers(0, len(content) + 1, 3)))]
    a, b, c = neighbours[rng.integers(len(neighbours))]
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def claim_extremes(content: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """Some numbers in the headers are as small or large as can be: sizes, counts, dimensions, lengths."""
    damaged = bytearray(content)
    for place in rng.integers(0, min(len(content), HEADER_BYTES), _log_uniform(1, 8, rng)):
        num_bytes = int(rng.choice((1, 2, 4)))
        value = EXTREMES[rng.integers(len(EXTREMES))] & ((1 << 8 * num_bytes) - 1)
        damaged[place : place + num_bytes] = value.to_bytes(num_bytes, "big" if rng.random() < 0.5 else "little")
    return bytes(damaged)


Damage = Callable[[bytes, Sequence[bytes], np.random.Generator], bytes]
DAMAGES: dict[str, Damage] = {
    "bit flips": flip_bits,
    "cuts": cut,
    "spliced headers": splice_header,
    "swapped boxes": swap_boxes,
    "extreme numbers": claim_extremes,
}


def _log_uniform(low: int, high: int, rng: np.random.Generator) -> int:
    return round(float(np.exp(rng.uniform(np.log(low), np.log(high)))))


def _neighbouring_boxes(content: bytes, start: int, stop: int) -> list[tuple[int, ...]]:
    """(start of a box, start of the next, end of that one) on every level; empty if these are no boxes."""
    edges, inner = [start], []
    while edges[-1] < stop:
        place = edges[-1]
        size, name = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        if size < 8 or place + size > stop or not name.isalnum():
            break
        edges.append(place + size)
        if name in ISO_PARENTS:
            inner += _neighbouring_boxes(content, place + 8, place + size)
    return [*zip(edges, edges[1:], edges[2:], strict=False), *inner]

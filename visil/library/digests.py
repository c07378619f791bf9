"""The digest of a row: what shows that a bit of it is not what was written.

    id, shape, vectors, times, descriptors ─► XXH3-128 ─► column `digest`
                                              this module

A disk that returns other bits than it was given says nothing, and neither does Lance. `docs/formats.md` states the
bytes, so that anybody can compute the digest again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

_SHAPE = struct.Struct("<8q")

# The columns that `digests_of` looks at.
DIGESTED = ("id", "stretch", "num_frames", "num_regions", "packed", "vectors", "times_s", "descriptors")


def row_digest(
    id: str,
    stretch: int,
    num_frames: int,
    num_regions: int,
    packed: bool,
    vectors: Any,
    times_s: np.ndarray,
    descriptors: np.ndarray,
) -> str:
    """32 hexadecimal digits of all that a row gives to a score.

    Args:
        vectors: their bytes as stored, any contiguous buffer.
        times_s: float64.
        descriptors: float32, any shape.
    """
    name, num_bytes = id.encode(), memoryview(vectors).nbytes
    times_s, descriptors = np.ascontiguousarray(times_s, "<f8"), np.ascontiguousarray(descriptors, "<f4")
    sizes = len(name), num_bytes, times_s.nbytes, descriptors.nbytes
    digest = xxhash.xxh3_128(_SHAPE.pack(stretch, num_frames, num_regions, packed, *sizes))
    parts: tuple[Any, ...] = (name, vectors, times_s, descriptors)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def digests_of(rows: pa.Table | pa.RecordBatch) -> Iterator[str]:
    """The digest of each row as Arrow has it, columns DIGESTED; vectors are not copied."""
    for batch in rows.to_batches() if isinstance(rows, pa.Table) else [rows]:
        plain = (batch[name].to_pylist() for name in DIGESTED[:5])
        bulk = (_values(batch[name]) for name in DIGESTED[5:])
        for row in zip(*plain, *bulk, strict=True):
            yield row_digest(*row)


def _values(column: pa.Array) -> Iterator[Any]:
    """What each row of a column of lists, or of bytes, holds."""
    if pa.types.is_large_binary(column.type):
        _, offsets, content = column.buffers()
        edges = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
        values: Any = memoryview(content or b"")
        width = 1
    else:
        edges, items = column.offsets.to_numpy(), column.values
        is_parts = pa.types.is_fixed_size_list(items.type)
        width = items.type.list_size if is_parts else 1
        values = (items.flatten() if is_parts else items).to_numpy()
    for start, end in pairwise((edges * width).tolist()):
        yield values[start:end]

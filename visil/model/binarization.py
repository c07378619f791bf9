"""Region vectors -> sign codes, packed to one bit a dimension, and the distances between them.

    regions ─► whitening ─► [binarization] ─► packed RegionVectors ─► [distances] ─ similarity ─► ...
                             this module                          and this module

Source: DnS (IJCV 2022), fine-grained binarization student. A code of 512 dimensions takes 64 bytes instead
of 2,048. Packed, bit 1 means positive and bit 0 means negative *or zero*: frames without content, whose code
is all zero, must be left out before packing.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Array = TypeVar("Array", np.ndarray, Tensor)

BITS_PER_BYTE = 8
ERF_VARIANCE = 1e-6  # of the noise that training assumes on a projection (published)


class Binarization(nn.Module):
    """Codes of `bits` signs: sign(L2(x) · projection).

    In evaluation mode the codes are in {-1, 0, 1} (0 only where the projection is exactly 0, as for a zero
    vector); in training mode they are the expected sign, erf(z / sqrt(2 · variance)), which has a gradient.

    Args:
        variance: of the noise that training assumes on a projection.

    Attributes:
        projection: [D, bits]; starts as a random rotation, published students start from ITQ.
    """

    def __init__(self, dim: int, bits: int, *, variance: float = ERF_VARIANCE) -> None:
        super().__init__()
        self._variance = variance
        self.projection = nn.Parameter(torch.empty(dim, bits))
        nn.init.orthogonal_(self.projection)

    def forward(self, vectors: Tensor) -> Tensor:
        """[..., D] -> [..., bits]."""
        projected = F.normalize(vectors, dim=-1) @ self.projection
        if self.training:
            return torch.erf(projected / math.sqrt(2 * self._variance))
        return projected.sign()


def pack_signs(codes: Array) -> Array:
    """[..., D] -> uint8 [..., D/8], first dimension in the highest bit; 1 is positive, 0 negative or zero."""
    if codes.shape[-1] % BITS_PER_BYTE:
        raise ValueError(f"codes to pack must have a multiple of 8 dimensions, got {codes.shape[-1]}")
    if isinstance(codes, np.ndarray):
        return np.packbits(codes > 0, axis=-1)
    bits = rearrange(codes > 0, "... (byte bit) -> ... byte bit", bit=BITS_PER_BYTE)
    place_values = 2 ** torch.arange(7, -1, -1, device=codes.device)
    return (bits * place_values).sum(dim=-1).to(torch.uint8)


def unpack_signs(packed: Array) -> Array:
    """uint8 [..., D/8] -> float32 [..., D] of -1 and 1."""
    if isinstance(packed, np.ndarray):
        return np.unpackbits(packed, axis=-1).astype(np.float32) * 2 - 1
    shifts = torch.arange(7, -1, -1, device=packed.device, dtype=torch.uint8)
    bits = (packed[..., None] >> shifts) & 1  # [..., D/8, 8]
    return rearrange(bits, "... byte bit -> ... (byte bit)").float() * 2 - 1


def hamming_distances(query: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Number of signs that differ, (D - dot product) / 2, of every pair of two lists of packed codes.

    Args:
        query, target: uint8 [M, D/8] and [N, D/8].

    Returns:
        int32 [M, N], computed on one core, without unpacking and without holding the interpreter's lock.
    """
    import faiss  # 0.1 s, and only libraries of packed codes need it

    codes = [np.ascontiguousarray(side) for side in (query, target)]
    distances = np.empty((len(query), len(target)), dtype=np.int32)
    pointers = [faiss.swig_ptr(array) for array in (*codes, distances)]
    # SWIG's names are not visible to mypy.
    faiss.hammings(*pointers[:2], len(query), len(target), query.shape[-1], pointers[2])  # type: ignore[attr-defined]
    return distances

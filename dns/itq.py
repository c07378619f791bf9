"""Iterative quantisation: a rotation after which the signs of vectors lose least.

    vectors [N, D] ─► leading directions ─► rotation in turns with its signs ─► [projection [D, bits]] ─► Binarization

Source: ITQ (CVPR 2011); the published code of S2VS and VSC2022 transposes a factor of its update, so that its loss goes
up and down: the result is a rotation, and not an optimum (case `itq`).
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

ITERATIONS = 50  # published


def fit_itq(vectors: Tensor, bits: int, *, iterations: int = ITERATIONS, seed: int = 0) -> Tensor:
    """A projection [D, bits] for `Binarization`, from vectors [N, D] as they are (not centred, as published).

    Raises:
        ValueError: there are more bits than dimensions.
    """
    if not 1 <= bits <= vectors.shape[1]:
        raise ValueError(f"bits must lie between 1 and the {vectors.shape[1]} dimensions of a vector, got {bits}")
    wide = vectors.double()
    _, directions = torch.linalg.eigh(wide.T.cov())  # ascending
    leading = directions.flip(1)[:, :bits]
    start = torch.randn(bits, bits, dtype=torch.float64, generator=Generator().manual_seed(seed))
    rotation = torch.linalg.svd(start)[0]
    return (leading @ itq_rotation(wide @ leading, rotation, iterations)).to(vectors.dtype)


def itq_rotation(vectors: Tensor, rotation: Tensor, iterations: int) -> Tensor:
    """So many updates of a rotation [K, K] for vectors [N, K].

        B = sign(V R);   Bᵀ V = U S Wᵀ;   R = W Uᵀ

    None makes `quantisation_loss` larger (orthogonal Procrustes).
    """
    for _ in range(iterations):
        left, _, right = torch.linalg.svd(signs(vectors @ rotation).T @ vectors)
        rotation = right.T @ left.T
    return rotation


def quantisation_loss(vectors: Tensor, rotation: Tensor) -> Tensor:
    """Mean of (sign(V R) - V R)² over all entries, []."""
    rotated = vectors @ rotation
    return (signs(rotated) - rotated).square().mean()


def signs(values: Tensor) -> Tensor:
    """-1 or 1; 1 for 0."""
    return torch.where(values >= 0, 1.0, -1.0).to(values)

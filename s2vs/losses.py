"""Losses on scores of the similarity network.

    pairs of videos ─ SimilarityNetwork ─► raw map, scores ─► [losses] ─► gradient
                                                              this module

Sources: ViSiL (ICCV 2019), "Loss function" (both); S2VS (2023) keeps the regularisation.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def similarity_regularisation(raw: Tensor, reduction: str = "sum") -> Tensor:
    """Penalty on comparator outputs that the clipping would cut off: Σ max(0, |y| - 1).

    Args:
        raw: unclipped output of the comparator, any shape; zero out padded cells (the comparator does).
        reduction: `sum` over all elements (ViSiL, DnS), or `mean` (offered by S2VS).

    Returns:
        [], 0 if everything lies in [-1, 1]; exactly ±1 has no gradient.
    """
    excess = F.relu(raw.abs() - 1)
    if reduction == "sum":
        return excess.sum()
    if reduction == "mean":
        return excess.mean()
    raise ValueError(f"reduction must be sum or mean, got {reduction!r}")


def triplet_loss(positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Mean of max(0, s⁻ - s⁺ + margin).

    Args:
        positive, negative: scores [B] or [B, 1] of an anchor with its positive and with its negative.
        margin: published: 0.5 (paper), 1.0 (PyTorch code).
    """
    if positive.shape != negative.shape:
        raise ValueError(
            f"expected a positive and a negative score for every anchor, "
            f"got {[*positive.shape]} and {[*negative.shape]}"
        )
    return F.relu(negative - positive + margin).mean()

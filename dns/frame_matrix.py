"""The frame-to-frame matrix that copies are localised in, as the VSC2022 baseline makes it.

    two videos ─► comparator without pooling, both ways ─► [fine], with per-frame coarse vectors ─► [combined [Tq, Tt]]

Source: the baseline of the Video Similarity Challenge 2022 built on DnS (cases `vsc_matrix_*`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from visil.model.network import SimilarityNetwork

COARSE_OFFSET = 0.5  # published
FLOOR = 1e-7  # below what nothing is multiplied


def fine_matrix(network: SimilarityNetwork, query: Tensor, target: Tensor) -> Tensor:
    """Refined similarity in [0, 1] of indexed videos [Tq, R, D] and [Tt, R, D] at the resolution of frames, [Tq, Tt].

    Args:
        network: with a comparator without pooling.
    """
    return network.refine(network.frame_similarity(query, target)) / 2 + 0.5


def symmetric_matrix(network: SimilarityNetwork, query: Tensor, target: Tensor) -> Tensor:
    """Mean of `fine_matrix` of both directions, [Tq, Tt]."""
    return (fine_matrix(network, query, target) + fine_matrix(network, target, query).T) / 2


def combined_matrix(fine: Tensor, query_coarse: Tensor, target_coarse: Tensor) -> Tensor:
    """Geometric mean of a fine matrix and of the coarse similarities of single frames; may exceed 1.

    Args:
        fine: [Tq, Tt] in [0, 1].
        query_coarse, target_coarse: [Tq, D'] and [Tt, D'], of every frame.
    """
    coarse = query_coarse @ target_coarse.T + COARSE_OFFSET
    return torch.sqrt(fine.clamp(min=FLOOR) * coarse.clamp(min=FLOOR))

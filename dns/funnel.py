"""Coarse scores, and fine ones where the selector says so.

    coarse [Q, N] ─┐
    selector [Q, N] ┴─► the first share of each query's order ─► fine scores there ─► [merged scores] ─► ranking

Source: DnS (IJCV 2022), "Similarity search"; the published evaluation computes all fine scores and leaves out most of
them (cases `merged_ranking`, `evaluation`), which gives the same.
"""

from __future__ import annotations

import numpy as np


def selector_order(scores: np.ndarray) -> np.ndarray:
    """Videos by falling selector score, int64 [Q, N]; equal scores in their own order (published: in any)."""
    return np.argsort(-scores, axis=1, kind="stable")


def num_fine(share: float, num_videos: int) -> int:
    """How many videos of a query get a fine score: int(share · N), as published, also where rounding takes one away."""
    if not 0 <= share <= 1:
        raise ValueError(f"a share lies between 0 and 1, got {share}")
    return int(share * num_videos)


def merged_scores(coarse: np.ndarray, fine: np.ndarray, order: np.ndarray, share: float) -> np.ndarray:
    """Scores [Q, N]: fine ones for the first share of the order, coarse ones for the rest.

    Args:
        coarse: dot products.
        fine: s / 2 + 1/2.
        order: see `selector_order`.
    """
    chosen = order[:, : num_fine(share, coarse.shape[1])]
    merged = coarse.copy()
    np.put_along_axis(merged, chosen, np.take_along_axis(fine, chosen, axis=1), axis=1)
    return merged

"""Temporal Hough voting: every match votes for its offset in time.

    similarity matrix [Q, R] ─► [sums of diagonals ─► the highest that differ] ─► boxes

Source: An Image-based Approach to Video Copy Detection with Spatio-temporal Post-filtering (IEEE TMM 2010), as in the
public code of VCSL (CVPR 2022); cases `diag_speed_*` and others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from visil.align.boxes import boxes_of, inclusive_iou
from visil.align.matrix import checked_matrix


@dataclass(frozen=True)
class HoughVoting:
    """Parameters, with the published defaults of the function.

    Attributes:
        iou_thresh: a box overlaps each earlier one by at most so much.
        min_sim: lower similarities do not vote.
        max_peaks: so many of the best offsets are looked at.
    """

    iou_thresh: float = 0.9
    min_sim: float = 0.2
    max_peaks: int = 100


def hough_voting(similarity: ArrayLike, settings: HoughVoting = HoughVoting()) -> np.ndarray:
    """Boxes int64 [N, 4], highest sum first: each the complete diagonal of an offset, never trimmed to what matches.

        score(d) = Σ_q S[q, q + d] over entries of at least min_sim

    Unchanged speed only.

    Args:
        similarity: [Q, R], row = query frame, column = target frame; not changed.

    Raises:
        DataError: see `checked_matrix`.
    """
    matrix = checked_matrix(similarity)
    num_rows, num_columns = matrix.shape
    votes = np.where(matrix >= settings.min_sim, matrix, 0)
    diagonals = ((offset, votes.diagonal(offset)) for offset in range(1 - num_rows, num_columns))
    sums = [(offset, float(line.sum())) for offset, line in diagonals if (line >= settings.min_sim).any()]
    sums.sort(key=lambda row: -row[1])  # stable: the lower offset first
    found = boxes_of([])
    for offset, score in sums[: settings.max_peaks]:
        if score <= 0:
            break
        first, last = max(0, -offset), min(num_rows, num_columns - offset) - 1
        box = np.array([first, first + offset, last, last + offset], dtype=np.int64)
        if (inclusive_iou(box, found) <= settings.iou_thresh).all():
            found = np.concatenate([found, box[None]])
    return found

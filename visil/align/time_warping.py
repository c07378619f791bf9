"""Dynamic time warping: the one cheapest path through the whole matrix.

    similarity matrix [Q, R] ─► [cheapest path from corner to corner] ─► path_cutting ─► boxes

Source: dynamic time warping as in the public code of VCSL (CVPR 2022), which calls tslearn; case `dtw_internals`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from visil.align.matrix import antidiagonals, checked_matrix, moved
from visil.align.path_cutting import PathRules, boxes_on_path


@dataclass(frozen=True)
class TimeWarping:
    """Parameters, with the published defaults of the function.

    Attributes:
        discontinue, min_length: as `longest_run` and `min_length` of `PathRules`.
        min_sim: the mean over a box is above it.
    """

    discontinue: int = 3
    min_sim: float = 0.2
    min_length: int = 5


def time_warping(similarity: ArrayLike, settings: TimeWarping = TimeWarping()) -> np.ndarray:
    """Boxes int64 [N, 4] in the order of time. One monotone path: what is repeated, swapped or reversed is lost.

    Args:
        similarity: [Q, R], row = query frame, column = target frame; not changed.

    Raises:
        DataError: see `checked_matrix`.
    """
    matrix = checked_matrix(similarity)
    path, _ = warping_path(matrix)
    return boxes_on_path(path, matrix, PathRules(settings.discontinue, settings.min_length, settings.min_sim))


def warping_path(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    r"""Cells of the cheapest path, int64 [N, 2], from (0, 0) to the last corner, and what it costs.

    A_ij = 1 - S_ij + \min(A_{i-1,j-1}, A_{i-1,j}, A_{i,j-1}); the first of equal ones counts.
    """
    num_rows, num_columns = matrix.shape
    total = (1 - matrix).astype(np.float64)  # of the cell, then of the path to it
    total[0] = total[0].cumsum()
    total[:, 0] = total[:, 0].cumsum()
    flat = total.ravel()
    for cells in antidiagonals(num_rows, num_columns):
        diagonal, above, left = (flat[moved(cells, by)] for by in (-num_columns - 1, -num_columns, -1))
        flat[cells] += np.minimum(np.minimum(diagonal, above), left)
    row, column = num_rows - 1, num_columns - 1
    path = [(row, column)]
    while row or column:
        if not row or not column:
            row, column = max(row - 1, 0), max(column - 1, 0)
        else:
            before = ((row - 1, column - 1), (row - 1, column), (row, column - 1))
            row, column = min(before, key=lambda cell: float(total[cell]))
        path.append((row, column))
    return np.array(path[::-1], dtype=np.int64), float(total[-1, -1])

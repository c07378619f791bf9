"""Dynamic programming: chains of matches that may miss a few in a row.

    similarity matrix [Q, R] ─► [chain sums ─► best chain, its rectangle taken out, and again] ─► path_cutting ─► boxes

Source: Pattern-based Near-duplicate Video Retrieval and Localization on Web-scale Videos (IEEE TMM 2015), as in the
public code of VCSL (CVPR 2022); cases `dp_internals`, `diag_speed_*` and others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from visil.align.boxes import boxes_of
from visil.align.matrix import antidiagonals, checked_matrix, moved
from visil.align.path_cutting import PathRules, boxes_on_path

MAX_CHAINS = 100  # published; chains of one cell count, so isolated maxima can use them up
START = -1
STEPS = ((1, 1), (1, 0), (0, 1))  # published order: the first of equal candidates counts


@dataclass(frozen=True)
class DynamicProgramming:
    """Parameters, with the published defaults of the function. Both limits are compared with S + 1: 1 to 2 make sense.

    Attributes:
        discontinue: so many cells in a row may lie below min_sim.
        min_sim: of a cell that counts as a match.
        ave_sim: the mean over a box is above it.
        min_length, diagonal_thres: as `min_length` and `longest_run` of `PathRules`.
    """

    discontinue: int = 3
    min_sim: float = 1.0
    ave_sim: float = 1.3
    min_length: int = 5
    diagonal_thres: int = 30


@dataclass(frozen=True)
class Chains:
    """Best chains that end in every cell.

    Attributes:
        sums: [Q, R], of the chain's cells, steps to the side count half.
        unmatched: int [Q, R], cells below min_sim at the chain's end.
        back: int8 [Q, R], number of the last step in STEPS; START where a chain starts.
    """

    sums: np.ndarray = field(repr=False)
    unmatched: np.ndarray = field(repr=False)
    back: np.ndarray = field(repr=False)


def dynamic_programming(similarity: ArrayLike, settings: DynamicProgramming = DynamicProgramming()) -> np.ndarray:
    """Boxes int64 [N, 4], of the chain with the highest sum first. Forward only; segments must not lie in one another.

    Args:
        similarity: [Q, R], row = query frame, column = target frame; not changed.

    Raises:
        DataError: see `checked_matrix`.
    """
    matrix = checked_matrix(similarity) + 1
    chains = chain_sums(matrix, settings)
    rules = PathRules(settings.diagonal_thres, settings.min_length, settings.ave_sim)
    left = chains.sums.copy()
    found = [boxes_of([])]
    for _ in range(MAX_CHAINS):
        end = np.unravel_index(int(left.argmax()), left.shape)
        if left[end] == -np.inf:
            break
        path = trace(left, chains.back, (int(end[0]), int(end[1])))
        (q_first, r_first), (q_last, r_last) = path[0], path[-1]
        left[q_first : q_last + 1, r_first : r_last + 1] = -np.inf
        found.append(boxes_on_path(path, matrix, rules))
    return np.concatenate(found)


def chain_sums(matrix: np.ndarray, settings: DynamicProgramming) -> Chains:
    r"""D_ij = \max(D_{i-1,j-1} + X_ij, D_{i-1,j} + X_ij/2, D_{i,j-1} + X_ij/2), or X_ij after too many without a match.

    The first row and column are starts.

    Args:
        matrix: X = S + 1, [Q, R].
    """
    num_columns = matrix.shape[1]
    sums, unmatched = matrix.copy(), np.zeros(matrix.shape, dtype=np.int32)
    back = np.full(matrix.shape, START, dtype=np.int8)
    flat, flat_sums, flat_unmatched, flat_back = matrix.ravel(), sums.ravel(), unmatched.ravel(), back.ravel()
    for cells in antidiagonals(*matrix.shape):
        before = [moved(cells, by) for by in (-num_columns - 1, -num_columns, -1)]
        value = flat[cells]
        candidates = np.stack([flat_sums[b] + (value if k == 0 else value / 2) for k, b in enumerate(before)])
        step = candidates.argmax(axis=0)
        misses = np.choose(step, [flat_unmatched[b] for b in before]) + 1
        flat_unmatched[cells] = misses = np.where(value < settings.min_sim, misses, 0)
        goes_on = misses <= settings.discontinue
        flat_sums[cells] = np.where(goes_on, np.choose(step, candidates), value)
        flat_back[cells] = np.where(goes_on, step, START)
    return Chains(sums, unmatched, back)


def trace(sums: np.ndarray, back: np.ndarray, end: tuple[int, int]) -> np.ndarray:
    """The chain that ends in a cell, from its start, int64 [N, 2]; cells that were taken out (-inf) end it."""
    path = [end]
    while (step := back[path[-1]]) != START:
        row, column = path[-1][0] - STEPS[step][0], path[-1][1] - STEPS[step][1]
        if sums[row, column] == -np.inf:
            break
        path.append((row, column))
    return np.array(path[::-1], dtype=np.int64)

"""Temporal network: the longest paths through the best matches of every query frame.

    similarity matrix [Q, R] ─► best columns of every row ─► [forward edges ─► longest paths] ─► boxes

Sources: Scalable Detection of Partial Near-Duplicate Videos by Visual-Temporal Consistency (ACM MM 2009); rules and
defaults as in the public code of VCSL (CVPR 2022) and of the VSC2022 baseline, cases `diag_speed_*` and others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from visil.align.boxes import boxes_of, inclusive_iou
from visil.align.matrix import checked_matrix

NO_EDGE = -np.inf


@dataclass(frozen=True)
class TemporalNetwork:
    """Parameters, with the published defaults of the function.

    Attributes:
        max_step: an edge goes forward by less than so many frames on both axes.
        top_k: best columns of a row that are nodes.
        max_path: so many paths and one more are looked at.
        min_sim: least similarity of a node that an edge leads to, and least mean of a path.
        min_length: a box is longer than this on both axes, in frames from first to last.
        max_iou: a box overlaps each earlier one by less.
        has_sink: as published, the last row's worst node serves as the sink of the network and is in no path, which
            costs a frame at the end where it is the right one.
        trims_start: leave out first nodes below min_sim. Published: the first node of a path is never tested, so that
            boxes begin up to max_step - 1 frames early.
    """

    max_step: int = 10
    top_k: int = 5
    max_path: int = 10
    min_sim: float = 0.2
    min_length: int = 5
    max_iou: float = 0.3
    has_sink: bool = True
    trims_start: bool = False

    def __post_init__(self) -> None:
        if self.max_step < 1 or self.top_k < 1 or self.max_path < 0:
            raise ValueError(f"max_step and top_k are at least 1, max_path at least 0, got {self}")


VSC2022_NETWORK = TemporalNetwork(max_step=5, min_length=4)
"""Parameters of the VSC2022 baseline."""


def temporal_network(similarity: ArrayLike, settings: TemporalNetwork = TemporalNetwork()) -> np.ndarray:
    """Boxes int64 [N, 4] in the order in which they are found, best path first.

        d(v) = max(0, max over edges u → v of d(u) + w(u, v)),   w(u, v) = S[v]

    Edges of a path that was found weigh nothing for the next. Forward only, at speeds between 1/(max_step - 1) and
    max_step - 1; several, repeated and swapped segments are found. The background should be negative, or min_sim well
    above it: with a background above min_sim a box grows over the whole matrix.

    Args:
        similarity: [Q, R], row = query frame, column = target frame; not changed.

    Raises:
        DataError: see `checked_matrix`.
    """
    matrix = checked_matrix(similarity)
    top_k = min(settings.top_k, matrix.shape[1])
    columns = np.argsort(-matrix, axis=1, kind="stable")[:, :top_k]  # [Q, K], lowest column first among equals
    values = np.take_along_axis(matrix, columns, axis=1)  # [Q, K]
    weights = _edge_weights(columns, values, settings)  # [Q, K, M, K]
    if settings.has_sink:
        weights[-1, -1] = NO_EDGE
    order = _topological_order(weights > NO_EDGE)
    found = boxes_of([])
    for _ in range(settings.max_path + 1):
        rows, ranks = _longest_path(weights, order)
        if settings.trims_start:
            first = int(np.argmax(values[rows, ranks] >= settings.min_sim))
            rows, ranks = rows[first:], ranks[first:]
        box = _accepted(rows, columns[rows, ranks], float(np.sum(values[rows, ranks], dtype=np.float64)), settings)
        if box is not None and (inclusive_iou(box, found) < settings.max_iou).all():
            found = np.concatenate([found, box[None]])
    return found


def _accepted(rows: np.ndarray, columns: np.ndarray, score: float, settings: TemporalNetwork) -> np.ndarray | None:
    """The box around a path's nodes, if it is long and similar enough."""
    if score <= 0:
        return None
    box = np.array([rows.min(), columns.min(), rows.max(), columns.max()], dtype=np.int64)
    sides = box[2:] - box[:2]
    length = sides.sum() / 2
    if length > 0 and score / length > settings.min_sim and sides.min() > settings.min_length:
        return box
    return None


def _edge_weights(columns: np.ndarray, values: np.ndarray, settings: TemporalNetwork) -> np.ndarray:
    """Weights of the edges into every node, float64 [Q, K, M, K]; NO_EDGE where there is none.

    Entry [j, b, m, a] belongs to the edge from rank a of row j - M + m: in the published order of insertion. No edge of
    a row goes past a column that an edge from the same row to an earlier row has reached.
    """
    num_rows, top_k = columns.shape
    longest = min(settings.max_step - 1, num_rows - 1)  # M
    weights = np.full((num_rows, top_k, longest, top_k), NO_EDGE)
    barrier = np.full((num_rows, top_k), np.iinfo(columns.dtype).max)  # nearest reached column beyond each node
    for step in range(1, longest + 1):
        target, source = columns[step:, :, None], columns[:-step, None, :]
        weight = values[step:, :, None]
        ahead = target > source  # [Q - step, K, K], target rank before source rank
        is_edge = (
            ahead
            & (target - source < settings.max_step)
            & (weight >= settings.min_sim)
            & (target <= barrier[:-step, None, :])
        )
        weights[step:, :, longest - step] = np.where(is_edge, weight, NO_EDGE)
        reached = is_edge.any(axis=2, keepdims=True)
        nearest = np.where(reached & ahead, target, np.iinfo(columns.dtype).max).min(axis=1)
        barrier[:-step] = np.minimum(barrier[:-step], nearest)
    return weights


def _topological_order(is_edge: np.ndarray) -> np.ndarray:
    """Position of every node in the published topological order, int64 [Q, K]; it decides between exactly equal paths.

    Generation by generation (a node's is the number of edges of the path to it that has most), within one in the order
    in which the last predecessors come.
    """
    num_rows, top_k, longest, _ = is_edge.shape
    generation = np.full((longest + num_rows, top_k), -1)  # rows before the first: no edge comes from there
    for row in range(num_rows):
        before = np.where(is_edge[row], generation[row : row + longest], -1)  # [K, M, K]
        generation[longest + row] = before.max(axis=(1, 2), initial=-1) + 1
    position = np.zeros_like(generation)
    num_placed = 0
    for number in range(generation.max() + 1):
        rows, ranks = np.nonzero(generation[longest:] == number)
        window = rows[:, None] + np.arange(longest)
        last = np.where(is_edge[rows, ranks], position[window], -1).max(axis=(1, 2), initial=-1)
        order = np.argsort(last, kind="stable")
        position[longest + rows[order], ranks[order]] = num_placed + np.arange(len(order))
        num_placed += len(order)
    return position[longest:]


def _longest_path(weights: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and ranks of the nodes of the longest path, from its start; its edges get weight 0."""
    num_rows, top_k, longest, _ = weights.shape
    length = np.zeros((longest + num_rows, top_k))
    origin = np.full((num_rows, top_k), -1)
    for row in np.flatnonzero((weights > NO_EDGE).any(axis=(1, 2, 3))):
        candidates = (weights[row] + length[row : row + longest]).reshape(top_k, -1)  # [K, M * K]
        best = candidates.argmax(axis=1)
        total = candidates[np.arange(top_k), best]
        length[longest + row] = np.maximum(total, 0.0)
        origin[row] = np.where(total >= 0, best, -1)
    ends = np.flatnonzero(length[longest:] == length.max())
    row, rank = divmod(int(ends[order.flat[ends].argmin()]), top_k)
    rows, ranks = [row], [rank]
    while origin[row, rank] >= 0:
        slot, source = divmod(int(origin[row, rank]), top_k)
        weights[row, rank, slot, source] = 0.0
        row, rank = row - longest + slot, source
        rows.append(row)
        ranks.append(rank)
    return np.array(rows[::-1]), np.array(ranks[::-1])

r"""Our own method: runs of matching samples at any speed, forwards and backwards, several a pair.

    similarity matrix [Q, R] ─► evidence ─► [best run from every start, both ways ─► rectangles taken out, and again] ─►
    AlignedSegment

A run is a chain of cells, each a sample further on in the query, in the target or in both. Where both go on it gathers
the evidence e of the cell, where one stands still half of it less a cost c, so that every sample of either video counts
for half:

    T(i, j) = \max(T(i-1, j-1) + e_ij,  T(i-1, j) + e_ij/2 - c,  T(i, j-1) + e_ij/2 - c,  e_ij)

Backwards it is j + 1 in place of j - 1. Borders: a run starts where its sum is lowest and ends where it is highest, the
most likely change points where e is a log-likelihood ratio. A run whose sum has fallen by more than `max_drop` is over.

Sources: Continuous Inspection Schemes (Page, Biometrika 1954), for borders; Identification of Common Molecular
Subsequences (Smith and Waterman, J. Mol. Biol. 1981), for chains. Reasons and figures: docs/method.md, "Alignment".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from visil.align.matrix import checked_matrix
from visil.align.segments import AlignedSegment

NO_RUN = -np.inf
ENDS_AT_ONCE = 1 << 19  # runs that are held before the best of every start are chosen: 16 MB
SHARE_OF_SHORT = 0.5  # of the samples of a short video that have to match


@dataclass(frozen=True)
class Chain:
    """Parameters. Similarities are those of `mini`; sums are in samples that match beyond doubt.

    Attributes:
        margin: a match is more alike than most of its row and of its column by this much ...
        floor, cap: ... but never has to be more alike than cap, nor may be less than floor.
        width: so much above that level it is beyond doubt, so much below it is none.
        side_cost: of every sample that one video goes on while the other stands still.
        max_drop: a run is over when its sum has fallen by more than this: with 2, two samples that
            surely differ are bridged.
        min_score: least sum of a run; in a video shorter than twice this, half of its samples.
    """

    margin: float = 0.2
    floor: float = 0.4
    cap: float = 0.6
    width: float = 0.2
    side_cost: float = 0.1
    max_drop: float = 2.0
    min_score: float = 3.5

    def __post_init__(self) -> None:
        if not (self.floor <= self.cap and self.width > 0 and self.side_cost >= 0):
            raise ValueError(f"floor is at most cap, width positive and side_cost not negative, got {self}")
        if not (self.max_drop > 0 and self.min_score > 0):
            raise ValueError(f"max_drop and min_score are positive, got {self}")


def chain(similarity: ArrayLike, settings: Chain = Chain()) -> list[AlignedSegment]:
    """Segments by falling score: the sum of their evidence, in samples.

    Both sides of a segment last `min_score` samples at least: one frame that is like all of a video is a column of
    evidence, and no copy. No two have time in common on both sides: what lies inside the rectangle of a run says
    nothing new of either video. One sample may match many (repeats, stills); no match has to be mutual.

    Args:
        similarity: [Q, R], row = query sample, column = target sample; not changed.

    Raises:
        DataError: see `checked_matrix`.
    """
    left = evidence(similarity, settings)
    least = min(settings.min_score, SHARE_OF_SHORT * min(left.shape))
    found: list[AlignedSegment] = []
    while segments := _disjoint([run for run in _runs(left, settings, least) if run.shorter_side >= least], found):
        for segment in segments:
            left[segment.query_start : segment.query_end, segment.target_start : segment.target_end] = NO_RUN
        found += segments
    return sorted(found, key=lambda segment: -segment.score)


def evidence(similarity: ArrayLike, settings: Chain = Chain()) -> np.ndarray:
    r"""How much every cell speaks for a match, float32 [Q, R] in [-1, 1], a new matrix.

        e_ij = (S_ij - \max(median of row i, median of column j) - margin) / width

    with the level between floor and cap. What most samples of a video have in common (a border, a logo, a studio) is no
    match; where most of two videos is one still picture, cap keeps it a match.
    """
    matrix = checked_matrix(similarity).astype(np.float32)  # films fill memory with it: the rest is done in place
    level = np.maximum(np.median(matrix, axis=1, keepdims=True), np.median(matrix, axis=0, keepdims=True))
    np.clip(np.add(level, settings.margin, out=level), settings.floor, settings.cap, out=level)
    matrix -= level
    matrix /= settings.width
    return np.clip(matrix, -1.0, 1.0, out=matrix)


def _disjoint(segments: Sequence[AlignedSegment], found: Sequence[AlignedSegment]) -> list[AlignedSegment]:
    """Those that overlap none that was found and no better one."""
    kept: list[AlignedSegment] = []
    for segment in segments:
        if not any(segment.overlaps(other) for other in (*found, *kept)):
            kept.append(segment)
    return kept


@dataclass
class _Line:
    """Best runs that end on one antidiagonal, forwards and backwards, [2, Q + 1]: entry i + 1 is row i.

    Attributes:
        total: sum; NO_RUN where there is none.
        peak: highest sum on the way.
        start: number of the first cell in the flat matrix.
        first, last: rows between which there are runs; from Q to -2 where there are none.
    """

    total: np.ndarray = field(repr=False)
    peak: np.ndarray = field(repr=False)
    start: np.ndarray = field(repr=False)
    first: int
    last: int = -2

    @staticmethod
    def empty(num_rows: int) -> _Line:
        shape = (2, num_rows + 1)
        return _Line(np.full(shape, NO_RUN), np.zeros(shape), np.zeros(shape, dtype=np.int64), num_rows)


def _runs(matrix: np.ndarray, settings: Chain, least: float) -> list[AlignedSegment]:
    """The best run from every start whose sum is not below the least, best first; of equal ones forwards first.

    Antidiagonal by antidiagonal, all cells of one at once, and only between the rows where a run can be. A run keeps
    its start, so that no way back has to be stored.

    Args:
        matrix: evidence.
    """
    gathered = [matrix.max(axis=axis).clip(min=0).sum() for axis in (0, 1)]
    if sum(gathered) / 2 < least:
        return []  # a run gathers half of the evidence of a cell for each sample it comes to
    num_rows, num_columns = matrix.shape
    lines = [_Line.empty(num_rows) for _ in range(3)]
    ends: list[np.ndarray] = []
    num_ends = 0
    for number, (low, high) in enumerate(_rows_with_evidence(matrix)):
        line, older, newer = (lines[(number + place) % 3] for place in range(3))
        line.total[:, line.first + 1 : line.last + 2] = NO_RUN
        first = max(min(low, newer.first, older.first + 1), number - num_columns + 1)
        last = min(max(high, newer.last + 1, older.last + 1), num_rows - 1, number)
        line.first, line.last = num_rows, -2
        if first > last:
            continue
        rows = np.arange(first, last + 1)
        columns = number - rows
        cells = rows * num_columns + np.stack([columns, num_columns - 1 - columns])  # [2, N], backwards from the right
        total, peak, start = _extended(line, older, newer, matrix.ravel()[cells], cells, first, settings)
        is_end = (total == peak) & (total >= least)
        if is_end.any():
            ends.append(np.stack([np.nonzero(is_end)[0], start[is_end], cells[is_end], total[is_end]], axis=1))
            num_ends += len(ends[-1])
            if num_ends > ENDS_AT_ONCE:  # where much is alike every cell is an end, of few starts
                ends = [_best_of_starts(np.concatenate(ends))]
                num_ends = 0
    if not ends:
        return []
    runs = _best_of_starts(np.concatenate(ends))
    runs = runs[np.argsort(-runs[:, 3], kind="stable")]
    return [_segment(int(a), int(b), float(score), bool(way), num_columns) for way, a, b, score in runs]


def _best_of_starts(runs: np.ndarray) -> np.ndarray:
    """Of runs [N, 4] (direction, first cell, last cell, sum) the highest of every direction and first cell."""
    runs = runs[np.lexsort((-runs[:, 3], runs[:, 1], runs[:, 0]))]
    return runs[np.any(np.diff(runs[:, :2], axis=0, prepend=-1) != 0, axis=1)]


def _rows_with_evidence(matrix: np.ndarray) -> list[tuple[int, int]]:
    """First and last row of every antidiagonal, of either direction, in which a run can start; (Q, -2) without one."""
    num_rows, num_columns = matrix.shape
    low, high = np.full(num_rows + num_columns - 1, num_rows), np.full(num_rows + num_columns - 1, -2)
    for row, values in enumerate(matrix):
        columns = np.flatnonzero(values > 0)
        for numbers in (row + columns, row + num_columns - 1 - columns):
            low[numbers] = np.minimum(low[numbers], row)
            high[numbers] = row
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _extended(
    line: _Line, older: _Line, newer: _Line, gain: np.ndarray, cells: np.ndarray, first: int, settings: Chain
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fill the antidiagonal after two others; total, peak and start of its cells, [2, N].

    Args:
        gain, cells: evidence and numbers of the cells, [2, N], in rows from the first on.
    """
    here, above = (slice(first + by, first + by + gain.shape[1]) for by in (1, 0))
    side = gain / 2 - settings.side_cost
    before = [(older, above), (newer, above), (newer, here)]
    gains = [gain, side, side]
    total = np.stack([*(runs.total[:, at] + more for (runs, at), more in zip(before, gains, strict=True)), gain])
    peak = np.stack([*(runs.peak[:, at] for runs, at in before), np.zeros_like(gain)])
    total[(total <= 0) | (total < peak - settings.max_drop)] = NO_RUN
    choice = total.argmax(axis=0)  # [2, N]: diagonal, down, to the right, or a fresh start
    best = np.choose(choice, total)
    highest = np.maximum(np.choose(choice, peak), best)
    start = np.choose(choice, [*(runs.start[:, at] for runs, at in before), cells])
    line.total[:, here], line.peak[:, here], line.start[:, here] = best, highest, start
    alive = np.flatnonzero((best > NO_RUN).any(axis=0))
    if len(alive):
        line.first, line.last = first + int(alive[0]), first + int(alive[-1])
    return best, highest, start


def _segment(first: int, last: int, score: float, is_reversed: bool, num_columns: int) -> AlignedSegment:
    """The rectangle from the first to the last cell of a run."""
    (row, column), (last_row, last_column) = divmod(first, num_columns), divmod(last, num_columns)
    low, high = min(column, last_column), max(column, last_column)
    return AlignedSegment(row, last_row + 1, low, high + 1, score, is_reversed)

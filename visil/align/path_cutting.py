"""From a path through a similarity matrix to boxes: cut where one video stands still for long.

    path of (query frame, target frame) ─► [ranges between long horizontal and vertical runs ─► boxes]

Shared by `dynamic_programming` and `time_warping`. Source: the public code of VCSL (CVPR 2022); case `cut_path`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visil.align.boxes import boxes_of


@dataclass(frozen=True)
class PathRules:
    """What becomes of a path.

    Attributes:
        longest_run: frames that one video may stand still while the other goes on.
        min_length: a box has more cells than this, and is longer than this from first to last frame on both axes.
        min_mean: the mean of the matrix over the cells of a box is above it.
    """

    longest_run: int
    min_length: int
    min_mean: float


def cut_path(path: np.ndarray, longest_run: int) -> list[tuple[int, int]]:
    """Ranges [start, end) of positions of a path that lie between its long runs.

    Runs on different axes share the corner where one ends and the other starts, so a range can be empty or reversed.

    Args:
        path: int [N, 2], monotone; steps (1, 1), (1, 0) or (0, 1).
    """
    runs = [run for axis in (0, 1) for run in _runs(path[:, axis]) if run[1] - run[0] > longest_run]
    runs.sort(key=lambda run: run[0])  # stable: runs of the query axis first
    ends = [end for run in runs for end in run]
    if not ends:
        return [(0, len(path))]
    ends = ends[1:] if ends[0] == 0 else [0, *ends]
    ends = ends[:-1] if ends[-1] == len(path) else [*ends, len(path)]
    return list(zip(ends[::2], ends[1::2], strict=True))


def boxes_on_path(path: np.ndarray, matrix: np.ndarray, rules: PathRules) -> np.ndarray:
    """Boxes int64 [N, 4] of a path, in its order."""
    boxes = []
    for start, end in cut_path(path, rules.longest_run):
        if end - start <= rules.min_length:
            continue
        (q_min, r_min), (q_max, r_max) = path[start].tolist(), path[end - 1].tolist()
        is_long = min(q_max - q_min, r_max - r_min) > rules.min_length
        if is_long and matrix[path[start:end, 0], path[start:end, 1]].mean() > rules.min_mean:
            boxes.append((q_min, r_min, q_max, r_max))
    return boxes_of(boxes)


def _runs(coordinates: np.ndarray) -> list[tuple[int, int]]:
    """Maximal ranges [start, end) of two or more equal neighbours."""
    changes = np.flatnonzero(np.diff(coordinates)) + 1
    starts, ends = [0, *changes.tolist()], [*changes.tolist(), len(coordinates)]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if end - start > 1]

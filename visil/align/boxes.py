"""Boxes of the published methods: [q_min, r_min, q_max, r_max], int64, frame numbers, both ends inclusive."""

from __future__ import annotations

import numpy as np


def boxes_of(rows: list[tuple[int, int, int, int]]) -> np.ndarray:
    """Int64 [N, 4]; N may be 0."""
    return np.array(rows, dtype=np.int64).reshape(len(rows), 4)


def inclusive_iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a box [4] with each of boxes [N, 4], float64 [N]; a box of one frame has area 1."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    intersection = np.maximum(high - low + 1, 0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1) + (box[2:] - box[:2] + 1).prod()
    return np.asarray(intersection / (areas - intersection))

"""One vector for each part of a video, for candidates.

    RegionVectors ─► [descriptors] ─► coarse score: the best pair of parts
                     this module

A part is about 30 samples; one vector for a whole video loses excerpts.
"""

from __future__ import annotations

import numpy as np


def part_edges(num_samples: int, part_samples: int | None) -> np.ndarray:
    """First sample of every part and the end, int [P + 1]; parts are as equal as can be, by the length alone."""
    num_parts = 1 if part_samples is None else max(1, round(num_samples / part_samples))
    return np.linspace(0, num_samples, num_parts + 1).round().astype(int)


def part_descriptors(frame_means: np.ndarray, part_samples: int | None) -> np.ndarray:
    """Mean over the frames of each part, L2-normalised.

    Args:
        frame_means: float [T, D], the mean of the region vectors of every frame, `SimilarityNetwork.frame_mean`.

    Returns:
        float32 [P, D]; no row for a video without frames.
    """
    if len(frame_means) == 0:
        return np.zeros((0, frame_means.shape[1]), dtype=np.float32)
    edges = part_edges(len(frame_means), part_samples)
    sums = np.add.reduceat(frame_means.astype(np.float64), edges[:-1], axis=0)  # [P, D]
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return (sums / np.maximum(norms, 1e-12)).astype(np.float32)

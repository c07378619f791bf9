"""The simplest baseline: which colours a video has, wherever and whenever.

frame_descriptors ─► histograms of the samples ─► [mean of a video ─► intersection] ─► scores
"""

from __future__ import annotations

import numpy as np


def mean_histogram(histograms: np.ndarray) -> np.ndarray:
    """The colours of a whole video, from those of its samples float [T, bins]: float32 [bins]; zeros without any."""
    if not len(histograms):
        return np.zeros(histograms.shape[1], dtype=np.float32)
    return histograms.mean(axis=0, dtype=np.float64).astype(np.float32)


def intersection(query: np.ndarray, library: np.ndarray) -> np.ndarray:
    """Share of the query's pixels that find as many of their colour in each video, in [0, 1].

    Histogram intersection (Swain and Ballard, "Color Indexing", 1991).

    Args:
        query: [bins], shares that sum to 1.
        library: [V, bins], likewise.

    Returns:
        float64 [V].
    """
    return np.minimum(query, library).sum(axis=1, dtype=np.float64)

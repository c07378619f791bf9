"""Boxes of a pair of videos -> times and scores, as in the VSC2022 baseline.

    similarity matrix of a candidate pair, times of the frames ─► temporal network ─► [matches in seconds with a score]

Source: The 2023 Video Similarity Dataset and Challenge, matching track; case `vsc_localization`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from visil.align.matrix import checked_matrix
from visil.align.temporal_network import VSC2022_NETWORK, TemporalNetwork, temporal_network
from visil.errors import DataError

VSC2022_BIAS = 0.5  # added to normalised scores, most of which are negative; 0 without normalisation


@dataclass(frozen=True)
class TimedMatch:
    """Seconds in which two videos show the same; the score is the highest similarity between them, without bias."""

    query_start_s: float
    query_end_s: float
    target_start_s: float
    target_end_s: float
    score: float


def timed_matches(
    similarity: ArrayLike,
    query_times_s: ArrayLike,
    target_times_s: ArrayLike,
    *,
    bias: float = VSC2022_BIAS,
    network: TemporalNetwork = VSC2022_NETWORK,
    has_inclusive_ends: bool = False,
) -> list[TimedMatch]:
    """Matches of a pair in the order in which the network finds them.

    Args:
        similarity: [Q, R] without the bias.
        query_times_s, target_times_s: [T], one instant a frame, or [T, 2], when it starts and ends. With instants a
            match ends when its last frame starts, as published.
        has_inclusive_ends: the score looks at the whole box. Published: without its last row and column, so that a
            maximum in the last frame is missed.

    Raises:
        DataError: see `checked_matrix`, or the times do not fit.
    """
    matrix = checked_matrix(similarity)
    query_times, target_times = (
        _intervals(times_s, length, side)
        for times_s, length, side in zip(
            (query_times_s, target_times_s), matrix.shape, ("query", "target"), strict=True
        )
    )
    biased = matrix + matrix.dtype.type(bias)
    matches = []
    for q_min, r_min, q_max, r_max in temporal_network(biased, network).tolist():
        last = 1 if has_inclusive_ends else 0
        inside = biased[q_min : q_max + last, r_min : r_max + last]
        if not inside.size:
            raise DataError("a box of one frame has no score without its ends; ask for inclusive ends")
        matches.append(
            TimedMatch(
                query_start_s=float(query_times[q_min, 0]),
                query_end_s=float(query_times[q_max, 1]),
                target_start_s=float(target_times[r_min, 0]),
                target_end_s=float(target_times[r_max, 1]),
                score=float(inside.max()) - bias,
            )
        )
    return matches


def _intervals(times_s: ArrayLike, num_frames: int, side: str) -> np.ndarray:
    """Start and end of every frame, [T, 2]."""
    times = np.asarray(times_s)
    if times.ndim == 1:
        times = np.stack([times, times], axis=1)
    if times.shape != (num_frames, 2) or not np.isfinite(times).all():
        raise DataError(f"{side} has {num_frames} frames but times of shape {np.asarray(times_s).shape}")
    return times

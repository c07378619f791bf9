"""One call for every method.

similarity matrix [Q, R] ─► chain, or a published method by its name ─► [segments in samples]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from visil.align.chain import Chain, chain
from visil.align.dynamic_programming import DynamicProgramming, dynamic_programming
from visil.align.hough_voting import HoughVoting, hough_voting
from visil.align.matrix import checked_matrix
from visil.align.segments import AlignedSegment
from visil.align.temporal_network import VSC2022_NETWORK, TemporalNetwork, temporal_network
from visil.align.time_warping import TimeWarping, time_warping
from visil.errors import DataError

Settings = Chain | TemporalNetwork | HoughVoting | DynamicProgramming | TimeWarping

METHODS: dict[str, Settings] = {
    "chain": Chain(),
    "tn": TemporalNetwork(),
    "tn-vsc2022": VSC2022_NETWORK,
    "hv": HoughVoting(),
    "dp": DynamicProgramming(),
    "dtw": TimeWarping(),
}
"""Our own method, and the published ones with their published parameters."""

BOXES_OF: dict[type, Callable[[np.ndarray, Any], np.ndarray]] = {
    TemporalNetwork: temporal_network,
    HoughVoting: hough_voting,
    DynamicProgramming: dynamic_programming,
    TimeWarping: time_warping,
}


def align(similarity: ArrayLike, method: str | Settings = "chain") -> list[AlignedSegment]:
    """The segments in which two videos show the same.

    Args:
        similarity: [Q, R], row = query sample, column = target sample, higher is more alike; of any origin. Published
            methods want the background taken off (see `score_normalisation`), `chain` does so itself. Not changed.
        method: a key of `METHODS`, or parameters of one.

    Returns:
        Half-open intervals of samples. Of `chain` by falling score; of a published method its inclusive boxes, a sample
        longer at the end, in the order in which it finds them, with the highest similarity inside as score.

    Raises:
        DataError: there is no such method, or see `checked_matrix`.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise DataError(f"there is no method {method[:80]!r} of alignment, use one of {', '.join(METHODS)}")
        method = METHODS[method]
    if isinstance(method, Chain):
        return chain(similarity, method)
    matrix = checked_matrix(similarity)
    return [
        AlignedSegment(q_min, q_max + 1, r_min, r_max + 1, float(matrix[q_min : q_max + 1, r_min : r_max + 1].max()))
        for q_min, r_min, q_max, r_max in BOXES_OF[type(method)](matrix, method).tolist()
    ]

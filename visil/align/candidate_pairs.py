"""Which pairs of videos are worth aligning: those of the most similar pairs of frames of all.

    descriptors of queries and targets ─► [the global_k largest products ─► best of each pair of videos] ─► localisation

Source: The 2023 Video Similarity Dataset and Challenge, candidates of the baseline; case `vsc_candidates`. Whether a
pair is a candidate depends on all others; its score does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visil.align.score_normalisation import Descriptors
from visil.errors import DataError


@dataclass(frozen=True)
class CandidatePair:
    """A query and a target; the score is the largest product of their frames."""

    query: str
    target: str
    score: float


def candidate_pairs(queries: Descriptors, targets: Descriptors, *, global_k: int) -> list[CandidatePair]:
    """Pairs of videos with a pair of frames among the global_k most similar of all, highest score first.

    Exact; which of equal products are kept at the limit is left open, equal pairs come in the order of the videos.

    Args:
        queries, targets: descriptors [T, D] by id; see `normalised_descriptors`.
        global_k: pairs of frames; all are kept where there are fewer.

    Raises:
        DataError: there is no query or no target.
    """
    if not queries or not targets:
        raise DataError(f"candidates need queries and targets, got {len(queries)} and {len(targets)} videos")
    if global_k < 1:
        raise ValueError(f"global_k is at least 1, got {global_k}")
    target_ids = list(targets)
    target_rows = np.concatenate([targets[id] for id in target_ids])
    target_of_row = np.repeat(np.arange(len(target_ids)), [len(targets[id]) for id in target_ids])
    scores, pairs = np.empty(0, dtype=target_rows.dtype), np.empty(0, dtype=np.int64)
    for number, rows in enumerate(queries.values()):
        products = rows @ target_rows.T  # [Tq, all target frames]
        pair = np.broadcast_to(number * len(target_ids) + target_of_row, products.shape)
        scores, pairs = np.concatenate([scores, products.ravel()]), np.concatenate([pairs, pair.ravel()])
        if len(scores) > global_k:
            kept = np.argpartition(-scores, global_k - 1)[:global_k]
            scores, pairs = scores[kept], pairs[kept]
    best = np.full(len(queries) * len(target_ids), -np.inf, dtype=scores.dtype)
    np.maximum.at(best, pairs, scores)
    query_ids = list(queries)
    found = np.flatnonzero(best > -np.inf)
    return [
        CandidatePair(query_ids[pair // len(target_ids)], target_ids[pair % len(target_ids)], float(best[pair]))
        for pair in found[np.argsort(-best[found], kind="stable")].tolist()
    ]

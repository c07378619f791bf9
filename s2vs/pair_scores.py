"""Scores of all pairs of clips of a batch, with gradients, in bounded memory.

    region vectors [N, T, R, D] ─► index ─► [all N² pairs, block by block] ─► scores [N, N], regularisation ─► losses
                                             this module

The functions are those of search (`visil.model.network`). Of a block nothing is kept but its scores: what its gradient
needs is computed once more on the way back.
Source: S2VS (CVPRW 2023), training forward (cases `net_*`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from visil.model.network import SimilarityNetwork
from visil.s2vs.losses import similarity_regularisation

BLOCK_BYTES = 256 * 2**20  # of what a block keeps for its gradient
COMPARATOR_BYTES = 600  # of every pair of frames, about: the maps of the comparator and what they were pooled from


@dataclass(frozen=True)
class PairScores:
    """Of N clips.

    Attributes:
        similarity: [N, N] in [0, 1], row = query.
        regularisation: [], `similarity_regularisation` of all unclipped maps: a sum, which grows with N² and with the
            lengths.
    """

    similarity: Tensor
    regularisation: Tensor


def score_all_pairs(
    network: SimilarityNetwork, vectors: Tensor, mask: Tensor | None = None, *, block_bytes: int = BLOCK_BYTES
) -> PairScores:
    """Score every clip with every other and with itself.

    Args:
        network: in training mode its binarization is a smooth one.
        vectors: [N, T, R, D], region vectors before `network.index`, padded at the end.
        mask: bool [N, T], True for real frames; None: all are.
        block_bytes: bounds how many pairs are computed at a time, at least one.
    """
    indexed = network.index(vectors)
    return _score_pairs(network, indexed, indexed, mask, mask, block_bytes)


def score_pairs(
    network: SimilarityNetwork,
    queries: Tensor,
    targets: Tensor,
    query_mask: Tensor | None = None,
    target_mask: Tensor | None = None,
    *,
    block_bytes: int = BLOCK_BYTES,
) -> Tensor:
    """Scores [Nq, Nt] in [0, 1] of other clips than the queries; see `score_all_pairs`."""
    indexed = (network.index(queries), network.index(targets))
    return _score_pairs(network, *indexed, query_mask, target_mask, block_bytes).similarity


def _score_pairs(
    network: SimilarityNetwork,
    queries: Tensor,
    targets: Tensor,
    query_mask: Tensor | None,
    target_mask: Tensor | None,
    block_bytes: int,
) -> PairScores:
    """Of indexed vectors."""
    side = _block_side(queries, targets, block_bytes)
    rows, columns = _parts(queries, query_mask, side), _parts(targets, target_mask, side)
    raw, penalties = [], []
    for query, own_mask in rows:
        scored = [
            checkpoint(_score_block, network, query, target, own_mask, its_mask, use_reentrant=False)
            for target, its_mask in columns
        ]
        raw.append(torch.cat([scores for scores, _ in scored], dim=1))
        penalties += [penalty for _, penalty in scored]
    return PairScores(torch.cat(raw) / 2 + 0.5, torch.stack(penalties).sum())


def _score_block(
    network: SimilarityNetwork, queries: Tensor, targets: Tensor, query_mask: Tensor | None, target_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Raw scores [Bq, Bt] in [-1, 1], and the penalty of their maps."""
    matrices, query_lengths, target_lengths = network.pair_matrices(
        queries, targets, query_mask=query_mask, target_mask=target_mask
    )
    lengths = {"query_lengths": query_lengths, "target_lengths": target_lengths}
    if network.comparator is None:
        refined, penalty = matrices, matrices.new_zeros(())
    else:
        maps = network.comparator(matrices, **lengths)
        refined, penalty = F.hardtanh(maps), similarity_regularisation(maps)
    scores = network.scores_of_refined(refined.to(matrices.dtype), **lengths)
    return rearrange(scores, "(a b) -> a b", a=len(queries)), penalty


def _block_side(queries: Tensor, targets: Tensor, block_bytes: int) -> int:
    """Clips of a side of a block."""
    num_regions, element_bytes = queries.shape[2], queries.element_size()
    pair_bytes = queries.shape[1] * targets.shape[1] * (2 * num_regions**2 * element_bytes + COMPARATOR_BYTES)
    return max(1, int((block_bytes / pair_bytes) ** 0.5))


def _parts(vectors: Tensor, mask: Tensor | None, side: int) -> list[tuple[Tensor, Tensor | None]]:
    parts = vectors.split(side)
    return list(zip(parts, [None] * len(parts) if mask is None else mask.split(side), strict=True))

"""Region vectors of two videos -> frame-to-frame similarity matrix -> score.

    Frames -> RegionVectors -> [similarity matrix] -> comparator -> [score]
                               this module                          and this module

Pure functions on tensors: no weights, files, devices or randomness; `network.py` puts the learned
comparator between them. Axes: ... any batch, Tq query frames, Tt target frames, R regions, D dimensions.
Source: ViSiL (ICCV 2019), "Frame-to-frame similarity" and "Video-to-video similarity"; defects of the
published code: docs/method.md.
"""

from __future__ import annotations

import torch
from einops import rearrange, reduce
from torch import Tensor

from visil.model.binarization import BITS_PER_BYTE, packed_dots

BLOCK_BYTES = 16 * 2**20  # of one slab of region products; larger is slower on a CPU (it leaves the cache)


def chamfer_similarity(
    similarity: Tensor, *, query_mask: Tensor | None = None, target_mask: Tensor | None = None
) -> Tensor:
    """Average, over the query, of every item's best match in the target.

        CS(q, t) = 1/Tq · Σ_i max_j S[i, j]

    Directed: a clip scores high against a film that contains it, the film against the clip does not.

    Args:
        similarity: S, float [..., Tq, Tt], higher is more alike; row i is query item i.
        query_mask, target_mask: bool [..., Tq] and [..., Tt], True for real items; None: all are.

    Returns:
        [...], in the dtype and range of S. Masked items are neither matched nor averaged, so padding cannot
        change a score.

    Raises:
        ValueError: a mask has another length than its axis, or a side has no real item (such a pair has no
            score; 0 would rank it above a true negative).
    """
    _check_side("query", similarity.shape[-2], query_mask)
    _check_side("target", similarity.shape[-1], target_mask)
    if target_mask is not None:
        similarity = similarity.masked_fill(~target_mask[..., None, :], -torch.inf)
    best = similarity.amax(dim=-1)  # [..., Tq]
    if query_mask is None:
        return best.mean(dim=-1)  # [...]
    return best.masked_fill(~query_mask, 0.0).sum(dim=-1) / query_mask.sum(dim=-1)


def symmetric_chamfer_similarity(
    similarity: Tensor, *, query_mask: Tensor | None = None, target_mask: Tensor | None = None
) -> Tensor:
    """Mean of both directions, SCS(q, t) = (CS(q, t) + CS(t, q)) / 2; see `chamfer_similarity`."""
    there = chamfer_similarity(similarity, query_mask=query_mask, target_mask=target_mask)
    back = chamfer_similarity(similarity.mT, query_mask=target_mask, target_mask=query_mask)
    return (there + back) / 2


def frame_similarity(
    query: Tensor,
    target: Tensor,
    *,
    symmetric: bool = False,
    query_mask: Tensor | None = None,
    target_mask: Tensor | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Tensor:
    """Chamfer similarity of the regions of every pair of frames.

        f(i, j) = 1/Rq · Σ_o max_p q[i, o] · t[j, p]

    Symmetric: the mean of this and of its counterpart with the roles of the sides exchanged. Columns do not
    depend on each other, so the frames of many videos may be given as one long target.

    Args:
        query, target: [..., Tq, Rq, D] and [..., Tt, Rt, D], float, or both packed signs (uint8, D/8), whose
            products are divided by the number of bits. Leading axes broadcast.
        query_mask, target_mask: bool [..., Tq] and [..., Tt], True for real frames; None: all are.
        block_bytes: memory of a slab of products [Tq · Rq, target frames]; a few exist at a time, never all.

    Returns:
        float [..., Tq, Tt], float32 at least; 0 where either frame is not real.

    Raises:
        ValueError: the sides have another D or kind (float, packed), or one has no frame or region.
    """
    _check_vectors(query, target)
    num_frames = query.shape[-3]
    rows = rearrange(_computed(query), "... i o d -> ... (i o) d")
    blocks = target.split(_frames_per_block(query, target, block_bytes), dim=-3)
    similarity = torch.cat([_block_similarity(rows, num_frames, block, symmetric) for block in blocks], dim=-1)
    if query_mask is not None:
        _check_length("query", num_frames, query_mask)
        similarity = similarity.masked_fill(~query_mask[..., :, None], 0.0)
    if target_mask is not None:
        _check_length("target", target.shape[-3], target_mask)
        similarity = similarity.masked_fill(~target_mask[..., None, :], 0.0)
    return similarity


def _block_similarity(rows: Tensor, num_frames: int, target: Tensor, symmetric: bool) -> Tensor:
    """`frame_similarity` of all query regions [..., Tq · Rq, D] and few target frames, without masks.

    The loop is over target regions, so that a slab has no region axis to be maximised over: a running maximum
    of nine products is as fast as one product with nine times the columns, and takes a ninth of the memory.
    """
    packed = rows.dtype == torch.uint8
    best: Tensor | None = None  # of every query region, over target regions
    best_back: list[Tensor] = []  # of every target region, over query regions
    for region in _computed(target).unbind(dim=-2):  # [..., Tb, D]
        dots = packed_dots(rows, region) if packed else rows @ region.mT  # [..., Tq · Rq, Tb]
        best = dots if best is None else torch.maximum(best, dots)
        if symmetric:
            best_back.append(reduce(dots, "... (i o) j -> ... i j", "max", i=num_frames))
    assert best is not None  # checked: there is a region
    similarity = reduce(_in_float32(best), "... (i o) j -> ... i j", "mean", i=num_frames)
    if symmetric:
        similarity = (similarity + _in_float32(torch.stack(best_back)).mean(dim=0)) / 2
    return similarity / (BITS_PER_BYTE * rows.shape[-1]) if packed else similarity  # [..., Tq, Tb]


def _computed(vectors: Tensor) -> Tensor:
    """Vectors as they are multiplied: half precision is for storage."""
    return vectors if vectors.dtype == torch.uint8 else _in_float32(vectors)


def _in_float32(x: Tensor) -> Tensor:
    """At least: float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _frames_per_block(query: Tensor, target: Tensor, block_bytes: int) -> int:
    pairs = torch.broadcast_shapes(query.shape[:-3], target.shape[:-3]).numel()
    item_bytes = 4 if query.dtype == torch.uint8 else max(4, query.element_size())
    return max(1, block_bytes // max(1, pairs * query.shape[-3] * query.shape[-2] * item_bytes))


def _check_vectors(query: Tensor, target: Tensor) -> None:
    if min(query.ndim, target.ndim) < 3 or query.shape[-1] != target.shape[-1]:
        raise ValueError(
            f"query and target must be [..., T, R, D] of one D, got {[*query.shape]} and {[*target.shape]}; "
            "encode both with the same bundle"
        )
    if (query.dtype == torch.uint8) != (target.dtype == torch.uint8):
        raise ValueError(
            f"packed signs compare only with packed signs, got {query.dtype} and {target.dtype}; pack both or neither"
        )
    for side, vectors in (("query", query), ("target", target)):
        if 0 in vectors.shape[-3:]:
            raise ValueError(f"{side} has no frame or region: {[*vectors.shape]}; such a pair has no score")


def _check_side(side: str, length: int, mask: Tensor | None) -> None:
    if mask is not None:
        _check_length(side, length, mask)
    if length == 0 or (mask is not None and not mask.any(dim=-1).all()):
        raise ValueError(f"{side} has no real item: such a pair has no score, leave it out")


def _check_length(side: str, length: int, mask: Tensor) -> None:
    if mask.shape[-1] != length or mask.dtype != torch.bool:
        raise ValueError(
            f"{side} mask must be bool [..., {length}], got {mask.dtype} {[*mask.shape]}; True marks a real item"
        )

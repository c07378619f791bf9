"""Region vectors of two videos -> frame-to-frame similarity matrix -> score.

    Frames -> RegionVectors -> [similarity matrix] -> comparator -> [score]
                               this module                          and this module

Pure functions on tensors: no weights, files, devices or randomness; `network.py` puts the learned
comparator between them. Axes: ... any batch, Tq query frames, Tt target frames, R regions, D dimensions.
Source: ViSiL (ICCV 2019), "Frame-to-frame similarity" and "Video-to-video similarity"; defects of the
published code: docs/method.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import TypeVar

import numpy as np
import torch
from einops import rearrange, reduce
from torch import Tensor

from visil.model.binarization import BITS_PER_BYTE, hamming_distances, unpack_signs

Array = TypeVar("Array", np.ndarray, Tensor)

SLAB_BYTES = 4 * 2**20  # of region products at a time: they are read again from the cache of a CPU
QUERY_FRAMES = 64  # at a time: with a whole film a slab would be one target frame, whose product takes twice as long


def chamfer_similarity(
    similarity: Tensor,
    *,
    query_mask: Tensor | None = None,
    target_mask: Tensor | None = None,
    burstiness: float = 0.0,
) -> Tensor:
    """Average, over the query, of every item's best match in the target.

        CS(q, t) = 1/Tq · Σ_i max_j S[i, j]

    Directed: a clip scores high against a film that contains it, the film against the clip does not.

    Args:
        similarity: S, float [..., Tq, Tt], higher is more alike; row i is query item i.
        query_mask, target_mask: bool [..., Tq] and [..., Tt], True for real items; None: all are.
        burstiness: see `weigh_bursts`.

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
    if burstiness:
        best, where = similarity.max(dim=-1)
        best = weigh_bursts(best, where if query_mask is None else where.masked_fill(~query_mask, -1), burstiness)
    else:
        best = similarity.amax(dim=-1)  # [..., Tq]
    if query_mask is None:
        return best.mean(dim=-1)  # [...]
    return best.masked_fill(~query_mask, 0.0).sum(dim=-1) / query_mask.sum(dim=-1)


def weigh_bursts(best: Tensor, where: Tensor, burstiness: float) -> Tensor:
    """Best matches, those that many query items have in common weighed down.

        best_i / n_i^α        n_i = query items with the same best target item as i; what is below 0 stays

    In the matrix of a copy the best matches lie along a diagonal, each target item is best for one or a few. One frame
    with little on it can be the best for all of a query: a column. As ASMK weighs local features that come in bursts
    (Tolias et al., IJCV 2016); here over time, by the best match alone.

    Args:
        best: [..., Tq], see `chamfer_similarity`.
        where: int [..., Tq], the target items that they are.
        burstiness: α; 0: all count alike (ViSiL).
    """
    ordered = where.sort(dim=-1).values.contiguous()
    where = where.contiguous()
    counts = torch.searchsorted(ordered, where, right=True) - torch.searchsorted(ordered, where)
    return best.clamp(min=0) * counts.to(best.dtype).pow(-burstiness) + best.clamp(max=0)


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
    weights: Sequence[float] | None = None,
    symmetric: bool = False,
    query_mask: Tensor | None = None,
    target_mask: Tensor | None = None,
    slab_bytes: int = SLAB_BYTES,
) -> Tensor:
    """Chamfer similarity of the regions of every pair of frames.

        f(i, j) = Σ_o w_o · max_p q[i, o] · t[j, p],   Σ_o w_o = 1

    Symmetric: the mean of this and of its counterpart with the roles of the sides exchanged. Columns do not
    depend on each other, so the frames of many videos may be given as one long target.

    Args:
        query, target: [..., Tq, Rq, D] and [..., Tt, Rt, D], float, or both packed signs (uint8, D/8), whose
            products are divided by the number of bits. Leading axes broadcast. Products are computed in float32
            at least (half precision is for storage), or in the type of an enclosing `torch.autocast`.
        weights: of the regions of a frame, [Rq], adding up to 1; None: 1/Rq each (the paper).
        query_mask, target_mask: bool [..., Tq] and [..., Tt], True for real frames; None: all are.
        slab_bytes: memory of the products [Tq · Rq] of a few target frames, which exist at a time.

    Returns:
        float [..., Tq, Tt], float32 at least; 0 where either frame is not real.

    Raises:
        ValueError: the sides have another D or kind (float, packed), one has no frame or region, or another number of
            regions than there are weights.
    """
    _check_vectors(query, target)
    _check_weights(query, target, weights, symmetric)
    blocks = query.split(QUERY_FRAMES, dim=-3)
    similarity = torch.cat(
        [_block_similarity(block, target, weights, symmetric, slab_bytes) for block in blocks], dim=-2
    )
    if query_mask is not None:
        _check_length("query", query.shape[-3], query_mask)
        similarity = similarity.masked_fill(~query_mask[..., :, None], 0.0)
    if target_mask is not None:
        _check_length("target", target.shape[-3], target_mask)
        similarity = similarity.masked_fill(~target_mask[..., None, :], 0.0)
    return similarity


def _block_similarity(
    query: Tensor, target: Tensor, weights: Sequence[float] | None, symmetric: bool, slab_bytes: int
) -> Tensor:
    """`frame_similarity` of a few query frames, without masks."""
    slabs = target.split(_frames_per_slab(query, target, slab_bytes), dim=-3)
    if query.dtype == torch.uint8 and query.device.type == "cpu" and query.ndim == target.ndim == 3:
        return _packed_similarity(query, slabs, weights, symmetric)
    return _float_similarity(query, slabs, weights, symmetric)


def _float_similarity(
    query: Tensor, slabs: Sequence[Tensor], weights: Sequence[float] | None, symmetric: bool
) -> Tensor:
    """`frame_similarity` by matrix products, without masks."""
    rows = rearrange(_computed(query), "... i o d -> ... (o i) d").contiguous()
    similarity = torch.cat(
        [
            _best_matches(
                _products(rearrange(_computed(slab), "... j p d -> ... (j p) d"), rows),
                "max",
                num_frames=query.shape[-3],
                num_regions=slab.shape[-2],
                weights=weights,
                symmetric=symmetric,
            )
            for slab in slabs
        ],
        dim=-1,
    )
    return similarity / rows.shape[-1] if query.dtype == torch.uint8 else similarity


def _packed_similarity(
    query: Tensor, slabs: Sequence[Tensor], weights: Sequence[float] | None, symmetric: bool
) -> Tensor:
    """`frame_similarity` of two plain lists of packed signs on the CPU, by Hamming distances, without masks."""
    rows = rearrange(query.numpy(), "i o d -> (o i) d")

    def mean_distance(slab: Tensor) -> np.ndarray:
        columns = rearrange(slab.numpy(), "j p d -> (j p) d")
        return _best_matches(
            hamming_distances(columns, rows),
            "min",
            num_frames=query.shape[-3],
            num_regions=slab.shape[-2],
            weights=weights,
            symmetric=symmetric,
        )

    # Neither faiss nor numpy uses more than one core here. No torch inside: each thread would start a team of its own.
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        distances = np.concatenate(list(threads.map(mean_distance, slabs)), axis=-1)
    return torch.from_numpy(1 - 2 / (BITS_PER_BYTE * rows.shape[-1]) * distances)


def _best_matches(
    products: Array,
    best: str,
    *,
    num_frames: int,
    num_regions: int,
    weights: Sequence[float] | None,
    symmetric: bool,
) -> Array:
    """What every region finds best in a frame of the other side, averaged over the regions of its own frame.

    Args:
        products: [..., Tt · Rt, Rq · Tq]. In this order all maxima run over outer axes, which is as fast as the cache.
        best: `max` or `min`.
        num_frames: Tq.
        num_regions: Rt.
        weights: of the regions of a frame of either side; None: all alike.

    Returns:
        float [..., Tq, Tt], float32 at least.
    """
    found = _in_float32(reduce(products, "... (j p) oi -> ... j oi", best, p=num_regions))
    if weights is not None:
        found = found * _as(found, np.repeat(weights, num_frames) * len(weights))
    similarity = reduce(found, "... j (o i) -> ... i j", "mean", i=num_frames)
    if not symmetric:
        return similarity
    found = _in_float32(reduce(products, "... jp (o i) -> ... jp i", best, i=num_frames))
    if weights is not None:
        found = found * _as(found, np.tile(weights, found.shape[-2] // num_regions) * len(weights))[:, None]
    return (similarity + reduce(found, "... (j p) i -> ... i j", "mean", p=num_regions)) / 2


def _products(x: Tensor, y: Tensor) -> Tensor:
    """x [..., M, D] · yᵀ [..., D, N] -> [..., M, N]; y contiguous.

    PyTorch gives float32 products to MKL, which does not use AVX-512 on AMD processors; oneDNN, which PyTorch brings
    along for convolutions, does: twice as fast there, and no slower elsewhere. It knows no gradient.
    """
    if (
        x.device.type == "cpu"
        and x.dtype == y.dtype == torch.float32
        and y.ndim == 2
        and torch.backends.mkldnn.is_available()
        and not (torch.is_grad_enabled() and (x.requires_grad or y.requires_grad))
    ):
        return torch.ops.mkldnn._linear_pointwise(x, y, None, "none", [], "")
    return x @ y.mT


def _computed(vectors: Tensor) -> Tensor:
    """Vectors as they are multiplied."""
    if vectors.dtype == torch.uint8:
        vectors = unpack_signs(vectors)
    if torch.is_autocast_enabled(vectors.device.type):
        return vectors.to(torch.get_autocast_dtype(vectors.device.type))
    return _in_float32(vectors)


def _in_float32(x: Array) -> Array:
    """At least: float64 stays."""
    if isinstance(x, np.ndarray):
        return x.astype(np.float32)
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _as(like: Array, numbers: np.ndarray) -> Array:
    """Numbers of the kind, precision and device of others."""
    if isinstance(like, np.ndarray):
        return numbers.astype(like.dtype)
    return torch.from_numpy(numbers).to(like)


def _frames_per_slab(query: Tensor, target: Tensor, slab_bytes: int) -> int:
    pairs = prod(np.broadcast_shapes(query.shape[:-3], target.shape[:-3]))  # torch's imports sympy: 0.4 s
    frame_bytes = pairs * query.shape[-3] * query.shape[-2] * target.shape[-2] * max(4, query.element_size())
    return max(1, slab_bytes // max(1, frame_bytes))


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


def _check_weights(query: Tensor, target: Tensor, weights: Sequence[float] | None, symmetric: bool) -> None:
    for vectors in (query, target) if symmetric else (query,):
        if weights is not None and len(weights) != vectors.shape[-2]:
            raise ValueError(f"{len(weights)} weights for frames of {vectors.shape[-2]} regions")


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

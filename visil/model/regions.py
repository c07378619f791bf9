"""Activations of a backbone -> one vector for every region of a frame.

    Frames ─ backbone ─► stage maps ─► [region vectors] ─► whitening ─► attention | binarization
                                        this module

Pure functions on tensors: no weights. Axes: B frames, C channels, H and W cells of a map, R regions.
Sources: ViSiL (ICCV 2019), "Feature extraction" (L-iMAC), with the windows of its published code; DnS and
S2VS for `limac`; square regions: R-MAC (Tolias et al., ICLR 2016) as coded in S2VS and DnS; `whole`: SSCD (CVPR 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from visil.model.pyramid import pyramid_vectors

SCHEMES = ("visil", "limac", "adaptive", "pyramid", "whole")
LEVELS = (1, 2, 3)  # of `pyramid`, where nothing else is said

# Side of the max pooling window by the stride of a stage; its step is half of it, rounded up. Chosen by the
# authors so that every stage of a 224 x 224 picture has 3 x 3 regions.
PUBLISHED_KERNELS = {4: 28, 8: 14, 16: 6, 32: 3}

REGION_OVERLAP = 0.4  # of neighbouring square regions along the longer axis (R-MAC)
LONGER_AXIS_STEPS = range(2, 8)  # candidates for the number of regions along it
GEM_FLOOR = 1e-6  # generalised mean: values are raised to a power, so they must be positive


def region_vectors(
    maps: Sequence[Tensor], scheme: str, *, strides: Sequence[int], grid: int = 3, levels: Sequence[int] = LEVELS
) -> Tensor:
    """One vector of each frame's regions: pooled, normalised and concatenated over the stages (L-iMAC).

        v_r = L2( [ L2(pool_r(map_1)), ..., L2(pool_r(map_S)) ] )

    Args:
        maps: one float tensor [B, C, H, W] for every stage, in the order of the concatenation.
        scheme: `visil`: the published windows; all stages must come out at the same grid (224 x 224 does).
            `limac`: the published windows, then adaptive max pooling to the grid of the last map and a second
            L2 (DnS, S2VS): any picture from 109 x 109, more regions for a larger one.
            `adaptive`: adaptive max pooling of every stage to grid x grid: any size, any stage.
            `pyramid`: generalised mean over overlapping windows of several sizes: any size, any stage.
            `whole`: generalised mean over the whole picture, without any L2: a projection with a bias comes next.
        strides: of every map in the picture, pixels; they choose the published windows.
        grid: regions along each side for `adaptive`; the other schemes do not look at it.
        levels: of `pyramid`, level n has n x n windows; the other schemes do not look at them.

    Returns:
        [B, R, sum of C], rows of the grid first (of each level's grid, levels in their order), L2-normalised but for
        `whole`, float32 or wider. A zero part stays zero; under the floor of the generalised mean it has equal values
        in all channels.

    Raises:
        ValueError: unknown scheme, a stride without a published window, a map smaller than its window, or
            (`visil`) grids that differ.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"region scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
    if len(maps) != len(strides) or not maps:
        raise ValueError(f"expected one stride for every map, got {len(maps)} maps and {len(strides)} strides")
    if scheme == "whole":
        return rearrange(torch.cat([gem(_wide(stage)) for stage in maps], dim=1), "b c -> b 1 c")
    if scheme == "pyramid":
        windows = [_unit(pyramid_vectors(stage, levels).mT) for stage in maps]  # [B, C, R]
        return _unit(torch.cat(windows, dim=1)).mT
    if scheme == "adaptive":
        parts = [_unit(F.adaptive_max_pool2d(stage, grid)) for stage in maps]  # [B, C, grid, grid]
    else:
        parts = [_unit(_published_pool(stage, stride)) for stage, stride in zip(maps, strides, strict=True)]
        grids = [tuple(part.shape[-2:]) for part in parts]
        if scheme == "limac":
            parts = [_unit(F.adaptive_max_pool2d(part, grids[-1])) for part in parts]
        elif len(set(grids)) > 1:
            raise ValueError(
                f"stages of sizes {_sizes(maps)} give different grids of regions: {_sizes(parts)}; "
                "use 224 x 224 pictures, or the scheme `limac` or `adaptive`"
            )
    return rearrange(_unit(torch.cat(parts, dim=1)), "b c i j -> b (i j) c")


def _published_pool(stage: Tensor, stride: int) -> Tensor:
    """Max pooling with the published window of this stride, [B, C, H, W] -> [B, C, rows, columns]."""
    kernel = PUBLISHED_KERNELS.get(stride)
    if kernel is None:
        raise ValueError(
            f"no published pooling window for a stage of stride {stride} "
            f"(there are {', '.join(map(str, PUBLISHED_KERNELS))}); use the scheme `adaptive`"
        )
    if min(stage.shape[-2:]) < kernel:
        raise ValueError(
            f"a stage of stride {stride} needs at least {kernel} x {kernel} cells, got {_sizes([stage])}; "
            "use larger pictures or the scheme `adaptive`"
        )
    return F.max_pool2d(stage, kernel, stride=(kernel + 1) // 2)


def _unit(x: Tensor) -> Tensor:
    """L2 over channels, in float32 at least (the floor under a norm, 1e-12, is zero in half precision)."""
    return F.normalize(_wide(x), dim=1)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _sizes(maps: Sequence[Tensor]) -> str:
    return ", ".join(f"{m.shape[-2]} x {m.shape[-1]}" for m in maps)


def mac(stage: Tensor) -> Tensor:
    """Maximum over a map, [..., H, W] -> [...]."""
    return stage.amax(dim=(-2, -1))


def spoc(stage: Tensor) -> Tensor:
    """Mean over a map, [..., H, W] -> [...]."""
    return stage.mean(dim=(-2, -1))


def gem(stage: Tensor, *, power: float = 3.0) -> Tensor:
    """Generalised mean over a map, [..., H, W] -> [...]: power 1 is the mean, infinity the maximum."""
    return stage.clamp(min=GEM_FLOOR).pow(power).mean(dim=(-2, -1)).pow(1 / power)


def rmac(stage: Tensor, *, levels: Sequence[int] = (1, 2, 3)) -> Tensor:
    """Mean of the maxima of all square regions, [B, C, H, W] -> [B, C]; regions are not normalised (S2VS)."""
    return square_region_vectors(stage, levels).mean(dim=1)


def square_region_vectors(stage: Tensor, levels: Sequence[int], *, pool: Callable[[Tensor], Tensor] = mac) -> Tensor:
    """Pool the square regions of several levels; level 1 is the whole map (S2VS).

    Args:
        stage: [B, C, H, W].
        levels: number of regions along the shorter side; a level of regions below one cell is left out.
        pool: what makes one value of a region: `mac`, `spoc` or `gem`.

    Returns:
        [B, R, C]: levels in the order given, rows of a level first.

    Raises:
        ValueError: the map is too small for all of the levels.
    """
    height, width = stage.shape[-2:]
    vectors = []
    for level in levels:
        if level == 1:
            vectors.append(rearrange(pool(stage), "b c -> b 1 c"))
        elif _square_side(height, width, level) > 0:
            vectors.append(rearrange(square_region_grid(stage, level, pool=pool), "b c i j -> b (i j) c"))
    if not vectors:
        raise ValueError(f"a map of {height} x {width} has no square region of levels {tuple(levels)}")
    return torch.cat(vectors, dim=1)


def square_region_grid(stage: Tensor, level: int, *, pool: Callable[[Tensor], Tensor] = mac) -> Tensor:
    """Pool the square regions of one level, [B, C, H, W] -> [B, C, rows, columns].

    Level 1 is one square (or more, along the longer side), not the whole map: the form of DnS.
    """
    height, width = stage.shape[-2:]
    side = _square_side(height, width, level)
    if side == 0:
        raise ValueError(f"a map of {height} x {width} has no square region of level {level}")
    extra = _extra_regions(height, width)
    rows = _corners(height, side, level + (extra if height > width else 0))
    columns = _corners(width, side, level + (extra if width > height else 0))
    windows = stage.unfold(2, side, 1).unfold(3, side, 1)  # [B, C, H-side+1, W-side+1, side, side]
    return pool(windows[:, :, rows][:, :, :, columns])


def _square_side(height: int, width: int, level: int) -> int:
    return 2 * min(height, width) // (level + 1)


def _extra_regions(height: int, width: int) -> int:
    """How many regions more the longer side gets, so that neighbours overlap by about REGION_OVERLAP."""
    if height == width:
        return 0
    short, long = min(height, width), max(height, width)
    step = torch.tensor([(long - short) / (n - 1) for n in LONGER_AXIS_STEPS])  # float32, as published
    overlap = (short**2 - short * step) / short**2
    return int((overlap - REGION_OVERLAP).abs().argmin()) + 1


def _corners(length: int, side: int, count: int) -> list[int]:
    """First cells of `count` regions spread over an axis; float32 decides ties, as published."""
    step = (length - side) / (count - 1) if count > 1 else 0.0
    offset = side // 2 - 1
    positions = offset + torch.arange(count) * torch.tensor(step, dtype=torch.float32)
    return [int(corner) - offset for corner in positions.floor()]

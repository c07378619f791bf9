"""Overlapping square regions of several sizes, as exact shares of the picture.

    Frames ─ backbone ─► stage map ─► [pyramid of regions] ─► whitening ─► RegionVectors
                                       this module

Imports torch alone, so that training (`s2vs`) and search pool by the same code. Sources: the layout of levels is that
of R-MAC (Tolias et al., ICLR 2016); generalised mean (Radenović et al., TPAMI 2019), here over every window.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

POWER = 3.0  # of the generalised mean (SSCD, CVPR 2022, section 3.3)
FLOOR = 1e-6  # values are raised to a power, so they must be positive


def num_regions(levels: Sequence[int]) -> int:
    """How many windows the levels have together."""
    return sum(level * level for level in levels)


def region_boxes(levels: Sequence[int]) -> Tensor:
    """The windows of all levels, float64 [R, 4]: (top, left, height, width) as shares of the sides."""
    boxes = []
    for level in levels:
        side = 2 / (level + 1) if level > 1 else 1.0
        starts = [start / (level + 1) for start in range(level)]
        boxes += [(top, left, side, side) for top in starts for left in starts]
    return torch.tensor(boxes, dtype=torch.float64)


def region_weights(levels: Sequence[int], shares: Sequence[float]) -> tuple[float, ...]:
    """What every window counts where each level has a share and its windows count alike."""
    pairs = zip(levels, shares, strict=True)
    return tuple(share / level**2 for level, share in pairs for _ in range(level**2))


def pyramid_vectors(stage: Tensor, levels: Sequence[int]) -> Tensor:
    """Generalised mean of a map over the windows of all levels.

        v_w = (Σ_x a_w(x) · max(f(x), 1e-6)³)^(1/3),   Σ_x a_w(x) = 1

    Level n has n x n windows, each 2/(n+1) of the sides long, so that neighbours overlap by half: the whole picture,
    2/3, 1/2, 2/5 ... A window that ends inside a cell of the map counts that cell by the share it covers: the windows
    are the same parts of the picture whatever its size in pixels.

    Args:
        stage: float [B, C, H, W]; negative values count as none.
        levels: ascending, from 1.

    Returns:
        [B, R, C] float32 or wider, levels in the order given, rows of a level first; not normalised.
    """
    height, width = stage.shape[-2:]
    powers = _powers(stage)
    rows = [_window_shares(height, level).to(powers) for level in levels]  # [n, H]
    columns = [_window_shares(width, level).to(powers) for level in levels]  # [n, W]
    means = [(r @ powers @ c.T).flatten(2) for r, c in zip(rows, columns, strict=True)]  # [B, C, n * n]
    return torch.cat(means, dim=2).pow(1 / POWER).transpose(1, 2)


def window_vectors(stage: Tensor, boxes: Tensor) -> Tensor:
    """Generalised mean of maps over windows of their own, by the formula of `pyramid_vectors`.

    Args:
        stage: float [B, C, H, W].
        boxes: [B, K, 4], (top, left, height, width) as shares of the sides, each with an area.

    Returns:
        [B, K, C] float32 or wider; not normalised.
    """
    top, left, height, width = boxes.double().unbind(dim=-1)  # [B, K] each
    rows = _covered_shares(stage.shape[-2], top, height)  # [B, K, H]
    columns = _covered_shares(stage.shape[-1], left, width)  # [B, K, W]
    powers = _powers(stage)
    cells = (rows[..., :, None] * columns[..., None, :]).flatten(2).to(powers)  # [B, K, H * W]
    return (cells @ powers.flatten(2).mT).pow(1 / POWER)


def _powers(stage: Tensor) -> Tensor:
    return stage.to(torch.promote_types(stage.dtype, torch.float32)).clamp(min=FLOOR).pow(POWER)


def _window_shares(length: int, level: int) -> Tensor:
    """Weight of every cell of an axis in every window of a level, [level, length]; rows add up to 1."""
    side = torch.tensor(2 / (level + 1) if level > 1 else 1.0, dtype=torch.float64)
    return _covered_shares(length, torch.arange(level, dtype=torch.float64) / (level + 1), side)


def _covered_shares(length: int, start: Tensor, side: Tensor) -> Tensor:
    """Weight of every cell of an axis in windows that begin and are as long as shares [...] of it: [..., length]."""
    begin = (start * length)[..., None]
    end = begin + (side * length)[..., None]
    cell = torch.arange(length, dtype=torch.float64, device=begin.device)
    covered = (torch.minimum(end, cell + 1) - torch.maximum(begin, cell)).clamp(min=0)
    return covered / covered.sum(dim=-1, keepdim=True)

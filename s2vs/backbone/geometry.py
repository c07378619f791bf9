"""Where the pixels of a view come from: plane maps of shares, and the sampling of pictures through them.

    canvas ─ place ─► content ─ mirror, rotation, perspective ─► window ─ crop ─► picture: one map, sampled once

A map is a homography [3, 3] that takes (x, y, 1) on the view to the picture, both in shares of the sides: (0, 0) is
the upper left corner of a picture, (1, 1) the lower right one. Boxes are (top, left, height, width) in shares.
Maps, boxes and what else is drawn per sample live on the CPU; pictures may lie elsewhere. Nothing here is random.
Source: Hartley and Zisserman, Multiple View Geometry, 2.3; Heckbert 1989 for the square and its projection.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_LEVEL = 3  # pictures are averaged down by 2 ** level before they are sampled
LEVEL_BIAS = 0.4  # a picture reduced by 1.5 or more is first halved, by 3 or more quartered
AT_ONCE = 16  # pictures sampled together, so that they stay in the processor's cache
CENTRE = 0.5
_SAMPLING = torch.tensor([[2.0, 0.0, -1.0], [0.0, 2.0, -1.0], [0.0, 0.0, 1.0]])  # shares to the -1 to 1 of grid_sample


def window_map(boxes: Tensor) -> Tensor:
    """Maps [B, 3, 3] from the unit square to boxes [B, 4] of a picture."""
    top, left, height, width = boxes.unbind(dim=1)
    return _affine(width, torch.zeros_like(width), left, torch.zeros_like(width), height, top)


def place_map(boxes: Tensor) -> Tensor:
    """Maps [B, 3, 3] from a canvas to the unit square that lies in boxes [B, 4] of the canvas."""
    top, left, height, width = boxes.unbind(dim=1)
    return _affine(
        1 / width, torch.zeros_like(width), -left / width, torch.zeros_like(width), 1 / height, -top / height
    )


def mirror_map(is_mirrored: Tensor) -> Tensor:
    """Maps [B, 3, 3] that exchange left and right where bool [B] says so."""
    flipped = is_mirrored.float()
    zero, one = torch.zeros_like(flipped), torch.ones_like(flipped)
    return _affine(1 - 2 * flipped, zero, flipped, zero, one, zero)


def rotation_map(radians: Tensor, aspect: Tensor) -> Tensor:
    """Maps [B, 3, 3] that turn pictures of an aspect (width over height, [B]) about their middle by angles [B]."""
    cos, sin = radians.cos(), radians.sin()
    right, down = sin / aspect, sin * aspect
    return _affine(cos, right, CENTRE * (1 - cos - right), -down, cos, CENTRE * (1 - cos + down))


def perspective_map(corners: Tensor) -> Tensor:
    """Maps [B, 3, 3] that show the unit square with its corners at other places.

    Args:
        corners: [B, 4, 2] as (x, y): where the upper left, upper right, lower right, lower left corner are seen.
    """
    a, b, c, d = corners.unbind(dim=1)  # [B, 2] each
    across, up, sum_ = b - c, d - c, a - b + c - d
    determinant = across[:, 0] * up[:, 1] - up[:, 0] * across[:, 1]
    g = (sum_[:, 0] * up[:, 1] - up[:, 0] * sum_[:, 1]) / determinant
    h = (across[:, 0] * sum_[:, 1] - sum_[:, 0] * across[:, 1]) / determinant
    first = b - a + g[:, None] * b
    second = d - a + h[:, None] * d
    rows = [torch.stack([first[:, i], second[:, i], a[:, i]], dim=1) for i in (0, 1)]
    seen = torch.stack([*rows, torch.stack([g, h, torch.ones_like(g)], dim=1)], dim=1)  # from the square to the view
    shown: Tensor = torch.linalg.inv(seen)
    return shown


def sampled(
    pictures: Tensor,
    maps: Tensor,
    side: int,
    *,
    reduction: Tensor,
    folds: Tensor | None = None,
    padding: Literal["border", "zeros"] = "border",
) -> Tensor:
    """Views of pictures through maps, bilinear, from averaged copies where much is reduced.

    Args:
        pictures: uint8 or float [B, C, H, W].
        maps: [B, 3, 3] from the view to the picture.
        side: of the square views, pixels.
        reduction: pixels of the picture for one of the view along an axis, [B].
        folds: boxes [B, 4]; what lies outside of them is their inside mirrored; NaN: not so for this sample.
        padding: what is seen outside of the picture: its edge, or 0.

    Returns:
        float32 [B, C, side, side] in the units of `pictures`.
    """
    levels = (reduction.log2() + LEVEL_BIAS).floor().clamp(0, MAX_LEVEL).long()
    views = torch.empty(len(pictures), pictures.shape[1], side, side, device=pictures.device)
    for level in sorted(set(levels.tolist())):
        for chosen in torch.split((levels == level).nonzero()[:, 0], AT_ONCE):
            there = chosen.to(pictures.device)
            source = pictures.index_select(0, there).to(torch.float32, memory_format=torch.contiguous_format)
            if level:
                source = F.avg_pool2d(source, 2**level)
            x, y = _places(_SAMPLING @ maps[chosen], side, pictures.device)
            if folds is not None:
                _fold(x, y, 2 * folds[chosen] - torch.tensor([1.0, 1.0, 0.0, 0.0]))
            grid = torch.stack([x, y]).permute(1, 2, 3, 0)  # [b, side, side, 2], one plane after the other
            views[there] = F.grid_sample(source, grid, padding_mode=padding, align_corners=False)
    return views


def is_inside(maps: Tensor, boxes: Tensor, side: int, device: torch.device) -> Tensor:
    """Which pixels of the views are seen inside of boxes [B, 4] of the picture: bool [B, 1, side, side]."""
    x, y = _places(maps, side, device)
    top, left, height, width = boxes.to(device)[:, :, None, None].unbind(dim=1)
    return ((x >= left) & (x < left + width) & (y >= top) & (y < top + height))[:, None]


def rectangles(boxes: Tensor, side: int, device: torch.device) -> Tensor:
    """Which pixels lie in boxes [B, 4] of a canvas: bool [B, 1, side, side]."""
    shares = (torch.arange(side, device=device) + CENTRE) / side
    top, left, height, width = boxes.to(device)[:, :, None].unbind(dim=1)  # [B, 1] each
    rows = (shares >= top) & (shares < top + height)
    columns = (shares >= left) & (shares < left + width)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _affine(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor) -> Tensor:
    last = torch.tensor([0.0, 0.0, 1.0]).expand(len(a), 3)
    return torch.stack([torch.stack([a, b, c], dim=1), torch.stack([d, e, f], dim=1), last], dim=1)


def _places(maps: Tensor, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """x and y on the picture of every pixel of the views, [B, side, side] each on a device."""
    is_affine = not bool(maps[:, 2, :2].any())
    shares = (torch.arange(side, device=device) + CENTRE) / side
    across, down = shares[None, None, :], shares[None, :, None]
    m = maps.to(device)[:, :, :, None, None]  # [B, 3, 3, 1, 1]
    x = m[:, 0, 0] * across + (m[:, 0, 1] * down + m[:, 0, 2])
    y = m[:, 1, 0] * across + (m[:, 1, 1] * down + m[:, 1, 2])
    if is_affine:
        return x, y
    scale = m[:, 2, 0] * across + (m[:, 2, 1] * down + m[:, 2, 2])
    return x.div_(scale), y.div_(scale)


def _fold(x: Tensor, y: Tensor, boxes: Tensor) -> None:
    """Mirror places at the edges of the boxes, in place; not where a box is NaN."""
    chosen = (~boxes.isnan().any(dim=1)).nonzero()[:, 0]
    if not len(chosen):
        return
    top, left, height, width = boxes[chosen].to(x)[:, :, None, None].unbind(dim=1)
    there = chosen.to(x.device)
    for places, start, length in ((x, left, width), (y, top, height)):
        share = (places[there] - start) / length
        places[there] = start + length * (1 - (share.remainder(2) - 1).abs())

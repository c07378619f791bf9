"""What lies over or around pictures: stickers, and grounds of borders."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from visil.s2vs.backbone.geometry import place_map, sampled


@dataclass(frozen=True)
class Stickers:
    """What is laid over pictures: uint8 RGBA [K, h, w, 4] each, alpha not multiplied in; K may be 0.

    Attributes:
        captions: one or more lines of text, as wide as a picture.
        logos: a badge and a word.
        emoji: square little pictures.
    """

    captions: Tensor
    logos: Tensor
    emoji: Tensor

    def __post_init__(self) -> None:
        for kind, stickers in vars(self).items():
            is_of_kind = stickers.dim() == 4 and stickers.shape[-1] == 4 and stickers.dtype == torch.uint8
            if not is_of_kind or 0 in stickers.shape[1:]:
                raise ValueError(f"{kind}: expected uint8 [K, h, w, 4], got {stickers.dtype} {[*stickers.shape]}")


def with_stickers(pictures: Tensor, stickers: Tensor, boxes: Tensor, opacity: Tensor) -> Tensor:
    """Lay one sticker over each picture; what lies outside is cut off.

    Args:
        pictures: float [B, 3, side, side] in [0, 1].
        stickers: uint8 [B, h, w, 4].
        boxes: where they come to lie, [B, 4] in shares of the picture.
        opacity: [B], on top of their own.
    """
    side = pictures.shape[-1]
    layers = stickers.movedim(-1, 1).to(pictures) / 255  # [B, 4, h, w]
    layers[:, 3] *= opacity.to(pictures)[:, None, None]
    layers[:, :3] *= layers[:, 3:].clone()
    reduction = (layers.shape[2] / (boxes[:, 2] * side) * layers.shape[3] / (boxes[:, 3] * side)).sqrt()
    layers = sampled(layers, place_map(boxes), side, reduction=reduction, padding="zeros")
    return torch.addcmul(layers[:, :3], pictures, 1 - layers[:, 3:])


def patterned(colours: Tensor, kinds: Tensor, stripes: Tensor, side: int) -> Tensor:
    """Grounds of two colours.

    Args:
        colours: [B, 2, 3] in [0, 1].
        kinds: int64 [B]; 0: the first colour alone, 1: stripes, 2: one shades into the other.
        stripes: how many pairs lie along a side, [B].

    Returns:
        float32 [B, 3, side, side] on the device of `colours`.
    """
    shares = (torch.arange(side, device=colours.device) + 0.5) / side
    diagonal = shares[:, None] + shares  # [side, side], up to 2
    striped = ((diagonal * stripes[:, None, None]).remainder(1) < 0.5).float()
    kinds = kinds[:, None, None]
    share = torch.where(kinds == 1, striped, torch.where(kinds == 2, diagonal / 2, 0.0))[:, None]  # [B, 1, side, side]
    return torch.lerp(colours[:, 0, :, None, None], colours[:, 1, :, None, None], share)

"""Small inside another one: strong clips of a batch mixed with each other.

    strong clips [B, T, H, W, 3] ─► [who lies in whom, where] ─► mixed clips, shares of videos ─► labels.py
                                     this module

Source: S2VS (CVPRW 2023), "Video-in-video", and its code (cases `viv_*`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Generator, Tensor

NO_HOST = -1


@dataclass(frozen=True)
class Box:
    """Where a donor lies in its host, pixels: from top and left to before bottom and right."""

    top: int
    bottom: int
    left: int
    right: int


def donor_box(height: int, width: int, share: float, centre: tuple[int, int]) -> Box:
    """The box of a donor.

    Its sides are √(1 - share) of the host's; at the border it is cut, not moved, and an odd side loses a pixel
    (published): so it covers a third less than 1 - share in the mean.

    Args:
        share: lambda, of the host that stays to see if nothing is cut.
        centre: row and column.
    """
    scale = float(torch.tensor(1.0 - share).sqrt())  # in single precision, as published
    half_height, half_width = int(height * scale) // 2, int(width * scale) // 2
    row, column = centre
    return Box(
        max(row - half_height, 0),
        min(row + half_height, height),
        max(column - half_width, 0),
        min(column + half_width, width),
    )


@dataclass(frozen=True)
class Mixture:
    """Who lies in whom.

    Attributes:
        hosts: int64 [B], NO_HOST for a clip that stays as it is.
        shares: [B], lambda.
        centres: int64 [B, 2], rows and columns.
    """

    hosts: Tensor
    shares: Tensor
    centres: Tensor


@dataclass(frozen=True)
class VideoInVideo:
    """Attributes: chance: of a clip to be put into another one; shares: range of lambda."""

    chance: float = 0.3
    shares: tuple[float, float] = (0.3, 0.7)

    def draw(self, count: int, size: tuple[int, int], generator: Generator) -> Mixture:
        """For `count` clips of `size` (height, width); a lone clip has no host."""
        low, high = self.shares
        is_mixed = torch.rand(count, generator=generator) < self.chance
        others = torch.randint(max(1, count - 1), (count,), generator=generator)
        hosts = others + (others >= torch.arange(count))  # any but itself
        shares = low + (high - low) * torch.rand(count, generator=generator)
        centres = torch.stack([torch.randint(side, (count,), generator=generator) for side in size], dim=1)
        return Mixture(torch.where(is_mixed & (count > 1), hosts, NO_HOST), shares, centres)


def mix(clips: Tensor, mixture: Mixture) -> Tensor:
    """Every clip with a host as a small picture in it; all of its frames in one box.

    Args:
        clips: uint8 [B, T, H, W, 3].

    Returns:
        uint8 [B, T, H, W, 3]; hosts are the clips as they were.
    """
    mixed = clips.clone()
    height, width = clips.shape[2:4]
    for number in (mixture.hosts != NO_HOST).nonzero()[:, 0].tolist():
        row, column = mixture.centres[number].tolist()
        box = donor_box(height, width, float(mixture.shares[number]), (row, column))
        mixed[number] = clips[mixture.hosts[number]]
        if box.bottom > box.top and box.right > box.left:
            small = resized(clips[number], (box.bottom - box.top, box.right - box.left))
            mixed[number, :, box.top : box.bottom, box.left : box.right] = small
    return mixed


def resized(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 [T, H, W, 3] -> uint8 [T, *size, 3], bilinear with antialiasing."""
    planes = rearrange(frames, "t h w c -> t c h w").float()
    planes = F.interpolate(planes, size, mode="bilinear", antialias=True, align_corners=False)
    return rearrange(planes.round().clamp(0, 255).to(torch.uint8), "t c h w -> t h w c")

"""Colours, sharpness, noise and compression of pictures in batches: every sample with strengths of its own.

Pictures are float32 [B, 3, H, W] in [0, 1]; strengths are [B] on the CPU. What goes out is in [0, 1] again.
Sources: luma and colour differences of ITU-R BT.601; 8x8 cosine transform and quantisation as in JPEG (T.81).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
BLOCK_PX = 8
DEAD_ZONE = 1 / 6  # coefficients are rounded towards 0 by so much more than to the nearest, as encoders do
CHROMA_COARSER = 1.5  # steps of the colour differences over those of luma
ORDERS = ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))  # of red, green, blue, other than the usual


def saturation_matrix(factor: Tensor) -> Tensor:
    """Colour matrices [B, 4, 4]: distance from grey times a factor [B]; 0 is grayscale."""
    grey = torch.tensor(LUMA).expand(3, 3)
    return _linear(grey + factor[:, None, None] * (torch.eye(3) - grey))


def hue_matrix(radians: Tensor) -> Tensor:
    """Colour matrices [B, 4, 4] that turn colours about the grey axis."""
    cos, sin = radians.cos()[:, None, None], radians.sin()[:, None, None]
    grey = torch.full((3, 3), 1 / 3)
    turn = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    return _linear(cos * torch.eye(3) + (1 - cos) * grey + sin * turn)


def order_matrix(order: Tensor) -> Tensor:
    """Colour matrices [B, 4, 4] that exchange channels: indices [B] into `ORDERS`."""
    return _linear(torch.eye(3)[torch.tensor(ORDERS)][order])


def contrast_matrix(gain: Tensor, fixed_level: Tensor) -> Tensor:
    """Colour matrices [B, 4, 4]: distance from a level [B] or [B, 3] in [0, 1] times a gain of the same shape."""
    gain, fixed_level = (values.reshape(len(values), -1).expand(-1, 3) for values in (gain, fixed_level))
    matrices = _linear(torch.diag_embed(gain))
    matrices[:, :3, 3] = fixed_level * (1 - gain)
    return matrices


def recoloured(pictures: Tensor, matrices: Tensor) -> Tensor:
    """Every pixel (r, g, b, 1) through the colour matrix [B, 4, 4] of its sample; clipped."""
    matrices = matrices.to(pictures)
    mixed = torch.baddbmm(matrices[:, :3, 3:], matrices[:, :3, :3], pictures.flatten(2))
    return mixed.clamp_(0, 1).view_as(pictures)


def with_gamma(pictures: Tensor, gamma: Tensor) -> Tensor:
    """Values to a power [B]."""
    return pictures.clamp(min=1e-4).pow(_per_sample(gamma, pictures))


def blurred(pictures: Tensor, lines: Tensor) -> Tensor:
    """Detail finer than so many lines [B, 2] (down, across) averaged away; the size stays."""
    down, across = (_coarser(lines[:, i], pictures.shape[2 + i]).to(pictures) for i in (0, 1))  # [B, side, side]
    return (down[:, None] @ pictures @ across[:, None].mT).clamp_(0, 1)


def with_noise(pictures: Tensor, deviation: Tensor, is_grey: Tensor, bank: Tensor, starts: Tensor) -> Tensor:
    """Gaussian noise of a standard deviation [B] added, the same in all channels where bool [B] says so.

    Args:
        bank: standard normal values [N], N more than a picture has; shared by the samples.
        starts: int64 [B], where in the bank the noise of a sample begins.
    """
    size = pictures[0].numel()
    noise = bank.unfold(0, size, 1).index_select(0, starts.to(bank.device)).view(pictures.shape).to(pictures.device)
    noise = torch.where(_per_sample(is_grey, pictures) > 0, noise[:, :1], noise)
    return torch.addcmul(pictures, noise, _per_sample(deviation, pictures)).clamp_(0, 1)


def compressed(pictures: Tensor, step: Tensor, slope: Tensor, *, lines: int) -> Tensor:
    """As a lossy encoder leaves it: reduced to `lines`, 8x8 blocks quantised, enlarged again.

    Args:
        step: of the quantisation of a block's mean, [B], in grey levels of 255 times 8 (as in tables of JPEG).
        slope: growth of the steps from one frequency to the next, share of `step`, [B].
        lines: a multiple of 16; colour differences have half as many.
    """
    side = pictures.shape[-1]
    small = pictures if side == lines else F.interpolate(pictures, (lines, lines), mode="bilinear", antialias=True)
    luma = torch.einsum("bchw,c->bhw", small, small.new_tensor(LUMA))[:, None]
    differences = F.avg_pool2d(small[:, ::2] - luma, 2)  # red and blue less luma
    frequency = torch.arange(BLOCK_PX)
    table = 1 + slope[:, None, None] * (frequency[:, None] + frequency)  # [B, 8, 8]
    table = (table * step[:, None, None] / 255).to(pictures)
    luma = _quantised(luma, table)
    differences = F.interpolate(_quantised(differences, CHROMA_COARSER * table), scale_factor=2, mode="nearest")
    red, blue = (differences + luma).unbind(dim=1)
    green = (luma[:, 0] - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]
    decoded = torch.stack([red, green, blue], dim=1).clamp_(0, 1)
    return decoded if side == lines else F.interpolate(decoded, (side, side), mode="bilinear")


def _linear(matrices: Tensor) -> Tensor:
    """[B, 3, 3] as [B, 4, 4] without an offset."""
    whole = torch.eye(4).repeat(len(matrices), 1, 1)
    whole[:, :3, :3] = matrices
    return whole


def _per_sample(values: Tensor, pictures: Tensor) -> Tensor:
    return values.to(pictures)[:, None, None, None]


def _coarser(lines: Tensor, side: int) -> Tensor:
    """Matrices [B, side, side] that average an axis to so many lines [B] and interpolate between them."""
    lines = lines.clamp(2, side).round()[:, None, None]
    cell = torch.arange(int(lines.max()))  # [L]
    pixel = torch.arange(side)  # [side]
    start, end = cell[:, None] * side / lines, (cell[:, None] + 1) * side / lines  # [B, L, 1]
    covered = (torch.minimum(end, pixel + 1) - torch.maximum(start, pixel)).clamp(min=0) * lines / side  # [B, L, side]
    place = ((pixel[:, None] + 0.5) * lines / side - 0.5).clamp(min=0).minimum(lines - 1)  # [B, side, 1]
    return (1 - (place - cell).abs()).clamp(min=0) @ covered


def _quantised(planes: Tensor, steps: Tensor) -> Tensor:
    """Planes [B, C, H, W] with the cosine coefficients of their 8x8 blocks rounded to multiples of steps [B, 8, 8]."""
    order = torch.arange(BLOCK_PX, device=planes.device)
    cosines = (math.pi / BLOCK_PX * (order + 0.5) * order[:, None]).cos() * math.sqrt(2 / BLOCK_PX)
    cosines[0] /= math.sqrt(2)  # [8, 8], orthonormal rows
    blocks = planes.reshape(-1, BLOCK_PX, planes.shape[-1] // BLOCK_PX, BLOCK_PX)  # [B C H/8, 8, W/8, 8]
    coefficients = torch.einsum("nywx,fy,gx->nfwg", blocks, cosines, cosines)
    coefficients = coefficients.view(len(planes), -1, *coefficients.shape[1:])  # [B, C H/8, 8, W/8, 8]
    steps = steps[:, None, :, None, :]
    whole = coefficients / steps
    whole = whole.sign() * (whole.abs() + (0.5 - DEAD_ZONE)).floor() * steps
    return torch.einsum("bnfwg,fy,gx->bnywx", whole, cosines, cosines).reshape(planes.shape)

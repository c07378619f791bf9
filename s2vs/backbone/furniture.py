"""Furniture that different pictures have in common: grounds around them, captions and logos over them.

    Views ─► [blocks of a batch get one design] ─► Views

Two videos of one channel share what it puts around and over them, and are no copies of each other. Within a block
every query has the block's design and a part of the targets has it too; the pictures stay negatives of each other. None
of them lies in another picture, where furniture around both would leave too little of it.
Designs are drawn as in `views.py`, none is one of `visil.synth.furniture`, which the yardstick lays on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from visil.s2vs.backbone import geometry, overlays
from visil.s2vs.backbone.draws import Range
from visil.s2vs.backbone.overlays import Stickers
from visil.s2vs.backbone.views import THUMBNAIL_PX, Views

NUM_GROUNDS = 4  # one colour, stripes, one colour that shades into another, a blurred picture


@dataclass(frozen=True)
class FurnitureSettings:
    """How often furniture is shared, and what it is like.

    Attributes:
        share: of the pictures of a batch that are in a block, while there are so many without a host.
        block_size: pictures that share a design.
        on_target: probability that the target has it as well.
        ground, caption, logo: probability of each in a design; one without any of them gets a ground.
        margins: what the ground takes of the sides at each edge.
        even: probability that all margins are alike.
        caption_height, logo_width: shares of the picture.
    """

    share: float = 0.35
    block_size: int = 3
    on_target: float = 0.6
    ground: float = 0.65
    caption: float = 0.4
    logo: float = 0.4
    margins: Range = (0.03, 0.24)
    even: float = 0.5
    caption_height: Range = (0.1, 0.35)
    logo_width: Range = (0.12, 0.4)


def with_furniture(
    views: Views, stickers: Stickers, generator: torch.Generator, settings: FurnitureSettings = FurnitureSettings()
) -> tuple[Views, Tensor]:
    """Lay one design on all pictures of each block.

    Args:
        generator: on the CPU.

    Returns:
        The views, and which targets have furniture, bool [B] on the CPU.
    """
    size, side = settings.block_size, views.query.shape[-1]
    order = torch.randperm(len(views.query), generator=generator)
    free = order[views.host.cpu()[order] < 0]
    num_blocks = min(int(settings.share * len(views.query)), len(free)) // size
    num = num_blocks * size
    members = free[:num]
    has_target = torch.rand(num, generator=generator) < settings.on_target

    def uniform(bounds: Range, *shape: int) -> Tensor:
        return bounds[0] + (bounds[1] - bounds[0]) * torch.rand(num_blocks, *shape, generator=generator)

    def below(number: int) -> Tensor:
        return torch.randint(max(1, number), (num_blocks,), generator=generator)

    has_caption = (uniform((0, 1)) < settings.caption) & (len(stickers.captions) > 0)
    has_logo = (uniform((0, 1)) < settings.logo) & (len(stickers.logos) > 0)
    has_ground = (uniform((0, 1)) < settings.ground) | ~(has_caption | has_logo)
    margins = torch.where(
        (uniform((0, 1)) < settings.even)[:, None], uniform(settings.margins, 1), uniform(settings.margins, 4)
    )
    places = torch.stack(
        [margins[:, 0], margins[:, 1], 1 - margins[:, 0] - margins[:, 2], 1 - margins[:, 1] - margins[:, 3]], dim=1
    )
    grounds = _grounds(
        views.target[members[::size].roll(1)], uniform((0, 1), 2, 3), below(NUM_GROUNDS), uniform((3, 25)), side
    )
    height, at_top = uniform(settings.caption_height), uniform((0, 1)) < 0.25
    zero, one = torch.zeros(num_blocks), torch.ones(num_blocks)
    captions = torch.stack([torch.where(at_top, 0.0, 1 - height), zero, height, one], dim=1)
    width = uniform(settings.logo_width)
    tall = (width * (stickers.logos.shape[1] / max(1, stickers.logos.shape[2]))).clamp(max=0.9)
    corner = (uniform((0, 1), 2) < 0.5) * 0.92 + 0.04
    logos = torch.stack([corner[:, 0] * (1 - tall), corner[:, 1] * (1 - width), tall, width], dim=1)
    which = {"captions": below(len(stickers.captions)), "logos": below(len(stickers.logos))}

    def laid(pictures: Tensor, chosen: Tensor) -> Tensor:
        """On the chosen members, int64 [n]."""
        block = chosen // size
        part = pictures[members[chosen]]
        framed = has_ground[block].nonzero()[:, 0]
        if len(framed):
            boxes = places[block[framed]]
            smaller = geometry.sampled(
                part[framed], geometry.place_map(boxes), side, reduction=boxes[:, 2:].prod(dim=1).rsqrt()
            )
            inside = geometry.rectangles(boxes, side, part.device)
            part[framed] = torch.where(inside, smaller, grounds[block[framed]])
        for kind, has, boxes in (("captions", has_caption, captions), ("logos", has_logo, logos)):
            covered = has[block].nonzero()[:, 0]
            if len(covered):
                layers = getattr(stickers, kind)[which[kind][block[covered]]].to(part.device)
                part[covered] = overlays.with_stickers(
                    part[covered], layers, boxes[block[covered]], torch.ones(len(covered))
                )
        changed = pictures.clone()
        changed[members[chosen]] = part
        return changed

    everyone = torch.arange(num)
    is_changed = torch.zeros(len(views.query), dtype=torch.bool)
    is_changed[members[has_target]] = True
    return (
        Views(laid(views.query, everyone), laid(views.target, everyone[has_target]), views.host),
        is_changed,
    )


def _grounds(pictures: Tensor, colours: Tensor, kinds: Tensor, stripes: Tensor, side: int) -> Tensor:
    """float32 [K, 3, side, side]; of the last kind a blurred picture."""
    there = pictures.device
    grounds = overlays.patterned(colours.to(there), kinds.to(there), stripes.to(there), side)
    own = (kinds == NUM_GROUNDS - 1).nonzero()[:, 0].to(there)
    small = F.interpolate(pictures[own], (THUMBNAIL_PX, THUMBNAIL_PX), mode="area")
    grounds[own] = F.interpolate(small, (side, side), mode="bilinear")
    return grounds

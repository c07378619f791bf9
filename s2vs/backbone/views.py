"""Two views of every picture of a batch for training: a plain target and a strongly edited query.

    pictures, boxes ─► [geometry ─► host, border, bars ─► colour, blur, noise ─► stickers ─► compression] ─► Views

`ViewSettings` (draws.py) says what is drawn how often and how strongly. All draws come from one generator on the CPU,
in whole batches: the same seed gives the same views on a device. Edits work on the samples that have them alone.
Sources: SSCD (Pizzi et al., CVPR 2022) for pictures in pictures and mixed pictures; kinds and strengths are those of
`visil.synth.edits`, and a little more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from visil.s2vs.backbone import colour, geometry, overlays
from visil.s2vs.backbone.draws import UNEDITED, Draw, Range, ViewSettings
from visil.s2vs.backbone.overlays import Stickers

__all__ = ["UNEDITED", "Stickers", "ViewSettings", "Views", "draw_views"]

THUMBNAIL_PX = 16  # what a blurred border is enlarged from
LINES_STEP = 16  # compressed sizes are multiples of two blocks


@dataclass(frozen=True)
class Views:
    """Views of a batch of pictures.

    Attributes:
        query: float32 [B, 3, side, side] in [0, 1], edited.
        target: the same shape, its window of the picture with at most a mild change of colours and sharpness.
        host: int64 [B], which picture of the batch the query lies in or is mixed with, -1 for none; a second positive.
    """

    query: Tensor
    target: Tensor
    host: Tensor


def draw_views(
    pictures: Tensor,
    boxes: Tensor,
    stickers: Stickers,
    side: int,
    generator: torch.Generator,
    settings: ViewSettings = ViewSettings(),
) -> Views:
    """Draw a target view and a query view of every picture.

    Args:
        pictures: uint8 [B, 3, S, S], whole pictures squashed to squares; views are made on their device.
        boxes: [B, 4], (top, left, height, width) of the targets as shares of the pictures.
        side: of the views, pixels; a multiple of 16.
        generator: on the CPU.
    """
    if pictures.dtype != torch.uint8 or pictures.dim() != 4 or pictures.shape[1] != 3:
        raise ValueError(f"expected pictures uint8 [B, 3, S, S], got {pictures.dtype} {[*pictures.shape]}")
    if boxes.shape != (len(pictures), 4):
        raise ValueError(f"expected a box for each of {len(pictures)} pictures, got {[*boxes.shape]}")
    if side % LINES_STEP:
        raise ValueError(f"the side must be a multiple of {LINES_STEP} px, got {side}")
    boxes = boxes.float().cpu()
    draw = Draw(len(pictures), generator, settings)
    target = _target(pictures, boxes, side, draw, settings)
    query, host = _query(pictures, boxes, stickers, side, draw, settings)
    return Views(query, target, host.to(pictures.device))


def _target(pictures: Tensor, boxes: Tensor, side: int, draw: Draw, settings: ViewSettings) -> Tensor:
    reduction = (boxes[:, 2] * boxes[:, 3]).sqrt() * pictures.shape[-1] / side
    views = geometry.sampled(pictures, geometry.window_map(boxes), side, reduction=reduction).div_(255)
    chosen = _where(draw.chance(settings.target_recoloured))
    matrices = _joined(
        colour.saturation_matrix(draw.log_uniform(settings.target_saturation) ** draw.sign()),
        colour.contrast_matrix(
            draw.log_uniform(settings.target_contrast) ** draw.sign(), draw.uniform(settings.contrast_level)
        ),
    )
    _change(views, chosen, lambda part: colour.recoloured(part, matrices[chosen]))

    kind = torch.where(draw.chance(settings.target_softened), draw.below(4), -1)
    bent, soft, noisy, lossy = (_where(kind == i) for i in range(4))
    gamma = draw.log_uniform(settings.target_gamma) ** draw.sign()
    _change(views, bent, lambda part: colour.with_gamma(part, gamma[bent]))
    lines = draw.log_uniform(settings.target_lines)[:, None].expand(-1, 2)
    _change(views, soft, lambda part: colour.blurred(part, lines[soft]))
    _add_noise(views, noisy, draw.uniform(settings.target_noise), draw.chance(settings.noise_grey), draw)
    step = draw.log_uniform(settings.target_step)
    slope = draw.uniform(settings.compression_slope)
    _change(views, lossy, lambda part: colour.compressed(part, step[lossy], slope[lossy], lines=side))
    return views


def _query(
    pictures: Tensor, boxes: Tensor, stickers: Stickers, side: int, draw: Draw, settings: ViewSettings
) -> tuple[Tensor, Tensor]:
    """Query views and their hosts."""
    views, windows, places = _shown(pictures, boxes, side, draw, settings)
    _lay_grounds(views, pictures, windows, places, draw, settings)
    host = _mix(views, pictures, places, draw, settings)
    first = draw.chance(settings.stickers_first)
    laid = _stickers_laid(stickers, draw, settings)
    for chosen, kind, which, place, opacity in laid:
        _lay(views, chosen & first, kind, which, place, opacity)
    _change_colours(views, draw, settings)
    _change_sharpness(views, draw, settings)
    for chosen, kind, which, place, opacity in laid:
        _lay(views, chosen & ~first, kind, which, place, opacity)
    _compress(views, draw, settings)
    return views.clamp_(0, 1), host


def _shown(
    pictures: Tensor, boxes: Tensor, side: int, draw: Draw, settings: ViewSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures through their geometry [B, 3, side, side], their windows, and the places they take of the canvas."""
    windows = _windows(boxes, draw, settings)
    places = _places(draw, settings)
    angle = draw.strength(settings.rotation_degrees).deg2rad() * draw.sign() * draw.has("rotation")
    turn = geometry.rotation_map(angle, draw.log_uniform(settings.aspect))
    inwards = draw.strength(settings.perspective) * draw.has("perspective")
    corners = torch.tensor([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
    moved = draw.uniform((0, 0.4), 4, 2)
    far = (torch.arange(4) - draw.below(4, 1)).remainder(4) < 2  # [B, 4]: one side is farther away
    moved = torch.where(far[:, :, None], draw.uniform((0.6, 1), 4, 2), moved)
    slant = geometry.perspective_map(corners + inwards[:, None, None] * moved * (1 - 2 * corners))
    mirror = geometry.mirror_map(draw.chance(settings.mirrored))
    maps = geometry.window_map(windows) @ turn @ slant @ mirror @ geometry.place_map(places)
    reduction = (windows[:, 2:] / places[:, 2:]).prod(dim=1).sqrt() * pictures.shape[-1] / side

    is_warped = draw.has("rotation") | draw.has("perspective")
    is_folded = is_warped & draw.chance(settings.reflected) & ~draw.has("perspective")  # beyond a horizon lies nothing
    folds = torch.where(is_folded[:, None], windows, torch.nan)
    views = geometry.sampled(pictures, maps, side, reduction=reduction, folds=folds).div_(255)
    fills = _ground_colours(draw, settings)
    free = _where(is_warped & ~is_folded)
    inside = geometry.is_inside(maps[free], windows[free], side, views.device)
    _change(views, free, lambda part: torch.where(inside, part, fills[free].to(part)[:, :, None, None]))
    return views, windows, places


def _windows(boxes: Tensor, draw: Draw, settings: ViewSettings) -> Tensor:
    """The parts of the pictures that queries show, [B, 4]."""
    area = torch.where(draw.has("crop"), draw.strength(settings.crop_area), draw.uniform(settings.plain_area))
    stretch = draw.log_uniform((1 / settings.window_aspect, settings.window_aspect))
    sides = (area[:, None] * torch.stack([stretch, 1 / stretch], dim=1)).clamp(max=1).sqrt()  # [B, 2], of the box
    within = torch.cat([boxes[:, :2] + draw.uniform((0, 1), 2) * (1 - sides) * boxes[:, 2:], sides * boxes[:, 2:]], 1)
    grown = draw.uniform((0, 1), 2, 2)  # of the space around the box: before, after
    start = boxes[:, :2] * grown[:, 0]
    end = boxes[:, :2] + boxes[:, 2:] + (1 - boxes[:, :2] - boxes[:, 2:]) * grown[:, 1]
    is_around = draw.chance(settings.around) & ~draw.has("crop")
    return torch.where(is_around[:, None], torch.cat([start, end - start], dim=1), within)


def _places(draw: Draw, settings: ViewSettings) -> Tensor:
    """The parts of the views that the pictures take, [B, 4]."""
    sides = torch.ones(draw.num, 2)
    is_above = draw.chance(0.5)
    bars = 1 - draw.strength(settings.bars)
    barred = torch.stack([torch.where(is_above, bars, 1.0), torch.where(is_above, 1.0, bars)], dim=1)
    sides = torch.where(draw.has("bars")[:, None], barred, sides)
    framed = (1 - 2 * draw.strength(settings.border))[:, None]
    sides = torch.where(draw.has("border")[:, None], framed, sides)
    start = (1 - sides) / 2
    inset = draw.strength(settings.inset)[:, None].expand(-1, 2)
    is_inset = draw.has("inset")[:, None]
    start = torch.where(is_inset, draw.uniform((0, 1), 2) * (1 - inset), start)
    return torch.cat([start, torch.where(is_inset, inset, sides)], dim=1)


def _lay_grounds(
    views: Tensor, pictures: Tensor, windows: Tensor, places: Tensor, draw: Draw, settings: ViewSettings
) -> None:
    """What is seen beside a picture with bars or a border, in place."""
    side = views.shape[-1]
    colours = torch.stack([_ground_colours(draw, settings), draw.uniform((0, 1), 3)], dim=1)  # [B, 2, 3]
    kinds = torch.where(draw.has("border"), draw.below(4), 0)
    colours[:, 0] = torch.where(draw.has("border")[:, None], draw.uniform((0, 1), 3), colours[:, 0])
    stripes = draw.uniform((4, 20))
    chosen = draw.having("bars", "border")
    there = views.device
    grounds = overlays.patterned(colours[chosen].to(there), kinds[chosen].to(there), stripes[chosen].to(there), side)

    own = _where(kinds[chosen] == 3)
    which = chosen[own]
    reduction = windows[which, 2:].prod(dim=1).sqrt() * pictures.shape[-1] / THUMBNAIL_PX
    thumbnails = geometry.sampled(
        pictures[which.to(there)], geometry.window_map(windows[which]), THUMBNAIL_PX, reduction=reduction
    )
    if len(own):
        grounds[own.to(there)] = F.interpolate(thumbnails / 255, (side, side), mode="bilinear")
    inside = geometry.rectangles(places[chosen], side, there)
    _change(views, chosen, lambda part: torch.where(inside, part, grounds))


def _mix(views: Tensor, pictures: Tensor, places: Tensor, draw: Draw, settings: ViewSettings) -> Tensor:
    """Other pictures of the batch around, over and through the views, in place; which ones are seen, int64 [B]."""
    side = views.shape[-1]
    others = (torch.arange(draw.num) + 1 + draw.below(draw.num - 1)) % draw.num
    sides = draw.log_uniform(settings.host_area).sqrt()[:, None].expand(-1, 2)
    windows = torch.cat([draw.uniform((0, 1), 2) * (1 - sides), sides], dim=1)
    patch = draw.strength(settings.patch)[:, None] * draw.log_uniform((0.8, 1.25), 2)
    patches = torch.cat([draw.uniform((0, 1), 2) * (1 - patch), patch], dim=1)
    patches = torch.where(draw.has("patch")[:, None], patches, torch.tensor([0.0, 0.0, 1.0, 1.0]))
    shares = draw.strength(settings.blend)
    is_mirrored = draw.chance(settings.mirrored)
    matrices = colour.contrast_matrix(draw.log_uniform(settings.target_contrast) ** draw.sign(), draw.uniform((0, 1)))

    if draw.num < 2:
        return torch.full((draw.num,), -1)
    chosen = draw.having("inset", "blend", "patch")
    maps = geometry.window_map(windows) @ geometry.mirror_map(is_mirrored) @ geometry.place_map(patches)
    reduction = (windows[:, 2:] / patches[:, 2:]).prod(dim=1).sqrt() * pictures.shape[-1] / side
    hosts = geometry.sampled(pictures[others[chosen].to(views.device)], maps[chosen], side, reduction=reduction[chosen])
    hosts = colour.recoloured(hosts.div_(255), matrices[chosen])
    is_seen = (geometry.rectangles(patches[chosen], side, views.device)) & ~(
        geometry.rectangles(places[chosen], side, views.device)
        & draw.has("inset")[chosen].to(views.device)[:, None, None, None]
    )
    weight = torch.where(draw.has("blend"), 1 - shares, 1.0)[chosen].to(views)[:, None, None, None]
    _change(views, chosen, lambda part: torch.lerp(part, hosts, weight * is_seen))
    is_host = draw.has("inset")
    is_host = is_host | (draw.has("blend") & (1 - shares >= settings.host_share))
    is_host = is_host | (draw.has("patch") & (patch.amin(dim=1) >= settings.host_share))
    return torch.where(is_host, others, -1)


def _change_colours(views: Tensor, draw: Draw, settings: ViewSettings) -> None:
    none = torch.eye(4).expand(draw.num, 4, 4)

    def where(kind: str, matrices: Tensor) -> Tensor:
        return torch.where(draw.has(kind)[:, None, None], matrices, none)

    gains = 1 + draw.strength(settings.tint)[:, None] * draw.uniform((-1, 1), 3)
    saturation = draw.strength(settings.saturation) ** draw.sign()
    hue = draw.strength(settings.hue).deg2rad() * draw.sign()
    gain = draw.strength(settings.contrast) ** draw.sign()
    matrices = _joined(
        where("tint", colour.saturation_matrix(saturation) @ colour.hue_matrix(hue)),
        where("tint", colour.contrast_matrix(gains, torch.zeros_like(gains))),
        where("swap", colour.order_matrix(draw.below(len(colour.ORDERS)))),
        where("negative", colour.contrast_matrix(-torch.ones(draw.num), torch.full((draw.num,), 0.5))),
        where("grayscale", colour.saturation_matrix(torch.zeros(draw.num))),
        where("contrast", colour.contrast_matrix(gain, draw.uniform(settings.contrast_level))),
    )
    chosen = draw.having("tint", "swap", "negative", "grayscale", "contrast")
    _change(views, chosen, lambda part: colour.recoloured(part, matrices[chosen]))
    gamma = draw.strength(settings.gamma) ** draw.sign()
    bent = draw.having("gamma")
    _change(views, bent, lambda part: colour.with_gamma(part, gamma[bent]))


def _change_sharpness(views: Tensor, draw: Draw, settings: ViewSettings) -> None:
    lines = draw.strength(settings.blur_lines)[:, None].expand(-1, 2)
    chosen = draw.having("blur")
    _change(views, chosen, lambda part: colour.blurred(part, lines[chosen]))
    _add_noise(views, draw.having("noise"), draw.strength(settings.noise), draw.chance(settings.noise_grey), draw)


def _add_noise(views: Tensor, chosen: Tensor, deviation: Tensor, is_grey: Tensor, draw: Draw) -> None:
    """Noise of a deviation [B] in grey levels on the chosen ones, in place."""
    size = views[0].numel()
    bank = draw.normal(2 * size).to(views.device)
    starts = draw.below(size)
    _change(
        views,
        chosen,
        lambda part: colour.with_noise(part, deviation[chosen] / 255, is_grey[chosen], bank, starts[chosen]),
    )


def _compress(views: Tensor, draw: Draw, settings: ViewSettings) -> None:
    step = draw.strength(settings.compression_step)
    slope = draw.uniform(settings.compression_slope)
    sizes = [min(lines, views.shape[-1]) for lines in settings.compression_lines]
    which = torch.tensor(sizes)[draw.below(len(sizes))]
    for lines in sorted(set(sizes)):
        chosen = _where(draw.has("compression") & (which == lines))
        _compress_to(views, chosen, step[chosen] * lines / views.shape[-1], slope[chosen], lines)


def _compress_to(views: Tensor, chosen: Tensor, step: Tensor, slope: Tensor, lines: int) -> None:
    _change(views, chosen, lambda part: colour.compressed(part, step, slope, lines=lines))


Laid = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # who has it, stickers, which of them, boxes, opacities


def _stickers_laid(stickers: Stickers, draw: Draw, settings: ViewSettings) -> list[Laid]:
    """Layers of stickers from the lowest to the uppermost."""
    laid: list[Laid] = []

    def lay(chosen: Tensor, kind: Tensor, boxes: Tensor, opacity: Range = (1.0, 1.0)) -> None:
        which, opacities = draw.below(len(kind)), draw.uniform(opacity)
        if len(kind):
            laid.append((chosen, kind, which, boxes, opacities))

    share = draw.strength(settings.text)
    is_split = draw.chance(0.5) & (share > settings.text_split)
    height = torch.where(is_split, share / 2, share)
    width = torch.where(draw.chance(0.6), 1.0, draw.uniform((0.6, 1)))
    left = (1 - width) * draw.uniform((0, 1))
    low = torch.where(draw.chance(0.2) & ~is_split, draw.uniform((0, 1)) * (1 - height), 1 - height)
    lay(draw.has("text"), stickers.captions, torch.stack([low, left, height, width], dim=1))
    lay(draw.has("text") & is_split, stickers.captions, torch.stack([0 * low, left, height, width], dim=1))

    logos = stickers.logos
    width = draw.strength(settings.logo)
    height = (width * (logos.shape[1] / max(1, logos.shape[2])) * draw.log_uniform(settings.aspect)).clamp(max=0.9)
    in_corner = draw.below(2, 2).float() * 0.9 + 0.05
    where = torch.where(draw.chance(0.7)[:, None], in_corner, draw.uniform((0, 1), 2))
    lay(
        draw.has("logo"), logos,
        torch.stack([where[:, 0] * (1 - height), where[:, 1] * (1 - width), height, width], dim=1), (0.6, 1),
    )  # fmt: skip

    left_over = draw.strength(settings.emoji)
    aspect = draw.log_uniform(settings.aspect).sqrt()
    most = math.ceil(settings.emoji[1] / settings.emoji_side[0] ** 2 / 2)
    for _ in range(most):
        length = draw.uniform(settings.emoji_side).minimum(left_over.clamp(min=0).sqrt())
        has = draw.has("emoji") & (length > 0.05)
        length = length.clamp(min=0.05)
        height, width = (length * aspect).clamp(max=1), (length / aspect).clamp(max=1)
        place = draw.uniform((0, 1), 2) * (1 - torch.stack([height, width], dim=1))
        lay(has, stickers.emoji, torch.cat([place, height[:, None], width[:, None]], dim=1))
        left_over = left_over - length * length
    return laid


def _lay(views: Tensor, has: Tensor, stickers: Tensor, which: Tensor, boxes: Tensor, opacity: Tensor) -> None:
    chosen = _where(has)
    layers = stickers[which[chosen].to(stickers.device)].to(views.device)
    _change(views, chosen, lambda part: overlays.with_stickers(part, layers, boxes[chosen], opacity[chosen]))


def _ground_colours(draw: Draw, settings: ViewSettings) -> Tensor:
    """Mostly black, [B, 3]."""
    return torch.where(draw.chance(settings.black)[:, None], 0.0, draw.uniform((0, 1), 3))


def _joined(first: Tensor, *others: Tensor) -> Tensor:
    """Colour matrices applied one after the other."""
    for other in others:
        first = other @ first
    return first


def _where(mask: Tensor) -> Tensor:
    return mask.nonzero()[:, 0]


def _change(views: Tensor, chosen: Tensor, edit: Callable[[Tensor], Tensor]) -> None:
    """Replace the chosen samples by what an edit makes of them, in place; nothing is called where none is chosen."""
    if len(chosen):
        there = chosen.to(views.device)
        views.index_copy_(0, there, edit(views.index_select(0, there)))

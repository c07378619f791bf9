"""Which picture of a batch is edited how, and how strongly: settings, and the random values drawn by them.

Everything is drawn on the CPU for the whole batch, also for samples that do not use it: what one edit draws does not
depend on which samples have another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

Range = tuple[float, float]


@dataclass(frozen=True)
class ViewSettings:
    """How often and how strongly pictures are edited.

    Ranges are (mild, strong). `*_weight` is how often a kind of edit is chosen, relative to the others.
    """

    # how many
    num_edits: tuple[float, ...] = (0.1, 0.32, 0.3, 0.18, 0.1)  # probabilities of 0, 1, 2 ... edits of a query
    falloff: float = 0.5  # strengths are share ** (1 + falloff * (edits - 1)) of the range: many edits are milder
    # window
    plain_area: Range = (1.0, 0.8)  # of the target's window that a query shows where `crop` was not chosen
    crop_weight: float = 1.6
    crop_area: Range = (0.7, 0.18)  # share of the target's window
    window_aspect: float = 1.2  # sides of a window change by up to this factor against each other
    around: float = 0.2  # probability of a window of the whole picture that contains the target's
    mirrored: float = 0.5  # probability
    # geometry
    rotation_weight: float = 1.0
    rotation_degrees: Range = (4.0, 32.0)
    aspect: Range = (0.56, 1.9)  # width over height that a squashed picture may have had
    perspective_weight: float = 0.8
    perspective: Range = (0.05, 0.36)  # corners move inwards by up to this share of the sides
    reflected: float = 0.3  # probability that corners that come free show the picture reflected
    black: float = 0.7  # probability of black, of bars and of corners that come free; else any colour
    bars_weight: float = 1.0
    bars: Range = (0.1, 0.45)  # share of the new picture, both bars together
    border_weight: float = 1.0
    border: Range = (0.04, 0.25)  # share of the sides at each edge
    # other pictures
    inset_weight: float = 1.6
    inset: Range = (0.75, 0.28)  # of the sides, inside another picture
    blend_weight: float = 0.6
    blend: Range = (0.9, 0.6)  # share of this picture, the rest is another one
    patch_weight: float = 0.4
    patch: Range = (0.15, 0.55)  # of the sides that a part of another picture covers
    host_share: float = 0.3  # of a blend, or of the sides of a patch: the other picture is seen as well from here on
    host_area: Range = (1.0, 0.4)  # window of another picture, share of its area
    # colour
    grayscale_weight: float = 0.8
    contrast_weight: float = 1.3
    contrast: Range = (1.2, 2.7)  # factor, as it is or inverted
    contrast_level: Range = (0.2, 0.8)  # the level that stays the same, of 1
    gamma_weight: float = 0.4
    gamma: Range = (1.2, 2.5)  # exponent, as it is or inverted
    tint_weight: float = 0.6
    tint: Range = (0.05, 0.4)  # gains of the channels change by up to this share
    hue: Range = (5.0, 60.0)  # degrees
    saturation: Range = (1.3, 3.0)  # factor, as it is or inverted
    swap_weight: float = 0.15  # channels exchanged
    negative_weight: float = 0.1
    # sharpness
    blur_weight: float = 1.0
    blur_lines: Range = (64.0, 15.0)  # detail left, in lines
    noise_weight: float = 1.0
    noise: Range = (5.0, 65.0)  # standard deviation, grey levels
    noise_grey: float = 0.3  # probability that all channels have the same noise
    compression_weight: float = 1.3
    # of the quantisation, in grey levels of 255 times 8, at the view's own size; less where the encoded one is smaller
    compression_step: Range = (8.0, 90.0)
    compression_slope: Range = (0.0, 0.35)  # growth of steps with frequency
    compression_lines: tuple[int, ...] = (48, 64, 96, 128)  # sizes of the encoded picture, not above the view's own
    # stickers
    text_weight: float = 1.0
    text: Range = (0.14, 0.6)  # share of the height, lower and upper edge together
    text_split: float = 0.3  # from this share on, half of it may lie at the upper edge
    logo_weight: float = 0.8
    logo: Range = (0.2, 0.7)  # share of the width
    emoji_weight: float = 0.8
    emoji: Range = (0.1, 0.6)  # share of the area, all together
    emoji_side: Range = (0.18, 0.45)  # of one of them
    stickers_first: float = 0.25  # probability that they are on the picture before colours change
    # target
    target_recoloured: float = 0.4  # probability of another contrast and saturation
    target_softened: float = 0.4  # probability of one of gamma, blur, noise and compression
    target_contrast: Range = (1.0, 1.25)  # factor, as it is or inverted
    target_saturation: Range = (1.0, 1.4)  # likewise
    target_gamma: Range = (1.0, 1.3)  # likewise
    target_lines: Range = (120.0, 64.0)
    target_noise: Range = (1.0, 8.0)  # grey levels
    target_step: Range = (4.0, 20.0)  # as `compression_step`


UNEDITED = ViewSettings(
    num_edits=(1.0,),
    plain_area=(1.0, 1.0),
    window_aspect=1.0,
    around=0.0,
    mirrored=0.0,
    target_recoloured=0.0,
    target_softened=0.0,
)  # both views are the target's window


class Draw:
    """Random values of a batch: which sample has which edit, how strong, and other choices."""

    KINDS = (
        "crop", "rotation", "perspective", "bars", "border", "inset", "blend", "patch", "grayscale", "contrast",
        "gamma", "tint", "swap", "negative", "blur", "noise", "compression", "text", "logo", "emoji",
    )  # fmt: skip
    EXCLUDES = (("inset", ("bars", "border", "blend", "patch")), ("border", ("bars",)), ("blend", ("patch",)))

    def __init__(self, num: int, generator: torch.Generator, settings: ViewSettings) -> None:
        self.num = num
        self._generator = generator
        weights = torch.tensor([getattr(settings, f"{kind}_weight") for kind in self.KINDS])
        keys = self.uniform((0, 1), len(self.KINDS)).clamp(min=1e-9).log() / weights.clamp(min=1e-9)
        ranks = keys.argsort(dim=1, descending=True).argsort(dim=1)  # weighted order without replacement
        counts = torch.multinomial(torch.tensor(settings.num_edits), num, replacement=True, generator=generator)
        has = (ranks < counts[:, None]) & (weights > 0)  # [B, kinds]
        self._has = {kind: has[:, i].clone() for i, kind in enumerate(self.KINDS)}
        for kind, others in self.EXCLUDES:
            for other in others:
                self._has[other] &= ~self._has[kind]
        self._power = 1 + settings.falloff * (counts - 1).clamp(min=0)  # [B]

    def having(self, *kinds: str) -> Tensor:
        """Indices of the samples that have any of the edits, int64 [n]."""
        return torch.stack([self._has[kind] for kind in kinds]).any(dim=0).nonzero()[:, 0]

    def has(self, kind: str) -> Tensor:
        return self._has[kind]

    def uniform(self, bounds: Range, *shape: int) -> Tensor:
        """Uniform values [B, *shape]."""
        return bounds[0] + (bounds[1] - bounds[0]) * torch.rand(self.num, *shape, generator=self._generator)

    def log_uniform(self, bounds: Range, *shape: int) -> Tensor:
        return self.uniform((math.log(bounds[0]), math.log(bounds[1])), *shape).exp()

    def chance(self, probability: float) -> Tensor:
        """bool [B]."""
        return torch.rand(self.num, generator=self._generator) < probability

    def sign(self) -> Tensor:
        """-1 or 1, [B]."""
        return 1 - 2 * self.chance(0.5).float()

    def below(self, num: int, *shape: int) -> Tensor:
        """int64 [B, *shape] below a number."""
        return torch.randint(max(1, num), (self.num, *shape), generator=self._generator)

    def strength(self, bounds: Range) -> Tensor:
        """From mild to strong, [B]; evenly on a logarithmic scale where both are positive."""
        share = torch.rand(self.num, generator=self._generator) ** self._power
        mild, strong = bounds
        if mild > 0 and strong > 0:
            return mild * (strong / mild) ** share
        return mild + (strong - mild) * share

    def normal(self, num: int) -> Tensor:
        """Standard normal values [num]."""
        return torch.randn(num, generator=self._generator)

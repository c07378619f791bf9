"""Furniture that different videos of a cell have in common: cards, outros, borders, logos, and shots that stand still.

    weak and strong views of a cell ─► [one design, on some of them] ─► views

Two videos behind one title card, inside one border or under one logo are no copies of each other, nor are two videos of
which one shows a single picture all the time. In the frame-to-frame matrix such pairs have blocks and columns, where a
copy has a diagonal. They stay negatives of each other. Beyond the paper; no design is one of `visil.synth.furniture`,
which the yardstick lays on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from visil.s2vs.backbone.overlays import patterned
from visil.s2vs.frame_transforms import Assets, EmojiOverlay, FrameTransforms, TextOverlay
from visil.s2vs.overlay_assets import augly_assets
from visil.s2vs.video_in_video import resized

Design = Callable[[Tensor], Tensor]  # view uint8 [T, S, S, 3] -> the same

NUM_PATTERNS = 3  # of grounds: one colour, stripes, one colour that shades into another
DARK_SHARE = 0.3  # of the grounds that are nearly black
DARKNESS = 0.06  # of full light, of a ground that is
LEAST_OWN = 2  # frames that a card leaves to a view


@dataclass(frozen=True)
class SharedFurniture:
    """One design a cell.

    Attributes:
        chance: of a view to have it.
        run: what a card or an outro takes of a view, a share of its frames.
        margins: what a border takes of the sides at each edge.
        assets: where fonts and emoji are.
    """

    chance: float = 0.5
    run: tuple[float, float] = (0.1, 0.6)
    margins: tuple[float, float] = (0.05, 0.2)
    assets: Assets = augly_assets

    def draw(self, views: Sequence[Tensor], generator: Generator) -> list[Tensor]:
        """Views uint8 [T, S, S, 3], of any lengths and one side, some of them with the design."""
        kinds = (self._card, self._outro, self._border, self._logo, self._still)
        design = kinds[int(torch.randint(len(kinds), (), generator=generator))](views[0].shape[1], generator)
        has_it = torch.rand(len(views), generator=generator) < self.chance
        return [design(view) if has else view for view, has in zip(views, has_it.tolist(), strict=True)]

    def _card(self, side_px: int, generator: Generator) -> Design:
        """A picture with text before the video, in the place of its first frames."""
        card, run = self._picture(side_px, generator), _uniform(self.run, generator)

        def with_card(view: Tensor) -> Tensor:
            return torch.cat([card.expand(_run(run, view), -1, -1, -1), view[_run(run, view) :]])

        return with_card

    def _outro(self, side_px: int, generator: Generator) -> Design:
        """The same in the place of the last frames."""
        with_card = self._card(side_px, generator)
        return lambda view: with_card(view.flip(0)).flip(0)

    def _border(self, side_px: int, generator: Generator) -> Design:
        """The whole picture, smaller, inside another one."""
        ground = self._picture(side_px, generator)
        top, bottom, left, right = (int(side_px * _uniform(self.margins, generator)) for _ in range(4))

        def bordered(view: Tensor) -> Tensor:
            framed = ground.expand(len(view), -1, -1, -1).clone()
            size = (side_px - top - bottom, side_px - left - right)
            framed[:, top : side_px - bottom, left : side_px - right] = resized(view, size)
            return framed

        return bordered

    def _logo(self, _side_px: int, generator: Generator) -> Design:
        """An emoji and a word in the same place of every frame."""
        overlays = (
            EmojiOverlay(1.0, (0.12, 0.35), assets=self.assets),
            TextOverlay(1.0, (0.06, 0.15), assets=self.assets),
        )
        laid = FrameTransforms(overlays[: 1 + int(torch.randint(2, (), generator=generator))])
        seed = int(torch.randint(2**62, (), generator=generator))
        return lambda view: torch.cat([laid.draw(frame[None], Generator().manual_seed(seed)) for frame in view])

    def _still(self, _side_px: int, generator: Generator) -> Design:
        """One picture of the video itself, all the time."""
        place = float(torch.rand((), generator=generator))
        return lambda view: view[int(place * len(view))].expand_as(view).clone()

    def _picture(self, side_px: int, generator: Generator) -> Tensor:
        """A ground with a few words, uint8 [1, S, S, 3]; some are nearly black, with little on them."""
        colours = torch.rand(1, 2, 3, generator=generator)
        is_dark = float(torch.rand((), generator=generator)) < DARK_SHARE
        kind = torch.randint(NUM_PATTERNS, (1,), generator=generator)
        stripes = 3 + 22 * torch.rand(1, generator=generator)
        ground = patterned(colours * (DARKNESS if is_dark else 1.0), kind, stripes, side_px)
        words = TextOverlay(1.0, (0.06, 0.12) if is_dark else (0.08, 0.25), assets=self.assets)
        lines = FrameTransforms((words,) * (1 if is_dark else 3))
        return lines.draw((ground * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous(), generator)


def _run(share: float, view: Tensor) -> int:
    """Frames of a card before this view; something of its own is left."""
    return min(max(1, round(share * len(view))), max(0, len(view) - LEAST_OWN))


def _uniform(limits: tuple[float, float], generator: Generator) -> float:
    low, high = limits
    return low + (high - low) * float(torch.rand((), generator=generator))

"""What lies over single frames of a strong view: text, emoji, blur; every frame draws for itself, so they flicker.

    frame ─► text (0.3) ─► emoji (0.3) ─► blur (0.5) ─► frame

Source: S2VS (CVPRW 2023), "Frame transformations", and its code; overlays as in Meta's image copy detection. Where the
reference pastes emoji without an alpha band as black squares, they are cut out here (defect 12 of its specification).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from visil.s2vs.overlay_assets import OverlayAssets, augly_assets

if TYPE_CHECKING:
    from PIL import Image, ImageFont

LONGEST_TEXT = 100  # characters that are drawn
Assets = Callable[[], OverlayAssets]


@dataclass(frozen=True)
class _Overlay:
    """What lies over a frame.

    Attributes:
        chance: of a frame.
        size: share of the frame: of its shorter side for a font, of what would fill it for an emoji.
        opacity: of what is laid on.
        assets: where fonts and emoji are.
    """

    chance: float = 0.3
    size: tuple[float, float] = (0.2, 0.5)
    opacity: tuple[float, float] = (0.7, 1.0)
    assets: Assets = augly_assets


class TextOverlay(_Overlay):
    """Random characters of a random font, somewhere."""

    def draw(self, frame: Image.Image, generator: Generator) -> Image.Image:
        from PIL import Image, ImageDraw, ImageFont

        fonts = self.assets().fonts
        file = fonts[_integer(len(fonts), generator)]
        size = int(min(frame.size) * _uniform(self.size, generator))
        code_points = _code_points(file)
        drawn = "".join(chr(code_points[_integer(len(code_points), generator)]) for _ in range(LONGEST_TEXT))
        if size < 1:
            return frame
        # Without shaping: random characters make no words, and the engine that shapes them fails for some fonts.
        font = ImageFont.truetype(str(file), size, layout_engine=ImageFont.Layout.BASIC)
        share = [float(value) for value in torch.rand(3, generator=generator)]
        colour = torch.randint(256, (3,), generator=generator).tolist()
        alpha = int(255 * _uniform(self.opacity, generator) + 0.5)
        try:
            length = _longest(drawn, font, frame.size)
            if length == 0:
                return frame
            text = drawn[: 1 + int(share[0] * length)]
            _, _, width, height = font.getbbox(text)
            place = (share[1] * (frame.width - width), share[2] * (frame.height - height))
            layer = Image.new("RGBA", frame.size, (0, 0, 0, 0))
            ImageDraw.Draw(layer).text(place, text, fill=(*colour, alpha), font=font)
        except OSError:  # of a glyph: published, too, it leaves the frame as it is
            return frame
        return Image.alpha_composite(frame.convert("RGBA"), layer).convert("RGB")


class EmojiOverlay(_Overlay):
    """A random emoji, somewhere."""

    def draw(self, frame: Image.Image, generator: Generator) -> Image.Image:
        from PIL import Image

        files = self.assets().emoji
        with Image.open(files[_integer(len(files), generator)]) as picture:
            emoji = picture.convert("RGBA")
        scale = min(frame.width / emoji.width, frame.height / emoji.height) * _uniform(self.size, generator)
        opacity = _uniform(self.opacity, generator)
        across, down = (float(value) for value in torch.rand(2, generator=generator))
        size = (int(emoji.width * scale), int(emoji.height * scale))
        if min(size) < 1:
            return frame
        emoji = emoji.resize(size, Image.Resampling.BILINEAR)
        place = (int(across * (frame.width - emoji.width)), int(down * (frame.height - emoji.height)))
        result = frame.copy()
        result.paste(emoji, place, mask=emoji.getchannel("A").point(lambda alpha: int(alpha * opacity)))
        return result


@dataclass(frozen=True)
class Blur:
    """Gaussian.

    Attributes:
        chance: of a frame.
        deviation_px: standard deviation.
    """

    chance: float = 0.5
    deviation_px: tuple[float, float] = (0.1, 2.0)

    def draw(self, frame: Image.Image, generator: Generator) -> Image.Image:
        from PIL import ImageFilter

        return frame.filter(ImageFilter.GaussianBlur(_uniform(self.deviation_px, generator)))


@dataclass(frozen=True)
class FrameTransforms:
    """One after the other, each by its own chance.

    Attributes:
        steps: in the order in which they apply.
    """

    steps: tuple[TextOverlay | EmojiOverlay | Blur, ...] = field(
        default_factory=lambda: (TextOverlay(), EmojiOverlay(), Blur())
    )

    def draw(self, frames: Tensor, generator: Generator) -> Tensor:
        """uint8 [T, H, W, 3] -> the same."""
        from PIL import Image

        changed = []
        for frame in frames:
            picture = Image.fromarray(frame.numpy())
            for step in self.steps:
                if float(torch.rand((), generator=generator)) < step.chance:
                    picture = step.draw(picture, generator)
            changed.append(torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(frame.shape))
        return torch.stack(changed)


def _longest(text: str, font: ImageFont.FreeTypeFont, size: tuple[int, int]) -> int:
    """Characters that fit into the frame; 0 also where all would (published)."""
    for count in range(1, LONGEST_TEXT):
        _, _, width, height = font.getbbox(text[:count])
        if width > size[0] or height > size[1]:
            return count - 1
    return 0


@cache
def _code_points(font: Path) -> tuple[int, ...]:
    """Characters that a font has shapes for."""
    from fontTools.ttLib import TTFont

    with TTFont(font, lazy=True) as opened:
        return tuple(sorted(opened.getBestCmap()))


def _integer(end: int, generator: Generator) -> int:
    return int(torch.randint(end, (), generator=generator))


def _uniform(limits: tuple[float, float], generator: Generator) -> float:
    low, high = limits
    return low + (high - low) * float(torch.rand((), generator=generator))

"""What people put on pictures: captions, logos, emoji, drawn from simple shapes and the built-in letters.

    rng, size ─► [sticker: colours and how much they cover] ─► picture_edits puts it on every picture

Everything is drawn four times as large and averaged down, for soft edges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from visil.synth.lettering import lettering, random_words
from visil.synth.video_file import resized

OVERSAMPLING = 4
OPAQUE = 256  # alpha is a whole number of 256ths
INK = (30, 22, 20)


@dataclass(frozen=True)
class Sticker:
    """A small picture with transparency.

    Attributes:
        colours: uint8 RGB [H, W, 3].
        alpha: uint16 [H, W, 1], 0 (nothing) to `OPAQUE`.
    """

    colours: np.ndarray
    alpha: np.ndarray

    def put_on(self, picture: np.ndarray, top: int, left: int) -> None:
        """Change the picture uint8 [H, W, 3] in place; what lies outside of it is cut off."""
        first_row, first_column = max(0, -top), max(0, -left)
        part = picture[max(0, top) : max(0, top + len(self.colours)), max(0, left) : max(0, left + self.width)]
        rows, columns = slice(first_row, first_row + len(part)), slice(first_column, first_column + part.shape[1])
        alpha = self.alpha[rows, columns]
        part[:] = (part * (OPAQUE - alpha) + self.colours[rows, columns] * alpha) >> 8

    @property
    def width(self) -> int:
        return int(self.colours.shape[1])


def caption(rng: np.random.Generator, height: int, width: int, *, num_lines: int) -> Sticker:
    """Lines of made-up words, as letters with an outline or in a plain box."""
    has_box = rng.random() < 0.5
    dark, light = rng.integers(0, 70, 3), rng.integers(190, 256, 3)
    ground, ink = (dark, light) if not has_box or rng.random() < 0.5 else (light, dark)
    line_height = height // num_lines
    letter_px = max(7, round(0.66 * line_height))
    letters = np.zeros((height, width), dtype=bool)
    for line in range(num_lines):
        words = lettering(random_words(rng, max(2, round(0.7 * width / letter_px))), letter_px)
        words = words[:line_height, : width - 2]
        top, left = line * line_height + (line_height - len(words)) // 2, (width - words.shape[1]) // 2
        letters[top : top + len(words), left : left + words.shape[1]] = words
    covered = np.ones_like(letters) if has_box else _grown(letters, max(1, letter_px // 14))
    colours = np.where(letters[..., None], ink, ground).astype(np.uint8)
    return Sticker(colours, (OPAQUE * covered[..., None]).astype(np.uint16))


def logo(rng: np.random.Generator, width: int) -> Sticker:
    """A badge (disc, ring, shield, hexagon or triangle) beside a short word; sometimes half transparent."""
    height = max(6, width // 3)
    canvas = _Canvas(height, width)
    badge, letters, ground = (rng.integers(0, 256, 3) for _ in range(3))
    ground = ground // 3 if letters.mean() > 127 else 170 + ground // 3
    canvas.fill(np.ones(canvas.shape, dtype=bool), ground)
    y, x = canvas.grid(height / 2, height / 2, 0.42 * height)
    shapes = (
        np.hypot(x, y) < 1,
        np.abs(np.hypot(x, y) - 0.75) < 0.25,
        (np.abs(x) < 0.8) & (y > -0.9) & (y < 1 - x * x),
        np.maximum(np.abs(x), 0.5 * np.abs(x) + 0.87 * np.abs(y)) < 0.9,
        (y < 0.8) & (y > 2 * np.abs(x) - 1),
    )
    canvas.fill(shapes[rng.integers(len(shapes))], badge)
    word = lettering(random_words(rng, 2)[:4], canvas.shape[0] // 2)
    left, top = canvas.shape[0], (canvas.shape[0] - len(word)) // 2
    word = word[:, : canvas.shape[1] - left]
    mask = np.zeros(canvas.shape, dtype=bool)
    mask[top : top + len(word), left : left + word.shape[1]] = word
    canvas.fill(mask, letters)
    return canvas.sticker(opacity=float(rng.choice([0.7, 1.0])))


def emoji(rng: np.random.Generator, size: int) -> Sticker:
    """One of a few well-known little pictures: faces, a heart, a star, a flower, a cat."""
    canvas = _Canvas(size, size)
    _EMOJI[rng.integers(len(_EMOJI))](canvas)
    return canvas.sticker()


class _Canvas:
    """An enlarged picture on which shapes lie over one another; x and y run from -1 to 1 downwards."""

    def __init__(self, height: int, width: int) -> None:
        self._size = (height, width)
        self.shape = (height * OVERSAMPLING, width * OVERSAMPLING)
        self._colours = np.zeros((*self.shape, 3), dtype=np.uint8)
        self._covered = np.zeros(self.shape, dtype=bool)

    def grid(self, top: float, left: float, radius: float) -> tuple[np.ndarray, np.ndarray]:
        """y and x of every pixel around a point, in radii."""
        rows, columns = np.mgrid[: self.shape[0], : self.shape[1]] / OVERSAMPLING
        return (rows - top) / radius, (columns - left) / radius

    def whole(self) -> tuple[np.ndarray, np.ndarray]:
        """y and x with the canvas from -1 to 1."""
        height, width = self._size
        return self.grid(height / 2, width / 2, height / 2)

    def fill(self, where: np.ndarray, colour: np.ndarray | tuple[int, int, int]) -> None:
        self._colours[where] = colour
        self._covered |= where

    def sticker(self, opacity: float = 1.0) -> Sticker:
        height, width = self._size
        alpha = resized((255 * self._covered[..., None]).astype(np.uint8).repeat(3, axis=-1), width, height)[..., :1]
        colours = self._colours.copy()
        colours[~self._covered] = self._colours[self._covered].mean(axis=0)  # what the soft edge mixes in
        opaque = np.round(alpha * (opacity * OPAQUE / 255)).astype(np.uint16)
        return Sticker(resized(colours, width, height), opaque)


def _disc(y: np.ndarray, x: np.ndarray, top: float, left: float, radius: float, high: float = 1.0) -> np.ndarray:
    return np.hypot(x - left, (y - top) / high) < radius


def _face(canvas: _Canvas, colour: tuple[int, int, int], mouth_bends: float) -> tuple[np.ndarray, np.ndarray]:
    y, x = canvas.whole()
    canvas.fill(_disc(y, x, 0, 0, 0.98), colour)
    for side in (-0.35, 0.35):
        canvas.fill(_disc(y, x, -0.25, side, 0.13, 1.6), INK)
    middle = 0.45 - 0.25 * mouth_bends
    canvas.fill((np.abs(y - middle - mouth_bends * (0.25 - 0.9 * x * x)) < 0.07) & (np.abs(x) < 0.55), INK)
    return y, x


def _smile(canvas: _Canvas) -> None:
    _face(canvas, (255, 205, 50), 1.0)


def _tears(canvas: _Canvas) -> None:
    y, x = _face(canvas, (255, 205, 50), -0.8)
    for side in (-0.35, 0.35):
        canvas.fill((np.abs(x - side) < 0.13) & (y > 0) & (np.hypot(x, y) < 0.98), (80, 170, 255))


def _angry(canvas: _Canvas) -> None:
    y, x = _face(canvas, (235, 70, 50), -0.8)
    canvas.fill((np.abs(y + 0.75 - 0.6 * np.abs(x)) < 0.06) & (np.abs(np.abs(x) - 0.35) < 0.22), INK)


def _heart(canvas: _Canvas) -> None:
    y, x = canvas.whole()
    a, b = 1.2 * x, -1.2 * y + 0.1
    canvas.fill((a * a + b * b - 1) ** 3 - a * a * b**3 < 0, (225, 30, 60))


def _star(canvas: _Canvas) -> None:
    y, x = canvas.whole()
    turn = (np.arctan2(x, -y) / (2 * np.pi) * 5 + 0.5) % 1 - 0.5  # 0 at a tip
    canvas.fill(np.hypot(x, y) * (0.45 + 1.3 * np.abs(turn)) < 0.45, (255, 180, 30))


def _flower(canvas: _Canvas) -> None:
    y, x = canvas.whole()
    canvas.fill(np.hypot(x, y) < 0.7 + 0.27 * np.cos(6 * np.arctan2(y, x)), (240, 110, 190))
    canvas.fill(_disc(y, x, 0, 0, 0.28), (255, 220, 60))


def _cat(canvas: _Canvas) -> None:
    y, x = canvas.whole()
    canvas.fill((y < 0) & (y > -0.95 + 1.6 * np.abs(np.abs(x) - 0.6)), (120, 110, 120))
    canvas.fill(_disc(y, x, 0.15, 0, 0.92, 0.85), (150, 140, 150))
    for side in (-0.35, 0.35):
        canvas.fill(_disc(y, x, 0, side, 0.16), (190, 230, 80))
        canvas.fill(_disc(y, x, 0, side, 0.06, 2.2), INK)
    canvas.fill((y > 0.28) & (y < 0.45 - np.abs(x)), (240, 140, 150))
    canvas.fill((np.abs(np.abs(y - 0.5) - 0.12 * np.abs(x)) < 0.02) & (np.abs(np.abs(x) - 0.55) < 0.3), INK)


_EMOJI: tuple[Callable[[_Canvas], None], ...] = (_smile, _tears, _angry, _heart, _star, _flower, _cat)


def _grown(mask: np.ndarray, by_px: int) -> np.ndarray:
    """The mask and what lies at most so many pixels beside it, along rows and columns."""
    grown = mask.copy()
    for shift in range(1, by_px + 1):
        for axis in (0, 1):
            for step in (-shift, shift):
                moved = np.roll(mask, step, axis=axis)
                grown |= moved
    return grown

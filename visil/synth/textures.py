"""Procedural still pictures: a texture (a field of numbers) coloured with a palette.

    [texture ─► palette ─► still] ─► scenes

Kinds differ in structure and in the size of their detail, palettes in hue and lightness, so that even a network of
random weights sees that two of them are different.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np

from visil.synth.lettering import lettering, random_words
from visil.synth.video_file import resized

Texture = Callable[[np.random.Generator, int, int], np.ndarray]  # (rng, height, width) -> [H, W] in [0, 1]


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the pixels in units of the height: x [1, W], y [H, 1]."""
    return np.arange(width)[None] / height, np.arange(height)[:, None] / height


def _noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Smooth noise in [0, 1]; its lumps have the size of `cell` heights."""
    x, y = _grid(height, width)
    knots = rng.uniform(0, 1, (int(1 / cell) + 2, int(width / height / cell) + 2))
    tall = np.stack([np.interp(y[:, 0] / cell, np.arange(len(knots)), column) for column in knots.T], axis=1)
    return np.stack([np.interp(x[0] / cell, np.arange(len(row)), row) for row in tall])


def _wave(phase: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(phase)


def clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Soft lumps over large ones."""
    large, medium, small = (_noise(rng, height, width, cell) for cell in (0.45, 0.2, 0.08))
    return 0.55 * large + 0.3 * medium + 0.15 * small


def gravel(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Fine grains with large patches."""
    return 0.7 * _noise(rng, height, width, 0.02) + 0.3 * _noise(rng, height, width, 0.5)


def stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Straight bars at a slant, their edges hard."""
    x, y = _grid(height, width)
    angle = rng.uniform(0.2, np.pi - 0.2)
    across = x * np.cos(angle) + y * np.sin(angle)
    bars = np.floor(across * rng.uniform(5, 9)).astype(int)
    return rng.uniform(0, 1, 97)[bars % 97]


def plaid(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Two sets of soft bars that cross."""
    x, y = _grid(height, width)
    rates = rng.uniform(14, 30, 4)
    return (_wave(x * rates[0]) + _wave(y * rates[1]) + _wave(x * rates[2] * 2) + _wave(y * rates[3] * 2)) / 4


def tiles(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A turned chess board whose squares vary."""
    x, y = _grid(height, width)
    angle, rate = rng.uniform(0.1, 1.4), rng.uniform(5, 8)
    u = np.floor((x * np.cos(angle) + y * np.sin(angle)) * rate).astype(int)
    v = np.floor((y * np.cos(angle) - x * np.sin(angle)) * rate).astype(int)
    return 0.7 * ((u + v) % 2) + 0.3 * rng.uniform(0, 1, (31, 31))[u % 31, v % 31]


def rings(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Ripples around three centres."""
    x, y = _grid(height, width)
    field = np.zeros((height, width))
    for _ in range(3):
        left, top = rng.uniform(0, width / height), rng.uniform(0, 1)
        field += _wave(np.hypot(x - left, y - top) * rng.uniform(40, 70))
    return field / 3


def cells(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A mosaic: every pixel has the value of the nearest of 60 points."""
    x, y = _grid(height, width)
    nearest = np.full((height, width), np.inf)
    field = np.zeros((height, width))
    for left, top, value in zip(
        rng.uniform(0, width / height, 60), rng.uniform(0, 1, 60), rng.uniform(0, 1, 60), strict=True
    ):
        distance = (x - left) ** 2 + (y - top) ** 2
        field[distance < nearest] = value
        nearest = np.minimum(nearest, distance)
    return field


def bricks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A wall: rows of bricks of different shades, with joints."""
    x, y = _grid(height, width)
    row_height, length = rng.uniform(0.05, 0.08), rng.uniform(0.16, 0.26)
    row = np.floor(y / row_height).astype(int)
    along = x / length + 0.5 * (row % 2)
    shade = 0.35 + 0.65 * rng.uniform(0, 1, (41, 41))[row % 41, np.floor(along).astype(int) % 41]
    joint = (y / row_height % 1 < 0.12) | (along % 1 < 0.05)
    return np.where(joint, 0.0, shade)


def skyline(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Towers with lit windows before a sky."""
    field = 0.75 + 0.25 * np.linspace(1, 0, height)[:, None].repeat(width, axis=1)
    left = 0
    while left < width:
        tower = int(height * rng.uniform(0.1, 0.25))
        top = int(height * rng.uniform(0.15, 0.75))
        wall = np.full((height - top, tower), rng.uniform(0.05, 0.3))
        pane = max(2, height // 40)
        panes = rng.uniform(0, 1, (wall.shape[0] // pane + 1, tower // pane + 1)) < 0.3
        lit = panes.repeat(pane, axis=0).repeat(pane, axis=1)[: wall.shape[0], :tower]
        between = (np.arange(wall.shape[0]) // pane % 2)[:, None] * (np.arange(tower) // pane % 2)[None]
        wall[lit & between.astype(bool)] = 0.9
        field[top:, left : left + tower] = wall[:, : width - left]
        left += tower
    return field


def dots(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Discs in a staggered grid, of different shades, on a plain ground."""
    x, y = _grid(height, width)
    pitch = rng.uniform(0.1, 0.16)
    row = np.floor(y / pitch).astype(int)
    along = x / pitch + 0.5 * (row % 2)
    inside = np.hypot(along % 1 - 0.5, y / pitch % 1 - 0.5) < rng.uniform(0.25, 0.4)
    shade = 0.5 + 0.5 * rng.uniform(0, 1, (41, 41))[row % 41, np.floor(along).astype(int) % 41]
    return np.where(inside, shade, 0.1)


def marble(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Veins: waves bent by noise."""
    x, y = _grid(height, width)
    bend = 9 * _noise(rng, height, width, 0.3) + 4 * _noise(rng, height, width, 0.1)
    return _wave(rng.uniform(8, 14) * x + rng.uniform(3, 8) * y + bend)


def page(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Lines of letters on paper."""
    field = 0.9 + 0.1 * _noise(rng, height, width, 0.4)
    letter_px = max(7, int(height * rng.uniform(0.045, 0.07)))
    for top in range(letter_px // 2, height - 2 * letter_px, 2 * letter_px):
        line = lettering(random_words(rng, width // letter_px), letter_px)[:, : width - letter_px]
        field[top : top + line.shape[0], letter_px : letter_px + line.shape[1]][line] = rng.uniform(0, 0.3)
    return field


def spokes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Rays that turn into spirals around one centre."""
    x, y = _grid(height, width)
    left, top = rng.uniform(0.3, 0.7) * width / height, rng.uniform(0.3, 0.7)
    angle, radius = np.arctan2(y - top, x - left), np.hypot(x - left, y - top)
    turn = angle * rng.integers(7, 13) + radius * rng.uniform(4, 16)
    return np.clip(0.5 + 2 * np.sin(turn), 0, 1)


TEXTURES: dict[str, Texture] = {
    texture.__name__: texture
    for texture in (
        clouds, gravel, stripes, plaid, tiles, rings, cells, bricks, skyline, dots, marble, page, spokes
    )
}  # fmt: skip


def draw_palette(rng: np.random.Generator, hue: float) -> np.ndarray:
    """Four colours around a hue (a share of the colour circle), dark to light: uint8 [4, 3]."""
    saturation = rng.uniform(0.45, 0.95)
    second = hue + rng.choice([-0.2, -0.08, 0.08, 0.2, 0.45])
    lightest = rng.uniform(0.75, 1.0)
    colours = (
        (hue, saturation, 0.12 + 0.15 * rng.random()),
        (hue + 0.03, saturation, 0.5 * lightest),
        (second, 0.8 * saturation, 0.75 * lightest),
        (second, 0.4 * saturation, lightest),
    )
    rgb = np.array([colorsys.hsv_to_rgb(h % 1, s, v) for h, s, v in colours])
    return (255 * rgb).astype(np.uint8)


def draw_still(rng: np.random.Generator, texture: str, palette: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """A coloured picture of a texture, with a slow change of light and grain; size is (width, height)."""
    width, height = size_px
    field = TEXTURES[texture](rng, height, width)
    steps = np.linspace(0, 1, len(palette))
    picture = np.stack([np.interp(field, steps, channel) for channel in palette.T], axis=-1)  # [H, W, 3]
    light = 0.7 + 0.45 * _noise(rng, height, width, 0.7)
    grain = rng.normal(0, 4, (height, width))
    return np.clip(picture * light[..., None] + grain[..., None], 0, 255).astype(np.uint8)


def procedural_pictures(rng: np.random.Generator, *, count: int, size_px: tuple[int, int]) -> list[np.ndarray]:
    """Patchworks of one to three stills of all kinds and colours: what a network of random weights is whitened on."""

    def any_still() -> np.ndarray:
        return draw_still(rng, str(rng.choice(list(TEXTURES))), draw_palette(rng, rng.random()), size_px)

    pictures = []
    for _ in range(count):
        picture = any_still()
        for _ in range(rng.integers(0, 3)):
            height, width = (max(8, int(side * rng.uniform(0.2, 0.7))) for side in picture.shape[:2])
            top = int(rng.integers(picture.shape[0] - height + 1))
            left = int(rng.integers(picture.shape[1] - width + 1))
            picture[top : top + height, left : left + width] = resized(any_still(), width, height)
        pictures.append(picture)
    return pictures

"""Made-up scenes: textured grounds under a moving camera, objects that move over them, cuts between shots.

    textures ─► [scene: shots of ground + objects + camera] ─► pictures ─► write_video

A scene is its texture, palette and seed; its look-alike keeps the first two and has another seed, hence
another layout and motion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from visil.synth.camera import moving_crop
from visil.synth.textures import TEXTURES, draw_palette, draw_still

SHOT_S = (2.0, 4.0)  # length of a shot between two cuts
GROUND_OVER_PICTURE = 1.6  # the camera moves over a ground of this many picture sides
OBJECTS_PER_SHOT = (2, 5)
OBJECT_OVER_HEIGHT = (0.15, 0.4)


@dataclass(frozen=True)
class Scene:
    """What decides every pixel of a made-up scene.

    Attributes:
        texture: kind of ground, a key of `TEXTURES`.
        palette: colours of ground and objects, uint8 [4, 3].
        seed: layout and motion.
    """

    texture: str
    palette: np.ndarray = field(repr=False)
    seed: int


def distinct_scenes(rng: np.random.Generator, count: int) -> list[Scene]:
    """Clearly different scenes: no texture twice (while they last), hues spread over the colour circle."""
    textures = [str(name) for name in rng.permutation(list(TEXTURES))]
    hues = rng.permutation((np.arange(count) + rng.uniform(0, 0.6, count)) / count)
    return [
        Scene(textures[i % len(textures)], draw_palette(rng, hue), int(rng.integers(2**63)))
        for i, hue in enumerate(hues)
    ]


def look_alike(scene: Scene, rng: np.random.Generator) -> Scene:
    """An unrelated scene of the same kind and colours: other layout, other objects, other motion."""
    return replace(scene, seed=int(rng.integers(2**63)))


def scene_pictures(
    scene: Scene, *, duration_s: float, fps: Fraction | float, size_px: tuple[int, int]
) -> Iterator[np.ndarray]:
    """The pictures of a scene, always the same ones, uint8 [H, W, 3]; size is (width, height)."""
    rng = np.random.default_rng(scene.seed)
    left = round(duration_s * fps)
    while left > 0:
        wanted = round(rng.uniform(*SHOT_S) * fps)
        num_pictures = left if left - wanted < SHOT_S[0] * fps else wanted  # the last shot is no flash
        yield from _shot(scene, rng, num_pictures, size_px)
        left -= num_pictures


def _shot(scene: Scene, rng: np.random.Generator, num_pictures: int, size_px: tuple[int, int]) -> Iterator[np.ndarray]:
    ground_size = (round(size_px[0] * GROUND_OVER_PICTURE), round(size_px[1] * GROUND_OVER_PICTURE))
    ground = draw_still(rng, scene.texture, scene.palette, ground_size)
    movers = [_Mover.draw(rng, scene, size_px) for _ in range(rng.integers(*OBJECTS_PER_SHOT))]
    for k, picture in enumerate(moving_crop(ground, rng, num_pictures=num_pictures, size_px=size_px)):
        for mover in movers:
            mover.draw_on(picture, k / max(1, num_pictures - 1))
        yield picture


@dataclass(frozen=True)
class _Mover:
    """An object that swings over the picture once a shot, partly out of it."""

    sprite: np.ndarray = field(repr=False)  # uint8 [S, S, 3]
    mask: np.ndarray = field(repr=False)  # bool [S, S]
    centre: np.ndarray  # (y, x) in pixels
    swing: np.ndarray
    phase: np.ndarray
    turns: np.ndarray

    @staticmethod
    def draw(rng: np.random.Generator, scene: Scene, size_px: tuple[int, int]) -> _Mover:
        width, height = size_px
        side = round(height * rng.uniform(*OBJECT_OVER_HEIGHT))
        texture = str(rng.choice(list(TEXTURES)))
        colours = 255 - scene.palette if rng.random() < 0.5 else scene.palette[::-1]
        y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
        shapes = (
            np.hypot(x, y) < 1,
            np.abs(x) + np.abs(y) < 1,
            np.maximum(np.abs(x), np.abs(y)) < 0.85,
            (np.hypot(x, y) < 1) & (np.hypot(x, y) > 0.5),
            np.minimum(np.abs(x), np.abs(y)) < 0.35,
            2 * np.abs(x) - 1 < y,
        )
        return _Mover(
            sprite=draw_still(rng, texture, colours, (side, side)),
            mask=shapes[rng.integers(len(shapes))],
            centre=rng.uniform(0.2, 0.8, 2) * (height, width),
            swing=rng.uniform(0.1, 0.5, 2) * (height, width),
            phase=rng.uniform(0, 2 * np.pi, 2),
            turns=rng.uniform(0.3, 1.2, 2),
        )

    def draw_on(self, picture: np.ndarray, share: float) -> None:
        """Paint the object where it is after this share of the shot; what lies outside is cut off."""
        side = len(self.mask)
        place = self.centre + self.swing * np.sin(self.phase + 2 * np.pi * self.turns * share) - side / 2
        top, left = place.round().astype(int)
        rows = slice(max(0, -top), max(0, min(side, picture.shape[0] - top)))
        columns = slice(max(0, -left), max(0, min(side, picture.shape[1] - left)))
        target = picture[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)]
        shown = self.mask[rows, columns]
        target[shown] = self.sprite[rows, columns][shown]

"""A camera that moves over a still picture: scenes, distractors and the stills of a montage.

still picture ─► [moving_crop] ─► pictures
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from visil.synth.video_file import resized

ZOOM_RANGE = (0.55, 0.95)  # side of the window over the largest one that fits


def moving_crop(
    still: np.ndarray, rng: np.random.Generator, *, num_pictures: int, size_px: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Pan and zoom over a still: a window of the wanted aspect glides between two random places and sizes.

    Args:
        still: uint8 RGB [H, W, 3].
        size_px: (width, height) of the pictures.
    """
    width, height = size_px
    largest = min(still.shape[1] / width, still.shape[0] / height)
    sides = rng.uniform(*ZOOM_RANGE, 2) * largest  # still pixels per picture pixel, at the start and the end
    places = rng.uniform(0, 1, (2, 2))  # (top, left) as shares of the free way, at the start and the end
    for share in np.linspace(0, 1, num_pictures):
        eased = share * share * (3 - 2 * share)
        scale = sides[0] + eased * (sides[1] - sides[0])
        rows, columns = max(1, int(height * scale)), max(1, int(width * scale))
        place = places[0] + eased * (places[1] - places[0])
        top, left = (place * (still.shape[0] - rows, still.shape[1] - columns)).round().astype(int)
        yield resized(still[top : top + rows, left : left + columns], width, height)


def fitted(
    picture: np.ndarray, size_px: tuple[int, int], *, ground: tuple[int, int, int] | np.ndarray = (0, 0, 0)
) -> np.ndarray:
    """The whole picture, as large as it fits, in the middle of a plain one of this (width, height)."""
    width, height = size_px
    scale = min(width / picture.shape[1], height / picture.shape[0])
    inner = resized(picture, round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    if inner.shape[:2] == (height, width):
        return inner
    top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    canvas = np.empty((height, width, 3), dtype=np.uint8)
    canvas[:] = ground
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return canvas

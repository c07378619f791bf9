"""Frames without content: one colour, or colour bars.

    Frames ─► [which frames show something] ─► the others are left out before encoding
              this module

Every black frame matches every other black frame, so shared leads and fades are the classic false alarm. The rule is
stated here, on the uint8 picture, and is deliberately narrow: a night scene, a slide or a title card has content.
"""

from __future__ import annotations

import numpy as np

FLAT_LEVELS = 10  # grey levels between the 0.5 % and 99.5 % quantiles of every channel: black with codec noise
EDGE_LEVELS = 12  # a step of as many grey levels between neighbours is an edge
MIN_BARS = 5  # fewer vertical stripes are a scene, not a test pattern
BAR_BANDS = 4  # SMPTE bars have three bands of stripes, hence at most two horizontal borders (each two rows wide)


def has_content(images: np.ndarray) -> np.ndarray:
    """Which pictures show something.

    Args:
        images: uint8 [T, H, W, 3].

    Returns:
        bool [T]; False for a picture of one colour (in every channel, 99 % of the pixels within FLAT_LEVELS) and for
        colour bars (straight vertical stripes in at most three bands).
    """
    return np.array([not (_is_flat(image) or _is_colour_bars(image)) for image in images], dtype=bool)


def _is_flat(image: np.ndarray) -> bool:
    pixels = image[::2, ::2].reshape(-1, 3)  # every other pixel each way tells as much
    low, high = np.quantile(pixels, (0.005, 0.995), axis=0, method="nearest")
    return bool((high.astype(int) - low < FLAT_LEVELS).all())


def _is_colour_bars(image: np.ndarray) -> bool:
    """Rows equal to the row above nearly everywhere, and a few sharp vertical borders."""
    height, width = image.shape[:2]
    if height < 16 or width < 16:
        return False
    pixels = image.astype(np.int16)
    row_steps = np.abs(np.diff(pixels, axis=0)).max(axis=2)  # [H-1, W]
    changed_rows = (row_steps > EDGE_LEVELS).mean(axis=1) > 0.02
    if changed_rows.sum() > 2 * BAR_BANDS or (row_steps[~changed_rows] > EDGE_LEVELS).mean() > 0.002:
        return False
    column_steps = np.abs(np.diff(pixels, axis=1)).max(axis=2)  # [H, W-1]
    borders = (column_steps > EDGE_LEVELS).mean(axis=0) > 0.3  # a border runs along most of a band
    stripes = 1 + int((borders[1:] & ~borders[:-1]).sum()) + int(borders[0])
    between = (column_steps[:, ~borders] > EDGE_LEVELS).mean() if (~borders).any() else 1.0
    return stripes >= MIN_BARS and borders.mean() < 0.25 and between < 0.05

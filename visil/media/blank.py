"""Frames without content: one colour, or colour bars.

    Frames ─► [which frames show something] ─► the others are left out before encoding
              this module

Every black frame matches every other black frame, so shared leads and fades are the classic false alarm. The rules
are stated here, on the uint8 picture, and are deliberately narrow: a night scene, a slide or a title card has content.
A bundle names its rule: `flat`, the older one, takes everything for noise that covers less than 1 % of the pixels;
`flat-spots` looks there for lamps in the dark or a line of text. A logo on black is such a spot.
"""

from __future__ import annotations

import numpy as np

FLAT_LEVELS = 10  # grey levels between the 0.5 % and 99.5 % quantiles of every channel: black with codec noise
EDGE_LEVELS = 12  # a step of as many grey levels between neighbours is an edge
BARS = range(5, 17)  # fewer vertical stripes are a flag, more are a fence
MOST_BANDS = 3  # SMPTE bars have three bands of stripes
BLUR_PX = 4  # small pictures are scaled up: an edge of theirs is spread over as many pixels on either side
QUIET = 0.002  # share of edge pixels away from the borders; none of 13,000 photographs passes
SPOT_SHARE = 0.02  # side of a spot to side of the picture; 3 of 160 pixels
SPOT_LEVELS = 20  # by which the mean over a spot differs from the picture around it; codec noise stays below
MOST_LEVELS = 64  # a pixel that differs by more counts as this: one stuck pixel is no spot, three are a letter's stroke


def has_content(images: np.ndarray, rule: str) -> np.ndarray:
    """Which pictures show something.

    Args:
        images: uint8 [T, H, W, 3].
        rule: `Preprocessing.blank`.

    Returns:
        bool [T]; all True for the rule `keep`. Else False for a picture of one colour (in every channel, 99 % of the
        pixels within FLAT_LEVELS; with `flat-spots` also without a spot) and for colour bars (straight vertical
        stripes in at most three bands).
    """
    if rule == "keep":
        return np.ones(len(images), dtype=bool)
    spots_count = rule == "flat-spots"
    return np.array([_shows(image, spots_count=spots_count) for image in images], dtype=bool)


def _shows(image: np.ndarray, *, spots_count: bool) -> bool:
    if _is_flat(image):
        return spots_count and _has_spot(image)
    return not _is_colour_bars(image)


def _is_flat(image: np.ndarray) -> bool:
    pixels = image[::2, ::2].reshape(-1, 3)  # every other pixel each way tells as much
    low, high = np.quantile(pixels, (0.005, 0.995), axis=0, method="nearest")
    return bool((high.astype(int) - low < FLAT_LEVELS).all())


def _has_spot(image: np.ndarray) -> bool:
    """Whether the mean over some small square, in some channel, differs from the median of the picture."""
    side = max(2, round(SPOT_SHARE * min(image.shape[:2])))
    if min(image.shape[:2]) <= side:
        return False
    pixels = image.astype(np.int32)
    differences = np.clip(pixels - np.median(pixels, axis=(0, 1)).astype(np.int32), -MOST_LEVELS, MOST_LEVELS)
    sums = np.pad(differences, ((1, 0), (1, 0), (0, 0))).cumsum(axis=0).cumsum(axis=1)  # [H+1, W+1, 3]
    squares = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return bool(np.abs(squares).max() >= SPOT_LEVELS * side**2)


def _is_colour_bars(image: np.ndarray) -> bool:
    """A few straight vertical borders, at most two horizontal ones, and nothing between them."""
    if min(image.shape[:2]) < 16:
        return False
    row_steps = _edges(image[1:], image[:-1])  # [H-1, W]
    horizontal = row_steps.mean(axis=1) > 0.1  # the border of two bands crosses much of the picture
    between_rows = ~_widened(horizontal)
    if _num_runs(horizontal) >= MOST_BANDS or not _is_quiet(row_steps[between_rows]):
        return False
    column_steps = _edges(image[:, 1:], image[:, :-1])  # [H, W-1]
    vertical = column_steps.mean(axis=0) > 0.2  # a border runs along most of a band
    return _num_runs(vertical) + 1 in BARS and _is_quiet(column_steps[:, ~_widened(vertical)])


def _edges(pixels: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Where any channel makes a step; bytes throughout, twelve times as fast as a difference with signs."""
    is_step = np.maximum(pixels, neighbours) - np.minimum(pixels, neighbours) > EDGE_LEVELS
    return is_step[..., 0] | is_step[..., 1] | is_step[..., 2]


def _num_runs(flags: np.ndarray) -> int:
    """Runs of True; gaps that blur can leave inside a border do not count."""
    places = np.flatnonzero(flags)
    return int((np.diff(places) > BLUR_PX).sum()) + min(1, len(places))


def _widened(flags: np.ndarray) -> np.ndarray:
    return np.convolve(flags, np.ones(2 * BLUR_PX + 1), mode="same") > 0


def _is_quiet(steps: np.ndarray) -> bool:
    return bool(steps.size and steps.mean() < QUIET)

"""What unrelated videos share: leads, title cards, outros, channel logos, borders, letterbox bars.

    pictures of any video ─► [furnish: the same furniture around them] ─► video_file.write_video

Furniture is its kind and its seed: two videos furnished alike show the very same seconds or the same frame around
their pictures, and nothing else in common. That makes them negatives which users have, and no copies: what relates
two of them is the videos inside alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from visil.errors import DataError
from visil.synth.camera import fitted
from visil.synth.lettering import GLYPH_ROWS, lettering, random_words
from visil.synth.picture_edits import PictureEdit
from visil.synth.stickers import logo
from visil.synth.textures import TEXTURES, draw_palette, draw_still
from visil.synth.video_file import resized

FURNITURE_VERSION = 1  # raised when the same arguments give other bytes: what was made earlier is made anew
CARD_SIZE_PX = (640, 360)  # cards are drawn in this size, whatever the video's
BAR_COLOURS = ((1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1))  # as in EBU and SMPTE bars

Clip = Callable[[np.random.Generator, int, tuple[int, int]], Iterator[np.ndarray]]


def black(_rng: np.random.Generator, num_pictures: int, size_px: tuple[int, int]) -> Iterator[np.ndarray]:
    """Nothing yet."""
    return _still(np.zeros((size_px[1], size_px[0], 3), dtype=np.uint8), num_pictures)


def white(_rng: np.random.Generator, num_pictures: int, size_px: tuple[int, int]) -> Iterator[np.ndarray]:
    """A plain white picture."""
    return _still(np.full((size_px[1], size_px[0], 3), 255, dtype=np.uint8), num_pictures)


def colour_bars(rng: np.random.Generator, num_pictures: int, size_px: tuple[int, int]) -> Iterator[np.ndarray]:
    """Seven bars from white to blue at 75 or 100 %, with or without the strips below that SMPTE bars have."""
    width, height = size_px
    level = int(rng.choice([191, 255]))
    has_strips = rng.random() < 0.5
    bars = np.array(BAR_COLOURS, dtype=np.uint8) * level  # [7, 3]
    picture = np.empty((height, width, 3), dtype=np.uint8)
    picture[:] = bars[np.arange(width) * len(bars) // width]
    if has_strips:
        backwards = np.where(np.arange(len(bars))[:, None] % 2, 0, bars[::-1])
        picture[height * 2 // 3 :] = backwards[np.arange(width) * len(bars) // width]
        greys = np.array([0, 255, 0, 64, 0, 128, 0], dtype=np.uint8)
        picture[height * 3 // 4 :] = greys[np.arange(width) * len(greys) // width][:, None]
    return _still(picture, num_pictures)


def title_card(rng: np.random.Generator, num_pictures: int, size_px: tuple[int, int]) -> Iterator[np.ndarray]:
    """Two lines of made-up words in a box on a patterned ground."""
    card = _ground(rng)
    height, width = card.shape[:2]
    box, ink = (rng.integers(0, 60, 3), rng.integers(200, 256, 3))[:: 1 if rng.random() < 0.5 else -1]
    card[height // 4 : height * 3 // 4, width // 10 : width * 9 // 10] = box
    _write_line(card, random_words(rng, 9), ink, top=height // 3, line_px=height // 7)
    _write_line(card, random_words(rng, 16), ink, top=height * 4 // 7, line_px=height // 14)
    return _still(_as_card(card, size_px), num_pictures)


def outro(rng: np.random.Generator, num_pictures: int, size_px: tuple[int, int]) -> Iterator[np.ndarray]:
    """A large logo glides in over a patterned ground, beside two empty frames and a line of words."""
    card = _ground(rng)
    height, width = card.shape[:2]
    badge = logo(rng, width // 3)
    ink = rng.integers(200, 256, 3)
    for top in (height // 8, height * 4 // 9):
        card[top : top + height // 4, width * 3 // 5 : width * 9 // 10] = ink
        card[top + 4 : top + height // 4 - 4, width * 3 // 5 + 4 : width * 9 // 10 - 4] = rng.integers(0, 80, 3)
    card[height * 3 // 4 : height * 19 // 20] = rng.integers(0, 80, 3)
    _write_line(card, random_words(rng, 12), ink, top=height * 4 // 5, line_px=height // 10)
    for share in np.linspace(0, 1, num_pictures):
        picture = card.copy()
        glided = min(1.0, 2 * share) ** 0.5  # it stands still in the second half
        badge.put_on(picture, height // 3, round(glided * (width / 8 + badge.width)) - badge.width)
        yield _as_card(picture, size_px)


def channel_logo(rng: np.random.Generator, size_px: tuple[int, int], strength: float) -> PictureEdit:
    """A logo in a corner."""
    width, height = size_px
    is_low, is_right = rng.random(2) < 0.5
    badge = logo(rng, round(width * strength))
    margin = min(size_px) // 20
    top = height - margin - len(badge.colours) if is_low else margin
    left = width - margin - badge.width if is_right else margin

    def with_logo(picture: np.ndarray) -> np.ndarray:
        picture = picture.copy()
        badge.put_on(picture, top, left)
        return picture

    return with_logo


def border(rng: np.random.Generator, size_px: tuple[int, int], strength: float) -> PictureEdit:
    """The whole picture, smaller, inside a patterned frame."""
    width, height = size_px
    frame = resized(_ground(rng), width, height)
    across, down = round(width * strength), round(height * strength)

    def framed(picture: np.ndarray) -> np.ndarray:
        changed = frame.copy()
        changed[down : height - down, across : width - across] = resized(picture, width - 2 * across, height - 2 * down)
        return changed

    return framed


def letterbox(_rng: np.random.Generator, size_px: tuple[int, int], strength: float) -> PictureEdit:
    """Black bars over the upper and the lower edge."""
    height = size_px[1]
    bar = round(height * strength)

    def with_bars(picture: np.ndarray) -> np.ndarray:
        changed = np.zeros_like(picture)
        changed[bar : height - bar] = picture[bar : height - bar]
        return changed

    return with_bars


@dataclass(frozen=True)
class Furniture:
    """One kind of furniture: either a clip before or after the video, or an edit of all its pictures.

    Attributes:
        meaning: what is seen; says the unit of `strength`.
        strength: range of how much of it, drawn with the design.
        clip: makes the pictures before (`is_after`: after) the video.
        edit: makes the edit of the pictures of one video.
    """

    meaning: str
    strength: tuple[float, float]
    clip: Clip | None = None
    edit: Callable[[np.random.Generator, tuple[int, int], float], PictureEdit] | None = None
    is_after: bool = False


FURNITURE: dict[str, Furniture] = {
    "black_lead": Furniture("black before the video, in seconds", (2.0, 3.0), black),
    "white_lead": Furniture("white before the video, in seconds", (2.0, 3.0), white),
    "colour_bars": Furniture("test bars before the video, in seconds", (2.0, 3.0), colour_bars),
    "title_card": Furniture("a card with a title before the video, in seconds", (2.5, 4.0), title_card),
    "outro": Furniture("a card with a moving logo after the video, in seconds", (2.0, 3.0), outro, is_after=True),
    "channel_logo": Furniture("a logo in a corner, share of the width", (0.10, 0.15), edit=channel_logo),
    "border": Furniture("a patterned frame, share of the sides at each edge", (0.10, 0.15), edit=border),
    "letterbox": Furniture("black bars, share of the height at each edge", (0.10, 0.15), edit=letterbox),
}


def furnish(pictures: Iterable[np.ndarray], kind: str, seed: int, *, fps: float) -> Iterator[np.ndarray]:
    """The pictures of a video with furniture around them: the same for a kind and a seed, whatever the pictures.

    Args:
        pictures: of one size, uint8 RGB [H, W, 3]; at least one.
        kind: a key of `FURNITURE`.

    Raises:
        DataError: the kind is unknown.
    """
    furniture, rng, strength = _drawn(kind, seed)
    stream = iter(pictures)
    first = next(stream, None)
    if first is None:
        raise ValueError(f"no pictures to put a {kind} around")
    size_px = (first.shape[1], first.shape[0])
    pictures = chain([first], stream)
    if furniture.edit is not None:
        yield from map(furniture.edit(rng, size_px, strength), pictures)
    if furniture.clip is not None:
        clip = furniture.clip(rng, round(strength * fps), size_px)
        yield from chain(pictures, clip) if furniture.is_after else chain(clip, pictures)


def _drawn(kind: str, seed: int) -> tuple[Furniture, np.random.Generator, float]:
    """The kind, the generator of its design, and how much of it."""
    if kind not in FURNITURE:
        raise DataError(f"there is no furniture {kind!r}, use one of {', '.join(FURNITURE)}")
    rng = np.random.default_rng(seed)
    return FURNITURE[kind], rng, float(rng.uniform(*FURNITURE[kind].strength))


def _still(picture: np.ndarray, num_pictures: int) -> Iterator[np.ndarray]:
    return (picture for _ in range(num_pictures))


def _ground(rng: np.random.Generator) -> np.ndarray:
    """A pattern of the size of a card."""
    return draw_still(rng, str(rng.choice(list(TEXTURES))), draw_palette(rng, rng.random()), CARD_SIZE_PX)


def _as_card(card: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """The whole card in the middle, around it the colour of its edge."""
    return fitted(card, size_px, ground=np.median(card[0], axis=0).astype(np.uint8))


def _write_line(picture: np.ndarray, words: str, ink: np.ndarray, *, top: int, line_px: int) -> None:
    """Write a centred line into the picture, in smaller letters where it is longer than three quarters of it."""
    letters = lettering(words, line_px)
    longest = picture.shape[1] * 3 // 4
    if letters.shape[1] > longest:
        letters = lettering(words, line_px * longest // letters.shape[1] - GLYPH_ROWS // 2)
    left = (picture.shape[1] - letters.shape[1]) // 2
    picture[top : top + len(letters), left : left + letters.shape[1]][letters] = ink

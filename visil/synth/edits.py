"""Edited copies of a video, each with its truth.

    file ─► pictures_at ─► [time: part, speed ─► picture: crop, boxes ...] ─► write_video ─► EditTruth

`FAMILIES` is the one table of what can be done to a video. Random choices (where to crop, which part, what
text) are drawn once a video, so that an edit is steady over its pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np

from visil.synth.camera import moving_crop
from visil.synth.lettering import lettering, random_words
from visil.synth.truth import EditTruth
from visil.synth.video_file import pictures_at, resized, video_facts, write_video

PictureEdit = Callable[[np.ndarray], np.ndarray]
SOURCE_SHORT_SIDE_PX = 360  # larger sources are reduced to it first
LOW_BITRATE_BPS = 60_000
LOGO_WIDTH = 0.3  # share of the picture's width
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def crop(rng: np.random.Generator, height: int, width: int, kept_area: float) -> PictureEdit:
    """Keep a window of the same aspect with this share of the area, somewhere in the picture."""
    rows, columns = (int(side * kept_area**0.5) for side in (height, width))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return lambda picture: picture[top : top + rows, left : left + columns]


def mirror(_rng: np.random.Generator, _height: int, _width: int, _strength: float) -> PictureEdit:
    """Left becomes right."""
    return lambda picture: picture[:, ::-1]


def letterbox(_rng: np.random.Generator, height: int, _width: int, bars: float) -> PictureEdit:
    """Black bars above and below fill this share of the new picture; the old one lies whole between them."""
    bar = round(height * bars / (1 - bars) / 2)
    return lambda picture: np.pad(picture, ((bar, bar), (0, 0), (0, 0)))


def grayscale(_rng: np.random.Generator, _height: int, _width: int, _strength: float) -> PictureEdit:
    """Lightness only."""
    return lambda picture: (picture @ LUMA).round().astype(np.uint8)[..., None].repeat(3, axis=-1)


def blur(_rng: np.random.Generator, height: int, width: int, lines: float) -> PictureEdit:
    """Detail finer than this many lines on the short side is averaged away; the size stays."""
    scale = lines / min(height, width)
    coarse = (max(2, round(width * scale)), max(2, round(height * scale)))
    return lambda picture: resized(resized(picture, *coarse), width, height)


def logo(rng: np.random.Generator, height: int, width: int, box_width: float) -> PictureEdit:
    """An opaque box with a word, this share of the width, in one of the corners."""
    box = _text_box(rng, round(width * box_width / 3), round(width * box_width), num_letters=3)
    margin = min(height, width) // 20
    top = int(rng.choice([margin, height - margin - len(box)]))
    left = int(rng.choice([margin, width - margin - box.shape[1]]))
    return lambda picture: _pasted(picture, box, top, left)


def boxes(rng: np.random.Generator, height: int, width: int, caption_height: float) -> PictureEdit:
    """A caption over this share of the height, at the lower edge, and a logo box above it."""
    caption = _text_box(rng, round(height * caption_height), width, num_letters=16)
    top = height - len(caption)
    with_logo = logo(rng, top, width, LOGO_WIDTH)
    return lambda picture: _pasted(with_logo(picture), caption, top, 0)


def shrink(_rng: np.random.Generator, height: int, width: int, lines: float) -> PictureEdit:
    """Reduce to this many lines (the short side)."""
    scale = min(1.0, lines / min(height, width))
    return lambda picture: resized(picture, round(width * scale), round(height * scale))


def unchanged(_rng: np.random.Generator, _height: int, _width: int, _strength: float) -> PictureEdit:
    """The pictures stay as they are: what changes is the time or the encoding."""
    return lambda picture: picture


@dataclass(frozen=True)
class Family:
    """One kind of edit.

    Attributes:
        meaning: what is done, in words; says the unit of `strength`.
        strength: how much.
        picture: makes the edit of the pictures of one video, given their size.
        speed: seconds of the source shown in a second.
        part: share of the source's time that is kept, somewhere in it.
        bitrate_bps: encode at this rate instead of at constant quality.
        has_host: the source is put into another video, `strength` being the share of its sides.
    """

    meaning: str
    strength: float
    picture: Callable[[np.random.Generator, int, int, float], PictureEdit] = unchanged
    speed: float = 1.0
    part: float = 1.0
    bitrate_bps: int | None = None
    has_host: bool = False


FAMILIES: dict[str, Family] = {
    "crop_60": Family("a window with this share of the area", 0.6, crop),
    "mirror": Family("left and right exchanged", 1.0, mirror),
    "letterbox": Family("black bars above and below, this share of the new picture", 0.25, letterbox),
    "grayscale": Family("no colour", 1.0, grayscale),
    "blur": Family("detail kept, in lines on the short side", 40, blur),
    "boxes": Family("text over this share of the height, and a logo box", 0.16, boxes),
    "low_144p": Family("lines, at 60 kbit/s", 144, shrink, bitrate_bps=LOW_BITRATE_BPS),
    "speed_1_25": Family("times as fast", 1.25, speed=1.25),
    "clip_20": Family("a part of this share of the time", 0.2, part=0.2),
    "picture_in_picture": Family("inside another video, at this share of its sides", 0.5, has_host=True),
    "logo": Family("a logo box in a corner, this share of the width", LOGO_WIDTH, logo),
}


def apply_edit(
    source_path: Path,
    family: str,
    out_path: Path,
    rng: np.random.Generator,
    *,
    host: np.ndarray | None = None,
) -> EditTruth:
    """Write an edited copy of a video and return its truth.

    The copy has the source's own rate, at most 60 pictures a second and `SOURCE_SHORT_SIDE_PX` lines. Times
    are exact to a picture: the interval of the source is a whole number of the copy's pictures.

    Args:
        family: a key of `FAMILIES`.
        host: still under the moving camera that plays around the source, for `picture_in_picture`.
    """
    edit = FAMILIES[family]
    if edit.has_host != (host is not None):
        raise ValueError(f"family {family} {'needs a host picture' if edit.has_host else 'takes no host'}")
    facts = video_facts(source_path)
    picture_s = Fraction(edit.speed) / facts.fps  # of the source, shown by one picture of the copy
    num_pictures = max(1, round(Fraction(facts.duration_s) * Fraction(edit.part) / picture_s))
    start_s = Fraction(0)
    if edit.part < 1:
        free_pictures = round(facts.duration_s * facts.fps) - num_pictures
        start_s = int(rng.integers(free_pictures + 1)) / facts.fps

    times_s = (float(start_s + k * picture_s) for k in range(num_pictures))
    source = pictures_at(source_path, times_s, max_short_side_px=SOURCE_SHORT_SIDE_PX)
    first = next(source)
    height, width = first.shape[:2]
    pictures: Iterable[np.ndarray] = chain([first], source)
    if host is None:
        pictures = map(edit.picture(rng, height, width, edit.strength), pictures)
    else:
        around = moving_crop(host, rng, num_pictures=num_pictures, size_px=(width, height))
        pictures = _inset(pictures, around, rng, edit.strength)
    write_video(out_path, pictures, facts.fps, bitrate_bps=edit.bitrate_bps)
    return EditTruth(
        query=out_path.name,
        source=source_path.name,
        family=family,
        strength=edit.strength,
        query_start_s=0.0,
        query_end_s=float(num_pictures / facts.fps),
        start_s=float(start_s),
        end_s=float(start_s + num_pictures * picture_s),
        labels=("ND",) if edit.part >= 0.5 else ("PART",),
    )


def cut_clip(source_path: Path, out_path: Path, *, start_s: float, duration_s: float) -> EditTruth:
    """Write a part of a video as a file of its own, at the source's rate, and return its truth."""
    fps = video_facts(source_path).fps
    num_pictures = round(duration_s * fps)
    times_s = (start_s + float(k / fps) for k in range(num_pictures))
    write_video(out_path, pictures_at(source_path, times_s, max_short_side_px=SOURCE_SHORT_SIDE_PX), fps)
    end_s = float(num_pictures / fps)
    return EditTruth(
        query=out_path.name,
        source=source_path.name,
        family="cut",
        strength=duration_s,
        query_start_s=0.0,
        query_end_s=end_s,
        start_s=start_s,
        end_s=start_s + end_s,
        labels=("PART",),
    )


def _inset(
    pictures: Iterable[np.ndarray], around: Iterable[np.ndarray], rng: np.random.Generator, share: float
) -> Iterator[np.ndarray]:
    """Each picture, at this share of its sides, somewhere on the picture around it; both have one size."""
    place = rng.uniform(0, 1 - share, 2)  # (top, left) as shares of the sides
    for picture, host_picture in zip(pictures, around, strict=True):
        height, width = picture.shape[:2]
        small = resized(picture, round(width * share), round(height * share))
        yield _pasted(host_picture, small, int(place[0] * height), int(place[1] * width))


def _pasted(picture: np.ndarray, box: np.ndarray, top: int, left: int) -> np.ndarray:
    changed = picture.copy()
    changed[top : top + box.shape[0], left : left + box.shape[1]] = box
    return changed


def _text_box(rng: np.random.Generator, height: int, width: int, *, num_letters: int) -> np.ndarray:
    """A plain box with a line of made-up words in another lightness; what does not fit is cut off."""
    dark, light = rng.integers(0, 80, 3), rng.integers(175, 256, 3)
    ground, ink = (dark, light) if rng.random() < 0.5 else (light, dark)
    box = np.empty((height, width, 3), dtype=np.uint8)
    box[:] = ground
    letters = lettering(random_words(rng, num_letters), height // 2)[: height - 2, : width - 2]
    top, left = ((np.array(box.shape[:2]) - letters.shape) // 2).tolist()
    box[top : top + letters.shape[0], left : left + letters.shape[1]][letters] = ink
    return box

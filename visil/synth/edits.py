"""Edited copies of a video, each with its truth.

    file ─► pictures_at ─► [time: part, speed, order ─► pictures: crop, text ... ─► footage around] ─► write_video
                                                                                                    └► EditTruth

`FAMILIES` is the one table of what can be done to a video, at two strengths. Random choices (where to crop, which
part, what text) are drawn once a video, so that an edit is steady over its pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from visil.synth import picture_edits
from visil.synth.camera import moving_crop
from visil.synth.picture_edits import PictureEdit, PictureEditMaker, unchanged
from visil.synth.truth import EditTruth
from visil.synth.video_file import MAX_FPS, pictures_at, read_still, resized, video_facts, write_video

EDITS_VERSION = 1  # raise it when the same call makes another file: made benchmarks are kept by it
LEVELS = ("mild", "strong")
SOURCE_SHORT_SIDE_PX = 360  # larger sources are reduced to it first
INTRO_SHARE = (0.3, 0.7)  # of the footage around a whole video lies before it
CORNER_MARGIN = 0.04  # of the sides, between a small picture and the corner
HOST_SHOT_S = 3.0  # the footage around a clip changes its still at least this often
PICTURES_IN_MEMORY = 256  # of a video that runs backwards
WHOLE_PICTURES_SLACK = Fraction(1, 100)  # of a picture: durations are rounded to milliseconds and less


@dataclass(frozen=True)
class Timing:
    """What an edit does to the time of a video.

    Attributes:
        speed: seconds of the source shown in a second.
        rate: pictures a second, over those of the source.
        kept: share of the source's time that is kept, somewhere in it.
        is_reversed: the last picture comes first.
    """

    speed: Fraction = Fraction(1)
    rate: Fraction = Fraction(1)
    kept: Fraction = Fraction(1)
    is_reversed: bool = False


def _steady(_strength: float) -> Timing:
    return Timing()


def _faster(times: float) -> Timing:
    return Timing(speed=_fraction(times))


def _other_rate(times: float) -> Timing:
    return Timing(rate=_fraction(times))


def _part(share: float) -> Timing:
    return Timing(kept=_fraction(share))


def _backwards(_strength: float) -> Timing:
    return Timing(is_reversed=True)


def _fraction(number: float) -> Fraction:
    return Fraction(number).limit_denominator(100)


@dataclass(frozen=True)
class Family:
    """One kind of edit.

    Attributes:
        meaning: what is done, in words; says the unit of the strengths.
        mild, strong: how much; a family without `mild` has one strength only.
        picture: makes the edit of the pictures of one video.
        timing: what happens to its time.
        both_ways: the strength is a factor that is drawn as it is or inverted.
        is_bitrate: the strength is a bit rate to encode at, in bit/s.
        has_host: unrelated footage lies around it, in the picture or in time.
        is_temporal: it shows nothing on videos of a few seconds; benchmarks take sources of at least 10 s.
        joins_sources: it shows clips of several videos, one after the other: planned by `montage.plan_compilation`, not
            made by `apply_edit`.
        is_pooled: it counts in figures over all families and in the choice of thresholds.
        why_easy: why strong copies are found by perceptual hashes all the same; empty where they are not.
    """

    meaning: str
    mild: float | None
    strong: float
    picture: PictureEditMaker = unchanged
    timing: Callable[[float], Timing] = _steady
    both_ways: bool = False
    is_bitrate: bool = False
    has_host: bool = False
    is_temporal: bool = False
    joins_sources: bool = False
    is_pooled: bool = True
    why_easy: str = ""

    @property
    def levels(self) -> tuple[str, ...]:
        """The strengths that this family has, of `LEVELS`."""
        return LEVELS if self.mild is not None else LEVELS[1:]

    def strength(self, level: str) -> float:
        """How much a level is; `strong` for `mild` where a family has one strength only."""
        return self.strong if level == "strong" or self.mild is None else self.mild


SAME_PICTURES = "the pictures stay as they are, only their times change"
LOW_FREQUENCIES = (
    "hashes ask for the lowest frequencies of a picture, which nothing that leaves it recognisable removes"
)
COVERED = "what leaves a picture recognisable leaves most of its low frequencies, and all samples vote together"

FAMILIES: dict[str, Family] = {
    "crop": Family("a window with this share of the area", 0.7, 0.3, picture_edits.crop),
    "mirror": Family("left and right exchanged", None, 1, picture_edits.mirror),
    "rotation": Family("turned by so many degrees", 5, 25, picture_edits.rotation),
    "letterbox": Family("black bars, this share of the new picture", 0.15, 0.4, picture_edits.letterbox),
    "aspect": Family(
        "squeezed by this factor", 1.25, 2, picture_edits.aspect, why_easy="hashes squeeze every picture to a square"
    ),
    "perspective": Family("corners move inwards by up to this share", 0.1, 0.3, picture_edits.perspective),
    "grayscale": Family("no colour", None, 1, picture_edits.grayscale, why_easy="hashes see lightness only"),
    "brightness_contrast": Family(
        "contrast raised or lowered by this factor, and brightness with it", 1.3, 2.5,
        picture_edits.brightness_contrast, why_easy="hashes ask which frequencies are above the median, not how strong",
    ),
    "blur": Family("detail kept, in lines on the short side", 60, 20, picture_edits.blur, why_easy=LOW_FREQUENCIES),
    "noise": Family("standard deviation, in grey levels", 15, 60, picture_edits.noise, why_easy=LOW_FREQUENCIES),
    "low_144p": Family(
        "144 lines, at so many bit/s", 60_000, 24_000, picture_edits.shrink, is_bitrate=True, why_easy=LOW_FREQUENCIES
    ),
    "frame_rate": Family(
        "pictures a second, times this or divided by it", 1.5, 3,
        timing=_other_rate, both_ways=True, is_temporal=True, why_easy=SAME_PICTURES,
    ),
    "speed": Family(
        "times as fast or as slow", 1.25, 2, timing=_faster, both_ways=True, is_temporal=True, why_easy=SAME_PICTURES
    ),
    "text": Family("lines of text over this share of the height", 0.15, 0.5, picture_edits.text, why_easy=COVERED),
    "logo": Family(
        "a logo in a corner, this share of the width", 0.2, 0.6, picture_edits.logo_in_corner, why_easy=COVERED
    ),
    "emoji": Family("emoji, together this share of the picture", 0.06, 0.5, picture_edits.emojis, why_easy=COVERED),
    "picture_in_picture": Family("inside other footage, at this share of its sides", 0.7, 0.4, has_host=True),
    "border": Family("a frame, this share of the sides wide", 0.06, 0.2, picture_edits.border),
    "clip": Family(
        "a part of this share of the time", 0.5, 0.2, timing=_part, is_temporal=True, why_easy=SAME_PICTURES
    ),
    "clip_inside": Family(
        "a part of this share of the time between other footage, all of it as long as the source", 0.5, 0.2,
        timing=_part, has_host=True, is_temporal=True, why_easy=SAME_PICTURES,
    ),
    "reverse": Family(
        "the last picture comes first", None, 1, timing=_backwards, is_temporal=True, why_easy=SAME_PICTURES
    ),
    "combined": Family("so many other edits at once; of strong ones one is strong, the rest mild", 2, 3),
    "intro_outro": Family(
        "whole, between an intro and an outro of this share of the time together", 0.3, 0.6,
        has_host=True, is_pooled=False, why_easy=SAME_PICTURES,
    ),
    "side_by_side": Family(
        "the middle of it, this share of its width, beside other footage as wide", 1, 0.5,
        has_host=True, is_pooled=False,
    ),
    "turned_90": Family("turned by so many degrees, left or right", None, 90, picture_edits.turn, is_pooled=False),
    "turned_180": Family("turned by so many degrees", None, 180, picture_edits.turn, is_pooled=False),
    "vertical_blurred": Family(
        "this share of the width in a vertical picture, over a blurred copy", 1, 0.6,
        picture_edits.vertical_blurred, is_pooled=False,
    ),
    "screen_filmed": Family(
        "a screen filmed at a slant, its corners inwards by up to this share", 0.12, 0.3,
        picture_edits.screen_filmed, is_pooled=False,
    ),
    "reaction": Family(
        "in a corner of other footage, at this share of its sides", None, 0.35, has_host=True, is_pooled=False
    ),
    "compilation": Family(
        "clips of so many videos, one after the other", 6, 12,
        joins_sources=True, is_pooled=False, why_easy=SAME_PICTURES,
    ),
}  # fmt: skip
COMBINED = tuple(
    name
    for name, family in FAMILIES.items()
    if family.is_pooled and (family.picture is not unchanged or name in ("speed", "frame_rate"))
)  # what `combined` draws from; applied in this order


def apply_edit(
    source_path: Path,
    family: str,
    level: str,
    out_path: Path,
    rng: np.random.Generator,
    *,
    span_s: tuple[float, float] | None = None,
    host_stills: Sequence[Path] = (),
    max_short_side_px: int = SOURCE_SHORT_SIDE_PX,
    max_fps: float | Fraction = MAX_FPS,
) -> EditTruth:
    """Write an edited copy of a video and return its truth.

    Times are exact to a picture: the interval of the source is a whole number of the copy's pictures, and starts
    with one of the source's.

    Args:
        family: a key of `FAMILIES`.
        level: one of the family's levels.
        span_s: the part of the source that is edited, in seconds; None: all of it.
        host_stills: for families with a host: pans over these pictures are the other footage. Where it is in the same
            picture the first is taken, where it comes before and after one for every `HOST_SHOT_S` seconds.
        max_short_side_px: larger pictures are reduced to so many lines before they are edited.
        max_fps: faster sources are edited at this rate; `frame_rate` changes what results.

    Raises:
        ValueError: no such family or level, a family of several sources, too few host stills, or a span outside of the
            source.
        MediaError: the source cannot be read.
    """
    edit = _family(family, level)
    if edit.has_host != bool(host_stills):
        raise ValueError(f"family {family} {'needs host stills' if edit.has_host else 'takes no host stills'}")
    facts = video_facts(source_path)
    start, end = (Fraction(time_s) for time_s in span_s or (0.0, facts.duration_s))
    start = Fraction(round(start * facts.fps)) / facts.fps
    if not 0 <= start < end <= Fraction(facts.duration_s) + 1 / facts.fps:
        raise ValueError(f"{source_path}: span {span_s} is not in its {facts.duration_s:.3f} s")
    end = min(end, Fraction(facts.duration_s))

    steps = _drawn_steps(family, level, rng)
    timing = _joined([step.timing(strength) for step, strength in steps])
    fps = min(facts.fps, Fraction(max_fps)) * timing.rate
    picture_s = timing.speed / fps  # of the source, shown by one picture of the copy
    span_pictures = _whole((end - start) / picture_s)
    num_pictures = _whole((end - start) * timing.kept / picture_s)
    if timing.kept < 1:
        start += int(rng.integers(int((end - start - num_pictures * picture_s) * facts.fps) + 1)) / facts.fps

    times = [start + k * picture_s for k in range(num_pictures)]
    source = _shown_at(source_path, times, max_short_side_px, is_reversed=timing.is_reversed)
    first = next(source)
    pictures: Iterable[np.ndarray] = map(_chained(steps, first, rng), chain([first], source))
    pictures_before = pictures_after = 0
    if family in ("picture_in_picture", "reaction"):
        in_corner = family == "reaction"
        pictures = _inset(pictures, host_stills[0], num_pictures, rng, edit.strength(level), in_corner=in_corner)
    if family == "side_by_side":
        pictures = _beside(pictures, host_stills[0], num_pictures, rng, edit.strength(level))
    if family == "clip_inside":
        pictures_before = int(rng.integers(span_pictures - num_pictures + 1))
        pictures_after = span_pictures - num_pictures - pictures_before
    if family == "intro_outro":
        pictures_around = round(num_pictures * edit.strength(level) / (1 - edit.strength(level)))
        pictures_before = int(pictures_around * rng.uniform(*INTRO_SHARE))
        pictures_after = pictures_around - pictures_before
    if pictures_before + pictures_after:
        before, after = _host_shots(pictures_before, fps), _host_shots(pictures_after, fps)
        if len(host_stills) < len(before) + len(after):
            raise ValueError(f"family {family} needs {len(before) + len(after)} host stills, got {len(host_stills)}")
        size_px = (first.shape[1], first.shape[0])
        pictures = chain(
            _pans(host_stills, before, size_px, rng),
            pictures,
            _pans(host_stills[len(before) :], after, size_px, rng),
        )
    total_pictures = write_video(out_path, pictures, fps, bitrate_bps=_bitrate_bps(steps))
    shared_s = num_pictures * picture_s
    is_half = num_pictures >= total_pictures // 2 and shared_s >= (Fraction(facts.duration_s) - picture_s) / 2
    return EditTruth(
        query=out_path.name,
        source=source_path.name,
        family=family,
        strength=steps[0][1] if len(steps) == 1 else len(steps),
        query_start_s=float(pictures_before / fps),
        query_end_s=float((pictures_before + num_pictures) / fps),
        start_s=float(start),
        end_s=float(start + shared_s),
        labels=("ND",) if is_half else ("PART",),
        level=level,
        is_reversed=timing.is_reversed,
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


def _family(name: str, level: str) -> Family:
    if name not in FAMILIES:
        raise ValueError(f"no family {name!r}; there are {', '.join(FAMILIES)}")
    if level not in FAMILIES[name].levels:
        raise ValueError(f"family {name} has no strength {level!r}, only {', '.join(FAMILIES[name].levels)}")
    if FAMILIES[name].joins_sources:
        raise ValueError(f"family {name} joins several videos: plan it with plan_compilation and write it as a montage")
    return FAMILIES[name]


def _drawn_steps(name: str, level: str, rng: np.random.Generator) -> list[tuple[Family, float]]:
    """The edits that are done one after the other, each with its strength; several for `combined`."""
    edits = [(FAMILIES[name], level)]
    if name == "combined":
        edits = _drawn_together(int(FAMILIES[name].strength(level)), level, rng)
    steps = []
    for family, its_level in edits:
        strength = family.strength(its_level)
        if family.both_ways and rng.random() < 0.5:
            strength = 1 / strength
        steps.append((family, strength))
    return steps


def _drawn_together(count: int, level: str, rng: np.random.Generator) -> list[tuple[Family, str]]:
    """Different edits and their levels, in the order of `COMBINED`.

    Of strong ones a single one is strong, and it is one that hashes do not see through: three of them strong would
    leave some pictures that nobody recognises, one easy one nothing that is hard.
    """
    order = [str(name) for name in rng.permutation(COMBINED)]
    if level == "strong":
        lead = next(name for name in order if not FAMILIES[name].why_easy)
        order = [lead, *(name for name in order if name != lead)]
    return [(FAMILIES[name], level if name == order[0] else "mild") for name in COMBINED if name in order[:count]]


def _joined(timings: Sequence[Timing]) -> Timing:
    joined = Timing()
    for timing in timings:
        joined = Timing(
            joined.speed * timing.speed,
            joined.rate * timing.rate,
            joined.kept * timing.kept,
            joined.is_reversed != timing.is_reversed,
        )
    return joined


def _bitrate_bps(steps: Sequence[tuple[Family, float]]) -> int | None:
    return next((round(strength) for family, strength in steps if family.is_bitrate), None)


def _whole(num_pictures: Fraction) -> int:
    return max(1, int(num_pictures + WHOLE_PICTURES_SLACK))


def _chained(steps: Sequence[tuple[Family, float]], first: np.ndarray, rng: np.random.Generator) -> PictureEdit:
    """One edit after the other; each is made for the size that the one before it leaves."""
    edits: list[PictureEdit] = []
    for family, strength in steps:
        edits.append(family.picture(rng, first.shape[0], first.shape[1], strength))
        first = edits[-1](first)

    def edit(picture: np.ndarray) -> np.ndarray:
        for step in edits:
            picture = step(picture)
        return picture

    return edit


def _shown_at(
    path: Path, times: Sequence[Fraction], max_short_side_px: int, *, is_reversed: bool
) -> Iterator[np.ndarray]:
    """The pictures at ascending times, in this order or the last one first.

    Backwards, the file is decoded once for every `PICTURES_IN_MEMORY` pictures.
    """
    if not is_reversed:
        yield from pictures_at(path, map(float, times), max_short_side_px=max_short_side_px)
        return
    for end in range(len(times), 0, -PICTURES_IN_MEMORY):
        block = map(float, times[max(0, end - PICTURES_IN_MEMORY) : end])
        yield from reversed(list(pictures_at(path, block, max_short_side_px=max_short_side_px)))


def _host_shots(num_pictures: int, fps: Fraction) -> list[int]:
    """Lengths, in pictures, of the shots of some other footage: as few as `HOST_SHOT_S` allows, about equally long."""
    num_shots = -int(-num_pictures // (Fraction(HOST_SHOT_S) * fps))
    edges = [num_pictures * i // max(1, num_shots) for i in range(num_shots + 1)]
    return [end - start for start, end in pairwise(edges)]


def _pans(
    stills: Sequence[Path], lengths: Sequence[int], size_px: tuple[int, int], rng: np.random.Generator
) -> Iterator[np.ndarray]:
    for still, num_pictures in zip(stills, lengths, strict=False):
        yield from moving_crop(read_still(still), rng, num_pictures=num_pictures, size_px=size_px)


def _inset(
    pictures: Iterable[np.ndarray],
    host: Path,
    num_pictures: int,
    rng: np.random.Generator,
    share: float,
    *,
    in_corner: bool,
) -> Iterator[np.ndarray]:
    """Each picture, at this share of its sides, somewhere on a pan over the host; both have one size."""
    place = rng.uniform(0, 1 - share, 2)  # (top, left) as shares of the sides
    if in_corner:
        place = np.where(place < (1 - share) / 2, CORNER_MARGIN, 1 - share - CORNER_MARGIN)
    pictures = iter(pictures)
    first = next(pictures)
    height, width = first.shape[:2]
    rows, columns = max(2, round(height * share)), max(2, round(width * share))
    top, left = (place * (height, width)).astype(int)
    around = moving_crop(read_still(host), rng, num_pictures=num_pictures, size_px=(width, height))
    for picture, host_picture in zip(chain([first], pictures), around, strict=True):
        framed = host_picture.copy()
        framed[top : top + rows, left : left + columns] = resized(picture, columns, rows)
        yield framed


def _beside(
    pictures: Iterable[np.ndarray], host: Path, num_pictures: int, rng: np.random.Generator, shown: float
) -> Iterator[np.ndarray]:
    """The middle of each picture, this share of its width, to the left or right of a pan over the host as wide."""
    is_left = rng.random() < 0.5
    pictures = iter(pictures)
    first = next(pictures)
    height, width = first.shape[:2]
    columns = max(2, round(width * shown))
    left = (width - columns) // 2
    around = moving_crop(read_still(host), rng, num_pictures=num_pictures, size_px=(columns, height))
    for picture, host_picture in zip(chain([first], pictures), around, strict=True):
        halves = (picture[:, left : left + columns], host_picture)
        yield np.concatenate(halves if is_left else halves[::-1], axis=1)

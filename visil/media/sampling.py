"""Which decoded frame answers which sample.

    decoded pictures ─► [sampling] ─► resize, crop ─► Frames
                        this module

Pure and exact: times are fractions, nothing here opens a file. `time` is ours and the default, `keyframes` is ours
for huge collections; `opencv` and `ffmpeg` are the published samplers, kept as named modes to reproduce published
numbers (defects: docs/method.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, isinf
from typing import Generic, TypeVar

from visil.errors import DataError
from visil.media.preprocessing import Preprocessing

Picture = TypeVar("Picture")

FASTEST_BELIEVED_FPS = 144  # a file that reports more (or nothing) is read as 25 fps: published rule
FALLBACK_FPS = 25.0
MAX_HELD_SAMPLES = 60  # of one frame: a slide or a gap of hours says no more than one of a minute


@dataclass(frozen=True)
class ShownFrame(Generic[Picture]):
    """A decoded frame and when it is shown: [time_s, time_s + duration_s), time 0 is the first shown frame."""

    time_s: Fraction
    duration_s: Fraction
    picture: Picture


Samples = Iterator[tuple[Fraction, ShownFrame[Picture]]]  # the time of each sample, and the frame that answers it


def sample(
    frames: Iterable[ShownFrame[Picture]],
    preprocessing: Preprocessing,
    rate: Fraction,
    *,
    reported_fps: float | None,
    start_s: Fraction,
) -> Samples[Picture]:
    """The samples of a video as its preprocessing says.

    Args:
        frames: all that are shown, or those of a part (`within`); for `keyframes` those that `key_frames` leaves.
        rate: samples a second; more than preprocessing.fps for a short video (the `opencv` sampler has its own).
        reported_fps: frames a second as the file's headers tell them.
        start_s: time of the first shown frame on the axis of the file, whose earliest stream starts at 0.

    Raises:
        ValueError: the `opencv` sampler has no step for reported_fps.
    """
    if preprocessing.sampling == "opencv":
        return sample_as_opencv(frames, opencv_step(reported_fps, preprocessing.fps))
    if preprocessing.sampling == "ffmpeg":
        return sample_as_ffmpeg(frames, rate, start_s)
    if preprocessing.sampling == "keyframes":
        return ((frame.time_s, frame) for frame in frames)
    return sample_by_time(frames, rate)


Part = tuple[Fraction, Fraction | None]  # start and end in seconds since the first shown frame; None: to the end


def part_of(span_s: tuple[float, float]) -> Part:
    """A range that somebody asked for, to the microsecond: 3.3 means 33/10, not the float beside it.

    Raises:
        DataError: it begins before the video, or holds nothing.
    """
    start_s, end_s = span_s
    if not 0 <= start_s < end_s:
        raise DataError(f"a range must begin at 0 s or later and end after its beginning, got {span_s}")
    return _microseconds(start_s), None if isinf(end_s) else _microseconds(end_s)


def _microseconds(time_s: float) -> Fraction:
    return Fraction(round(Fraction(time_s) * 1_000_000), 1_000_000)  # a product of large floats is infinite


def within(
    frames: Iterable[ShownFrame[Picture]], start_s: Fraction, end_s: Fraction | None
) -> Iterator[ShownFrame[Picture]]:
    """The frames shown in [start_s, end_s), None: to the end; the first and the last one cut to it.

    A sampler takes what comes out for a video of its own; times stay those of the whole video. No frame is asked
    for beyond the end.
    """
    for frame in frames:
        until_s = frame.time_s + frame.duration_s
        is_last = end_s is not None and end_s <= until_s
        shown_from_s, shown_until_s = max(start_s, frame.time_s), until_s if end_s is None else min(end_s, until_s)
        if shown_from_s < shown_until_s:
            yield ShownFrame(shown_from_s, shown_until_s - shown_from_s, frame.picture)
        if is_last:
            return


def sample_by_time(frames: Iterable[ShownFrame[Picture]], rate: Fraction) -> Samples[Picture]:
    """Sample k is the frame shown k/rate seconds after the first; it exists if and only if that is before the end.

    At least one sample when there is a frame. Timestamps decide, not frame counts or header rates. A frame answers at
    most MAX_HELD_SAMPLES; behind a longer one the grid goes on where the next frame is shown.
    """
    shown: ShownFrame[Picture] | None = None
    start_s, k = Fraction(0), 0
    for frame in frames:
        if shown is None:
            start_s = frame.time_s
        else:
            end = ceil((frame.time_s - start_s) * rate)
            for number in range(k, min(end, k + MAX_HELD_SAMPLES)):
                yield start_s + number / rate, shown
            k = max(k, end)
        shown = frame
    if shown is not None:
        end = max(1, ceil((shown.time_s + shown.duration_s - start_s) * rate))
        for number in range(k, min(end, k + MAX_HELD_SAMPLES)):
            yield start_s + number / rate, shown


class Slots:
    """Takes the first key frame of every slot [k/rate, (k+1)/rate)."""

    def __init__(self, rate: Fraction) -> None:
        self._rate = rate
        self._last = -1

    def takes(self, time_s: Fraction) -> bool:
        """Whether a key frame is the first of its slot; they are asked for in order."""
        slot = floor(time_s * self._rate)
        if slot <= self._last:
            return False
        self._last = slot
        return True


def key_frames(
    frames: Iterable[ShownFrame[Picture]], is_key: Callable[[Picture], bool], rate: Fraction
) -> Iterator[ShownFrame[Picture]]:
    """Of a whole video, the key frames that `Slots` takes, each shown until the next; the first frame counts as one."""
    slots = Slots(rate)
    key: ShownFrame[Picture] | None = None
    until_s = Fraction(0)
    for frame in frames:
        if (key is None or is_key(frame.picture)) and slots.takes(frame.time_s):
            if key is not None:
                yield ShownFrame(key.time_s, frame.time_s - key.time_s, key.picture)
            key = frame
        until_s = frame.time_s + frame.duration_s
    if key is not None:
        yield ShownFrame(key.time_s, until_s - key.time_s, key.picture)


def sample_as_opencv(frames: Iterable[ShownFrame[Picture]], step: int) -> Samples[Picture]:
    """Every step-th frame in decoding order, whatever its time (ViSiL, DnS)."""
    for index, frame in enumerate(frames):
        if index % step == 0:
            yield frame.time_s, frame


def opencv_step(reported_fps: float | None, fps: float) -> int:
    """Distance in frames between two samples of the published OpenCV sampler.

    Raises:
        ValueError: the video has at most half as many frames a second as wanted, or reports 0 or NaN; the published
            code divides by zero there.
    """
    if reported_fps is None or reported_fps > FASTEST_BELIEVED_FPS:
        reported_fps = FALLBACK_FPS
    if not reported_fps > 0:  # NaN too
        raise ValueError(
            f"a reported rate of {reported_fps:g} frames a second: the `opencv` sampler has no step for it"
        )
    step = round(reported_fps / fps)  # half to even
    if step == 0:
        raise ValueError(f"{reported_fps:g} frames a second are too few for the `opencv` sampler at {fps:g} fps")
    return step


def sample_as_ffmpeg(frames: Iterable[ShownFrame[Picture]], rate: Fraction, start_s: Fraction) -> Samples[Picture]:
    """ffmpeg's `fps` filter with rounding `near` (S2VS): slot k takes the last frame with round(t·rate) <= k.

    Args:
        start_s: time of the first shown frame on the axis of the file, whose earliest stream starts at 0; t is
            measured on that axis, so a late picture shifts the picks.

    A video shorter than half a slot gives nothing.
    """
    shown: ShownFrame[Picture] | None = None
    slot = 0
    for frame in frames:
        now = _round_half_up((frame.time_s + start_s) * rate)
        if shown is None:
            slot = now
        else:
            while slot < now:
                yield max(slot / rate - start_s, Fraction(0)), shown
                slot += 1
        shown = frame
    if shown is not None:
        end = _round_half_up((shown.time_s + shown.duration_s + start_s) * rate)
        while slot < end:
            yield max(slot / rate - start_s, Fraction(0)), shown
            slot += 1


def _round_half_up(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))

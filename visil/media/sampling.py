"""Which decoded frame answers which sample.

    decoded pictures ─► [sampling] ─► resize, crop ─► Frames
                        this module

Pure and exact: times are fractions, nothing here opens a file. `time` is ours and the default; `opencv` and `ffmpeg`
are the published samplers, kept as named modes to reproduce published numbers (defects: docs/method.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Generic, TypeVar

Picture = TypeVar("Picture")

FASTEST_BELIEVED_FPS = 144  # a file that reports more (or nothing) is read as 25 fps: published rule
FALLBACK_FPS = 25.0


@dataclass(frozen=True)
class ShownFrame(Generic[Picture]):
    """A decoded frame and when it is shown: [time_s, time_s + duration_s), time 0 is the first shown frame."""

    time_s: Fraction
    duration_s: Fraction
    picture: Picture


def sample_by_time(
    frames: Iterable[ShownFrame[Picture]], rate: Fraction
) -> Iterator[tuple[Fraction, ShownFrame[Picture]]]:
    """Sample k is the frame shown at k/rate seconds; it exists if and only if k/rate lies before the end.

    At least one sample when there is a frame. Timestamps decide, not frame counts or header rates.
    """
    shown, k = None, 0
    for frame in frames:
        while shown is not None and k / rate < frame.time_s:
            yield k / rate, shown
            k += 1
        shown = frame
    if shown is not None:
        end_s = shown.time_s + shown.duration_s
        while k == 0 or k / rate < end_s:
            yield k / rate, shown
            k += 1


def sample_as_opencv(
    frames: Iterable[ShownFrame[Picture]], step: int
) -> Iterator[tuple[Fraction, ShownFrame[Picture]]]:
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


def sample_as_ffmpeg(
    frames: Iterable[ShownFrame[Picture]], rate: Fraction, start_s: Fraction
) -> Iterator[tuple[Fraction, ShownFrame[Picture]]]:
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

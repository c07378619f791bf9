"""Which frames of a clip a view shows, in which order: temporal transformations, then a crop.

    64 frames ─► one of [shuffle-dropout, fast forward, slow motion, reverse, pause, none] ─► crop ─► 32 frames
                                       this module: numbers of frames, no pictures

Each transformation is a function of what was drawn and a small class that draws it, with the paper's values.
Source: S2VS (CVPRW 2023), "Temporal transformations", and its code (cases `tt_*`), where ranges leave out their end: a
step of (2, 4) is 2 or 3, and a crop never ends with the last frame if anything else is possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Generator, Tensor

SHOWN, BLACK, NOISE = 0, 1, 2  # what a view has at a place


@dataclass(frozen=True)
class Timeline:
    """The frames of a view.

    Attributes:
        frames: int64 [T], numbers of the frames of the clip, in the order of the view.
        fills: uint8 [T]: SHOWN, or BLACK or NOISE in the place of the frame.
    """

    frames: Tensor
    fills: Tensor

    @classmethod
    def of(cls, frames: Tensor) -> Timeline:
        """All of them shown."""
        return cls(frames, torch.zeros(len(frames), dtype=torch.uint8))

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, places: Tensor) -> Timeline:
        return Timeline(self.frames[places], self.fills[places])


class TemporalTransformation(Protocol):
    """Draws a view of so many frames."""

    def draw(self, num_frames: int, generator: Generator) -> Timeline: ...


def repeated(num_frames: int, length: int) -> Tensor:
    """Numbers of the frames of a clip that is doubled until it has `length` of them."""
    if num_frames < 1:
        raise ValueError("a clip without frames has no view")
    frames = torch.arange(num_frames)
    while len(frames) < length:
        frames = torch.cat([frames, frames])
    return frames


def num_offsets(num_frames: int, length: int) -> int:
    """How many crops of `length` frames are drawn from (published: the last possible one never is)."""
    return max(len(repeated(num_frames, length)) - length, 1)


def crop(timeline: Timeline, length: int, offset: int) -> Timeline:
    """`length` frames from `offset` on of a view that is doubled until it is long enough."""
    return timeline[repeated(len(timeline), length)[offset : offset + length]]


def draw_crop(timeline: Timeline, length: int, generator: Generator) -> Timeline:
    """A crop anywhere."""
    return crop(timeline, length, _integer(0, num_offsets(len(timeline), length), generator))


def shuffle_dropout(num_frames: int, *, window: int, order: Tensor, is_dropped: Tensor, is_filled: Tensor) -> Timeline:
    """Segments in another order, some of them removed and some overwritten with black frames (see `ShuffleDropout`).

    Nothing is dropped unless 0 < removed + 2 · overwritten < segments (published; so two overwritten ones of four keep
    all).

    Args:
        window: frames of a segment; what is left over at the end is lost. A shorter clip is one segment.
        order: int64 [S], segment at each place.
        is_dropped: bool [S], of the places; `is_filled` bool [S]: whether a dropped one is overwritten or removed.
    """
    if num_frames >= window:
        segments = torch.arange(num_frames // window * window).reshape(-1, window)
    else:
        segments = torch.arange(num_frames).reshape(1, -1)
    frames = segments[order]
    filled, removed = is_dropped & is_filled, is_dropped & ~is_filled
    if not 0 < int(removed.sum() + 2 * filled.sum()) < len(segments):
        filled = removed = torch.zeros(len(segments), dtype=torch.bool)
    fills = torch.where(filled, BLACK, SHOWN).to(torch.uint8)[:, None].expand_as(frames)
    return Timeline(frames[~removed].flatten(), fills[~removed].flatten())


def fast_forward(num_frames: int, step: int) -> Timeline:
    """Every `step`-th frame."""
    return Timeline.of(torch.arange(0, num_frames, step))


def slow_motion(num_frames: int, factor: int) -> Timeline:
    """Every frame `factor` times."""
    return Timeline.of(torch.arange(num_frames).repeat_interleave(factor))


def reverse(num_frames: int) -> Timeline:
    """From the last frame to the first."""
    return Timeline.of(torch.arange(num_frames).flip(0))


def pause(num_frames: int, *, start: int, duration: int) -> Timeline:
    """The frame at `start` stands for `duration` frames more."""
    times = torch.ones(num_frames, dtype=torch.int64)
    times[start] += duration
    return Timeline.of(torch.arange(num_frames).repeat_interleave(times))


@dataclass(frozen=True)
class ShuffleDropout:
    """Temporal shuffle-dropout.

    Attributes:
        windows: of the frames of a segment; the end is left out.
        shuffle: chance that the segments change places.
        dropout: chance of every segment to be dropped.
        removal: chance of a dropped one to be removed; the others are overwritten, frame by frame with black or noise.
            (The published name, `p_content`, says the contrary.)
        black: chance of an overwritten frame to be black.
    """

    windows: tuple[int, int] = (4, 16)
    shuffle: float = 0.5
    dropout: float = 0.3
    removal: float = 0.5
    black: float = 0.5

    def draw(self, num_frames: int, generator: Generator) -> Timeline:
        window = _integer(*self.windows, generator)
        count = max(1, num_frames // window)
        is_shuffled = _chance(generator) < self.shuffle
        order = torch.randperm(count, generator=generator) if is_shuffled else torch.arange(count)
        is_dropped = torch.rand(count, generator=generator) < self.dropout
        is_filled = torch.rand(count, generator=generator) > self.removal
        timeline = shuffle_dropout(num_frames, window=window, order=order, is_dropped=is_dropped, is_filled=is_filled)
        is_noise = torch.rand(len(timeline), generator=generator) >= self.black
        return Timeline(timeline.frames, timeline.fills * (1 + is_noise).to(torch.uint8))


@dataclass(frozen=True)
class FastForward:
    """Attributes: steps: of which one is drawn; the end is left out."""

    steps: tuple[int, int] = (2, 4)

    def draw(self, num_frames: int, generator: Generator) -> Timeline:
        return fast_forward(num_frames, _integer(*self.steps, generator))


@dataclass(frozen=True)
class SlowMotion:
    """Attributes: factor: times that every frame is shown."""

    factor: int = 2

    def draw(self, num_frames: int, generator: Generator) -> Timeline:
        return slow_motion(num_frames, self.factor)


@dataclass(frozen=True)
class Reverse:
    """Backwards."""

    def draw(self, num_frames: int, generator: Generator) -> Timeline:
        return reverse(num_frames)


@dataclass(frozen=True)
class Pause:
    """Attributes: max_frames: fewer than these stand still (published: a quarter of the frames of a view)."""

    max_frames: int = 8

    def draw(self, num_frames: int, generator: Generator) -> Timeline:
        start = _integer(0, max(1, num_frames - 1), generator)  # published: never the last; a lone frame is the first
        return pause(num_frames, start=start, duration=_integer(0, self.max_frames, generator))


@dataclass(frozen=True)
class Unchanged:
    """As it is."""

    def draw(self, num_frames: int, generator: Generator) -> Timeline:
        return Timeline.of(torch.arange(num_frames))


@dataclass(frozen=True)
class OneOf:
    """Exactly one temporal transformation.

    Attributes:
        chances: of each; what is left to 1 is the chance of none.
    """

    chances: Mapping[TemporalTransformation, float] = field(
        default_factory=lambda: {
            ShuffleDropout(): 0.5,
            FastForward(): 0.1,
            SlowMotion(): 0.1,
            Reverse(): 0.1,
            Pause(): 0.1,
        }
    )

    def draw(self, num_frames: int, generator: Generator) -> Timeline:
        place = _chance(generator)
        for transformation, chance in self.chances.items():
            if place < chance:
                return transformation.draw(num_frames, generator)
            place -= chance
        return Unchanged().draw(num_frames, generator)


def show(timeline: Timeline, clip: Tensor, noise: Tensor) -> Tensor:
    """The frames of a view, [T, ...] uint8.

    Args:
        clip: [N, ...] uint8.
        noise: uint8, frames for the places that are NOISE, in their order.
    """
    frames = clip[timeline.frames]
    frames[timeline.fills == BLACK] = 0
    frames[timeline.fills == NOISE] = noise
    return frames


def draw_noise(timeline: Timeline, clip: Tensor, generator: Generator) -> Tensor:
    """For `show`: uniform over 0 to 254, every pixel and channel by itself (published)."""
    return torch.randint(0, 255, (int((timeline.fills == NOISE).sum()), *clip.shape[1:]), generator=generator).to(
        torch.uint8
    )


def _integer(start: int, end: int, generator: Generator) -> int:
    """From start to before end."""
    return int(torch.randint(start, end, (), generator=generator))


def _chance(generator: Generator) -> float:
    return float(torch.rand((), generator=generator))

"""Samples of one file, as a worker sends them, become chunks; what was sent before a worker ends is not lost with it.

worker ─► samples, one by one ─► [joining] ─► chunks of Frames
                                 this module
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visil.media.reader import CHUNK_SAMPLES, MAX_SAMPLES
from visil.values import Frames, VideoInfo


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a file.

    Attributes:
        time_s: seconds since the first shown frame.
        duration_s: of the video as far as it was decoded, as in `Frames`.
        shape: (height, width, 3).
        pixels: RGB.
        video: facts about the source, with sample 0.
    """

    time_s: float
    duration_s: float
    shape: tuple[int, int, int]
    pixels: bytes
    video: VideoInfo | None


class Joining:
    """Joins the samples of one file to the chunks that a `FrameReader` yields.

    A file may be read several times from its beginning: more densely, in another way, by another worker. What the
    last reading gives counts; if it is broken off, the one that came furthest.
    """

    def __init__(self) -> None:
        self._number = 0  # of the next sample of this reading
        self._num_given = 0  # samples in chunks that were given out
        self._last_given: Sample | None = None
        self._waiting: list[Sample] = []  # of this reading, behind those that were given out
        self._longest: list[Sample] = []  # of an earlier reading
        self._video: VideoInfo | None = None

    @property
    def has_samples(self) -> bool:
        """Whether anything was sampled, in any reading."""
        return bool(self._kept)

    def add(self, number: int, sample: Sample) -> Frames | None:
        """The next sample; number 0 begins a new reading. A chunk is there when the sample behind it is.

        Raises:
            ValueError: no reader gives samples like these.
        """
        if number == 0:
            self._longest = self._kept
            self._waiting = []
            self._number = 0
            self._video = sample.video
        if number != self._number or number >= MAX_SAMPLES or self._video is None:
            raise ValueError("a sample is missing, or there are more than any reader yields")
        self._number += 1
        if number < self._num_given:
            return None  # given out already, in an earlier reading
        before = self._waiting[-1] if self._waiting else self._last_given
        if before is not None and (before.shape != sample.shape or before.time_s > sample.time_s):
            raise ValueError("samples of several sizes, or not in order")
        chunk = None
        if len(self._waiting) == CHUNK_SAMPLES:
            self._last_given = self._waiting[-1]
            chunk = self._joined(self._waiting, sample.duration_s)
            self._num_given += CHUNK_SAMPLES
            self._waiting, self._longest = [], []
        self._waiting.append(sample)
        return chunk

    def ended(self, *, duration_s: float, warning: str, cut_short: str) -> Frames:
        """The last chunk of a video that was read to its end.

        Raises:
            ValueError: it has no samples.
        """
        return self._joined(self._waiting, duration_s, warning, cut_short)

    def broken_off(self, reason: str, reason_class: str) -> Frames:
        """The last chunk of a video of which there is no more; it must have samples."""
        kept = self._kept
        warning = f"{reason}; kept up to {kept[-1].time_s:.1f} s"
        return self._joined(kept, kept[-1].duration_s, warning, reason_class)

    @property
    def _kept(self) -> list[Sample]:
        return max(self._waiting, self._longest, key=len)  # the newer one of two that are equally long

    def _joined(self, samples: list[Sample], duration_s: float, warning: str = "", cut_short: str = "") -> Frames:
        if not samples or self._video is None:
            raise ValueError("a video without samples")
        pixels = np.frombuffer(b"".join([sample.pixels for sample in samples]), dtype=np.uint8)
        return Frames(
            pixels.reshape(len(samples), *samples[0].shape),
            np.array([sample.time_s for sample in samples]),
            self._video,
            duration_s,
            warning,
            cut_short,
        )

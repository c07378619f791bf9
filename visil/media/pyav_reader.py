"""Reads video files with PyAV (FFmpeg).

file ─► samples ─► [bars off ─► resize, crop ─► Frames]
        one_pass.py     this module, with bar_pictures.py, bars.py, pictures.py and chunks.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from visil.errors import MediaError
from visil.media.bar_pictures import Waits, bars_and_samples, bars_of_file
from visil.media.bars import Bars, Cutter
from visil.media.chunks import chunks
from visil.media.one_pass import Asked, Decoding
from visil.media.opening import reason_of, refuse_huge, refuse_tiles
from visil.media.pictures import input_picture
from visil.media.preprocessing import Preprocessing
from visil.media.reader import Sampled, nobody
from visil.media.sampling import Samples, ShownFrame, part_of
from visil.media.thinning import ThinningError
from visil.values import Frames, VideoInfo

LONG_GAP_S = 10  # before a part: less is as soon read as passed over


class PyAVReader:
    """The default reader; see `FrameReader`."""

    def __init__(self, *, in_full: bool = False) -> None:
        """
        Args:
            in_full: decode every frame, not only those that sampling needs: the same samples, slower.
        """
        self._in_full = in_full

    def read(
        self,
        path: Path,
        preprocessing: Preprocessing,
        *,
        span_s: tuple[float, float] | None = None,
        stills: bool = False,
        alive: Callable[[], None] = lambda: None,
        sampled: Sampled = nobody,
        packet_s: float | None = None,
    ) -> Iterator[Frames]:
        part = None if span_s is None else part_of(span_s)
        asked = Asked(path, preprocessing, part, stills, alive, sampled, packet_s)
        num_chunks = 0
        for way in [_Way.IN_FULL] if self._in_full else _Way:
            try:
                for frames in islice(_read(asked, way), num_chunks, None):
                    yield frames
                    num_chunks += 1
                return
            except ThinningError:  # the chunks so far are those of every way
                continue


class _Way(Enum):
    """How a file is decoded, the fastest first; all give the same samples, the last always does."""

    SEEKING = "only what sampling needs, from the last group of pictures before the part"
    THINLY = "only what sampling needs"
    IN_FULL = "every frame"


def _read(asked: Asked, way: _Way) -> Iterator[Frames]:
    preprocessing = asked.preprocessing
    rate = Fraction(preprocessing.fps).limit_denominator(10_000)
    zero_s = None
    if way is _Way.SEEKING:
        if asked.part is None or asked.part[0] < LONG_GAP_S or preprocessing.sampling != "time":
            raise ThinningError("there is nothing to pass over")
        with Decoding(replace(asked, part=None), rate, thinly=True) as decoding:
            next(decoding.frames())
            zero_s = decoding.first_s
    bars = bars_of_file(asked) if asked.part is not None or preprocessing.bars == "keep" else None
    with Decoding(asked, rate, thinly=way is not _Way.IN_FULL, zero_s=zero_s) as decoding:
        video, samples = decoding.samples()
        if bars is None:
            bars, samples = bars_and_samples(asked, decoding, samples, _sender(decoding, asked, video))
        chunked = _chunks(decoding, asked, video, samples, bars)
        first = next(chunked)
        if len(first) >= preprocessing.min_samples or not preprocessing.fills_short_videos:
            yield first
            yield from chunked
            return
        wanted = min(preprocessing.min_samples, decoding.num_frames)
        if wanted <= len(first):
            yield first
            return
        dense_rate = wanted / (decoding.end_s - (asked.part[0] if asked.part else 0))
    # A short video: decode it once more, evenly. Its length was unknown until its last frame had been decoded.
    with Decoding(asked, dense_rate, thinly=way is not _Way.IN_FULL, zero_s=zero_s) as decoding:
        video, samples = decoding.samples()
        yield from _chunks(decoding, asked, video, samples, bars)


def _sender(decoding: Decoding, asked: Asked, video: VideoInfo) -> Waits:
    """Sends samples with their bars while these are measured: whatever ends the decoder then, they are kept."""

    def send(number: int, time_s: Fraction, frame: ShownFrame[av.VideoFrame]) -> None:
        image = np.ascontiguousarray(input_picture(frame.picture, asked.preprocessing, video))
        asked.sampled(number, Frames(image[None], np.array([float(time_s)]), video, float(decoding.end_s)))

    return send


def read_still(source: Path | BinaryIO, preprocessing: Preprocessing) -> np.ndarray:
    """A still picture as a frame, uint8 RGB [1, H, W, 3].

    Raises:
        MediaError: not a picture.
    """
    try:
        with av.open(f"file:{source}" if isinstance(source, Path) else source, mode="r") as container:
            refuse_tiles(source, container)
            picture = next(container.decode(video=0))
    except (av.FFmpegError, OSError, ValueError, IndexError, StopIteration) as error:
        raise MediaError(f"{source}: not a picture ({reason_of(error)})") from error
    refuse_huge(source, picture.width, picture.height)
    size = (picture.width, picture.height)
    return np.ascontiguousarray(input_picture(picture, preprocessing, VideoInfo(size, size, size, 0, "still", 0.0)))[
        None
    ]


def _chunks(
    decoding: Decoding,
    asked: Asked,
    video: VideoInfo,
    samples: Samples[av.VideoFrame],
    bars: Bars,
) -> Iterator[Frames]:
    cut, inside = Cutter(bars), bars.inside(video)
    return chunks(
        decoding.path,
        samples,
        asked.preprocessing.sampling,
        lambda frame: input_picture(cut(frame.picture), asked.preprocessing, inside),
        lambda images, times_s: Frames(
            images, times_s, video, float(decoding.end_s), decoding.warning, decoding.cut_short
        ),
        asked.sampled,
    )

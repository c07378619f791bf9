"""Reads video files with PyAV (FFmpeg).

file ─► [decoded pictures ─► sampling ─► resize, crop ─► Frames]
opening.py   this module puts sampling.py and preprocessing.py behind FFmpeg's decoders
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from visil.errors import MediaError
from visil.media.completeness import Completeness
from visil.media.opening import header_duration_s, open_video, out_of_memory, reason_of, refuse_huge
from visil.media.pictures import input_picture, video_info
from visil.media.preprocessing import Preprocessing
from visil.media.reader import CHUNK_SAMPLES
from visil.media.sampling import (
    FALLBACK_FPS,
    ShownFrame,
    opencv_step,
    sample_as_ffmpeg,
    sample_as_opencv,
    sample_by_time,
)
from visil.values import Frames, VideoInfo

MAX_SPAN_S = 48 * 3600  # beyond it the timestamps are broken, not the video long
MAX_SAMPLES = 200_000


class PyAVReader:
    """The default reader; see `FrameReader`."""

    def read(
        self,
        path: Path,
        preprocessing: Preprocessing,
        *,
        span_s: tuple[float, float] | None = None,
        stills: bool = False,
        alive: Callable[[], None] = lambda: None,
    ) -> Iterator[Frames]:
        rate = Fraction(preprocessing.fps).limit_denominator(10_000)
        with _Decoding(path, stills=stills) as decoding:
            chunks = _chunks(decoding, preprocessing, rate)
            first = next(chunks, None)
            if first is None:
                raise MediaError(
                    f"{path}: too short for the `{preprocessing.sampling}` sampler: no frame is taken", "no_frames"
                )
            if len(first) >= preprocessing.min_samples or preprocessing.sampling != "time":
                yield first
                yield from chunks
                return
            wanted = min(preprocessing.min_samples, decoding.num_frames)
            if wanted <= len(first):
                yield first
                return
            dense_rate = wanted / decoding.end_s
        # A short video: decode it once more, evenly. Its length was unknown until its last frame had been decoded.
        with _Decoding(path, stills=stills) as decoding:
            yield from _chunks(decoding, preprocessing, dense_rate)


def read_still(source: Path | BinaryIO, preprocessing: Preprocessing) -> np.ndarray:
    """A still picture as a frame, uint8 RGB [1, H, W, 3].

    Raises:
        MediaError: not a picture.
    """
    try:
        with av.open(f"file:{source}" if isinstance(source, Path) else source, mode="r") as container:
            picture = next(container.decode(video=0))
    except (av.FFmpegError, OSError, ValueError, IndexError, StopIteration) as error:
        raise MediaError(f"{source}: not a picture ({reason_of(error)})") from error
    refuse_huge(source, picture.width, picture.height)
    size = (picture.width, picture.height)
    return np.ascontiguousarray(input_picture(picture, preprocessing, VideoInfo(size, size, size, 0, "still", 0.0)))[
        None
    ]


class _Decoding:
    """One pass over the shown frames of a file; counts what it has seen."""

    def __init__(self, path: Path, *, stills: bool = False) -> None:
        self.path = path
        self.num_frames = 0
        self.warning = ""
        self.first_s = Fraction(0)
        self.end_s = Fraction(0)
        self.container, self.stream = open_video(path, stills=stills)
        self.completeness = Completeness(header_duration_s(self.container, self.stream))
        self.codec = self.stream.codec_context
        self.nominal_s = 1 / Fraction(self.stream.guessed_rate or Fraction(FALLBACK_FPS))

    def __enter__(self) -> _Decoding:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    @property
    def reported_fps(self) -> float | None:
        return float(self.stream.guessed_rate) if self.stream.guessed_rate else None

    @property
    def start_on_file_axis_s(self) -> Fraction:
        """First shown frame on the axis whose zero is the start of the earliest stream, seconds."""
        container_start_s = Fraction(self.container.start_time or 0, av.time_base)
        return self.first_s - container_start_s

    def frames(self) -> Iterator[ShownFrame[av.VideoFrame]]:
        """Shown frames in presentation order. A frame is shown until the next one, the last for its own duration.

        A frame without a timestamp follows one frame duration after the frame before; a frame that is not later
        than the one before is dropped (overlapping fragments, damaged timestamps).
        """
        shown: tuple[Fraction, Fraction, av.VideoFrame] | None = None
        for frame in self._decoded():
            nominal_s = self._own_duration_s(frame)
            if shown is None:
                time_s = self.first_s = self._timestamp_s(frame) or Fraction(0)
            else:
                stamped = self._timestamp_s(frame)
                time_s = stamped if stamped is not None else shown[0] + shown[1]
                if time_s <= shown[0]:
                    continue
                self._refuse_endless(time_s)
                yield self._shown(shown, until_s=time_s)
            shown = (time_s, nominal_s, frame)
        self.completeness.check(self.path)
        assert shown is not None
        self._refuse_endless(shown[0] + shown[1])
        last = self._shown(shown, until_s=shown[0] + shown[1])
        self.warning = self.completeness.warning(self.end_s)
        yield last

    def _refuse_endless(self, until_s: Fraction) -> None:
        if until_s - self.first_s > MAX_SPAN_S:
            raise MediaError(
                f"{self.path}: its timestamps span more than {MAX_SPAN_S // 3600} hours; cut it, or repair them"
            )

    def _shown(
        self, frame: tuple[Fraction, Fraction, av.VideoFrame], *, until_s: Fraction
    ) -> ShownFrame[av.VideoFrame]:
        time_s, _, picture = frame
        self.num_frames += 1
        self.end_s = until_s - self.first_s
        return ShownFrame(time_s - self.first_s, until_s - time_s, picture)

    def _decoded(self) -> Iterator[av.VideoFrame]:
        complete = self.completeness
        try:
            for packet in self.container.demux(self.stream):
                complete.num_packets += packet.size > 0 and not packet.is_discard
                try:
                    pictures = packet.decode()
                except av.InvalidDataError:
                    complete.refused()
                    continue  # a damaged packet costs its own frames, not the rest of the video
                for picture in pictures:
                    refuse_huge(self.path, picture.width, picture.height)
                    complete.decoded()
                    yield picture
        except MemoryError as error:
            raise out_of_memory(self.path) from error
        except (av.FFmpegError, OSError, ValueError) as error:
            if complete.num_frames == 0:
                raise MediaError(f"{self.path}: cannot be decoded ({reason_of(error)})") from error
            complete.stopped = f"decoding stopped early ({reason_of(error)})"  # the frames before it count

    def _timestamp_s(self, frame: av.VideoFrame) -> Fraction | None:
        if frame.pts is None or frame.time_base is None:
            return None
        return frame.pts * Fraction(frame.time_base)

    def _own_duration_s(self, frame: av.VideoFrame) -> Fraction:
        if frame.duration and frame.time_base:
            return frame.duration * Fraction(frame.time_base)
        return self.nominal_s


def _chunks(decoding: _Decoding, preprocessing: Preprocessing, rate: Fraction) -> Iterator[Frames]:
    """Sample, resize and stack; nothing at all if the sampler takes no frame."""
    images: list[np.ndarray] = []
    times_s: list[float] = []
    video: VideoInfo | None = None
    previous: ShownFrame[av.VideoFrame] | None = None
    for num_samples, (time_s, frame) in enumerate(_samples(decoding, preprocessing, rate)):
        if num_samples >= MAX_SAMPLES:
            raise MediaError(f"{decoding.path}: its timestamps span more than {MAX_SAMPLES} samples; re-encode it")
        if video is None:
            video = video_info(decoding.stream, frame.picture, decoding.first_s)
        if len(images) == CHUNK_SAMPLES:  # yielded late, so that the last chunk knows the end of the video
            yield _frames(decoding, images, times_s, video)
            images, times_s = [], []
        if previous is None or frame.picture is not previous.picture:
            image = input_picture(frame.picture, preprocessing, video)
        previous = frame
        images.append(image)
        times_s.append(float(time_s))
    if video is not None:
        yield _frames(decoding, images, times_s, video)


def _frames(decoding: _Decoding, images: list[np.ndarray], times_s: list[float], video: VideoInfo) -> Frames:
    return Frames(
        np.ascontiguousarray(np.stack(images)),
        np.array(times_s),
        video,
        float(decoding.end_s),
        decoding.warning,
    )


def _samples(
    decoding: _Decoding, preprocessing: Preprocessing, rate: Fraction
) -> Iterator[tuple[Fraction, ShownFrame[av.VideoFrame]]]:
    if preprocessing.sampling == "opencv":
        try:
            step = opencv_step(decoding.reported_fps, preprocessing.fps)
        except ValueError as error:
            raise MediaError(f"{decoding.path}: {error}") from error
        yield from sample_as_opencv(decoding.frames(), step)
    elif preprocessing.sampling == "ffmpeg":
        frames = decoding.frames()
        first = next(frames)  # now the start is known
        yield from sample_as_ffmpeg(chain([first], frames), rate, decoding.start_on_file_axis_s)
    else:
        yield from sample_by_time(decoding.frames(), rate)

"""What decord and torchcodec share: they fetch frames by number, so the frames are chosen before any is decoded.

    file ─► packets, their times ─► sampling ─► [numbers ─► decord or torchcodec ─► pictures] ─► resize ─► Frames
            PyAV                                this module

Regular files only. Both decoders follow playlists and addresses inside a file, so they are given a file only if PyAV
opens it and its first bytes are those of a container that holds everything itself. Both misjudge some files without
an error, so the number of frames and the time of every fetched frame are compared with the packets' own. Whatever
does not fit is an error that names the PyAV reader, never another frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import ClassVar, Protocol

import av
import numpy as np

from visil.errors import MediaError
from visil.media.opening import open_video, reason_of
from visil.media.pictures import input_picture, video_info
from visil.media.preprocessing import Preprocessing
from visil.media.pyav_reader import MAX_SAMPLES, MAX_SPAN_S
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

HEAD_BYTES = 64  # the document type of Matroska and WebM lies within
Samples = Iterator[tuple[Fraction, ShownFrame[int]]]


class NumberedPictures(Protocol):
    """An opened file whose frames are fetched by number, 0 for the first shown; numbers are asked for in order."""

    def __len__(self) -> int:
        """How many frames the decoder believes there are."""
        ...

    def fetch(self, number: int) -> tuple[float, np.ndarray]:
        """Seconds since frame 0, and the picture as shown (turned), uint8 RGB [H, W, 3]."""
        ...


class ByNumberReader(ABC):
    """A `FrameReader` around a decoder that fetches frames by number.

    Attributes:
        name: of the reader, for messages.
        failures: what the decoder raises on files that it cannot read.
    """

    name: ClassVar[str]
    failures: tuple[type[Exception], ...]

    @abstractmethod
    def open_pictures(self, path: Path, stream_index: int) -> NumberedPictures:
        """Open a video stream of a local file, given by its absolute path."""

    def read(
        self,
        path: Path,
        preprocessing: Preprocessing,
        *,
        span_s: tuple[float, float] | None = None,
        stills: bool = False,
        alive: Callable[[], None] = lambda: None,
    ) -> Iterator[Frames]:
        """See `FrameReader.read`."""
        try:
            packets = _scan(path, stills=stills, alive=alive)
            if span_s is not None:
                raise _IrregularError("a range of it is asked for")
            yield from self._chunks(path, packets, preprocessing, alive)
        except _IrregularError as error:
            raise MediaError(
                f"{path}: not for the {self.name} reader ({error}); the pyav reader reads it", "unsupported_format"
            ) from error

    def _chunks(
        self, path: Path, packets: _Packets, preprocessing: Preprocessing, alive: Callable[[], None]
    ) -> Iterator[Frames]:
        try:
            pictures = self.open_pictures(path.absolute(), packets.stream_index)
            if len(pictures) != packets.num_frames:
                raise _IrregularError(f"it counts {len(pictures)} frames, the file has {packets.num_frames}")
        except self.failures as error:
            raise _IrregularError("it cannot open it") from error
        images: list[np.ndarray] = []
        times_s: list[float] = []
        number = -1
        for time_s, frame in _samples(path, packets, preprocessing):
            if len(images) == CHUNK_SAMPLES:
                yield _frames(images, times_s, packets)
                images, times_s = [], []
            if frame.picture != number:
                image = input_picture(self._fetched(pictures, frame, packets.video), preprocessing, packets.video)
                number = frame.picture
            alive()
            images.append(image)
            times_s.append(float(time_s))
        if not images:
            raise MediaError(
                f"{path}: too short for the `{preprocessing.sampling}` sampler: no frame is taken", "no_frames"
            )
        yield _frames(images, times_s, packets)

    def _fetched(self, pictures: NumberedPictures, frame: ShownFrame[int], video: VideoInfo) -> av.VideoFrame:
        try:
            time_s, pixels = pictures.fetch(frame.picture)
        except self.failures as error:
            raise _IrregularError(f"it cannot decode frame {frame.picture}") from error
        if not abs(time_s - frame.time_s) < frame.duration_s / 2:
            raise _IrregularError(f"it gives frame {frame.picture} the time {time_s:g} s, not {float(frame.time_s):g}")
        if pixels.shape != (*reversed(video.rotated_size_px), 3):
            raise _IrregularError(f"it gives frame {frame.picture} the shape {pixels.shape}")
        return av.VideoFrame.from_ndarray(pixels, format="rgb24")


class _IrregularError(Exception):
    """Why a file is the PyAV reader's alone."""


@dataclass(frozen=True)
class _Packets:
    """What is known of a video before its frames are decoded.

    Attributes:
        starts: presentation times of all frames, ascending, in `time_base` seconds.
        last_duration_s: how long the last frame is shown.
        start_on_file_axis_s: first shown frame on the axis whose zero is the start of the earliest stream.
    """

    video: VideoInfo
    stream_index: int
    reported_fps: float | None
    start_on_file_axis_s: Fraction
    starts: array[int]
    time_base: Fraction
    last_duration_s: Fraction

    @property
    def num_frames(self) -> int:
        return len(self.starts)

    @property
    def end_s(self) -> Fraction:
        return self._time_s(-1) + self.last_duration_s

    def frames(self) -> Iterator[ShownFrame[int]]:
        """Shown frames in order of presentation; a picture is its number."""
        for number in range(self.num_frames):
            time_s = self._time_s(number)
            until_s = self._time_s(number + 1) if number + 1 < self.num_frames else self.end_s
            yield ShownFrame(time_s, until_s - time_s, number)

    def _time_s(self, number: int) -> Fraction:
        return (self.starts[number] - self.starts[0]) * self.time_base


def _scan(path: Path, *, stills: bool, alive: Callable[[], None]) -> _Packets:
    """Times of all packets; only the first frame is decoded, for the facts that it alone tells."""
    container, stream = open_video(path, stills=stills)
    with container:
        if not _holds_everything(path):
            raise _IrregularError("it opens MP4, MOV, Matroska, WebM and AVI only")
        if len([s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]) > 1:
            raise _IrregularError("several video streams")
        starts, last, picture = array("q"), (-1, 0), None
        try:
            for packet in container.demux(stream):
                alive()
                if picture is None:
                    picture = next(iter(packet.decode()), None)
                if not packet.size or packet.is_discard:  # the end, or hidden by an edit list
                    continue
                if packet.is_corrupt:
                    raise _IrregularError("damaged")
                if packet.pts is None:
                    raise _IrregularError("a frame without a timestamp")
                starts.append(packet.pts)
                last = max(last, (packet.pts, packet.duration or 0))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise _IrregularError(f"damaged: {reason_of(error)}") from error
        starts = array("q", sorted(starts))
        if picture is None or picture.is_corrupt or not starts or picture.pts != starts[0]:
            raise _IrregularError("its first frame is hidden or damaged")
        if any(a == b for a, b in pairwise(starts)):
            raise _IrregularError("two frames at one time")
        time_base = Fraction(stream.time_base or 0)
        first_s = starts[0] * time_base
        nominal_s = 1 / Fraction(stream.guessed_rate or Fraction(FALLBACK_FPS))
        packets = _Packets(
            video=video_info(stream, picture, first_s),
            stream_index=stream.index,
            reported_fps=float(stream.guessed_rate) if stream.guessed_rate else None,
            start_on_file_axis_s=first_s - Fraction(container.start_time or 0, av.time_base),
            starts=starts,
            time_base=time_base,
            last_duration_s=last[1] * time_base or nominal_s,
        )
    if packets.end_s > MAX_SPAN_S:
        raise _IrregularError(f"its timestamps span more than {MAX_SPAN_S // 3600} hours")
    return packets


def _holds_everything(path: Path) -> bool:
    """A container that FFmpeg takes for nothing else, whatever its version, and that names no other file."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    is_mp4 = head[4:8] == b"ftyp"
    is_matroska = head.startswith(b"\x1a\x45\xdf\xa3") and (b"matroska" in head or b"webm" in head)
    return is_mp4 or is_matroska or (head.startswith(b"RIFF") and head[8:12] == b"AVI ")


def _samples(path: Path, packets: _Packets, preprocessing: Preprocessing) -> Samples:
    rate = Fraction(preprocessing.fps).limit_denominator(10_000)
    if packets.end_s * rate > MAX_SAMPLES:
        raise _IrregularError(f"more than {MAX_SAMPLES} samples")
    if preprocessing.sampling == "opencv":
        try:
            step = opencv_step(packets.reported_fps, preprocessing.fps)
        except ValueError as error:
            raise MediaError(f"{path}: {error}") from error
        return sample_as_opencv(packets.frames(), step)
    if preprocessing.sampling == "ffmpeg":
        return sample_as_ffmpeg(packets.frames(), rate, packets.start_on_file_axis_s)
    taken = len(list(islice(sample_by_time(packets.frames(), rate), preprocessing.min_samples)))
    wanted = min(preprocessing.min_samples, packets.num_frames)
    return sample_by_time(packets.frames(), wanted / packets.end_s if taken < wanted else rate)


def _frames(images: list[np.ndarray], times_s: list[float], packets: _Packets) -> Frames:
    return Frames(np.ascontiguousarray(np.stack(images)), np.array(times_s), packets.video, float(packets.end_s))

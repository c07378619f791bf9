"""When every frame of a regular file is shown, from its packets: only the first frame is decoded.

    file ─► [packets ─► FrameTable] ─► sampling ─► by_number.py fetches the frames that are wanted

Regular: a container that holds everything itself, one video stream, a timestamp on every packet that the clock
believes, nothing damaged.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from visil.media.clock import PacketTimes
from visil.media.completeness import Completeness
from visil.media.opening import (
    OLD_X264,
    full_streams,
    header_duration_s,
    is_still,
    is_transparent_webm,
    open_video,
    reason_of,
)
from visil.media.pictures import has_alpha, turn_of, video_info
from visil.media.reader import MAX_SPAN_S
from visil.media.sampling import FALLBACK_FPS, ShownFrame
from visil.values import VideoInfo

HEAD_BYTES = 64  # the document type of Matroska and WebM lies within
TRANSPARENT = "it may be transparent"


class IrregularError(Exception):
    """Why a file is left to the PyAV reader."""


@dataclass(frozen=True)
class FrameTable:
    """What is known of a video before its frames are decoded.

    Attributes:
        video: facts, from the headers and the first frame.
        stream_index: of the video stream, among all streams of the file.
        reported_fps: frames a second as the headers tell them.
        start_on_file_axis_s: first shown frame on the axis whose zero is the start of the earliest stream.
        starts: int64 [N], ascending, when each frame is shown, in units of time_base.
        is_key: bool [N]; the first frame counts as a key frame.
        time_base: seconds.
        last_duration_s: how long the last frame is shown.
    """

    video: VideoInfo
    stream_index: int
    reported_fps: float | None
    start_on_file_axis_s: Fraction
    starts: np.ndarray = field(repr=False)
    is_key: np.ndarray = field(repr=False)
    time_base: Fraction
    last_duration_s: Fraction

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def end_s(self) -> Fraction:
        """End of the last frame, seconds since the first."""
        return self.time_s(len(self) - 1) + self.last_duration_s

    def time_s(self, number: int) -> Fraction:
        """When a frame is shown, seconds since the first."""
        return int(self.starts[number] - self.starts[0]) * self.time_base

    def duration_s(self, number: int) -> Fraction:
        """How long a frame is shown."""
        return (self.time_s(number + 1) if number + 1 < len(self) else self.end_s) - self.time_s(number)

    def frames(self) -> Iterator[ShownFrame[int]]:
        """Frames in order of presentation, each shown until the next; a picture is the frame's number."""
        for number in range(len(self)):
            yield ShownFrame(self.time_s(number), self.duration_s(number), number)


def read_frame_table(
    path: Path, *, stills: bool, alive: Callable[[], None], packet_s: float | None = None
) -> FrameTable:
    """The times of all frames of a file.

    Args:
        alive: called for every packet.
        packet_s: seconds in which the next must be found; see `open_video`.

    Raises:
        MediaError: not a readable video.
        IrregularError: a video, but not a regular one.
    """
    container, stream = open_video(path, stills=stills, packet_s=packet_s)
    with container:
        _require_regular(path, container, stream)
        try:
            return _frame_table(container, stream, alive)
        except MemoryError:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            raise IrregularError(f"damaged: {reason_of(error)}") from error


def _require_regular(path: Path, container: InputContainer, stream: VideoStream) -> None:
    """By first bytes that every version of FFmpeg takes for the same container, and none for a playlist."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    is_mp4 = head[4:8] == b"ftyp"
    is_matroska = head.startswith(b"\x1a\x45\xdf\xa3") and (b"matroska" in head or b"webm" in head)
    is_avi = head.startswith(b"RIFF") and head[8:12] == b"AVI "
    if not (is_mp4 or is_matroska or is_avi) or is_still(path, container):
        raise IrregularError("it opens MP4, MOV, Matroska, WebM and AVI only")
    if len(full_streams(container)) > 1:
        raise IrregularError("several video streams")
    if is_transparent_webm(stream):
        raise IrregularError(TRANSPARENT)
    if OLD_X264.items() <= stream.codec_context.options.items():
        raise IrregularError("an old x264 wrote it wrongly")


def _frame_table(container: InputContainer, stream: VideoStream, alive: Callable[[], None]) -> FrameTable:
    picture: av.VideoFrame | None = None
    times, durations, keys = array("q"), array("q"), bytearray()
    time_base = Fraction(stream.time_base or 0)
    believed = PacketTimes(time_base)
    for packet in container.demux(stream):
        alive()
        if picture is None:
            picture = next(iter(packet.decode()), None)
        if not packet.size or packet.is_discard:  # the end, or hidden by an edit list
            continue
        if packet.is_corrupt:
            raise IrregularError("damaged")
        if packet.pts is None:
            raise IrregularError("a frame without a timestamp")
        if not believed.agree(packet.pts):
            raise IrregularError("its timestamps go back, or a frame is far from the one before")
        times.append(packet.pts)
        durations.append(packet.duration or 0)
        keys.append(packet.is_keyframe)
    order = np.argsort(times, kind="stable")
    starts, is_key = np.array(times)[order], np.array(keys, dtype=bool)[order]
    if picture is None or picture.is_corrupt or not len(starts) or picture.pts != starts[0]:
        raise IrregularError("its first frame is hidden or damaged")
    if has_alpha(picture.format.name):
        raise IrregularError(TRANSPARENT)
    if turn_of(picture).ignored:
        raise IrregularError("its display matrix is no quarter turn")
    if (np.diff(starts) == 0).any():
        raise IrregularError("two frames at one time")
    is_key[0] = True
    first_s = int(starts[0]) * time_base
    table = FrameTable(
        video=video_info(stream, picture, first_s),
        stream_index=stream.index,
        reported_fps=float(stream.guessed_rate) if stream.guessed_rate else None,
        start_on_file_axis_s=first_s - Fraction(container.start_time or 0, av.time_base),
        starts=starts,
        is_key=is_key,
        time_base=time_base,
        last_duration_s=durations[order[-1]] * time_base or 1 / Fraction(stream.guessed_rate or Fraction(FALLBACK_FPS)),
    )
    if table.end_s > MAX_SPAN_S:
        raise IrregularError(f"its timestamps span more than {MAX_SPAN_S // 3600} hours")
    promised = Completeness(header_duration_s(container, stream), num_packets=len(table), num_frames=len(table))
    if warning := promised.warning(table.end_s):
        raise IrregularError(f"damaged: {warning}")
    return table

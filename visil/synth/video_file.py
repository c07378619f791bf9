"""Pictures from files and files from pictures, one picture at a time.

    file ─► [read_pictures, pictures_at] ─► edits, montages ─► [write_video] ─► file

One decoding and one encoding thread, so that the same pictures give the same bytes on the same machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from visil.av_versions import OPEN_OPTIONS
from visil.errors import MediaError

TIMESTAMP_SLACK_S = 0.002  # webm and flv round timestamps to milliseconds
FALLBACK_FPS = Fraction(25)
MAX_FPS = Fraction(60)
DEFAULT_CRF = 26  # x264's quality scale: 23 is its default, 26 saves a third
# Macroblock-tree rate control is off: with it the same pictures gave 2 or 3 different files in 6 runs.
X264_OPTIONS = {"preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}


@dataclass(frozen=True)
class VideoFacts:
    """Size of the pictures as shown, their rate, and how long they last."""

    width_px: int
    height_px: int
    fps: Fraction
    duration_s: float


def video_facts(path: Path) -> VideoFacts:
    """Rate and duration from the timestamps of the packets; the header is asked for the rate only."""
    with _open(path) as container:
        stream = container.streams.video[0]
        fps = min(Fraction(stream.average_rate or FALLBACK_FPS), MAX_FPS)
        starts_s, ends_s = [], []
        for packet in container.demux(stream):
            if packet.pts is not None and packet.time_base and not packet.is_discard:  # an edit list's end
                starts_s.append(packet.pts * packet.time_base)
                ends_s.append(starts_s[-1] + ((packet.duration or 0) * packet.time_base or 1 / fps))
    if not starts_s:
        raise MediaError(f"{path}: no picture has a timestamp")
    height, width = read_still(path).shape[:2]
    return VideoFacts(width, height, fps, float(max(ends_s) - min(starts_s)))


def read_pictures(path: Path, *, max_short_side_px: int | None = None) -> Iterator[tuple[float, np.ndarray]]:
    """Every picture of a video (or the one of a still), as shown: rotation and sample aspect ratio applied.

    Args:
        max_short_side_px: larger pictures are reduced to this short side, smaller ones stay.

    Yields:
        Seconds since the first picture, and the picture, uint8 RGB [H, W, 3].
    """
    for time_s, frame, aspect in _decoded(path):
        yield time_s, _picture(frame, aspect, max_short_side_px)


def pictures_at(path: Path, times_s: Iterable[float], *, max_short_side_px: int | None = None) -> Iterator[np.ndarray]:
    """The picture shown at each of these ascending times; after the last one, the last one stays."""
    frames = _decoded(path)
    shown = next(frames, None)
    if shown is None:
        raise MediaError(f"{path}: no picture could be decoded")
    coming = next(frames, None)
    picture = None
    for time_s in times_s:
        while coming is not None and coming[0] <= time_s + TIMESTAMP_SLACK_S:
            shown, coming, picture = coming, next(frames, None), None
        if picture is None:
            picture = _picture(shown[1], shown[2], max_short_side_px)
        yield picture


def read_still(path: Path) -> np.ndarray:
    """The (first) picture of a file, uint8 RGB [H, W, 3]."""
    return next(pictures_at(path, [0.0]))


def resized(picture: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """The picture at another size: averaged when it shrinks, bicubic when it grows."""
    height, width = picture.shape[:2]
    if (width, height) == (width_px, height_px):
        return picture
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return _rescaled(frame, width_px, height_px, shrinking=width_px * height_px < width * height)


def write_video(
    path: Path,
    pictures: Iterable[np.ndarray],
    fps: Fraction | float,
    *,
    crf: int = DEFAULT_CRF,
    bitrate_bps: int | None = None,
) -> int:
    """Encode pictures of one size as H.264 in MP4 and return how many there were.

    Odd sizes lose their last row or column (4:2:0 colour needs even ones). The file appears under its name
    only when it is complete.

    Args:
        crf: constant quality; without effect when `bitrate_bps` asks for a constant rate instead.
    """
    rate = Fraction(fps).limit_denominator(10_000)
    part = path.with_name(f"{path.name}.part")
    num_pictures = 0
    quality = {"crf": str(crf)}
    if bitrate_bps is not None:
        quality = {"maxrate": str(bitrate_bps), "bufsize": str(bitrate_bps)}
    try:
        with av.open(str(part), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate, options=X264_OPTIONS | quality)
            stream.pix_fmt = "yuv420p"
            if bitrate_bps is not None:
                stream.bit_rate = bitrate_bps
            for picture in pictures:
                even = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
                if num_pictures == 0:
                    stream.height, stream.width = even.shape[:2]
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
                frame.pts, frame.time_base = num_pictures, 1 / rate
                container.mux(stream.encode(frame))
                num_pictures += 1
            if not num_pictures:
                raise ValueError(f"{path.name}: no pictures to write")
            container.mux(stream.encode())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return num_pictures


def _open(path: Path) -> av.container.InputContainer:
    try:
        container = av.open(str(path), **OPEN_OPTIONS)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: cannot be opened ({error})") from error
    if not container.streams.video:
        container.close()
        raise MediaError(f"{path}: no video stream")
    return container


def _decoded(path: Path) -> Iterator[tuple[float, av.VideoFrame, Fraction]]:
    """Seconds since the first picture, the picture, and how much wider than high its pixels are."""
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        frame_s = 1 / Fraction(stream.average_rate or FALLBACK_FPS)
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        first_s = time_s = None
        for frame in container.decode(stream):
            if frame.pts is not None and frame.time_base:
                time_s = frame.pts * frame.time_base
            else:
                time_s = Fraction(0) if time_s is None else time_s + frame_s
            first_s = time_s if first_s is None else first_s
            yield float(time_s - first_s), frame, aspect


def _picture(frame: av.VideoFrame, aspect: Fraction, max_short_side_px: int | None) -> np.ndarray:
    shown_size = (frame.width * max(aspect, Fraction(1)), frame.height / min(aspect, Fraction(1)))
    scale = Fraction(1)
    if max_short_side_px is not None:
        scale = min(scale, max_short_side_px / min(shown_size))
    width, height = (max(2, round(side * scale)) for side in shown_size)
    picture = _rescaled(frame, width, height, shrinking=scale < 1)
    return np.ascontiguousarray(np.rot90(picture, frame.rotation // 90))


def _rescaled(frame: av.VideoFrame, width_px: int, height_px: int, *, shrinking: bool) -> np.ndarray:
    method = "AREA" if shrinking else "BICUBIC"
    return frame.reformat(
        width=width_px, height=height_px, format="rgb24", interpolation=method, threads=1
    ).to_ndarray()

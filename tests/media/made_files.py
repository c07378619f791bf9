"""Small video files made in the tests, whose pictures say which frame they are.

Frame k is one grey level, `level(k)`: lossless or nearly so, whatever the picture is resized to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from visil.media.preprocessing import Preprocessing
from visil.media.pyav_reader import PyAVReader
from visil.values import Frames

LEVEL_STEP = 6
SMALL = Preprocessing(size_px=16, min_samples=1)  # one sample a second, 16 x 16


def level(k: int) -> int:
    """Grey level of frame k; forty different ones, then they start again."""
    return 10 + LEVEL_STEP * (k % 40)


def grey_frames(count: int, size_px: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    """Frames 0 ... count-1, uint8 RGB [H, W, 3]; size is (width, height)."""
    return [np.full((size_px[1], size_px[0], 3), level(k), np.uint8) for k in range(count)]


def write_frames(
    path: Path,
    pictures: Iterable[np.ndarray],
    times_s: Sequence[Fraction | float] | None = None,
    *,
    fps: Fraction | int = 25,
    codec: str = "ffv1",
    container: str | None = None,
    pixel_format: str | None = None,
    sample_aspect: Fraction | None = None,
    rotation_deg: int = 0,
    sound_from_s: float | None = None,
    container_options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
    title: str = "",
) -> Path:
    """Encode pictures, shown at these times (default: one after the other at `fps`).

    Args:
        sound_from_s: add a silent sound track of one second that starts at this time.
    """
    pictures = list(pictures)
    if times_s is None:
        times_s = [Fraction(k) / Fraction(fps) for k in range(len(pictures))]
    time_base = Fraction(1, 1000)
    with av.open(str(path), "w", format=container, container_options=container_options or {}) as output:
        output.metadata.update({"title": title} if title else {})
        stream = output.add_stream(codec, rate=Fraction(fps))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format or {"ffv1": "bgr0", "gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        stream.codec_context.time_base = time_base
        if sample_aspect is not None:
            stream.codec_context.sample_aspect_ratio = sample_aspect
        if codec == "libx264":
            stream.codec_context.options = {"crf": "10", "preset": "ultrafast", "threads": "1"}
        stream.codec_context.options = {**stream.codec_context.options, **(codec_options or {})}
        if rotation_deg:
            stream.set_display_rotation(rotation_deg)
        sound = (
            output.add_stream("pcm_s16le" if path.suffix == ".mkv" else "aac", rate=8000)
            if sound_from_s is not None
            else None
        )
        if sound is not None:
            silence = av.AudioFrame(format="s16", layout="mono", samples=8000)
            for plane in silence.planes:
                plane.update(bytes(plane.buffer_size))
            silence.sample_rate, silence.time_base = 8000, Fraction(1, 8000)
            silence.pts = round(sound_from_s * 8000)
            output.mux(sound.encode(silence))
            output.mux(sound.encode())
        for picture, time_s in zip(pictures, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = round(Fraction(time_s) / time_base), time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def write_grey(path: Path, count: int, *, size_px: tuple[int, int] = (64, 48), **options: object) -> Path:
    """Frames 0 ... count-1 in grey levels; options as in `write_frames`."""
    return write_frames(path, grey_frames(count, size_px), **options)  # type: ignore[arg-type]


def read(path: Path, preprocessing: Preprocessing = SMALL, **options: object) -> list[Frames]:
    """All chunks of a file, decoded in this process; options as in `PyAVReader.read`."""
    return list(PyAVReader().read(path, preprocessing, **options))  # type: ignore[arg-type]


def shown_frames(chunks: Sequence[Frames]) -> list[int]:
    """Which frame each sample shows, by its grey level (modulo 40)."""
    levels = np.concatenate([chunk.images for chunk in chunks]).mean(axis=(1, 2, 3))
    return [round((grey - level(0)) / LEVEL_STEP) for grey in levels]


def times_of(chunks: Sequence[Frames]) -> list[float]:
    """Times of all samples, seconds."""
    return [float(t) for chunk in chunks for t in chunk.times_s]

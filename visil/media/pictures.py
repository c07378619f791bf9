"""One decoded picture -> the input of a backbone, for every reader.

    decoded pictures ─► sampling ─► [turn, resize, crop] ─► Frames
                                    this module puts preprocessing.py behind libswscale

Readers that hand out RGB arrays wrap them in a PyAV frame first: one resampler, whoever decoded.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import atan2, degrees
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from visil.media.preprocessing import MOST_OBLONG, Preprocessing, centre_crop, output_size, resize_cubic_opencv
from visil.values import VideoInfo

SWSCALE_BICUBIC = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
MAX_SKEW_DEG = 1  # matrices are in fixed point, and PyAV cuts their degrees to whole ones
FULL_TURN_DEG = 360
OPAQUE = 255
BLOCK_ROWS = 256  # of a picture that is laid on black at a time


def video_info(stream: VideoStream, picture: av.VideoFrame, start_s: Fraction) -> VideoInfo:
    """Facts about a video: its stream, its first shown frame, and when the file's own clock shows that, seconds."""
    coded = (picture.width, picture.height)
    quarters = turn_of(picture).quarters
    turned = quarters % 2 != 0
    rotated = coded[::-1] if turned else coded
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    if not Fraction(1, MOST_OBLONG) <= aspect * coded[0] / coded[1] <= MOST_OBLONG:
        aspect = Fraction(1)  # damaged: not to be believed
    wide = Fraction(coded[0]) * aspect if aspect >= 1 else Fraction(coded[0])
    high = Fraction(coded[1]) if aspect >= 1 else coded[1] / aspect
    square = (max(1, round(wide)), max(1, round(high)))
    return VideoInfo(
        coded_size_px=coded,
        rotated_size_px=rotated,
        square_pixel_size_px=square[::-1] if turned else square,
        rotation_deg=90 * quarters,
        codec=stream.codec_context.name,
        start_offset_s=float(start_s),
    )


class Turn(NamedTuple):
    """What a display matrix asks for.

    Attributes:
        quarters: how often the picture is turned by 90 degrees counter-clockwise, 0 to 3.
        ignored: what no player shows, so that the picture is left as it is; or an empty text.
    """

    quarters: int
    ignored: str


def turn_of(picture: av.VideoFrame) -> Turn:
    """How a picture is turned for display, and what else its display matrix asks for."""
    if abs(picture.rotation) > FULL_TURN_DEG:  # FFmpeg finds no angle where a column is zero
        return Turn(0, "which leaves no picture")
    if abs((picture.rotation + 45) % 90 - 45) <= MAX_SKEW_DEG:
        return Turn(round(picture.rotation / 90) % 4, "")
    return Turn(0, f"turn by {_clockwise_deg(picture)} degrees clockwise")


def _clockwise_deg(picture: av.VideoFrame) -> int:
    """By the matrix, 0 to 359; by PyAV's degrees, which are cut to whole ones, where it cannot be had."""
    try:
        found = bytes(picture.side_data["DISPLAYMATRIX"])  # type: ignore[typeddict-item]  # stubs name one kind alone
    except ValueError:  # among the other data beside the picture is a kind that PyAV does not know
        return -picture.rotation % FULL_TURN_DEG
    matrix = np.frombuffer(found, np.int32)
    return round(degrees(atan2(matrix[1], matrix[0]))) % FULL_TURN_DEG


@cache
def has_alpha(pixel_format: str) -> bool:
    """Whether pictures of this format may be transparent; those with a palette say so in its colours."""
    described = av.VideoFormat(pixel_format)
    return described.has_palette or any(component.is_alpha for component in described.components)


def input_picture(frame: av.VideoFrame, preprocessing: Preprocessing, video: VideoInfo) -> np.ndarray:
    """One decoded frame, on black, turned for display and brought to the input size, uint8 RGB [H, W, 3].

    The size comes from the first frame, so that a stream that changes its size gives frames of one size. The
    published modes do not know the sample aspect ratio.
    """
    shown_size_px = video.square_pixel_size_px if preprocessing.uses_sample_aspect else video.rotated_size_px
    width, height = output_size(*shown_size_px, preprocessing)
    turns = turn_of(frame).quarters
    if preprocessing.interpolation == "opencv-cubic":
        image = np.rot90(_rgb(frame, frame.width, frame.height), turns)
        image = resize_cubic_opencv(image, preprocessing.size_px / min(image.shape[:2]))
    else:
        size = (height, width) if turns % 2 else (width, height)
        image = np.rot90(_rgb(frame, *size), turns)
    if preprocessing.crop_px is not None:
        image = centre_crop(image, preprocessing.crop_px)
    return image


def _rgb(frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
    return (
        on_black(frame)
        .reformat(width=width, height=height, format="rgb24", interpolation=SWSCALE_BICUBIC, threads=1)
        .to_ndarray()
    )


def on_black(frame: av.VideoFrame) -> av.VideoFrame:
    """A frame without transparency: itself, or what is seen of it on black.

    Before it is scaled, because scaling would mix colours that nobody sees into their neighbours.
    """
    if not has_alpha(frame.format.name):
        return frame
    rgba = frame.reformat(format="rgba", interpolation=SWSCALE_BICUBIC, threads=1).to_ndarray()  # [H, W, 4]
    if rgba[..., 3].min() == OPAQUE:
        return frame
    seen = np.empty((*rgba.shape[:2], 3), np.uint8)
    for row in range(0, len(rgba), BLOCK_ROWS):
        block = rgba[row : row + BLOCK_ROWS].astype(np.uint16)
        seen[row : row + BLOCK_ROWS] = (block[..., :3] * block[..., 3:] + OPAQUE // 2) // OPAQUE
    return av.VideoFrame.from_ndarray(seen, format="rgb24")

"""One decoded picture -> the input of a backbone, for every reader.

    decoded pictures ─► sampling ─► [turn, resize, crop] ─► Frames
                                    this module puts preprocessing.py behind libswscale

Readers that hand out RGB arrays wrap them in a PyAV frame first: one resampler, whoever decoded.
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from visil.media.preprocessing import MOST_OBLONG, Preprocessing, centre_crop, output_size, resize_cubic_opencv
from visil.values import VideoInfo

SWSCALE_BICUBIC = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


def video_info(stream: VideoStream, picture: av.VideoFrame, start_s: Fraction) -> VideoInfo:
    """Facts about a video: its stream, its first shown frame, and when the file's own clock shows that, seconds."""
    coded = (picture.width, picture.height)
    turned = picture.rotation % 180 != 0
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
        rotation_deg=picture.rotation % 360,
        codec=stream.codec_context.name,
        start_offset_s=float(start_s),
    )


def input_picture(frame: av.VideoFrame, preprocessing: Preprocessing, video: VideoInfo) -> np.ndarray:
    """One decoded frame, turned for display and brought to the input size, uint8 RGB [H, W, 3].

    The size comes from the first frame, so that a stream that changes its size gives frames of one size. The
    published modes do not know the sample aspect ratio.
    """
    shown_size_px = video.square_pixel_size_px if preprocessing.uses_sample_aspect else video.rotated_size_px
    width, height = output_size(*shown_size_px, preprocessing)
    quarter_turns = round(frame.rotation / 90) % 4
    if preprocessing.interpolation == "opencv-cubic":
        image = np.rot90(_rgb(frame, frame.width, frame.height), quarter_turns)
        image = resize_cubic_opencv(image, preprocessing.size_px / min(image.shape[:2]))
    else:
        size = (height, width) if quarter_turns % 2 else (width, height)
        image = np.rot90(_rgb(frame, *size), quarter_turns)
    if preprocessing.crop_px is not None:
        image = centre_crop(image, preprocessing.crop_px)
    return image


def _rgb(frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
    return frame.reformat(
        width=width, height=height, format="rgb24", interpolation=SWSCALE_BICUBIC, threads=1
    ).to_ndarray()

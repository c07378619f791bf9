"""The samples of a video, a few at a time, for every reader.

decoded pictures ─► sampling ─► [chunks, each frame converted once] ─► Frames
                                this module
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from visil.errors import MediaError
from visil.media.reader import CHUNK_SAMPLES, MAX_SAMPLES, Sampled
from visil.media.sampling import Picture, Samples, ShownFrame
from visil.values import Frames


def chunks(
    path: Path,
    samples: Samples[Picture],
    sampling: str,
    image_of: Callable[[ShownFrame[Picture]], np.ndarray],
    frames_of: Callable[[np.ndarray, np.ndarray], Frames],
    sampled: Sampled,
) -> Iterator[Frames]:
    """All samples, in chunks of at most CHUNK_SAMPLES; a chunk is there when the sample behind it is known.

    A video of more than MAX_SAMPLES ends where the first sample is left out.

    Args:
        path, sampling: for messages.
        image_of: uint8 RGB [H, W, 3] of a frame; asked once for a frame that answers several samples.
        frames_of: a chunk from its images, uint8 [T, H, W, 3], and times in seconds, float64 [T]; asked for the last
            one when there is no further sample, so that it knows the end of the video.
        sampled: told of every sample; see `FrameReader.read`.

    Raises:
        MediaError: there is no sample.
    """
    images: list[np.ndarray] = []
    times_s: list[float] = []
    previous: ShownFrame[Picture] | None = None
    end_s: float | None = None
    for number, (time_s, frame) in enumerate(samples):
        if number == MAX_SAMPLES:
            end_s = float(time_s)
            break
        if len(images) == CHUNK_SAMPLES:
            yield frames_of(_stacked(images), np.array(times_s))
            images, times_s = [], []
        if previous is None or frame.picture is not previous.picture:
            image = image_of(frame)
        previous = frame
        images.append(image)
        times_s.append(float(time_s))
        sampled(number, frames_of(np.ascontiguousarray(image)[None], np.array(times_s[-1:])))
    if not images:
        raise MediaError(f"{path}: too short for the `{sampling}` sampler: no frame is taken", "no_frames")
    last = frames_of(_stacked(images), np.array(times_s))
    if end_s is not None:
        warning = f"it has more than {MAX_SAMPLES} samples; kept up to {end_s:.1f} s"
        last = replace(last, duration_s=end_s, warning=warning, cut_short="too_large")
    yield last


def _stacked(images: list[np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(np.stack(images))  # turned ones are stacked in another order

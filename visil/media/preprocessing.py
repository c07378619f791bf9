"""From a decoded picture to the input of a backbone: size rules, resampling, crop.

    file ─► decoded pictures ─► sampling ─► [resize, crop] ─► Frames
                                            this module

The settings are part of a bundle: vectors of two different settings do not compare. Imports numpy only, because
decoding workers import it. Sources: spec of ViSiL and S2VS loaders (OpenCV and ffmpeg); `whole-frame` is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CUBIC_A = -0.75  # OpenCV's INTER_CUBIC coefficient

SAMPLINGS = ("time", "opencv", "ffmpeg", "keyframes")
SIZE_RULES = ("stretch", "short-side", "short-side-even")
INTERPOLATIONS = ("bicubic", "opencv-cubic")
BLANK_RULES = ("keep", "flat", "flat-spots")
BAR_RULES = ("keep", "cut")
MIN_STD = 1e-3
MAX_SIDE_PX = 2048  # no backbone sees more; bounds what a stranger's bundle can ask for
MOST_OBLONG = 100  # long side to short side: what would be more so is damaged, or of no use to a backbone


@dataclass(frozen=True)
class Preprocessing:
    """How the pictures of a video become the frames a backbone sees.

    Attributes:
        sampling: `time` (the frame shown at k/fps seconds), the published samplers `opencv` and `ffmpeg`, or
            `keyframes` (key frames alone, at most fps a second: for indexing huge collections, never in a bundle).
        fps: samples a second.
        min_samples: a shorter video is sampled more densely until it has as many (or all its frames);
            `time` sampling only.
        size_rule: `stretch` to a fixed square, whatever the aspect; `short-side` scaled to size_px with OpenCV's
            rounding; `short-side-even` with ffmpeg's rule (both sides rounded up to even numbers).
        size_px: side of the square, or length of the short side.
        crop_px: side of the centre crop; None keeps the whole picture.
        interpolation: `bicubic` (libswscale, widened when shrinking) or `opencv-cubic` (no antialias, as published).
        blank: which frames have no content and are left out: none (`keep`); those of one colour and colour bars
            (`flat`); the same, but one colour with compact bright or dark spots has content (`flat-spots`).
        bars: black bars around the picture of a whole video: `keep`, or `cut` off before anything else.
        mean, std: per channel, for pixels in [0, 1].
    """

    sampling: str = "time"
    fps: float = 1.0
    min_samples: int = 8
    size_rule: str = "stretch"
    size_px: int = 224
    crop_px: int | None = None
    interpolation: str = "bicubic"
    blank: str = "flat-spots"
    bars: str = "cut"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("sampling", self.sampling, SAMPLINGS),
            ("size_rule", self.size_rule, SIZE_RULES),
            ("interpolation", self.interpolation, INTERPOLATIONS),
            ("blank", self.blank, BLANK_RULES),
            ("bars", self.bars, BAR_RULES),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        if not 0.01 <= self.fps <= 240:
            raise ValueError(f"fps must lie between 0.01 and 240 samples a second, got {self.fps}")
        if not 1 <= self.min_samples <= 32:
            raise ValueError(f"min_samples must lie between 1 and 32, got {self.min_samples}")
        if not 1 <= (self.size_px if self.crop_px is None else self.crop_px) <= self.size_px <= MAX_SIDE_PX:
            raise ValueError(
                f"sizes must satisfy 1 <= crop <= size <= {MAX_SIDE_PX} px, got {self.crop_px}, {self.size_px}"
            )
        if self.interpolation == "opencv-cubic" and self.size_rule != "short-side":
            raise ValueError("interpolation opencv-cubic goes with size_rule short-side only")
        if not all(deviation >= MIN_STD for deviation in self.std):
            raise ValueError(f"std must be at least {MIN_STD}, got {self.std}")

    def samples_like(self, other: Preprocessing) -> bool:
        """Whether both take the same samples of every video."""
        return (self.sampling, self.fps, self.min_samples) == (other.sampling, other.fps, other.min_samples)

    @property
    def sides_px(self) -> tuple[int, int]:
        """The shortest and the longest side that an output picture may have."""
        if self.crop_px is not None:
            return self.crop_px, self.crop_px
        return self.size_px, self.size_px * (1 if self.size_rule == "stretch" else MOST_OBLONG)

    @property
    def uses_sample_aspect(self) -> bool:
        """Whether pixels that are not square are stretched first; the published loaders do not know them."""
        return self.sampling in ("time", "keyframes")

    @property
    def fills_short_videos(self) -> bool:
        """Whether a video of fewer than min_samples is sampled more densely."""
        return self.sampling == "time"


PRESETS: dict[str, Preprocessing] = {
    "whole-frame": Preprocessing(),
    "paper-visil": Preprocessing(
        sampling="opencv",
        min_samples=1,
        size_rule="short-side",
        size_px=256,
        crop_px=224,
        interpolation="opencv-cubic",
        blank="keep",
        bars="keep",
    ),
    "paper-s2vs": Preprocessing(
        sampling="ffmpeg",
        min_samples=1,
        size_rule="short-side-even",
        size_px=256,
        crop_px=224,
        blank="keep",
        bars="keep",
    ),
}


def output_size(width: float, height: float, preprocessing: Preprocessing) -> tuple[int, int]:
    """(width, height) in pixels before the crop, for a picture of this size as displayed."""
    size = preprocessing.size_px
    if preprocessing.size_rule == "stretch":
        return size, size
    scale = size / min(width, height)
    if preprocessing.size_rule == "short-side":
        return round(scale * width), round(scale * height)  # half to even, as OpenCV rounds
    return ceil(width * scale / 2) * 2, ceil(height * scale / 2) * 2


def centre_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Centre square of at most `size` pixels of an image [H, W, 3], offsets truncated as published."""
    top, left = (max(0, (side - size) // 2) for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def resize_cubic_opencv(image: np.ndarray, scale: float) -> np.ndarray:
    """OpenCV's `resize(dsize=(0,0), fx=scale, fy=scale, INTER_CUBIC)` of a uint8 image [H, W, 3].

    Source coordinate (X + 0.5)/scale - 0.5 with the *given* factor, four taps a side, replicated border, no
    antialias. Equals OpenCV's bytes to one grey level (its weights are fixed-point).
    """
    rows = _cubic_taps(image.shape[0], scale)
    columns = _cubic_taps(image.shape[1], scale)
    pixels = image.astype(np.float32)
    tall = sum(w[:, None, None] * pixels[i] for i, w in zip(*rows, strict=True))  # [H', W, 3]
    both = sum(w[None, :, None] * tall[:, i] for i, w in zip(*columns, strict=True))  # [H', W', 3]
    return np.clip(np.rint(both), 0, 255).astype(np.uint8)


def _cubic_taps(length: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Source indices and weights, both [4, round(scale * length)]."""
    source = (np.arange(round(scale * length)) + 0.5) / scale - 0.5
    first = np.floor(source).astype(int)
    t = source - first
    a = CUBIC_A
    outer = lambda x: ((a * x - 5 * a) * x + 8 * a) * x - 4 * a  # noqa: E731  weight at distance 1 <= x < 2
    inner = lambda x: ((a + 2) * x - (a + 3)) * x * x + 1  # noqa: E731  weight at distance x < 1
    weights = np.stack([outer(1 + t), inner(t), inner(1 - t), outer(2 - t)]).astype(np.float32)
    indices = np.clip(first + np.arange(-1, 3)[:, None], 0, length - 1)
    return indices, weights

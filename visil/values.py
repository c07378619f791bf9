"""The values that travel through visil; everyone may import this module, it imports only numpy.

    file ─► Frames ─► EncodedVideo (RegionVectors + descriptors) ─► library ─► Match

Axes: T samples, H and W pixels, R regions, D dimensions, P parts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from visil.errors import DataError


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about its pictures; sizes are (width, height) in pixels.

    Attributes:
        coded_size_px: as stored in the stream.
        rotated_size_px: after the rotation of the display matrix.
        square_pixel_size_px: after rotation and sample aspect ratio: what a player shows.
        rotation_deg: counter-clockwise turn for display: 0, 90, 180 or 270.
        codec: name of the decoder.
        start_offset_s: presentation time of the first shown frame on the file's own clock, seconds.
    """

    coded_size_px: tuple[int, int]
    rotated_size_px: tuple[int, int]
    square_pixel_size_px: tuple[int, int]
    rotation_deg: int
    codec: str
    start_offset_s: float


@dataclass(frozen=True)
class Frames:
    """A run of consecutive samples of one video, already at the bundle's input size.

    Attributes:
        images: uint8 RGB [T, H, W, 3].
        times_s: float64 [T], seconds since the first shown frame.
        video: facts about the source.
        duration_s: seconds from the first shown frame to the end of the last frame decoded so far; the
            last run of a video carries the video's duration.
        warning: why decoding stopped before the end of the file, or an empty text.
        cut_short: one of `visil.errors.CUT_SHORT_CLASSES` if a stall, a crash or a limit ended the video; else empty.
    """

    images: np.ndarray = field(repr=False)
    times_s: np.ndarray = field(repr=False)
    video: VideoInfo
    duration_s: float
    warning: str = ""
    cut_short: str = ""

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[-1] != 3 or self.images.dtype != np.uint8:
            raise DataError(f"frames must be uint8 [T,H,W,3], got {self.images.dtype} {self.images.shape}")
        if self.times_s.shape != self.images.shape[:1]:
            raise DataError(f"{len(self.images)} frames but times of shape {self.times_s.shape}")

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class RegionVectors:
    """Vectors of every region of every frame of one video.

    Attributes:
        vectors: float16 or float32 [T, R, D], or packed signs uint8 [T, R, D/8]. L2-normalised as
            extracted, shorter than 1 once attention is applied.
        times_s: float64 [T], seconds since the first shown frame.
    """

    vectors: np.ndarray = field(repr=False)
    times_s: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        if self.vectors.ndim != 3 or self.vectors.dtype not in (np.float16, np.float32, np.uint8):
            raise DataError(
                "region vectors must be float16, float32 or uint8 [T,R,D], "
                f"got {self.vectors.dtype} {self.vectors.shape}"
            )
        if self.times_s.shape != self.vectors.shape[:1]:
            raise DataError(f"{len(self.vectors)} region vectors but times of shape {self.times_s.shape}")

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True)
class EncodedVideo:
    """One video as the library keeps it and a search compares it.

    Attributes:
        region_vectors: what the fine stage compares; frames without content are left out, so T can be
            less than num_samples, and 0 for a video that shows nothing.
        descriptors: float32 [P, D], L2-normalised, one for each part of about 30 samples.
        num_samples: samples decoded, those without content included.
        duration_s: seconds from the first shown frame to the end of the last.
        video: facts about the source.
        warning: why decoding stopped early, or an empty text.
        cut_short: one of `visil.errors.CUT_SHORT_CLASSES` if a stall, a crash or a limit ended the video; else empty.
    """

    region_vectors: RegionVectors
    descriptors: np.ndarray = field(repr=False)
    num_samples: int
    duration_s: float
    video: VideoInfo
    warning: str = ""
    cut_short: str = ""

    @property
    def has_content(self) -> bool:
        """False for a video in which every frame is blank: it has no score."""
        return len(self.region_vectors) > 0


def shown_score(raw: float) -> float:
    """A raw score in [-1, 1] as a person sees it: s/2 + 1/2, in [0, 1] whatever the rounding."""
    return min(1.0, max(0.0, raw / 2 + 0.5))


@dataclass(frozen=True)
class Comparison:
    """A pair of videos, compared.

    Attributes:
        score: of the query against the video, in [0, 1]; a clip scores high against a film that contains it.
        reverse_score: of the video against the query.
        similarity: frame-to-frame similarity matrix, float32 [Tq, Tt] in [-1, 1].
    """

    score: float
    reverse_score: float
    similarity: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Match:
    """One result shown to a person.

    Attributes:
        query: the query as given.
        video: id of the matching video of the library.
        path: its file.
        score: in [0, 1]: s/2 + 1/2 of the fine score, of the coarse one where there is no fine one; None where query or
            video shows nothing that could be compared, and only their bytes are equal.
        probability: calibrated, in [0, 1]; None while the bundle is not calibrated.
        identical: the two are different files of equal content: of both the SHA-256 was computed for this search.
        stages: raw values in [-1, 1] by stage name (`coarse`, `fine`).
        file: what a look at the video's file showed: `gone`, `changed` since it was indexed, `same file` (one and the
            same as the query's, under another name or mount); empty: it is there as it was, or nobody can tell.
    """

    query: str
    video: str
    path: str
    score: float | None
    probability: float | None
    identical: bool
    stages: dict[str, float]
    file: str = ""

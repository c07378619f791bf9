"""Montages: cuts of videos and pans over stills, joined to any length, each part with its truth.

    videos, stills ─► [plan: a list of cuts and pans ─► write_montage] ─► a file, the EditTruth of every cut

A plan is small; the pictures stream from the sources to the disk, so that a montage may last hours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visil.synth.camera import moving_crop
from visil.synth.truth import EditTruth
from visil.synth.video_file import pictures_at, read_still, resized, write_video

PART_S = (3.0, 9.0)  # length of a part
PAN_SHARE = 0.5  # of the parts are pans over stills


@dataclass(frozen=True)
class Part:
    """A run of pictures of a montage.

    Attributes:
        path: a video (its pictures from `source_start_s` on) or a still (a pan over it).
        num_pictures: at the rate of the montage.
        source_start_s: where a cut starts in its video; None for a pan.
    """

    path: Path
    num_pictures: int
    source_start_s: float | None = None


def plan_parts(
    rng: np.random.Generator,
    videos: Mapping[Path, float],
    stills: Sequence[Path],
    *,
    num_pictures: int,
    fps: float,
) -> list[Part]:
    """Random cuts of the videos (path -> duration in seconds) and pans that last exactly so many pictures.

    No still is used twice as long as they last.
    """
    paths = list(videos)
    unused: list[Path] = []
    parts: list[Part] = []
    left = num_pictures
    while left > 0:
        wanted = min(left, round(rng.uniform(*PART_S) * fps))
        if stills and (not paths or rng.random() < PAN_SHARE):
            unused = unused or [stills[i] for i in rng.permutation(len(stills))]
            parts.append(Part(unused.pop(), wanted))
        else:
            path = paths[rng.integers(len(paths))]
            available = max(1, int(videos[path] * fps))
            wanted = min(wanted, available)
            parts.append(Part(path, wanted, float(rng.integers(available - wanted + 1) / fps)))
        left -= wanted
    return parts


def plan_around(
    rng: np.random.Generator,
    clip: Part,
    videos: Mapping[Path, float],
    stills: Sequence[Path],
    *,
    at_picture: int,
    num_pictures: int,
    fps: float,
) -> list[Part]:
    """A montage of so many pictures in which the clip starts at picture `at_picture`."""
    after = num_pictures - at_picture - clip.num_pictures
    if at_picture < 0 or after < 0:
        raise ValueError(f"{clip.num_pictures} pictures from {at_picture} on do not fit into {num_pictures}")
    return [
        *plan_parts(rng, videos, stills, num_pictures=at_picture, fps=fps),
        clip,
        *plan_parts(rng, videos, stills, num_pictures=after, fps=fps),
    ]


def write_montage(
    path: Path, parts: Sequence[Part], rng: np.random.Generator, *, fps: float, size_px: tuple[int, int]
) -> list[EditTruth]:
    """Write the parts one after the other and return the truth of every cut, `query` being the montage.

    A cut lies whole in the picture, between black bars where its aspect differs; a pan fills it.

    Args:
        size_px: (width, height).
    """

    def pictures() -> Iterator[np.ndarray]:
        for part in parts:
            yield from _part_pictures(part, rng, fps=fps, size_px=size_px)

    write_video(path, pictures(), fps)
    truths, start = [], 0
    for part in parts:
        if part.source_start_s is not None:
            truths.append(
                EditTruth(
                    query=path.name,
                    source=part.path.name,
                    family="montage",
                    strength=part.num_pictures / sum(p.num_pictures for p in parts),
                    query_start_s=start / fps,
                    query_end_s=(start + part.num_pictures) / fps,
                    start_s=part.source_start_s,
                    end_s=part.source_start_s + part.num_pictures / fps,
                    labels=("PART",),
                )
            )
        start += part.num_pictures
    return truths


def _part_pictures(
    part: Part, rng: np.random.Generator, *, fps: float, size_px: tuple[int, int]
) -> Iterator[np.ndarray]:
    if part.source_start_s is None:
        yield from moving_crop(read_still(part.path), rng, num_pictures=part.num_pictures, size_px=size_px)
        return
    times_s = (part.source_start_s + k / fps for k in range(part.num_pictures))
    for picture in pictures_at(part.path, times_s, max_short_side_px=min(size_px)):
        yield _fitted(picture, size_px)


def _fitted(picture: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """The whole picture, as large as it fits, in the middle of a black one."""
    width, height = size_px
    scale = min(width / picture.shape[1], height / picture.shape[0])
    inner = resized(picture, round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return canvas

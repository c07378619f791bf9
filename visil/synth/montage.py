"""Montages: cuts of videos and pans over stills, joined to any length, each piece with its truth.

    sources ─► [plan_montage, plan_host: a list of shots ─► write_montage] ─► a file, its MontageTruth

A plan is small and decides every byte; the pictures stream from the sources to the disk, so that a montage may
last hours. No piece is shown twice in one montage; pieces of earlier montages can be left out as well.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visil.errors import DataError
from visil.synth.camera import fitted, moving_crop
from visil.synth.montage_truth import MontageTruth, Piece
from visil.synth.video_file import pictures_at, read_still, write_video

MONTAGE_VERSION = 1  # raised when the same arguments give other bytes: what was made earlier is made anew
NUM_SHOTS = (4, 16)  # of a montage
SHOT_S = (2.0, 8.0)  # length of a shot
COMPILED_S = 4.0  # of every video of a compilation
CUT_SHARE = 0.5  # of the shots are cuts, the others pans, while both last; less where footage has to last longer
ROUNDING = 1e-6  # pictures; a time in seconds is a whole number of pictures up to this


@dataclass(frozen=True)
class Source:
    """What pieces are taken from: a video, or a still picture.

    Attributes:
        path: of the file.
        component: everything that may show the same has one (see `montage_truth`).
        duration_s: of the video; None for a still.
        footage: the recording that the file shows; the name of the file if not given. Stills of the same picture
            may share one.
    """

    path: Path
    component: str
    duration_s: float | None = None
    footage: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "footage", self.footage or self.path.name)


@dataclass(frozen=True)
class Shot:
    """A run of pictures of a montage.

    Attributes:
        source: a video, or a still that the camera pans and zooms over.
        num_pictures: at the rate of the montage.
        start_s: where a cut starts in its video; None for a pan.
        seed: of the way of the camera.
    """

    source: Source
    num_pictures: int
    start_s: float | None = None
    seed: int = 0


def plan_montage(
    rng: np.random.Generator,
    sources: Sequence[Source],
    *,
    fps: float,
    num_shots: int | None = None,
    num_cuts: int | None = None,
    shot_s: tuple[float, float] = SHOT_S,
    avoid_components: Collection[str] = (),
    avoid_pieces: Iterable[Piece] = (),
) -> list[Shot]:
    """Draw shots of random lengths from the sources.

    Args:
        num_shots: 4 to 16, drawn, if not given.
        num_cuts: exactly so many of them are cuts, in random places; otherwise about half.
        shot_s: shortest and longest shot.
        avoid_components: nothing of these is shown.
        avoid_pieces: none of these is shown, such as those of earlier montages.

    Raises:
        DataError: the pieces run out.
    """
    if num_shots is None:
        num_shots = int(rng.integers(NUM_SHOTS[0], NUM_SHOTS[1] + 1))
    kinds: list[bool | None] = [None] * num_shots
    if num_cuts is not None:
        if not 0 <= num_cuts <= num_shots:
            raise ValueError(f"{num_cuts} of {num_shots} shots cannot be cuts")
        kinds = [bool(place < num_cuts) for place in rng.permutation(num_shots)]
    pool = _Pool(rng, sources, fps, _lengths(shot_s, fps), avoid_components, avoid_pieces)
    shots: list[Shot] = []
    for is_cut in kinds:
        shot = pool.take(is_cut=is_cut)
        if shot is None:
            raise DataError(f"the pieces run out after {len(shots)} of {num_shots} shots: {pool.lack(is_cut)}")
        shots.append(shot)
    return shots


def plan_host(
    rng: np.random.Generator,
    sources: Sequence[Source],
    *,
    fps: float,
    duration_s: float,
    clip: Shot | None = None,
    clip_at_s: float | None = None,
    shot_s: tuple[float, float] = SHOT_S,
    avoid_components: Collection[str] = (),
    avoid_pieces: Iterable[Piece] = (),
) -> list[Shot]:
    """A montage of exactly this length, and in it a given clip, whose component is shown nowhere else in it.

    Args:
        clip: a shot of any length.
        clip_at_s: where it starts, drawn if not given; what is left on each side must be nothing or hold a shot.
        shot_s, avoid_components, avoid_pieces: as for `plan_montage`.

    Raises:
        DataError: the pieces run out.
    """
    shortest, longest = _lengths(shot_s, fps)
    if longest < 2 * shortest:
        raise ValueError(f"shots of {shot_s[0]:g} to {shot_s[1]:g} s do not add up to every length: double the longest")
    free = round(duration_s * fps) - (clip.num_pictures if clip else 0)
    before = [0] if clip is None else range(free + 1) if clip_at_s is None else [round(clip_at_s * fps)]
    before = [run for run in before if all(side == 0 or side >= shortest for side in (run, free - run))]
    if not before:
        inside = "" if clip is None else f" around a clip of {clip.num_pictures / fps:g} s"
        inside += "" if clip_at_s is None else f" at {clip_at_s:g} s"
        raise ValueError(f"{duration_s:g} s{inside} leave no room for shots of {shot_s[0]:g} s")
    if clip is not None:
        avoid_components = {*avoid_components, clip.source.component}
    pool = _Pool(rng, sources, fps, (shortest, longest), avoid_components, avoid_pieces)
    run = before[int(rng.integers(len(before)))]
    return [*pool.fill(run, to_come=free - run), *([clip] if clip else []), *pool.fill(free - run)]


def plan_compilation(rng: np.random.Generator, videos: Sequence[Source], *, fps: float) -> list[Shot]:
    """A clip of `COMPILED_S` of each of these videos, in their order.

    Raises:
        DataError: a video is shorter.
    """
    clip_s = (COMPILED_S, COMPILED_S)
    return [
        shot for video in videos for shot in plan_montage(rng, [video], fps=fps, num_shots=1, num_cuts=1, shot_s=clip_s)
    ]


def montage_truth(name: str, shots: Sequence[Shot], *, fps: float) -> MontageTruth:
    """The pieces that the shots of a plan will be in a montage of this name."""
    pieces, start = [], 0
    for shot in shots:
        end = start + shot.num_pictures
        pieces.append(
            Piece(
                file=shot.source.path.name,
                kind="pan" if shot.start_s is None else "cut",
                component=shot.source.component,
                footage=shot.source.footage,
                start_s=start / fps,
                end_s=end / fps,
                source_start_s=shot.start_s,
                source_end_s=None if shot.start_s is None else shot.start_s + shot.num_pictures / fps,
            )
        )
        start = end
    return MontageTruth(name, tuple(pieces))


def write_montage(path: Path, shots: Sequence[Shot], *, fps: float, size_px: tuple[int, int]) -> MontageTruth:
    """Write the shots one after the other and return the truth.

    A cut lies whole in the picture, between black bars where its aspect differs; a pan fills it.

    Args:
        size_px: (width, height).
    """
    write_video(path, pictures_of(shots, fps=fps, size_px=size_px), fps)
    return montage_truth(path.name, shots, fps=fps)


def pictures_of(shots: Sequence[Shot], *, fps: float, size_px: tuple[int, int]) -> Iterator[np.ndarray]:
    """The pictures of a plan, uint8 RGB [H, W, 3] each, in their order; see `write_montage`."""
    return (picture for shot in shots for picture in _pictures(shot, fps, size_px))


def _pictures(shot: Shot, fps: float, size_px: tuple[int, int]) -> Iterator[np.ndarray]:
    path = shot.source.path
    if shot.start_s is None:
        rng = np.random.default_rng(shot.seed)
        return moving_crop(read_still(path), rng, num_pictures=shot.num_pictures, size_px=size_px)
    times_s = (shot.start_s + k / fps for k in range(shot.num_pictures))
    pictures = pictures_at(path, times_s, max_short_side_px=min(size_px))
    return (fitted(picture, size_px) for picture in pictures)


def _lengths(shot_s: tuple[float, float], fps: float) -> tuple[int, int]:
    """Shortest and longest shot in pictures."""
    shortest, longest = math.ceil(shot_s[0] * fps - ROUNDING), math.floor(shot_s[1] * fps + ROUNDING)
    if not 1 <= shortest <= longest:
        raise ValueError(f"no whole number of pictures lasts {shot_s[0]} to {shot_s[1]} s at {fps} a second")
    return shortest, longest


class _Pool:
    """What has not been shown yet: stills, and the free times of every footage."""

    def __init__(
        self,
        rng: np.random.Generator,
        sources: Sequence[Source],
        fps: float,
        lengths: tuple[int, int],
        avoid_components: Collection[str],
        avoid_pieces: Iterable[Piece],
    ) -> None:
        self._rng, self._fps, self._lengths = rng, fps, lengths
        taken: dict[str, list[Piece]] = {}
        for piece in avoid_pieces:
            taken.setdefault(piece.footage, []).append(piece)
        stills: dict[str, Source] = {}
        videos: dict[str, list[Source]] = {}
        for source in sources:
            if source.component in avoid_components:
                continue
            if source.duration_s is not None:
                videos.setdefault(source.footage, []).append(source)
            elif source.footage not in taken:
                stills.setdefault(source.footage, source)
        unused = list(stills.values())
        self._stills = [unused[i] for i in rng.permutation(len(unused))]
        self._num_stills, self._num_footages = len(unused), len(videos)
        self._videos: dict[str, Source] = {}
        self._free: dict[str, list[tuple[int, int]]] = {}  # runs of pictures [first, end) of each footage
        for footage, files in videos.items():
            pieces = taken.get(footage, [])
            # Times of two files of a footage cannot be compared: a file is used only if every piece is its own.
            usable = [file for file in files if all(piece.file == file.path.name for piece in pieces)]
            if usable:
                self._videos[footage] = usable[int(rng.integers(len(usable)))]
                self._free[footage] = self._free_runs(self._videos[footage], pieces)
        self._last_footage = ""

    def fill(self, num_pictures: int, *, to_come: int = 0) -> list[Shot]:
        """Shots that last exactly so many pictures together, while footage is kept for those `to_come` after them."""
        shots: list[Shot] = []
        left = num_pictures
        while left:
            footage = sum(end - first for runs in self._free.values() for first, end in runs)
            shot = self.take(left=left, cut_share=min(CUT_SHARE, footage / (left + to_come)))
            if shot is None:
                raise DataError(
                    f"the pieces run out {left / self._fps:.1f} s before the end of {num_pictures / self._fps:.1f} s "
                    f"(after {len(shots)} shots): {self.lack(None)}"
                )
            shots.append(shot)
            left -= shot.num_pictures
        return shots

    def take(self, *, is_cut: bool | None = None, left: int | None = None, cut_share: float = CUT_SHARE) -> Shot | None:
        """A shot of random length, or None if there is none.

        Args:
            is_cut: a cut or a pan, drawn if not given.
            left: pictures up to the end, of which the shot leaves none or enough for another.
            cut_share: how likely a cut is drawn.
        """
        shortest, longest = self._lengths
        wanted = int(self._rng.integers(shortest, longest + 1))
        if left is not None and wanted > left - shortest:
            wanted = left if left <= longest else left - shortest
        prefers_cut = self._rng.random() < cut_share if is_cut is None else is_cut
        for kind in (prefers_cut,) if is_cut is not None else (prefers_cut, not prefers_cut):
            shot = self._cut(wanted, left) if kind else self._pan(wanted)
            if shot is not None:
                self._last_footage = shot.source.footage
                return shot
        return None

    def lack(self, is_cut: bool | None) -> str:
        """What there was and what would help, for an error."""
        shortest_s = self._lengths[0] / self._fps
        had = {
            None: f"{self._num_stills} stills and {self._num_footages} footages",
            True: f"{self._num_footages} footages",
            False: f"{self._num_stills} stills",
        }[is_cut]
        more = {None: "stills or videos", True: "videos", False: "stills"}[is_cut]
        return f"{had} hold no unused piece of {shortest_s:g} s any more; give more {more} or ask for less"

    def _pan(self, num_pictures: int) -> Shot | None:
        if not self._stills:
            return None
        return Shot(self._stills.pop(), num_pictures, None, int(self._rng.integers(2**32)))

    def _cut(self, wanted: int, left: int | None) -> Shot | None:
        """A cut of a random footage, as near to the wanted length as its free times allow."""
        names = [name for name, runs in self._free.items() if self._longest(runs, wanted, left)]
        others = [name for name in names if name != self._last_footage]  # a join should be one to the eye
        names = others or names
        if not names:
            return None
        name = names[int(self._rng.integers(len(names)))]
        runs = self._free[name]
        length = self._longest(runs, wanted, left)
        fitting = [i for i, (first, end) in enumerate(runs) if end - first >= length]
        number = fitting[int(self._rng.integers(len(fitting)))]
        first, end = runs.pop(number)
        start = int(self._rng.integers(first, end - length + 1))
        runs += [run for run in ((first, start), (start + length, end)) if run[1] - run[0] >= self._lengths[0]]
        return Shot(self._videos[name], length, start / self._fps)

    def _longest(self, runs: list[tuple[int, int]], wanted: int, left: int | None) -> int:
        """The longest cut up to the wanted length that the runs hold and that leaves none or enough; 0: none."""
        length = min(wanted, max((end - first for first, end in runs), default=0))
        if left is not None and length != left:
            length = min(length, left - self._lengths[0])
        return length if length >= self._lengths[0] else 0

    def _free_runs(self, source: Source, pieces: Sequence[Piece]) -> list[tuple[int, int]]:
        """What the pieces leave of a video, in whole pictures of the montage's rate."""
        fps = self._fps
        runs, start_s = [], 0.0
        spans = sorted((piece.source_start_s or 0.0, piece.source_end_s or 0.0) for piece in pieces)
        for span_start_s, span_end_s in [*spans, (source.duration_s or 0.0, math.inf)]:
            first, end = math.ceil(start_s * fps - ROUNDING), math.floor(span_start_s * fps + ROUNDING)
            if end - first >= self._lengths[0]:
                runs.append((first, end))
            start_s = max(start_s, span_end_s)
        return runs

"""What is true of a montage: every piece it shows, and which other videos are related to it by that.

    write_montage ─► [MontageTruth ─► JSON beside the file]
                     [related: shares a piece or a component ─► never a negative]

A component is a set of videos and pictures that may show the same (the column `component` of the real videos'
split, a name of its own for a picture). Names of components must differ between videos and pictures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from visil.errors import DataError

ROUNDING_S = 1e-6  # cuts that share less time than this follow each other


@dataclass(frozen=True)
class Piece:
    """A part of a montage: a cut of a video, or a pan over a still.

    Attributes:
        file: name of the video or still.
        kind: `cut` or `pan`.
        component: of the file.
        footage: the recording that the file shows; a still's own name, or one name for equal stills.
        start_s, end_s: in the montage.
        source_start_s, source_end_s: in the video; None for a pan, a still has no time.
    """

    file: str
    kind: Literal["cut", "pan"]
    component: str
    footage: str
    start_s: float
    end_s: float
    source_start_s: float | None = None
    source_end_s: float | None = None

    def __post_init__(self) -> None:
        sides = [(self.start_s, self.end_s)]
        if self.kind == "cut" and self.source_start_s is not None and self.source_end_s is not None:
            sides.append((self.source_start_s, self.source_end_s))
        elif self.kind != "pan" or (self.source_start_s, self.source_end_s) != (None, None):
            raise ValueError(f"{self.file}: a cut has times in its video and a pan has none, got {self}")
        if any(not 0 <= start_s < end_s for start_s, end_s in sides):
            raise ValueError(f"{self.file}: a time is no interval of a video, got {self}")

    def shares(self, other: Piece) -> bool:
        """Whether both are the same piece: one still, whatever its windows; or times of one footage that overlap.

        Two files of one footage have no common time, so that any two cuts of them count as the same.
        """
        if self.footage != other.footage:
            return False
        times = (self.source_start_s, self.source_end_s, other.source_start_s, other.source_end_s)
        start_s, end_s, other_start_s, other_end_s = times
        if self.file != other.file or start_s is None or end_s is None or other_start_s is None or other_end_s is None:
            return True
        return min(end_s, other_end_s) - max(start_s, other_start_s) > ROUNDING_S


class HasTokens(Protocol):
    """A video that says, as a set of words, what it shows: two videos with a word in common are related."""

    @property
    def tokens(self) -> frozenset[str]: ...


@dataclass(frozen=True)
class PlainVideo:
    """A video of one source: a real one, a pan over a still, or an edit of such a video.

    Attributes:
        file: name of the file, for an edit that of its source.
        component: of the file.
        footage: the recording that it shows; the file's name if not given.
    """

    file: str
    component: str
    footage: str | None = None

    @property
    def tokens(self) -> frozenset[str]:
        return _tokens(self.file, self.component, self.footage or self.file)


@dataclass(frozen=True)
class MontageTruth:
    """The pieces of a montage in the order of their times, without gaps.

    Attributes:
        file: name of the montage.
        pieces: at least one.
    """

    file: str
    pieces: tuple[Piece, ...]

    def __post_init__(self) -> None:
        if not self.pieces or self.pieces[0].start_s != 0:
            raise ValueError(f"{self.file}: the first piece of a montage starts at 0, got {self.pieces[:1]}")
        for before, after in zip(self.pieces, self.pieces[1:], strict=False):
            if before.end_s != after.start_s:
                raise ValueError(f"{self.file}: a piece ends at {before.end_s}, the next starts at {after.start_s}")

    @property
    def duration_s(self) -> float:
        return self.pieces[-1].end_s

    @property
    def components(self) -> frozenset[str]:
        return frozenset(piece.component for piece in self.pieces)

    @property
    def tokens(self) -> frozenset[str]:
        """Of everything that the montage shows; an edit of it has the same ones."""
        own = frozenset((f"file:{self.file}",))
        return own.union(*(_tokens(piece.file, piece.component, piece.footage) for piece in self.pieces))


def pieces_shown(montage: MontageTruth, start_s: float, end_s: float) -> tuple[Piece, ...]:
    """The pieces that a part of the montage shows, each clipped to it, with times in the montage and in the sources.

    For who localises: an edit of a montage copies these segments of the videos that the montage was cut from.

    The part may come from the truth of an edit of the montage: `pieces_shown(montage, edit.start_s, edit.end_s)`.

    Raises:
        ValueError: the part is empty or lies outside the montage.
    """
    if not 0 <= start_s < end_s or start_s >= montage.duration_s:
        raise ValueError(f"{montage.file}: [{start_s}, {end_s}) is no part of its {montage.duration_s} s")
    shown = []
    for piece in montage.pieces:
        first_s, last_s = max(start_s, piece.start_s), min(end_s, piece.end_s)
        if first_s >= last_s:
            continue
        clipped = replace(piece, start_s=first_s, end_s=last_s)
        if piece.source_start_s is not None:
            offset_s = piece.source_start_s - piece.start_s  # a cut plays at its own speed
            clipped = replace(clipped, source_start_s=first_s + offset_s, source_end_s=last_s + offset_s)
        shown.append(clipped)
    return tuple(shown)


def related(a: HasTokens, b: HasTokens) -> bool:
    """Whether two videos share a piece, a footage or a component; such a pair is never a negative.

    The rule for one pair, as training samples are checked; `RelatedVideos` and `related_matrix` are its form for many.
    """
    return not a.tokens.isdisjoint(b.tokens)


class RelatedVideos:
    """Which of many videos are related to a given one: a look-up in place of a comparison with each."""

    def __init__(self, videos: Sequence[HasTokens]) -> None:
        self._holders: dict[str, list[int]] = {}
        for position, video in enumerate(videos):
            for token in video.tokens:
                self._holders.setdefault(token, []).append(position)

    def of(self, video: HasTokens) -> np.ndarray:
        """Positions of the videos that are related to this one, ascending: int64 [N].

        A video of the sequence itself is related to itself.
        """
        holders = {position for token in video.tokens for position in self._holders.get(token, ())}
        return np.array(sorted(holders), dtype=np.int64)


def related_matrix(rows: Sequence[HasTokens], columns: Sequence[HasTokens]) -> np.ndarray:
    """`related` of every pair: bool [rows, columns]."""
    matrix = np.zeros((len(rows), len(columns)), dtype=bool)
    videos = RelatedVideos(columns)
    for row, video in zip(matrix, rows, strict=True):
        row[videos.of(video)] = True
    return matrix


def write_montage_truth(path: Path, truth: MontageTruth) -> None:
    """A JSON object: the name of the montage and its pieces."""
    path.write_text(json.dumps(asdict(truth), indent=1) + "\n", encoding="utf-8")


def read_montage_truth(path: Path) -> MontageTruth:
    """What `write_montage_truth` wrote: for who has the files of a benchmark and not its plan (training, localisation).

    Raises:
        DataError: the file is no truth of a montage.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return MontageTruth(content["file"], tuple(Piece(**piece) for piece in content["pieces"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: no truth of a montage ({error}); make the montage again") from error


def _tokens(file: str, component: str, footage: str) -> frozenset[str]:
    return frozenset((f"file:{file}", f"footage:{footage}", f"component:{component}"))

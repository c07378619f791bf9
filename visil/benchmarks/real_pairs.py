"""Real videos searched for among themselves: the files of a split, and what is true of every pair.

    data/videos (labelled pairs), data/footage (none) ─► [RealPairs] ─► benchmark_search, real_figures

Nothing is made: what is searched for is what people have edited. Every file is a query and a video of the library.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from visil.errors import DataError
from visil.evaluation.real_videos import RealVideo, read_footage, read_real_videos

REAL_SPLITS = ("val", "test", "all")
SELF, UNRELATED, NO_LABEL = "self", "unrelated", "no label"  # what a pair is that has no label of `real_videos`


@dataclass(frozen=True)
class RealPairs:
    """V files, each of which is searched for in all.

    Attributes:
        folder: what is worked out from the files is kept there.
        paths: V files.
        rows: of the tables, V.
        is_labelled: bool [V]: the file is of `videos`, where related pairs are labelled; else it is footage.
        relation: text [V, V]: a label; SELF; NO_LABEL: of one group or component, so that it is not known; UNRELATED.
    """

    folder: Path
    paths: tuple[Path, ...] = field(repr=False)
    rows: tuple[RealVideo, ...] = field(repr=False)
    is_labelled: np.ndarray = field(repr=False)
    relation: np.ndarray = field(repr=False)

    @property
    def video_paths(self) -> tuple[Path, ...]:
        return self.paths

    @property
    def query_paths(self) -> tuple[Path, ...]:
        return self.paths

    @property
    def takes_no_votes(self) -> np.ndarray:
        """Bool [V, V]: nothing answers for itself. Labels are not asked: scores are what a search would give."""
        return self.relation == SELF


def read_real_pairs(data: Path, work: Path, split: str) -> RealPairs:
    """The files of a split, and how they are related.

    Args:
        data: the folder with `videos` and `footage`.
        work: features are kept in a folder below it.
        split: a name of REAL_SPLITS. `val` also has the rows of `train` that no weights that ship are fitted on.

    Raises:
        DataError: a table or a file is missing, or no labelled video is of the split.
    """
    folders = (read_real_videos(data / "videos"), read_footage(data / "footage"))
    chosen = [(real, row) for real in folders for row in real.videos.values() if _is_of(row, split)]
    paths = tuple(real.folder / row.file for real, row in chosen)
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: is not there, though manifest.csv beside it has a row of it")
    is_labelled = np.array([real is folders[0] for real, _ in chosen], dtype=bool)
    if not is_labelled.any():
        raise DataError(f"{data / 'videos'}: no row of split.csv is of the split {split!r}")

    relation = np.full((len(chosen), len(chosen)), UNRELATED, dtype="<U16")
    for is_group in (True, False):
        names = np.array([f"{real.folder.name}/{row.group if is_group else row.component}" for real, row in chosen])
        relation[names[:, None] == names] = NO_LABEL
    number = {row.file: i for i, (_, row) in enumerate(chosen) if is_labelled[i]}
    for file, others in folders[0].pairs.items():
        for other, pair in others.items():
            if file in number and other in number:
                relation[number[file], number[other]] = pair.label
    np.fill_diagonal(relation, SELF)
    return RealPairs(work / f"real-{split}", paths, tuple(row for _, row in chosen), is_labelled, relation)


def _is_of(row: RealVideo, split: str) -> bool:
    if split == "val" and row.split == "train":
        return row.ship_ok is False
    return split in ("all", row.split)

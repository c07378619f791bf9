"""Real videos with labelled pairs: what `manifest.csv`, `pairs.csv` and `split.csv` of a folder say.

    folder ─► [RealVideos] ─► benchmarks: queries, relevant videos, components

A pair that is not listed is unrelated. Without `split.csv` all rows are of the split `test`, and their
components are worked out here: groups, joined by every pair that is more than REL.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from visil.errors import DataError

ND, PART, SI, REL, AMBIGUOUS = "ND", "PART", "SI", "REL", "AMBIGUOUS"
LABELS = frozenset({ND, PART, SI, REL, AMBIGUOUS})
LEVELS: dict[str, frozenset[str]] = {
    "ND": frozenset({ND}),
    "ND+PART": frozenset({ND, PART}),
    "ND+PART+SI": frozenset({ND, PART, SI}),
}


@dataclass(frozen=True)
class RealVideo:
    """A row of the manifest.

    Attributes:
        group: family: one event, scene, maker or film.
        footage: files of equal footage show one recording.
        component: nothing related lies in two components; the unit of the bootstrap.
    """

    file: str
    group: str
    footage: str
    duration_s: float
    split: str
    component: str


@dataclass(frozen=True)
class Pair:
    """The label of a pair of files; `is_hard` as its note says."""

    label: str
    is_hard: bool


@dataclass(frozen=True)
class RealVideos:
    """The videos of a folder and how they are related."""

    folder: Path
    videos: Mapping[str, RealVideo]
    pairs: Mapping[str, Mapping[str, Pair]]  # file -> other file -> label, both ways

    def of_split(self, split: str) -> list[RealVideo]:
        """Rows of a split, in the order of the manifest."""
        return [video for video in self.videos.values() if video.split == split]

    def partners(self, file: str, labels: Set[str]) -> frozenset[str]:
        """Files whose pair with this one has one of the labels."""
        return frozenset(other for other, pair in self.pairs.get(file, {}).items() if pair.label in labels)


def read_real_videos(folder: Path) -> RealVideos:
    """Read the tables of a folder.

    Raises:
        DataError: a table is missing, lacks a column, or names a file or label that is not known.
    """
    manifest = {row["file"]: row for row in _rows(folder / "manifest.csv", {"file", "group"})}
    pairs: dict[str, dict[str, Pair]] = {}
    for row in _rows(folder / "pairs.csv", {"a", "b", "label"}):
        if row["label"] not in LABELS or not {row["a"], row["b"]} <= manifest.keys():
            raise DataError(f"{folder / 'pairs.csv'}: unknown label or file in {row['a']}, {row['b']}, {row['label']}")
        pair = Pair(row["label"], "hard" in (row.get("note") or ""))
        pairs.setdefault(row["a"], {})[row["b"]] = pair
        pairs.setdefault(row["b"], {})[row["a"]] = pair
    if (folder / "split.csv").exists():
        split = {row["file"]: row for row in _rows(folder / "split.csv", {"file", "component", "split"})}
        if split.keys() != manifest.keys():
            raise DataError(f"{folder}: split.csv and manifest.csv list different files")
    else:
        components = _components(manifest, pairs)
        split = {file: {"split": "test", "component": components[file]} for file in manifest}
    videos = {
        file: RealVideo(
            file,
            row["group"],
            row.get("footage") or file,
            float(row.get("duration_s") or 0),
            split[file]["split"],
            split[file]["component"],
        )
        for file, row in manifest.items()
    }
    return RealVideos(folder, videos, pairs)


def _rows(path: Path, columns: Set[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = columns - set(reader.fieldnames or ())
            if missing:
                raise DataError(f"{path}: no column {', '.join(sorted(missing))}")
            return list(reader)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _components(manifest: Mapping[str, Mapping[str, str]], pairs: Mapping[str, Mapping[str, Pair]]) -> dict[str, str]:
    """Name of the component of every file: the first file of those it is joined with."""
    first_of_group: dict[str, str] = {}
    links: dict[str, set[str]] = {file: set() for file in manifest}
    for file, row in manifest.items():
        related = {other for other, pair in pairs.get(file, {}).items() if pair.label != REL}
        related.add(first_of_group.setdefault(row["group"], file))
        for other in related:
            links[file].add(other)
            links[other].add(file)
    component: dict[str, str] = {}
    for file in manifest:
        waiting: Iterable[str] = [] if file in component else [file]
        while waiting:
            component |= dict.fromkeys(waiting, file)
            waiting = {other for member in waiting for other in links[member]} - component.keys()
    return component

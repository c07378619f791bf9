"""Real videos with labelled pairs: what `manifest.csv`, `pairs.csv` and `split.csv` of a folder say.

    folder ─► [RealVideos] ─► benchmarks: queries, relevant videos, components

A pair that is not listed is unrelated. Without `split.csv` all rows are of the split `test`, and their
components are worked out here: groups, joined by every pair that is more than REL. Footage is a folder of the same
tables whose pairs nobody has labelled: what two of its files of one group or component have in common is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from visil.errors import DataError
from visil.evaluation.tables import csv_rows

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
        ship_ok: weights that ship may be fitted on it, and are if it is of `train`; None where the table does not say.
    """

    file: str
    group: str
    footage: str
    duration_s: float
    split: str
    component: str
    ship_ok: bool | None = None


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

    def families(self) -> dict[str, str]:
        """A name for every file, equal for those that a group or any label joins: training tells no two of them apart.

        Smaller than components, in which what one laboratory filmed in other places counts as related.
        """
        labelled = [(a, b) for a, others in self.pairs.items() for b in others]
        firsts: dict[str, str] = {}
        grouped = [(firsts.setdefault(video.group, file), file) for file, video in self.videos.items()]
        return components_of(self.videos, [*grouped, *labelled])

    def partners(self, file: str, labels: Set[str]) -> frozenset[str]:
        """Files whose pair with this one has one of the labels."""
        return frozenset(other for other, pair in self.pairs.get(file, {}).items() if pair.label in labels)


def read_real_videos(folder: Path) -> RealVideos:
    """Read the tables of a folder.

    Raises:
        DataError: a table is missing or damaged, lacks a column, names a file twice, or names a file or label that is
            not known; a pair has two labels.
    """
    return _read(folder, has_pairs=True)


def read_footage(folder: Path) -> RealVideos:
    """Read the tables of a folder that has no labelled pairs.

    Raises:
        DataError: as of `read_real_videos`, but for the pairs.
    """
    return _read(folder, has_pairs=False)


def _read(folder: Path, *, has_pairs: bool) -> RealVideos:
    manifest = _by_file(folder / "manifest.csv", ["file", "group"])
    pairs = read_pairs(folder / "pairs.csv") if has_pairs else {}
    for file in pairs:
        if file not in manifest:
            raise DataError(f"{folder / 'pairs.csv'}: {file!r} is not in manifest.csv")
    for label in {pair.label for others in pairs.values() for pair in others.values()} - LABELS:
        raise DataError(f"{folder / 'pairs.csv'}: unknown label {label!r}; known are {', '.join(sorted(LABELS))}")
    if (folder / "split.csv").exists():
        split = _by_file(folder / "split.csv", ["file", "component", "split"])
        if split.keys() != manifest.keys():
            file = min(split.keys() ^ manifest.keys())
            raise DataError(f"{folder}: split.csv and manifest.csv list different files, such as {file!r}")
    else:
        groups: dict[str, list[str]] = {}
        for file, row in manifest.items():
            groups.setdefault(row["group"], []).append(file)
        links = [*related_pairs(pairs), *((members[0], file) for members in groups.values() for file in members)]
        components = components_of(manifest, links)
        split = {file: {"split": "test", "component": components[file]} for file in manifest}
    videos = {
        file: RealVideo(
            file,
            row["group"],
            row.get("footage") or file,
            _seconds(row.get("duration_s") or "0", folder / "manifest.csv", file),
            split[file]["split"],
            split[file]["component"],
            {"yes": True, "no": False}.get(split[file].get("ship_ok", "")),
        )
        for file, row in manifest.items()
    }
    return RealVideos(folder, videos, pairs)


def read_pairs(path: Path) -> dict[str, dict[str, Pair]]:
    """Labelled pairs of a CSV with the columns a, b and label: file -> other file -> label, both ways.

    A pair that is listed twice with one label, whichever file is first, is the same as once.

    Raises:
        DataError: the table is missing or damaged, a pair has two labels, a file is paired with itself, or a row lacks
            a name or label.
    """
    pairs: dict[str, dict[str, Pair]] = {}
    for line, row in csv_rows(path, ["a", "b", "label"]):
        a, b, label = row["a"], row["b"], row["label"].strip()
        if not a or not b or not label:
            raise DataError(f"{path}, line {line}: lacks a, b or label")
        if a == b:
            raise DataError(f"{path}, line {line}: {a!r} is paired with itself")
        known = pairs.get(a, {}).get(b)
        if known is not None and known.label != label:
            raise DataError(f"{path}, line {line}: {a!r} and {b!r} are {label} here and {known.label} above")
        pair = Pair(label, "hard" in row.get("note", "") or (known is not None and known.is_hard))
        pairs.setdefault(a, {})[b] = pair
        pairs.setdefault(b, {})[a] = pair
    return pairs


def related_pairs(pairs: Mapping[str, Mapping[str, Pair]]) -> list[tuple[str, str]]:
    """Files whose pair is more than REL."""
    return [(a, b) for a, others in pairs.items() for b, pair in others.items() if pair.label != REL]


def components_of(files: Iterable[str], links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name of the component of every file: the first of the files that links join it with, directly or not."""
    joined: dict[str, set[str]] = {file: set() for file in files}
    for a, b in links:
        joined[a].add(b)
        joined[b].add(a)
    component: dict[str, str] = {}
    for file in joined:
        waiting: Iterable[str] = [] if file in component else [file]
        while waiting:
            component |= dict.fromkeys(waiting, file)
            waiting = {other for member in waiting for other in joined[member]} - component.keys()
    return component


def _by_file(path: Path, columns: Sequence[str]) -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for line, row in csv_rows(path, columns):
        if row["file"] in rows or not row["file"]:
            raise DataError(f"{path}, line {line}: {row['file']!r} {'is there twice' if row['file'] else 'is no file'}")
        rows[row["file"]] = row
    return rows


def _seconds(text: str, path: Path, file: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{path}: duration_s of {file!r} is {text[:40]!r}, not seconds") from None

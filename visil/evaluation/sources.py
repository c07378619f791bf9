"""What an evaluation can encode or take in: the videos of a data set in a folder, or features in a file.

GroundTruth × folder, file ─► [add_to ─► held_by] ─► what of them the library holds ─► LibraryScores
                              this module

Videos are looked for before there is a library, so that a folder without any of the data set leaves none behind; a file
of features is looked into only by `add_to`. Only what a source holds now is measured: a library may hold more, of an
earlier run.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from visil.defaults import DEFAULT_BUNDLE
from visil.errors import DataError
from visil.evaluation.ground_truth import GroundTruth
from visil.library.feature_files import feature_set_path
from visil.library.files import FoundFile, find_files
from visil.library.ingest import IngestReport, Progress
from visil.library.library import Library
from visil.library.store import FAILED, VideoRecord
from visil.model.bundle import load_bundle
from visil.model.catalogue import find_bundle


@dataclass(frozen=True)
class Held:
    """What of a source a library holds.

    Attributes:
        ids: of its videos that have a row in the library, those that failed included: `LibraryScores(only=)`.
        failed_now: ids, or paths, of what the report of `add_to` says could not be read.
        unreadable: (id or path, reason) of those of them that have no row: `LibraryScores.unreadable` has the others.
        warnings: what a reader of the numbers should know.
    """

    ids: Set[str]
    failed_now: Set[str]
    unreadable: Sequence[tuple[str, str]]
    warnings: Sequence[str]


@dataclass(frozen=True)
class VideoSource:
    """The videos of a data set below a folder. Use `VideoSource.of`.

    Attributes:
        folder: where they are looked for.
        pattern: where they lie below it and what their ids are, see `find_files`.
        wanted: ids that the data set needs; None: all there are.
        files: the videos found.
    """

    folder: Path
    pattern: str | None
    wanted: frozenset[str] | None = field(repr=False)
    files: Sequence[FoundFile] = field(repr=False)

    @classmethod
    def of(cls, truth: GroundTruth, folder: Path, *, pattern: str | None = None) -> VideoSource:
        """Look for the videos of a data set.

        Raises:
            DataError: none is there, or the pattern is not valid.
        """
        files = find_files([folder], pattern=pattern, only=truth.wanted).files
        if not files:
            found = find_files([folder], pattern=pattern)
            if found.unreadable:
                raise DataError("; ".join(f"{path}: {reason}" for path, reason in found.unreadable))
            ids = f"its videos are called {found.files[0].name!r} and so on" if found.files else "it has no videos"
            raise DataError(
                f"{folder}: no video of {truth.name} in it: {ids}, those of the data set {truth.queries[0]!r}; "
                "--pattern says where the ids are: '{id}.mp4', '{id}/video.*'"
            )
        return cls(folder, pattern, truth.wanted, files)

    def add_to(self, library: Library, *, progress: Callable[[Progress], None] | None = None) -> IngestReport:
        """Bring a library up to date with the videos; what is there and unchanged is skipped.

        Args:
            progress: called after every video.

        Raises:
            DataError: two videos have one id, or the library has a video under another id, or another one under its:
                nothing was added.
            LibraryError: another process is writing.
        """
        self._check_ids(library)
        return library.add([self.folder], pattern=self.pattern, only=self.wanted, progress=progress)

    def held_by(self, library: Library, report: IngestReport) -> Held:
        """What the library holds after `add_to`, which gave the report.

        Raises:
            DataError: a video is not in the library under its id: it took the place of another one meanwhile.
        """
        self._check_ids(library)  # again: a file that took the place of another one has got an id of its own
        names = {str(file.path): file.name for file in self.files}
        records = library.list()
        ids = {record.id for record in records if record.file.path in names}
        return _held(self.folder, self.wanted, report, records, ids, lambda path: names.get(path, path))

    def _check_ids(self, library: Library) -> None:
        """Raises DataError where the vectors of another file would be measured under the id of a file."""
        records = library.list()
        by_id = {record.id: record.file for record in records}
        id_of = {record.file.path: record.id for record in records}
        path_of: dict[str, str] = {}
        for file in self.files:
            path = str(file.path)
            if path_of.setdefault(file.name, path) != path:
                raise DataError(
                    f"{path}: has the id {file.name!r}, as {path_of[file.name]} has; --pattern says which to take"
                )
            other = by_id.get(file.name)
            if id_of.get(path, file.name) != file.name or (
                other is not None and other.path != path and (other.is_feature_set or Path(other.path).exists())
            ):
                taken = f"{file.name!r} is {other.path}" if other is not None else f"it is called {id_of[path]!r}"
                raise DataError(f"{path}: in library {library.path} {taken}; take another --library")


@dataclass(frozen=True)
class FeatureSource:
    """Region vectors of the videos of a data set in an HDF5 file, see `Library.add_features`. Use `FeatureSource.of`.

    Attributes:
        wanted: ids that the data set needs; None: all there are.
        mtime_ns: modification time of the file in nanoseconds.
    """

    path: Path
    wanted: frozenset[str] | None = field(repr=False)
    mtime_ns: int

    @classmethod
    def of(cls, truth: GroundTruth, path: Path) -> FeatureSource:
        """Look at a file of features, not yet into it.

        Raises:
            DataError: there is no such file.
        """
        if not path.is_file():
            raise DataError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
        return cls(path, truth.wanted, path.stat().st_mtime_ns)

    def add_to(self, library: Library, *, progress: Callable[[int, int], None] | None = None) -> IngestReport:
        """Bring a library up to date with the features; what is there and unchanged is skipped.

        Args:
            progress: called with how many videos are done and how many there are.

        Raises:
            DataError: see `Library.add_features`; nothing of the data set in the file is one, too.
            LibraryError: another process is writing.
        """
        return library.add_features(self.path, only=self.wanted, progress=progress)

    def held_by(self, library: Library, report: IngestReport) -> Held:
        """What the library holds after `add_to`, which gave the report."""
        prefix = feature_set_path(self.path, "")
        records = library.list()
        # What an earlier state of the file held has an earlier time.
        ids = {r.id for r in records if r.file.path.startswith(prefix) and r.file.mtime_ns == self.mtime_ns}
        return _held(self.path, self.wanted, report, records, ids, lambda path: path.removeprefix(prefix))


def _held(
    source: Path,
    wanted: Set[str] | None,
    report: IngestReport,
    records: Sequence[VideoRecord],
    ids: Set[str],
    id_of: Callable[[str], str],
) -> Held:
    """From what was done, the ids that the source holds, and what its paths are called."""
    with_row = {record.file.path for record in records if record.status == FAILED}
    earlier = sorted({record.id for record in records if wanted is None or record.id in wanted} - ids)
    warnings = []
    if earlier:
        warnings.append(
            f"{len(earlier)} videos in the library, such as {earlier[0]!r}, are not in {source} (any more): they "
            "count as missing"
        )
    return Held(
        ids,
        {id_of(path) for path, _ in report.failed},
        [(id_of(path), reason) for path, reason in report.failed if path not in with_row],
        warnings,
    )


def cached_library(data_set: str, source: Path, *, bundle: str | None = None, pattern: str | None = None) -> Path:
    """Where the library of a source is kept: named after data set and bundle, and after what the videos are.

    Args:
        data_set: its name or path.
        bundle: name or file; None: the default.

    Raises:
        ModelError: no such bundle, or a damaged one.
    """
    found = load_bundle(find_bundle(bundle or DEFAULT_BUNDLE))
    origin = hashlib.sha256(f"{os.path.abspath(source)}\0{pattern}".encode(errors="surrogateescape"))
    words = (Path(data_set).stem.lower(), found.settings.name, found.hash[:8], origin.hexdigest()[:8])
    name = "-".join(re.sub(r"[^\w.]+", "_", word) for word in words)
    return Path(platformdirs.user_cache_dir("visil")) / "evaluate" / name

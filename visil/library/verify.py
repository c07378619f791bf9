"""Checks everything a library promises about its files, its table and the files it was made from.

    sums of all files ─► rows: promises and digests ─► the files that were indexed
    this module

Sums come first: what Lance reads of a file that is not what was written may be anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visil.commands import repair_command
from visil.errors import DataError, MediaError
from visil.library.feature_files import FeatureFile, feature_file_of
from visil.library.files import content_hash
from visil.library.lance_files import newest_version
from visil.library.rows import ADDED_LATER
from visil.library.salvaging import PROBLEM, ROW, UNREADABLE
from visil.library.second import SECOND, copy_of, is_copied
from visil.library.settings import SETTINGS
from visil.library.store import FAILED, OK, STRETCH_FRAMES, Store, VideoRecord
from visil.library.sums import SUMS
from visil.model.descriptors import part_edges
from visil.model.model import Model

NORM_TOLERANCE = 5e-3  # half precision of unit vectors


@dataclass(frozen=True)
class Finding:
    """Something that does not hold.

    Attributes:
        id: of a video, or the name of a file in the folder of the library.
        damage: False where a file outside the library changed, or where nothing that is needed is touched.
    """

    id: str
    problem: str
    damage: bool


def check_library(
    store: Store,
    model: Model,
    records: Callable[[], dict[str, VideoRecord]],
    *,
    files: Sequence[Path],
    progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Every file of the library, every row, then every file that was indexed: there, and with that content.

    Args:
        records: reads them, once the files have been looked at.
        files: of the library beside its table.
    """
    about_files, damaged = check_sums(store, files)
    findings = [*about_files, *check_copies(store), *check_rows(store, model, damaged)]
    videos = records()
    findings += _shared_files(videos)
    for done, record in enumerate(videos.values(), start=1):
        problem = None if record.id in store.damaged else _file_problem(record)
        if problem:
            findings.append(Finding(record.id, problem, False))
        if progress is not None:
            progress(done, len(videos))
    return findings


def check_sums(store: Store, files: Sequence[Path]) -> tuple[list[Finding], set[Path]]:
    """What library.sha256 says of the files that are listed there, and of those that should be.

    Args:
        files: that are needed beside those of the table.

    Returns:
        The findings, and the files that are not what was written.
    """
    findings: list[Finding] = []
    damaged: set[Path] = set()
    sums, needed = store.sums, {*files, *store.files()}
    if sums.unsealed:
        problem = f"{sums.unsealed} lines are not what was written, or not all was; the next write renews them"
        findings.append(Finding(SUMS, problem, False))
    for name, known in sums.by_name.items():
        path = sums.folder / name
        try:
            if known.fits(path):
                continue
            damaged.add(path)
            problem = "is not what was written"
        except FileNotFoundError:
            problem = "is gone"
        except OSError as error:
            problem = f"cannot be read ({error.strerror or error})"
        note = "" if path in needed else ", but nothing needs it now"
        findings.append(Finding(name, problem + note, path in needed))
    if needed and not sums.by_name and not sums.unsealed:
        problem = "is gone, so nothing tells whether files are what was written; the next write takes them as they are"
        return [Finding(SUMS, problem, False)], damaged
    findings += [
        Finding(
            sums.name(path), "has no sum yet: a write goes on, or was interrupted and the next one brings it in", False
        )
        for path in sorted(needed)
        if sums.of(path) is None
    ]
    return findings, damaged


def check_copies(store: Store) -> list[Finding]:
    """What is wrong with second/: nothing that is needed now, but a repair could not put it back."""
    sums = store.sums
    settings = [sums.folder / SETTINGS] if store.has_digests else []
    not_copied = [
        path for path in (*settings, *store.files()) if sums.of(path) is not None and not is_copied(sums, path)
    ]
    lacking = [path for path in not_copied if not copy_of(path, sums.folder).exists()]
    if newest_version(store.uri) != store.version:  # copies go with it, and another process has written meanwhile
        return []
    mends = repair_command(sums.folder)
    number = len(lacking)
    which, them = ("copy of 1 file", "it") if number == 1 else (f"copies of {number} files", "them")
    return [
        *(
            Finding(f"{SECOND}/{sums.name(path)}", f"is no copy of its file; `{mends}` makes it again", False)
            for path in not_copied
            if path not in lacking
        ),
        *(Finding(SECOND, f"lacks the {which}; the next write makes {them}", False) for _ in lacking[:1]),
    ]


def check_rows(
    store: Store, model: Model, damaged: Set[Path] = frozenset(), *, tell: Callable[[], None] = lambda: None
) -> list[Finding]:
    """Videos whose rows are damaged.

    Digests fit, stretches complete and unique, equal facts in all of them, vectors of the bundle's size, finite and not
    longer than 1, times in order and within the video, one unit descriptor a part.

    Args:
        damaged: files that are not what was written.
        tell: called after every row.
    """
    findings: list[Finding] = []
    rows_of: dict[str, list[dict[str, Any]]] = {}
    incomplete: set[str] = set()
    for row in store.rows(damaged):
        tell()
        if row[PROBLEM]:
            findings.append(Finding(row["id"], f"stretch {row['stretch']} {row[PROBLEM]}", True))
        if row[PROBLEM] == UNREADABLE:
            incomplete.add(row["id"])
            continue
        if "vectors" in row:  # else it is of a damaged file, and its digest was looked at
            findings += [Finding(row["id"], problem, True) for problem in _problems(_row_problems, row, model)]
        rows_of.setdefault(row["id"], []).append(_without_bulk(row if store.has_digests else _of_today(row)))
    for id, rows in rows_of.items():
        if id not in incomplete:
            findings += [Finding(id, problem, True) for problem in _problems(_video_problems, rows, model)]
    return findings


def _shared_files(records: dict[str, VideoRecord]) -> list[Finding]:
    """A file is one video."""
    findings: list[Finding] = []
    by_path: dict[str, str] = {}
    for record in records.values():
        other = by_path.setdefault(record.file.path, record.id)
        if other != record.id:
            findings.append(Finding(record.id, f"stands for the same file as {other}", True))
    return findings


def _of_today(row: dict[str, Any]) -> dict[str, Any]:
    """A row of an older format with what it lacks: other rows of its video may have that already.

    So it is after a kill while the library was brought up to date.
    """
    return row | {name: lacked for name, lacked in ADDED_LATER.items() if row.get(name) is None}


def _without_bulk(row: dict[str, Any]) -> dict[str, Any]:
    """What is kept of every row until its video is complete."""
    bulky = {
        "vectors": None,
        "times_s": row["times_s"][:1] + row["times_s"][-1:],
        "descriptors": np.array(row["descriptors"], dtype=np.float32),
    }
    return row | bulky


def _problems(check: Callable[[Any, Model], list[str]], stored: Any, model: Model) -> list[str]:
    """What a check finds; values that it cannot even work with are a finding too."""
    try:
        return check(stored, model)
    except (TypeError, ValueError) as error:
        return [f"values that cannot be read ({error})"]


def _row_problems(row: dict[str, Any], model: Model) -> list[str]:
    if row["status"] == FAILED:
        return [] if not row["vectors"] else ["failed, and yet has vectors"]
    problems = []
    frames, regions = row["num_frames"], row["num_regions"]
    expected = frames * regions * model.stored_dim * model.stored_dtype.itemsize
    if not len(row["vectors"]) == row["vector_bytes"] == expected:
        return [f"stretch {row['stretch']}: {len(row['vectors'])} bytes of vectors, expected {expected}"]
    if model.stored_dtype == np.float16 and frames:
        vectors = np.frombuffer(row["vectors"], np.float16).astype(np.float32).reshape(-1, model.stored_dim)
        norms = np.linalg.norm(vectors, axis=1)
        if not np.isfinite(norms).all() or norms.max() > 1 + NORM_TOLERANCE:
            problems.append(f"stretch {row['stretch']}: vectors that are not finite or longer than 1")
    times_s = np.array(row["times_s"])
    bounded = np.concatenate([[0.0], times_s, [row["duration_s"]]])
    if len(times_s) != frames or not (np.diff(bounded) >= 0).all():  # the comparison fails for NaN
        problems.append(
            f"stretch {row['stretch']}: {len(times_s)} times for {frames} frames, or not in order within "
            f"{row['duration_s']:g} s"
        )
    if row["num_stretches"] > 1 and row["stretch"] < row["num_stretches"] - 1 and frames != STRETCH_FRAMES:
        problems.append(f"stretch {row['stretch']}: {frames} frames, expected {STRETCH_FRAMES}")
    return problems


def _video_problems(rows: list[dict[str, Any]], model: Model) -> list[str]:
    first = rows[0]
    if first["num_stretches"] != len(rows) or sorted(row["stretch"] for row in rows) != list(range(len(rows))):
        return [f"stretches {sorted(row['stretch'] for row in rows)} of {first['num_stretches']}"]
    own = {"stretch", "num_frames", "vector_bytes", "vectors", "descriptors", "times_s", "digest", ROW, PROBLEM}
    problems = [
        f"{key} differs between its stretches"
        for key in first
        if key not in own and any(r.get(key) != first[key] for r in rows)
    ]
    times_s = [t for row in sorted(rows, key=lambda row: row["stretch"]) for t in row["times_s"]]
    if times_s != sorted(times_s):
        problems.append("times not in order across its stretches")
    frames = sum(row["num_frames"] for row in rows)
    if (first["status"] == OK) != (frames > 0):
        problems.append(f"status {first['status']} with {frames} frames")
    if frames > first["num_samples"]:
        problems.append(f"{frames} frames kept of {first['num_samples']} samples")
    descriptors = np.array([d for row in rows for d in row["descriptors"]], dtype=np.float32)
    num_parts = len(part_edges(frames, model.settings.part_samples)) - 1 if frames else 0
    if len(descriptors) != num_parts:
        problems.append(f"{len(descriptors)} descriptors for {num_parts} parts")
    elif num_parts and not np.allclose(np.linalg.norm(descriptors, axis=1), 1, atol=NORM_TOLERANCE):
        problems.append("descriptors that are not unit vectors")
    return problems


def _file_problem(record: VideoRecord) -> str | None:
    if record.file.is_feature_set:
        return _feature_file_problem(record)
    path = Path(record.file.path)
    try:
        if path.stat().st_size == record.file.size_bytes and content_hash(path) == record.file.sha256:
            return None
    except FileNotFoundError:
        return f"its file is gone: {path}"
    except OSError as error:
        return f"its file cannot be read: {path} ({error.strerror or error})"
    if problem := _not_known(record):
        return problem
    if path.stat().st_size == record.file.size_bytes and path.stat().st_mtime_ns == record.file.mtime_ns:
        return f"its file has other content but the same size and time: {path}; remove the video, then index it again"
    return f"its file has changed since it was indexed: {path}; index it again"


def _not_known(record: VideoRecord) -> str | None:
    """Of a video whose rows were damaged: nobody knows whether its file has changed."""
    return f"{record.reason}: {record.file.path}" if record.status == FAILED and not record.file.sha256 else None


def _feature_file_problem(record: VideoRecord) -> str | None:
    """Of a video that was read from a feature file: its data set is read if the file has another time."""
    path = feature_file_of(record)
    try:
        if path.stat().st_mtime_ns == record.file.mtime_ns:
            return None
    except FileNotFoundError:
        return f"its feature file is gone: {path}"
    except OSError as error:
        return f"its feature file cannot be read: {path} ({error.strerror or error})"
    if problem := _not_known(record):
        return problem
    try:
        with suppress(MediaError), FeatureFile.opened(path) as file:
            if file.content_hash(record.id) == record.file.sha256:
                return None
    except DataError as error:
        return f"its feature file cannot be read: {error}"
    return f"its feature file has changed since it was read: {path}; add it again"

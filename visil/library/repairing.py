"""Mends a library that does not open, or that `verify` finds damaged.

    folder ─► [settings ─► bundle ─► table: version, files, format, rows ─► unfinished move ─► sums] ─► lines
              this module, from the outside in: each step needs the ones before it

What has a second copy is put back first. Nothing is guessed and nothing goes silently: rows are given up on consent
alone, and never because the system refuses to read them. A video whose rows are damaged stays in the library as a
failure without a known content, so that `visil index` encodes its file again, whenever it is there. Candidates are
computed from the table when it is opened: there is no index on the disk that could be stale or lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from visil.commands import repair_command, visil_command
from visil.errors import LibraryError, ModelError
from visil.library.digests import row_digest
from visil.library.disk import writer_lock
from visil.library.lance_files import (
    DAMAGE,
    files_of_fragment,
    manifests,
    newest_version,
    panics_are_damage,
    reason_of,
    was_refused,
)
from visil.library.reindexing import PENDING
from visil.library.rows import UNKNOWN_TIME_NS, file_of
from visil.library.salvaging import NAMES_THE_VIDEO, NO_DIGEST, PROBLEM, ROW, UNREADABLE, salvaged_rows
from visil.library.second import copy_of, put_back, renew_copies, written_versions
from visil.library.settings import (
    FORMAT_VERSION,
    SETTINGS,
    LibrarySettings,
    fits_its_sum,
    is_library,
    read_any_format,
)
from visil.library.store import FAILED, FileFacts, Store, StoredVideo, check_is_there
from visil.library.sums import Sums, being_replaced, note_files
from visil.library.upgrading import bring_up_to_date
from visil.library.verify import check_rows, check_sums
from visil.media.reader import RULES
from visil.model.bundle import Bundle, load_bundle
from visil.model.catalogue import bundle_of_hash, find_bundle
from visil.model.model import Model

DAMAGED = "its rows in the library were damaged; index it again"


def repair_library(
    path: str | Path,
    bundle: str | Path | None = None,
    *,
    to_version: int | None = None,
    drop_rows: int | None = None,
    upgrading: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Bring the library in a folder back to what it promises, as far as it can be.

    Args:
        bundle: name or file of another copy of its bundle, in case it is missing or damaged.
        to_version: go back to this version of the table, which loses what came later; only if the newest one cannot
            be opened.
        drop_rows: give up this many rows of the table; only if so many cannot be saved.
        upgrading: called with how many steps are done and how many there are while an older format is brought up to
            date.

    Returns:
        What was done, a line each; nothing if all was well.

    Raises:
        LibraryError: it cannot be mended, or only with a loss that was not agreed to; the message says which.
    """
    path = Path(os.path.abspath(path))  # Lance answers with whole paths, which are looked for below this one
    if not is_library(path):  # before the lock makes a folder of a mistyped path
        read_any_format(path)
    try:
        with writer_lock(path):
            return list(_repairs(path, bundle, to_version, drop_rows, upgrading))
    except OSError as error:
        raise LibraryError(f"library {path}: cannot be written ({reason_of(error)})") from error


def _repairs(
    path: Path,
    bundle: str | Path | None,
    to_version: int | None,
    drop_rows: int | None,
    upgrading: Callable[[int, int], None] | None,
) -> Iterator[str]:
    yield from put_back(Sums(path), [path / SETTINGS])
    settings = read_any_format(path)
    own, restored = _bundle(path, settings, bundle)
    yield from restored
    uri = path / settings.table_file
    check_is_there(uri)
    yield from _put_back_version(uri)
    yield from _open_again(uri, to_version)
    yield from _put_back_files(uri)
    model = Model(own, device="cpu")
    yield from _drop_damaged_files(uri, drop_rows)
    if settings.format_version != FORMAT_VERSION:
        bring_up_to_date(path, settings, model, progress=upgrading)
        yield f"brought up to library format {FORMAT_VERSION}"
    yield from _drop_second_rows(uri)
    store = Store(uri, model.dim)
    yield from _fail_damaged_videos(store, model)
    yield from _give_up_a_damaged_move(path)
    yield from _renew_sums(store, [path / SETTINGS, path / settings.bundle_file])


# --- settings and bundle ---------------------------------------------------------------------------------------------


def _bundle(path: Path, settings: LibrarySettings, copy: str | Path | None) -> tuple[Bundle, list[str]]:
    """The bundle of the library, from its copy if need be."""
    wanted = f"{settings.bundle_name!r} ({settings.bundle_hash[:12]})"
    try:
        own = load_bundle(path / settings.bundle_file)
        if own.hash == settings.bundle_hash:
            return own, []
        problem = f"{settings.bundle_file} is another bundle"
    except ModelError as error:
        problem = str(error)
    copy = copy or bundle_of_hash(settings.bundle_hash)
    if copy is None:
        raise LibraryError(f"library {path}: {problem}; give a copy of {wanted} with --model to restore it")
    given = load_bundle(find_bundle(copy))
    if given.hash != settings.bundle_hash:
        raise LibraryError(
            f"library {path}: its videos were encoded with bundle {wanted}; {copy} is {given.settings.name!r} "
            f"({given.hash[:12]})"
        )
    with being_replaced(path / settings.bundle_file):
        given.save(path / settings.bundle_file)
    return given, [f"bundle {wanted} restored from {copy}"]


# --- versions and files of the table ---------------------------------------------------------------------------------


def _put_back_version(uri: Path) -> list[str]:
    """The newest version that was written, from its copy if need be."""
    sums = Sums(uri.parent)
    newest = written_versions(sums, uri).get(_last_version(uri))
    return [] if newest is None else put_back(sums, [newest])


def _put_back_files(uri: Path) -> list[str]:
    """What the newest version rests on, from copies if need be."""
    files = [path for fragment in _newest(uri).get_fragments() for path in files_of_fragment(uri, fragment)]
    return put_back(Sums(uri.parent), files)


def _open_again(uri: Path, to_version: int | None) -> list[str]:
    """Go back to the newest version that can be opened, if that is agreed to."""
    sums, found = Sums(uri.parent), manifests(uri)
    newest = _last_version(uri)
    readable = next((number for number in sorted(found, reverse=True) if _opens(uri, number)), None)
    written = written_versions(sums, uri)
    by_hand = _copy_without_a_sum(sums, written[newest]) if newest in written else ""
    if readable is None:
        problem = "no version of the table can be opened; restore it, or index into a new folder"
        raise LibraryError(f"{uri}: {problem}{by_hand}")
    if to_version is not None and to_version != (readable if readable != newest else None):
        raise LibraryError(f"{uri}: version {readable} of the table can be opened; there is no need of another")
    if readable == newest:
        return []
    ids = lance.dataset(str(uri), version=readable).to_table(columns=["id"], filter="stretch = 0")["id"]
    if to_version is None:
        problem = "damaged" if newest in found else "lost"
        raise LibraryError(
            f"{uri}: version {newest} of the table is {problem}; version {readable} holds {len(ids)} videos: "
            f"`{repair_command(uri.parent, '--to-version', readable)}` goes back to it, "
            f"`{visil_command('index', 'PATH...', library=uri.parent)}` encodes what came later"
            f"{by_hand}"
        )
    given_up = [path for number, path in (written | found).items() if number > readable]
    for manifest in given_up:
        manifest.unlink(missing_ok=True)
        copy_of(manifest, sums.folder).unlink(missing_ok=True)
    sums.forget(given_up)  # the next versions have their names; until then it is known that these are lost
    return [f"went back from version {newest} to {readable}, which holds {len(ids)} videos; what came later is lost"]


def _copy_without_a_sum(sums: Sums, lost: Path) -> str:
    """What to try by hand with the copy of a file that nothing vouches for; nothing if there is none."""
    copy = copy_of(lost, sums.folder)
    if sums.of(lost) is not None or not copy.exists():
        return ""
    name = sums.name(lost)
    return f"; the copy {sums.name(copy)} has no sum that vouches for it: moved to {name} it is taken as it is"


def _last_version(uri: Path) -> int:
    """The newest version that is there, or was."""
    return max(newest_version(uri), *written_versions(Sums(uri.parent), uri), 0)


def _newest(uri: Path) -> lance.LanceDataset:
    return lance.dataset(str(uri), version=newest_version(uri))


def _opens(uri: Path, version: int | None = None) -> bool:
    """Whether a version of the table, or its newest one, is what was written and can be opened."""
    version = version or _last_version(uri) or None
    try:
        if version in (found := manifests(uri)) and not _fits(Sums(uri.parent), found[version]):
            return False
        with panics_are_damage():
            return bool(lance.dataset(str(uri), version=version).schema.names)
    except DAMAGE as error:
        _stop_if_refused(uri, error)
        return False


def _stop_if_refused(uri: Path, error: Exception) -> None:
    """What the system does not let us read may be whole: nothing may be given up for it."""
    if was_refused(error):
        raise LibraryError(
            f"{uri}: the system does not let it be read ({reason_of(error)}), which is no damage; remove the cause, or "
            "copy what can be copied of the library to another disk and repair it there"
        ) from error


def _drop_damaged_files(uri: Path, drop_rows: int | None) -> list[str]:
    """Replace files that are not what was written beside the vectors, or of which a row cannot be read.

    In one commit; no loss without consent.
    """
    dataset, sums = _newest(uri), Sums(uri.parent)
    rows_of = {
        fragment.fragment_id: _rows_of_a_damaged_part(dataset, uri, sums, fragment)
        for fragment in dataset.get_fragments()
    }
    damaged = [fragment for fragment in dataset.get_fragments() if rows_of[fragment.fragment_id] is not None]
    saved = [(fragment, row) for fragment in damaged for row in rows_of[fragment.fragment_id] or () if row.get("path")]
    num_rows = sum(fragment.metadata.num_rows for fragment in damaged)
    lost = num_rows - len(saved)
    if drop_rows is not None and not lost:
        raise LibraryError(f"{uri}: every row of the table can be read; there is no need to drop any")
    if lost and drop_rows != lost:
        gives_up = f"`{repair_command(uri.parent, '--drop-rows', lost)}` gives them up"
        encodes = (
            f"`{visil_command('index', 'FOLDER...', library=uri.parent)}` with all your folders encodes them again"
        )
        raise LibraryError(
            f"{uri}: {lost} of {num_rows} rows in damaged files of the table ({len(damaged)}) cannot be saved, since "
            f"nobody knows which videos they were, or which were deleted: {gives_up}, {encodes}"
            f"{_copies_of_deletions_without_a_sum(uri, damaged)}"
        )
    if not damaged:
        return []
    rows = (pa.RecordBatch.from_pylist([_saved_row(*of)], schema=dataset.schema) for of in saved)
    reader = pa.RecordBatchReader.from_batches(dataset.schema, rows)  # one in memory: a file may hold a GB
    operation = lance.LanceOperation.Update(
        removed_fragment_ids=[fragment.fragment_id for fragment in damaged],
        new_fragments=lance.fragment.write_fragments(reader, str(uri)) if saved else [],
    )
    lance.LanceDataset.commit(str(uri), operation, read_version=dataset.version)
    left = f"{lost} of {num_rows} rows of them are lost, as agreed" if lost else "every row of them is known"
    return [f"damaged files of the table replaced: {len(damaged)}; {left}"]


def _copies_of_deletions_without_a_sum(uri: Path, fragments: Sequence[Any]) -> str:
    sums, files = Sums(uri.parent), [uri / name for fragment in fragments if (name := fragment.deletion_file())]
    return "".join(_copy_without_a_sum(sums, file) for file in files if not _has_equal_copy(file, sums.folder))


def _has_equal_copy(file: Path, library: Path) -> bool:
    try:
        return file.read_bytes() == copy_of(file, library).read_bytes()
    except OSError:
        return False


def _rows_of_a_damaged_part(dataset: Any, uri: Path, sums: Sums, fragment: Any) -> list[dict[str, Any]] | None:
    """The rows of such a part of the table as `salvaged_rows` gives them; None if it may be read like any other."""
    files = files_of_fragment(uri, fragment)
    try:
        known = [sums.of(path) for path in files]
        is_written_so = all(one is not None and one.fits(path) for one, path in zip(known, files, strict=True))
    except OSError as error:
        _stop_if_refused(uri, error)
        is_written_so = False
    if is_written_so:
        return None
    deletions = fragment.deletion_file()
    if deletions and not _fits(sums, uri / deletions):
        return [{}] * fragment.metadata.num_rows  # nobody knows which of them count
    try:
        rows = salvaged_rows(uri, dataset.version, fragment)
    except OSError as error:
        _stop_if_refused(uri, error)
        raise
    can_be_read = all(row[PROBLEM] != UNREADABLE for row in rows)
    return None if can_be_read and all(_fits(sums, path, quickly=True) for path in files) else rows


def _fits(sums: Sums, path: Path, *, quickly: bool = False) -> bool:
    """Whether a file is what was written, as far as that is known; quickly: vectors are not looked at."""
    known = sums.of(path)
    try:
        if known is None:
            return path.exists()
        return known.fits_quickly(path) if quickly else known.fits(path)
    except FileNotFoundError:
        return False


def _saved_row(fragment: Any, salvaged: dict[str, Any]) -> dict[str, Any]:
    if salvaged[PROBLEM] not in ("", NO_DIGEST):
        return _failed_row(salvaged)
    (row,) = fragment.take([salvaged[ROW]]).to_pylist()
    return row


def _failed_row(salvaged: dict[str, Any]) -> dict[str, Any]:
    kept = {name: salvaged.get(name) for name in NAMES_THE_VIDEO}
    nothing = {"num_samples": 0, "num_frames": 0, "num_regions": 0, "packed": False, "times_s": [], "descriptors": []}
    unknown = {"mtime_ns": UNKNOWN_TIME_NS, "sha256": "", "vector_bytes": 0, "vectors": b""}
    why = {"status": FAILED, "reason": DAMAGED, "reason_class": "unreadable", "rules": RULES}
    digest = row_digest(salvaged["id"], salvaged["stretch"], 0, 0, False, b"", np.zeros(0), np.zeros(0, np.float32))
    return {**kept, **nothing, **unknown, **why, "digest": digest}


# --- rows ------------------------------------------------------------------------------------------------------------


def _drop_second_rows(uri: Path) -> list[str]:
    """Of rows with the same id and stretch the newest stays."""
    dataset = _newest(uri)
    rows = dataset.to_table(columns=["id", "stretch"], with_row_id=True).to_pylist()
    newest = {(row["id"], row["stretch"]): row["_rowid"] for row in rows}
    surplus = [row["_rowid"] for row in rows if row["_rowid"] != newest[row["id"], row["stretch"]]]
    if not surplus:
        return []
    dataset.delete(f"_rowid IN ({', '.join(map(str, surplus))})")
    return [f"rows that were there twice dropped: {len(surplus)}"]


def _fail_damaged_videos(store: Store, model: Model) -> list[str]:
    """Videos that break a promise become failures, and so do rows that belong to no whole video."""
    problems: dict[str, str] = {}
    for finding in check_rows(store, model):
        problems.setdefault(finding.id, finding.problem)
    kept = _newest(store.uri).to_table(columns=[*NAMES_THE_VIDEO, "status"]).to_pylist()
    files = {row["id"]: file_of(row) for row in kept}  # without time and hash: `visil index` looks at the content
    failures = {row["id"] for row in kept if row["status"] == FAILED}
    stays: dict[str, str] = {}  # path -> id: of several the one that needs no encoding
    for id in sorted(files, key=lambda id: (id in problems, id in failures, id)):
        stays.setdefault(files[id].path, id)
    twins = [id for id in sorted(files) if files[id].path and stays[files[id].path] != id]
    failed = [id for id in problems if id not in twins]
    store.put([StoredVideo(id, files[id], None, DAMAGED, "unreadable") for id in failed])
    store.delete(twins)
    return [
        *(f"video {id!r} was damaged ({problems[id]}); {_how_to_restore(files[id], store)}" for id in failed),
        *(f"video {id!r} dropped: {stays[files[id].path]!r} stands for its file" for id in twins),
    ]


def _how_to_restore(file: FileFacts, store: Store) -> str:
    if not file.path:
        return "nothing tells which file it was: remove it, and index its folder again"
    if file.is_feature_set:
        return f"adding its feature file again restores {file.path}"
    return f"`{visil_command('index', file.path, library=store.uri.parent)}` encodes it again"


# --- an unfinished move to another bundle ----------------------------------------------------------------------------


def _give_up_a_damaged_move(path: Path) -> list[str]:
    """What a move has made so far is made again if its table is damaged; its bundle is restored when it goes on."""
    if not (path / PENDING).exists():
        return []
    begun = read_any_format(path, name=PENDING)
    uri = path / begun.table_file
    if fits_its_sum(path, PENDING) and _opens(uri):
        dataset, sums = _newest(uri), Sums(path)
        if all(_rows_of_a_damaged_part(dataset, uri, sums, fragment) is None for fragment in dataset.get_fragments()):
            return []
    Sums(path).forget([path / PENDING])
    (path / PENDING).unlink()
    return [
        f"the unfinished move to bundle {begun.bundle_name!r} given up: its table {begun.table_file} is damaged; "
        f"`{visil_command('index', '--reindex', library=path)}` begins it anew",
    ]


# --- sums ------------------------------------------------------------------------------------------------------------


def _renew_sums(store: Store, files: Sequence[Path]) -> list[str]:
    """All that is left is taken as it is now: the rows have digests of their own, and the bundle has its hash."""
    findings, damaged = check_sums(store, files)
    store.sums.forget(damaged)
    store.sums.forget_missing()
    store.note_files()
    note_files(files)
    renewed = renew_copies(store.sums, [store.sums.folder / SETTINGS, *store.files()])
    return [
        *(f"{finding.id} {finding.problem}: what is left is taken as it is" for finding in findings if finding.damage),
        *(f"second copies made again: {len(renewed)}" for _ in renewed[:1]),
    ]

"""Mends a library that does not open, or that `verify` finds damaged.

    folder ─► [settings ─► bundle ─► table: version, format, files, rows ─► unfinished move] ─► lines
              this module, from the outside in: each step needs the ones before it

Nothing is guessed and nothing goes silently: rows are given up on consent alone, and never because the system refuses
to read them. A video whose rows are damaged stays in the library as a failure without a known content, so that `visil
index` encodes its file again, whenever it is there. Candidates are computed from the table when it is opened: there is
no index on the disk that could be stale or lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from visil.errors import LibraryError, ModelError
from visil.library.disk import writer_lock
from visil.library.reindexing import PENDING
from visil.library.settings import FORMAT_VERSION, LibrarySettings, read_any_format, read_settings, write_settings
from visil.library.store import DAMAGE, FAILED, FileFacts, Store, StoredVideo, check_is_there, reason_of, was_refused
from visil.library.verify import check_rows
from visil.model.bundle import Bundle, load_bundle
from visil.model.catalogue import find_bundle
from visil.model.model import Model

DAMAGED = "its rows in the library were damaged; index it again"
UNKNOWN_TIME_NS = -1  # no file has it: `visil index` looks at the content
ADDED_BY_FORMAT_2 = ("root", "reason_class")
# What a row without readable vectors keeps. The rest is empty or unknown, as for any failure.
_KEPT = ("id", "stretch", "num_stretches", "path", "root", "size_bytes")


def repair_library(
    path: str | Path, bundle: str | Path | None = None, *, to_version: int | None = None, drop_rows: int | None = None
) -> list[str]:
    """Bring the library in a folder back to what it promises, as far as it can be.

    Args:
        bundle: name or file of another copy of its bundle, in case it is missing or damaged.
        to_version: go back to this version of the table, which loses what came later; only if the newest one cannot
            be opened.
        drop_rows: give up this many rows of the table; only if so many cannot be read, nor which videos they were.

    Returns:
        What was done, a line each; nothing if all was well.

    Raises:
        LibraryError: it cannot be mended, or only with a loss that was not agreed to; the message says which.
    """
    path = Path(path)
    read_any_format(path)  # before the lock makes a folder of a mistyped path
    try:
        with writer_lock(path):
            return list(_repairs(path, bundle, to_version, drop_rows))
    except OSError as error:
        raise LibraryError(f"library {path}: cannot be written ({reason_of(error)})") from error


def _repairs(path: Path, bundle: str | Path | None, to_version: int | None, drop_rows: int | None) -> Iterator[str]:
    version, settings = read_any_format(path)
    own, restored = _bundle(path, settings, bundle)
    yield from restored
    uri = path / settings.table_file
    yield from _open_again(uri, to_version)
    if version != FORMAT_VERSION:
        yield _bring_up_to_date(path, settings)
    model = Model(own, device="cpu")
    yield from _drop_damaged_files(uri, drop_rows)
    yield from _drop_second_rows(uri)
    yield from _fail_damaged_videos(Store(uri, model.dim), model)
    yield from _give_up_a_damaged_move(path)


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
    if copy is None:
        raise LibraryError(f"library {path}: {problem}; give a copy of {wanted} with --model to restore it")
    given = load_bundle(find_bundle(copy))
    if given.hash != settings.bundle_hash:
        raise LibraryError(
            f"library {path}: its videos were encoded with bundle {wanted}; {copy} is {given.settings.name!r} "
            f"({given.hash[:12]})"
        )
    given.save(path / settings.bundle_file)
    return given, [f"bundle {wanted} restored from {copy}"]


def _bring_up_to_date(path: Path, settings: LibrarySettings) -> str:
    """Format 1 to 2: two columns more, files named in the settings."""
    dataset = lance.dataset(str(path / settings.table_file))
    # An empty text, by way of a column that may be null, so that the new one may be too.
    missing = {name: "left(path, 0)" for name in ADDED_BY_FORMAT_2 if name not in dataset.schema.names}
    if missing:  # a killed repair may have added them
        dataset.add_columns(missing)
    write_settings(path, settings)
    return f"brought up to library format {FORMAT_VERSION}"


# --- versions and files of the table ---------------------------------------------------------------------------------


def _open_again(uri: Path, to_version: int | None) -> list[str]:
    """Go back to the newest version that can be opened, if that is agreed to."""
    check_is_there(uri)
    manifests = _manifests(uri)
    newest = max(manifests, default=0)
    readable = next((number for number in sorted(manifests, reverse=True) if _opens(uri, number)), None)
    if readable is None:
        raise LibraryError(f"{uri}: no version of the table can be opened; restore it, or index into a new folder")
    if to_version is not None and to_version != (readable if readable != newest else None):
        raise LibraryError(f"{uri}: version {readable} of the table can be opened; there is no need of another")
    if readable == newest:
        return []
    ids = lance.dataset(str(uri), version=readable).to_table(columns=["id"], filter="stretch = 0")["id"]
    if to_version is None:
        raise LibraryError(
            f"{uri}: version {newest} of the table is damaged; version {readable} holds {len(ids)} videos: "
            f"`visil verify --repair --to-version {readable}` goes back to it, `visil index` encodes what came later"
        )
    for number in range(readable + 1, newest + 1):
        if number in manifests:
            manifests[number].unlink()
    return [f"went back from version {newest} to {readable}, which holds {len(ids)} videos; what came later is lost"]


def _manifests(uri: Path) -> dict[int, Path]:
    """The files that are versions of a table; Lance counts their names down so that the newest is listed first."""
    found = {}
    for path in (uri / "_versions").glob("*.manifest"):
        if path.stem.isdecimal():
            number = int(path.stem)
            found[2**64 - 1 - number if len(path.stem) == 20 else number] = path
    return found


def _opens(uri: Path, version: int | None = None) -> bool:
    """Whether a version of the table, or its newest one, can be opened."""
    try:
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
    """Replace files that cannot be read whole by one with the rows that can, in one commit; no loss without consent."""
    dataset = lance.dataset(str(uri))
    damaged = [fragment for fragment in dataset.get_fragments() if not _reads_well(uri, fragment)]
    readable = [place for fragment in damaged for place in _readable_rows(uri, fragment)]
    num_rows = sum(fragment.metadata.num_rows for fragment in damaged)
    lost = num_rows - len(readable)
    if drop_rows is not None and not lost:
        raise LibraryError(f"{uri}: every row of the table can be read; there is no need to drop any")
    if lost and drop_rows != lost:
        raise LibraryError(
            f"{uri}: {lost} of {num_rows} rows in {len(damaged)} damaged file(s) of the table cannot be read, nor "
            f"which videos they were: `visil verify --repair --drop-rows {lost}` gives them up, `visil index` on all "
            "your folders encodes them again"
        )
    if not damaged:
        return []
    rows = (pa.RecordBatch.from_pylist([_saved_row(*place)], schema=dataset.schema) for place in readable)
    reader = pa.RecordBatchReader.from_batches(dataset.schema, rows)  # one in memory: a file may hold a GB
    operation = lance.LanceOperation.Update(
        removed_fragment_ids=[fragment.fragment_id for fragment in damaged],
        new_fragments=lance.fragment.write_fragments(reader, str(uri)) if readable else [],
    )
    lance.LanceDataset.commit(str(uri), operation, read_version=dataset.version)
    left = f"{lost} of {num_rows} rows of them are lost, as agreed" if lost else "every row of them is known"
    return [f"{len(damaged)} damaged file(s) of the table replaced; {left}"]


def _reads_well(uri: Path, fragment: Any) -> bool:
    try:
        for _ in fragment.to_batches(batch_size=8):
            pass
    except DAMAGE as error:
        _stop_if_refused(uri, error)
        return False
    return True


def _readable_rows(uri: Path, fragment: Any) -> Iterator[tuple[Any, int, list[str] | None]]:
    """Arguments of `_saved_row` for the rows of a file that can be read, whole or at least as failures."""
    for offset in range(fragment.metadata.num_rows):
        for columns in (None, list(_KEPT)):
            try:
                fragment.take([offset], columns=columns)
            except DAMAGE as error:
                _stop_if_refused(uri, error)
                continue
            yield fragment, offset, columns
            break


def _saved_row(fragment: Any, offset: int, columns: list[str] | None) -> dict[str, Any]:
    (row,) = fragment.take([offset], columns=columns).to_pylist()
    return row if columns is None else _failed_row(row)


def _failed_row(kept: dict[str, Any]) -> dict[str, Any]:
    nothing = {"num_samples": 0, "num_frames": 0, "num_regions": 0, "packed": False, "times_s": [], "descriptors": []}
    unknown = {"mtime_ns": UNKNOWN_TIME_NS, "sha256": "", "vector_bytes": 0, "vectors": b""}
    return {**kept, **nothing, **unknown, "status": FAILED, "reason": DAMAGED, "reason_class": "unreadable"}


# --- rows ------------------------------------------------------------------------------------------------------------


def _drop_second_rows(uri: Path) -> list[str]:
    """Of rows with the same id and stretch the newest stays."""
    dataset = lance.dataset(str(uri))
    rows = dataset.to_table(columns=["id", "stretch"], with_row_id=True).to_pylist()
    newest = {(row["id"], row["stretch"]): row["_rowid"] for row in rows}
    surplus = [row["_rowid"] for row in rows if row["_rowid"] != newest[row["id"], row["stretch"]]]
    if not surplus:
        return []
    dataset.delete(f"_rowid IN ({', '.join(map(str, surplus))})")
    return [f"{len(surplus)} row(s) that were there twice dropped"]


def _fail_damaged_videos(store: Store, model: Model) -> list[str]:
    """Videos that break a promise become failures, and so do rows that belong to no whole video."""
    problems: dict[str, str] = {}
    for finding in check_rows(store, model):
        problems.setdefault(finding.id, finding.problem)
    kept = lance.dataset(str(store.uri)).to_table(columns=[*_KEPT, "status"]).to_pylist()
    files = {row["id"]: FileFacts(row["path"], row["size_bytes"], UNKNOWN_TIME_NS, "", row["root"]) for row in kept}
    failures = {row["id"] for row in kept if row["status"] == FAILED}
    stays: dict[str, str] = {}  # path -> id: of several the one that needs no encoding
    for id in sorted(files, key=lambda id: (id in problems, id in failures, id)):
        stays.setdefault(files[id].path, id)
    twins = [id for id in sorted(files) if stays[files[id].path] != id]
    failed = [id for id in problems if id not in twins]
    store.put([StoredVideo(id, files[id], None, DAMAGED, "unreadable") for id in failed])
    store.delete(twins)
    return [
        *(f"video {id!r} was damaged ({problems[id]}); {_how_to_restore(files[id])}" for id in failed),
        *(f"video {id!r} dropped: {stays[files[id].path]!r} stands for its file" for id in twins),
    ]


def _how_to_restore(file: FileFacts) -> str:
    if file.is_feature_set:
        return f"adding its feature file again restores {file.path}"
    return f"`visil index` encodes {file.path} again"


# --- an unfinished move to another bundle ----------------------------------------------------------------------------


def _give_up_a_damaged_move(path: Path) -> list[str]:
    """What a move has made so far is made again if its table is damaged; its bundle is restored when it goes on."""
    if not (path / PENDING).exists():
        return []
    begun = read_settings(path, name=PENDING)
    uri = path / begun.table_file
    if _opens(uri) and all(_reads_well(uri, fragment) for fragment in lance.dataset(str(uri)).get_fragments()):
        return []
    (path / PENDING).unlink()
    return [
        f"the unfinished move to bundle {begun.bundle_name!r} given up: its table {begun.table_file} is damaged; "
        "`visil index --reindex` begins it anew"
    ]

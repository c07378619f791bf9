"""Mends a library that does not open, or that `verify` finds damaged.

    folder ─► [settings ─► bundle ─► table: version, format, files, rows] ─► what was done, a line each
              this module, from the outside in: each step needs the ones before it

Nothing is guessed and nothing goes silently. A video whose rows are damaged stays in the library as a failure without
a known content, so that `visil index` encodes its file again, whenever it is there. Candidates are computed from the
table when it is opened: there is no index on the disk that could be stale or lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from visil.errors import LibraryError, ModelError
from visil.library.disk import writer_lock
from visil.library.settings import FORMAT_VERSION, LibrarySettings, read_any_format, write_settings
from visil.library.store import DAMAGE, FAILED, FileFacts, Store, StoredVideo, reason_of
from visil.library.verify import check_rows
from visil.model.bundle import Bundle, load_bundle
from visil.model.catalogue import find_bundle
from visil.model.model import Model

DAMAGED = "its rows in the library were damaged; index it again"
UNKNOWN_TIME_NS = -1  # no file has it: `visil index` looks at the content
ADDED_BY_FORMAT_2 = ("root", "reason_class")
# What a row without readable vectors keeps. The rest is empty or unknown, as for any failure.
_KEPT = ("id", "stretch", "num_stretches", "path", "root", "size_bytes")


def repair_library(path: str | Path, bundle: str | Path | None = None, *, to_version: int | None = None) -> list[str]:
    """Bring the library in a folder back to what it promises, as far as it can be.

    Args:
        bundle: name or file of another copy of its bundle, in case it is missing or damaged.
        to_version: go back to this version of the table, which loses what came later; only if the newest one cannot
            be opened.

    Returns:
        What was done, a line each; nothing if all was well.

    Raises:
        LibraryError: it cannot be mended, or only with a loss that was not agreed to; the message says which.
    """
    path = Path(path)
    try:
        with writer_lock(path):
            return list(_repairs(path, bundle, to_version))
    except OSError as error:
        raise LibraryError(f"library {path}: cannot be written ({reason_of(error)})") from error


def _repairs(path: Path, bundle: str | Path | None, to_version: int | None) -> Iterator[str]:
    version, settings = read_any_format(path)
    own, restored = _bundle(path, settings, bundle)
    yield from restored
    uri = path / settings.table_file
    yield from _open_again(uri, to_version)
    if version != FORMAT_VERSION:
        yield _bring_up_to_date(path, settings)
    model = Model(own, device="cpu")
    yield from _drop_damaged_files(uri)
    yield from _drop_second_rows(uri)
    yield from _fail_damaged_videos(Store(uri, model.dim), model)


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
    if not uri.exists():
        raise LibraryError(f"{uri}: the table is missing; restore it from a copy, or index into a new folder")
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


def _opens(uri: Path, version: int) -> bool:
    try:
        return bool(lance.dataset(str(uri), version=version).schema.names)
    except DAMAGE:
        return False


def _drop_damaged_files(uri: Path) -> list[str]:
    """Replace files that cannot be read whole by one with the rows that can, in one commit."""
    dataset = lance.dataset(str(uri))
    damaged = [fragment for fragment in dataset.get_fragments() if not _reads_well(fragment)]
    if not damaged:
        return []
    num_rows = sum(fragment.metadata.num_rows for fragment in damaged)
    rows = [row for fragment in damaged for row in _readable_rows(fragment)]
    new = lance.fragment.write_fragments(pa.Table.from_pylist(rows, schema=dataset.schema), str(uri)) if rows else []
    operation = lance.LanceOperation.Update(
        removed_fragment_ids=[fragment.fragment_id for fragment in damaged], new_fragments=new
    )
    lance.LanceDataset.commit(str(uri), operation, read_version=dataset.version)
    lost = num_rows - len(rows)
    if not lost:
        return [f"{len(damaged)} damaged file(s) of the table replaced; every row of them is known"]
    return [
        f"{len(damaged)} damaged file(s) of the table replaced; {lost} of {num_rows} rows of them are lost, and which "
        "videos they were cannot be read: run `visil index` on all your folders again"
    ]


def _reads_well(fragment: Any) -> bool:
    try:
        for _ in fragment.to_batches(batch_size=8):
            pass
    except DAMAGE:
        return False
    return True


def _readable_rows(fragment: Any) -> Iterator[dict[str, Any]]:
    """Rows one by one, whole or at least as failures."""
    for offset in range(fragment.metadata.num_rows):
        for columns in (None, list(_KEPT)):
            try:
                (row,) = fragment.take([offset], columns=columns).to_pylist()
            except DAMAGE:
                continue
            yield row if columns is None else _failed_row(row)
            break


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
    for finding in check_rows(store, model, {record.id: record for record in store.records()}):
        problems.setdefault(finding.id, finding.problem)
    if not problems:
        return []
    kept = lance.dataset(str(store.uri)).to_table(columns=list(_KEPT)).to_pylist()
    files = {row["id"]: FileFacts(row["path"], row["size_bytes"], UNKNOWN_TIME_NS, "", row["root"]) for row in kept}
    first_of: dict[str, str] = {}
    twins = [id for id, file in sorted(files.items()) if first_of.setdefault(file.path, id) != id]
    failed = [id for id in problems if id not in twins]
    store.put([StoredVideo(id, files[id], None, DAMAGED, "unreadable") for id in failed])
    store.delete(twins)
    return [
        *(f"video {id!r} was damaged ({problems[id]}); `visil index` encodes {files[id].path} again" for id in failed),
        *(f"video {id!r} dropped: {first_of[files[id].path]!r} stands for its file" for id in twins),
    ]

"""Brings a library of an older format to the present one.

    rows of format 1 or 2 ─► checked as `verify` does ─► [rewritten with digest and rules, file by file] ─► library.toml
                             verify.py                   this module

Every file is replaced in a commit of its own, and library.toml says the new format last: whatever ends it in between,
the library is one of format 2 and answers as it did, and the next write goes on. Rows that do not pass the checks get
no digest: they count as damaged from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from visil.library.digests import digests_of
from visil.library.disk import flush_folder
from visil.library.rows import ADDED_LATER, UNCOMPRESSED, table_schema
from visil.library.settings import SETTINGS, LibrarySettings, write_settings
from visil.library.store import Store
from visil.library.verify import check_rows
from visil.model.model import Model

ROOM_BYTES = 1 << 30  # what is rewritten before the older copies of it are removed


def bring_up_to_date(
    path: Path,
    settings: LibrarySettings,
    model: Model,
    *,
    name: str = SETTINGS,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Bring the table that a settings file names, and the file, to the format of today; the caller holds the lock.

    Args:
        progress: called with how many steps are done, and how many there are: two a row, its check and its rewriting.

    Raises:
        LibraryError: the table is damaged beyond single rows.
        OSError: it cannot be written.
    """
    store = Store(path / settings.table_file, model.dim, has_digests=False)
    dataset = lance.dataset(str(store.uri))
    steps = _Steps(2 * dataset.count_rows(), progress)
    damaged = {finding.id for finding in check_rows(store, model, tell=steps.add)}
    missing = [field for field in table_schema(model.dim) if field.name not in dataset.schema.names]
    if missing:
        dataset.add_columns(pa.schema(missing))  # null everywhere, no file is written
    if dataset.schema.field("vectors").metadata != table_schema(model.dim).field("vectors").metadata:
        dataset.update_field_metadata({"vectors": {**UNCOMPRESSED}})
    num_bytes = 0
    for fragment in dataset.get_fragments():
        if fragment.to_table(columns=["rules"])["rules"].null_count:
            num_bytes += _rewrite(store.uri, fragment, damaged)
        steps.add(fragment.count_rows())
        if num_bytes > ROOM_BYTES:
            _make_room(store)
            num_bytes = 0
    _make_room(store)
    store.note_files()
    write_settings(path, settings, name=name)


class _Steps:
    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def add(self, number: int = 1) -> None:
        self._done += number
        if self._progress is not None:
            self._progress(self._done, self._total)


def _rewrite(uri: Path, fragment: Any, damaged: Set[str]) -> int:
    """Replace a part of the table by one of the same rows with their digests; returns its bytes."""
    dataset = lance.dataset(str(uri))
    reader = pa.RecordBatchReader.from_batches(dataset.schema, _with_digests(fragment, dataset.schema, damaged))
    written = lance.fragment.write_fragments(reader, dataset)
    operation = lance.LanceOperation.Update(removed_fragment_ids=[fragment.fragment_id], new_fragments=written)
    lance.LanceDataset.commit(str(uri), operation, read_version=dataset.version)
    return sum(file.file_size_bytes or 0 for part in written for file in part.files)


def _with_digests(fragment: Any, schema: pa.Schema, damaged: Set[str]) -> Iterator[pa.RecordBatch]:
    present = [name for name in schema.names if name in fragment.schema.names]
    for batch in fragment.to_batches(columns=present, batch_size=8):
        digests = [
            None if id in damaged else digest
            for id, digest in zip(batch["id"].to_pylist(), digests_of(batch), strict=True)
        ]
        columns = {name: batch[name] for name in schema.names}
        columns |= {name: batch[name].fill_null(lacked) for name, lacked in ADDED_LATER.items() if lacked is not None}
        columns["digest"] = pa.array(digests, pa.string())
        yield pa.RecordBatch.from_pydict(columns, schema=schema)


def _make_room(store: Store) -> None:
    flush_folder(store.uri)
    store.refresh()
    store.forget_older_versions()

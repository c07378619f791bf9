"""Reads a damaged part of a table row by row, in a process of its own that may die of it.

    a file whose sum does not fit ─► [a process: row by row, each with its digest] ─► what each row holds, what is wrong
                                     this module

Lance takes what it reads for sound: a flipped bit can make it ask for any amount of memory, end the process, or give
other values. The process has a limit on its memory; where it ends, the next one goes on behind that row.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from visil.library.digests import digests_of
from visil.library.lance_files import DAMAGE, was_refused

MEMORY_BYTES = 4 << 30  # a row has at most 19 MB of vectors; the address space of the libraries is in it
ENDINGS_AT_ONCE = 6  # processes that end without a row, one after the other: nothing of the file can be read
REFUSED = 3  # exit status: the system does not let the table be read
ROW, PROBLEM = "_row", "_problem"
UNREADABLE, OTHER_DIGEST, NO_DIGEST = "cannot be read", "is not what was written", "has no digest"
NAMES_THE_VIDEO = (
    "id",
    "stretch",
    "num_stretches",
    "path",
    "root",
    "size_bytes",
)  # all that is asked for of such a row


def salvaged_rows(table: Path, version: int, fragment: Any) -> list[dict[str, Any]]:
    """All rows of a part of a version of a table, in order, without their vectors.

    Returns:
        By column; of a row that cannot be read whole NAMES_THE_VIDEO, or not even that. ROW is its place in the part,
        PROBLEM what is wrong with it: empty, UNREADABLE, OTHER_DIGEST or NO_DIGEST.

    Raises:
        OSError: the system does not let it be read, which is no damage.
    """
    num_rows = fragment.metadata.num_rows
    rows: list[dict[str, Any]] = []
    is_deadly = False  # the row that comes next has ended a process
    ended_at_once = 0
    while len(rows) < num_rows:
        found = _rows_of_a_process(table, version, fragment.fragment_id, len(rows), is_deadly=is_deadly)
        rows += found
        ended_at_once = 0 if found else ended_at_once + 1
        if ended_at_once > ENDINGS_AT_ONCE:
            rows += [{PROBLEM: UNREADABLE}] * (num_rows - len(rows))
        elif not found and is_deadly:  # even its name
            rows.append({PROBLEM: UNREADABLE})
            is_deadly = False
        else:
            is_deadly = True
    return [{**row, ROW: number} for number, row in enumerate(rows)]


def _rows_of_a_process(
    table: Path, version: int, fragment_id: int, first: int, *, is_deadly: bool
) -> list[dict[str, Any]]:
    arguments = (str(table), str(version), str(fragment_id), str(first), "deadly" if is_deadly else "")
    command = [sys.executable, "-m", "visil.library.salvaging", *arguments]
    ended = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "RUST_BACKTRACE": "0"})
    if ended.returncode == REFUSED:
        raise OSError(ended.stderr.decode(errors="replace").strip())
    rows: list[dict[str, Any]] = []
    try:
        with pa.ipc.open_stream(ended.stdout) as stream:
            for batch in stream:
                rows += batch.to_pylist()
    except (pa.ArrowInvalid, OSError):
        pass  # cut off where the process ended
    return rows


def main(table: str, version: str, fragment_id: str, first: str, first_is: str) -> None:
    """The process: an Arrow stream on standard output, one batch a row. Of a row that is deadly only the name."""
    import lance

    _limit_memory()
    dataset = lance.dataset(table, version=int(version))
    (fragment,) = (part for part in dataset.get_fragments() if part.fragment_id == int(fragment_id))
    fields = [pa.field(field.name, field.type) for field in dataset.schema if field.name != "vectors"]
    schema = pa.schema([*fields, pa.field(PROBLEM, pa.string())])
    with pa.ipc.new_stream(sys.stdout.buffer, schema) as stream:
        for number in range(int(first), fragment.metadata.num_rows):
            is_deadly = number == int(first) and first_is == "deadly"
            stream.write_batch(_read(fragment, number, schema, whole=not is_deadly))
            sys.stdout.buffer.flush()


def _read(fragment: Any, number: int, schema: pa.Schema, *, whole: bool) -> pa.RecordBatch:
    try:
        row = _taken(fragment, number) if whole else None
    except DAMAGE as error:
        if was_refused(error):
            print(error, file=sys.stderr)
            sys.exit(REFUSED)
        row = None
    if row is None:
        row, problem = _name_of(fragment, number), UNREADABLE
    else:
        digest = row["digest"][0].as_py() if "digest" in row.schema.names else None
        problem = NO_DIGEST if digest is None else "" if digest == next(digests_of(row)) else OTHER_DIGEST
    columns = {
        field.name: row[field.name] if field.name in row.schema.names else pa.nulls(1, field.type)
        for field in schema
        if field.name != PROBLEM
    }
    return pa.RecordBatch.from_pydict({**columns, PROBLEM: pa.array([problem])}, schema=schema)


def _name_of(fragment: Any, number: int) -> pa.RecordBatch:
    """A row as far as it says which video it is of; without any column if it does not."""
    for columns in (NAMES_THE_VIDEO, ("id", "stretch")):
        names = [name for name in columns if name in fragment.schema.names]
        try:
            return _taken(fragment, number, columns=names)
        except DAMAGE:
            continue
    return pa.RecordBatch.from_pydict({})


def _taken(fragment: Any, number: int, *, columns: list[str] | None = None) -> pa.RecordBatch:
    (row,) = fragment.take([number], columns=columns).combine_chunks().to_batches()
    row.validate(full=True)
    return row


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main(*sys.argv[1:])

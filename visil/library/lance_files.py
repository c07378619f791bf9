"""The files of a Lance table: which there are, where the vectors lie in a file of rows, what errors say of them.

<table>.lance/_versions/*.manifest     one a version; Lance counts their names down so that the newest is listed first
<table>.lance/_transactions/*.txn      one a commit
<table>.lance/data/*.lance             rows; never changed once they are there
<table>.lance/_deletions/*             which rows of a file do not count any more

Read without Lance, which takes what it reads for sound: a flipped bit in the length of a page makes it ask for any
amount of memory.
"""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MANIFESTS, TRANSACTIONS, DATA, DELETIONS = "_versions", "_transactions", "data", "_deletions"
BULK_BYTES = 1 << 16  # a buffer of at least so many bytes of vectors is read where it is needed only

DAMAGE = (ValueError, OSError, RuntimeError)  # what Lance raises when it cannot read a table

_PANIC = "pyo3_runtime.PanicException"  # what a panic in Rust becomes: no Exception, and of no importable class

_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how Rust prints what the system said
_NOT_FOUND = re.compile(r"Not found: (.+)")  # Lance names files from the root, without its slash
_RUST_SOURCE = re.compile(r", \S+\.rs:\d+:\d+")
_FOOTER = struct.Struct("<QQQIIHH4s")  # of a file of rows: where the descriptions of its columns lie, and how many
_PLACE = struct.Struct("<QQ")  # offset and size
_PAGE, _OFFSETS, _SIZES = 2, 1, 2  # numbers of fields: ColumnMetadata.pages, Page.buffer_offsets and buffer_sizes


@contextmanager
def panics_are_damage() -> Iterator[None]:
    """A panic within Lance, which no `except Exception` catches, becomes one of DAMAGE."""
    try:
        yield
    except BaseException as error:
        if f"{type(error).__module__}.{type(error).__qualname__}" != _PANIC:
            raise
        raise RuntimeError(f"Lance gave up on it: {error}") from error


def manifests(table: Path) -> dict[int, Path]:
    """The file of every version of a table, by its number."""
    return {number: table / MANIFESTS / name for number, name in by_version(_names(table / MANIFESTS)).items()}


def by_version(names: Iterable[str]) -> dict[int, str]:
    """Names of manifests, with or without a folder, by the number of their version."""
    found = {}
    for name in names:
        stem, _, suffix = name.rpartition("/")[2].partition(".")
        if suffix == "manifest" and stem.isdecimal():
            number = int(stem)
            found[2**64 - 1 - number if len(stem) == 20 else number] = name
    return found


def newest_version(table: Path) -> int:
    """Its number; 0 without any. What Lance notes down as a hint is not asked: nothing protects it."""
    return max(manifests(table), default=0)


def immutable_files(table: Path) -> Iterator[str]:
    """Names within a table of all its files that are written once."""
    for folder, suffix in ((DATA, ".lance"), (DELETIONS, ""), (TRANSACTIONS, ".txn"), (MANIFESTS, ".manifest")):
        for name in sorted(_names(table / folder)):
            if name.endswith(suffix) and not name.startswith("."):
                yield f"{folder}/{name}"


def _names(folder: Path) -> list[str]:
    """What a folder holds; nothing if it is not there."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except FileNotFoundError:
        return []


def files_of_fragment(table: Path, fragment: Any) -> list[Path]:
    """What a read of this part of a version rests on: files of rows and the one that says which were deleted."""
    deletions = fragment.deletion_file()
    return [
        *(table / DATA / file.path for file in fragment.data_files()),
        *([table / deletions] if deletions else []),
    ]


def vector_columns(dataset: Any) -> dict[str, int]:
    """Which column of a file of rows holds the vectors, by the name of the file; files that hold none are left out."""
    field = dataset.lance_schema.field("vectors").id()
    return {
        file.path: file.column_indices[file.fields.index(field)]
        for fragment in dataset.get_fragments()
        for file in fragment.metadata.files
        if field in file.fields
    }


def bulk_of(path: Path, column: int) -> list[tuple[int, int]]:
    """Where the large buffers of a column lie in a file of rows, [from, to) in bytes, ascending.

    Raises:
        OSError, ValueError: the file is not one that this knows.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _FOOTER.size))
        _, columns_at, _, _, num_columns, _, _, magic = _unpacked(_FOOTER, file.read(_FOOTER.size))
        if magic != b"LANC" or column >= num_columns:
            raise ValueError(f"{path}: not a file of rows as Lance writes them")
        file.seek(columns_at + column * _PLACE.size)
        start, length = _unpacked(_PLACE, file.read(_PLACE.size))
        if start + length > size:
            raise ValueError(f"{path}: its description of a column lies outside")
        file.seek(start)
        description = file.read(length)
    bulk = []
    for number, page in _fields(description):
        if number == _PAGE:
            fields = dict(_fields(page))
            places = zip(_numbers(fields.get(_OFFSETS, b"")), _numbers(fields.get(_SIZES, b"")), strict=True)
            bulk += [(offset, offset + length) for offset, length in places if length >= BULK_BYTES]
    if any(end > size for _, end in bulk):
        raise ValueError(f"{path}: a buffer lies outside")
    return sorted(bulk)


def reason_of(error: Exception) -> str:
    """The words of an error in one line, with the file that is gone; of Lance's, without the place in its source."""
    words: str = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{words}: {error.filename}"
    if isinstance(error, IsADirectoryError) and error.filename:
        return f"a folder lies in the place of {error.filename2 or error.filename}: move it away"
    if of_the_system := _OS_ERROR.search(words):
        return os.strerror(int(of_the_system[1]))
    words = _RUST_SOURCE.sub("", words.splitlines()[0])
    if gone := _NOT_FOUND.search(words):
        name = gone[1] if Path(gone[1]).is_absolute() else f"/{gone[1]}"
        return f"{os.strerror(errno.ENOENT)}: {name}"
    return words[:200]


def was_refused(error: Exception) -> bool:
    """Whether the system did not let us read a file: no permission, too many open files, a failing disk.

    That says nothing about what the file holds. A file that is missing is damage.
    """
    return _number_of(error) not in (None, errno.ENOENT)


def is_about_a_row(error: Exception) -> bool:
    """Whether Lance could not make sense of what it read, not that it could not read a file."""
    return _number_of(error) is None and "Not found" not in str(error)


def _number_of(error: Exception) -> int | None:
    """What the system said, if the error comes from there."""
    of_the_system = _OS_ERROR.search(str(error))
    return int(of_the_system[1]) if of_the_system else getattr(error, "errno", None)


def _unpacked(layout: struct.Struct, content: bytes) -> tuple[Any, ...]:
    try:
        return layout.unpack(content)
    except struct.error as error:
        raise ValueError("cut off") from error


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of every field of a protobuf message; bytes where the value has a length."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError("not a protobuf message")
        length, at = _varint(message, at) if kind == 2 else (8 if kind == 1 else 4, at)
        if at + length > len(message):
            raise ValueError("a field of a protobuf message is cut off")
        yield key >> 3, message[at : at + length]
        at += length


def _numbers(packed: bytes) -> list[int]:
    numbers, at = [], 0
    while at < len(packed):
        number, at = _varint(packed, at)
        numbers.append(number)
    return numbers


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and where it ends."""
    value = shift = 0
    while True:
        if at >= len(content) or shift > 63:
            raise ValueError("not a protobuf message")
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at

"""library.sha256: what the files of a library were when they were written, for `sha256sum -c` and for us.

    commit ─► [sha256 and name of every new file ─► library.sha256] ─► checked when a table is opened, and by `verify`
              this module

Lines are those of sha256sum; what is ours beside them stands in comments. `# beside` is a sum over all of a file of
rows but the vectors, for a check that costs nothing however large the vectors are. `# seal` ends what was written at
once: lines without a seal that fits are not believed, be it a write that was interrupted or a flipped bit, so their
files count as having no sum. The next write brings them in.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import xxhash

from visil.errors import LibraryError
from visil.library.disk import replace_file
from visil.library.lance_files import DATA, MANIFESTS, bulk_of, by_version, reason_of

SUMS = "library.sha256"
READ_BYTES = 1 << 20

Ranges = tuple[tuple[int, int], ...]  # [from, to) in bytes, ascending

_SEAL = re.compile(rb"# seal ([0-9a-f]{32})\n")
_SUM = re.compile(r"([0-9a-f]{64})  (\S.*)")
_BESIDE = re.compile(r"# beside (-|\d+-\d+(?:,\d+-\d+)*) ([0-9a-f]{32})  (\S.*)")


@dataclass(frozen=True)
class FileSum:
    """What a file was.

    Attributes:
        sha256: of the whole file.
        bulk: of a file of rows, where its vectors lie.
        beside: of a file of rows, XXH3-128 of all the rest; empty for other files.
    """

    sha256: str
    bulk: Ranges = ()
    beside: str = ""

    @staticmethod
    def of(path: Path, bulk: Ranges | None = None) -> FileSum:
        """Of a file as it is now; with `bulk`, of a file of rows."""
        return FileSum(whole_sum(path), bulk or (), "" if bulk is None else beside_sum(path, bulk))

    def fits(self, path: Path) -> bool:
        """Whether all of a file is what it was."""
        return whole_sum(path) == self.sha256

    def fits_quickly(self, path: Path) -> bool:
        """The same without looking at vectors."""
        return beside_sum(path, self.bulk) == self.beside if self.beside else self.fits(path)


class Sums:
    """The file library.sha256 of a folder, as it was when it was last read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / SUMS
        self._folder_name = f"{folder.as_posix().rstrip('/')}/"
        self._read_at: tuple[int, int, int] | None = None
        self.reload()

    def reload(self) -> None:
        """Read it again if it is another.

        Raises:
            LibraryError: it is there, and cannot be read.
        """
        try:
            stamp = _stamp(self._path.stat())
            content = b"" if stamp == self._read_at else self._path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            stamp, content = None, b""
        except OSError as error:
            raise LibraryError(f"{self._path}: cannot be read ({reason_of(error)})") from error
        if stamp is None or stamp != self._read_at:
            self._by_name, self.unsealed = _parsed(content)
            self._read_at = stamp

    @property
    def by_name(self) -> Mapping[str, FileSum]:
        """All that are listed and believed, by name within the folder."""
        return self._by_name

    def name(self, path: Path) -> str:
        """What a file of the folder is called here."""
        # `relative_to` takes 20 times as long, and there are many
        return path.as_posix().removeprefix(self._folder_name)

    def of(self, path: Path) -> FileSum | None:
        """What is known of a file."""
        return self._by_name.get(self.name(path))

    def manifests(self, table: Path) -> dict[int, str]:
        """Names of the versions of a table that were written, by number, be they there or not."""
        folder = f"{self.name(table)}/{MANIFESTS}/"
        return by_version(name for name in self._by_name if name.startswith(folder))

    def add(self, files: Mapping[Path, FileSum]) -> None:
        """Note files down, and see it on the disk.

        Raises:
            OSError: it cannot be written.
        """
        added = {self.name(path): found for path, found in files.items()}
        if not added:
            return
        self.reload()
        if self.unsealed or any(self._by_name.get(name, found) != found for name, found in added.items()):
            self._replace({**self._by_name, **added})
            return
        with self._path.open("ab") as file:
            before = file.tell()
            file.write(_sealed(added))
            file.flush()
            os.fsync(file.fileno())
            after = _stamp(os.fstat(file.fileno()))
        if before == (self._read_at[1] if self._read_at else 0):  # nobody came between: no need to read all again
            self._by_name, self._read_at = {**self._by_name, **added}, after
        self.reload()

    def forget(self, paths: Iterable[Path]) -> None:
        """Before a file is replaced or removed: whatever comes in between, no wrong sum is left.

        Raises:
            OSError: it cannot be written.
        """
        self.reload()
        names = {self.name(path) for path in paths}
        if self.unsealed or names & self._by_name.keys():
            self._replace({name: found for name, found in self._by_name.items() if name not in names})

    def forget_missing(self) -> None:
        """Forget the files that are not there any more."""
        self.forget([path for name in self._by_name if not (path := self.folder / name).exists()])

    def _replace(self, files: Mapping[str, FileSum]) -> None:
        partial = self._path.with_name(f".{SUMS}.partial")
        with partial.open("wb") as file:
            file.write(_sealed(files))
            file.flush()
            os.fsync(file.fileno())
        replace_file(partial, self._path)
        self.reload()


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    """Another one whenever a file is another."""
    return status.st_mtime_ns, status.st_size, status.st_ino


@contextmanager
def being_replaced(path: Path) -> Iterator[None]:
    """Around the writing of a file that may have a sum already: whatever ends it, no wrong one is left.

    Raises:
        OSError: the sums cannot be written.
    """
    sums = Sums(path.parent)
    sums.forget([path])
    yield
    sums.add({path: FileSum.of(path)})


def note_files(paths: Iterable[Path]) -> None:
    """Bring in the sums of those files of one folder that have none.

    Raises:
        OSError: the sums cannot be written.
    """
    for path in paths:
        sums = Sums(path.parent)
        if sums.of(path) is None:
            sums.add({path: FileSum.of(path)})


def row_file_sum(path: Path, vector_columns: Mapping[str, int]) -> FileSum:
    """Of any file of a table; of a file of rows that can be looked into with where its vectors lie.

    Args:
        vector_columns: see `lance_files.vector_columns`.
    """
    if path.parent.name != DATA:
        return FileSum.of(path)
    try:
        return FileSum.of(path, tuple(bulk_of(path, vector_columns[path.name])) if path.name in vector_columns else ())
    except ValueError:  # of another version of Lance: `verify` alone checks it
        return FileSum.of(path)


def sum_of_bytes(content: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def whole_sum(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def beside_sum(path: Path, bulk: Ranges) -> str:
    """XXH3-128 of a file without these ranges, hexadecimal."""
    digest = xxhash.xxh3_128()
    for content in beside(path, bulk):
        digest.update(content)
    return digest.hexdigest()


def beside(path: Path, bulk: Ranges) -> Iterator[bytes]:
    """What a file holds without these ranges."""
    with path.open("rb", buffering=0) as file:
        for start, end in bulk:
            yield from _blocks(file, start - file.tell())
            file.seek(end)
        yield from _blocks(file, None)


def _blocks(file: BinaryIO, length: int | None) -> Iterator[bytes]:
    """The next bytes of a file, as many as there are."""
    while length is None or length > 0:
        content = file.read(READ_BYTES if length is None else min(length, READ_BYTES))
        if not content:
            return
        yield content
        length = None if length is None else length - len(content)


def _sealed(files: Mapping[str, FileSum]) -> bytes:
    lines = b"".join(_lines(files))
    return lines + f"# seal {xxhash.xxh3_128_hexdigest(lines)}\n".encode()


def _lines(files: Mapping[str, FileSum]) -> Iterator[bytes]:
    for name, found in files.items():
        if found.beside:
            ranges = ",".join(f"{start}-{end}" for start, end in found.bulk) or "-"
            yield f"# beside {ranges} {found.beside}  {name}\n".encode()
        yield f"{found.sha256}  {name}\n".encode()


def _parsed(content: bytes) -> tuple[dict[str, FileSum], int]:
    """What the sealed lines say, and how many lines are not sealed."""
    files: dict[str, FileSum] = {}
    unsealed = start = 0
    for seal in _SEAL.finditer(content):
        lines = content[start : seal.start()]
        if xxhash.xxh3_128_hexdigest(lines).encode() == seal[1]:
            files.update(_read_lines(lines.decode()))
        else:
            unsealed += 1 + lines.count(b"\n")
        start = seal.end()
    return files, unsealed + content.count(b"\n", start) + (not content.endswith(b"\n") and start < len(content))


def _read_lines(lines: str) -> Iterator[tuple[str, FileSum]]:
    beside: dict[str, tuple[Ranges, str]] = {}
    for line in lines.splitlines():
        if found := _SUM.fullmatch(line):
            yield found[2], FileSum(found[1], *beside.get(found[2], ()))
        elif found := _BESIDE.fullmatch(line):
            ranges = [] if found[1] == "-" else [part.split("-") for part in found[1].split(",")]
            beside[found[3]] = tuple((int(start), int(end)) for start, end in ranges), found[2]

"""library.sha256: `sha256sum -c` takes it, what is not sealed is not believed, and no wrong sum is left behind."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

import visil.library.sums as sums_module
from tests.library.made import DIM, stored_video
from visil.library.lance_files import BULK_BYTES, bulk_of
from visil.library.store import Store, create_table
from visil.library.sums import SUMS, FileSum, Sums, being_replaced, beside_sum


@pytest.fixture
def sums(tmp_path: Path) -> Sums:
    """Two files are listed, each written at a time of its own."""
    sums = Sums(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"content of {name}")
        sums.add({tmp_path / name: FileSum.of(tmp_path / name)})
    return sums


def test_a_file_is_listed_with_its_sha256(sums, tmp_path):
    assert sums.of(tmp_path / "a").sha256 == hashlib.sha256(b"content of a").hexdigest()
    assert Sums(tmp_path).by_name == sums.by_name
    assert sums.of(tmp_path / "c") is None


def test_adding_appends(sums, tmp_path):
    before = (tmp_path / SUMS).read_bytes()
    (tmp_path / "c").touch()
    sums.add({tmp_path / "c": FileSum.of(tmp_path / "c")})
    assert (tmp_path / SUMS).read_bytes().startswith(before)


def test_a_file_that_is_written_again_has_one_line(sums, tmp_path):
    with being_replaced(tmp_path / "a"):
        assert Sums(tmp_path).of(tmp_path / "a") is None  # whatever ends it here, no wrong sum is left
        (tmp_path / "a").write_text("another")
    assert Sums(tmp_path).of(tmp_path / "a").fits(tmp_path / "a")
    assert (tmp_path / SUMS).read_text().count("  a\n") == 1


def test_another_sum_of_a_file_takes_the_place_of_the_first(sums, tmp_path):
    (tmp_path / "a").write_text("another")
    sums.add({tmp_path / "a": FileSum.of(tmp_path / "a")})
    assert Sums(tmp_path).by_name == sums.by_name
    assert Sums(tmp_path).of(tmp_path / "a").fits(tmp_path / "a")
    assert (tmp_path / SUMS).read_text().count("  a\n") == 1


@pytest.mark.parametrize("change", ["add", "forget"])
def test_every_change_is_seen_on_the_disk_whole(sums, tmp_path, monkeypatch, change):
    fsync, flushed = os.fsync, []

    def flush(opened: int) -> None:
        status = os.fstat(opened)
        flushed.append((status.st_ino, status.st_size))
        fsync(opened)

    monkeypatch.setattr(os, "fsync", flush)
    if change == "add":
        sums.add({tmp_path / "c": FileSum("0" * 64)})
    else:
        sums.forget([tmp_path / "a"])
    written = (tmp_path / SUMS).stat()
    assert (written.st_ino, written.st_size) in flushed


def test_what_was_added_is_known_without_reading_all_again(sums, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sums_module, "_parsed", lambda content: pytest.fail("read again"))
        sums.add({tmp_path / "c": FileSum("0" * 64)})
        sums.reload()
    assert sums.by_name == Sums(tmp_path).by_name


def test_files_that_are_gone_are_forgotten_when_asked(sums, tmp_path):
    (tmp_path / "a").unlink()
    sums.forget_missing()
    assert list(Sums(tmp_path).by_name) == ["b"]


def test_what_another_process_added_is_seen_and_kept(sums, tmp_path):
    other = Sums(tmp_path)
    (tmp_path / "c").touch()
    other.add({tmp_path / "c": FileSum.of(tmp_path / "c")})
    sums.forget([tmp_path / "a"])
    assert list(Sums(tmp_path).by_name) == ["b", "c"]


@pytest.mark.parametrize("cut", [1, 40, 90])
def test_lines_of_a_write_that_was_interrupted_are_not_believed_and_the_next_write_is_whole(sums, tmp_path, cut):
    content = (tmp_path / SUMS).read_bytes()
    (tmp_path / SUMS).write_bytes(content[:-cut])
    torn = Sums(tmp_path)
    assert (list(torn.by_name), torn.unsealed > 0) == (["a"], True)
    torn.add({tmp_path / "b": FileSum.of(tmp_path / "b")})
    assert (list(Sums(tmp_path).by_name), Sums(tmp_path).unsealed) == (["a", "b"], 0)


@given(bit=st.integers(0, 2**31))
def test_a_flipped_bit_of_it_is_never_a_wrong_sum(tmp_path_factory, bit):
    folder = tmp_path_factory.mktemp("sums")
    (folder / "a").touch()
    Sums(folder).add({folder / "a": FileSum.of(folder / "a")})
    content = bytearray((folder / SUMS).read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    (folder / SUMS).write_bytes(content)
    damaged = Sums(folder)
    assert (damaged.by_name, damaged.unsealed > 0) == ({}, True)


class TestOfATable:
    @pytest.fixture
    def uri(self, tmp_path: Path) -> Path:
        """One video of 2,100 frames: 67 kB of vectors."""
        create_table(tmp_path / "videos.lance", DIM)
        Store(tmp_path / "videos.lance", DIM).append([stored_video("a", 2048)])
        return tmp_path / "videos.lance"

    @pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum command here")
    def test_sha256sum_finds_every_file_as_it_was(self, uri):
        told = subprocess.run(["sha256sum", "-c", SUMS], cwd=uri.parent, capture_output=True, text=True, check=False)
        assert (told.returncode, told.stderr) == (0, "")
        files = {path.relative_to(uri.parent).as_posix() for path in uri.rglob("*") if path.is_file()}
        listed = {line.removesuffix(": OK") for line in told.stdout.splitlines()}
        assert files - listed == {"videos.lance/_versions/latest_version_hint.json"}  # written again and again

    @pytest.mark.parametrize(
        "commit",
        [
            lambda store: store.append([stored_video("b", 3)]),
            lambda store: store.put([stored_video("a", 3)]),
            lambda store: store.update_rules({"a": 7}),
            lambda store: store.delete(["a"]),
        ],
        ids=["append", "put", "update", "delete"],
    )
    def test_every_file_of_a_commit_and_its_name_are_on_the_disk_before_its_sum(self, uri, monkeypatch, commit):
        fsync, add = os.fsync, Sums.add
        flushed: set[int] = set()
        noted: list[Path] = []

        def flush(opened: int) -> None:
            flushed.add(os.fstat(opened).st_ino)
            fsync(opened)

        def note(sums: Sums, files: Mapping[Path, FileSum]) -> None:
            noted.extend(files)
            unseen = [path for file in files for path in (file, file.parent, uri) if path.stat().st_ino not in flushed]
            assert unseen == []
            add(sums, files)

        monkeypatch.setattr(os, "fsync", flush)
        monkeypatch.setattr(Sums, "add", note)
        before = {path for path in uri.rglob("*") if path.is_file()}
        commit(Store(uri, DIM))
        written = {path for path in uri.rglob("*") if path.is_file()} - before
        assert set(noted) == written and len(written) >= 2  # a manifest, a transaction and what the commit needs

    def test_all_but_the_vectors_has_a_sum_of_its_own(self, uri):
        (path,) = (uri / "data").iterdir()
        ((start, end),) = Sums(uri.parent).of(path).bulk
        content = path.read_bytes()
        vectors = stored_video("a", 2048).encoded.region_vectors.vectors.tobytes()
        assert content[start:end].endswith(vectors) and end - start - len(vectors) < 64
        assert end - start >= BULK_BYTES
        beside = xxhash.xxh3_128(content[:start] + content[end:]).hexdigest()
        assert Sums(uri.parent).of(path).beside == beside

    def test_a_bit_of_the_vectors_is_not_looked_at_in_a_hurry(self, uri):
        (path,) = (uri / "data").iterdir()
        known = Sums(uri.parent).of(path)
        content = bytearray(path.read_bytes())
        content[known.bulk[0][0] + 100] ^= 1
        path.write_bytes(content)
        assert (known.fits_quickly(path), known.fits(path)) == (True, False)
        content[-1] ^= 1
        path.write_bytes(content)
        assert not known.fits_quickly(path)

    @given(offset=st.integers(1, 3000), bit=st.integers(0, 7))
    def test_where_the_vectors_lie_is_found_in_any_file_or_refused(self, tmp_path_factory, offset, bit):
        folder = tmp_path_factory.mktemp("files")
        create_table(folder / "videos.lance", DIM)
        Store(folder / "videos.lance", DIM).append([stored_video("a", 3)])
        (path,) = (folder / "videos.lance/data").iterdir()
        content = bytearray(path.read_bytes())
        content[-offset % len(content)] ^= 1 << bit
        path.write_bytes(content)
        try:
            found = bulk_of(path, 27)
        except ValueError:
            return
        assert all(0 <= start < end <= len(content) for start, end in found)


@given(
    content=st.binary(max_size=200),
    edges=st.lists(st.integers(0, 220), max_size=6).map(sorted),
)
def test_the_sum_beside_ranges_is_that_of_what_is_left(tmp_path_factory, content, edges):
    path = tmp_path_factory.mktemp("beside") / "file"
    path.write_bytes(content)
    ranges = tuple(zip(edges[::2], edges[1::2], strict=False))
    left = np.ones(len(content), dtype=bool)
    for start, end in ranges:
        left[start:end] = False
    expected = bytes(np.frombuffer(content, np.uint8)[left])
    assert beside_sum(path, ranges) == xxhash.xxh3_128(expected).hexdigest()

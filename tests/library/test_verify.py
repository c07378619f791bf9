"""`verify` says nothing about a library that keeps its promises, and names every one that is broken."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pytest

import tests.library.made as made
import visil.library.store as store_module
from tests.library.made import VIDEO, Row, encoded_video, file_facts, note_files
from visil.errors import LibraryError
from visil.library.files import content_hash
from visil.library.library import TABLE, Library
from visil.library.store import Store, StoredVideo
from visil.library.sums import SUMS
from visil.library.verify import Finding
from visil.model.model import Model
from visil.values import EncodedVideo, RegionVectors

STRETCH = 5
REGIONS = 9


@pytest.fixture
def library(tmp_path: Path, quick_model: Model) -> Library:
    return Library.create(tmp_path / "library", quick_model)


@pytest.fixture
def stored(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """Two videos: `long` in three stretches of 5, 5 and 2 frames, `short` in one of 3. Both files are there."""
    monkeypatch.setattr(store_module, "STRETCH_FRAMES", STRETCH)
    monkeypatch.setattr("visil.library.verify.STRETCH_FRAMES", STRETCH)
    store = Store(library.path / TABLE, library.model.dim)
    for number, (id, num_frames) in enumerate({"long": 12, "short": 3}.items()):
        path = tmp_path / id
        path.write_text("x" * 100 + id)
        size_bytes, mtime_ns = path.stat().st_size, path.stat().st_mtime_ns
        file = store_module.FileFacts(str(path), size_bytes, mtime_ns, content_hash(path))
        encoded = encoded_video(num_frames, seed=number, dim=library.model.dim, num_regions=REGIONS)
        store.put([StoredVideo(id, file, encoded)])
    assert list(library.verify()) == []
    return library


def tamper(library: Library, change: Callable[[Row], None], *, id: str = "short", stretch: int = 0) -> None:
    """Change one row of the table behind the back of the library, its digest and the sums with it."""
    made.tamper(library.path, change, id=id, stretch=stretch, dim=library.model.dim)


def with_vectors(row: Row, vectors: np.ndarray) -> None:
    row["vectors"] = vectors.astype(np.float16).tobytes()


def vectors_of(row: Row) -> np.ndarray:
    return np.frombuffer(row["vectors"], np.float16).reshape(row["num_frames"], row["num_regions"], -1).copy()


def one_not_finite(row: Row) -> None:
    vectors = vectors_of(row)
    vectors[1, 2, 3] = np.nan
    with_vectors(row, vectors)


class TestRows:
    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (one_not_finite, "stretch 0: vectors that are not finite or longer than 1"),
            (
                lambda row: with_vectors(row, vectors_of(row) * 2),
                "stretch 0: vectors that are not finite or longer than",
            ),
            (lambda row: row.update(vectors=row["vectors"][:-2]), "bytes of vectors, expected"),
            (lambda row: row.update(vector_bytes=1), "bytes of vectors, expected"),
            (lambda row: row.update(num_regions=8), "bytes of vectors, expected"),
            (lambda row: row.update(times_s=[0.0, 2.0, 1.0]), "stretch 0: 3 times for 3 frames, or not in order"),
            (lambda row: row.update(times_s=[0.0, 1.0]), "stretch 0: 2 times for 3 frames"),
            (lambda row: row.update(times_s=[-1.0, 1.0, 2.0]), "stretch 0: 3 times for 3 frames, or not in order"),
            (lambda row: row.update(times_s=[0.0, float("nan"), 2.0]), "3 times for 3 frames, or not in order"),
            (lambda row: row.update(times_s=[0.0, 1.0, 99.0]), "3 times for 3 frames, or not in order within 3"),
            (lambda row: row.update(descriptors=[[0.5] * len(row["descriptors"][0])]), "not unit vectors"),
            (lambda row: row.update(descriptors=[]), "0 descriptors for 1 parts"),
            (lambda row: row.update(descriptors=row["descriptors"] * 2), "2 descriptors for 1 parts"),
            (lambda row: row.update(num_samples=2), "3 frames kept of 2 samples"),
            (lambda row: row.update(status="no_content"), "status no_content with 3 frames"),
            (lambda row: row.update(status="failed"), "failed, and yet has vectors"),
            (lambda row: row.update(num_stretches=2), r"stretches \[0\] of 2"),
        ],
    )
    def test_a_tampered_row_is_damage_and_its_video_is_named(self, stored, change, problem):
        tamper(stored, change)
        findings = stored.verify()
        assert {(finding.id, finding.damage) for finding in findings} == {("short", True)}
        assert any(re.search(problem, finding.problem) for finding in findings), findings

    def test_a_row_twice_is_damage(self, stored):
        uri = str(stored.path / TABLE)
        lance.write_dataset(lance.dataset(uri).to_table(filter="id = 'short'"), uri, mode="append")
        assert ("short", True) in {(finding.id, finding.damage) for finding in stored.verify()}

    def test_a_missing_stretch_is_damage(self, stored):
        lance.dataset(str(stored.path / TABLE)).delete("id = 'long' AND stretch = 1")
        note_files(stored.path, stored.model.dim)
        (finding,) = stored.verify()
        assert finding == Finding("long", "stretches [0, 2] of 3", True)

    def test_a_missing_first_stretch_is_damage_too(self, stored):
        lance.dataset(str(stored.path / TABLE)).delete("id = 'long' AND stretch = 0")
        assert Finding("long", "stretches [1, 2] of 3", True) in stored.verify()

    def test_facts_that_differ_between_stretches_are_damage(self, stored):
        tamper(stored, lambda row: row.update(sha256="another"), id="long", stretch=2)
        assert Finding("long", "sha256 differs between its stretches", True) in stored.verify()

    def test_stretches_whose_times_do_not_follow_each_other_are_damage(self, stored):
        tamper(stored, lambda row: row.update(times_s=[1.0, 2.0]), id="long", stretch=2)
        assert Finding("long", "times not in order across its stretches", True) in stored.verify()

    def test_a_full_stretch_that_is_short_is_damage(self, stored):
        def shorten(row: Row) -> None:
            vectors = vectors_of(row)[:-1]
            row.update(num_frames=len(vectors), times_s=row["times_s"][:-1], vector_bytes=vectors.nbytes)
            with_vectors(row, vectors)

        tamper(stored, shorten, id="long", stretch=1)
        assert Finding("long", f"stretch 1: 4 frames, expected {STRETCH}", True) in stored.verify()

    def test_two_ids_for_one_file_are_damage(self, stored):
        path = stored.list()[0].file.path
        tamper(stored, lambda row: row.update(path=path), id="short")
        assert Finding("short", "stands for the same file as long", True) in stored.verify()

    def test_a_table_that_cannot_be_read_is_an_error(self, stored):
        shutil.rmtree(stored.path / TABLE / "data")
        with pytest.raises(LibraryError, match=r"videos\.lance: the table is damaged"):
            stored.verify()


class TestFiles:
    def test_a_library_of_real_videos_is_clean(self, library, clips):
        (clips / "broken.mp4").write_text("no video")
        library.add([clips], workers=2)
        assert list(library.verify()) == []

    def test_a_changed_file_is_no_damage_but_is_named(self, stored, tmp_path):
        (tmp_path / "short").write_text("changed")
        (finding,) = stored.verify()
        assert (finding.id, finding.damage) == ("short", False)
        assert finding.problem == f"its file has changed since it was indexed: {tmp_path / 'short'}; index it again"

    def test_a_change_that_hides_behind_size_and_time_is_found(self, stored, tmp_path):
        path = tmp_path / "short"
        before = path.stat()
        path.write_text("y" * before.st_size)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert [finding.id for finding in stored.verify()] == ["short"]

    def test_a_vanished_file_is_named(self, stored, tmp_path):
        (tmp_path / "long").unlink()
        assert list(stored.verify()) == [Finding("long", f"its file is gone: {tmp_path / 'long'}", False)]

    def test_a_file_below_something_that_is_no_folder_any_more_is_gone(self, library, clips):
        (clips / "sub").mkdir()
        (clips / "clip_0.mp4").rename(clips / "sub/clip_0.mp4")
        library.add([clips / "sub"], workers=1)
        shutil.rmtree(clips / "sub")
        (clips / "sub").write_text("a file now")
        (finding,) = library.verify()
        assert (finding.id, finding.damage) == ("clip_0.mp4", False)

    def test_progress_ends_at_the_number_of_files(self, stored):
        told: list[tuple[int, int]] = []
        stored.verify(progress=lambda done, total: told.append((done, total)))
        assert told == [(1, 2), (2, 2)]


class TestSums:
    def test_that_are_gone_are_one_finding_that_says_what_they_were_for(self, stored):
        (stored.path / SUMS).unlink()
        (finding,) = stored.verify()
        told = "is gone, so nothing tells whether files are what was written; the next write takes them as they are"
        assert finding == Finding(SUMS, told, False)


def test_bits_in_a_library_of_floats_are_damage(library):
    bits = np.zeros((2, REGIONS, 16), np.uint8)
    encoded = encoded_video(2, dim=library.model.dim)
    packed = EncodedVideo(RegionVectors(bits, np.arange(2.0)), encoded.descriptors, 2, 2.0, VIDEO)
    Store(library.path / TABLE, library.model.dim).put([StoredVideo("bits", file_facts("/bits"), packed)])
    assert any(finding.damage for finding in library.verify())

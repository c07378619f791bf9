"""Compacting: the space comes back, the content stays, and whoever reads meanwhile gets an answer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import pytest

import visil.library.ingest as ingest_module
import visil.library.library as library_module
from tests.library.made import assert_same_video, encoded_video, file_facts
from visil.errors import LibraryError
from visil.library.compacting import folder_bytes
from visil.library.disk import LOCK
from visil.library.ingest import Progress
from visil.library.library import Library
from visil.library.reindexing import PENDING
from visil.library.second import SECOND, copy_of
from visil.library.settings import SETTINGS
from visil.library.store import Store, StoredVideo, VersionGoneError
from visil.library.sums import SUMS
from visil.model.model import Model


@pytest.fixture(scope="module")
def clips(made_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real clips that nobody changes any more once the library is made."""
    return Path(shutil.copytree(made_clips, tmp_path_factory.mktemp("compact") / "clips"))


@pytest.fixture(scope="module")
def made(clips: Path, quick_model: Model) -> Path:
    """A library of six clips in commits of one, two of them replaced, one removed again, one touched."""
    library = Library.create(clips.parent / "library", quick_model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest_module, "COMMIT_VIDEOS", 1)
        library.add([clips], workers=2)
        for number in (0, 1):
            shutil.copy(clips / f"clip_{number + 2}.mp4", clips / f"clip_{number}.mp4")
        os.utime(clips / "clip_3.mp4", ns=(7, 7))
        library.add([clips], workers=2)
    library.remove("clip_5.mp4")
    return library.path


@pytest.fixture
def library(made: Path, tmp_path: Path) -> Library:
    """A copy of that library."""
    return Library.open(shutil.copytree(made, tmp_path / "library"), device="cpu")


def table(library: Library) -> Store:
    return Store(library.path / "videos.lance", library.model.dim)


def names(library: Library) -> list[str]:
    return sorted(entry.name for entry in library.path.iterdir())


class TestCompacting:
    def test_gives_space_back_and_changes_nothing_else(self, library):
        before = {record.id: table(library).read(record.id) for record in library.list()}
        size = folder_bytes(library.path)
        freed = library.compact()
        assert freed == size - folder_bytes(library.path) > 0
        for id, video in before.items():
            assert_same_video(table(library).read(id), video)
        assert [record.id for record in library.list()] == sorted(before)
        assert library.verify() == []

    def test_a_second_time_finds_nothing_to_do(self, library):
        library.compact()
        version, size = library.version, folder_bytes(library.path)
        assert library.compact() == 0
        assert (library.version, folder_bytes(library.path)) == (version, size)

    def test_a_library_without_videos_may_be_compacted(self, tmp_path, quick_model):
        library = Library.create(tmp_path / "empty", quick_model)
        assert library.compact() == 0
        video = StoredVideo("a", file_facts("/a"), encoded_video(3, dim=quick_model.dim, num_regions=9))
        table(library).put([video])
        library.refresh()
        library.remove("a")
        assert library.compact() > video.num_bytes
        assert library.list() == ()
        table(library).put([video])
        assert_same_video(table(library).read("a"), video)

    def test_what_is_kept_is_on_the_disk_before_older_versions_go(self, library, monkeypatch):
        """Each time: the newest version is all there is then."""
        flushed: set[int] = set()
        forgotten: list[list[Path]] = []
        fsync, cleanup_old_versions = os.fsync, lance.LanceDataset.cleanup_old_versions

        def flush(descriptor: int) -> None:
            flushed.add(os.fstat(descriptor).st_ino)
            fsync(descriptor)

        def forget(dataset: lance.LanceDataset, **options: Any) -> object:
            entries = [table(library).uri, *table(library).uri.rglob("*")]
            forgotten.append([entry for entry in entries if entry.stat().st_ino not in flushed])
            return cleanup_old_versions(dataset, **options)

        monkeypatch.setattr(os, "fsync", flush)
        monkeypatch.setattr(lance.LanceDataset, "cleanup_old_versions", forget)
        library.compact()
        assert forgotten == [[], []]

    def test_writing_goes_on_afterwards(self, library, clips):
        library.compact()
        assert library.add([clips], workers=1).added == ["clip_5.mp4"]
        library.remove("clip_4.mp4")
        library.compact()
        assert [record.id for record in library.list()] == [f"clip_{i}.mp4" for i in (0, 1, 2, 3, 5)]
        assert library.verify() == []

    def test_only_one_writes(self, library, clips):
        def compact_beside(told: Progress) -> None:
            with pytest.raises(LibraryError, match="another process is writing to it"):
                Library.open(library.path, device="cpu").compact()

        library.add([clips], workers=1, progress=compact_beside)


class TestLeftovers:
    def test_of_killed_writes_and_of_old_generations_go_and_strangers_stay(self, library):
        (library.path / ".model.safetensors.123.partial").write_bytes(b"half")
        (library.path / ".library.toml.partial").write_bytes(b"half")
        (library.path / ".visil-a1b2.partial").mkdir()
        (library.path / f".visil-a1b2.partial/{LOCK}").touch()
        (library.path / "model-7.safetensors").write_bytes(b"of a move that was given up")
        (library.path / "videos-7.lance/data").mkdir(parents=True)
        (library.path / "videos.lance/data/half_written.lance").write_bytes(b"half")
        (library.path / SECOND / "videos.lance/data/.half_written.lance.partial").write_bytes(b"half")
        (library.path / SECOND / "videos-7.lance/data").mkdir(parents=True)
        (library.path / "notes.txt").write_text("mine")
        library.compact()
        assert names(library) == sorted(
            [LOCK, SECOND, SETTINGS, SUMS, "model.safetensors", "notes.txt", "videos.lance"]
        )
        assert not (library.path / "videos.lance/data/half_written.lance").exists()
        copies = {path for path in (library.path / SECOND).rglob("*") if path.is_file()}
        assert copies == {copy_of(path, library.path) for path in (library.path / SETTINGS, *table(library).files())}

    def test_the_old_generation_goes_after_a_move(self, library, model, tmp_path):
        model.bundle.save(tmp_path / "model.safetensors")
        library.reindex(tmp_path / "model.safetensors", workers=2)
        assert "videos.lance" in names(library)
        assert library.compact() > 0
        assert names(library) == sorted([LOCK, SECOND, SETTINGS, SUMS, "model-2.safetensors", "videos-2.lance"])
        assert sorted(entry.name for entry in (library.path / SECOND).iterdir()) == [SETTINGS, "videos-2.lance"]
        assert len(Library.open(library.path, device="cpu").list()) == 5

    def test_an_unfinished_move_stays(self, library, model, tmp_path):
        def interrupt(told: Progress) -> None:
            if told.done:
                raise KeyboardInterrupt

        model.bundle.save(tmp_path / "model.safetensors")
        with pytest.raises(KeyboardInterrupt):
            library.reindex(tmp_path / "model.safetensors", workers=1, progress=interrupt)
        library.compact()
        assert {PENDING, "model-2.safetensors", "videos-2.lance", "model.safetensors"} <= set(names(library))
        assert library.reindex(tmp_path / "model.safetensors", workers=1).unchanged > 0


class TestReaders:
    """A library that was opened before, and has read nothing yet or everything."""

    @pytest.fixture(params=["fresh", "warm"])
    def reader(self, request, library, clips) -> Library:
        reader = Library.open(library.path, device="cpu")
        if request.param == "warm":
            reader.search(clips / "clip_2.mp4")
            reader.encoded("clip_3.mp4")
        return reader

    @pytest.mark.parametrize(
        "read",
        [
            lambda reader: reader.list(),
            lambda reader: reader.record("clip_3.mp4"),
            lambda reader: reader.num_searchable,
            lambda reader: reader.encoded("clip_3.mp4").descriptors.tolist(),
            lambda reader: reader.search("id:clip_3.mp4"),
            lambda reader: reader.verify(),
        ],
        ids=["list", "record", "num_searchable", "encoded", "search", "verify"],
    )
    def test_read_on(self, library, reader, read: Callable[[Library], object]):
        expected = read(Library.open(library.path, device="cpu"))
        library.compact()
        assert read(reader) == expected

    def test_a_search_that_is_at_work_starts_anew_and_finds_the_same(self, library, clips, monkeypatch):
        """The version goes while candidates are known and vectors are still to be read."""
        expected = library.search(clips / "clip_2.mp4")
        reader = Library.open(library.path, device="cpu")
        search, tries = library_module.search, []

        def compacted_in_between(*arguments, **options):
            tries.append(1)
            if len(tries) == 1:
                library.compact()
            return search(*arguments, **options)

        monkeypatch.setattr(library_module, "search", compacted_in_between)
        assert reader.search(clips / "clip_2.mp4") == expected
        assert len(tries) == 2

    def test_a_long_run_of_queries_goes_on_with_the_newest_version(self, library, clips, monkeypatch):
        monkeypatch.setattr(library_module, "QUERY_COUNT", 1)
        reader = Library.open(library.path, device="cpu")
        results = reader.search_many([clips / "clip_2.mp4", clips / "clip_3.mp4"])
        first = next(results)
        library.remove("clip_4.mp4")
        library.compact()
        (second,) = results
        assert (first.error, second.error) == (None, None)
        assert "clip_4.mp4" in {match.video for match in first.matches}
        assert "clip_4.mp4" not in {match.video for match in second.matches}

    def test_verify_goes_on_if_its_version_goes_when_it_has_just_begun(self, library, monkeypatch):
        check, writers = library_module.check_library, [Library.open(library.path, device="cpu")]

        def with_a_writer_beside(*arguments, **options):
            if writers:
                writers.pop().compact()
            return check(*arguments, **options)

        monkeypatch.setattr(library_module, "check_library", with_a_writer_beside)
        assert library.verify() == []
        assert not writers

    def test_a_store_says_that_its_version_is_gone_which_is_no_damage(self, library):
        old = table(library)
        library.compact()
        for read in (old.files, old.records, old.descriptors, lambda: old.read("clip_3.mp4"), lambda: list(old.rows())):
            with pytest.raises(VersionGoneError, match="was compacted away while it was read; open the library again"):
                read()
        old.refresh()
        assert len(old.records()) == 5

    def test_a_reader_of_a_generation_that_is_gone_is_told_to_open_the_library_again(self, library, model, tmp_path):
        reader = Library.open(library.path, device="cpu")
        model.bundle.save(tmp_path / "model.safetensors")
        library.reindex(tmp_path / "model.safetensors", workers=2)
        library.compact()
        for read in (reader.list, lambda: reader.search("id:clip_3.mp4")):
            with pytest.raises(LibraryError, match="was moved to another bundle meanwhile; open it again"):
                read()


def test_long_videos_stay_in_order(tmp_path, quick_model, monkeypatch):
    monkeypatch.setattr("visil.library.store.STRETCH_FRAMES", 5)
    library = Library.create(tmp_path / "library", quick_model)
    videos = [
        StoredVideo(id, file_facts(f"/{id}"), encoded_video(length, seed=length, dim=quick_model.dim, num_regions=9))
        for id, length in (("a", 23), ("b", 3), ("c", 12))
    ]
    for video in [*videos, videos[0]]:  # one is written again
        table(library).put([video])
    library.compact()
    for video in videos:
        assert_same_video(table(library).read(video.id), video)

"""Adding files to a library: what ends up in it, whatever was done in which order and by how many workers."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import visil.library.ingest as ingest_module
from tests.library.made import DIM, assert_same_video, encoded_video, file_facts
from tests.media.processes import running_workers
from visil.errors import DataError, LibraryError, MediaError, VisilError
from visil.library.ingest import IngestReport, Progress
from visil.library.library import Library
from visil.library.planning import Job, Target
from visil.library.store import Store, StoredVideo, create_table
from visil.media.decoding import DecodeEnd
from visil.model.model import Model
from visil.synth.video_file import write_video

FLOAT16_STEP = 2.0**-10  # of numbers up to 1


@pytest.fixture
def library(tmp_path: Path, quick_model: Model) -> Library:
    return Library.create(tmp_path / "library", quick_model)


def contents(library: Library) -> dict[str, StoredVideo]:
    """Every video of a library by id."""
    library.refresh()
    return {record.id: library._store.read(record.id) for record in library.list()}


def facts(library: Library) -> dict[str, tuple[object, ...]]:
    """What must be equal to the letter: paths, sizes, hashes, states, times, facts of the video."""
    return {
        id: (
            video.file.path,
            video.file.size_bytes,
            video.file.sha256,
            video.status,
            video.reason,
            *(
                ()
                if video.encoded is None
                else (
                    video.encoded.num_samples,
                    video.encoded.duration_s,
                    video.encoded.video,
                    tuple(video.encoded.region_vectors.times_s.tolist()),
                )
            ),
        )
        for id, video in contents(library).items()
    }


def assert_same_library(one: Library, other: Library) -> None:
    """Equal rows, hashes and times; vectors within one float16 step, because batches may round differently."""
    assert facts(one) == facts(other)
    theirs = contents(other)
    for id, video in contents(one).items():
        if video.encoded is None or theirs[id].encoded is None:
            continue
        for ours, other_array in (
            (video.encoded.region_vectors.vectors, theirs[id].encoded.region_vectors.vectors),
            (video.encoded.descriptors, theirs[id].encoded.descriptors),
        ):
            np.testing.assert_allclose(
                ours.astype(np.float32), other_array.astype(np.float32), rtol=0, atol=FLOAT16_STEP
            )


def write_broken(path: Path) -> Path:
    path.write_text("this is no video")
    return path


class TestAdding:
    def test_every_video_is_stored_under_its_name_with_the_hash_of_its_content(self, library, clips):
        report = library.add([clips], workers=2)
        assert sorted(report.added) == [f"clip_{i}.mp4" for i in range(6)]
        assert report.num_samples == 6 * 3
        for record in library.list():
            assert record.file.path == str(clips / record.id)
            assert record.file.sha256 == ingest_module.content_hash(clips / record.id)
            assert record.duration_s == pytest.approx(3)

    def test_adding_again_encodes_nothing_and_writes_nothing(self, library, clips, encoded_paths):
        library.add([clips], workers=1)
        version = library.version
        encoded_paths.clear()
        report = library.add([clips], workers=1)
        assert (report.unchanged, report.added, report.replaced, encoded_paths) == (6, [], [], [])
        assert library.version == version

    def test_a_touched_file_is_not_encoded_again(self, library, clips, encoded_paths):
        library.add([clips], workers=1)
        encoded_paths.clear()
        os.utime(clips / "clip_0.mp4", ns=(1, 1))
        assert library.add([clips], workers=1).unchanged == 6
        assert encoded_paths == []
        assert contents(library)["clip_0.mp4"].file.mtime_ns == 1

    def test_files_of_equal_bytes_are_rows_of_their_own_but_encoded_once(self, library, clips, encoded_paths):
        shutil.copy(clips / "clip_0.mp4", clips / "copy.mp4")
        library.add([clips / "clip_0.mp4", clips / "copy.mp4"], workers=1)
        assert encoded_paths == ["clip_0.mp4"]
        videos = contents(library)
        np.testing.assert_array_equal(
            videos["clip_0.mp4"].encoded.region_vectors.vectors, videos["copy.mp4"].encoded.region_vectors.vectors
        )
        shutil.copy(clips / "clip_0.mp4", clips / "later_copy.mp4")
        assert library.add([clips / "later_copy.mp4"], workers=1).added == ["later_copy.mp4"]
        assert encoded_paths == ["clip_0.mp4"]

    def test_a_blank_video_is_kept_as_one_without_a_score(self, library, tmp_path):
        write_video(tmp_path / "black.mp4", [np.zeros((48, 64, 3), np.uint8)] * 8, 8)
        library.add([tmp_path / "black.mp4"], workers=1)
        (record,) = library.list()
        assert (record.status, record.num_samples) == ("no_content", 3)
        shutil.copy(tmp_path / "black.mp4", tmp_path / "copy.mp4")
        library.add([tmp_path / "copy.mp4"], workers=1)
        assert [record.status for record in library.list()] == ["no_content", "no_content"]
        assert library.verify() == []

    def test_a_path_that_does_not_exist_is_a_failure_among_the_others(self, library, clips):
        report = library.add([clips / "nowhere", clips / "clip_0.mp4"], workers=1)
        assert report.failed == [(str(clips / "nowhere"), "no such file or folder")]
        assert report.added == ["clip_0.mp4"]

    def test_a_single_path_need_not_be_in_a_list(self, library, clips):
        assert library.add(clips / "clip_0.mp4", workers=1).added == ["clip_0.mp4"]
        assert library.add(str(clips / "clip_1.mp4"), workers=1).added == ["clip_1.mp4"]

    def test_settings_that_cannot_work_are_an_error_before_anything_is_done(self, library, clips):
        with pytest.raises(DataError, match="workers must be at least 1, got 0"):
            library.add([clips], workers=0)
        with pytest.raises(DataError, match=r"pattern '\*' must hold \{id\} once"):
            library.add([clips], pattern="*")
        assert library.list() == ()

    def test_progress_counts_videos_up_to_the_total(self, library, clips):
        write_broken(clips / "broken.mp4")
        told: list[Progress] = []
        library.add([clips], workers=2, progress=told.append)
        assert [p.done for p in told] == list(range(8))
        assert {p.total for p in told} == {7}
        assert (told[-1].failures, told[-1].num_samples) == (1, 18)

    @pytest.mark.parametrize(
        ("limit", "value", "num_commits"), [("COMMIT_VIDEOS", 2, 3), ("COMMIT_BYTES", 1, 6), ("COMMIT_SECONDS", 0.0, 6)]
    )
    def test_commits_are_bounded_by_count_bytes_and_seconds(
        self, library, clips, monkeypatch, limit, value, num_commits
    ):
        monkeypatch.setattr(ingest_module, limit, value)
        before = library.version
        library.add([clips], workers=1)
        assert library.version == before + num_commits


class TestFailures:
    def test_a_bad_file_is_listed_with_its_reason_and_stops_nobody(self, library, clips):
        broken = write_broken(clips / "broken.mp4")
        report = library.add([clips], workers=2)
        assert report.failed == [(str(broken), "not a video, or its headers are damaged")]
        assert len(report.added) == 6
        record = next(record for record in library.list() if record.id == "broken.mp4")
        assert (record.status, record.reason) == ("failed", "not a video, or its headers are damaged")

    def test_a_failure_is_tried_again_only_if_asked_for(self, library, clips, encoded_paths):
        broken = write_broken(clips / "broken.mp4")
        library.add([broken], workers=1)
        encoded_paths.clear()
        report = library.add([broken], workers=1)
        assert report.failed_before == [(str(broken), "not a video, or its headers are damaged")]
        assert encoded_paths == []
        assert library.add([broken], workers=1, retry_failed=True).failed
        assert encoded_paths == ["broken.mp4"]

    def test_a_mended_file_replaces_its_failure(self, library, clips):
        broken = write_broken(clips / "broken.mp4")
        library.add([broken], workers=1)
        shutil.copy(clips / "clip_0.mp4", broken)
        assert library.add([broken], workers=1).replaced == ["broken.mp4"]
        assert [record.status for record in library.list()] == ["ok"]

    def test_a_video_that_breaks_loses_its_old_vectors_with_its_old_content(self, library, clips):
        library.add([clips / "clip_0.mp4"], workers=1)
        write_broken(clips / "clip_0.mp4")
        assert library.add([clips / "clip_0.mp4"], workers=1).failed
        (record,) = library.list()
        assert record.status == "failed"
        assert library.search(clips / "clip_1.mp4") == []

    def test_a_video_that_breaks_off_counts_as_far_as_it_goes_and_says_so(self, library, clips, monkeypatch):
        decode_files = ingest_module.decode_files

        def with_warning(*arguments, **options):
            for index, event in decode_files(*arguments, **options):
                yield (
                    index,
                    event
                    if isinstance(event, DecodeEnd)
                    else replace(event, warning="decoding stopped early (damaged)"),
                )

        monkeypatch.setattr(ingest_module, "decode_files", with_warning)
        report = library.add([clips / "clip_0.mp4"], workers=1)
        assert report.warnings == [(str(clips / "clip_0.mp4"), "decoding stopped early (damaged)")]
        (record,) = library.list()
        assert (record.status, record.reason) == ("ok", "decoding stopped early (damaged)")


class TestVideosThatAreCutShort:
    REASON = "given up: no progress for 60 s; kept up to 2.0 s"

    @pytest.fixture
    def cut_short(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
        """Make every video that is decoded from now on stall after so many samples; 0: it fails."""
        decode_files = ingest_module.decode_files

        def stall(num_samples: int) -> None:
            def stalled(*arguments, **options):
                for index, event in decode_files(*arguments, **options):
                    if not isinstance(event, DecodeEnd):
                        first, times_s = event.images[:num_samples], event.times_s[:num_samples]
                        part = replace(event, images=first, times_s=times_s, warning=self.REASON, cut_short="stalled")
                        if num_samples:
                            yield index, part
                    else:
                        yield index, event if num_samples else DecodeEnd(MediaError(self.REASON, "stalled"))

            monkeypatch.setattr(ingest_module, "decode_files", stalled)

        return stall

    @staticmethod
    def row(library: Library) -> tuple[str, str, str, int]:
        library.refresh()
        (record,) = library.list()
        return record.status, record.reason_class, record.reason, record.num_samples

    def test_are_indexed_with_the_reason_and_its_class(self, library, clips, cut_short):
        cut_short(2)
        report = library.add([clips / "clip_0.mp4"], workers=1)
        assert (report.added, report.num_cut_short, report.num_failures) == (["clip_0.mp4"], 1, 0)
        assert report.warnings == [(str(clips / "clip_0.mp4"), self.REASON)]
        assert self.row(library) == ("ok", "stalled", self.REASON, 2)
        assert library.encoded("clip_0.mp4").cut_short == "stalled"
        assert library.verify() == []

    def test_are_found_by_what_was_read(self, library, clips, cut_short):
        cut_short(2)
        library.add([clips / "clip_0.mp4"], workers=1)
        copy = shutil.copy(clips / "clip_0.mp4", clips / "copy.mp4")
        assert library.search(copy)[0].identical

    def test_are_read_again_only_if_that_is_asked_for(self, library, clips, encoded_paths, cut_short):
        cut_short(2)
        library.add([clips / "clip_0.mp4"], workers=1)
        encoded_paths.clear()
        assert library.add([clips / "clip_0.mp4"], workers=1).unchanged == 1
        assert encoded_paths == []
        library.add([clips / "clip_0.mp4"], workers=1, retry_failed=True)
        assert encoded_paths == ["clip_0.mp4"]

    @pytest.mark.parametrize("num_now", [2, 3])
    def test_are_replaced_by_as_much_or_more(self, library, clips, cut_short, num_now):
        cut_short(2)
        library.add([clips / "clip_0.mp4"], workers=1)
        cut_short(num_now)
        report = library.add([clips / "clip_0.mp4"], workers=1, retry_failed=True)
        assert (report.replaced, report.kept) == (["clip_0.mp4"], [])
        assert self.row(library) == ("ok", "stalled", self.REASON, num_now)

    @pytest.mark.parametrize("num_now", [0, 1])
    def test_stay_as_they_are_when_a_new_try_gives_less(self, library, clips, cut_short, num_now):
        cut_short(2)
        library.add([clips / "clip_0.mp4"], workers=1)
        before = contents(library)["clip_0.mp4"]
        cut_short(num_now)
        told: list[Progress] = []
        report = library.add([clips / "clip_0.mp4"], workers=1, retry_failed=True, progress=told.append)
        assert (report.replaced, report.failed) == ([], [])
        assert report.kept == [(str(clips / "clip_0.mp4"), self.REASON)]
        assert (report.num_inputs, told[-1].done, told[-1].total) == (1, 1, 1)
        assert_same_video(contents(library)["clip_0.mp4"], before)

    def test_lose_their_reason_when_they_are_read_to_the_end(self, library, clips, monkeypatch, cut_short):
        whole = ingest_module.decode_files
        cut_short(2)
        library.add([clips / "clip_0.mp4"], workers=1)
        monkeypatch.setattr(ingest_module, "decode_files", whole)
        assert library.add([clips / "clip_0.mp4"], workers=1, retry_failed=True).num_cut_short == 0
        assert self.row(library)[:3] == ("ok", "", "")

    def test_lose_their_vectors_with_their_content(self, library, clips, cut_short):
        cut_short(2)
        library.add([clips / "clip_0.mp4"], workers=1)
        write_broken(clips / "clip_0.mp4")
        assert library.add([clips / "clip_0.mp4"], workers=1, retry_failed=True).failed
        assert self.row(library)[0] == "failed"

    def test_are_searched_for_by_what_was_read_and_that_is_said(self, library, clips, monkeypatch):
        library.add([clips / "clip_0.mp4"], workers=1)
        encode, query = library.model.encode, clips / "clip_1.mp4"
        monkeypatch.setattr(
            library.model, "encode", lambda *a, **o: replace(encode(*a, **o), warning="gone", cut_short="crashed")
        )
        (part,) = library.search_many([query])
        assert (part.warning, len(part.matches)) == (f"{query}: searched in part: gone", 1)


class TestFilesThatChangeWhileTheyAreRead:
    """Their content is unknown: nothing is stored, what was stored stays, and the next run tries again."""

    @staticmethod
    def during_decoding(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
        decode_files = ingest_module.decode_files

        def disturbed(*arguments, **options):
            for index, event in decode_files(*arguments, **options):
                if isinstance(event, DecodeEnd):
                    action()
                yield index, event

        monkeypatch.setattr(ingest_module, "decode_files", disturbed)

    def test_a_changed_file_is_not_stored_and_indexed_by_the_next_run(self, library, clips):
        path = clips / "clip_0.mp4"
        with pytest.MonkeyPatch.context() as patch:
            self.during_decoding(patch, lambda: os.utime(path, ns=(5, 5)))
            report = library.add([path], workers=1)
        assert report.failed == [(str(path), "changed while it was read; index it again")]
        assert library.list() == ()
        assert library.add([path], workers=1).added == ["clip_0.mp4"]

    @pytest.mark.parametrize("how", ["in its place", "over it"])
    def test_a_file_replaced_by_one_of_the_same_size_and_time_is_not_stored(self, library, clips, tmp_path, how):
        """Which of the two was decoded, and which was hashed, cannot be told."""
        path, other = clips / "clip_0.mp4", tmp_path / "other.mp4"
        other.write_bytes(bytes(path.stat().st_size))
        shutil.copystat(path, other)

        def replaced() -> None:
            if how == "in its place":
                other.replace(path)
            else:
                shutil.copy2(other, path)

        with pytest.MonkeyPatch.context() as patch:
            self.during_decoding(patch, replaced)
            report = library.add([path], workers=1)
        assert report.failed == [(str(path), "changed while it was read; index it again")]
        assert library.list() == ()

    def test_a_vanished_file_is_not_stored(self, library, clips):
        path = clips / "clip_0.mp4"
        with pytest.MonkeyPatch.context() as patch:
            self.during_decoding(patch, path.unlink)
            assert library.add([path], workers=1).failed == [(str(path), "vanished while it was read")]
        assert library.list() == ()

    def test_the_row_of_the_old_content_stays(self, library, clips):
        path = clips / "clip_0.mp4"
        library.add([path], workers=1)
        before = facts(library)
        shutil.copy(clips / "clip_1.mp4", path)
        with pytest.MonkeyPatch.context() as patch:
            self.during_decoding(patch, lambda: os.utime(path, ns=(5, 5)))
            assert library.add([path], workers=1).failed
        assert facts(library) == before
        assert library.add([path], workers=1).replaced == ["clip_0.mp4"]

    def test_a_file_that_cannot_be_read_to_its_end_is_not_stored(self, library, clips, monkeypatch):
        def denied(path, **options):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(ingest_module, "content_hash", denied)
        path = clips / "clip_0.mp4"
        assert library.add([path], workers=1).failed == [(str(path), "cannot be read (Permission denied)")]
        assert library.list() == ()


class TestUnmountedDrives:
    """The whole root is gone: its videos are neither deleted nor moved."""

    @pytest.mark.parametrize("is_mount_point", [True, False], ids=["empty", "missing"])
    def test_are_told_from_deleted_files_and_found_again(self, library, clips, tmp_path, encoded_paths, is_mount_point):
        library.add([clips], workers=1)
        before = facts(library)
        clips.rename(tmp_path / "unplugged")
        if is_mount_point:
            clips.mkdir()
        report = library.add([clips], workers=1)
        assert report.unmounted == [(str(clips), 6)]
        assert (report.vanished, report.failed, report.num_failures, report.num_inputs) == ([], [], 1, 1)
        if is_mount_point:
            clips.rmdir()
        (tmp_path / "unplugged").rename(clips)
        encoded_paths.clear()
        assert library.add([clips], workers=1).unchanged == 6
        assert (facts(library), encoded_paths) == (before, [])

    def test_mounted_elsewhere_keep_their_ids(self, library, clips, tmp_path, encoded_paths):
        library.add([clips], workers=1)
        ids = [record.id for record in library.list()]
        clips.rename(tmp_path / "elsewhere")
        encoded_paths.clear()
        report = library.add([tmp_path / "elsewhere"], workers=1)
        assert (len(report.moved), report.unmounted, encoded_paths) == (6, [], [])
        assert [record.id for record in library.list()] == ids
        assert {record.file.root for record in library.list()} == {str(tmp_path / "elsewhere")}

    def test_leave_what_is_equal_on_another_drive_a_copy(self, library, clips, tmp_path):
        library.add([clips], workers=1)
        (tmp_path / "other").mkdir()
        shutil.copy(clips / "clip_0.mp4", tmp_path / "other/copy.mp4")
        clips.rename(tmp_path / "unplugged")
        report = library.add([tmp_path / "other"], workers=1)
        assert (report.added, report.moved, report.vanished, report.unmounted) == (["copy.mp4"], [], [], [])


class TestMovesAndVanishings:
    def test_a_moved_file_keeps_its_id_and_is_not_encoded(self, library, clips, encoded_paths):
        library.add([clips], workers=1)
        encoded_paths.clear()
        (clips / "deep").mkdir()
        (clips / "clip_0.mp4").rename(clips / "deep/renamed.mp4")
        report = library.add([clips], workers=1)
        assert report.moved == [("clip_0.mp4", str(clips / "clip_0.mp4"), str(clips / "deep/renamed.mp4"))]
        assert encoded_paths == []
        assert (report.unchanged, report.num_inputs) == (5, 6)
        assert contents(library)["clip_0.mp4"].file.path == str(clips / "deep/renamed.mp4")
        assert library.verify() == []

    def test_a_vanished_file_is_reported_and_stays_until_it_is_removed(self, library, clips):
        library.add([clips], workers=1)
        (clips / "clip_0.mp4").unlink()
        for _ in range(2):
            assert library.add([clips], workers=1).vanished == [str(clips / "clip_0.mp4")]
        library.remove(["clip_0.mp4"])
        assert library.add([clips], workers=1).vanished == []
        assert len(library.list()) == 5

    def test_a_root_with_dots_in_it_reports_vanished_files_too(self, library, clips):
        library.add([clips], workers=1)
        (clips / "clip_0.mp4").unlink()
        around = clips / ".." / clips.name
        assert library.add([around], workers=1).vanished == [str(clips / "clip_0.mp4")]

    @pytest.mark.parametrize("commit_videos", [1, 64])
    def test_swapped_files_swap_their_vectors(self, library, clips, monkeypatch, commit_videos):
        monkeypatch.setattr(ingest_module, "COMMIT_VIDEOS", commit_videos)
        library.add([clips / "clip_0.mp4", clips / "clip_1.mp4"], workers=1)
        before = contents(library)
        (clips / "clip_0.mp4").rename(clips / "hold")
        (clips / "clip_1.mp4").rename(clips / "clip_0.mp4")
        (clips / "hold").rename(clips / "clip_1.mp4")
        library.add([clips / "clip_0.mp4", clips / "clip_1.mp4"], workers=1)
        after = contents(library)
        for new, old in (("clip_0.mp4", "clip_1.mp4"), ("clip_1.mp4", "clip_0.mp4")):
            assert after[new].file.sha256 == before[old].file.sha256
            np.testing.assert_array_equal(
                after[new].encoded.region_vectors.vectors, before[old].encoded.region_vectors.vectors
            )
        assert library.verify() == []


def history(library: Library, clips: Path, workers: int) -> None:
    """Adding, moving, changing, deleting and re-adding."""
    aside = clips.parent / "aside"
    aside.mkdir()
    (clips / "clip_5.mp4").rename(aside / "clip_5.mp4")
    write_broken(clips / "broken.mp4")
    library.add([clips], workers=workers)
    (clips / "sub").mkdir()
    (clips / "clip_0.mp4").rename(clips / "sub/moved.mp4")  # moved
    shutil.copy2(clips / "clip_1.mp4", clips / "copy_of_1.mp4")  # copied
    shutil.copy2(aside / "clip_5.mp4", clips / "clip_2.mp4")  # changed
    (clips / "clip_3.mp4").rename(aside / "clip_3.mp4")  # deleted
    library.add([clips], workers=workers)
    library.remove(["clip_3.mp4", "clip_4.mp4"])
    shutil.copy2(aside / "clip_3.mp4", clips / "clip_3.mp4")  # added again; so is clip_4
    shutil.copy2(clips / "clip_4.mp4", clips / "broken.mp4")  # mended
    library.add([clips], workers=workers)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("history")


@pytest.fixture(scope="module")
def one_and_three(folder, made_clips, quick_model) -> tuple[Library, Library]:
    """The same history at the same place with one and with three workers."""
    libraries = []
    for workers in (1, 3):
        for left_over in (folder / "clips", folder / "aside"):
            shutil.rmtree(left_over, ignore_errors=True)
        clips = Path(shutil.copytree(made_clips, folder / "clips"))
        library = Library.create(folder / f"library_{workers}", quick_model)
        history(library, clips, workers)
        libraries.append(library)
    return libraries[0], libraries[1]


class TestTheSameLibrary:
    """After adding, moving, changing, deleting and re-adding, with one worker and with three."""

    def test_does_not_depend_on_the_number_of_workers(self, one_and_three):
        one, three = one_and_three
        assert_same_library(one, three)
        assert one.verify() == three.verify() == []

    def test_holds_what_a_fresh_library_of_the_same_files_holds(self, one_and_three, folder, quick_model):
        one, _ = one_and_three
        fresh = Library.create(folder / "fresh", quick_model)
        fresh.add([folder / "clips"], workers=2)
        ids = {video.file.path: id for id, video in contents(fresh).items()}
        by_path = {value[0]: value for value in facts(one).values()}
        assert by_path == {value[0]: value for value in facts(fresh).values()}
        for video in contents(one).values():
            again = fresh.encoded(ids[video.file.path])
            np.testing.assert_allclose(
                video.encoded.region_vectors.vectors.astype(np.float32),
                again.region_vectors.vectors.astype(np.float32),
                rtol=0,
                atol=FLOAT16_STEP,
            )

    def test_a_moved_video_kept_its_id(self, one_and_three):
        assert {id: Path(value[0]).name for id, value in facts(one_and_three[0]).items()} == {
            "clip_0.mp4": "moved.mp4",
            "clip_1.mp4": "clip_1.mp4",
            "clip_2.mp4": "clip_2.mp4",
            "clip_3.mp4": "clip_3.mp4",
            "clip_4.mp4": "clip_4.mp4",
            "copy_of_1.mp4": "copy_of_1.mp4",
            "broken.mp4": "broken.mp4",
        }


def test_a_folder_of_awkward_files_becomes_a_library_that_verifies(library, shared_data):
    report = library.add([shared_data / "hard_media"], workers=3)
    assert len(report.added) > 50
    assert all("\n" not in reason and "crashed" not in reason for _, reason in report.failed)
    assert list(library.verify()) == []
    unchanged = library.add([shared_data / "hard_media"], workers=3)
    assert (unchanged.unchanged, unchanged.added) == (len(report.added), [])
    assert len(unchanged.failed_before) == len(report.failed)


class TestWriting:
    """Commits are written by a thread of their own."""

    def test_new_videos_are_appended_without_looking_for_old_rows(self, library, clips, monkeypatch):
        put = Store.put

        def only_nothing(store, videos):
            assert not videos
            put(store, videos)

        monkeypatch.setattr(Store, "put", only_nothing)
        assert len(library.add([clips], workers=1).added) == 6
        assert library.verify() == []

    def test_encoding_goes_on_while_a_commit_is_written(self, library, clips, monkeypatch):
        monkeypatch.setattr(ingest_module, "COMMIT_VIDEOS", 2)
        third_is_done = threading.Event()
        append = Store.append

        def slow(store, videos):
            assert third_is_done.wait(60), "the first commit held up the third video"
            append(store, videos)

        def tell(told: Progress) -> None:
            if told.done == 3:
                third_is_done.set()

        monkeypatch.setattr(Store, "append", slow)
        assert len(library.add([clips], workers=1, progress=tell).added) == 6
        assert len(library.list()) == 6

    def test_what_stops_a_commit_ends_the_run_with_one_line_and_the_next_run_goes_on(self, library, clips, monkeypatch):
        monkeypatch.setattr(ingest_module, "COMMIT_VIDEOS", 2)
        append, calls = Store.append, []

        def full_at_the_second(store, videos):
            calls.append([video.id for video in videos])
            if len(calls) > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            append(store, videos)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Store, "append", full_at_the_second)
            with pytest.raises(LibraryError, match=r"cannot be written \(No space left on device\)"):
                library.add([clips], workers=1)
        assert [record.id for record in library.list()] == calls[0]
        assert library.verify() == []
        assert len(library.add([clips], workers=1).added) == 4

    def test_an_error_of_the_callers_own_is_not_taken_for_one_of_the_disk(self, library, clips):
        def tell(told: Progress) -> None:
            if told.done == 2:
                raise BrokenPipeError(errno.EPIPE, "nobody listens")

        with pytest.raises(BrokenPipeError, match="nobody listens"):
            library.add([clips], workers=1, progress=tell)
        assert len(library.list()) == 2


class Interruption(BaseException):
    """Stands for Ctrl-C."""


class TestInterrupts:
    def test_what_was_finished_is_kept_and_the_next_run_goes_on(self, library, clips, encoded_paths):
        def interrupt(told: Progress) -> None:
            if told.done == 3:
                raise Interruption

        with pytest.raises(Interruption):
            library.add([clips], workers=2, progress=interrupt)
        assert len(library.list()) == 3
        assert library.verify() == []
        encoded_paths.clear()
        assert len(library.add([clips], workers=2).added) == 3
        assert len(encoded_paths) == 3

    def test_what_was_decoded_whole_when_it_came_is_kept_too(self, library, clips, monkeypatch):
        decode_files = ingest_module.decode_files

        def interrupted(*arguments, **options):
            num_ended = 0
            for index, event in decode_files(*arguments, **options):
                yield index, event
                num_ended += isinstance(event, DecodeEnd)
                if num_ended == 4:
                    raise KeyboardInterrupt

        monkeypatch.setattr(ingest_module, "decode_files", interrupted)
        with pytest.raises(KeyboardInterrupt):
            library.add([clips], workers=1)
        assert len(library.list()) == 4
        assert library.verify() == []

    def test_an_error_in_the_model_keeps_what_was_finished(self, library, clips, monkeypatch):
        finished = ingest_module._finished
        calls: list[object] = []

        def fails_at_the_third(*args):
            calls.append(args)
            if len(calls) == 3:
                raise VisilError("out of memory")
            return finished(*args)

        monkeypatch.setattr(ingest_module, "_finished", fails_at_the_third)
        with pytest.raises(VisilError, match="out of memory"):
            library.add([clips], workers=1)
        assert len(library.list()) == 2

    def test_no_decoding_process_outlives_an_interrupt(self, library, clips):
        def interrupt(told: Progress) -> None:
            if told.done == 1:
                raise Interruption

        with pytest.raises(Interruption):
            library.add([clips], workers=3, progress=interrupt)
        assert running_workers() == []


class TestInterruptsBetweenTwoSteps:
    """Ctrl-C may come anywhere; here it comes where a commit is handed over, or waited for."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        create_table(tmp_path / "videos.lance", DIM)
        return Store(tmp_path / "videos.lance", DIM)

    @pytest.fixture
    def commits(self, store: Store) -> ingest_module.Commits:
        return ingest_module.Commits(store, IngestReport(), stored=set())

    @staticmethod
    def finish(commits: ingest_module.Commits, id: str) -> None:
        job = Job((Target(id, file_facts(f"/videos/{id}"), is_new=True),))
        commits.finish(job, encoded_video(3), None)

    @pytest.mark.parametrize("is_handed_over", [False, True], ids=["before it is", "when it is"])
    def test_a_commit_that_is_handed_over_is_written_once(self, commits, store, monkeypatch, is_handed_over):
        submit, calls = commits._thread.submit, []

        def interrupted(*arguments) -> Future[None]:
            calls.append(arguments)
            if len(calls) > 1:
                return submit(*arguments)
            if is_handed_over:
                submit(*arguments)
            raise Interruption

        monkeypatch.setattr(commits._thread, "submit", interrupted)
        with pytest.raises(Interruption), closing(commits):
            self.finish(commits, "a")
            commits._flush()
        store.refresh()
        assert [row["id"] for row in store.rows()] == ["a"]

    def test_what_stops_the_writing_is_told_even_if_its_end_was_not_waited_for(self, commits, monkeypatch):
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def interrupted(future: Future[None]) -> None:
            monkeypatch.undo()
            raise Interruption

        monkeypatch.setattr(commits._store, "append", full)
        with pytest.raises(OSError, match="No space left on device"), closing(commits):
            self.finish(commits, "a")
            commits._flush()
            wait([commits._writing])
            monkeypatch.setattr(Future, "result", interrupted)
            commits._wait()

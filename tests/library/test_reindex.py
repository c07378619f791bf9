"""Moving a library to another bundle: the old one answers until the new one is complete, and nothing is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import visil.library.ingest as ingest_module
import visil.library.reindexing as reindexing_module
from tests.library.made import file_facts
from visil.errors import DataError, LibraryError, MediaError
from visil.library.ingest import Progress
from visil.library.library import Library
from visil.library.planning import Job, Target
from visil.library.reindexing import PENDING, UnfinishedReindexError, plan_move
from visil.library.repairing import repair_library
from visil.library.settings import BUNDLE, SETTINGS, TABLE, LibrarySettings
from visil.library.store import FAILED, OK, FileFacts, Store, StoredVideo, VideoRecord
from visil.model.bundle import Bundle
from visil.model.model import Model

NUM_CLIPS = 6


@pytest.fixture(scope="session")
def other_bundle(quick_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose vectors differ: the same weights on smaller pictures."""
    preprocessing = replace(quick_model.settings.preprocessing, size_px=48)
    settings = replace(quick_model.settings, name="other", preprocessing=preprocessing)
    path = tmp_path_factory.mktemp("bundles") / "other.safetensors"
    Bundle(settings, quick_model.bundle.tensors).save(path)
    return path


@pytest.fixture(scope="session")
def third_bundle(quick_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "third.safetensors"
    Bundle(replace(quick_model.settings, name="third"), quick_model.bundle.tensors).save(path)
    return path


@pytest.fixture(scope="module")
def folder(made_clips: Path, tmp_path_factory: pytest.TempPathFactory, quick_model: Model) -> Path:
    """`clips`: six clips, a copy of the first under another name, a file that is no video; `library`: of these."""
    folder = tmp_path_factory.mktemp("reindex")
    shutil.copytree(made_clips, folder / "pristine")
    shutil.copy(folder / "pristine/clip_0.mp4", folder / "pristine/twin.mp4")
    (folder / "pristine/broken.mp4").write_text("this is no video")
    shutil.copytree(folder / "pristine", folder / "clips")
    Library.create(folder / "library", quick_model).add([folder / "clips"], workers=2)
    return folder


@pytest.fixture
def clips(folder: Path) -> Path:
    """The files of the library, at their place and as they were, for a test to change."""
    shutil.rmtree(folder / "clips")
    return Path(shutil.copytree(folder / "pristine", folder / "clips"))


@pytest.fixture
def library(folder: Path, clips: Path, tmp_path: Path) -> Library:
    """A copy of the library."""
    return Library.open(shutil.copytree(folder / "library", tmp_path / "library"), device="cpu")


def vectors(library: Library) -> dict[str, np.ndarray]:
    return {r.id: library.encoded(r.id).region_vectors.vectors for r in library.list() if r.status == OK}


def places(library: Library) -> dict[str, FileFacts]:
    return {record.id: record.file for record in library.list()}


class Interruption(BaseException):
    """Stands for Ctrl-C."""


def interrupt_at(done: int):
    def interrupt(told: Progress) -> None:
        if told.done == done:
            raise Interruption

    return interrupt


class TestAMove:
    def test_gives_every_video_the_vectors_of_the_new_bundle_and_keeps_ids_and_paths(
        self, library, clips, tmp_path, other_bundle
    ):
        before = places(library)
        report = library.reindex(other_bundle, workers=2)
        assert sorted(report.added) == [*(f"clip_{i}.mp4" for i in range(NUM_CLIPS)), "twin.mp4"]
        assert places(library) == before
        fresh = Library.open_or_create(tmp_path / "fresh", other_bundle, device="cpu")
        fresh.add([clips], workers=2)
        expected = vectors(fresh)
        for opened in (library, Library.open(library.path, device="cpu")):
            assert opened.model.settings.name == "other"
            found = vectors(opened)
            assert found.keys() == expected.keys()
            for id, its in expected.items():
                np.testing.assert_allclose(found[id].astype(float), its.astype(float), rtol=0, atol=2**-10)
            copy = shutil.copy(clips / "clip_3.mp4", tmp_path / "copy.mp4")
            assert opened.search(copy)[0].video == "clip_3.mp4"
            assert [finding for finding in opened.verify() if finding.damage] == []

    def test_encodes_equal_contents_once(self, library, other_bundle, encoded_paths):
        library.reindex(other_bundle, workers=1)
        assert sorted(encoded_paths) == sorted(["broken.mp4", *(f"clip_{i}.mp4" for i in range(NUM_CLIPS))])

    def test_keeps_failures_as_failures(self, library, clips, other_bundle):
        (clips / "gone.mp4").write_text("no video either")
        library.add([clips], workers=1)
        (clips / "gone.mp4").unlink()
        library.reindex(other_bundle, workers=1)
        failures = {record.id: record.reason for record in library.list() if record.status == FAILED}
        assert failures.keys() == {"broken.mp4", "gone.mp4"}
        assert len(set(failures.values())) == 1

    def test_to_the_same_bundle_does_nothing(self, library, quick_model, tmp_path, encoded_paths):
        quick_model.bundle.save(tmp_path / "same.safetensors")
        report = library.reindex(tmp_path / "same.safetensors")
        assert (report.added, report.unchanged, encoded_paths) == ([], len(library.list()), [])
        assert not (library.path / PENDING).exists()

    def test_back_and_forth_ends_with_what_was_there(self, library, quick_model, tmp_path, other_bundle):
        before = vectors(library)
        quick_model.bundle.save(tmp_path / "first.safetensors")
        library.reindex(other_bundle, workers=2)
        library.reindex(tmp_path / "first.safetensors", workers=2)
        for id, its in vectors(library).items():
            np.testing.assert_allclose(its.astype(float), before[id].astype(float), rtol=0, atol=2**-10)

    def test_indexing_goes_on_with_the_new_bundle(self, library, clips, other_bundle):
        library.reindex(other_bundle, workers=2)
        shutil.copy(clips / "clip_1.mp4", clips / "later.mp4")
        assert library.add([clips], workers=1).added == ["later.mp4"]
        with pytest.raises(
            LibraryError,
            match=r"made with bundle 'other' \([0-9a-f]{12}\), not with mini \([0-9a-f]{12}\); go on .* --reindex",
        ):
            Library.open_or_create(library.path, "mini", device="cpu")

    def test_to_a_sampling_that_does_not_exist_is_an_error_before_anything_is_done(self, library):
        with pytest.raises(DataError, match="sampling must be one of"):
            library.reindex(sampling="sometimes")
        assert not (library.path / PENDING).exists()

    def test_needs_at_least_one_worker(self, library, other_bundle):
        with pytest.raises(DataError, match="workers must be at least 1, got 0"):
            library.reindex(other_bundle, workers=0)


class TestUntilTheSwitch:
    def test_readers_see_the_old_library_and_are_told_to_open_the_new_one(self, library, clips, other_bundle):
        reader = Library.open(library.path, device="cpu")
        before = [(match.video, match.score) for match in reader.search(clips / "clip_2.mp4")]
        seen = []

        def search_beside(told: Progress) -> None:
            seen.append([(match.video, match.score) for match in reader.search(clips / "clip_2.mp4")])

        library.reindex(other_bundle, workers=1, progress=search_beside)
        assert seen == [before] * len(seen) and len(seen) > NUM_CLIPS
        assert vectors(reader).keys() == vectors(library).keys()  # it may go on with what it has
        with pytest.raises(LibraryError, match="was moved to another bundle meanwhile; open it again"):
            reader.search(clips / "clip_2.mp4")

    def test_another_writer_waits_and_then_refuses_to_mix_bundles(self, library, clips, other_bundle):
        other = Library.open(library.path, device="cpu")

        def write_beside(told: Progress) -> None:
            with pytest.raises(LibraryError, match="another process is writing to it"):
                other.remove("twin.mp4")

        library.reindex(other_bundle, workers=1, progress=write_beside)
        with pytest.raises(LibraryError, match="was moved to another bundle meanwhile; open it again"):
            other.add([clips])

    def test_opening_survives_a_switch_and_a_compaction_in_between(self, library, other_bundle, monkeypatch):
        """The settings are read before, the files they name after."""
        import visil.library.library as library_module

        read_settings = library_module.read_settings
        stale = read_settings(library.path)
        library.reindex(other_bundle, workers=2)
        for name in (BUNDLE, TABLE):
            path = library.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        answers = iter([stale])
        monkeypatch.setattr(library_module, "read_settings", lambda path: next(answers, None) or read_settings(path))
        assert Library.open(library.path, device="cpu").model.settings.name == "other"


class TestARowOfSourceCode:
    """An earlier visil took TypeScript for a transport stream, and stored a failure of it."""

    @pytest.fixture
    def source(self, library: Library, clips: Path) -> Path:
        path = clips / "component.ts"
        path.write_text("export const answer: number = 42;\n")
        library.add([path], workers=1)
        library.remove("broken.mp4")
        assert library.record("component.ts").status == FAILED
        return path

    def test_is_left_behind_and_told(self, library, source, other_bundle, encoded_paths):
        report = library.reindex(other_bundle, workers=1)
        assert (report.forgotten, report.failed, report.num_failures) == ([str(source)], [], 0)
        assert source.name not in encoded_paths
        assert source.name not in {record.id for record in Library.open(library.path, device="cpu").list()}

    def test_of_another_failed_file_stays(self, library, source, other_bundle):
        source.write_bytes(bytes(5000))
        library.add([source], workers=1)
        report = library.reindex(other_bundle, workers=1)
        assert (report.forgotten, [path for path, _ in report.failed]) == ([], [str(source)])


class TestAnInterruptedMove:
    def test_goes_on_where_it_stopped(self, library, other_bundle, encoded_paths, monkeypatch):
        monkeypatch.setattr(ingest_module, "COMMIT_VIDEOS", 1)
        before = vectors(library)
        with pytest.raises(Interruption):
            library.reindex(other_bundle, workers=1, progress=interrupt_at(4))
        assert library.model.settings.name == "quick"
        np.testing.assert_equal(vectors(Library.open(library.path, device="cpu")), before)
        encoded_paths.clear()
        again = Library.open(library.path, device="cpu")
        report = again.reindex(other_bundle, workers=1)
        assert report.unchanged == 4  # broken.mp4, clip_0.mp4 and its twin, clip_1.mp4
        assert sorted(report.added) == sorted(encoded_paths) == [f"clip_{i}.mp4" for i in range(2, NUM_CLIPS)]
        assert again.model.settings.name == "other"

    @pytest.mark.parametrize("kind", ["torn", "gone", "another"])
    def test_writes_its_bundle_again_if_that_did_not_reach_the_disk(self, library, other_bundle, third_bundle, kind):
        with pytest.raises(Interruption):
            library.reindex(other_bundle, workers=1, progress=interrupt_at(NUM_CLIPS))
        pending = library.path / "model-2.safetensors"
        if kind == "torn":
            pending.write_bytes(pending.read_bytes()[: pending.stat().st_size // 2])
        elif kind == "gone":
            pending.unlink()
        else:
            shutil.copy(third_bundle, pending)
        assert library.reindex(other_bundle, workers=1).unchanged > 0
        assert Library.open(library.path, device="cpu").model.settings.name == "other"

    def test_has_its_bundle_on_the_disk_before_anything_names_it(self, library, other_bundle, monkeypatch):
        flushed: set[int] = set()
        fsync, write_settings = os.fsync, reindexing_module.write_settings

        def flush(descriptor: int) -> None:
            flushed.add(os.fstat(descriptor).st_ino)
            fsync(descriptor)

        def write(path: Path, settings: LibrarySettings, *, name: str) -> None:
            assert (path / settings.bundle_file).stat().st_ino in flushed
            assert {file.stat().st_ino for file in (path / settings.table_file).rglob("*")} <= flushed
            write_settings(path, settings, name=name)

        monkeypatch.setattr(os, "fsync", flush)
        monkeypatch.setattr(reindexing_module, "write_settings", write)
        library.reindex(other_bundle, workers=1)
        assert library.model.settings.name == "other"

    @pytest.mark.parametrize("kind", ["versions", "data", "all"])
    def test_whose_table_is_damaged_is_given_up_by_a_repair(self, library, other_bundle, monkeypatch, kind):
        monkeypatch.setattr(ingest_module, "COMMIT_VIDEOS", 1)
        with pytest.raises(Interruption):
            library.reindex(other_bundle, workers=1, progress=interrupt_at(NUM_CLIPS))
        table = library.path / "videos-2.lance"
        if kind == "all":
            shutil.rmtree(table)
        else:
            for file in (table / {"versions": "_versions", "data": "data"}[kind]).iterdir():
                file.write_bytes(b"")
        with pytest.raises(LibraryError, match=r"`visil verify --repair --library"):
            library.reindex(other_bundle, workers=1)
        (done,) = repair_library(library.path)
        assert re.fullmatch(
            r"the unfinished move to bundle 'other' given up: its table videos-2\.lance is damaged; `visil .*", done
        )
        assert repair_library(library.path) == []
        assert len(library.reindex(other_bundle, workers=1).added) == NUM_CLIPS + 1
        assert [finding for finding in library.verify() if finding.damage] == []

    def test_whose_settings_are_damaged_says_how_to_give_it_up(self, library, other_bundle):
        (library.path / PENDING).write_text("format_version =")
        with pytest.raises(LibraryError, match=r"reindex\.toml: cannot be read .*; restore it, or delete it, which"):
            library.reindex(other_bundle, workers=1)

    def test_that_is_whole_is_left_alone_by_a_repair(self, library, other_bundle):
        with pytest.raises(Interruption):
            library.reindex(other_bundle, workers=1, progress=interrupt_at(NUM_CLIPS))
        assert repair_library(library.path) == []
        assert library.reindex(other_bundle, workers=1).unchanged > 0

    def test_is_not_continued_with_a_third_bundle(self, library, other_bundle, third_bundle):
        with pytest.raises(Interruption):
            library.reindex(other_bundle, workers=1, progress=interrupt_at(1))
        with pytest.raises(
            LibraryError, match=r"a move to bundle 'other' .* is unfinished; finish it, or delete .*toml"
        ):
            library.reindex(third_bundle)
        (library.path / PENDING).unlink()
        library.reindex(third_bundle, workers=2)
        assert {record.id for record in library.list() if record.status == OK} == vectors(library).keys()
        assert library.model.settings.name == "third"
        assert [finding for finding in library.verify() if finding.damage] == []

    def test_follows_what_was_indexed_moved_and_removed_meanwhile(self, library, clips, other_bundle):
        with pytest.raises(Interruption):
            library.reindex(other_bundle, workers=1, progress=interrupt_at(5))
        library.remove(["clip_0.mp4"])
        (clips / "clip_0.mp4").unlink()
        (clips / "clip_1.mp4").rename(clips / "renamed.mp4")
        shutil.copy(clips / "clip_3.mp4", clips / "clip_2.mp4")
        library.add([clips], workers=1)
        before = places(library)
        library.reindex(other_bundle, workers=1)
        assert places(library) == before
        np.testing.assert_array_equal(
            library.encoded("clip_2.mp4").region_vectors.vectors, library.encoded("clip_3.mp4").region_vectors.vectors
        )

    SCRIPT = """
import os, signal, sys
import visil.library.ingest
from visil import Library

visil.library.ingest.COMMIT_VIDEOS = 1

def die(progress):
    if progress.done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

Library.open(sys.argv[1], device="cpu").reindex(sys.argv[2], workers=1, progress=die)
"""

    def test_may_be_killed(self, library, other_bundle):
        command = [sys.executable, "-c", self.SCRIPT, str(library.path), str(other_bundle)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        again = Library.open(library.path, device="cpu")
        assert again.model.settings.name == "quick"
        assert again.reindex(other_bundle, workers=1).unchanged >= 1  # the others were being written


class TestWhatIsMissing:
    def test_keeps_the_library_from_moving_and_everything_else_ready(self, library, clips, other_bundle):
        content = (clips / "clip_3.mp4").read_bytes()
        (clips / "clip_3.mp4").unlink()
        message = (
            r"1 of 8 videos cannot be encoded with bundle 'other' \(first: .*clip_3\.mp4: its file is gone\); bring"
        )
        with pytest.raises(UnfinishedReindexError, match=message) as refused:
            library.reindex(other_bundle, workers=2)
        assert len(refused.value.report.added) == NUM_CLIPS
        assert Library.open(library.path, device="cpu").search("id:clip_3.mp4")
        (clips / "clip_3.mp4").write_bytes(content)
        os.utime(clips / "clip_3.mp4", ns=(5, 5))  # brought back with another time
        report = library.reindex(other_bundle, workers=2)
        assert report.added == ["clip_3.mp4"]
        assert library.model.settings.name == "other"

    def test_may_be_removed_instead(self, library, clips, other_bundle):
        (clips / "clip_3.mp4").unlink()
        with pytest.raises(UnfinishedReindexError):
            library.reindex(other_bundle, workers=2)
        library.remove("clip_3.mp4")
        assert library.reindex(other_bundle, workers=2).added == []
        assert "clip_3.mp4" not in places(library)

    def test_does_not_matter_while_a_copy_is_there(self, library, clips, other_bundle):
        (clips / "clip_0.mp4").unlink()  # twin.mp4 has the same content
        library.reindex(other_bundle, workers=2)
        np.testing.assert_array_equal(
            library.encoded("clip_0.mp4").region_vectors.vectors, library.encoded("twin.mp4").region_vectors.vectors
        )

    def test_includes_a_file_with_other_content(self, library, clips, other_bundle):
        shutil.copy(clips / "clip_4.mp4", clips / "clip_3.mp4")
        with pytest.raises(UnfinishedReindexError, match="its file has changed since it was indexed"):
            library.reindex(other_bundle, workers=2)
        library.add([clips], workers=1)
        library.reindex(other_bundle, workers=2)
        assert library.model.settings.name == "other"

    def test_includes_a_file_that_cannot_be_decoded_any_more(self, library, clips, other_bundle, monkeypatch):
        finished = ingest_module._finished

        def fails_once(encoder, error):
            if len(failed) < 1:
                failed.append(1)
                return None, MediaError("the decoder crashed on this file", "crashed")
            return finished(encoder, error)

        failed: list[int] = []
        monkeypatch.setattr(ingest_module, "_finished", fails_once)
        monkeypatch.setattr(ingest_module, "COMMIT_VIDEOS", 1)
        library.remove("broken.mp4")
        with pytest.raises(UnfinishedReindexError, match="the decoder crashed on this file"):
            library.reindex(other_bundle, workers=1)
        library.reindex(other_bundle, workers=1)
        assert len(vectors(library)) == len(library.list()) == NUM_CLIPS + 1

    def test_includes_a_file_that_is_cut_short_now(self, library, other_bundle, monkeypatch):
        finished, cut = ingest_module._finished, []

        def cut_once(encoder, error):
            encoded, error = finished(encoder, error)
            if encoded is None or cut:
                return encoded, error
            cut.append(1)
            return replace(encoded, warning="the decoder crashed on this file", cut_short="crashed"), error

        monkeypatch.setattr(ingest_module, "_finished", cut_once)
        with pytest.raises(UnfinishedReindexError, match="the decoder crashed on this file"):
            library.reindex(other_bundle, workers=1)
        library.reindex(other_bundle, workers=1)
        assert {record.reason_class for record in library.list() if record.status != FAILED} == {""}

    def test_includes_a_file_that_was_cut_short_and_fails_now_so_that_its_vectors_stay(
        self, library, other_bundle, monkeypatch
    ):
        store = Store(library.path / TABLE, library.model.dim)
        stored = store.read("clip_3.mp4")
        store.put([replace(stored, reason="the decoder crashed", reason_class="crashed")])
        finished, failing = ingest_module._finished, [True]

        def fails(encoder, error):
            return (None, MediaError("the decoder crashed", "crashed")) if failing else finished(encoder, error)

        monkeypatch.setattr(ingest_module, "_finished", fails)
        with pytest.raises(UnfinishedReindexError, match="of 8 videos"):
            library.reindex(other_bundle, workers=1)
        library.compact()
        assert library.encoded("clip_3.mp4").num_samples == stored.encoded.num_samples
        failing.clear()
        library.reindex(other_bundle, workers=1)
        assert library.record("clip_3.mp4").reason_class == ""


def record(
    id: str, *, sha256: str = "", path: str = "", status: str = OK, cut_short: str = "", num_samples: int = 1
) -> VideoRecord:
    file = file_facts(path or f"/{id}", sha256=sha256)
    return VideoRecord(id, file, status, "", 1.0, num_samples, None, cut_short)


def there(file: FileFacts) -> FileFacts:
    return file


def gone(file: FileFacts) -> FileFacts:
    raise MediaError("its file is gone", "unreadable")


class TestPlan:
    """Pure: what is stored in both generations decides."""

    def test_everything_is_encoded_when_nothing_is_there_in_the_order_of_paths(self):
        todo = plan_move([record("b"), record("a")], [], look_at=there, samples_alike=True)
        assert [job.targets[0].id for job in todo.jobs] == ["a", "b"]

    def test_what_is_there_is_not_encoded_again(self):
        assert plan_move([record("a")], [record("a")], look_at=gone, samples_alike=True).jobs == []

    def test_a_content_that_is_there_is_copied_without_looking_at_a_file(self):
        todo = plan_move(
            [record("a", sha256="x"), record("b", sha256="x")],
            [record("a", sha256="x")],
            look_at=gone,
            samples_alike=True,
        )
        assert todo.jobs == [Job((Target("b", file_facts("/b", sha256="x"), is_new=True),), copy_of="a")]

    def test_other_content_under_the_same_id_is_not_what_is_wanted(self):
        todo = plan_move([record("a", sha256="new")], [record("a", sha256="old")], look_at=there, samples_alike=True)
        assert [job.targets[0].id for job in todo.jobs] == ["a"]
        assert todo.jobs[0].copy_of is None

    def test_a_video_that_failed_only_here_is_tried_again_one_that_always_failed_is_not(self):
        here = [record("a", status=FAILED), record("b", status=FAILED)]
        todo = plan_move([record("a"), record("b", status=FAILED)], here, look_at=there, samples_alike=True)
        assert [job.targets[0].id for job in todo.jobs] == ["a"]

    @pytest.mark.parametrize(
        ("old", "new", "samples_alike", "is_ready"),
        [
            ({"cut_short": "crashed"}, {"status": FAILED, "cut_short": "crashed"}, True, False),
            ({"cut_short": "crashed"}, {"status": FAILED, "cut_short": "crashed"}, False, False),
            ({"status": FAILED}, {"status": FAILED}, True, True),
            ({}, {"cut_short": "crashed"}, True, False),
            ({"status": FAILED, "num_samples": 0}, {"cut_short": "crashed"}, True, True),
            ({"cut_short": "stalled", "num_samples": 5}, {"cut_short": "stalled", "num_samples": 5}, True, True),
            ({"cut_short": "stalled", "num_samples": 5}, {"cut_short": "stalled", "num_samples": 4}, True, False),
            ({"cut_short": "stalled", "num_samples": 5}, {"cut_short": "stalled", "num_samples": 4}, False, True),
            ({"cut_short": "stalled", "num_samples": 5}, {"num_samples": 4}, True, True),
        ],
    )
    def test_nothing_is_ready_that_gives_less_than_before(self, old, new, samples_alike, is_ready):
        todo = plan_move([record("a", **old)], [record("a", **new)], look_at=there, samples_alike=samples_alike)
        assert (len(todo.ready), len(todo.jobs)) == (is_ready, not is_ready)

    def test_a_copy_that_would_give_less_than_before_is_encoded_of_its_own(self):
        short, long = (
            record(id, sha256="x", cut_short="stalled", num_samples=number) for id, number in (("a", 4), ("b", 5))
        )
        todo = plan_move([short, long], [short], look_at=there, samples_alike=True)
        assert [(job.targets[0].id, job.copy_of) for job in todo.jobs] == [("b", None)]

    def test_a_failure_whose_file_is_gone_stays_a_failure(self):
        todo = plan_move([record("a", status=FAILED)], [], look_at=gone, samples_alike=True)
        assert todo.failures == [StoredVideo("a", file_facts("/a"), None)]
        assert todo.unreadable == []

    def test_a_moved_file_is_only_renamed_and_a_removed_one_dropped(self):
        todo = plan_move(
            [record("a", sha256="x", path="/new")],
            [record("a", sha256="x"), record("b")],
            look_at=there,
            samples_alike=True,
        )
        assert (todo.new_files, todo.surplus, todo.jobs) == ({"a": file_facts("/new", sha256="x")}, ["b"], [])


def test_the_settings_of_the_old_generation_are_replaced_whole(library, other_bundle):
    library.reindex(other_bundle, workers=2)
    text = (library.path / SETTINGS).read_text()
    assert 'bundle = "model-2.safetensors"' in text and 'table = "videos-2.lance"' in text

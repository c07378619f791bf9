"""The folder of a library: making, opening, refusing, surviving."""

from __future__ import annotations

import os
import select
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.library.made import encoded_video, file_facts
from visil.errors import DataError, LibraryError
from visil.library.library import BUNDLE, LOCK, SETTINGS, TABLE, Library
from visil.library.second import SECOND
from visil.library.store import Store, StoredVideo, create_table
from visil.library.sums import SUMS
from visil.model.bundle import Bundle
from visil.model.model import Model
from visil.synth.scenes import distinct_scenes, scene_pictures
from visil.synth.video_file import write_video

not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere: needs an ordinary user")


@pytest.fixture
def library(tmp_path: Path, quick_model: Model) -> Library:
    return Library.create(tmp_path / "library", quick_model)


@pytest.fixture
def older_model(quick_model: Model) -> Model:
    """As `quick_model`, with the rules for blank frames and bars of a visil before bundle format 3."""
    settings = quick_model.settings
    older = replace(settings.preprocessing, blank="flat", bars="keep")
    return Model(Bundle(replace(settings, preprocessing=older), quick_model.bundle.tensors), device="cpu")


def put(library: Library, id: str) -> None:
    """Store a made-up video through another handle, as another process would."""
    video = encoded_video(3, dim=library.model.dim, num_regions=9, seed=len(id))
    Store(library.path / TABLE, library.model.dim).put([StoredVideo(id, file_facts(f"/{id}"), video)])


class TestOlderRules:
    """A library goes on with its own copy of a bundle, whatever the rules of the visil that opens it."""

    def test_stay_those_of_the_library(self, tmp_path, older_model, quick_model):
        scene = distinct_scenes(np.random.default_rng(0), 1)[0]
        pictures = list(scene_pictures(scene, duration_s=3, fps=8, size_px=(96, 64)))
        boxed = [np.pad(picture, ((20, 20), (0, 0), (0, 0))) for picture in pictures]
        for name in ("first", "later"):
            write_video(tmp_path / f"{name}.mp4", boxed, 8)
        library = Library.create(tmp_path / "library", older_model)
        assert older_model.settings.format_version < 3 == quick_model.settings.format_version
        library.add([tmp_path / "first.mp4"], workers=1)

        again = Library.open(tmp_path / "library", device="cpu")
        assert again.model.bundle.hash == older_model.bundle.hash
        again.add([tmp_path / "later.mp4"], workers=1)
        first, later = (again.encoded(f"{name}.mp4").region_vectors.vectors for name in ("first", "later"))
        np.testing.assert_array_equal(later, first)
        newer = quick_model.encode(tmp_path / "later.mp4").region_vectors.vectors
        assert np.abs(later.astype(float) - newer).max() > 0.05


class TestCreate:
    def test_a_new_library_is_empty_and_opens_by_itself(self, library, quick_model):
        opened = Library.open(library.path, device="cpu")
        assert opened.list() == ()
        assert opened.model.bundle.hash == quick_model.bundle.hash
        assert sorted(path.name for path in library.path.iterdir()) == sorted(
            [BUNDLE, LOCK, SECOND, SETTINGS, SUMS, TABLE]
        )

    def test_folders_on_the_way_are_made(self, tmp_path, quick_model):
        Library.create(tmp_path / "a/b/c", quick_model)
        assert Library.open(tmp_path / "a/b/c", device="cpu").list() == ()

    def test_a_second_library_at_the_same_place_is_refused(self, library, quick_model):
        with pytest.raises(LibraryError, match="there is a library already; open it, or choose another folder"):
            Library.create(library.path, quick_model)

    def test_a_folder_that_holds_anything_else_is_refused_and_left_alone(self, tmp_path, quick_model):
        (tmp_path / "thesis.tex").write_text("mine")
        with pytest.raises(LibraryError, match=r"not empty \(it holds thesis\.tex\); choose a new folder"):
            Library.create(tmp_path, quick_model)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    def test_a_place_below_a_file_is_refused(self, tmp_path, quick_model):
        (tmp_path / "file").write_text("")
        for place in (tmp_path / "file", tmp_path / "file/library"):
            with pytest.raises(LibraryError, match="a library cannot be made here"):
                Library.create(place, quick_model)

    @not_as_root
    def test_a_read_only_place_is_refused(self, tmp_path, quick_model):
        tmp_path.chmod(stat.S_IREAD | stat.S_IEXEC)
        with pytest.raises(LibraryError, match=r"cannot be made here \(Permission denied\)"):
            Library.create(tmp_path / "library", quick_model)

    def test_what_an_interrupted_create_left_behind_does_not_matter(self, tmp_path, quick_model):
        (tmp_path / f".{BUNDLE}.123.partial").write_bytes(b"half")
        (tmp_path / f".{SETTINGS}.partial").write_bytes(b"half")
        (tmp_path / BUNDLE).write_bytes(b"half")
        (tmp_path / TABLE / "data").mkdir(parents=True)
        (tmp_path / SECOND / TABLE / "data").mkdir(parents=True)
        (tmp_path / LOCK).touch()
        (tmp_path / ".visil-a1b2.partial").mkdir()  # of a killed trial of the disk
        (tmp_path / f".visil-a1b2.partial/{LOCK}").touch()
        library = Library.create(tmp_path, quick_model)
        put(library, "a")
        assert [record.id for record in Library.open(tmp_path, device="cpu").list()] == ["a"]

    def test_an_empty_table_for_another_model_is_replaced(self, tmp_path, quick_model):
        create_table(tmp_path / TABLE, quick_model.dim + 8)
        library = Library.create(tmp_path, quick_model)
        put(library, "a")
        assert len(Library.open(tmp_path, device="cpu").encoded("a").descriptors) == 1

    def test_videos_without_their_settings_are_never_overwritten(self, library, quick_model):
        put(library, "a")
        (library.path / SETTINGS).unlink()
        with pytest.raises(LibraryError, match="there is a library already"):
            Library.create(library.path, quick_model)
        shutil.rmtree(library.path / SECOND)
        with pytest.raises(LibraryError, match=rf"holds videos, but no {SETTINGS}"):
            Library.create(library.path, quick_model)
        assert len(Store(library.path / TABLE, library.model.dim).records()) == 1


class TestOpen:
    def test_no_library_is_an_error_that_says_how_to_make_one(self, tmp_path):
        with pytest.raises(LibraryError, match="no library here; `visil index FOLDER --library"):
            Library.open(tmp_path)

    def test_a_file_is_no_library(self, tmp_path, quick_model):
        (tmp_path / "a").touch()
        for opening in (Library.open, Library.open_or_create, lambda path: Library.create(path, quick_model)):
            with pytest.raises(LibraryError, match=str(tmp_path / "a")):
                opening(tmp_path / "a")

    def test_a_format_of_the_future_is_refused(self, library):
        (library.path / SETTINGS).write_text('format_version = 4\nnothing = "that we know"\n')
        with pytest.raises(LibraryError, match="library format 4, this visil reads 3; update one"):
            Library.open(library.path)

    def test_a_format_of_the_past_says_what_brings_it_up_to_date(self, library):
        path = library.path / SETTINGS
        path.write_text(path.read_text().replace("format_version = 3", "format_version = 1"))
        remedy = rf"`visil verify --repair --library {library.path}` brings it up to date"
        with pytest.raises(LibraryError, match=rf"library format 1, this visil reads 3; {remedy}"):
            Library.open(library.path)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"format_version = ",
            b"\xff\xfe\x00",
            b"format_version = 3",
            b'format_version = 3\nbundle = "x"',
            b"format_version = 3\n[bundle]\nname = 'x'",
            b"format_version = 3\nfiles = 3\n[bundle]\nname = 'x'\nhash = 'x'\n[sampling]\nmode = 'time'",
            b"format_version = 3\n[bundle]\nname = 'x'\nhash = 'x'\n[files]\ntable = '../x'\n[sampling]\nmode = 'time'",
            b"format_version = 3\n[bundle]\nname = 'x'\nhash = 3\n[sampling]\nmode = 'time'",
            b"format_version = 3\n[bundle]\nname = 'x'\nhash = 'x'\n[sampling]\nmode = 'tyme'",
        ],
    )
    def test_damaged_settings_are_a_clear_error(self, library, content):
        (library.path / SETTINGS).write_bytes(content)
        puts_back = f"`visil verify --repair --library {library.path}` puts back its copy"
        with pytest.raises(LibraryError, match=rf"library\.toml: cannot be read .*; {puts_back}"):
            Library.open(library.path)
        shutil.rmtree(library.path / SECOND)
        with pytest.raises(LibraryError, match=r"library\.toml: cannot be read .*; restore it, or choose a new folder"):
            Library.open(library.path)

    def test_a_setting_that_is_missing_is_named(self, library):
        (library.path / SETTINGS).write_text("")
        with pytest.raises(LibraryError, match=r"cannot be read \(format_version is missing\)"):
            Library.open(library.path)

    def test_an_unknown_sampling_is_named_with_the_known_ones(self, library):
        path = library.path / SETTINGS
        path.write_text(path.read_text().replace('mode = "time"', 'mode = "tyme"'))
        with pytest.raises(LibraryError, match=r"cannot be read \(sampling must be one of time, .*, got 'tyme'\)"):
            Library.open(library.path)

    def test_a_missing_or_damaged_bundle_is_a_clear_error(self, library):
        content = (library.path / BUNDLE).read_bytes()
        (library.path / BUNDLE).unlink()
        with pytest.raises(LibraryError, match=r"its bundle is unusable: .*no such bundle"):
            Library.open(library.path)
        (library.path / BUNDLE).write_bytes(content[: len(content) // 2])
        with pytest.raises(LibraryError, match=r"its bundle is unusable: .*not a readable bundle"):
            Library.open(library.path)
        (library.path / BUNDLE).write_bytes(content[:-4] + b"\0\0\0\0")
        with pytest.raises(LibraryError, match=r"its bundle is unusable: .*the bundle is damaged"):
            Library.open(library.path)

    def test_a_swapped_bundle_is_refused(self, library, model):
        model.bundle.save(library.path / BUNDLE)
        with pytest.raises(LibraryError, match="is not the bundle its videos were encoded with"):
            Library.open(library.path)

    def test_a_missing_table_is_a_clear_error(self, library):
        shutil.rmtree(library.path / TABLE)
        with pytest.raises(LibraryError, match=r"videos\.lance: the table is missing; restore it from a copy, or"):
            Library.open(library.path, device="cpu")

    def test_a_library_can_be_moved_and_named_by_a_relative_path(self, library, tmp_path, monkeypatch):
        put(library, "a")
        library.path.rename(tmp_path / "moved")
        monkeypatch.chdir(tmp_path)
        opened = Library.open("moved", device="cpu")
        monkeypatch.chdir(tmp_path / "moved")
        opened.remove(["a"])
        assert opened.list() == ()

    @not_as_root
    def test_a_read_only_library_can_be_read_and_says_that_it_cannot_be_written(self, library):
        put(library, "a")
        for path in (*library.path.rglob("*"), library.path):
            path.chmod(stat.S_IREAD | (stat.S_IEXEC if path.is_dir() else 0))
        opened = Library.open(library.path, device="cpu")
        assert list(opened.search("id:a")) == []
        with pytest.raises(LibraryError, match=r"cannot be written \(Permission denied\)"):
            opened.remove(["a"])


class TestSampling:
    """A library may sample its files in its own way; queries go by the bundle."""

    @pytest.fixture
    def of_keyframes(self, tmp_path, quick_model) -> Library:
        return Library.create(tmp_path / "keyframes", quick_model, sampling="keyframes")

    def test_is_that_of_the_bundle_unless_chosen(self, library, of_keyframes, quick_model):
        assert library.preprocessing == quick_model.settings.preprocessing
        assert of_keyframes.preprocessing == replace(quick_model.settings.preprocessing, sampling="keyframes")
        assert Library.open(of_keyframes.path, device="cpu").preprocessing == of_keyframes.preprocessing

    def test_is_used_for_its_files_and_not_for_queries(self, of_keyframes, clips, quick_model, tmp_path):
        copy = shutil.copy(clips / "clip_0.mp4", tmp_path / "copy.mp4")
        of_keyframes.add([clips], workers=1)
        assert {record.num_samples for record in of_keyframes.list()} == {1}  # each clip has one key frame
        assert quick_model.encode(clips / "clip_0.mp4").num_samples == 3
        assert of_keyframes.search(copy)[0].video == "clip_0.mp4"
        assert of_keyframes.verify() == []

    def test_stays_when_the_library_moves_and_may_be_changed_by_a_move(self, of_keyframes, clips, tmp_path, model):
        of_keyframes.add([clips / "clip_0.mp4"], workers=1)
        model.bundle.save(tmp_path / "model.safetensors")
        of_keyframes.reindex(tmp_path / "model.safetensors", workers=1)
        assert (of_keyframes.model.settings.name, of_keyframes.record("clip_0.mp4").num_samples) == ("mini", 1)
        of_keyframes.reindex(sampling="time", workers=1)
        assert of_keyframes.model.settings.name == "mini"
        assert of_keyframes.record("clip_0.mp4").num_samples == model.settings.preprocessing.min_samples

    def test_of_another_kind_than_asked_for_is_refused(self, library):
        with pytest.raises(
            LibraryError, match=r"sampled by 'time', not by 'keyframes'; .*--reindex --sampling keyframes"
        ):
            Library.open_or_create(library.path, sampling="keyframes", device="cpu")
        assert Library.open_or_create(library.path, sampling="time", device="cpu").list() == ()

    def test_that_does_not_exist_makes_no_library(self, tmp_path, quick_model):
        with pytest.raises(DataError, match="sampling must be one of time, "):
            Library.create(tmp_path / "new", quick_model, sampling="sometimes")
        assert not (tmp_path / "new").exists()


class TestOneObject:
    def test_sees_what_it_adds_and_removes_itself(self, library, clips, tmp_path):
        copy = shutil.copy(clips / "clip_0.mp4", tmp_path / "copy.mp4")
        assert list(library.search(copy)) == []
        library.add([clips / "clip_0.mp4"], workers=1)
        assert [match.video for match in library.search(copy)] == ["clip_0.mp4"]
        library.add([clips / "clip_1.mp4"], workers=1)
        assert [match.video for match in library.search("id:clip_0.mp4")] == ["clip_1.mp4"]
        library.remove(["clip_1.mp4"])
        assert list(library.search("id:clip_0.mp4")) == []
        assert [record.id for record in library.list()] == ["clip_0.mp4"]

    def test_keeps_its_version_until_it_refreshes_or_searches(self, library):
        put(library, "a")
        assert library.list() == ()
        library.refresh()
        assert [record.id for record in library.list()] == ["a"]
        put(library, "b")
        assert [match.video for match in library.search("id:a")] == ["b"]

    def test_says_what_it_is(self, library):
        assert repr(library) == f"Library({str(library.path)!r}, bundle 'quick', version {library.version})"


class TestRemove:
    def test_forgets_the_rows_and_leaves_the_files(self, library, clips):
        library.add([clips], workers=2)
        library.remove(["clip_0.mp4", "clip_1.mp4"])
        assert [record.id for record in library.list()] == [f"clip_{i}.mp4" for i in range(2, 6)]
        assert (clips / "clip_0.mp4").exists()

    def test_an_unknown_id_is_an_error_and_nothing_is_removed(self, library):
        put(library, "a")
        with pytest.raises(LibraryError, match="no video 'b' in the library; `visil list --library "):
            library.remove(["a", "b"])
        library.refresh()
        assert [record.id for record in library.list()] == ["a"]


def assert_ends(pid: int) -> None:
    """Wait for the end of a process that is no child of ours."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended, _, _ = select.select([process], [], [], 60)
    os.close(process)
    assert ended, f"process {pid} still runs"


class TestKilled:
    SCRIPT = """
import os, signal, sys
import visil.library.ingest
from visil import Library

visil.library.ingest.COMMIT_VIDEOS = 2

def die(progress):
    if progress.done == 5:  # two commits of two videos; the fifth waits for the third commit
        while len(Library.open(sys.argv[1], device="cpu").list()) < 4:
            pass  # the second is still being written
        for thread in os.listdir("/proc/self/task"):
            print(open(f"/proc/self/task/{thread}/children").read(), end="", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

Library.open(sys.argv[1], device="cpu").add([sys.argv[2]], workers=2, progress=die)
"""

    @pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are looked up in /proc")
    def test_a_process_killed_between_commits_leaves_a_library_that_verifies_and_goes_on(
        self, library, clips, tmp_path
    ):
        script = tmp_path / "add.py"  # without a main guard, as people write them
        script.write_text(self.SCRIPT)
        ended = subprocess.run(
            [sys.executable, script, library.path, clips], capture_output=True, text=True, check=False
        )
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        for worker in map(int, ended.stdout.split()):
            assert_ends(worker)
        again = Library.open(library.path, device="cpu")
        assert len(again.list()) == 4
        assert [finding for finding in again.verify() if finding.damage] == []  # sums may be lacking
        report = again.add([clips], workers=2)
        assert (len(report.added), report.unchanged) == (2, 4)
        assert list(again.verify()) == []

    def test_a_file_that_a_killed_commit_left_behind_is_ignored(self, library):
        put(library, "a")
        (library.path / TABLE / "data/half_written.lance").write_bytes(b"half")
        put(library, "b")
        assert [record.id for record in Library.open(library.path, device="cpu").list()] == ["a", "b"]

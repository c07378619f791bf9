"""A full disk, a read-only folder, a file system without links or locks: one clear line, and nothing is broken.

The first two are real mounts. No exFAT can be mounted here: its answers are given in its place.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.library.mounts import mounted
from visil.diagnosis import check_disk
from visil.errors import LibraryError, ModelError
from visil.library.library import Library
from visil.library.repairing import repair_library
from visil.library.settings import SETTINGS
from visil.model.model import Model

FULL = "No space left on device"
DISK_MB = 32  # room for two bundles


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk."""
    with mounted(["-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs"], tmp_path / "disk") as place:
        yield place


@pytest.fixture(scope="module")
def six_clips(made_clips: Path, tmp_path_factory: pytest.TempPathFactory, quick_model: Model) -> Path:
    """A library that nobody can change where it is shown."""
    path = tmp_path_factory.mktemp("disk") / "library"
    Library.create(path, quick_model).add([made_clips], workers=1)
    return path


@pytest.fixture
def read_only(six_clips: Path, tmp_path: Path) -> Iterator[Path]:
    """That library, on a disk that cannot be written."""
    with mounted(["--bind", str(six_clips)], tmp_path / "read_only") as place:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
        yield place


def fill(disk: Path, *, but_for: int) -> None:
    """Leave this many bytes free."""
    free = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(bytes(free - but_for))


class TestAFullDisk:
    @pytest.mark.parametrize("but_for", [0, 16384])
    def test_ends_indexing_with_one_line_and_what_is_committed_stays(
        self, disk, made_clips, quick_model, tmp_path, but_for
    ):
        library = Library.create(disk / "library", quick_model)
        library.add([made_clips / "clip_0.mp4"], workers=1)
        fill(disk, but_for=but_for)
        message = rf"library .*: cannot be written \({FULL}\); what was committed before is kept"
        with pytest.raises(LibraryError, match=message) as error:
            library.add([made_clips], workers=1)
        assert "\n" not in str(error.value)
        assert [record.id for record in library.list()] == ["clip_0.mp4"]
        assert library.verify() == []
        assert library.search(shutil.copy(made_clips / "clip_0.mp4", tmp_path / "copy.mp4"))[0].identical
        (disk / "filler").unlink()
        assert len(library.add([made_clips], workers=1).added) == 5
        assert library.verify() == []

    def test_ends_making_a_library_with_one_line_and_the_place_may_be_used_later(self, disk, quick_model):
        fill(disk, but_for=0)
        with pytest.raises((LibraryError, ModelError), match=FULL):
            Library.create(disk / "library", quick_model)
        (disk / "filler").unlink()
        assert Library.create(disk / "library", quick_model).list() == ()

    def test_keeps_the_old_generation_when_there_is_no_room_for_another(self, disk, made_clips, quick_model, tmp_path):
        library = Library.create(disk / "library", quick_model)
        library.add([made_clips], workers=1)
        fill(disk, but_for=100_000)
        with pytest.raises(ModelError, match=rf"model-2\.safetensors: cannot be written .*{FULL}"):
            library.reindex("mini", workers=1)
        assert library.search("id:clip_0.mp4")
        (disk / "filler").unlink()
        assert len(library.reindex("mini", workers=1).added) == 6

    def test_is_relieved_by_compacting_which_first_takes_away_what_nobody_needs(self, disk, made_clips, quick_model):
        library = Library.create(disk / "library", quick_model)
        for clip in sorted(made_clips.iterdir()):
            library.add([clip], workers=1)
        library.reindex("mini", workers=1)
        fill(disk, but_for=0)
        assert library.compact() > 1_000_000  # the bundle that was left behind
        assert library.verify() == []


class TestAReadOnlyFolder:
    def test_can_be_searched_listed_and_verified(self, read_only, made_clips, tmp_path):
        library = Library.open(read_only, device="cpu")
        assert library.search(shutil.copy(made_clips / "clip_3.mp4", tmp_path / "copy.mp4"))[0].identical
        assert len(library.list()) == 6
        assert library.verify() == []

    @pytest.mark.parametrize(
        "write",
        [
            lambda library, clips: library.add([clips / "clip_0.mp4"], workers=1),
            lambda library, clips: library.remove("clip_0.mp4"),
            lambda library, clips: library.compact(),
            lambda library, clips: library.reindex("mini", workers=1),
            lambda library, clips: repair_library(library.path),
        ],
        ids=["add", "remove", "compact", "reindex", "repair"],
    )
    def test_says_that_it_cannot_be_written(self, read_only, made_clips, write: Callable[[Library, Path], object]):
        library = Library.open(read_only, device="cpu")
        with pytest.raises(LibraryError, match=r"cannot be written \(Read-only file system\)"):
            write(library, made_clips)
        assert len(Library.open(read_only, device="cpu").list()) == 6

    def test_is_no_place_for_a_new_library(self, read_only, quick_model):
        with pytest.raises(LibraryError, match=r"a library cannot be made here \(Read-only file system\)"):
            Library.create(read_only / "new", quick_model)
        assert not (read_only / "new" / SETTINGS).exists()


LACKING = {
    "links": ("os.link", errno.EPERM, r"this disk has no hard links, which every commit needs \(exFAT, FAT and some"),
    "locks": ("fcntl.flock", errno.ENOSYS, r"this disk has no file locks, without which two processes could write"),
    "renames": ("pathlib.Path.replace", errno.ENOTSUP, "this disk cannot rename a file over another, which every"),
}
ELSEWHERE = r"; keep the library on another disk \(--library DIR, or VISIL_LIBRARY\); videos may lie on this one"


class TestADiskThatLacksSomething:
    @pytest.fixture(params=LACKING)
    def lacking(self, request, monkeypatch) -> str:
        """What is said; from here on the disk answers as such a one does."""
        name, number, said = LACKING[request.param]

        def refuse(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(name, refuse)
        return said

    def test_is_no_place_for_a_new_library_and_nothing_is_left_there(self, tmp_path, quick_model, lacking):
        (tmp_path / "empty").mkdir()
        for place in ("empty", "a/b/c"):
            with pytest.raises(LibraryError, match=f"a library cannot be made here: {lacking}.*{ELSEWHERE}"):
                Library.create(tmp_path / place, quick_model)
        assert [entry.name for entry in tmp_path.iterdir()] == ["empty"]
        assert list((tmp_path / "empty").iterdir()) == []

    def test_is_what_the_doctor_finds(self, tmp_path, lacking):
        _, found = check_disk(tmp_path / "library")
        assert (found.check, found.state) == ("disk commits", "wrong")
        assert re.search(lacking, found.found) and found.remedy.startswith("keep the library on another disk")

    def test_can_be_searched_where_a_library_was_copied_to_it(self, six_clips, lacking):
        assert Library.open(six_clips, device="cpu").search("id:clip_0.mp4")


def test_a_library_on_a_disk_without_locks_is_not_written_and_no_warning_is_shown(six_clips, tmp_path, monkeypatch):
    path = Path(shutil.copytree(six_clips, tmp_path / "library"))
    library = Library.open(path, device="cpu")
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSYS, "not implemented")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(LibraryError, match=rf"{LACKING['locks'][2]}.*{ELSEWHERE}"):
            library.remove("clip_0.mp4")
    assert len(Library.open(path, device="cpu").list()) == 6


def test_a_commit_that_a_disk_without_links_refuses_says_why(six_clips, tmp_path, monkeypatch):
    path = Path(shutil.copytree(six_clips, tmp_path / "library"))
    library = Library.open(path, device="cpu")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("LanceError(IO): Generic LocalFileSystem error: Operation not permitted (os error 1)")

    monkeypatch.setattr("lance.LanceDataset.delete", refuse)
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "not permitted")))
    with pytest.raises(
        LibraryError, match=rf"cannot be written \({LACKING['links'][2]}.*what was committed.*{ELSEWHERE}"
    ):
        library.remove("clip_0.mp4")


@pytest.mark.parametrize("step", ["create_table", "write_settings"])
def test_a_library_that_could_not_be_made_leaves_nothing_behind(tmp_path, quick_model, monkeypatch, step):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, FULL)

    (tmp_path / "mine").mkdir()
    for place in ("mine", "new/library"):
        with monkeypatch.context() as patch:
            patch.setattr(f"visil.library.library.{step}", full)
            with pytest.raises(LibraryError, match=rf"a library cannot be made here \({FULL}\)"):
                Library.create(tmp_path / place, quick_model)
    assert [entry.relative_to(tmp_path).as_posix() for entry in tmp_path.rglob("*")] == ["mine"]
    assert Library.create(tmp_path / "mine", quick_model).list() == ()

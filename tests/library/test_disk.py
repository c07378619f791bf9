"""A disk that is full and a folder that is read-only, tried on real mounts: one clear line, and nothing is broken."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from visil.errors import LibraryError, ModelError
from visil.library.library import Library
from visil.library.repairing import repair_library
from visil.library.settings import SETTINGS
from visil.model.model import Model

FULL = "No space left on device"
DISK_MB = 32  # room for two bundles


def mounted(arguments: list[str], place: Path) -> None:
    """Mount something, or skip the test where that is not allowed."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command here")
    ended = subprocess.run(["mount", *arguments, str(place)], capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.skip(f"mounting needs root: {ended.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted(["-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs"], place)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def six_clips(made_clips: Path, tmp_path_factory: pytest.TempPathFactory, quick_model: Model) -> Path:
    """A library that nobody can change where it is shown."""
    path = tmp_path_factory.mktemp("disk") / "library"
    Library.create(path, quick_model).add([made_clips], workers=1)
    return path


@pytest.fixture
def read_only(six_clips: Path, tmp_path: Path) -> Iterator[Path]:
    """That library, on a disk that cannot be written."""
    place = tmp_path / "read_only"
    place.mkdir()
    mounted(["--bind", str(six_clips)], place)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


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

"""second/: what nothing else can restore is copied with every commit, and put back if the copy is what was written."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import pytest

import visil.library.second as second
import visil.library.verify as verify_module
from tests.library.made import encoded_video, facts_of
from tests.library.test_bit_rot import turn
from visil.errors import LibraryError
from visil.library.lance_files import manifests, newest_version
from visil.library.library import Library
from visil.library.repairing import repair_library
from visil.library.second import SECOND, copy_of
from visil.library.settings import BUNDLE, SETTINGS, TABLE, read_any_format
from visil.library.store import FAILED, OK, Store, StoredVideo
from visil.library.sums import SUMS, Sums
from visil.library.verify import Finding
from visil.model.model import Model

FRAMES = {"a": 40, "b": 30, "c": 35, "d": 3}  # 83 kB of vectors in a


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, quick_model: Model) -> Path:
    """Videos a to c in one file of rows, d in another; d is replaced, c removed. Their files are there."""
    folder = tmp_path_factory.mktemp("second")
    library = Library.create(folder / "library", quick_model)
    store = Store(library.path / TABLE, quick_model.dim)
    videos = []
    for seed, (id, num_frames) in enumerate(FRAMES.items()):
        (folder / f"{id}.mp4").write_text(id)
        encoded = encoded_video(num_frames, seed=seed, dim=quick_model.dim, num_regions=9)
        videos.append(StoredVideo(id, facts_of(folder / f"{id}.mp4"), encoded))
    store.append(videos[:3])
    store.append(videos[3:])
    store.put(videos[3:])
    library.remove("c")
    return library.path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    """A copy of that library."""
    return Path(shutil.copytree(made, tmp_path / "library"))


def opened(path: Path) -> Library:
    return Library.open(path, device="cpu")


def needed(path: Path) -> list[Path]:
    """All files that have a copy."""
    return [path / SETTINGS, *Store(path / TABLE, 128).files()]


def newest_manifest(path: Path) -> Path:
    return manifests(path / TABLE)[newest_version(path / TABLE)]


def deletions(path: Path) -> Path:
    (file,) = (file for file in needed(path) if file.parent.name == "_deletions" and in_file_of(path, "a", file))
    return file


def in_file_of(path: Path, id: str, file: Path) -> bool:
    (fragment,) = (f for f in lance.dataset(str(path / TABLE)).get_fragments() if id in f.to_table()["id"].to_pylist())
    names = [part.path for part in fragment.data_files()]
    return file.name in names or str(file).endswith(str(fragment.deletion_file()))


def rows_of(path: Path, id: str) -> Path:
    (file,) = (file for file in needed(path) if file.parent.name == "data" and in_file_of(path, id, file))
    return file


def contents(path: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


class TestCopies:
    def test_are_of_settings_and_of_all_that_the_newest_version_rests_on(self, path):
        copies = {file for file in (path / SECOND).rglob("*") if file.is_file()}
        assert copies == {copy_of(file, path) for file in needed(path)}
        for file in needed(path):
            if file.parent.name != "data":
                assert copy_of(file, path).read_bytes() == file.read_bytes()

    def test_of_files_of_rows_leave_the_vectors_out(self, path):
        file = rows_of(path, "a")
        ((start, end),) = Sums(path).of(file).bulk
        content = file.read_bytes()
        assert copy_of(file, path).read_bytes() == content[:start] + content[end:]

    def test_are_made_and_dropped_with_the_commits(self, path):
        library = opened(path)
        library.remove("d")
        library.compact()
        copies = {file for file in (path / SECOND).rglob("*") if file.is_file()}
        assert copies == {copy_of(file, path) for file in needed(path)}
        assert library.verify() == []

    def test_of_a_library_that_has_none_are_made_by_the_next_write_and_verify_says_so(self, path):
        shutil.rmtree(path / SECOND)
        (finding,) = opened(path).verify()
        assert (finding.id, finding.damage) == (SECOND, False)
        assert finding.problem == f"lacks the copies of {len(needed(path))} files; the next write makes them"
        library = opened(path)
        library.remove("d")
        assert library.verify() == []

    def test_lacking_one_is_said_of_one_file(self, path):
        copy_of(path / SETTINGS, path).unlink()
        (finding,) = opened(path).verify()
        assert finding.problem == "lacks the copy of 1 file; the next write makes it"

    def test_that_were_not_written_to_the_end_are_made_again(self, path):
        for file in needed(path):
            copy_of(file, path).write_bytes(b"")
        library = opened(path)
        library.remove("d")
        assert library.verify() == []

    def test_that_are_damaged_are_named_and_a_repair_makes_them_again(self, path):
        copies = [copy_of(file, path) for file in needed(path)]
        for copy in copies:
            turn(copy, 60)
        findings = opened(path).verify()
        assert {finding.id for finding in findings} == {copy.relative_to(path).as_posix() for copy in copies}
        for finding in findings:
            told = f"is no copy of its file; `visil verify --repair --library {path}` makes it again"
            assert (finding.problem, finding.damage) == (told, False)
        assert repair_library(path) == [f"second copies made again: {len(copies)}"]
        assert opened(path).verify() == []

    def test_that_a_failing_disk_does_not_give_back_are_made_again(self, path, monkeypatch):
        copy, open_ = copy_of(newest_manifest(path), path), Path.open

        def fail(file: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if file == copy and mode == "rb":
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
            return open_(file, mode, *arguments, **options)

        with monkeypatch.context() as failing:
            failing.setattr(Path, "open", fail)
            (finding,) = opened(path).verify()
            assert (finding.id, finding.damage) == (copy.relative_to(path).as_posix(), False)
            assert repair_library(path) == ["second copies made again: 1"]
        assert opened(path).verify() == []

    def test_are_not_missed_by_a_reader_beside_whom_another_process_writes(self, path, monkeypatch):
        reader, check_copies = opened(path), verify_module.check_copies

        def check(store: Store) -> list[Finding]:
            opened(path).remove("d")
            return check_copies(store)

        monkeypatch.setattr(verify_module, "check_copies", check)
        assert reader.verify() == []

    def test_are_not_made_of_what_is_damaged(self, path):
        before = contents(path / SECOND)
        file = rows_of(path, "a")
        turn(file, file.stat().st_size - 100)
        copy_of(file, path).write_bytes(b"")
        second.renew_copies(Sums(path), [file])
        assert copy_of(file, path).read_bytes() == b""
        assert len(contents(path / SECOND)) == len(before)

    def test_follow_settings_that_are_written_anew(self, path, model):
        library = opened(path)
        library.remove(["a", "b", "d"])
        library.reindex("mini")
        assert copy_of(path / SETTINGS, path).read_bytes() == (path / SETTINGS).read_bytes()
        assert library.verify() == []


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def grown(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"more")


class TestARepair:
    @pytest.mark.parametrize("damage", [lambda file: turn(file, 100), cut_off, grown, Path.unlink])
    @pytest.mark.parametrize("find", [lambda path: path / SETTINGS, newest_manifest, deletions], ids=["s", "v", "d"])
    def test_puts_back_what_was_written(self, path, find, damage):
        before, file = contents(path), find(path)
        damage(file)
        with pytest.raises(LibraryError, match="`visil verify --repair --library "):
            opened(path).list()
        problem = "was damaged" if file.exists() else "was gone"
        name = file.relative_to(path).as_posix()
        assert repair_library(path) == [f"{name} {problem}: its second copy is put back"]
        assert contents(path) == before
        assert opened(path).verify() == []

    def test_puts_back_the_only_version_after_compacting(self, path):
        opened(path).compact()
        (manifest,) = manifests(path / TABLE).values()
        turn(manifest, 100)
        assert len(repair_library(path)) == 1
        assert {record.id: record.status for record in opened(path).list()} == dict.fromkeys("abd", OK)
        assert opened(path).verify() == []

    @pytest.mark.parametrize("from_end", [1, 20, 36, 60, 100, 200, 300, 1000])
    def test_puts_back_the_end_of_a_file_of_rows_at_no_cost(self, path, from_end):
        before, file = contents(path), rows_of(path, "a")
        turn(file, file.stat().st_size - from_end)
        (done,) = repair_library(path)
        assert done == f"{TABLE}/data/{file.name} was damaged: its second copy is put back"
        assert contents(path) == before

    def test_puts_back_all_but_vectors_that_are_damaged_too(self, path):
        file = rows_of(path, "a")
        ((start, _),) = Sums(path).of(file).bulk
        turn(file, 20)
        turn(file, start + 1000)
        assert len(repair_library(path)) == 3  # its file, the video, the sum of what is left
        assert {record.id: record.status for record in opened(path).list()} == {"a": FAILED, "b": OK, "d": OK}

    @pytest.mark.parametrize("damage", [cut_off, Path.unlink])
    def test_knows_which_videos_a_file_of_rows_held_whose_vectors_are_lost(self, path, damage):
        damage(rows_of(path, "a"))
        repair_library(path)
        library = opened(path)
        statuses = {record.id: record.status for record in library.list()}
        assert (sorted(statuses), statuses["b"], statuses["d"]) == ([*"abd"], FAILED, OK)
        assert library.record("a").file.path.endswith("a.mp4")
        assert not any(finding.damage for finding in library.verify())

    def test_puts_back_nothing_that_its_sum_does_not_vouch_for(self, path):
        for find in (newest_manifest, deletions, lambda path: rows_of(path, "a")):
            file = find(path)
            turn(copy_of(file, path), 60)
            assert second.put_back(Sums(path), [file]) == []
            content = file.read_bytes()
            turn(file, 60)
            damaged = file.read_bytes()
            assert second.put_back(Sums(path), [file]) == []
            assert file.read_bytes() == damaged
            file.write_bytes(content)

    @pytest.mark.parametrize("write", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
    def test_is_what_every_command_asks_for_when_the_settings_are_gone(
        self, path, quick_model, write: Callable[[Path], object]
    ):
        write(path / SETTINGS)
        asked = rf"library\.toml: .*; `visil verify --repair --library {path}` puts back its copy"
        with pytest.raises(LibraryError, match=asked):
            opened(path)
        with pytest.raises(LibraryError, match=asked):
            Library.open_or_create(path)
        with pytest.raises(LibraryError, match="there is a library already"):
            Library.create(path, quick_model)
        repair_library(path)
        assert opened(path).verify() == []

    def test_finds_the_bundle_again_whose_name_was_damaged(self, path):
        turn(path / SETTINGS, b"model.safetensors", bit=0)
        repair_library(path)
        assert read_any_format(path).bundle_file == BUNDLE
        assert sorted(file.name for file in path.glob("*.safetensors")) == [BUNDLE]


@pytest.mark.parametrize(
    "find",
    [
        lambda path: path / SUMS,
        lambda path: path / SETTINGS,
        lambda path: copy_of(path / SETTINGS, path),
        newest_manifest,
        lambda path: copy_of(newest_manifest(path), path),
        lambda path: rows_of(path, "a"),
    ],
    ids=["sums", "settings", "their copy", "version", "its copy", "rows"],
)
def test_a_folder_in_the_place_of_a_file_is_to_be_moved_away(path, find):
    file, aside = find(path), path.parent / "aside"
    file.rename(aside)
    file.mkdir()
    (file / "not ours").touch()
    for write in (repair_library, lambda path: opened(path).remove("a")):
        with pytest.raises(LibraryError, match=re.escape(f"(a folder lies in the place of {file}: move it away)")):
            write(path)
    assert [entry.name for entry in file.iterdir()] == ["not ours"]
    shutil.rmtree(file)
    aside.rename(file)
    repair_library(path)
    assert opened(path).verify() == []


class TestLostSettings:
    """They are gone, and no copy that a sum vouches for is there: the videos still are."""

    def told(self, path: Path, remedy: str, model: Model) -> None:
        message = f"{path}: holds videos, but no {SETTINGS}; {remedy}, or choose another folder"
        for command in (opened, repair_library, Library.open_or_create, lambda path: Library.create(path, model)):
            with pytest.raises(LibraryError, match=f"^{re.escape(message)}$"):
                command(path)

    def test_are_taken_by_hand_from_a_copy_that_no_sum_vouches_for(self, path, quick_model):
        (path / SUMS).unlink()
        (path / SETTINGS).unlink()
        self.told(path, f"move {copy_of(path / SETTINGS, path)} to {path / SETTINGS}", quick_model)
        copy_of(path / SETTINGS, path).rename(path / SETTINGS)
        repair_library(path)
        assert opened(path).verify() == []

    @pytest.mark.parametrize("table", [TABLE, "videos-2.lance"])
    def test_are_to_be_restored_if_there_is_no_copy(self, path, quick_model, table):
        (path / SETTINGS).unlink()
        copy_of(path / SETTINGS, path).unlink()
        (path / TABLE).rename(path / table)
        self.told(path, f"restore {SETTINGS} from a copy", quick_model)
        shutil.rmtree(path / table / "data")
        self.told(path, f"restore {SETTINGS} from a copy", quick_model)  # which videos there were is in second/

"""`verify --repair`: what is whole stays as it is, what is not is encoded again, and no loss is silent."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

import tests.library.made as made_module
import visil.library.ingest as ingest_module
import visil.library.store as store_module
import visil.library.sums as sums_module
from tests.library.made import Row, as_format_2, encoded_video, file_facts
from visil.errors import LibraryError
from visil.library.library import Library
from visil.library.repairing import repair_library
from visil.library.second import SECOND
from visil.library.settings import BUNDLE, SETTINGS, TABLE
from visil.library.store import FAILED, OK, Store, StoredVideo
from visil.model.model import Model

DIM = 128  # of the quick model
ALL = [f"clip_{i}.mp4" for i in range(6)]


@pytest.fixture(scope="module")
def made(made_clips: Path, tmp_path_factory: pytest.TempPathFactory, quick_model: Model) -> Path:
    """Six real clips in commits of two, so that each pair lies in a file of its own."""
    path = tmp_path_factory.mktemp("repair") / "library"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest_module, "COMMIT_VIDEOS", 2)
        Library.create(path, quick_model).add([made_clips], workers=1)
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    """A copy of that library that has lost its second copies: what is damaged here is damaged for good."""
    path = Path(shutil.copytree(made, tmp_path / "library"))
    shutil.rmtree(path / SECOND)
    return path


def uri(path: Path) -> str:
    return str(path / TABLE)


def statuses(path: Path) -> dict[str, str]:
    return {record.id: record.status for record in Library.open(path, device="cpu").list()}


def versions(path: Path) -> dict[int, Path]:
    """The files that are versions of the table, by number; Lance counts their names down."""
    found = {2**64 - 1 - int(file.stem): file for file in (path / TABLE / "_versions").glob("*.manifest")}
    return dict(sorted(found.items()))


def file_of(path: Path, id: str) -> Path:
    """The file of the table that holds a video."""
    for fragment in lance.dataset(uri(path)).get_fragments():
        if id in fragment.to_table(columns=["id"])["id"].to_pylist():
            return path / TABLE / "data" / fragment.data_files()[0].path
    raise AssertionError(f"no file holds {id}")


def hole_beside_the_ids(path: Path, id: str) -> None:
    """Overwrite a piece of the file that holds a video such that its ids and paths can be read and its rows cannot."""
    file = file_of(path, id)
    content = file.read_bytes()
    for start in range(0, len(content), 100):
        file.write_bytes(content[:start] + b"\xff" * 64 + content[start + 64 :])
        (fragment,) = (f for f in lance.dataset(uri(path)).get_fragments() if f.data_files()[0].path == file.name)
        with suppress(ValueError, OSError, RuntimeError):
            fragment.to_table(columns=["id", "stretch", "num_stretches", "path", "root", "size_bytes"])
            try:
                fragment.to_table()
            except (ValueError, OSError, RuntimeError):
                return
    raise AssertionError("no such piece")


def tamper(path: Path, change: Callable[[Row], None], *, id: str) -> None:
    """Change a row behind the back of the library."""
    made_module.tamper(path, change, id=id, dim=DIM)


def assert_encoded_again(path: Path, made: Path, clips: Path, ids: list[str]) -> None:
    """`index` encodes these and no others, and then everything is as it was before the damage."""
    library, before = Library.open(path, device="cpu"), Library.open(made, device="cpu")
    report = library.add([clips], workers=1)
    assert sorted(report.added + report.replaced) == ids
    assert library.verify() == []
    for id in ALL:
        assert library.record(id) == before.record(id)
        np.testing.assert_allclose(
            library.encoded(id).region_vectors.vectors.astype(float),
            before.encoded(id).region_vectors.vectors.astype(float),
            rtol=0,
            atol=2**-10,
        )


def test_the_sums_are_read_as_often_whatever_the_number_of_files(path, monkeypatch):
    def times_read() -> int:
        with monkeypatch.context() as patch:
            read, parsed = [], sums_module._parsed
            patch.setattr(sums_module, "_parsed", lambda content: (read.append(1), parsed(content))[1])
            repair_library(path)
            return len(read)

    of_many_files = times_read()
    Library.open(path, device="cpu").compact()
    assert len(list((path / TABLE / "data").iterdir())) == 1
    assert times_read() == of_many_files


def test_a_library_that_keeps_its_promises_is_left_alone(path):
    before = Library.open(path, device="cpu").version
    assert repair_library(path) == []
    assert Library.open(path, device="cpu").version == before


def test_only_one_writes(path, made_clips):
    def repair_beside(told: object) -> None:
        with pytest.raises(LibraryError, match="another process is writing to it"):
            repair_library(path)

    Library.open(path, device="cpu").add([made_clips], workers=1, progress=repair_beside)


def test_a_folder_without_a_library_is_left_to_index(tmp_path):
    with pytest.raises(LibraryError, match="no library here"):
        repair_library(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_mistyped_folder_is_not_made(tmp_path):
    with pytest.raises(LibraryError, match="no library here"):
        repair_library(tmp_path / "mistyped")
    assert not (tmp_path / "mistyped").exists()


class TestRows:
    @pytest.mark.parametrize(
        "change",
        [
            lambda row: row.update(vectors=row["vectors"][:-2]),
            lambda row: row.update(descriptors=[]),
            lambda row: row.update(times_s=row["times_s"][::-1]),
            lambda row: row.update(num_stretches=2),
        ],
        ids=["vectors", "descriptors", "times", "stretches"],
    )
    def test_a_damaged_video_becomes_a_failure_that_index_encodes_again(self, path, made, made_clips, change):
        tamper(path, change, id="clip_2.mp4")
        (done,) = repair_library(path)
        assert re.fullmatch(
            r"video 'clip_2\.mp4' was damaged \(.*\); `visil index .*/clip_2\.mp4 --library .*` encodes it again", done
        )
        assert statuses(path) == dict.fromkeys(ALL, OK) | {"clip_2.mp4": FAILED}
        (finding,) = Library.open(path, device="cpu").verify()
        damaged = "its rows in the library were damaged; index it again"
        assert (finding.problem, finding.damage) == (f"{damaged}: {made_clips / 'clip_2.mp4'}", False)
        assert_encoded_again(path, made, made_clips, ["clip_2.mp4"])

    def test_a_damaged_video_keeps_its_id_and_path_while_its_file_is_away(self, path):
        tamper(path, lambda row: row.update(path="/mnt/drive/a.mp4", root="/mnt/drive", vectors=b""), id="clip_2.mp4")
        repair_library(path)
        record = Library.open(path, device="cpu").record("clip_2.mp4")
        assert (record.file.path, record.file.root) == ("/mnt/drive/a.mp4", "/mnt/drive")
        assert (record.status, record.reason) == (FAILED, "its rows in the library were damaged; index it again")

    def test_a_row_that_is_there_twice_is_dropped_without_encoding_anything(self, path, made, made_clips):
        rows = lance.dataset(uri(path)).to_table(filter="id = 'clip_2.mp4'")
        lance.write_dataset(rows, uri(path), mode="append")
        assert repair_library(path) == ["rows that were there twice dropped: 1"]
        assert_encoded_again(path, made, made_clips, [])

    @pytest.mark.parametrize("lost", [0, 1])
    def test_rows_of_no_whole_video_become_one_failure(self, path, quick_model, monkeypatch, lost):
        monkeypatch.setattr(store_module, "STRETCH_FRAMES", 5)
        monkeypatch.setattr("visil.library.verify.STRETCH_FRAMES", 5)
        long = encoded_video(12, dim=quick_model.dim, num_regions=9)
        Store(path / TABLE, quick_model.dim).put([StoredVideo("long", file_facts("/long"), long)])
        lance.dataset(uri(path)).delete(f"id = 'long' AND stretch = {lost}")
        (done,) = repair_library(path)
        assert "video 'long' was damaged (stretches" in done
        assert statuses(path)["long"] == FAILED
        assert lance.dataset(uri(path)).count_rows("id = 'long'") == 1

    @pytest.mark.parametrize(("damaged", "whole"), [("clip_2.mp4", "clip_4.mp4"), ("clip_4.mp4", "clip_2.mp4")])
    def test_of_two_ids_for_one_file_the_one_without_damage_stays(self, path, damaged, whole):
        file = Library.open(path, device="cpu").record("clip_2.mp4").file.path
        tamper(path, lambda row: row.update(path=file), id="clip_4.mp4")
        tamper(path, lambda row: row.update(vectors=b""), id=damaged)
        assert repair_library(path) == [f"video {damaged!r} dropped: {whole!r} stands for its file"]
        assert statuses(path) == {id: OK for id in ALL if id != damaged}

    def test_of_two_ids_for_one_file_one_stays(self, path):
        other = Library.open(path, device="cpu").record("clip_2.mp4").file.path
        tamper(path, lambda row: row.update(path=other), id="clip_4.mp4")
        assert repair_library(path) == ["video 'clip_4.mp4' dropped: 'clip_2.mp4' stands for its file"]
        assert sorted(statuses(path)) == [id for id in ALL if id != "clip_4.mp4"]


class TestFilesOfTheTable:
    @pytest.mark.parametrize("kind", ["cut in half", "zeroed", "gone", "empty"])
    def test_a_file_that_cannot_be_read_costs_its_own_videos_and_says_how_many(self, path, made, made_clips, kind):
        file = file_of(path, "clip_2.mp4")
        content = file.read_bytes()
        if kind == "gone":
            file.unlink()
        else:
            file.write_bytes(
                {"cut in half": content[: len(content) // 2], "zeroed": bytes(len(content))}.get(kind, b"")
            )
        with pytest.raises(LibraryError, match=r"the table is damaged .*; `visil verify --repair --library .*` saves"):
            Library.open(path, device="cpu").list()
        content_of = {file: file.read_bytes() for file in (path / TABLE).rglob("*") if file.is_file()}
        asked = (
            r"2 of 2 rows in damaged files of the table \(1\) cannot be saved, since nobody knows which videos "
            r"they were, or which were deleted: "
            rf"`visil verify --repair --drop-rows 2 --library {path}` gives them up, `visil index FOLDER... --library "
            rf"{path}` with all your folders encodes them again"
        )
        for drop_rows in (None, 1, 3):
            with pytest.raises(LibraryError, match=asked):
                repair_library(path, drop_rows=drop_rows)
        assert content_of == {file: file.read_bytes() for file in (path / TABLE).rglob("*") if file.is_file()}
        (done,) = repair_library(path, drop_rows=2)
        assert done == "damaged files of the table replaced: 1; 2 of 2 rows of them are lost, as agreed"
        assert_encoded_again(path, made, made_clips, ["clip_2.mp4", "clip_3.mp4"])

    def test_a_file_of_which_ids_and_paths_can_be_read_keeps_them(self, path, made, made_clips):
        hole_beside_the_ids(path, "clip_2.mp4")
        (done,) = repair_library(path)
        assert done == "damaged files of the table replaced: 1; every row of them is known"
        found = statuses(path)
        assert sorted(found) == ALL
        failed = [id for id in ALL if found[id] == FAILED]
        assert failed and set(failed) <= {"clip_2.mp4", "clip_3.mp4"}
        assert_encoded_again(path, made, made_clips, failed)

    def test_no_rows_are_given_up_that_can_be_read(self, path):
        with pytest.raises(LibraryError, match="every row of the table can be read; there is no need to drop any"):
            repair_library(path, drop_rows=1)
        hole_beside_the_ids(path, "clip_2.mp4")
        with pytest.raises(LibraryError, match="every row of the table can be read; there is no need to drop any"):
            repair_library(path, drop_rows=1)

    @pytest.mark.parametrize(("place", "agreed"), [("data", {"drop_rows": 2}), ("_versions", {"to_version": 3})])
    def test_a_file_that_the_system_does_not_let_it_read_is_no_damage(self, path, place, agreed):
        """Too many open files, no permission, a failing disk: here a link to itself stands for all of them."""
        file = file_of(path, "clip_2.mp4") if place == "data" else versions(path)[max(versions(path))]
        content = file.read_bytes()
        file.unlink()
        file.symlink_to(file)
        before = sorted((path / TABLE).rglob("*"))
        refused = r"videos\.lance: the system does not let it be read \(Too many levels of symbolic links\)"
        for told in ({}, agreed):
            with pytest.raises(LibraryError, match=refused):
                repair_library(path, **told)
        assert sorted((path / TABLE).rglob("*")) == before
        file.unlink()
        file.write_bytes(content)
        assert repair_library(path) == []

    def test_rows_are_read_and_written_one_at_a_time(self, path, monkeypatch):
        hole_beside_the_ids(path, "clip_2.mp4")
        hole_beside_the_ids(path, "clip_4.mp4")
        written: list[int] = []
        write_fragments = lance.fragment.write_fragments

        def write(rows: pa.RecordBatchReader, *arguments: Any) -> object:
            def watched() -> Iterator[pa.RecordBatch]:
                for batch in rows:
                    written.append(batch.num_rows)
                    yield batch

            return write_fragments(pa.RecordBatchReader.from_batches(rows.schema, watched()), *arguments)

        monkeypatch.setattr(lance.fragment, "write_fragments", write)
        (done,) = repair_library(path)
        assert done == "damaged files of the table replaced: 2; every row of them is known"
        assert written == [1, 1, 1, 1]

    def test_removed_videos_stay_removed(self, path):
        Library.open(path, device="cpu").remove("clip_2.mp4")
        hole_beside_the_ids(path, "clip_3.mp4")
        repair_library(path)
        assert sorted(statuses(path)) == [id for id in ALL if id != "clip_2.mp4"]

    def test_a_table_that_is_gone_cannot_be_mended(self, path):
        shutil.rmtree(path / TABLE)
        with pytest.raises(LibraryError, match=r"the table is missing; restore it from a copy, or index into a new"):
            repair_library(path)


class TestVersions:
    @pytest.fixture(params=["cut in half", "zeroed", "empty"])
    def broken(self, request, path) -> Path:
        """The newest version cannot be opened; it was the commit of clips 4 and 5."""
        newest = versions(path)[max(versions(path))]
        content = newest.read_bytes()
        damage = {"cut in half": content[: len(content) // 2], "zeroed": bytes(len(content)), "empty": b""}
        newest.write_bytes(damage[request.param])
        return path

    def test_an_older_one_is_offered_with_what_it_holds_and_never_taken_unasked(self, broken, made, made_clips):
        with pytest.raises(LibraryError, match=r"videos\.lance: .*; `visil verify --repair --library .*` saves"):
            Library.open(broken, device="cpu")
        newest = max(versions(broken))
        offer = (
            rf"version {newest} of the table is damaged; version {newest - 1} holds 4 videos: "
            rf"`visil verify --repair --to-version {newest - 1} --library {broken}` goes back to it, "
            rf"`visil index PATH... --library {broken}` encodes what came later"
        )
        with pytest.raises(LibraryError, match=offer):
            repair_library(broken)
        (done,) = repair_library(broken, to_version=newest - 1)
        assert done.startswith(f"went back from version {newest} to {newest - 1}, which holds 4 videos")
        assert_encoded_again(broken, made, made_clips, ["clip_4.mp4", "clip_5.mp4"])

    def test_no_other_version_can_be_asked_for(self, path, broken):
        with pytest.raises(LibraryError, match=r"version \d of the table can be opened; there is no need of another"):
            repair_library(broken, to_version=2)

    def test_a_table_that_opens_is_not_taken_back(self, path):
        with pytest.raises(LibraryError, match=r"version \d of the table can be opened; there is no need of another"):
            repair_library(path, to_version=2)

    def test_without_any_version_there_is_nothing_to_mend(self, path):
        for manifest in versions(path).values():
            manifest.write_bytes(b"")
        with pytest.raises(
            LibraryError, match="no version of the table can be opened; restore it, or index into a new"
        ):
            repair_library(path)


class TestBundle:
    @pytest.fixture(params=["missing", "damaged", "another"])
    def without_bundle(self, request, path, model) -> Path:
        if request.param == "missing":
            (path / BUNDLE).unlink()
        elif request.param == "damaged":
            (path / BUNDLE).write_bytes((path / BUNDLE).read_bytes()[:-4] + b"\0\0\0\0")
        else:
            model.bundle.save(path / BUNDLE)
        return path

    def test_is_restored_from_a_copy(self, without_bundle, quick_model, tmp_path):
        with pytest.raises(LibraryError, match=r"`visil verify --repair --model BUNDLE --library .*` restores it from"):
            Library.open(without_bundle, device="cpu")
        with pytest.raises(LibraryError, match=r"give a copy of 'quick' \([0-9a-f]{12}\) with --model to restore it"):
            repair_library(without_bundle)
        quick_model.bundle.save(tmp_path / "copy.safetensors")
        (done,) = repair_library(without_bundle, tmp_path / "copy.safetensors")
        assert re.fullmatch(r"bundle 'quick' \([0-9a-f]{12}\) restored from .*copy\.safetensors", done)
        assert Library.open(without_bundle, device="cpu").search("id:clip_0.mp4")

    def test_is_not_replaced_by_another(self, without_bundle):
        with pytest.raises(LibraryError, match=r"encoded with bundle 'quick' \(.{12}\); mini is 'mini' \(.{12}\)"):
            repair_library(without_bundle, "mini")

    def test_of_the_package_is_restored_without_being_asked_for(self, tmp_path, model):
        library = Library.create(tmp_path / "library", model)
        (library.path / BUNDLE).unlink()
        with pytest.raises(
            LibraryError, match=r"`visil verify --repair --library \S+` restores it from another copy of"
        ):
            Library.open(library.path, device="cpu")
        assert repair_library(library.path) == [f"bundle 'mini' ({model.bundle.hash[:12]}) restored from mini"]
        assert Library.open(library.path, device="cpu").verify() == []

    def test_that_is_there_stays(self, path):
        assert repair_library(path, "mini") == []


FORMAT_1 = """format_version = 1

[bundle]
name = "quick"
hash = "{hash}"

[sampling]
mode = "time"
fps = 1.0
min_samples = 3
"""


class TestFormat1:
    @pytest.fixture
    def old(self, path, quick_model) -> Path:
        """As format 1 was: two columns less, and settings that name no file."""
        as_format_2(path)
        lance.dataset(uri(path)).drop_columns(["root", "reason_class"])
        (path / SETTINGS).write_text(FORMAT_1.format(hash=quick_model.bundle.hash))
        return path

    def test_tells_how_far_it_is(self, old):
        told: list[tuple[int, int]] = []
        repair_library(old, upgrading=lambda *steps: told.append(steps))
        assert told[-1] == (12, 12)  # six rows checked, then rewritten

    def test_is_refused_with_the_way_out_and_brought_up_to_date(self, old, made, made_clips):
        with pytest.raises(
            LibraryError, match=r"library format 1, .*; `visil verify --repair --library .*` brings it up"
        ):
            Library.open(old, device="cpu")
        assert repair_library(old) == ["brought up to library format 3"]
        assert repair_library(old) == []
        library = Library.open(old, device="cpu")
        assert library.verify() == []
        before = Library.open(made, device="cpu").search("id:clip_0.mp4")
        assert [(match.video, match.stages) for match in library.search("id:clip_0.mp4")] == [
            (match.video, match.stages) for match in before
        ]

    def test_is_written_to_afterwards(self, old, clips):
        repair_library(old)
        library = Library.open(old, device="cpu")
        (clips / "new.mp4").write_bytes((clips / "clip_0.mp4").read_bytes())
        (clips / "broken.mp4").write_text("no video")
        library.add([clips], workers=1)
        library.remove("clip_3.mp4")
        assert library.compact() > 0
        assert [finding for finding in library.verify() if finding.damage] == []
        assert library.record("new.mp4").file.root == str(clips)

    def test_may_be_brought_up_to_date_in_two_attempts(self, old, monkeypatch):
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("visil.library.upgrading.write_settings", full)
            with pytest.raises(LibraryError, match=r"cannot be written \(No space left on device\)"):
                repair_library(old)
        assert repair_library(old) == ["brought up to library format 3"]

"""A library of format 2 answers as before and gets digests and sums with the first write, whatever ends that."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

import visil.library.store as store_module
import visil.library.upgrading as upgrading
import visil.library.verify as verify_module
from tests.library.made import as_format_2, encoded_video, facts_of
from visil.errors import LibraryError
from visil.library.library import Library
from visil.library.reindexing import PENDING
from visil.library.repairing import repair_library
from visil.library.settings import SETTINGS, TABLE, read_settings
from visil.library.store import Store, StoredVideo
from visil.library.sums import SUMS
from visil.media.reader import RULES
from visil.model.model import Model

CLIPS = [f"clip_{i}.mp4" for i in range(6)]


@pytest.fixture(scope="module")
def made(made_clips: Path, tmp_path_factory: pytest.TempPathFactory, quick_model: Model) -> Path:
    path = tmp_path_factory.mktemp("upgrading") / "library"
    Library.create(path, quick_model).add([made_clips], workers=1)
    return path


@pytest.fixture
def old(made: Path, tmp_path: Path) -> Path:
    """That library in format 2, in three files of two rows."""
    path = Path(shutil.copytree(made, tmp_path / "library"))
    as_format_2(path)
    return path


def answers(path: Path) -> list[tuple[str, float]]:
    return [(match.video, match.score) for match in Library.open(path, device="cpu").search("id:clip_0.mp4")]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_up_to_date(path: Path, ids: list[str]) -> None:
    assert read_settings(path).format_version == 3
    library = Library.open(path, device="cpu")
    assert [record.id for record in library.list()] == ids
    assert library.verify() == []
    dataset = lance.dataset(str(path / TABLE))
    assert dataset.schema.field("vectors").metadata == {b"lance-encoding:compression": b"none"}
    rows = dataset.to_table(columns=["digest", "rules"])
    assert rows["digest"].null_count == rows["rules"].null_count == 0
    assert (path / SUMS).exists()


def test_it_opens_and_answers_without_being_changed(old, made):
    before = contents(old)
    assert answers(old) == answers(made)
    library = Library.open(old, device="cpu")
    assert {record.rules for record in library.list()} == {1}
    assert library.verify() == []
    assert contents(old) == before


@pytest.mark.parametrize(
    ("write", "left"),
    [
        (lambda path: Library.open(path, device="cpu").remove("clip_5.mp4"), CLIPS[:5]),
        (lambda path: Library.open(path, device="cpu").compact(), CLIPS),
        (lambda path: repair_library(path), CLIPS),
    ],
    ids=["remove", "compact", "repair"],
)
def test_the_next_write_brings_it_up_to_date(old, made, write: Callable[[Path], object], left):
    write(old)
    assert_up_to_date(old, left)
    assert answers(old) == [answer for answer in answers(made) if answer[0] in left]
    assert {record.rules for record in Library.open(old, device="cpu").list()} == {1}


def test_it_says_before_how_much_is_rewritten_and_then_how_far_it_is(old):
    library, told = Library.open(old, device="cpu"), []
    assert library.bytes_to_rewrite == sum(len(content) for content in contents(old / TABLE).values())
    library.bring_up_to_date(progress=lambda *steps: told.append(steps))
    assert told == [(done, 12) for done in (1, 2, 3, 4, 5, 6, 8, 10, 12)]  # six rows checked, then rewritten by twos
    assert library.bytes_to_rewrite == 0
    assert_up_to_date(old, CLIPS)


def test_what_is_indexed_then_has_the_rules_of_today_and_so_has_what_it_is_a_copy_of(old, clips):
    (clips / "copy.mp4").write_bytes((clips / "clip_0.mp4").read_bytes())
    (clips / "other.mp4").write_bytes((clips / "clip_1.mp4").read_bytes() + b"\0")  # another content, decoded
    library = Library.open(old, device="cpu")
    library.add([clips / "copy.mp4", clips / "other.mp4"], workers=1)
    (clips / "copy.mp4").rename(clips / "moved.mp4")
    library.add([clips / "moved.mp4"], workers=1)
    rules = {Path(record.file.path).name: record.rules for record in library.list()}
    assert rules == dict.fromkeys(CLIPS, 1) | dict.fromkeys(["clip_0.mp4", "moved.mp4", "other.mp4"], RULES)


def test_a_new_number_of_the_rules_is_written_without_the_vectors(made, tmp_path, quick_model):
    path = Path(shutil.copytree(made, tmp_path / "library"))
    store = Store(path / TABLE, quick_model.dim)
    num_files, version = len(list((path / TABLE / "data").iterdir())), store.version
    store.update_rules({"clip_1.mp4": 7, "nobody": 7})
    assert {record.id: record.rules for record in store.records()} == dict.fromkeys(CLIPS, RULES) | {"clip_1.mp4": 7}
    new = [file for file in (path / TABLE / "data").iterdir() if file.stat().st_size < 4000]
    assert (len(new), len(list((path / TABLE / "data").iterdir())), store.version) == (1, num_files + 1, version + 1)
    assert Library.open(path, device="cpu").verify() == []


@contextmanager
def killed_after(monkeypatch: pytest.MonkeyPatch, done: int) -> Iterator[None]:
    """The process ends when so many files are rewritten; if there are no more, before the settings are."""
    rewrite, calls = upgrading._rewrite, []

    def killed(*arguments: object, **_: object) -> int:
        if len(calls) == done:
            raise KeyboardInterrupt
        calls.append(arguments)
        return rewrite(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(upgrading, "_rewrite", killed)
        patch.setattr(upgrading, "write_settings", killed)
        yield


@pytest.mark.parametrize("done", range(4))
def test_an_interrupted_one_leaves_a_library_that_answers_and_the_next_write_goes_on(old, made, monkeypatch, done):
    with killed_after(monkeypatch, done):
        Library.open(old, device="cpu").compact()
    assert read_settings(old).format_version == 2
    assert answers(old) == answers(made)
    rewrite, rewritten = upgrading._rewrite, []
    monkeypatch.setattr(upgrading, "_rewrite", lambda *of: (rewritten.append(of), rewrite(*of))[1])
    Library.open(old, device="cpu").compact()
    assert len(rewritten) == 3 - done
    assert_up_to_date(old, CLIPS)


@pytest.mark.parametrize("step", ["add_columns", "update_field_metadata"])
def test_a_kill_before_a_step_leaves_it_to_the_next_write(old, monkeypatch, step):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lance.LanceDataset, step, killed)
        with pytest.raises(KeyboardInterrupt):
            Library.open(old, device="cpu").compact()
    Library.open(old, device="cpu").compact()
    assert_up_to_date(old, CLIPS)


@pytest.mark.parametrize("done", [1, 2])
@pytest.mark.parametrize("lacking", [[], ["root", "reason_class"]], ids=["format_2", "format_1"])
def test_a_video_whose_stretches_lie_in_files_on_both_sides_of_a_kill_stays_sound(
    tmp_path, quick_model, monkeypatch, done, lacking
):
    monkeypatch.setattr(store_module, "STRETCH_FRAMES", 4)
    monkeypatch.setattr(verify_module, "STRETCH_FRAMES", 4)
    path, video = tmp_path / "library", tmp_path / "long.mp4"
    video.write_bytes(b"any")
    Library.create(path, quick_model)
    encoded = encoded_video(19, dim=quick_model.dim, num_regions=1)  # five stretches in three files
    Store(path / TABLE, quick_model.dim).put([StoredVideo("long.mp4", facts_of(video), encoded)])
    as_format_2(path)
    if lacking:
        lance.dataset(str(path / TABLE)).drop_columns(lacking)
    with killed_after(monkeypatch, done):
        repair_library(path)
    repair_library(path)
    assert_up_to_date(path, ["long.mp4"])
    np.testing.assert_array_equal(
        Library.open(path, device="cpu").encoded("long.mp4").region_vectors.vectors, encoded.region_vectors.vectors
    )


def test_a_reader_goes_on_while_another_process_brings_it_up_to_date(old, made):
    reader = Library.open(old, device="cpu")
    assert len(reader.list()) == 6
    Library.open(old, device="cpu").remove("clip_5.mp4")
    found = {match.video for match in reader.search("id:clip_0.mp4")}
    assert found == set(CLIPS[1:5])


def test_a_row_that_does_not_pass_the_checks_gets_no_digest_and_counts_as_damaged(old):
    dataset = lance.dataset(str(old / TABLE))
    (row,) = dataset.to_table(filter="id = 'clip_1.mp4'").to_pylist()
    row["vectors"] = b"\xff" * len(row["vectors"])  # not a number
    rows = pa.Table.from_pylist([row], schema=dataset.schema)
    dataset.merge_insert(["id", "stretch"]).when_matched_update_all().execute(rows)
    library = Library.open(old, device="cpu")
    library.remove("clip_5.mp4")
    (result,) = library.search_many(["id:clip_0.mp4"])
    assert [id for id, _ in result.damaged] == ["clip_1.mp4"]
    assert result.damaged[0][1].startswith("its row in the library has no digest")
    assert {finding.id for finding in library.verify() if finding.damage} == {"clip_1.mp4"}


def test_a_visil_of_the_time_refuses_the_new_format_by_its_number(old):
    Library.open(old, device="cpu").remove("clip_5.mp4")
    assert "format_version = 3\n" in (old / SETTINGS).read_text()


def test_an_unfinished_move_of_the_time_goes_on(old, quick_model, model, made_clips, tmp_path):
    model.bundle.save(tmp_path / "other.safetensors")

    def interrupt(told: object) -> None:
        raise KeyboardInterrupt

    library = Library.open(old, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        library.reindex(tmp_path / "other.safetensors", workers=1, progress=interrupt)
    pending = (old / PENDING).read_text()
    table = Store(old / "videos-2.lance", model.dim)
    table.put([StoredVideo("gone", library.record("clip_0.mp4").file, encoded_video(2, dim=model.dim, num_regions=14))])
    as_format_2(old, settings=PENDING, table="videos-2.lance")
    assert pending != (old / PENDING).read_text()
    Library.open(old, device="cpu").reindex(tmp_path / "other.safetensors", workers=1)
    assert_up_to_date(old, CLIPS)
    assert {record.rules for record in Library.open(old, device="cpu").list()} == {RULES}


def test_format_2_of_a_damaged_table_is_told_as_before(old):
    shutil.rmtree(old / TABLE / "data")
    with pytest.raises(LibraryError, match=r"videos\.lance: the table is damaged"):
        Library.open(old, device="cpu").list()


def test_a_repair_takes_a_path_from_the_current_folder(old, monkeypatch):
    monkeypatch.chdir(old.parent)
    assert repair_library(old.name) == ["brought up to library format 3"]
    assert_up_to_date(old, CLIPS)

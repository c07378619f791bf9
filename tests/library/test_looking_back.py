"""Rows of older rules: what an earlier visil may have read wrongly is read again, all else is marked once."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import visil.library.ingest as ingest
import visil.library.looking_back as looking_back
from tests.library.made import encoded_video, failed_video, file_facts
from tests.media.made_files import grey_frames, write_frames
from visil.errors import MediaError
from visil.library.library import Library
from visil.library.looking_back import GONE
from visil.library.settings import TABLE
from visil.library.store import FEATURE_SET, Store, StoredVideo
from visil.media.decoding import DecodeEnd
from visil.media.reader import RULES
from visil.model.model import Model

FIELD_REPORTS = {  # file -> samples at one a second, at least three, as the rules of today read it
    "clock_restarts.ts": 8,
    "thumbnail_first.mp4": 8,
    "front_and_rear.mp4": 6,
    "hidden_under_alpha.mov": 3,
    "one_frame_late.mp4": 10,
    "one_frame_late.ts": 10,
    "odd_rotation.mp4": 8,
}


class Spy:
    """What was probed and what was decoded, names of files; `report` is that of the last run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.probed: list[str] = []
        self.decoded: list[str] = []
        probe, decode = looking_back.probe_files, ingest.decode_files

        def probe_files(paths: Sequence[Path], *args: object, **options: object) -> object:
            self.probed += [path.name for path in paths]
            return probe(paths, *args, **options)  # type: ignore[arg-type]

        def decode_files(paths: object, *args: object, **options: object) -> object:
            return decode((self.decoded.append(path.name) or path for path in paths), *args, **options)  # type: ignore

        monkeypatch.setattr(looking_back, "probe_files", probe_files)
        monkeypatch.setattr(ingest, "decode_files", decode_files)

    def forget(self) -> None:
        self.probed.clear()
        self.decoded.clear()


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch)


def half_alpha(path: Path) -> Path:
    """A short film whose pictures may be transparent."""
    return write_frames(path, grey_frames(8), codec="qtrle", pixel_format="argb")


def older(library: Library, *, num_samples: int | None = None, rules: int = 1) -> None:
    """Make the rows what an earlier visil wrote: of older rules, and with other samples if a number is given."""
    store = Store(library.path / TABLE, library.model.dim)
    videos = [store.read(record.id) for record in store.records()]
    for number, video in enumerate(videos):
        encoded = video.encoded
        if num_samples is not None and encoded is not None:
            made = encoded_video(num_samples, dim=library.model.dim, num_regions=14, seed=number)
            encoded = replace(made, video=encoded.video)
        videos[number] = replace(video, encoded=encoded, rules=rules)
    store.put(videos)
    library.refresh()


def rules_of(library: Library) -> dict[str, int]:
    return {record.id: record.rules for record in library.list()}


@pytest.fixture(scope="module")
def made(made_clips: Path, tmp_path_factory: pytest.TempPathFactory, quick_model: Model) -> Path:
    """`clips`: six sound clips and `alpha.mov`, which is in doubt; `library`: all of older rules."""
    folder = tmp_path_factory.mktemp("looking_back")
    shutil.copytree(made_clips, folder / "clips")
    half_alpha(folder / "clips/alpha.mov")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "clips", tmp_path / "videos"))


@pytest.fixture
def library(folder: Path, tmp_path: Path, quick_model: Model) -> Library:
    library = Library.create(tmp_path / "library", quick_model)
    library.add(folder, workers=1)
    older(library, num_samples=5)
    return library


CLIPS = [f"clip_{i}.mp4" for i in range(6)]


def test_sound_files_are_marked_and_not_decoded_and_those_in_doubt_are_read_again(library, folder, spy):
    report = library.add(folder, workers=2)
    assert sorted(spy.probed) == ["alpha.mov", *CLIPS]
    assert spy.decoded == ["alpha.mov"]
    assert (report.replaced, report.num_again, report.unchanged) == (["alpha.mov"], 1, 6)
    assert {record.id: record.num_samples for record in library.list()} == dict.fromkeys(CLIPS, 5) | {"alpha.mov": 3}
    assert set(rules_of(library).values()) == {RULES}
    assert library.verify() == []


def test_the_second_run_has_nothing_to_look_at(library, folder, spy):
    library.add(folder, workers=1)
    spy.forget()
    version = library.version
    report = library.add(folder, workers=1)
    assert (spy.probed, spy.decoded, report.unchanged, library.version) == ([], [], 7, version)


def test_an_interrupted_run_goes_on_where_it_stopped(library, folder, spy):
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library.add(folder, workers=1, looked_back=interrupt)
    spy.forget()
    library.refresh()
    left = [id for id, rules in rules_of(library).items() if rules < RULES]
    assert len(left) == 5  # the one in doubt came first
    library.add(folder, workers=1)
    assert sorted(spy.probed) == sorted(left)
    assert set(rules_of(library).values()) == {RULES}


def test_what_was_marked_is_kept_though_the_process_is_killed(library, folder, monkeypatch):
    monkeypatch.setattr(looking_back, "MARK_SECONDS", 0)
    monkeypatch.setattr(looking_back._Marks, "close", lambda marks: None)  # none comes to it
    flushed = looking_back._Marks.flush

    def killed(marks: object) -> None:
        flushed(marks)
        if sum(rules == RULES for rules in rules_of(Library.open(library.path, device="cpu")).values()) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(looking_back._Marks, "flush", killed)
    with pytest.raises(KeyboardInterrupt):
        library.add(folder, workers=1)
    assert sorted(rules_of(Library.open(library.path, device="cpu")).values()) == [1] * 5 + [RULES] * 2


def test_progress_counts_the_files_that_are_looked_at(library, folder):
    told: list[tuple[int, int]] = []
    library.add(folder, workers=1, looked_back=lambda done, total: told.append((done, total)))
    assert told == [(done, 7) for done in range(8)]


def test_rows_whose_files_are_gone_are_named_and_stay(library, folder):
    (folder / "clip_0.mp4").unlink()
    report = library.add(folder, workers=1)
    assert report.unreachable == [(str(folder / "clip_0.mp4"), GONE)]
    assert rules_of(library) == dict.fromkeys(["alpha.mov", *CLIPS], RULES) | {"clip_0.mp4": 1}


def test_so_are_those_of_a_folder_that_is_not_mounted(library, folder):
    shutil.rmtree(folder)
    report = library.add(folder, workers=1)
    assert len(report.unreachable) == len(report.vanished) + report.unmounted[0][1] == 7
    assert set(rules_of(library).values()) == {1}


def test_only_what_the_run_is_about_is_looked_at(library, folder, spy):
    (folder / "clip_0.mp4").unlink()
    report = library.add(folder / "clip_1.mp4", workers=1)
    assert (spy.probed, report.unreachable) == (["clip_1.mp4"], [])


def test_a_row_whose_file_cannot_be_looked_at_is_named_and_stays(library, folder, monkeypatch):
    def refuse(paths: Sequence[Path], *_: object, **__: object) -> object:
        ends = [DecodeEnd(MediaError(f"{path}: cannot be opened (Permission denied)", "unreadable")) for path in paths]
        yield from enumerate(ends)

    monkeypatch.setattr(looking_back, "probe_files", refuse)
    report = library.add([folder / "clip_0.mp4"], workers=1)
    assert report.unreachable == [(str(folder / "clip_0.mp4"), "cannot be opened (Permission denied)")]
    assert rules_of(library)["clip_0.mp4"] == 1


def test_a_row_stays_if_its_file_can_no_longer_be_read(library, folder, monkeypatch):
    path = folder / "alpha.mov"
    end = DecodeEnd(MediaError(f"{path}: cannot be decoded"))
    monkeypatch.setattr(ingest, "decode_files", lambda paths, *_, **__: (x for x in [(0, end)] if list(paths)))
    report = library.add(path, workers=1)
    assert (report.kept, report.failed, report.num_again) == ([(str(path), "cannot be decoded")], [], 0)
    assert (library.record("alpha.mov").num_samples, library.record("alpha.mov").rules) == (5, 1)


def test_a_moved_file_is_looked_at_where_it_is_now(library, folder, spy):
    (folder / "alpha.mov").rename(folder / "moved.mov")
    report = library.add(folder, workers=1)
    assert (spy.decoded, len(report.moved), report.replaced) == (["moved.mov"], 1, ["alpha.mov"])
    assert report.unchanged + 1 == report.num_inputs == len(library.list())
    assert Path(library.record("alpha.mov").file.path).name == "moved.mov"


def test_all_rows_of_a_content_are_read_again_together_and_a_new_copy_with_them(library, folder, tmp_path, spy):
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(folder / "alpha.mov", tmp_path / "elsewhere/twin.mov")
    library.add(tmp_path / "elsewhere", workers=1)
    older(library, num_samples=5)
    shutil.copy(folder / "alpha.mov", folder / "new.mov")
    spy.forget()
    report = library.add(folder, workers=1)
    assert spy.decoded == ["alpha.mov"]
    assert (sorted(report.replaced), report.added, report.num_again) == (["alpha.mov", "twin.mov"], ["new.mov"], 2)
    of_alpha = [record for record in library.list() if record.id.endswith(".mov")]
    assert [(record.num_samples, record.rules) for record in of_alpha] == [(3, RULES)] * 3
    assert library.verify() == []


def test_a_copy_of_a_sound_file_is_copied_with_the_rules_of_today(library, folder, tmp_path, spy):
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(folder / "clip_0.mp4", tmp_path / "elsewhere/twin.mp4")
    spy.forget()
    library.add(tmp_path / "elsewhere", workers=1)
    assert (spy.probed, spy.decoded) == (["twin.mp4"], [])
    rules = rules_of(library)
    assert (rules["twin.mp4"], rules["clip_0.mp4"], rules["clip_1.mp4"]) == (RULES, RULES, 1)


def test_a_changed_file_is_replaced_as_ever(library, folder, spy):
    (folder / "clip_0.mp4").write_bytes((folder / "clip_0.mp4").read_bytes() + b"\0")
    report = library.add(folder / "clip_0.mp4", workers=1)
    assert (spy.probed, report.replaced, report.num_again) == ([], ["clip_0.mp4"], 0)


def test_failed_rows_and_those_of_feature_files_are_not_looked_at(library, folder, spy):
    feature = replace(file_facts("a_set"), path=f"{FEATURE_SET}{folder}/features.hdf5#a_set")
    made = encoded_video(3, dim=library.model.dim, num_regions=14)
    failed = replace(failed_video("failed"), rules=1)
    Store(library.path / TABLE, library.model.dim).put([StoredVideo("a_set", feature, made, rules=1), failed])
    report = library.add(folder / "clip_0.mp4", workers=1)
    assert (spy.probed, report.unreachable) == (["clip_0.mp4"], [])
    assert (rules_of(library)["a_set"], rules_of(library)["failed"]) == (RULES, 1)


def test_videos_that_are_encoded_anew_have_the_rules_of_today(library, model, tmp_path):
    model.bundle.save(tmp_path / "other.safetensors")
    library.reindex(tmp_path / "other.safetensors", workers=1)
    assert set(rules_of(library).values()) == {RULES}


@pytest.mark.parametrize("held", [2, 200], ids=["too few", "too many"])
def test_what_earlier_versions_made_of_reported_files_is_replaced(shared_data, quick_model, tmp_path, spy, held):
    folder = tmp_path / "videos"
    folder.mkdir()
    names = [*FIELD_REPORTS, "gap.mkv", "the_film.mp4"]
    for name in names:
        shutil.copy(shared_data / "field_reports" / name, folder / name)
    library = Library.create(tmp_path / "library", quick_model)
    library.add(folder, workers=2)
    older(library, num_samples=held)
    spy.forget()
    report = library.add(folder, workers=2)
    assert sorted(spy.decoded) == sorted(report.replaced) == sorted(set(names) - {"the_film.mp4"})
    found = {record.id: record.num_samples for record in library.list() if record.id in FIELD_REPORTS}
    assert found == FIELD_REPORTS
    assert library.record("gap.mkv").num_samples <= 80

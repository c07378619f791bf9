"""What people report of tools of this field, as small files: what must come of each, as their README says it.

One library of the whole folder with the bundle of the package, and libraries of what is no file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

import visil.library.ingest as ingest_module
from tests.library.mounts import mounted
from visil.library.ingest import IngestReport
from visil.library.library import Library
from visil.library.store import NO_CONTENT, OK
from visil.media.limits import DecodeLimits
from visil.media.sampling import MAX_HELD_SAMPLES
from visil.model.model import Model
from visil.values import Match

HOUR_S = 3600
TRASH = ("$RECYCLE.BIN", "#recycle", "@Recycle", ".Trash-1000", ".Trashes", "System Volume Information")

Scored = Callable[[str | Path], dict[str, Match]]


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "field_reports"


@pytest.fixture(scope="module")
def indexed(folder: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> tuple[Library, IngestReport]:
    """A library of all of it, and what its making told."""
    library = Library.create(tmp_path_factory.mktemp("reports") / "library", model)
    return library, library.add([folder], workers=2)


@pytest.fixture(scope="module")
def library(indexed: tuple[Library, IngestReport]) -> Library:
    return indexed[0]


@pytest.fixture(scope="module")
def matches(library: Library, folder: Path) -> Scored:
    """All matches of a query, best first, by the video; a name is a file of the folder."""

    def of(query: str | Path) -> dict[str, Match]:
        found = library.search(folder / query, rerank="all", top=100)
        return {match.video: match for match in found}

    return of


@pytest.fixture
def own(tmp_path: Path, model: Model, folder: Path) -> tuple[Library, Path]:
    """A library that a test may fill, and a folder with a copy of the film."""
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(folder / "the_film.mp4", videos)
    return Library.create(tmp_path / "library", model), videos


def score(matches: Scored, query: str, video: str) -> float:
    found = matches(query)[video].score
    assert found is not None
    return found


class TestTheFolder:
    def test_is_indexed_without_a_failure(self, indexed):
        _, report = indexed
        assert (report.num_failures, report.num_cut_short) == (0, 0)

    def test_gives_a_video_of_every_media_file_in_it(self, library, folder):
        expected = {path.name for path in folder.iterdir() if path.is_file()} - {"README.md", "component.ts"}
        assert {record.id for record in library.list()} == expected

    def test_has_content_in_all_but_the_black_one(self, library):
        without = {record.id for record in library.list() if record.status == NO_CONTENT}
        assert without == {"nothing_but_black.mp4"}

    def test_is_done_when_it_is_indexed_again(self, indexed, folder):
        library, report = indexed
        again = library.add([folder], workers=2)
        assert (again.unchanged, again.num_inputs) == (len(report.added), len(report.added))


class TestClocks:
    def test_both_halves_of_a_joined_recording_are_indexed(self, library):
        record = library.record("clock_restarts.ts")
        assert (record.num_samples, record.duration_s) == (8, pytest.approx(8))
        assert record.reason == "its clock restarts once"

    @pytest.mark.parametrize("half", ["first_part.ts", "second_part.ts"])
    def test_a_half_finds_the_joined_recording(self, matches, half):
        assert score(matches, half, "clock_restarts.ts") >= 0.85

    @pytest.mark.parametrize("name", ["one_frame_late.mp4", "one_frame_late.ts"])
    def test_one_frame_three_hours_late_loses_nothing_and_adds_nothing(self, library, name):
        record = library.record(name)
        assert (record.num_samples, record.duration_s) == (10, pytest.approx(10, abs=0.1))
        assert record.reason == "1 frame's time was not believed"

    def test_a_picture_before_a_gap_is_not_repeated_for_five_hours_and_times_stay_true(self, library):
        times_s = library.encoded("gap.mkv").region_vectors.times_s
        is_before = times_s < 5 * HOUR_S
        assert is_before.sum() <= 5 + MAX_HELD_SAMPLES
        np.testing.assert_array_equal(times_s[~is_before], 5 * HOUR_S + np.arange(5, 10))


class TestStreams:
    @pytest.mark.parametrize("name", ["thumbnail_first.mp4", "thumbnail_first.mov", "menu_then_film.ts"])
    def test_a_film_behind_a_thumbnail_or_a_menu_is_the_film(self, library, matches, name):
        assert library.record(name).duration_s == pytest.approx(8, abs=0.01)
        assert score(matches, name, "the_film.mp4") >= 0.95
        assert score(matches, "the_film.mp4", name) >= 0.95

    def test_of_two_full_streams_one_is_indexed_and_the_other_is_told(self, library, matches):
        assert library.record("front_and_rear.mp4").reason == "another video stream is left out"
        assert max(score(matches, "front_and_rear.mp4", name) for name in ("front.mp4", "rear.mp4")) >= 0.95

    def test_what_alpha_hides_is_not_compared(self, matches):
        assert score(matches, "hidden_under_alpha.mov", "what_alpha_hides.mp4") < 0.75
        assert score(matches, "what_alpha_hides.mp4", "hidden_under_alpha.mov") < 0.75

    def test_a_display_matrix_that_is_no_quarter_turn_changes_nothing(self, library, matches):
        record = library.record("odd_rotation.mp4")
        assert record.video.rotation_deg == 0
        assert "turn by 232 degrees clockwise) is ignored" in record.reason
        assert score(matches, "odd_rotation.mp4", "the_film.mp4") >= 0.85


class TestNight:
    @pytest.mark.parametrize("name", ["lights_at_night.mp4", "lights_at_night_copy.mp4", "other_lights.mp4"])
    def test_lamps_on_black_are_content(self, library, name):
        record = library.record(name)
        assert record.status == OK
        assert len(library.encoded(name).region_vectors) == record.num_samples

    def test_a_copy_of_lamps_is_found_as_identical(self, matches):
        found = matches("lights_at_night.mp4")
        assert next(iter(found)) == "lights_at_night_copy.mp4"
        assert found["lights_at_night_copy.mp4"].identical
        assert not found["other_lights.mp4"].identical

    def test_a_copy_of_nothing_but_black_is_found_as_identical_too(self, library, folder, tmp_path):
        shutil.copy(folder / "nothing_but_black.mp4", tmp_path / "copy.mp4")
        (match,) = library.search(tmp_path / "copy.mp4")
        assert (match.video, match.identical, match.score) == ("nothing_but_black.mp4", True, None)


class TestBars:
    @pytest.mark.parametrize("number", range(4))
    @pytest.mark.parametrize("form", ["bars", "without_bars"])
    def test_every_video_finds_its_other_form_first(self, matches, form, number):
        other = {"bars": "without_bars", "without_bars": "bars"}[form]
        assert next(iter(matches(f"{form}_{number}.mp4"))) == f"{other}_{number}.mp4"

    @pytest.mark.parametrize(("one", "other"), list(permutations(range(4), 2)))
    def test_no_unrelated_pair_gains_by_its_bars(self, matches, one, other):
        with_bars = score(matches, f"bars_{one}.mp4", f"bars_{other}.mp4")
        assert with_bars - score(matches, f"without_bars_{one}.mp4", f"without_bars_{other}.mp4") < 0.03


class TestACompilation:
    def test_lists_its_six_sources_before_anything_else(self, matches):
        found = list(matches("compilation.mp4").values())
        assert {match.video for match in found[:6]} == {f"source_{i}.mp4" for i in range(6)}
        assert found[5].score - found[6].score > 0.05


class TestWhatIsNoVideo:
    def test_source_code_is_passed_over_and_no_failure_is_stored_of_it(self, library, folder):
        assert not [record for record in library.list() if record.file.path == str(folder / "component.ts")]

    def test_what_was_deleted_is_not_indexed_unless_it_is_named(self, library, own, folder):
        assert not [record for record in library.list() if "RECYCLE" in record.file.path]
        other, _ = own
        report = other.add([folder / "$RECYCLE.BIN"], workers=1)
        assert report.added == ["S-1-5-21-1/$RABC123.mp4"]

    @pytest.mark.parametrize("trash", TRASH)
    def test_no_other_trash_folder_is_indexed_either(self, own, folder, trash):
        library, videos = own
        (videos / trash).mkdir()
        shutil.copy(folder / "front.mp4", videos / trash)
        assert library.add([videos], workers=1).added == ["the_film.mp4"]


class TestWhatIsNoFile:
    def test_six_gigabytes_of_zeros_behind_a_video_cost_none_of_its_frames(self, own, folder, monkeypatch):
        monkeypatch.setattr(ingest_module, "content_hash", lambda path, **_: "of 6 GB, which would take a while")
        library, videos = own
        path = Path(shutil.copy(folder / "gap.mkv", videos / "zeros.mkv"))
        os.truncate(path, path.stat().st_size + (6 << 30))
        library.add([path], workers=1, limits=DecodeLimits(stall_s=5))
        record = library.record("zeros.mkv")
        assert record.num_samples == 5 + MAX_HELD_SAMPLES + 5
        assert (record.status, record.reason_class) == (OK, "stalled")
        assert "no further packet found" in record.reason

    @pytest.mark.parametrize("link", [os.link, os.symlink])
    def test_a_link_to_a_file_is_marked_as_the_same_file(self, own, link):
        library, videos = own
        link(videos / "the_film.mp4", videos / "linked.mp4")
        library.add([videos], workers=1)
        for query, video in [("the_film.mp4", "linked.mp4"), ("linked.mp4", "the_film.mp4")]:
            (match,) = library.search(videos / query)
            assert (match.video, match.file, match.identical) == (video, "same file", False)

    def test_a_folder_seen_through_two_mounts_is_marked_as_the_same_files(self, own, tmp_path):
        library, videos = own
        with mounted(["--bind", str(videos)], tmp_path / "again") as again:
            library.add([videos, again], workers=1)
            for match in library.search(again / "the_film.mp4"):
                assert (match.file, match.identical) == ("same file", False)

    def test_a_deleted_file_is_marked_as_gone(self, own, tmp_path):
        library, videos = own
        library.add([videos], workers=1)
        query = (videos / "the_film.mp4").rename(tmp_path / "query.mp4")
        (match,) = library.search(query)
        assert (match.video, match.file, match.identical) == ("the_film.mp4", "gone", False)

    def test_in_a_search_for_the_indexed_folder_no_file_answers_for_itself(self, library, folder):
        results = list(library.search_many([folder], top=100))
        searched = {Path(result.query).name for result in results}
        assert searched == {record.id for record in library.list()}
        for result in results:
            assert Path(result.query).name not in {match.video for match in result.matches}

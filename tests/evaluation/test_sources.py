"""From the videos of a data set, or features of them, to scores: what is taken, what is refused, what is said."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")  # a library loads the network of its bundle

from visil.errors import DataError
from visil.evaluation.evaluate import evaluate
from visil.evaluation.ground_truth import GroundTruth, Task
from visil.evaluation.library_scores import LibraryScores
from visil.evaluation.sources import FeatureSource, VideoSource, cached_library
from visil.library.ingest import Progress
from visil.library.library import Library
from visil.model.model import Model

IDS = ("clip_0", "clip_1", "clip_2")
TRUTH = GroundTruth("three clips", ("clip_0",), IDS, (Task("T", {"clip_0": frozenset({"clip_1"})}),))
PATTERN = "{id}.mp4"


@pytest.fixture
def library(tmp_path: Path, quick_model: Model) -> Library:
    return Library.create(tmp_path / "library", quick_model)


class TestVideos:
    def test_of_the_data_set_become_scores(self, library: Library, clips: Path) -> None:
        shutil.copy(clips / "clip_0.mp4", clips / "clip_1.mp4")
        source = VideoSource.of(TRUTH, clips, pattern=PATTERN)
        told: list[Progress] = []
        report = source.add_to(library, progress=told.append)
        held = source.held_by(library, report)
        assert (sorted(report.added), told[-1].done) == ([*IDS], 3)  # the folder has three more clips
        assert (held.ids, held.failed_now, held.unreadable, held.warnings) == ({*IDS}, set(), [], [])
        (task,) = evaluate(TRUTH, LibraryScores(library, TRUTH, only=held.ids)).tasks
        assert task.average_precision == {"clip_0": 1.0}

    def test_that_fail_or_are_gone_are_told(self, library: Library, clips: Path) -> None:
        VideoSource.of(TRUTH, clips, pattern=PATTERN).add_to(library)
        (clips / "clip_0.mp4").write_text("no video")
        (clips / "clip_1.mp4").unlink()
        (clips / "clip_2.mp4").unlink()
        (clips / "clip_2.mp4").symlink_to("nowhere")
        source = VideoSource.of(TRUTH, clips, pattern=PATTERN)
        held = source.held_by(library, source.add_to(library))
        assert held.ids == {"clip_0"}
        # The first has a row that says what is wrong with it, the link none.
        link = str(clips / "clip_2.mp4")
        assert held.failed_now == {"clip_0", link}
        assert held.unreadable == [(link, "cannot be looked at (a link to nothing)")]
        (warning,) = held.warnings
        assert warning.startswith("2 videos in the library, such as 'clip_1', are not in")

    def test_whose_ids_are_other_files_are_refused_and_nothing_is_added(
        self, library: Library, made_clips: Path, clips: Path
    ) -> None:
        library.add([made_clips], pattern=PATTERN, only={"clip_0"})
        with pytest.raises(DataError, match=r"in library .* 'clip_0' is .*clip_0\.mp4; take another --library"):
            VideoSource.of(TRUTH, clips, pattern=PATTERN).add_to(library)
        assert [record.id for record in library.list()] == ["clip_0"]

    def test_that_another_file_came_in_for_meanwhile_are_refused_after_it(
        self, library: Library, made_clips: Path, clips: Path
    ) -> None:
        source = VideoSource.of(TRUTH, clips, pattern=PATTERN)
        library.add([made_clips], pattern=PATTERN, only={"clip_0"})
        report = library.add([clips], pattern=PATTERN, only={"clip_0"})
        with pytest.raises(DataError, match=r"in library .* 'clip_0' is "):
            source.held_by(library, report)

    def test_that_are_none_of_the_data_set_are_an_error(self, clips: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no video of three clips in it: its videos are called 'clip_0\.mp4'"):
            VideoSource.of(TRUTH, clips)
        with pytest.raises(DataError, match="nowhere: no such file or folder"):
            VideoSource.of(TRUTH, tmp_path / "nowhere")


class TestFeatures:
    @pytest.fixture
    def features(self, clips: Path, tmp_path: Path, quick_model: Model) -> Path:
        """The vectors of the three clips, and those of a video that nobody asks for."""
        h5py = pytest.importorskip("h5py")
        indexed = Library.create(tmp_path / "indexed", quick_model)
        indexed.add([clips], pattern=PATTERN, only={*IDS})
        with h5py.File(tmp_path / "features.hdf5", "w") as file:
            for id in IDS:
                file[id] = indexed.encoded(id).region_vectors.vectors
            file["stranger"] = indexed.encoded("clip_0").region_vectors.vectors
        return tmp_path / "features.hdf5"

    def test_of_the_data_set_become_scores(self, library: Library, features: Path) -> None:
        source = FeatureSource.of(TRUTH, features)
        told: list[tuple[int, int]] = []
        held = source.held_by(library, source.add_to(library, progress=lambda done, total: told.append((done, total))))
        assert (held.ids, held.warnings, told[-1]) == ({*IDS}, [], (3, 3))
        (scores,) = LibraryScores(library, TRUTH, only=held.ids)
        assert sorted(scores.videos) == ["clip_1", "clip_2"]

    def test_that_the_file_has_no_more_are_not_held(self, library: Library, features: Path) -> None:
        h5py = pytest.importorskip("h5py")
        FeatureSource.of(TRUTH, features).add_to(library)
        with h5py.File(features, "a") as file:
            del file["clip_2"]
        os.utime(features, ns=(0, 0))
        source = FeatureSource.of(TRUTH, features)
        held = source.held_by(library, source.add_to(library))
        assert held.ids == {"clip_0", "clip_1"}
        assert "such as 'clip_2', are not in" in held.warnings[0]

    def test_that_are_no_file_are_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"nobody\.hdf5: no such file"):
            FeatureSource.of(TRUTH, tmp_path / "nobody.hdf5")
        with pytest.raises(DataError, match="not a regular file"):
            FeatureSource.of(TRUTH, tmp_path)


def test_the_cached_library_is_another_one_for_other_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    place = cached_library("sets/My videos.csv", Path("videos"), pattern=PATTERN)
    assert place.name.startswith("my_videos-mini-")
    assert place == cached_library("sets/My videos.csv", tmp_path / "videos", pattern=PATTERN)
    assert len({place, cached_library("sets/My videos.csv", Path("videos")), cached_library("x", Path("videos"))}) == 3

"""What a query names: parts of videos and still pictures, and what wins when a name can be read in two ways."""

from __future__ import annotations

import shutil
from math import inf
from pathlib import Path

import av
import numpy as np
import pytest

from visil.errors import DataError
from visil.library.library import Library
from visil.library.queries import VideoQuery, expand_query, video_query
from visil.model.model import Model
from visil.synth.scenes import distinct_scenes, scene_pictures
from visil.synth.video_file import write_video

FPS = 4


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file `clip.mp4` in the current folder; its content does not matter."""
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").write_text("a clip")
    return Path("clip.mp4")


class TestRanges:
    @pytest.mark.parametrize(
        ("written", "span_s"),
        [
            ("1:20-1:40", (80, 100)),
            ("80-100", (80, 100)),
            ("0:01:20-0:01:40", (80, 100)),
            ("1:00:00-1:00:00.5", (3600, 3600.5)),
            ("0.25-7.5", (0.25, 7.5)),
            ("1:20-", (80, inf)),
            ("-0:30", (0, 30)),
            ("0-1", (0, 1)),
            ("90:05-2:00:00", (5405, 7200)),
            ("100-2:00", (100, 120)),
        ],
    )
    def test_a_time_is_seconds_or_minutes_or_hours(self, clip, written, span_s):
        assert video_query(f"clip.mp4@{written}") == VideoQuery(clip, span_s)

    @pytest.mark.parametrize("written", ["", "-", "1:20", "1:20-1:75", "1:20–1:40", "a-b", "1-2-3", "-1-2", "1e3-2e3"])
    def test_anything_else_behind_a_file_is_an_error_that_shows_the_form(self, clip, written):
        with pytest.raises(DataError, match=r"is no range; write START-END, as in clip\.mp4@1:20-1:40"):
            video_query(f"clip.mp4@{written}")

    @pytest.mark.parametrize("written", ["2-1", "1:20-80", "-0"])
    def test_a_range_that_ends_before_it_begins_is_an_error(self, clip, written):
        with pytest.raises(DataError, match="the range ends before it begins"):
            video_query(f"clip.mp4@{written}")

    def test_an_existing_path_wins_over_a_range(self, clip):
        Path("clip.mp4@1-2").write_text("another clip")
        assert video_query("clip.mp4@1-2") == VideoQuery(Path("clip.mp4@1-2"))
        assert video_query("clip.mp4@1-2@3-4") == VideoQuery(Path("clip.mp4@1-2"), (3, 4))

    def test_a_name_with_an_at_sign_and_no_range_is_a_name(self, clip):
        assert video_query("me@home.mp4") == VideoQuery(Path("me@home.mp4"))
        assert video_query("@1-2") == VideoQuery(Path("@1-2"))

    def test_the_file_is_what_is_missing_when_only_it_is(self, clip):
        assert video_query("nowhere.mp4@1:20-1:40") == VideoQuery(Path("nowhere.mp4"), (80, 100))

    def test_a_folder_has_no_parts(self, clip, tmp_path):
        with pytest.raises(DataError, match="a range is a part of one video, and this is a folder"):
            video_query(f"{tmp_path}@1-2")

    def test_a_list_may_name_ranges(self, clip):
        Path("list.txt").write_text("clip.mp4@1-2\nclip.mp4\n")
        assert expand_query("@list.txt") == ["clip.mp4@1-2", "clip.mp4"]


class TestFolders:
    @pytest.mark.parametrize("given", ["videos", "./videos/", "videos/../videos"])
    def test_are_spelled_out_below_the_path_that_was_given(self, clip, given):
        Path("videos/a").mkdir(parents=True)
        for name in ("videos/a/b.mp4", "videos/@c.mp4"):
            Path(name).touch()
        below = Path(given)
        assert expand_query(given) == [str(below / "@c.mp4"), str(below / "a/b.mp4")]
        assert expand_query(Path(given).absolute()) == [str(below.absolute() / name) for name in ("@c.mp4", "a/b.mp4")]

    def test_without_a_video_say_which_folders_would_be_read_if_they_were_named(self, clip, tmp_path):
        Path("videos/$RECYCLE.BIN").mkdir(parents=True)
        trash = tmp_path / "videos/$RECYCLE.BIN"
        with pytest.raises(DataError, match="videos: no video in this folder; ") as told:
            expand_query("videos")
        assert str(told.value).endswith(f"{trash} passed over: a trash or hidden folder is read if you name it itself")


@pytest.mark.parametrize("given", ["", Path("@")])
def test_a_name_that_is_missing_is_not_the_current_folder(clip, given):
    with pytest.raises(DataError, match=r"an empty query names nothing; |@: the list has no name; write @list\.txt"):
        expand_query(given)


def test_a_list_that_is_missing_is_so_in_plain_words(clip):
    with pytest.raises(DataError, match=r"^@nowhere\.txt: the list cannot be read \(No such file or directory\)$"):
        expand_query("@nowhere.txt")


def test_a_list_of_other_than_text_is_named_in_plain_words(clip):
    Path("film.mp4").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"^@film\.mp4: not a list of queries: it is no text in UTF-8$"):
        expand_query("@film.mp4")


@pytest.fixture(scope="module")
def two_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.mp4 and b.mp4, a scene of 6 s each; both.mp4 shows the first and then the second; frame.png is of a.mp4."""
    folder = tmp_path_factory.mktemp("two_scenes")
    a, b = (
        list(scene_pictures(scene, duration_s=6, fps=FPS, size_px=(96, 64)))
        for scene in distinct_scenes(np.random.default_rng(3), 2)
    )
    for name, pictures in (("a", a), ("b", b), ("both", a + b)):
        write_video(folder / f"{name}.mp4", pictures, FPS)
    picture = av.VideoFrame.from_ndarray(a[2 * FPS], format="rgb24")
    with av.open(str(folder / "frame.png"), "w", format="image2") as output:
        stream = output.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "rgb24"
        output.mux(stream.encode(picture))
        output.mux(stream.encode())
    return folder


@pytest.fixture(scope="module")
def library(two_scenes: Path, tmp_path_factory: pytest.TempPathFactory, quick_model: Model) -> Library:
    library = Library.create(tmp_path_factory.mktemp("library") / "library", quick_model)
    library.add([two_scenes / "a.mp4", two_scenes / "b.mp4", two_scenes / "both.mp4"], workers=1)
    return library


class TestARealSearch:
    @pytest.mark.parametrize(("span", "scene"), [("0-5", "a.mp4"), ("0:07-0:12", "b.mp4"), ("7-", "b.mp4")])
    def test_a_part_finds_what_it_shows(self, library, two_scenes, span, scene):
        matches = library.search(f"{two_scenes / 'both.mp4'}@{span}")
        assert [match.video for match in matches[:1]] == [scene]
        assert matches[0].score - matches[1].score > 0.05

    def test_a_part_is_never_identical_not_even_the_whole(self, library, two_scenes, tmp_path):
        shutil.copy(two_scenes / "a.mp4", tmp_path / "copy.mp4")
        whole = library.search(tmp_path / "copy.mp4")
        assert (whole[0].video, whole[0].identical) == ("a.mp4", True)
        part = library.search(f"{tmp_path / 'copy.mp4'}@0-")
        assert part[0].score == pytest.approx(whole[0].score, abs=2e-6)
        assert not any(match.identical for match in part)

    def test_a_still_picture_finds_the_video_it_was_taken_from(self, library, two_scenes):
        matches = library.search(two_scenes / "frame.png")
        assert {match.video for match in matches[:2]} == {"a.mp4", "both.mp4"}
        assert not any(match.identical for match in matches)

    def test_a_still_picture_is_still_no_video_of_a_library(self, library, two_scenes, tmp_path, quick_model):
        shutil.copy(two_scenes / "frame.png", tmp_path / "frame.mp4")
        report = Library.create(tmp_path / "other", quick_model).add(tmp_path / "frame.mp4", workers=1)
        assert report.failed == [(str(tmp_path / "frame.mp4"), "a still picture, not a video")]

    def test_a_part_behind_the_end_is_an_error_that_says_where_the_end_is(self, library, two_scenes):
        with pytest.raises(DataError, match=r"a\.mp4: the range begins at 80 s, the video ends at 6\.0 s"):
            library.search(f"{two_scenes / 'a.mp4'}@1:20-1:40")

    @pytest.mark.parametrize("span", ["0-1", "1-2", "20-"])
    def test_a_part_of_a_still_picture_is_an_error(self, library, two_scenes, span):
        with pytest.raises(DataError, match=r"frame\.png: a still picture has no parts; leave the range out"):
            library.search(f"{two_scenes / 'frame.png'}@{span}")

    def test_a_bad_range_is_an_error_of_its_own_query_only(self, library, two_scenes):
        bad, good = library.search_many([f"{two_scenes / 'a.mp4'}@1:20", f"{two_scenes / 'a.mp4'}@1-3"])
        assert "is no range" in bad.error
        assert good.error is None

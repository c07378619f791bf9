"""A clip lies in its montage where the query says, and its footage nowhere else in any montage."""

from pathlib import Path

import numpy as np
import pytest

from visil.benchmarks.montage_queries import CLIP_S, MONTAGE_FPS, montage_queries
from visil.errors import DataError
from visil.evaluation.real_videos import RealVideo, RealVideos
from visil.synth.montage import Source
from visil.synth.montage_truth import MontageTruth, Piece, PlainVideo, read_montage_truth, related
from visil.synth.video_file import pictures_at, read_pictures, video_facts, write_video

MONTAGE_S = 40.0
LENGTHS_S = {"a": 12.0, "b": 12.0, "c": 6.0, "other_of_a": 5.0}  # c is too short for a clip
COMPONENTS = {"a": "0", "b": "1", "c": "2", "other_of_a": "0"}


def level(video_s: float) -> int:
    """Grey level of the picture at this time of any video."""
    return 20 + round(18 * video_s)


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> RealVideos:
    folder = tmp_path_factory.mktemp("videos")
    for name, length_s in LENGTHS_S.items():
        times_s = np.arange(round(length_s * MONTAGE_FPS)) / MONTAGE_FPS
        write_video(folder / f"{name}.mp4", [np.full((48, 64, 3), level(t), np.uint8) for t in times_s], MONTAGE_FPS)
    videos = {
        f"{name}.mp4": RealVideo(f"{name}.mp4", name, name, length_s, "test", COMPONENTS[name])
        for name, length_s in LENGTHS_S.items()
    }
    return RealVideos(folder, videos, {})


@pytest.fixture(scope="module")
def stills(tmp_path_factory) -> list[Source]:
    paths = [tmp_path_factory.mktemp("stills") / f"{number}.mp4" for number in range(20)]
    for path in paths:
        write_video(path, [np.full((48, 64, 3), 250, np.uint8)], 1)
    return [Source(path, f"still:{path.name}") for path in paths]


def make(real, stills, folder: Path, **changed):
    settings = {"split": "test", "seed": 0, "num_montages": 2, "montage_s": MONTAGE_S, "workers": 2} | changed
    return montage_queries(real, stills, folder, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def queries(real, stills, folder):
    return make(real, stills, folder)


def test_every_clip_is_of_another_component_and_inside_its_own_montage(queries):
    assert sorted(query.source for query in queries) == ["a.mp4", "b.mp4"]
    assert len({query.montage for query in queries}) == 2


def test_whatever_shows_some_of_a_clips_component_is_related_to_the_clip(queries, real):
    library = {
        **{
            video.file: PlainVideo(video.file, f"video:{video.component}", video.footage)
            for video in real.videos.values()
        },
        "montage": MontageTruth(
            "m.mp4", (Piece("other_of_a.mp4", "cut", "video:0", "other_of_a", 0.0, 2.0, 1.0, 3.0),)
        ),
        "still": PlainVideo("0.jpg", "still:0"),
    }
    own = {query.source: {name for name, video in library.items() if related(query, video)} for query in queries}
    assert own == {"a.mp4": {"a.mp4", "other_of_a.mp4", "montage"}, "b.mp4": {"b.mp4"}}


def test_the_montage_shows_the_clip_at_its_time(queries):
    for query in queries:
        assert video_facts(query.clip).duration_s == pytest.approx(CLIP_S)
        assert video_facts(query.montage).duration_s == pytest.approx(MONTAGE_S)
        times_s, clip = zip(*read_pictures(query.clip), strict=True)
        inside = pictures_at(query.montage, [query.at_s + time_s for time_s in times_s])
        for ours, theirs in zip(clip, inside, strict=True):
            middle = theirs[80:100, 150:170].mean()
            assert middle == pytest.approx(ours.mean(), abs=4)


def test_no_montage_shows_anything_else_of_any_clips_component(queries):
    for query in queries:
        truth = read_montage_truth(query.montage.with_suffix(".json"))
        files = [piece.file for piece in truth.pieces if piece.kind == "cut" and piece.file != "c.mp4"]
        assert files == [query.source]


def test_a_second_run_finds_what_is_there(queries, real, stills, folder):
    made = {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")}
    assert make(real, stills, folder) == queries
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")} == made


def test_too_little_is_said(real, stills, tmp_path):
    with pytest.raises(DataError, match="3 montages need as many components with a video of 10 s, there are 2"):
        make(real, stills, tmp_path, num_montages=3)
    with pytest.raises(DataError, match="the pieces run out"):
        make(real, stills[:2], tmp_path)

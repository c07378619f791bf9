"""The parts of a montage lie where its truth says, whatever its length."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from visil.synth.montage import Part, plan_around, plan_parts, write_montage
from visil.synth.video_file import read_pictures, video_facts, write_video

FPS = 10
SIZE_PX = (64, 48)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Three videos of 3 s; the red of a picture tells the video, the green the number of the picture."""
    folder = tmp_path_factory.mktemp("sources")
    for video in range(3):
        pictures = [np.full((48, 64, 3), (70 * video, 6 * i, 128), dtype=np.uint8) for i in range(30)]
        write_video(folder / f"video_{video}.mp4", pictures, FPS, crf=10)
    return folder


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A picture unlike any of the sources, as a video of one picture."""
    path = tmp_path_factory.mktemp("still") / "still.mp4"
    write_video(path, [np.full((60, 80, 3), 250, dtype=np.uint8)], FPS)
    return path


def durations(sources) -> dict[Path, float]:
    return dict.fromkeys(sorted(sources.iterdir()), 3.0)


def test_every_cut_is_where_the_truth_says(sources, still, tmp_path):
    rng = np.random.default_rng(0)
    parts = plan_parts(rng, durations(sources), [still], num_pictures=300, fps=FPS)
    truths = write_montage(tmp_path / "montage.mp4", parts, rng, fps=FPS, size_px=SIZE_PX)
    pictures = [picture for _, picture in read_pictures(tmp_path / "montage.mp4")]
    assert len(pictures) == 300
    shown = {}
    for truth in truths:
        assert truth.query == "montage.mp4"
        for k in range(round((truth.query_end_s - truth.query_start_s) * FPS)):
            red, green, _ = np.median(pictures[round(truth.query_start_s * FPS) + k], axis=(0, 1))
            assert red == pytest.approx(70 * int(truth.source[6]), abs=12)
            assert green == pytest.approx(6 * (round(truth.start_s * FPS) + k), abs=4)
            shown[round(truth.query_start_s * FPS) + k] = truth.source
    pans = [picture for i, picture in enumerate(pictures) if i not in shown]
    assert pans  # what is no cut is a pan over the still
    assert all(picture.min() > 200 for picture in pans)


def test_a_placed_clip_starts_at_its_picture(sources, still, tmp_path):
    first, *others = durations(sources)
    rng = np.random.default_rng(1)
    clip = Part(first, 20, 0.5)
    parts = plan_around(rng, clip, dict.fromkeys(others, 3.0), [still], at_picture=137, num_pictures=250, fps=FPS)
    truths = write_montage(tmp_path / "montage.mp4", parts, rng, fps=FPS, size_px=SIZE_PX)
    (truth,) = [truth for truth in truths if truth.source == first.name]
    assert (truth.query_start_s, truth.query_end_s) == (13.7, 15.7)
    assert (truth.start_s, truth.end_s) == (0.5, 2.5)
    assert video_facts(tmp_path / "montage.mp4").duration_s == pytest.approx(25.0)


def test_a_clip_that_does_not_fit_is_refused(sources):
    first, *_ = durations(sources)
    with pytest.raises(ValueError, match="do not fit"):
        plan_around(np.random.default_rng(0), Part(first, 20, 0.0), {}, [], at_picture=90, num_pictures=100, fps=FPS)


def test_the_plan_follows_its_seed_and_uses_every_still_before_one_twice(sources, tmp_path):
    stills = [tmp_path / f"{i}.jpg" for i in range(40)]
    first, again, other = (
        plan_parts(np.random.default_rng(seed), durations(sources), stills, num_pictures=2000, fps=FPS)
        for seed in (3, 3, 4)
    )
    assert first == again != other
    assert sum(part.num_pictures for part in first) == 2000
    pans = [part.path for part in first if part.source_start_s is None]
    assert 5 < len(pans) == len(set(pans))


def test_the_whole_of_a_narrow_video_is_shown_between_bars(tmp_path):
    write_video(tmp_path / "narrow.mp4", [np.full((96, 32, 3), 200, dtype=np.uint8)] * 5, FPS)
    write_montage(
        tmp_path / "montage.mp4",
        [Part(tmp_path / "narrow.mp4", 5, 0.0)],
        np.random.default_rng(0),
        fps=FPS,
        size_px=SIZE_PX,
    )
    _, picture = next(read_pictures(tmp_path / "montage.mp4"))
    assert picture[:, 28:36].min() > 180
    assert picture[:, :20].max() < 40
    assert picture[:, 44:].max() < 40


def test_a_long_montage_streams(sources, tmp_path):
    size_px, num_pictures = (128, 96), 1200
    parts = plan_parts(np.random.default_rng(0), durations(sources), [], num_pictures=num_pictures, fps=FPS)
    tracemalloc.start()
    write_montage(tmp_path / "long.mp4", parts, np.random.default_rng(0), fps=FPS, size_px=size_px)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert video_facts(tmp_path / "long.mp4").duration_s == pytest.approx(num_pictures / FPS)
    assert peak_bytes < num_pictures * 128 * 96 * 3 / 10  # all pictures together are 44 MB

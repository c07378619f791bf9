"""Every family does what its name says, and its truth names the very pictures that are shown."""

from fractions import Fraction

import numpy as np
import pytest

from visil.synth.edits import FAMILIES, apply_edit, cut_clip
from visil.synth.truth import EditTruth, read_truths, write_truths
from visil.synth.video_file import read_pictures, read_still, resized, video_facts, write_video

FPS = 10
NUM_PICTURES = 40
HEIGHT, WIDTH = 108, 192
HOST = np.full((60, 80, 3), 255, dtype=np.uint8)


def coded_picture(number: int) -> np.ndarray:
    """Two coloured halves, and a grey band in the middle whose level tells the number of the picture."""
    picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    picture[:, : WIDTH // 2] = (200, 40, 40)
    picture[:, WIDTH // 2 :] = (40, 40, 200)
    picture[HEIGHT // 3 : 2 * HEIGHT // 3] = 6 * number
    return picture


def number_of(picture: np.ndarray) -> int:
    """Read from the middle of the picture."""
    height, width = picture.shape[:2]
    return round(float(np.median(picture[height // 2 - 2 : height // 2 + 2, width // 3 : 2 * width // 3])) / 6)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "source.mp4"
    write_video(path, map(coded_picture, range(NUM_PICTURES)), FPS, crf=12)
    return path


def edited(source, family: str, folder, seed: int = 0):
    """Path of the copy, and its truth."""
    path = folder / f"{family}_{seed}.mp4"
    host = HOST if FAMILIES[family].has_host else None
    return path, apply_edit(source, family, path, np.random.default_rng(seed), host=host)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_seeded_and_tells_where_it_comes_from(source, tmp_path, family):
    (tmp_path / "again").mkdir()
    path, truth = edited(source, family, tmp_path)
    again, same_truth = edited(source, family, tmp_path / "again")
    assert path.read_bytes() == again.read_bytes()
    assert truth == same_truth
    assert (truth.query, truth.source, truth.family) == (path.name, "source.mp4", family)
    assert truth.strength == FAMILIES[family].strength
    assert truth.query_end_s == pytest.approx(video_facts(path).duration_s, abs=1e-6)
    assert truth.end_s <= video_facts(source).duration_s + 1 / FPS


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"picture_in_picture"}))
def test_the_times_of_both_sides_name_the_same_pictures(source, tmp_path, family):
    path, truth = edited(source, family, tmp_path)
    for time_s, picture in read_pictures(path):
        at_s = truth.start_s + (time_s - truth.query_start_s) * truth.speed
        assert number_of(picture) == int(at_s * FPS + 1e-6), f"at {time_s} s"


@pytest.mark.parametrize("family", ["crop_60", "clip_20", "boxes", "logo", "picture_in_picture"])
def test_another_seed_makes_another_copy(source, tmp_path, family):
    assert len({edited(source, family, tmp_path, seed)[0].read_bytes() for seed in range(3)}) > 1


def test_crop_keeps_60_percent_of_the_area(source, tmp_path):
    path, _ = edited(source, "crop_60", tmp_path)
    height, width = read_still(path).shape[:2]
    assert height * width == pytest.approx(0.6 * HEIGHT * WIDTH, rel=0.03)
    assert width / height == pytest.approx(WIDTH / HEIGHT, rel=0.03)


def test_mirror_exchanges_left_and_right(source, tmp_path):
    path, _ = edited(source, "mirror", tmp_path)
    assert np.abs(read_still(path)[:, ::-1].astype(int) - read_still(source)).mean() < 3


def test_letterbox_adds_black_bars_and_keeps_the_picture(source, tmp_path):
    path, _ = edited(source, "letterbox", tmp_path)
    picture = read_still(path)
    bar = (picture.shape[0] - HEIGHT) // 2
    assert 2 * bar / picture.shape[0] == pytest.approx(0.25, abs=0.02)
    assert picture[: bar - 2].max() < 30
    assert np.abs(picture[bar : bar + HEIGHT].astype(int) - read_still(source)).mean() < 3


def test_grayscale_has_no_colour(source, tmp_path):
    path, _ = edited(source, "grayscale", tmp_path)
    assert np.ptp(read_still(path).astype(int), axis=-1).max() <= 2


def test_blur_softens_edges_and_keeps_areas(source, tmp_path):
    path, _ = edited(source, "blur", tmp_path)
    middle = read_still(path)[5].astype(int)
    assert np.abs(np.diff(middle[:, 0])).max() < 0.6 * 160  # the step between the halves, in one pixel before
    assert middle[WIDTH // 8, 0] == pytest.approx(200, abs=12)


@pytest.mark.parametrize("family", ["boxes", "logo"])
def test_boxes_cover_a_part_and_leave_the_rest(source, tmp_path, family):
    path, _ = edited(source, family, tmp_path)
    changed = np.abs(read_still(path).astype(int) - read_still(source)).max(axis=-1) > 30
    assert 0.01 < changed.mean() < 0.4
    assert changed[-8:].mean() > 0.5 or family == "logo"


def test_low_144p_has_144_lines_and_a_low_bitrate(tmp_path):
    rng = np.random.default_rng(0)
    noise = [resized(rng.integers(0, 256, (36, 64, 3), dtype=np.uint8), 480, 270) for _ in range(30)]
    write_video(tmp_path / "noise.mp4", noise, FPS)
    path, _ = edited(tmp_path / "noise.mp4", "low_144p", tmp_path)
    assert read_still(path).shape[:2] == (144, 256)
    assert path.stat().st_size * 8 / 3.0 < 2 * 60_000


def test_speed_makes_it_shorter(source, tmp_path):
    path, truth = edited(source, "speed_1_25", tmp_path)
    assert video_facts(path).duration_s == pytest.approx(NUM_PICTURES / FPS / 1.25)
    assert truth.speed == pytest.approx(1.25)


def test_clip_lasts_20_percent_and_is_a_part(source, tmp_path):
    for seed in range(4):
        path, truth = edited(source, "clip_20", tmp_path, seed)
        assert video_facts(path).duration_s == pytest.approx(0.2 * NUM_PICTURES / FPS)
        assert truth.labels == ("PART",)
        assert truth.start_s * FPS == pytest.approx(round(truth.start_s * FPS))


def test_picture_in_picture_is_half_as_wide_inside_the_host(source, tmp_path):
    path, truth = edited(source, "picture_in_picture", tmp_path)
    inside = read_still(path).min(axis=-1) < 200  # the host is white
    assert inside.mean() == pytest.approx(0.25, abs=0.02)
    assert (truth.query_end_s, truth.end_s) == (NUM_PICTURES / FPS, NUM_PICTURES / FPS)


def test_only_picture_in_picture_takes_a_host(source, tmp_path):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="needs a host"):
        apply_edit(source, "picture_in_picture", tmp_path / "a.mp4", rng)
    with pytest.raises(ValueError, match="takes no host"):
        apply_edit(source, "mirror", tmp_path / "a.mp4", rng, host=HOST)


def test_a_cut_starts_at_the_asked_picture(source, tmp_path):
    truth = cut_clip(source, tmp_path / "cut.mp4", start_s=1.5, duration_s=2.0)
    numbers = [number_of(picture) for _, picture in read_pictures(tmp_path / "cut.mp4")]
    assert numbers == list(range(15, 35))
    assert (truth.start_s, truth.end_s, truth.query_end_s) == (1.5, 3.5, 2.0)


def test_a_source_of_odd_size_and_rate_is_taken(tmp_path):
    pictures = [np.full((75, 101, 3), 5 * i, dtype=np.uint8) for i in range(30)]
    write_video(tmp_path / "odd.mp4", pictures, Fraction(30000, 1001))
    for family in ("crop_60", "blur", "speed_1_25"):
        path, truth = edited(tmp_path / "odd.mp4", family, tmp_path)
        assert [side % 2 for side in read_still(path).shape[:2]] == [0, 0]
        assert truth.end_s == pytest.approx(1.001, abs=0.05)


class TestTruth:
    truth = EditTruth("q.mp4", "s.mp4", "clip_20", 0.2, 0.0, 2.0, 5.5, 7.5, ("PART",))

    def test_survives_json(self, tmp_path):
        write_truths(tmp_path / "truth.json", [self.truth, self.truth])
        assert read_truths(tmp_path / "truth.json") == [self.truth, self.truth]

    def test_an_empty_interval_is_refused(self):
        with pytest.raises(ValueError, match="no interval"):
            EditTruth("q.mp4", "s.mp4", "cut", 1.0, 0.0, 1.0, 3.0, 3.0)

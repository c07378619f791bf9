"""The truth of every family at every strength is checked by finding the known pictures again.

The source is dark or bright, one picture after the other, by a sequence of bits that no shift of it repeats. Whatever
an edit does to a picture, brighter ones stay brighter: the bits of a copy are read from the mean of its pictures and
must be those of the source at the times of the truth, to a picture, and at no other times.
"""

from fractions import Fraction

import numpy as np
import pytest

from visil.synth.edits import COMBINED, FAMILIES, LEVELS, apply_edit, cut_clip
from visil.synth.truth import EditTruth, read_truths, write_truths
from visil.synth.video_file import read_pictures, read_still, resized, video_facts, write_video

FPS = 10
HEIGHT, WIDTH = 72, 128
BITS = np.random.default_rng(8).integers(0, 2, 64).astype(bool)
DURATION_S = len(BITS) / FPS
DARK, BRIGHT = 70, 180
EVERY_EDIT = [(name, level) for name, family in FAMILIES.items() if not family.joins_sources for level in family.levels]
SEEDED = ("clip_inside", "intro_outro", "side_by_side", "turned_90", "reaction", "combined")


def picture_of(bit: bool, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A plain picture whose left third is redder, so that it has a left and a right."""
    picture = np.full((height, width, 3), BRIGHT if bit else DARK, dtype=np.uint8)
    picture[:, : width // 3, 0] += 40
    return picture


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "source.mp4"
    write_video(path, map(picture_of, BITS), FPS, crf=12)
    return path


@pytest.fixture(scope="module")
def stills(tmp_path_factory):
    """Plain white pictures (videos of one picture): hosts that stay as they are."""
    path = tmp_path_factory.mktemp("stills") / "white.mp4"
    write_video(path, [np.full((60, 80, 3), 255, dtype=np.uint8)], FPS)
    return (path,) * 6


@pytest.fixture
def edited(tmp_path, stills):
    """Makes an edit: path of the copy, and its truth."""

    def make(source, family: str, level: str, seed: int = 0, folder=tmp_path, **settings):
        path = folder / f"{family}_{level}_{seed}.mp4"
        hosts = stills if FAMILIES[family].has_host else ()
        return path, apply_edit(source, family, level, path, np.random.default_rng(seed), host_stills=hosts, **settings)

    return make


def shown(path, truth: EditTruth) -> tuple[np.ndarray, np.ndarray]:
    """Of every picture inside the truth's interval: its bit, and the time in the source that it starts with."""
    picture_s = 1 / float(video_facts(path).fps)
    lightness, times_s = [], []
    for time_s, picture in read_pictures(path):
        if truth.query_start_s - 1e-6 <= time_s < truth.query_end_s - 1e-6:
            lightness.append(picture.mean())
            starts_s = time_s + picture_s if truth.is_reversed else time_s
            times_s.append(truth.source_time_s(starts_s))
    middle = (min(lightness) + max(lightness)) / 2
    assert max(lightness) - min(lightness) > 5, "dark and bright cannot be told apart"
    return np.array(lightness) > middle, np.array(times_s)


def bits_at(times_s: np.ndarray, fps: int = FPS, bits: np.ndarray = BITS) -> np.ndarray:
    numbers = np.floor(times_s * fps + 1e-4).astype(int)
    return bits[np.clip(numbers, 0, len(bits) - 1)]


class TestTruth:
    @pytest.mark.parametrize(("family", "level"), EVERY_EDIT)
    def test_finds_the_known_pictures_again_and_no_other_times_do(self, source, edited, family, level):
        for seed in range(3 if FAMILIES[family].both_ways or family in SEEDED else 1):
            path, truth = edited(source, family, level, seed)
            bits, times_s = shown(path, truth)
            assert np.array_equal(bits, bits_at(times_s))
            for shift in (-3, -2, -1, 1, 2, 3):
                assert not np.array_equal(bits, bits_at(times_s + shift / FPS)), "the truth is not to a picture"
            assert not np.array_equal(bits, bits_at(times_s[::-1]))

    @pytest.mark.parametrize("family", ["crop", "frame_rate", "speed", "clip", "clip_inside", "reverse", "combined"])
    def test_finds_them_where_a_part_is_edited_at_a_lower_rate_with_fewer_lines(self, tmp_path, edited, family):
        bits = np.random.default_rng(9).integers(0, 2, 180).astype(bool)
        write_video(tmp_path / "fast.mp4", map(picture_of, bits), 30, crf=12)
        for seed in range(2):
            path, truth = edited(
                tmp_path / "fast.mp4", family, "strong", seed, span_s=(1.51, 5.49), max_fps=12, max_short_side_px=48
            )
            assert 1.5 <= truth.start_s < truth.end_s <= 5.5
            assert min(read_still(path).shape[:2]) <= (80 if family == "combined" else 48)
            found, times_s = shown(path, truth)
            assert np.array_equal(found, bits_at(times_s, 30, bits))

    @pytest.mark.parametrize(("family", "level"), EVERY_EDIT)
    def test_says_what_was_done_and_follows_the_seed(self, source, edited, tmp_path, family, level):
        (tmp_path / "again").mkdir()
        path, truth = edited(source, family, level)
        again, same_truth = edited(source, family, level, folder=tmp_path / "again")
        assert path.read_bytes() == again.read_bytes()
        assert truth == same_truth
        assert (truth.query, truth.source) == (path.name, "source.mp4")
        assert (truth.family, truth.level, truth.is_reversed) == (family, level, family == "reverse")
        assert truth.end_s <= DURATION_S + 1e-6
        assert truth.query_end_s <= video_facts(path).duration_s + 1e-6

    def test_of_a_whole_copy_covers_both_sides(self, source, edited):
        for family in ("crop", "noise", "reverse"):
            path, truth = edited(source, family, "strong")
            assert (truth.query_start_s, truth.start_s) == (0, 0)
            assert truth.query_end_s == pytest.approx(video_facts(path).duration_s)
            assert truth.end_s == pytest.approx(DURATION_S)

    def test_counts_a_pair_as_part_when_less_than_half_of_a_file_is_shared(self, source, edited):
        assert edited(source, "blur", "mild")[1].labels == ("ND",)
        assert edited(source, "clip", "mild")[1].labels == ("ND",)
        assert edited(source, "clip", "strong")[1].labels == ("PART",)
        assert edited(source, "clip_inside", "strong")[1].labels == ("PART",)
        assert edited(source, "intro_outro", "mild")[1].labels == ("ND",)
        assert edited(source, "intro_outro", "strong")[1].labels == ("PART",)
        assert edited(source, "blur", "mild", span_s=(1.0, 3.0))[1].labels == ("PART",)

    def test_survives_json(self, tmp_path):
        truth = EditTruth("q.mp4", "s.mp4", "reverse", 1, 0.0, 2.0, 5.5, 7.5, ("PART",), "strong", is_reversed=True)
        write_truths(tmp_path / "truth.json", [truth, truth])
        assert read_truths(tmp_path / "truth.json") == [truth, truth]

    def test_maps_times_of_the_query_to_the_source_in_both_directions(self):
        forwards = EditTruth("q.mp4", "s.mp4", "speed", 2, 1.0, 3.0, 10.0, 14.0)
        assert (forwards.speed, forwards.source_time_s(1.5)) == (2.0, 11.0)
        backwards = EditTruth("q.mp4", "s.mp4", "reverse", 1, 1.0, 3.0, 10.0, 12.0, is_reversed=True)
        assert (backwards.speed, backwards.source_time_s(1.5)) == (-1.0, 11.5)

    def test_of_an_empty_interval_is_refused(self):
        with pytest.raises(ValueError, match="no interval"):
            EditTruth("q.mp4", "s.mp4", "cut", 1.0, 0.0, 1.0, 3.0, 3.0)


class TestFamilies:
    def test_have_two_strengths_or_one_that_counts_as_strong(self):
        one = {name for name, family in FAMILIES.items() if family.levels == ("strong",)}
        assert one == {"mirror", "grayscale", "reverse", "turned_90", "turned_180", "reaction"}
        assert all(family.levels == LEVELS for name, family in FAMILIES.items() if name not in one)

    def test_that_are_pooled_are_the_first_22_so_that_figures_over_all_stay_comparable(self):
        pooled = [name for name, family in FAMILIES.items() if family.is_pooled]
        assert pooled == list(FAMILIES)[:22]
        assert (pooled[0], pooled[-1]) == ("crop", "combined")
        assert list(FAMILIES)[22:] == [
            "intro_outro", "side_by_side", "turned_90", "turned_180", "vertical_blurred", "screen_filmed", "reaction",
            "compilation",
        ]  # fmt: skip
        assert set(COMBINED) < set(pooled)

    def test_differ_between_mild_and_strong(self, source, edited):
        for family in ("crop", "noise", "speed", "clip_inside", "low_144p", "combined"):
            mild, strong = (edited(source, family, level, span_s=(0.0, 2.0))[0].read_bytes() for level in LEVELS)
            assert mild != strong

    def test_without_hosts_are_what_can_be_combined(self):
        assert not [name for name in COMBINED if FAMILIES[name].has_host or name in ("combined", "clip", "reverse")]
        assert len(COMBINED) == 17

    def test_with_another_seed_make_another_copy(self, source, edited):
        for family in ("crop", "rotation", "text", "logo", "emoji", "border", "clip", "screen_filmed", *SEEDED):
            copies = [edited(source, family, "strong", seed, span_s=(0.0, 1.0))[0] for seed in range(3)]
            assert len({copy.read_bytes() for copy in copies}) > 1, family

    def test_change_speed_and_rate_in_both_directions(self, source, edited):
        speeds = {round(edited(source, "speed", "strong", seed)[1].speed, 6) for seed in range(8)}
        assert speeds == {0.5, 2.0}
        rates = {video_facts(edited(source, "frame_rate", "mild", seed)[0]).fps for seed in range(8)}
        assert rates == {Fraction(15), Fraction(20, 3)}

    def test_that_run_backwards_do_so_however_long_they_are(self, tmp_path, edited, monkeypatch, source):
        whole = edited(source, "reverse", "strong")[0].read_bytes()
        monkeypatch.setattr("visil.synth.edits.PICTURES_IN_MEMORY", 7)
        assert edited(source, "reverse", "strong", folder=tmp_path)[0].read_bytes() == whole

    def test_put_a_clip_between_other_footage_of_the_length_of_the_source(self, source, edited):
        starts = set()
        for seed in range(4):
            path, truth = edited(source, "clip_inside", "strong", seed)
            assert video_facts(path).duration_s == pytest.approx(DURATION_S)
            assert truth.query_end_s - truth.query_start_s == pytest.approx(0.2 * DURATION_S, abs=1 / FPS)
            starts.add(truth.query_start_s)
            for time_s, picture in read_pictures(path):
                is_host = picture.min() > 230
                assert is_host != (truth.query_start_s - 1e-6 <= time_s < truth.query_end_s - 1e-6), time_s
        assert len(starts) > 1

    def test_put_the_source_into_a_picture_at_its_share_of_the_sides(self, source, edited):
        path, _ = edited(source, "picture_in_picture", "strong")
        assert (read_still(path).max(axis=-1) < 240).mean() == pytest.approx(0.4**2, abs=0.02)

    def test_put_a_whole_video_between_an_intro_and_an_outro(self, source, edited):
        starts_s = set()
        for seed in range(4):
            path, truth = edited(source, "intro_outro", "strong", seed)
            assert (truth.start_s, truth.end_s) == (0, DURATION_S)
            assert truth.query_end_s - truth.query_start_s == pytest.approx(DURATION_S)
            duration_s = video_facts(path).duration_s
            assert duration_s == pytest.approx(DURATION_S / 0.4, abs=1 / FPS)
            assert 0.15 * duration_s < truth.query_start_s < truth.query_end_s < 0.85 * duration_s
            starts_s.add(truth.query_start_s)
            for time_s, picture in read_pictures(path):
                is_host = picture.min() > 230
                assert is_host != (truth.query_start_s - 1e-6 <= time_s < truth.query_end_s - 1e-6), time_s
        assert len(starts_s) > 1

    @pytest.mark.parametrize(("level", "width"), [("mild", 2 * WIDTH), ("strong", WIDTH)])
    def test_put_other_footage_as_wide_on_one_side_of_it(self, source, edited, level, width):
        sides = set()
        for seed in range(6):
            picture = read_still(edited(source, "side_by_side", level, seed)[0])
            assert picture.shape[:2] == (HEIGHT, width)
            is_host = (picture.min(axis=-1) > 230).mean(axis=0)  # by column
            left, right = is_host[: width // 2 - 2].mean(), is_host[width // 2 + 2 :].mean()
            assert sorted((round(left), round(right))) == [0, 1]
            assert abs(left - right) > 0.95
            sides.add(left > right)
        assert len(sides) == 2

    def test_put_a_reaction_s_source_into_a_corner(self, source, edited):
        corners = set()
        for seed in range(12):
            is_source = read_still(edited(source, "reaction", "strong", seed)[0]).max(axis=-1) < 240
            assert is_source.mean() == pytest.approx(0.35**2, abs=0.02)
            rows, columns = np.flatnonzero(is_source.any(axis=1)), np.flatnonzero(is_source.any(axis=0))
            assert min(rows[0], HEIGHT - 1 - rows[-1]) <= 0.04 * HEIGHT + 2
            assert min(columns[0], WIDTH - 1 - columns[-1]) <= 0.04 * WIDTH + 2
            corners.add((rows.mean() < HEIGHT / 2, columns.mean() < WIDTH / 2))
        assert len(corners) == 4

    def test_recompress_to_144_lines_at_a_low_rate(self, tmp_path, edited):
        rng = np.random.default_rng(0)
        noise = [resized(rng.integers(0, 256, (36, 64, 3), dtype=np.uint8), 480, 270) for _ in range(30)]
        write_video(tmp_path / "noise.mp4", noise, FPS)
        for level, bit_s in (("mild", 60_000), ("strong", 24_000)):
            path, _ = edited(tmp_path / "noise.mp4", "low_144p", level)
            assert read_still(path).shape[:2] == (144, 256)
            assert path.stat().st_size * 8 / 3.0 < 2.5 * bit_s

    @pytest.mark.parametrize(("height", "width"), [(75, 101), (120, 34), (24, 24)])
    def test_take_pictures_of_odd_and_small_sizes_and_odd_rates(self, tmp_path, edited, height, width):
        pictures = [picture_of(bool(i % 2), height, width) for i in range(12)]
        write_video(tmp_path / "odd.mp4", pictures, Fraction(30000, 1001))
        for family, level in EVERY_EDIT:
            path, _ = edited(tmp_path / "odd.mp4", family, level)
            assert [side % 2 for side in read_still(path).shape[:2]] == [0, 0]


class TestErrors:
    def test_name_the_families_and_strengths_that_there_are(self, source, edited, tmp_path):
        rng = np.random.default_rng(0)
        with pytest.raises(ValueError, match="no family 'boxes'; there are crop, mirror"):
            apply_edit(source, "boxes", "mild", tmp_path / "a.mp4", rng)
        with pytest.raises(ValueError, match="family mirror has no strength 'mild', only strong"):
            edited(source, "mirror", "mild")

    def test_send_a_family_of_several_sources_to_the_montages(self, source, tmp_path):
        with pytest.raises(ValueError, match="compilation joins several videos: plan it with plan_compilation"):
            apply_edit(source, "compilation", "mild", tmp_path / "a.mp4", np.random.default_rng(0))

    def test_ask_for_hosts_where_a_family_needs_them_and_only_there(self, source, stills, tmp_path):
        rng = np.random.default_rng(0)
        with pytest.raises(ValueError, match="picture_in_picture needs host stills"):
            apply_edit(source, "picture_in_picture", "mild", tmp_path / "a.mp4", rng)
        with pytest.raises(ValueError, match="clip_inside needs 3 host stills, got 1"):
            apply_edit(source, "clip_inside", "strong", tmp_path / "a.mp4", rng, host_stills=stills[:1])
        with pytest.raises(ValueError, match="mirror takes no host"):
            apply_edit(source, "mirror", "strong", tmp_path / "a.mp4", rng, host_stills=stills)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("span_s", [(2.0, 2.0), (-1.0, 2.0), (1.0, 9.0)])
    def test_refuse_a_span_outside_of_the_source(self, source, edited, span_s):
        with pytest.raises(ValueError, match=r"span .* is not in its 6\.400 s"):
            edited(source, "blur", "mild", span_s=span_s)


def test_a_cut_starts_at_the_asked_picture(source, tmp_path):
    truth = cut_clip(source, tmp_path / "cut.mp4", start_s=1.5, duration_s=2.0)
    bits, times_s = shown(tmp_path / "cut.mp4", truth)
    assert np.array_equal(bits, BITS[15:35])
    assert np.array_equal(bits, bits_at(times_s))
    assert (truth.start_s, truth.end_s, truth.query_end_s) == (1.5, 3.5, 2.0)

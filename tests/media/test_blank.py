"""Which pictures show something: the rule is narrow, because a false alarm loses a frame of somebody's video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.media.made_files import read, write_frames
from visil.media.blank import has_content
from visil.media.preprocessing import Preprocessing
from visil.synth.lettering import lettering
from visil.synth.scenes import distinct_scenes, scene_pictures

SIZE = 224
WHITE, YELLOW, CYAN, GREEN, MAGENTA, RED, BLUE, BLACK = (
    (191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191), (19, 19, 19)
)  # fmt: skip


def one(image: np.ndarray) -> bool:
    """Whether a single picture shows something."""
    (shows,) = has_content(image[None], "flat-spots")
    return bool(shows)


def flat(colour: tuple[int, int, int] | int, size: int = SIZE) -> np.ndarray:
    return np.full((size, size, 3), colour, np.uint8)


def band(colours: list[tuple[int, int, int]], height: int) -> np.ndarray:
    """Vertical stripes of equal width, as wide as a picture."""
    edges = np.linspace(0, SIZE, len(colours) + 1).round().astype(int)
    row = np.concatenate(
        [np.tile(colour, (b - a, 1)) for colour, a, b in zip(colours, edges[:-1], edges[1:], strict=True)]
    )
    return np.repeat(row[None], height, axis=0).astype(np.uint8)


def smpte_bars() -> np.ndarray:
    """Seven bars, the narrow castellations below them, and the row of the black levels."""
    bars = band([WHITE, YELLOW, CYAN, GREEN, MAGENTA, RED, BLUE], 150)
    castellations = band([BLUE, BLACK, MAGENTA, BLACK, CYAN, BLACK, WHITE], 18)
    levels = band([(0, 33, 76), (255, 255, 255), (50, 0, 106), BLACK, (9, 9, 9), (29, 29, 29), BLACK], 56)
    return np.concatenate([bars, castellations, levels])


def with_text(ground: np.ndarray, lines: list[str], colour: int, height_px: int) -> np.ndarray:
    picture = ground.copy()
    for number, line in enumerate(lines):
        mask = lettering(line, height_px)[:, : SIZE - 20]
        top = 30 + number * (height_px + 10)
        picture[top : top + mask.shape[0], 10 : 10 + mask.shape[1]][mask] = colour
    return picture


def filmed(tmp_path: Path, picture: np.ndarray) -> np.ndarray:
    """A picture as it looks after a strong H.264 compression and the resizing of the reader, uint8 [224, 224, 3]."""
    noise = np.random.default_rng(0).normal(0, 1.5, (3, 144, 176, 3))
    rows = np.linspace(0, SIZE - 1, 144).astype(int)
    columns = np.linspace(0, SIZE - 1, 176).astype(int)
    small = picture[rows][:, columns]
    pictures = [np.clip(small + n, 0, 255).round().astype(np.uint8) for n in noise]
    path = write_frames(tmp_path / "filmed.avi", pictures, fps=1, codec="mpeg4")
    return read(path, Preprocessing(size_px=SIZE, min_samples=1))[-1].images[-1]


class TestBlank:
    @pytest.mark.parametrize("colour", [0, 16, 128, 235, 255, (255, 0, 0), (0, 43, 127)])
    def test_one_colour_is_blank(self, colour):
        assert not one(flat(colour))

    @given(seed=st.integers(0, 2**32 - 1), grey=st.integers(0, 255))
    def test_one_colour_with_codec_noise_is_blank(self, seed, grey):
        noise = np.random.default_rng(seed).normal(0, 1.2, (SIZE, SIZE, 3))
        assert not one(np.clip(grey + noise, 0, 255).round().astype(np.uint8))

    def test_colour_bars_are_blank(self):
        assert not one(smpte_bars())
        assert not one(band([WHITE, YELLOW, CYAN, GREEN, MAGENTA, RED, BLUE, BLACK], SIZE))

    @pytest.mark.parametrize(
        "picture", [flat(0), flat(16), flat((0, 0, 191)), smpte_bars()], ids=["black", "video black", "blue", "bars"]
    )
    def test_what_is_blank_stays_blank_when_it_is_filmed(self, tmp_path, picture):
        assert not one(filmed(tmp_path, picture))

    def test_a_few_stuck_pixels_show_nothing(self):
        picture = flat(0)
        picture[::40, ::40] = 255
        assert not one(picture)

    def test_every_picture_is_judged_for_itself(self):
        pictures = np.stack([flat(0), with_text(flat(0), ["THE END"], 255, 28), flat(255)])
        assert has_content(pictures, "flat-spots").tolist() == [False, True, False]

    def test_no_picture_gives_no_answer(self):
        assert has_content(np.zeros((0, SIZE, SIZE, 3), np.uint8), "flat").shape == (0,)


def night_with_lights() -> np.ndarray:
    rng = np.random.default_rng(1)
    picture = flat(3)
    for y, x in rng.integers(5, SIZE - 5, (40, 2)):
        picture[y - 2 : y + 3, x - 2 : x + 3] = rng.integers(90, 255, 3)
    return picture


def gradient(levels: int) -> np.ndarray:
    row = np.linspace(100, 100 + levels, SIZE).round().astype(np.uint8)
    return np.repeat(np.repeat(row[None, :, None], SIZE, axis=0), 3, axis=2)


def letterboxed_scene() -> np.ndarray:
    picture = flat(0)
    picture[84:140] = gradient(120)[84:140]
    return picture


def scene(number: int) -> np.ndarray:
    pictures = scene_pictures(
        distinct_scenes(np.random.default_rng(5), 8)[number], duration_s=2, fps=1, size_px=(SIZE, SIZE)
    )
    return next(iter(pictures))


CONTENT = {
    "night scene with small lights": night_with_lights(),
    "slide with text": with_text(flat(250), ["QUARTERLY RESULTS", "UP AND DOWN", "NEXT STEPS"], 20, 14),
    "title card": with_text(flat(0), ["THE END"], 255, 28),
    "faint title card": with_text(flat(60), ["CHAPTER ONE"], 90, 21),
    "gradient": gradient(80),
    "grey gradient of a clear sky": gradient(25),
    "scene between black bars": letterboxed_scene(),
    "flag of three stripes": band([BLUE, WHITE, RED], SIZE),
    "fence": np.repeat(np.tile(np.repeat([40, 200], 4), 28)[None, :, None], SIZE, 0).repeat(3, 2).astype(np.uint8),
    "horizon": np.concatenate([flat((90, 140, 220))[:120], flat((60, 110, 50))[:104]]),
    **{f"scene {number}": scene(number) for number in range(8)},
}


class TestContent:
    @pytest.mark.parametrize("name", CONTENT)
    def test_is_content(self, name):
        assert one(CONTENT[name])

    @pytest.mark.parametrize("name", CONTENT)
    def test_is_content_when_it_is_filmed(self, tmp_path, name):
        assert one(filmed(tmp_path, CONTENT[name]))

    @pytest.mark.parametrize("size", [1, 2, 15, 16])
    def test_tiny_pictures_are_judged_too(self, size):
        assert not one(flat(7, size))
        picture = flat(7, size)
        picture[: size // 2] = 200
        assert one(picture) == (size > 2)


def with_square(ground: int, side: int, levels: int, size: int = 160) -> np.ndarray:
    picture = flat(ground, size)
    picture[70 : 70 + side, 41 : 41 + side] = ground + levels
    return picture


SPOTS = {
    "a lamp": with_square(4, 3, 40),
    "a street of lamps": night_with_lights(),
    "something dark on white": with_square(240, 4, -60),
    "a line of text": with_text(flat(0), ["REC"], 200, 7),
    "a logo in a corner": with_text(flat(16), ["TV"], 90, 14),
}


def stripes(
    count: int, height: int = SIZE, *, one: tuple[int, int, int] = WHITE, other: tuple[int, int, int] = BLACK
) -> np.ndarray:
    return band([(one, other)[k % 2] for k in range(count)], height)


class TestWhereTheRuleEnds:
    """A bundle names it, so what it says of a picture stays."""

    @pytest.mark.parametrize("channel", range(3))
    @pytest.mark.parametrize(("levels", "shows"), [(9, False), (10, True)])
    def test_ten_levels_in_one_channel_are_content(self, channel, levels, shows):
        picture = flat(100)
        picture[:, 80:, channel] += np.uint8(levels)
        assert one(picture) == shows

    @pytest.mark.parametrize(("height", "width", "shows"), [(2, 112, False), (4, 224, True)])
    def test_noise_to_the_older_rule_is_half_a_percent_of_the_pixels(self, height, width, shows):
        picture = flat(100)
        picture[50 : 50 + height, :width] = 200
        assert has_content(picture[None], "flat").tolist() == [shows]

    @pytest.mark.parametrize(("levels", "shows"), [(12, True), (13, False)])
    def test_borders_of_bars_are_steps_of_more_than_twelve_levels(self, levels, shows):
        assert one(stripes(7, one=(100,) * 3, other=(100 + levels,) * 3)) == shows

    @pytest.mark.parametrize("channel", range(3))
    def test_bars_may_differ_in_one_channel(self, channel):
        assert not one(stripes(7, one=(40, 40, 40), other=tuple(40 + 150 * (k == channel) for k in range(3))))

    @pytest.mark.parametrize(("count", "shows"), [(4, True), (5, False), (16, False), (17, True)])
    def test_five_to_sixteen_stripes_are_bars(self, count, shows):
        assert one(stripes(count)) == shows

    @pytest.mark.parametrize(("num_bands", "shows"), [(1, False), (2, False), (3, False), (4, True)])
    def test_bars_have_three_bands_at_most(self, num_bands, shows):
        bands = [stripes(5 + k % 2, SIZE // num_bands) for k in range(num_bands)]
        assert one(np.concatenate(bands)) == shows

    def test_bands_may_differ_in_few_of_their_bars(self):
        usual, other = [WHITE, YELLOW, CYAN, GREEN, MAGENTA, RED, BLUE], [WHITE, RED, CYAN, GREEN, BLUE, RED, BLUE]
        assert not one(np.concatenate([band(usual, 75), band(other, 75), band(usual, 74)]))

    def test_a_border_that_is_spread_over_four_pixels_is_one(self):
        picture = stripes(10)
        for start in np.flatnonzero(np.abs(np.diff(picture[0, :, 0].astype(int)))):
            picture[:, start - 1 : start + 3] = 105
        assert not one(picture)

    @pytest.mark.parametrize(("num_stray", "shows"), [(30, False), (100, True)])
    def test_a_stray_pixel_of_a_thousand_does_not_matter_in_bars(self, num_stray, shows):
        picture = stripes(7)
        rows, columns = np.divmod(np.arange(num_stray), 10)
        picture[10 + 18 * rows, 10 + 20 * columns] = 105
        assert one(picture) == shows

    @pytest.mark.parametrize(("height", "width"), [(1, 20), (20, 1)])
    def test_lines_in_bars_are_content_along_them_or_across(self, height, width):
        picture = stripes(7)
        for k in range(10):
            top, left = 8 + 21 * k, 6 + 32 * (k % 7)
            picture[top : top + height, left : left + width] = 105
        assert one(picture)

    @pytest.mark.parametrize(("levels", "shows"), [(19, False), (20, True)])
    def test_a_spot_differs_by_twenty_levels(self, levels, shows):
        assert one(with_square(4, 3, levels)) == shows

    @pytest.mark.parametrize(("num_stuck", "shows"), [(2, False), (3, True)])
    def test_three_pixels_in_a_row_are_a_spot(self, num_stuck, shows):
        picture = flat(4, 160)
        picture[70, 41 : 41 + num_stuck] = 255
        assert one(picture) == shows


class TestSpots:
    """Small bright or dark things on one colour: content by the rule `flat-spots`, noise by the older `flat`."""

    @pytest.mark.parametrize("name", SPOTS)
    def test_are_content(self, name):
        assert one(SPOTS[name])

    @pytest.mark.parametrize("name", ["a lamp", "something dark on white", "a line of text", "a logo in a corner"])
    def test_were_noise_to_the_older_rule(self, name):
        assert has_content(SPOTS[name][None], "flat").tolist() == [False]

    def test_are_nothing_to_the_rule_that_keeps_every_frame(self):
        assert has_content(np.stack([flat(0), flat(255)]), "keep").tolist() == [True, True]

    @pytest.mark.parametrize(("side", "levels"), [(1, 200), (3, 15), (160, 9)])
    def test_that_are_a_stuck_pixel_or_as_faint_as_noise_are_none(self, side, levels):
        assert not one(with_square(4, side, levels))

    @given(levels=st.integers(0, 9), ground=st.integers(0, 200))
    def test_are_none_in_a_faint_gradient(self, levels, ground):
        row = np.linspace(ground, ground + levels, 160).astype(np.uint8)
        assert not one(np.repeat(row[None, :, None], 160, axis=0).repeat(3, axis=2))

    @pytest.mark.parametrize(
        ("codec", "options"),
        [("libx264", {"crf": "35"}), ("mpeg4", {"b": "60000"}), ("mjpeg", {"qmin": "25", "qmax": "31"})],
    )
    def test_are_none_in_black_of_a_noisy_sensor_through_a_strong_codec(self, codec, options, tmp_path):
        rng = np.random.default_rng(0)
        stuck = rng.integers(0, 240, (8, 2))
        pictures = np.clip(rng.normal(6, 6, (12, 240, 320, 3)), 0, 255).round().astype(np.uint8)
        pictures[:, stuck[:, 0], stuck[:, 1]] = 255
        path = write_frames(tmp_path / "a.mkv", pictures, fps=2, codec=codec, codec_options=options)
        for chunk in read(path, Preprocessing(size_px=160, min_samples=1)):
            assert not has_content(chunk.images, "flat-spots").any()

    @pytest.mark.parametrize(
        ("name", "shows"), [("lights_at_night", True), ("other_lights", True), ("nothing_but_black", False)]
    )
    def test_of_the_field_reports(self, name, shows, shared_data):
        for chunk in read(shared_data / "field_reports" / f"{name}.mp4", Preprocessing(size_px=160)):
            assert (has_content(chunk.images, "flat-spots") == shows).all()

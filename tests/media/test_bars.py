"""What is a black bar and what is not, on pictures whose bars are known to the pixel; and that files lose them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.media.made_files import read, write_frames
from tests.media.test_pictures import VPX
from tests.media.test_pyav_reader import followed_by_zeros
from tests.media.test_readers import StubReader
from visil.errors import MediaError
from visil.media import bar_pictures
from visil.media.bar_pictures import bars_of_file, bars_of_first, bars_of_key_frames
from visil.media.bars import MOST_PICTURES, Bars, BarsMeter, Cutter
from visil.media.decoding import decode_files
from visil.media.limits import DecodeLimits
from visil.media.one_pass import Asked, Decoding
from visil.media.preprocessing import PRESETS, Preprocessing
from visil.media.pyav_reader import PyAVReader
from visil.media.sampling import ShownFrame
from visil.synth.lettering import lettering
from visil.values import Frames, VideoInfo

WIDTH, HEIGHT = 192, 120
CUT = Preprocessing(size_px=32, min_samples=1)
KEPT = replace(CUT, bars="keep")
Sides = tuple[int, int, int, int]  # pixels on the left, on the right, at the top, at the bottom


def scene(count: int, size_px: tuple[int, int] = (WIDTH, HEIGHT), *, seed: int = 0) -> list[np.ndarray]:
    """Bright tiles that pass by, uint8 RGB [H, W, 3]; no straight line stays where it is."""
    width, height = size_px
    tiles = np.random.default_rng(seed).integers(40, 256, (height // 5 + 2, width // 5 + 2, 1)).repeat(3, axis=2)
    large = tiles.repeat(7, axis=0).repeat(7, axis=1).astype(np.uint8)
    return [np.roll(large, (5 * k, 11 * k), axis=(0, 1))[:height, :width] for k in range(count)]


def between(
    pictures: Iterable[np.ndarray],
    sides: Sides,
    *,
    level: int = 0,
    noise: float = 0.0,
    size_px: tuple[int, int] = (0, 0),
) -> list[np.ndarray]:
    """The pictures between bars of one grey level, with noise over everything."""
    left, right, top, bottom = sides
    rng = np.random.default_rng(1)
    padded = [np.pad(p, ((top, bottom), (left, right), (0, 0)), constant_values=level) for p in pictures]
    return [np.clip(p + rng.normal(0, noise, p.shape), 0, 255).round().astype(np.uint8) for p in padded]


def framed(
    count: int, sides: Sides, *, size_px: tuple[int, int] = (WIDTH, HEIGHT), **options: float
) -> list[np.ndarray]:
    """A scene between bars, in pictures of this size as a whole."""
    left, right, top, bottom = sides
    return between(scene(count, (size_px[0] - left - right, size_px[1] - top - bottom)), sides, **options)  # type: ignore[arg-type]


def frames(pictures: Iterable[np.ndarray]) -> list[av.VideoFrame]:
    return [av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24") for picture in pictures]


def sides_of(bars: Bars, size_px: tuple[int, int] = (WIDTH, HEIGHT)) -> Sides:
    width, height = size_px
    return round(bars.left * width), round(bars.right * width), round(bars.top * height), round(bars.bottom * height)


def measured(pictures: Sequence[np.ndarray]) -> Sides:
    """The bars that these pictures have in common, in pixels of the first."""
    meter = BarsMeter()
    for picture in frames(pictures):
        meter.add(picture)
    return sides_of(meter.bars(), (pictures[0].shape[1], pictures[0].shape[0]))


NONE = (0, 0, 0, 0)
LETTERBOX, PILLARBOX, BOTH = (0, 0, 16, 16), (60, 60, 0, 0), (24, 24, 20, 20)


class TestBars:
    @pytest.mark.parametrize("sides", [LETTERBOX, PILLARBOX, BOTH, (0, 0, 0, 21), (13, 0, 0, 0), (3, 5, 7, 9)])
    def test_are_found_to_the_pixel(self, sides):
        assert measured(framed(8, sides)) == sides

    def test_are_not_found_where_there_are_none(self):
        assert measured(scene(8)) == NONE

    @given(sides=st.tuples(*[st.one_of(st.just(0), st.integers(2, 40))] * 4), level=st.integers(0, 20))
    def test_of_any_thickness_are_found(self, sides, level):
        assert measured(framed(4, sides, level=level)) == sides

    @pytest.mark.parametrize("level", [8, 20, 40, 60])
    def test_may_be_dark_grey_and_noisy(self, level):
        pictures = framed(8, PILLARBOX, level=level, noise=3)
        np.testing.assert_allclose(measured(pictures), PILLARBOX, atol=1)

    def test_that_are_no_longer_dark_stay(self):
        assert measured(framed(8, PILLARBOX, level=90)) == NONE

    @pytest.mark.parametrize("colour", [(0, 0, 160), (120, 0, 0)])
    def test_of_a_colour_stay(self, colour):
        pictures = framed(8, PILLARBOX)
        for picture in pictures:
            picture[:, :60] = picture[:, -60:] = colour
        assert measured(pictures) == NONE

    @pytest.mark.parametrize(("codec", "bitrate"), [("mpeg4", 200_000), ("mjpeg", 900_000), ("libx264", 60_000)])
    @pytest.mark.parametrize("sides", [(219, 219, 0, 0), (0, 0, 45, 45)])
    def test_are_found_through_what_codecs_make_of_them(self, codec, bitrate, sides, tmp_path):
        pictures = framed(40, sides, size_px=(640, 360), level=10, noise=4)
        path = write_frames(tmp_path / "a.mkv", pictures, codec=codec, codec_options={"b": str(bitrate)})
        with av.open(str(path)) as container:
            decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        np.testing.assert_allclose(measured(decoded[::3]), sides, atol=1)

    def test_with_a_film_in_them_that_is_smaller_than_half_of_each_side(self):
        """A letterboxed film in a vertical video between bars."""
        sides = (66, 66, 45, 45)
        assert measured(framed(8, sides)) == sides

    def test_thinner_than_a_hundredth_of_the_side_stay(self):
        assert measured(framed(8, (2, 0, 0, 0), size_px=(300, 120))) == NONE
        assert measured(framed(8, (3, 0, 0, 0), size_px=(300, 120))) == (3, 0, 0, 0)

    def test_that_leave_less_than_a_fifth_of_a_side_stay(self):
        assert measured(framed(8, (76, 76, 0, 0))) == (76, 76, 0, 0)
        assert measured(framed(8, (78, 78, 0, 0))) == NONE

    def test_are_those_of_the_whole_video_whatever_the_order_of_the_pictures(self):
        pictures = [*framed(4, LETTERBOX), *scene(1, seed=3), *framed(4, LETTERBOX)]
        assert measured(pictures) == measured(pictures[::-1]) == NONE

    def test_on_one_side_only_are_cut_on_that_side(self):
        """What is written into a bar keeps its whole side."""
        pictures = framed(8, (0, 0, 30, 30))
        text = lettering("A SUBTITLE", 14)[:, :170]
        for picture in pictures:
            picture[-20 : -20 + len(text), 10 : 10 + text.shape[1]][text] = 255
        assert measured(pictures) == (0, 0, 30, 0)

    def test_that_once_hold_something_stay(self):
        pictures = framed(8, (0, 0, 30, 30))
        pictures[5][100:112, 90:102] = 200  # a logo
        assert measured(pictures) == (0, 0, 30, 0)

    def test_show_through_a_fade_from_black_and_pictures_of_nothing(self):
        fade = [(p * share).astype(np.uint8) for p, share in zip(framed(4, LETTERBOX), (0, 0.1, 0.4, 0.8), strict=True)]
        flash = [np.full((HEIGHT, WIDTH, 3), 255, np.uint8)]
        assert measured([*fade, *flash, *framed(5, LETTERBOX)]) == LETTERBOX

    @pytest.mark.parametrize("thickness", [(30, 31), (31, 30)])
    def test_whose_edges_differ_by_a_pixel_are_cut_by_the_thinner_one(self, thickness):
        """No picture loses a line."""
        pictures = [framed(8, (0, 0, thickness[k % 2], 0))[k] for k in range(8)]
        assert measured(pictures) == (0, 0, 30, 0)

    def test_of_a_stream_that_changes_its_size_are_shares(self):
        pictures = [*framed(3, PILLARBOX), *framed(3, (120, 120, 0, 0), size_px=(2 * WIDTH, 2 * HEIGHT))]
        assert measured(pictures) == PILLARBOX

    def test_of_two_different_grey_levels_stay(self):
        assert measured([*framed(4, PILLARBOX), *framed(4, PILLARBOX, level=40)]) == NONE

    def test_with_small_bright_writing_beside_the_picture_stay(self):
        pictures = framed(8, LETTERBOX)
        for picture in pictures:
            picture[6:12, 80:110:2] = 220
        assert measured(pictures) == (0, 0, 0, 16)

    def test_may_be_what_transparency_leaves_black(self):
        meter = BarsMeter()
        for picture in scene(8):
            seen = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
            seen[16:-16] = 255
            meter.add(av.VideoFrame.from_ndarray(np.concatenate([picture, seen], axis=2), format="rgba"))
        assert sides_of(meter.bars()) == LETTERBOX

    def test_are_not_told_from_a_damaged_picture(self):
        meter = BarsMeter()
        meter.add(SimpleNamespace(is_corrupt=True))  # type: ignore[arg-type]
        assert meter.num_pictures == 0

    def test_of_no_pictures_are_none(self):
        assert BarsMeter().bars() == Bars()
        assert measured([np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 3) == NONE

    @pytest.mark.parametrize("size_px", [(1, 1), (2, 2), (1, 40), (40, 1), (5, 3)])
    def test_of_tiny_pictures_are_looked_for_too(self, size_px):
        measured(scene(3, size_px))


def night() -> list[np.ndarray]:
    """Lamps that pass by on black."""
    pictures = np.zeros((8, HEIGHT, WIDTH, 3), np.uint8)
    for k, (y, x) in enumerate(np.random.default_rng(0).integers(20, 90, (8, 2))):
        pictures[k, y : y + 6, x : x + 6] = pictures[k, HEIGHT - y, 150:160] = 220
    return list(pictures)


def product(radius: int) -> list[np.ndarray]:
    """A round thing that turns on black."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inside = (y - 60) ** 2 + (x - 96) ** 2 < radius**2
    return [p * inside[..., None].astype(np.uint8) for p in scene(8)]


def written(lines: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """Light text on black, from the same left edge on: slides, or a terminal."""
    pictures = np.zeros((len(lines), HEIGHT, WIDTH, 3), np.uint8)
    for picture, text in zip(pictures, lines, strict=True):
        for number, line in enumerate(text):
            mask = lettering(line, 7)[:, :150]
            picture[12 + 11 * number : 12 + 11 * number + len(mask), 20 : 20 + mask.shape[1]][mask] = 200
    return list(pictures)


def dark_at_the_edges_for_a_while() -> list[np.ndarray]:
    return [*framed(4, LETTERBOX), *scene(4, seed=2)]


def dark_vignette() -> list[np.ndarray]:
    """Light that falls off towards all sides, to black before them."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    light = np.clip(1.1 - np.hypot((y - 60) / 60, (x - 96) / 96), 0, 1)
    return [(p * light[..., None]).astype(np.uint8) for p in scene(8)]


def horizon() -> list[np.ndarray]:
    """A ragged skyline below a black sky."""
    heights = np.random.default_rng(0).integers(40, 90, WIDTH // 8).repeat(8)
    below = np.arange(HEIGHT)[:, None] > np.roll(heights, 3)
    return [p * below[..., None].astype(np.uint8) for p in scene(8)]


TYPED = ["LS", "README", "CAT README", "HELLO", "LS", "TOP", "LOAD OF ONE", "EXIT"]
NO_BARS = {
    "lamps at night": night(),
    "a small thing on black": product(25),
    "a thing on black": product(30),
    "a large thing on black": product(55),
    "a dark thing on black": [np.where(p > 0, p // 8 + 25, 0).astype(np.uint8) for p in product(45)],
    "slides on black": written([["SALES", "UP AND DOWN"], ["NEXT STEPS", "ONE", "TWO"], ["THE END"], ["QUESTIONS"]]),
    "a terminal": written([TYPED[:k] for k in range(2, 9)]),
    "edges that are dark for a while": dark_at_the_edges_for_a_while(),
    "a vignette": dark_vignette(),
    "a skyline under a black sky": horizon(),
}  # fmt: skip


class TestNoBars:
    @pytest.mark.parametrize("name", NO_BARS)
    def test_are(self, name):
        assert measured(NO_BARS[name]) == NONE


class TestFewPictures:
    """A still picture, or a video of one: little evidence, so only bars of one thickness on opposite sides count."""

    @pytest.mark.parametrize("sides", [LETTERBOX, PILLARBOX, BOTH])
    def test_of_a_film_between_bars_lose_them(self, sides):
        assert measured(framed(1, sides)) == sides
        assert measured(framed(1, sides) * 5) == sides

    def test_keep_what_is_dark_on_one_side_only(self):
        assert measured(framed(1, (0, 0, 40, 0))) == NONE
        assert measured(framed(1, (0, 0, 40, 0)) * 5) == NONE

    def test_keep_the_ground_around_a_logo(self):
        assert measured(framed(1, (70, 70, 40, 40))) == NONE
        assert measured(framed(1, (70, 70, 40, 40)) * 5) == NONE


class TestCutter:
    @pytest.mark.parametrize(
        "kind", ["yuv420p", "yuvj422p", "yuv444p10le", "nv12", "rgb24", "rgba", "gray", "yuva420p"]
    )
    def test_shows_what_the_whole_picture_shows_there(self, kind):
        (picture,) = frames(scene(1, (64, 48)))
        picture = picture.reformat(format=kind)
        cut = Cutter(Bars(Fraction(8, 64), Fraction(4, 64), Fraction(6, 48), Fraction(10, 48)))(picture)
        assert (cut.width, cut.height, cut.format.name) == (52, 32, kind)
        whole = picture.reformat(format="rgb24").to_ndarray()[6:38, 8:60].astype(int)
        np.testing.assert_allclose(cut.reformat(format="rgb24").to_ndarray()[2:-2, 2:-2], whole[2:-2, 2:-2], atol=2)

    def test_cuts_at_odd_places_too(self):
        (picture,) = frames(scene(1, (64, 48)))
        picture = picture.reformat(format="yuv420p")
        cut = Cutter(Bars(left=Fraction(7, 64), bottom=Fraction(3, 48)))(picture)
        assert (cut.width, cut.height) == (57, 45)
        lightness = picture.reformat(format="gray").to_ndarray()[:45, 7:]
        np.testing.assert_array_equal(cut.reformat(format="gray").to_ndarray(), lightness)

    def test_without_bars_does_nothing(self):
        (picture,) = frames(scene(1))
        assert Cutter(Bars())(picture) is picture

    def test_cuts_pictures_of_another_size_by_the_same_share(self):
        cut = Cutter(Bars(left=Fraction(1, 4)))
        small, large = frames([*scene(1, (64, 48)), *scene(1, (128, 96))])
        assert [cut(picture).width for picture in (small, large, small)] == [48, 96, 48]

    def test_leaves_the_picture_its_time_colours_and_turn(self, tmp_path):
        path = write_frames(tmp_path / "a.mp4", framed(3, PILLARBOX), codec="libx264", rotation_deg=90)
        with av.open(str(path)) as container:
            picture = list(container.decode(video=0))[1]
        facts = picture.pts, picture.rotation, picture.colorspace, picture.color_range
        cut = Cutter(Bars(left=Fraction(1, 4)))(picture)
        assert picture.rotation == 90
        assert (picture.pts, cut.rotation, cut.colorspace, cut.color_range) == facts


class TestTurnedBars:
    SIDES = Bars(left=Fraction(1, 10), right=Fraction(2, 10), top=Fraction(3, 10), bottom=Fraction(4, 10))

    @pytest.mark.parametrize("degrees", [0, 90, 180, 270, -90])
    def test_leave_what_the_turned_picture_shows(self, degrees):
        (picture,) = scene(1, (100, 100))
        inside = picture[30:60, 10:80]
        bars = self.SIDES.turned(degrees)
        left, right, top, bottom = sides_of(bars, (100, 100))
        turned = np.rot90(picture, degrees // 90)
        np.testing.assert_array_equal(turned[top : 100 - bottom, left : 100 - right], np.rot90(inside, degrees // 90))

    @pytest.mark.parametrize(("rotation_deg", "size_px"), [(0, (70, 30)), (90, (30, 70))])
    def test_leave_a_size(self, rotation_deg, size_px):
        video = VideoInfo((100, 100), (100, 100), (100, 100), rotation_deg, "h264", 0.0)
        inside = self.SIDES.inside(video)
        assert (inside.coded_size_px, inside.rotated_size_px, inside.square_pixel_size_px) == (
            (70, 30),
            size_px,
            size_px,
        )


def film(path: Path, pictures: Sequence[np.ndarray], **options: object) -> Path:
    settings = {"fps": 1, "codec": "libx264", "codec_options": {"crf": "12", "g": "4"}, **options}
    return write_frames(path, pictures, **settings)  # type: ignore[arg-type]


def asked(path: Path, preprocessing: Preprocessing = CUT) -> Asked:
    return Asked(path, preprocessing, None, False, lambda: None)


def images(path: Path, preprocessing: Preprocessing = CUT, reader: object = None, **options: object) -> np.ndarray:
    chunks = (reader or PyAVReader()).read(path, preprocessing, **options)  # type: ignore[attr-defined]
    return np.concatenate([chunk.images for chunk in chunks])


class TestReading:
    @pytest.mark.parametrize("sides", [LETTERBOX, PILLARBOX, BOTH])
    def test_gives_nearly_the_pictures_that_there_are_without_bars(self, sides, tmp_path):
        with_bars = film(tmp_path / "a.mp4", framed(12, sides))
        inside = [p[sides[2] : HEIGHT - sides[3], sides[0] : WIDTH - sides[1]] for p in framed(12, sides)]
        without = film(tmp_path / "b.mp4", inside)
        difference = np.abs(images(with_bars).astype(int) - images(without))
        assert difference.mean() < 4
        assert np.abs(images(with_bars, KEPT).astype(int) - images(without)).mean() > 20

    def test_says_of_the_video_what_the_file_says(self, tmp_path):
        (chunk,) = read(film(tmp_path / "a.mp4", framed(12, PILLARBOX)), CUT)
        assert chunk.video.coded_size_px == chunk.video.square_pixel_size_px == (WIDTH, HEIGHT)

    def test_brings_the_short_side_of_what_is_left_to_its_size(self, tmp_path):
        path = film(tmp_path / "a.mp4", framed(12, PILLARBOX), sample_aspect=Fraction(2))
        (chunk,) = read(path, Preprocessing(size_rule="short-side", size_px=60, min_samples=1))
        assert chunk.images.shape == (12, 60, 72, 3)  # 72 x 120 pixels of two to one

    def test_turns_after_cutting(self, tmp_path):
        pictures = framed(12, (0, 0, 24, 12))
        upright = film(tmp_path / "a.mp4", pictures)
        turned = film(tmp_path / "b.mp4", pictures, rotation_deg=90)
        np.testing.assert_allclose(images(turned), np.rot90(images(upright), axes=(1, 2)), atol=1)

    @pytest.mark.parametrize("length_s", [5, 20, 90])
    def test_is_the_same_in_part_in_full_and_by_number(self, length_s, tmp_path):
        path = film(tmp_path / "a.mp4", framed(2 * length_s, BOTH), fps=2)
        preprocessing = replace(CUT, min_samples=8)
        expected = images(path, preprocessing)
        np.testing.assert_array_equal(images(path, preprocessing, PyAVReader(in_full=True)), expected)
        np.testing.assert_allclose(images(path, preprocessing, StubReader()), expected, atol=3)
        kept = images(path, replace(preprocessing, bars="keep"))
        assert np.abs(kept.astype(int) - expected).mean() > 20
        if length_s > 8:
            np.testing.assert_array_equal(images(path, CUT, span_s=(3, 8)), expected[3:8])

    def test_by_number_cuts_a_turned_film(self, tmp_path):
        path = film(tmp_path / "a.mp4", framed(12, (0, 0, 24, 12)), rotation_deg=90)
        np.testing.assert_allclose(images(path, CUT, StubReader()), images(path), atol=3)

    def test_of_a_part_goes_by_the_whole_file(self, tmp_path):
        path = film(tmp_path / "a.mp4", [*scene(3, seed=4), *framed(20, LETTERBOX)])
        np.testing.assert_array_equal(images(path, span_s=(10, 15)), images(path, KEPT, span_s=(10, 15)))

    def test_keeps_bars_where_the_bundle_says_so(self, tmp_path):
        path = film(tmp_path / "a.mp4", framed(12, PILLARBOX))
        for preset in ("paper-visil", "paper-s2vs"):
            assert bars_of_file(asked(path, PRESETS[preset])) == Bars()
        assert sides_of(bars_of_file(asked(path, PRESETS["whole-frame"]))) == PILLARBOX

    def test_of_a_still_picture_cuts_what_a_film_would_lose(self, tmp_path):
        options = {"codec": "png", "container": "image2", "pixel_format": "rgb24"}
        still = write_frames(tmp_path / "a.png", framed(1, LETTERBOX), **options)
        path = film(tmp_path / "a.mp4", framed(12, LETTERBOX))
        assert np.abs(images(still, stills=True)[0].astype(int) - images(path)[0]).mean() < 4


class TestKeyFrames:
    """Of a video of a minute or more they are reached by seeking."""

    @pytest.fixture
    def seen(self, monkeypatch) -> list[av.VideoFrame]:
        """The pictures that are measured."""
        pictures: list[av.VideoFrame] = []
        add = BarsMeter.add

        def add_seen(meter: BarsMeter, picture: av.VideoFrame) -> None:
            pictures.append(picture)
            add(meter, picture)

        monkeypatch.setattr(BarsMeter, "add", add_seen)
        return pictures

    def test_from_all_over_the_video_are_measured(self, tmp_path):
        """So a dark first minute does not matter, and neither does what its first samples show."""
        dark = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 70
        path = film(tmp_path / "a.mp4", [*dark, *framed(60, LETTERBOX)])
        assert sides_of(bars_of_file(asked(path))) == LETTERBOX

    @pytest.mark.parametrize(("length_s", "most"), [(600, MOST_PICTURES), (75, 5)])
    def test_are_at_most_sixteen_and_few_of_a_shorter_video(self, length_s, most, tmp_path, seen):
        path = film(tmp_path / "a.mkv", framed(length_s, LETTERBOX), codec_options={"crf": "40", "g": "2"})
        assert sides_of(bars_of_key_frames(asked(path)) or Bars()) == LETTERBOX
        assert len(seen) == most

    def test_are_one_or_two_where_no_bar_is_possible(self, tmp_path, seen):
        path = film(tmp_path / "a.mp4", scene(90))
        assert bars_of_key_frames(asked(path)) == Bars()
        assert len(seen) == 1

    def test_keep_what_is_dark_at_its_edges_for_half_of_the_time(self, tmp_path):
        path = film(tmp_path / "a.mp4", [*framed(60, LETTERBOX), *scene(60)])
        assert bars_of_file(asked(path)) == Bars()

    @pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
    def test_of_transparent_webm_are_measured_by_what_is_seen(self, codec, tmp_path):
        """Not by what FFmpeg's own decoder shows of it: noise of every picture's own beside the film."""
        rng = np.random.default_rng(0)
        with av.open(str(tmp_path / "a.webm"), "w") as output:
            stream = output.add_stream(codec, rate=1, options=VPX)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuva420p"
            for picture in scene(70):
                opaque = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
                opaque[:, :40] = opaque[:, -40:] = 0
                shown = np.where(opaque == 255, picture, rng.integers(100, 256, picture.shape)).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(np.concatenate([shown, opaque], axis=2), format="rgba")
                output.mux(stream.encode(frame.reformat(format="yuva420p")))
            output.mux(stream.encode())
        assert sides_of(bars_of_key_frames(asked(tmp_path / "a.webm")) or Bars()) == (40, 40, 0, 0)

    @pytest.mark.parametrize("container", ["mpegts", "matroska"])
    def test_are_not_looked_for_without_an_index(self, container, tmp_path):
        options = {"live": "1"} if container == "matroska" else {}
        path = film(tmp_path / "a", framed(90, LETTERBOX), container=container, container_options=options)
        told: list[str] = []
        assert bars_of_key_frames(replace(asked(path), alive=lambda: told.append("alive"))) is None
        assert told == ["alive"]  # finding that out may take as long as a packet
        assert sides_of(bars_of_file(asked(path))) == LETTERBOX

    @pytest.mark.parametrize(("num_listed", "are_measured"), [(100, False), (101, True)])
    def test_are_not_looked_for_where_the_index_ends_before_half_of_the_video(self, num_listed, are_measured, tmp_path):
        """So what the first part of it has in common is not taken for that of all."""
        path = film(tmp_path / "a.mkv", framed(200, LETTERBOX), codec_options={"crf": "40", "g": "1"})
        content = path.read_bytes()
        cues = content.rindex(bytes.fromhex("1c53bb6b"))  # at the end of the file: an entry for every key frame
        entries = [entry.start() for entry in re.finditer(rb"\xbb[\x8b-\x94]\xb3", content) if entry.start() > cues]
        os.truncate(path, entries[num_listed])
        assert (bars_of_key_frames(asked(path)) is not None) == are_measured

    @pytest.mark.parametrize(("distance_s", "are_measured"), [(30, False), (23, True)])
    def test_are_at_least_four(self, distance_s, are_measured, tmp_path):
        path = film(tmp_path / "a.mp4", framed(90, LETTERBOX), codec_options={"crf": "40", "g": str(distance_s)})
        assert (bars_of_key_frames(asked(path)) is not None) == are_measured

    def test_that_are_not_found_in_time_cost_no_frame(self, tmp_path):
        """In a download that was hardly begun: without the index at its end, seeking reads the zeros that follow."""
        path = film(tmp_path / "a.mkv", framed(70, LETTERBOX), codec_options={"crf": "40", "g": "1000"})
        cluster = bytes.fromhex("1f43b675")
        path.write_bytes(cluster.join(path.read_bytes().split(cluster)[:2]))
        followed_by_zeros(path, 60 << 30)
        events = [event for _, event in decode_files([path], CUT, workers=1, limits=DecodeLimits(stall_s=2))]
        (chunk,) = (event for event in events if isinstance(event, Frames))
        assert (len(chunk), chunk.cut_short) == (6, "stalled")
        assert chunk.warning.startswith("no further packet found for 1.8 s; --stall-seconds waits longer")

    @pytest.mark.parametrize("name", ["none.mp4", "text.mp4"])
    def test_of_what_is_no_video_are_left_to_the_reading_that_follows(self, name, tmp_path):
        (tmp_path / "text.mp4").write_text("hello")
        assert bars_of_key_frames(asked(tmp_path / name)) is None
        with pytest.raises(MediaError):
            read(tmp_path / name, CUT)

    def test_that_are_damaged_are_left_to_the_first_samples(self, tmp_path):
        path = film(tmp_path / "a.mp4", framed(90, LETTERBOX))
        content = bytearray(path.read_bytes())
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        path.write_bytes(content)
        bars_of_key_frames(asked(path))


class TestFirstSamples:
    def samples(self, pictures: Iterable[np.ndarray]):
        return ((Fraction(k), ShownFrame(Fraction(k), Fraction(1), f)) for k, f in enumerate(frames(pictures)))

    def test_come_again_from_the_first_on(self):
        bars, again = bars_of_first(self.samples(framed(40, LETTERBOX)))
        assert sides_of(bars) == LETTERBOX
        assert [int(time_s) for time_s, _ in again] == list(range(40))

    def test_are_sent_with_their_bars_while_they_wait_and_again_without(self, tmp_path):
        path = film(tmp_path / "a.mp4", framed(40, LETTERBOX))
        sent: list[tuple[int, np.ndarray]] = []
        list(PyAVReader().read(path, CUT, sampled=lambda number, sample: sent.append((number, sample.images[0]))))
        num_waiting = MOST_PICTURES - 1
        assert [number for number, _ in sent] == [*range(num_waiting), *range(40)]
        np.testing.assert_array_equal([image for _, image in sent[:num_waiting]], images(path, KEPT)[:num_waiting])
        np.testing.assert_array_equal([image for _, image in sent[num_waiting:]], images(path))

    def test_are_sent_whatever_ends_the_decoder_then(self, tmp_path, monkeypatch):
        pictures, decode = [], Decoding._pictures

        def crashing(self, packet, **options):
            pictures.extend(found := decode(self, packet, **options))
            if len(pictures) > 8:
                raise SystemError("a crash")
            return found

        monkeypatch.setattr(Decoding, "_pictures", crashing)
        sent: list[int] = []
        path = film(tmp_path / "a.mp4", framed(40, LETTERBOX), codec_options={"bf": "0"})
        with pytest.raises(SystemError):
            list(PyAVReader().read(path, CUT, sampled=lambda number, _: sent.append(number)))
        assert len(sent) >= 6  # a frame is known when the next one is there
        assert sent == list(range(len(sent)))

    def test_wait_until_sixteen_have_shown_something(self):
        dark = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 10
        left = self.samples([*dark, *framed(40, LETTERBOX)])
        bars, again = bars_of_first(left)
        assert sides_of(bars) == LETTERBOX
        assert int(next(left)[0]) == 10 + MOST_PICTURES
        again.close()  # type: ignore[attr-defined]

    def test_do_not_wait_where_no_bar_is_possible(self):
        left = self.samples(scene(40))
        assert bars_of_first(left)[0] == Bars()
        assert int(next(left)[0]) == 1

    @pytest.mark.parametrize(("num_dim", "sides", "num_waiting"), [(8, LETTERBOX, 16), (9, NONE, 9)])
    def test_do_not_wait_where_most_show_no_edge(self, num_dim, sides, num_waiting):
        dim = [(picture * 0.1).astype(np.uint8) for picture in framed(num_dim, LETTERBOX)]
        left = self.samples([*dim, *framed(16, LETTERBOX)])
        assert sides_of(bars_of_first(left)[0]) == sides
        assert int(next(left)[0]) == num_waiting

    @pytest.mark.parametrize(("limit", "value"), [("MOST_WAITING", 5), ("MOST_WAITING_BYTES", 4 * WIDTH * HEIGHT * 3)])
    def test_that_wait_are_bounded(self, limit, value, monkeypatch):
        monkeypatch.setattr(bar_pictures, limit, value)
        left = self.samples([np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 40)
        assert bars_of_first(left)[0] == Bars()
        assert int(next(left)[0]) == 5

    @pytest.mark.parametrize("failure", [MediaError("no more"), MemoryError()])
    def test_before_a_failure_come_before_it(self, failure):
        def broken():
            yield from self.samples(framed(4, LETTERBOX))
            raise failure

        bars, again = bars_of_first(broken())
        assert sides_of(bars) == LETTERBOX
        assert [int(next(again)[0]) for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(type(failure)):
            next(again)


class TestRealFiles:
    def test_of_the_field_reports_lose_the_bars_they_have(self, shared_data):
        for number in range(4):
            folder = shared_data / "field_reports"
            bars = bars_of_file(asked(folder / f"bars_{number}.mp4"))
            np.testing.assert_allclose(sides_of(bars, (320, 180)), (109, 109, 0, 0), atol=1)
            assert bars_of_file(asked(folder / f"without_bars_{number}.mp4")) == Bars()

    @pytest.mark.parametrize("name", ["lights_at_night", "other_lights", "nothing_but_black"])
    def test_of_the_night_keep_everything(self, name, shared_data):
        assert bars_of_file(asked(shared_data / "field_reports" / f"{name}.mp4")) == Bars()

    @pytest.mark.parametrize(
        ("name", "size_px", "sides"),
        [
            ("chaplin.mp4", (640, 360), (72, 72, 0, 0)),
            ("sintel_snow.mp4", (854, 480), (0, 0, 58, 58)),
            ("chair__orig22.mp4", (360, 540), (24, 24, 0, 0)),
            ("toy_table_pig__webm.webm", (720, 480), (8, 8, 0, 0)),
            ("lab_pair.mp4", (640, 360), NONE),  # a dark table
            ("concert.mp4", (540, 360), NONE),  # a dark hall
            ("sintel_trailer.mp4", (480, 204), NONE),
        ],
    )
    def test_lose_what_a_person_sees_as_bars(self, name, size_px, sides, shared_data):
        assert sides_of(bars_of_file(asked(shared_data / "videos" / name)), size_px) == sides

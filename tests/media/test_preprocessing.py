"""Sizes, resampling, crop and the checks on settings that may come from a stranger's bundle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visil.media.preprocessing import PRESETS, Preprocessing, centre_crop, output_size, resize_cubic_opencv

sides = st.integers(1, 60)
seeds = st.integers(0, 2**32 - 1)


def random_image(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


class TestOutputSize:
    @pytest.mark.parametrize(
        ("preset", "source", "size"),
        [
            ("whole-frame", (640, 360), (224, 224)),
            ("whole-frame", (1, 1200), (224, 224)),
            ("paper-visil", (640, 360), (455, 256)),
            ("paper-visil", (360, 640), (256, 455)),
            ("paper-visil", (256, 256), (256, 256)),
            ("paper-s2vs", (640, 360), (456, 256)),
            ("paper-s2vs", (360, 640), (256, 456)),
            ("paper-s2vs", (100, 100), (256, 256)),
        ],
    )
    def test_follows_the_rule_of_each_preset(self, preset, source, size):
        assert output_size(*source, PRESETS[preset]) == size

    @given(width=st.integers(1, 5000), height=st.integers(1, 5000))
    def test_the_short_side_is_the_one_asked_for_and_the_aspect_stays(self, width, height):
        for preset, rounding_px in (("paper-visil", 0.5), ("paper-s2vs", 2)):
            size = output_size(width, height, PRESETS[preset])
            assert min(size) == 256
            exact = 256 * max(width, height) / min(width, height)
            assert abs(max(size) - exact) <= rounding_px + 1e-6

    @given(width=st.integers(1, 5000), height=st.integers(1, 5000))
    def test_the_rule_of_ffmpeg_gives_even_sides_that_are_never_smaller(self, width, height):
        ours = output_size(width, height, PRESETS["paper-s2vs"])
        assert all(side % 2 == 0 for side in ours)
        assert max(ours) >= output_size(width, height, PRESETS["paper-visil"])[width < height] - 1


class TestSides:
    @given(
        preset=st.sampled_from(sorted(PRESETS)),
        size_px=st.integers(16, 300),
        crops=st.booleans(),
        short_px=st.integers(16, 2000),
        oblong=st.floats(1, 100),
        upright=st.booleans(),
    )
    def test_no_picture_comes_out_shorter_or_longer(self, preset, size_px, crops, short_px, oblong, upright):
        asked = replace(PRESETS[preset], size_px=size_px, crop_px=size_px - 2 if crops else None)
        shown = (short_px, int(short_px * oblong))
        size = output_size(*(shown if upright else shown[::-1]), asked)
        sides = [min(side, asked.crop_px or side) for side in size]
        assert asked.sides_px[0] <= min(sides) <= max(sides) <= asked.sides_px[1]


class TestCentreCrop:
    def test_takes_the_middle_and_truncates_its_offset(self):
        image = np.arange(7 * 10 * 3).reshape(7, 10, 3)
        np.testing.assert_array_equal(centre_crop(image, 4), image[1:5, 3:7])

    def test_keeps_a_side_that_is_shorter_whole(self):
        image = np.arange(3 * 10 * 3).reshape(3, 10, 3)
        np.testing.assert_array_equal(centre_crop(image, 4), image[:, 3:7])


class TestResizeCubicOpenCV:
    @given(height=sides, width=sides, scale=st.floats(0.2, 4), grey=st.integers(0, 255))
    def test_one_colour_stays_that_colour(self, height, width, scale, grey):
        image = np.full((height, width, 3), grey, np.uint8)
        resized = resize_cubic_opencv(image, scale)
        assert resized.shape == (round(scale * height), round(scale * width), 3)
        assert (resized == grey).all()

    @given(height=sides, width=sides, seed=seeds)
    def test_scale_one_changes_nothing(self, height, width, seed):
        image = random_image(height, width, seed)
        np.testing.assert_array_equal(resize_cubic_opencv(image, 1.0), image)

    @given(height=sides, half_width=sides, scale=st.sampled_from([0.5, 1.5, 2.0]), seed=seeds)
    def test_mirroring_before_or_after_is_the_same(self, height, half_width, scale, seed):
        image = random_image(height, 2 * half_width, seed)  # an even width: a whole number of samples at each scale
        mirrored = resize_cubic_opencv(image[:, ::-1], scale)[:, ::-1]
        assert np.abs(mirrored.astype(int) - resize_cubic_opencv(image, scale)).max(initial=0) <= 1

    @given(height=sides, width=sides, scale=st.floats(0.3, 3), seed=seeds)
    def test_turning_the_picture_before_or_after_is_the_same(self, height, width, scale, seed):
        image = random_image(height, width, seed)
        turned = resize_cubic_opencv(image.transpose(1, 0, 2), scale).transpose(1, 0, 2)
        assert np.abs(turned.astype(int) - resize_cubic_opencv(image, scale)).max(initial=0) <= 1

    def test_a_step_overshoots_by_the_weights_of_the_published_kernel(self):
        # Twice the size: output 4 lies at source 1.75, so its taps are at distances 1.75, 0.75, 0.25 and 1.25, where
        # the kernel of a = -0.75 is -0.03515625, 0.26171875, 0.87890625 and -0.10546875.
        row = np.array([100, 100, 100, 200, 200, 200], np.uint8)
        image = np.broadcast_to(row[None, :, None], (6, 6, 3))
        assert resize_cubic_opencv(image, 2.0)[6, 3:9, 0].tolist() == [
            96,  # 100 - 3.515625
            89,  # 100 - 10.546875
            123,  # 100 + 26.171875 - 3.515625
            177,  # 200 - 26.171875 + 3.515625
            211,  # 200 + 10.546875
            204,  # 200 + 3.515625
        ]


class TestSettings:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"sampling": "random"}, "sampling must be one of time, opencv, ffmpeg, keyframes, got 'random'"),
            ({"size_rule": "any"}, "size_rule must be one of stretch, short-side, short-side-even, got 'any'"),
            ({"interpolation": "nearest"}, "interpolation must be one of bicubic, opencv-cubic, got 'nearest'"),
            ({"blank": "yes"}, "blank must be one of keep, flat, flat-spots, got 'yes'"),
            ({"bars": "blur"}, "bars must be one of keep, cut, got 'blur'"),
            ({"fps": 0.0}, "fps must lie between 0.01 and 240"),
            ({"fps": -1.0}, "fps must lie between 0.01 and 240"),
            ({"fps": 241.0}, "fps must lie between 0.01 and 240"),
            ({"fps": float("nan")}, "fps must lie between 0.01 and 240"),
            ({"min_samples": 0}, "min_samples must lie between 1 and 32"),
            ({"min_samples": 33}, "min_samples must lie between 1 and 32"),
            ({"size_px": 0}, "sizes must satisfy 1 <= crop <= size <= 2048 px"),
            ({"size_px": 2049}, "sizes must satisfy 1 <= crop <= size <= 2048 px"),
            ({"crop_px": 225}, "sizes must satisfy 1 <= crop <= size <= 2048 px"),
            ({"crop_px": -1}, "sizes must satisfy 1 <= crop <= size <= 2048 px"),
            ({"crop_px": 0}, "sizes must satisfy 1 <= crop <= size <= 2048 px"),
            ({"std": (0.2, 0.0, 0.2)}, "std must be at least"),
            ({"std": (0.2, float("nan"), 0.2)}, "std must be at least"),
        ],
    )
    def test_what_cannot_work_is_refused_with_the_value(self, change, message):
        with pytest.raises(ValueError, match=message):
            Preprocessing(**change)

    def test_the_presets_of_the_papers_keep_blank_frames_bars_and_short_videos_as_they_are(self):
        for name in ("paper-visil", "paper-s2vs"):
            assert (PRESETS[name].blank, PRESETS[name].bars, PRESETS[name].min_samples) == ("keep", "keep", 1)
            assert (PRESETS[name].size_px, PRESETS[name].crop_px) == (256, 224)

    def test_whole_frame_loses_nothing_but_bars_and_frames_without_content(self):
        assert PRESETS["whole-frame"] == replace(
            Preprocessing(), crop_px=None, size_rule="stretch", blank="flat-spots", bars="cut"
        )

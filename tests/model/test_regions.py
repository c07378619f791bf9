"""Region vectors: grids of max pooling, and the square regions of R-MAC."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import reduce
from hypothesis import example, given, settings
from hypothesis import strategies as st

from visil.model.regions import (
    SCHEMES,
    gem,
    mac,
    region_vectors,
    rmac,
    spoc,
    square_region_grid,
    square_region_vectors,
)

RESNET_STRIDES = (4, 8, 16, 32)
GRIDS = ("visil", "limac", "adaptive")  # schemes of one grid of maxima
few = settings(deadline=None, max_examples=25)


def maps_of(height: int, width: int, strides=RESNET_STRIDES, *, frames: int = 1, seed: int = 0):
    """Positive random maps of a picture of this size; 2, 3, 4, ... channels."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.rand(frames, 2 + k, -(-height // s), -(-width // s), generator=generator) for k, s in enumerate(strides)
    ]


class TestRegionVectors:
    @pytest.mark.parametrize("scheme", GRIDS)
    def test_a_224_picture_has_nine_unit_vectors(self, scheme):
        vectors = region_vectors(maps_of(224, 224, frames=2), scheme, strides=RESNET_STRIDES)
        assert vectors.shape == (2, 9, 2 + 3 + 4 + 5)
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2, 9))

    @pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "whole"])
    def test_every_stage_weighs_the_same(self, scheme):
        maps = [1000.0 * m if k == 0 else m for k, m in enumerate(maps_of(224, 224))]
        first_stage = region_vectors(maps, scheme, strides=RESNET_STRIDES)[..., :2]
        norms = first_stage.norm(dim=-1)
        torch.testing.assert_close(norms, torch.full_like(norms, 0.5))

    def test_regions_are_ordered_by_rows(self):
        stage = torch.zeros(1, 9, 3, 3)
        stage[0, torch.arange(9), torch.arange(9) // 3, torch.arange(9) % 3] = 1.0  # channel k marks cell k
        vectors = region_vectors([stage], "adaptive", strides=(32,), grid=3)
        torch.testing.assert_close(vectors[0], torch.eye(9))

    @pytest.mark.parametrize("scheme", GRIDS)
    def test_a_region_without_activation_stays_zero(self, scheme):
        maps = [torch.zeros_like(m) for m in maps_of(224, 224)]
        assert region_vectors(maps, scheme, strides=RESNET_STRIDES).eq(0).all()

    @given(st.integers(0, 3), st.integers(0, 2**16))
    @few
    def test_limac_takes_any_choice_of_stages(self, first, seed):
        chosen = slice(first, None)
        maps = maps_of(224, 224, seed=seed)[chosen]
        vectors = region_vectors(maps, "limac", strides=RESNET_STRIDES[chosen])
        assert vectors.shape == (1, 9, sum(m.shape[1] for m in maps))

    @given(st.integers(112, 300), st.integers(112, 300))
    @few
    def test_limac_has_the_grid_of_its_last_stage(self, height, width):
        rows, columns = ((-(-side // 32) - 3) // 2 + 1 for side in (height, width))
        vectors = region_vectors(maps_of(height, width), "limac", strides=RESNET_STRIDES)
        assert vectors.shape[1] == rows * columns

    def test_limac_normalises_before_and_after_it_brings_stages_to_one_grid(self):
        maps = maps_of(256, 288)  # grids of 3 x 4 in three stages, of 4 x 4 in one
        parts = []
        for stage, kernel, step in zip(maps, (28, 14, 6, 3), (14, 7, 3, 2), strict=True):
            pooled = F.normalize(F.max_pool2d(stage, kernel, stride=step), dim=1)
            parts.append(F.normalize(F.adaptive_max_pool2d(pooled, (3, 4)), dim=1))
        expected = F.normalize(torch.cat(parts, dim=1).flatten(2).mT, dim=-1)
        torch.testing.assert_close(region_vectors(maps, "limac", strides=RESNET_STRIDES), expected)

    @given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 4))
    @few
    def test_adaptive_has_the_same_number_of_regions_for_any_picture(self, height, width, grid):
        vectors = region_vectors(maps_of(height, width, (16, 32)), "adaptive", strides=(16, 32), grid=grid)
        assert vectors.shape[1] == grid**2

    @given(st.integers(1, 300), st.integers(1, 300))
    @few
    def test_a_pyramid_has_the_same_number_of_regions_for_any_picture(self, height, width):
        vectors = region_vectors(maps_of(height, width, (16, 32)), "pyramid", strides=(16, 32), levels=(1, 3))
        assert vectors.shape[1:] == (1 + 9, 2 + 3)
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(1, 10))

    def test_a_pyramid_without_activation_has_equal_values_in_all_channels(self):
        vectors = region_vectors([torch.zeros(1, 4, 7, 7)], "pyramid", strides=(32,))
        torch.testing.assert_close(vectors, torch.full((1, 14, 4), 0.5))

    def test_the_whole_picture_is_one_region_that_keeps_its_length(self):
        """A bias is added to it next, so its length counts."""
        stage = torch.tensor([1.0, 2.0, 3.0, 0.0]).reshape(1, 1, 2, 2)
        vectors = region_vectors([stage, 2 * stage], "whole", strides=(16, 32))
        mean = ((1 + 8 + 27) / 4) ** (1 / 3)
        torch.testing.assert_close(vectors, torch.tensor([[[mean, 2 * mean]]]))
        torch.testing.assert_close(region_vectors([stage.half()], "whole", strides=(32,)), vectors[..., :1])

    def test_frames_do_not_see_each_other(self):
        maps = maps_of(224, 224, frames=3)
        together = region_vectors(maps, "limac", strides=RESNET_STRIDES)
        alone = [region_vectors([m[k : k + 1] for m in maps], "limac", strides=RESNET_STRIDES) for k in range(3)]
        torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=0)

    def test_half_precision_maps_give_single_precision_vectors(self):
        maps = [m.half() for m in maps_of(224, 224)]
        half = region_vectors(maps, "adaptive", strides=RESNET_STRIDES)
        torch.testing.assert_close(half, region_vectors([m.float() for m in maps], "adaptive", strides=RESNET_STRIDES))

    def test_grids_that_differ_are_named(self):
        with pytest.raises(ValueError, match=r"64 x 64, 32 x 32.* different grids .*3 x 3, 3 x 3, 4 x 4, 3 x 3"):
            region_vectors(maps_of(256, 256), "visil", strides=RESNET_STRIDES)

    def test_a_stride_without_a_published_window_points_to_adaptive(self):
        with pytest.raises(ValueError, match=r"stage of stride 14 .* use the scheme `adaptive`"):
            region_vectors([torch.rand(1, 3, 16, 16)], "limac", strides=(14,))

    def test_a_map_smaller_than_its_window_is_named(self):
        with pytest.raises(ValueError, match="stride 4 needs at least 28 x 28 cells, got 16 x 40"):
            region_vectors([torch.rand(1, 3, 16, 40)], "limac", strides=(4,))

    def test_an_unknown_scheme_is_refused(self):
        with pytest.raises(ValueError, match="one of visil, limac, adaptive, pyramid, whole, got 'imac'"):
            region_vectors([torch.rand(1, 3, 7, 7)], "imac", strides=(32,))

    def test_every_map_has_a_stride(self):
        with pytest.raises(ValueError, match="got 2 maps and 1 strides"):
            region_vectors(maps_of(224, 224)[:2], "limac", strides=(4,))


def slow_squares(stage: torch.Tensor, level: int) -> list[torch.Tensor]:
    """The square regions of a level, cut out one by one; corners by the published text, in float32."""
    height, width = stage.shape[-2:]
    short, long = min(height, width), max(height, width)
    values = [
        abs(np.float32((short**2 - short * np.float32((long - short) / (n - 1))) / np.float32(short**2)) - 0.4)
        for n in range(2, 8)
    ]
    extra = 0 if height == width else int(np.argmin(values)) + 1
    side = 2 * short // (level + 1)
    offset = side // 2 - 1

    def corners(length: int) -> list[int]:
        count = level + (extra if length == long and height != width else 0)
        step = np.float32((length - side) / (count - 1)) if count > 1 else np.float32(0)
        return [int(np.floor(np.float32(offset) + np.float32(k) * step)) - offset for k in range(count)]

    return [stage[..., i : i + side, j : j + side] for i in corners(height) for j in corners(width)]


class TestSquareRegions:
    @given(st.integers(2, 40), st.integers(2, 40), st.integers(2, 3), st.integers(0, 2**16))
    @example(13, 70, 2, 0)  # the offset inside the rounding decides
    @few
    def test_equals_cutting_out_every_square(self, height, width, level, seed):
        random = torch.rand(height, width, generator=torch.Generator().manual_seed(seed))
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        stage = torch.stack([random, rows, columns])[None]  # maxima of the last two say where a square lies
        if 2 * min(height, width) < level + 1:
            return
        expected = torch.stack([square.amax(dim=(-2, -1)) for square in slow_squares(stage, level)], dim=1)
        torch.testing.assert_close(square_region_vectors(stage, [level]), expected, rtol=0, atol=0)

    def test_corners_are_rounded_in_single_precision(self):
        stage = torch.arange(32.0).expand(1, 1, 2, 32)  # the maximum of a square of side 1 is its column
        columns = square_region_grid(stage, 2)[0, 0, 0]
        assert columns.tolist() == [0, 4, 8, 13, 17, 22, 26, 30]  # exact arithmetic ends at 31, as it should

    def test_level_1_is_the_whole_map(self):
        stage = torch.rand(2, 3, 5, 9)
        torch.testing.assert_close(square_region_vectors(stage, [1])[:, 0], mac(stage))

    def test_a_level_below_one_cell_is_left_out(self):
        stage = torch.rand(1, 3, 2, 2)
        assert square_region_vectors(stage, [2, 4]).shape == (1, 4, 3)

    def test_no_region_at_all_is_an_error(self):
        with pytest.raises(ValueError, match=r"map of 1 x 5 has no square region of levels \(3,\)"):
            square_region_vectors(torch.rand(1, 3, 1, 5), [3])
        with pytest.raises(ValueError, match="map of 1 x 5 has no square region of level 3"):
            square_region_grid(torch.rand(1, 3, 1, 5), 3)

    def test_rmac_is_the_mean_of_the_maxima(self):
        stage = torch.rand(2, 3, 8, 13)
        torch.testing.assert_close(rmac(stage), square_region_vectors(stage, [1, 2, 3]).mean(dim=1))

    def test_the_pooling_of_a_region_can_be_chosen(self):
        stage = torch.rand(2, 3, 6, 6)
        torch.testing.assert_close(square_region_grid(stage, 2, pool=spoc), F.avg_pool2d(stage, 4, stride=2))


class TestGlobalPooling:
    STAGE = torch.tensor([[1.0, 2.0], [3.0, 6.0]])

    def test_values_by_hand(self):
        assert mac(self.STAGE).item() == 6.0
        assert spoc(self.STAGE).item() == 3.0
        assert gem(self.STAGE, power=2.0).item() == pytest.approx((50 / 4) ** 0.5)

    def test_the_generalised_mean_lies_between_mean_and_maximum(self):
        stage = torch.rand(4, 5, 7, 7)
        torch.testing.assert_close(gem(stage, power=1.0), reduce(stage, "b c i j -> b c", "mean"))
        assert ((gem(stage) > spoc(stage)) & (gem(stage) < mac(stage))).all()

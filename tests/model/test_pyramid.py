"""Overlapping regions of several sizes: the windows by hand, and the same parts of a picture at any size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.model.pyramid import POWER, num_regions, pyramid_vectors, region_boxes, window_vectors
from visil.model.regions import gem


def random_map(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) + 0.1


def windows_cut_out(stage: torch.Tensor, level: int) -> torch.Tensor:
    """Slow twin for maps whose sides are whole multiples of level + 1: every window is whole cells, [B, n * n, C]."""
    height, width = stage.shape[-2:]
    rows, columns = height // (level + 1), width // (level + 1)  # half a window
    cut = [
        stage[..., i * rows : (i + 2) * rows, j * columns : (j + 2) * columns]
        for i in range(level)
        for j in range(level)
    ]
    return torch.stack([gem(window, power=POWER) for window in cut], dim=1)


class TestPyramidVectors:
    def test_level_1_is_the_generalised_mean_of_the_whole_picture(self):
        stage = random_map(2, 5, 6, 7)
        torch.testing.assert_close(pyramid_vectors(stage, (1,))[:, 0], gem(stage, power=3.0))

    def test_level_2_of_three_cells_has_windows_of_two(self):
        """Thirds of an axis: windows are cells 0-1 and 1-2; a cell of 1 among four gives (1/4)^(1/3)."""
        corner, centre = torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3)
        corner[0, 0, 0, 0] = centre[0, 0, 1, 1] = 1.0
        quarter = 0.25 ** (1 / 3)
        vectors = pyramid_vectors(torch.cat([corner, centre]), (2,))[..., 0]
        torch.testing.assert_close(vectors, torch.tensor([[quarter, 0, 0, 0], [quarter] * 4]), rtol=0, atol=1e-5)

    def test_a_window_counts_the_share_of_a_cell_that_it_covers(self):
        """Level 2 of one row of two cells: the first window is 2/3 of the row, cell 0 and a third of cell 1."""
        stage = torch.tensor([[[[1.0, 2.0]]]])
        first, second = pyramid_vectors(stage, (2,))[0, :2, 0]
        assert first.item() == pytest.approx((3 / 4 * 1 + 1 / 4 * 8) ** (1 / 3))
        assert second.item() == pytest.approx((1 / 4 * 1 + 3 / 4 * 8) ** (1 / 3))

    @given(st.integers(2, 5), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**16))
    @settings(deadline=None, max_examples=25)
    def test_equals_cutting_out_every_window(self, level, rows, columns, seed):
        stage = random_map(1, 3, rows * (level + 1), columns * (level + 1), seed=seed)
        torch.testing.assert_close(pyramid_vectors(stage, (level,)), windows_cut_out(stage, level))

    @given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**16))
    @settings(deadline=None, max_examples=25)
    def test_windows_are_the_same_parts_of_a_picture_of_any_size(self, height, width, times, seed):
        stage = random_map(1, 3, height, width, seed=seed)
        larger = stage.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)
        torch.testing.assert_close(pyramid_vectors(larger, (1, 2, 3)), pyramid_vectors(stage, (1, 2, 3)))

    def test_levels_come_one_after_the_other_and_each_by_rows(self):
        stage = random_map(1, 3, 12, 12)
        vectors = pyramid_vectors(stage, (1, 2, 3))
        assert vectors.shape == (1, num_regions((1, 2, 3)), 3) == (1, 14, 3)
        torch.testing.assert_close(vectors, torch.cat([pyramid_vectors(stage, (k,)) for k in (1, 2, 3)], dim=1))
        bright = torch.zeros(1, 1, 12, 12)
        bright[..., :3, -3:] = 1.0  # the corner at the end of the first row
        assert pyramid_vectors(bright, (3,))[0, :, 0].argmax() == 2

    def test_negative_values_count_as_none(self):
        stage = random_map(1, 3, 4, 4)
        torch.testing.assert_close(
            pyramid_vectors(torch.cat([stage, -stage], dim=1), (1, 2))[..., 3:], torch.full((1, 5, 3), 1e-6)
        )

    def test_half_precision_maps_are_pooled_in_single_precision(self):
        stage = random_map(1, 3, 4, 4).half()
        torch.testing.assert_close(pyramid_vectors(stage, (1, 2)), pyramid_vectors(stage.float(), (1, 2)))

    def test_gradients_of_a_map_without_activation_are_finite(self):
        stage = torch.zeros(1, 2, 4, 4, requires_grad=True)
        pyramid_vectors(stage, (1, 2, 3)).sum().backward()
        assert stage.grad is not None
        assert stage.grad.isfinite().all()


class TestWindowVectors:
    @given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([(1,), (1, 2, 3), (2, 4)]), st.integers(0, 2**16))
    @settings(deadline=None, max_examples=25)
    def test_windows_of_the_levels_are_those_of_the_pyramid(self, height, width, levels, seed):
        stage = random_map(2, 3, height, width, seed=seed)
        boxes = region_boxes(levels).expand(2, -1, -1)
        torch.testing.assert_close(window_vectors(stage, boxes), pyramid_vectors(stage, levels))

    def test_every_map_has_windows_of_its_own(self):
        stage = random_map(2, 3, 8, 8)
        boxes = torch.tensor([[[0, 0, 0.5, 1.0]], [[0.5, 0.25, 0.5, 0.25]]])
        vectors = window_vectors(stage, boxes)
        assert vectors.shape == (2, 1, 3)
        torch.testing.assert_close(vectors[0, 0], gem(stage[:1, :, :4], power=POWER)[0])
        torch.testing.assert_close(vectors[1, 0], gem(stage[1:, :, 4:, 2:4], power=POWER)[0])

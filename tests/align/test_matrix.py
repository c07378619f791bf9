"""What a similarity matrix has to be, and the order in which dynamic programs visit its cells."""

import numpy as np
import pytest

from visil.align.matrix import antidiagonals, checked_matrix, moved
from visil.errors import DataError


class TestCheckedMatrix:
    def test_single_and_double_precision_are_taken_as_they_are(self):
        for dtype in (np.float32, np.float64):
            matrix = np.zeros((2, 3), dtype=dtype)
            assert checked_matrix(matrix) is matrix

    def test_other_numbers_become_floats(self):
        assert checked_matrix(np.ones((2, 3), dtype=np.float16)).dtype == np.float32
        assert checked_matrix([[1, 0], [0, 1]]).dtype == np.float64

    def test_a_video_of_one_frame_keeps_its_axis(self):
        assert checked_matrix(np.ones((1, 5))).shape == (1, 5)
        with pytest.raises(DataError, match="got shape \\[5\\]; a video of one frame keeps its axis"):
            checked_matrix(np.ones(5))

    @pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0)])
    def test_a_video_without_frames_has_nothing_to_align(self, shape):
        with pytest.raises(DataError, match=f"{shape[0]} x {shape[1]} frames has nothing to align"):
            checked_matrix(np.ones(shape))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_value_that_is_no_number_is_named_with_its_place(self, value):
        matrix = np.zeros((3, 4))
        matrix[1, 2] = value
        with pytest.raises(DataError, match=f"query frame 1 and target frame 2 is {value}"):
            checked_matrix(matrix)

    def test_text_and_complex_numbers_are_refused(self):
        for matrix in ([["a"]], np.ones((1, 1), dtype=complex)):
            with pytest.raises(DataError, match="holds real numbers"):
                checked_matrix(matrix)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (2, 2), (3, 7), (7, 3)])
def test_antidiagonals_visit_every_inner_cell_once_after_its_three_neighbours(shape):
    table = np.arange(shape[0] * shape[1])
    seen = {*range(shape[1]), *range(0, len(table), shape[1])}  # the first row and column
    for cells in antidiagonals(*shape):
        for by in (-shape[1] - 1, -shape[1], -1):
            assert set(table[moved(cells, by)].tolist()) <= seen
        visited = set(table[cells].tolist())
        assert visited.isdisjoint(seen)
        seen |= visited
    assert seen == set(table.tolist())

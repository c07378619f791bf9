"""The published methods beyond the published numbers: plain twins, what holds for every matrix, edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.align.plain_twins import plain_chain_sums, plain_network, plain_warping_cost
from tests.align.planted import background, plant, random_matrix
from visil.align.boxes import inclusive_iou
from visil.align.dynamic_programming import DynamicProgramming, chain_sums, dynamic_programming
from visil.align.hough_voting import HoughVoting, hough_voting
from visil.align.path_cutting import cut_path
from visil.align.temporal_network import TemporalNetwork, temporal_network
from visil.align.time_warping import TimeWarping, time_warping, warping_path
from visil.errors import DataError

METHODS = (temporal_network, hough_voting, dynamic_programming, time_warping)
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
sizes, seeds = st.integers(1, 24), st.integers(0, 2**16)


def diagonal(length: int) -> np.ndarray:
    """A perfect copy of a whole video, and nothing else alike."""
    return 2 * np.eye(length) - 1


@every_method
class TestEveryMethod:
    @given(sizes, sizes, seeds)
    def test_leaves_the_matrix_as_it_was(self, method, rows, columns, seed):
        matrix = random_matrix(rows, columns, seed=seed)
        before = matrix.copy()
        method(matrix)
        assert np.array_equal(matrix, before)

    @given(sizes, sizes, seeds)
    def test_boxes_lie_in_the_matrix_with_their_ends_in_order(self, method, rows, columns, seed):
        boxes = method(random_matrix(rows, columns, seed=seed))
        assert boxes.dtype == np.int64 and boxes.shape == (len(boxes), 4)
        assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] <= boxes[:, 2:]).all()
        assert (boxes[:, 2:] < [rows, columns]).all()

    def test_finds_a_copy_at_unchanged_speed(self, method):
        assert inclusive_iou(np.array([0, 0, 29, 29]), method(diagonal(30)))[0] > 0.9

    @pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1)])
    def test_one_frame_is_too_short_for_a_box_of_several(self, method, shape):
        boxes = method(np.ones(shape))
        assert ((boxes[:, 2:] - boxes[:, :2]) == 0).all()  # Hough voting has no least length

    @pytest.mark.parametrize("matrix", [np.ones(5), np.ones((0, 5)), np.full((2, 2), np.nan)])
    def test_refuses_what_is_no_matrix(self, method, matrix):
        with pytest.raises(DataError, match="similarity"):
            method(matrix)

    def test_half_precision_is_enough(self, method):
        matrix = random_matrix(30, 30, seed=1).astype(np.float16)
        assert np.array_equal(method(matrix), method(matrix.astype(np.float32)))


@pytest.mark.parametrize("method", METHODS[1:], ids=lambda method: method.__name__)
@given(sizes, sizes, seeds)
def test_query_and_target_can_change_places(method, rows, columns, seed):
    """Not so for the network: its nodes are the best columns of each row."""
    matrix = random_matrix(rows, columns, seed=seed)
    swapped = method(matrix.T.copy())[:, [1, 0, 3, 2]]
    assert sorted(method(matrix).tolist()) == sorted(swapped.tolist())


class TestTemporalNetwork:
    @given(sizes, sizes, seeds, st.sampled_from([0, 2, 5]), st.booleans(), st.sampled_from([1, 3, 6]))
    def test_equals_its_plain_twin_also_where_paths_are_equally_long(self, rows, columns, seed, levels, sink, top_k):
        matrix = random_matrix(rows, columns, seed=seed, levels=levels)
        parameters = TemporalNetwork(max_step=5, top_k=top_k, min_length=2, has_sink=sink)
        assert temporal_network(matrix, parameters).tolist() == plain_network(matrix, parameters)

    def test_the_published_sink_costs_the_last_frame_where_it_is_the_only_node_of_its_row(self):
        only_best = TemporalNetwork(top_k=1)
        assert temporal_network(diagonal(12), only_best).tolist() == [[0, 0, 10, 10]]
        assert temporal_network(diagonal(12), TemporalNetwork()).tolist() == [[0, 0, 11, 11]]
        assert temporal_network(diagonal(12), TemporalNetwork(top_k=1, has_sink=False)).tolist() == [[0, 0, 11, 11]]

    def test_the_published_box_starts_at_a_node_that_nobody_tested(self):
        matrix = -0.5 - np.arange(30)[:, None] / 100 - np.arange(30)[None] / 100  # falling: nodes are known
        for step in range(10):
            matrix[10 + step, 10 + step] = 0.9
        (published,) = temporal_network(matrix).tolist()
        (trimmed,) = temporal_network(matrix, TemporalNetwork(trims_start=True)).tolist()
        assert published[:2] < trimmed[:2] == [10, 10]
        assert published[2:] == trimmed[2:] == [19, 19]

    def test_finds_no_path_that_goes_backwards(self):
        assert len(temporal_network(diagonal(30)[:, ::-1])) == 0

    def test_impossible_settings_are_refused(self):
        with pytest.raises(ValueError, match="at least 1"):
            TemporalNetwork(top_k=0)


class TestHoughVoting:
    def test_a_box_is_the_complete_diagonal_as_published(self):
        matrix = np.zeros((60, 80))
        for step in range(20):
            matrix[10 + step, 20 + step] = 1
        assert hough_voting(matrix).tolist() == [[0, 10, 59, 69]]

    def test_equal_sums_come_by_ascending_offset_and_overlaps_are_left_out(self):
        matrix = np.zeros((4, 4))
        matrix[0, 1] = matrix[1, 0] = 1
        assert hough_voting(matrix).tolist() == [[1, 0, 3, 2], [0, 1, 2, 3]]
        assert hough_voting(matrix, HoughVoting(iou_thresh=0.1)).tolist() == [[1, 0, 3, 2]]

    def test_looks_at_so_many_peaks(self):
        matrix = np.random.default_rng(0).uniform(0.3, 1, (20, 20))
        assert len(hough_voting(matrix, HoughVoting(max_peaks=3, iou_thresh=1))) == 3


class TestCutPath:
    def test_a_path_without_long_runs_is_one_range(self):
        assert cut_path(np.array([[0, 0], [1, 1], [1, 2], [2, 3]]), 2) == [(0, 4)]

    def test_a_run_longer_than_the_limit_parts_it(self):
        path = np.array([[0, 0], [1, 1], *([2, column] for column in range(2, 7)), [3, 7], [4, 8]])
        assert cut_path(path, 5) == [(0, 9)]
        assert cut_path(path, 4) == [(0, 2), (7, 9)]

    def test_runs_that_share_a_corner_leave_a_reversed_range(self):
        path = np.array([*([0, column] for column in range(4)), *([row, 3] for row in range(1, 4))])
        assert cut_path(path, 2) == [(4, 3)]


class TestDynamicProgramming:
    @given(sizes, sizes, seeds, st.sampled_from([0, 4]))
    def test_sums_equal_those_of_its_plain_twin(self, rows, columns, seed, levels):
        matrix = random_matrix(rows, columns, seed=seed, levels=levels) + np.float32(1)
        chains = chain_sums(matrix, DynamicProgramming(discontinue=2, min_sim=1.2))
        sums, back = plain_chain_sums(matrix, 2, 1.2)
        assert np.array_equal(chains.sums, sums) and np.array_equal(chains.back, back)

    def test_finds_two_segments_whose_order_was_swapped(self):
        matrix = background(60, 60) - 0.5
        plant(matrix, 0, 30, 25)
        plant(matrix, 30, 0, 25)
        boxes = dynamic_programming(matrix, DynamicProgramming(discontinue=0, min_sim=1.3))
        assert sorted(boxes.tolist()) == [[0, 30, 24, 54], [30, 0, 54, 24]]


class TestTimeWarping:
    @given(sizes, sizes, seeds)
    def test_the_path_costs_what_the_cheapest_one_costs(self, rows, columns, seed):
        matrix = random_matrix(rows, columns, seed=seed).astype(np.float64)
        path, cost = warping_path(matrix)
        assert cost == pytest.approx(plain_warping_cost(matrix)) == pytest.approx((1 - matrix[*path.T]).sum())

    @given(sizes, sizes, seeds)
    def test_the_path_goes_from_corner_to_corner_by_single_steps(self, rows, columns, seed):
        path, _ = warping_path(random_matrix(rows, columns, seed=seed))
        assert path[0].tolist() == [0, 0] and path[-1].tolist() == [rows - 1, columns - 1]
        assert {tuple(step) for step in np.diff(path, axis=0).tolist()} <= {(1, 1), (1, 0), (0, 1)}

    def test_loses_swapped_segments(self):
        matrix = np.full((60, 60), -0.5)
        plant(matrix, 0, 30, 25)
        plant(matrix, 30, 0, 25)
        assert len(time_warping(matrix, TimeWarping())) == 0

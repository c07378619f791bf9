"""Our own method: what it finds at which speed and in which direction, where a segment begins and ends."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.align.planted import background, plant
from visil.align.chain import Chain, chain, evidence
from visil.align.segments import AlignedSegment
from visil.errors import DataError

sizes, seeds = st.integers(1, 30), st.integers(0, 2**16)
UNCUT = Chain(width=0.8)  # no evidence reaches 1 or -1, so that no two runs are equal


def intervals(segments):
    """(query start, query end, target start, target end) of every segment, in the order of the query."""
    return sorted((s.query_start, s.query_end, s.target_start, s.target_end) for s in segments)


def planted_at_random(rows, columns, seed, speeds=(-2, -1, -0.5, 0.5, 1, 2)):
    """Background with three copies that may cross, touch and repeat."""
    rng = np.random.default_rng(seed)
    matrix = background(rows, columns, seed=seed)
    for _ in range(3):
        speed = float(rng.choice(speeds))
        length = 2 * int(rng.integers(1, 6))
        num_columns = int(length * abs(speed))
        if length <= rows and num_columns <= columns:
            start = (int(rng.integers(rows - length + 1)), int(rng.integers(columns - num_columns + 1)))
            plant(matrix, *start, length, speed=speed, value=float(rng.uniform(0.5, 1)))
    return matrix + rng.normal(0, 0.01, matrix.shape)


class TestWhatIsFound:
    @pytest.mark.parametrize("speed", [0.25, 0.5, 0.75, 1, 1.5, 2, 4, -0.5, -1, -2])
    def test_a_copy_at_any_speed_forwards_and_backwards(self, speed):
        matrix = background(60, 100)
        plant(matrix, 20, 10, 16, speed=speed)
        (segment,) = chain(matrix)
        num_columns = round(16 * abs(speed))
        assert intervals([segment]) == [(20, 36, 10, 10 + num_columns)]
        assert segment.speed == pytest.approx(speed) and segment.is_reversed == (speed < 0)

    def test_several_copies_in_swapped_order_and_one_backwards(self):
        matrix = background(60, 60)
        plant(matrix, 0, 40, 12)
        plant(matrix, 20, 20, 12, speed=-1)
        plant(matrix, 40, 0, 12)
        found = chain(matrix)
        assert intervals(found) == [(0, 12, 40, 52), (20, 32, 20, 32), (40, 52, 0, 12)]
        assert sorted(segment.is_reversed for segment in found) == [False, False, True]

    def test_a_part_that_the_target_repeats_is_found_each_time_though_no_match_is_mutual(self):
        matrix = background(30, 80)
        for start in (0, 30, 60):
            plant(matrix, 5, start, 15)
        assert intervals(chain(matrix)) == [(5, 20, start, start + 15) for start in (0, 30, 60)]

    def test_a_still_shown_longer_in_one_video_is_one_segment(self):
        matrix = background(40, 60)
        matrix[10:20, 30:50] = 0.9
        (segment,) = chain(matrix)
        assert intervals([segment]) == [(10, 20, 30, 50)] and not segment.is_reversed

    def test_two_videos_of_one_still_picture_match_as_a_whole(self):
        assert intervals(chain(np.full((12, 20), 0.95))) == [(0, 12, 0, 20)]

    def test_a_picture_that_stands_still_for_a_while_does_not_part_a_copy(self):
        matrix = background(50, 50)
        plant(matrix, 5, 5, 10)
        matrix[15:23, 14] = 0.9  # the query shows the last sample for eight more
        plant(matrix, 23, 15, 10)
        assert intervals(chain(matrix)) == [(5, 33, 5, 25)]

    @given(st.integers(2, 60), st.integers(2, 60), seeds)
    def test_nothing_in_unrelated_videos(self, rows, columns, seed):
        assert chain(background(rows, columns, seed=seed)) == []

    def test_what_two_videos_have_in_common_all_the_time_is_no_match(self):
        under_one_border = background(60, 60) + 0.35
        assert chain(under_one_border) == []
        plant(under_one_border, 10, 30, 20)
        assert intervals(chain(under_one_border)) == [(10, 30, 30, 50)]

    def test_a_few_matches_are_no_segment_unless_the_video_has_no_more(self):
        matrix = background(40, 40)
        plant(matrix, 10, 20, 3)
        assert chain(matrix) == []
        assert intervals(chain(matrix[10:13])) == [(0, 3, 20, 23)]

    def test_a_single_frame_is_found_in_a_video(self):
        matrix = background(1, 40)
        matrix[0, 7] = 0.9
        assert intervals(chain(matrix)) == [(0, 1, 7, 8)]


class TestBorders:
    def test_a_short_gap_is_bridged_and_a_long_one_parts_two_segments(self):
        for gap, expected in ((2, [(5, 27, 5, 27)]), (8, [(5, 15, 5, 15), (23, 33, 23, 33)])):
            matrix = np.full((50, 50), 0.1)
            plant(matrix, 5, 5, 10)
            plant(matrix, 15 + gap, 15 + gap, 10)
            assert intervals(chain(matrix)) == expected

    def test_a_run_ends_where_its_sum_is_highest(self):
        """A last match after two samples that differ weighs less than they do."""
        matrix = np.full((30, 30), 0.1)
        plant(matrix, 5, 5, 10)
        matrix[17, 17] = 0.9
        assert intervals(chain(matrix)) == [(5, 15, 5, 15)]

    def test_the_score_is_the_sum_of_the_evidence(self):
        matrix = np.full((30, 30), 0.1)
        plant(matrix, 5, 5, 8)
        plant(matrix, 13, 13, 4, value=0.5)  # (0.5 - 0.4) / 0.2 each
        (segment,) = chain(matrix)
        assert segment.score == pytest.approx(8 + 4 * 0.5)

    def test_every_sample_of_either_video_counts_for_half(self):
        matrix = np.full((60, 60), 0.1)
        plant(matrix, 5, 5, 10, speed=2)
        (segment,) = chain(matrix, Chain(side_cost=0))
        assert segment.score == pytest.approx((10 + 20) / 2)


class TestEvidence:
    def test_is_what_a_match_has_more_than_its_row_and_its_column_have(self):
        matrix = np.array([[0.9, 0.2, 0.2], [0.2, 0.5, 0.2], [0.2, 0.2, 0.2]])
        expected = (matrix - 0.4) / 0.2
        np.testing.assert_allclose(evidence(matrix), expected.clip(-1, 1), atol=1e-6)

    def test_lies_between_minus_one_and_one_in_a_new_matrix(self):
        matrix = np.linspace(-1, 1, 30, dtype=np.float32).reshape(5, 6)
        before = matrix.copy()
        found = evidence(matrix)
        assert found.min() >= -1 and found.max() <= 1
        assert np.array_equal(matrix, before)


class TestInvariants:
    @given(sizes, sizes, seeds)
    def test_the_matrix_stays_as_it_was(self, rows, columns, seed):
        matrix = planted_at_random(rows, columns, seed)
        before = matrix.copy()
        chain(matrix)
        assert np.array_equal(matrix, before)

    @given(sizes, sizes, seeds)
    def test_query_and_target_can_change_places(self, rows, columns, seed):
        """Where copies run forwards: a backwards run is read from its other end then, and may be cut elsewhere."""
        matrix = planted_at_random(rows, columns, seed, speeds=(0.5, 1, 2))
        swapped = [(s.target_start, s.target_end, s.query_start, s.query_end) for s in chain(matrix.T, UNCUT)]
        assert intervals(chain(matrix, UNCUT)) == sorted(swapped)

    @given(sizes, sizes, seeds)
    def test_a_target_that_runs_backwards_gives_the_same_segments_backwards(self, rows, columns, seed):
        matrix = planted_at_random(rows, columns, seed)
        flipped = [
            (s.query_start, s.query_end, columns - s.target_end, columns - s.target_start)
            for s in chain(matrix[:, ::-1], UNCUT)
        ]
        assert intervals(chain(matrix, UNCUT)) == sorted(flipped)

    @given(st.integers(8, 30), st.integers(8, 30), seeds, st.integers(1, 40), st.integers(1, 40))
    def test_what_lies_before_moves_a_segment_and_what_lies_behind_does_not(self, rows, columns, seed, before, behind):
        matrix = planted_at_random(rows, columns, seed)
        padded = np.pad(matrix, ((before, behind), (before, behind)), constant_values=-1.0)
        fixed = Chain(margin=-2.0)  # a level that does not depend on the medians
        moved = [tuple(border + before for border in interval) for interval in intervals(chain(matrix, fixed))]
        found = chain(padded, fixed)
        assert set(intervals(found)) <= set(moved)  # a short video needs fewer matches
        assert all(interval in intervals(found) for interval in moved) or min(rows, columns) < 2 * fixed.min_score

    @given(sizes, sizes, seeds)
    def test_no_two_segments_have_time_in_common_on_both_sides(self, rows, columns, seed):
        found = chain(planted_at_random(rows, columns, seed))
        assert not any(a.overlaps(b) for i, a in enumerate(found) for b in found[:i])
        assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)

    def test_half_precision_gives_the_same_segments(self):
        matrix = planted_at_random(40, 60, 3)
        assert intervals(chain(matrix.astype(np.float16))) == intervals(chain(matrix))


class TestErrors:
    @pytest.mark.parametrize("matrix", [np.ones(5), np.ones((0, 5)), np.full((2, 2), np.nan)])
    def test_refuses_what_is_no_matrix(self, matrix):
        with pytest.raises(DataError, match="similarity"):
            chain(matrix)

    def test_impossible_settings_are_refused(self):
        with pytest.raises(ValueError, match="floor is at most cap"):
            Chain(floor=0.7)
        with pytest.raises(ValueError, match="max_drop and min_score are positive"):
            Chain(max_drop=0)

    def test_a_segment_is_a_value_in_samples(self):
        (segment,) = chain(np.eye(8))
        assert segment == AlignedSegment(0, 8, 0, 8, 8.0)


class TestWhatIsNoCopy:
    @pytest.mark.parametrize("width", [1, 2, 3])
    def test_a_few_frames_that_are_like_all_of_a_video(self, width):
        column = np.full((60, 60), 0.1)
        column[:, 30 : 30 + width] = 0.9
        assert chain(column) == []
        assert chain(column.T) == []

    @pytest.mark.parametrize("length", [3, 5, 20])
    def test_a_card_of_three_samples_however_long_the_other_video_shows_it(self, length):
        card = np.full((40, 40), 0.1)
        card[:3, :length] = 0.9
        assert chain(card) == []
        card[:4, :length] = 0.9
        assert len(chain(card)) == (length >= 4)


def test_a_sample_beside_which_the_other_video_stands_still_counts_half_less_its_cost():
    still = np.full((40, 40), 0.1)
    still[:5, :20] = 0.9
    (segment,) = chain(still)
    assert segment.score == pytest.approx(5 + 15 * (0.5 - Chain().side_cost))


def test_memory_where_everything_is_alike(monkeypatch):
    """Every cell ends a run there: they are not all held."""
    monkeypatch.setattr("visil.align.chain.ENDS_AT_ONCE", 1000)
    alike = np.full((400, 400), 0.9, dtype=np.float32)
    tracemalloc.start()
    (segment,) = chain(alike)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (segment.query_end, segment.target_end) == (400, 400)
    assert peak_bytes < 24 * alike.size

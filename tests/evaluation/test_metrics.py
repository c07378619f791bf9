import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visil.errors import DataError
from visil.evaluation.metrics import (
    MicroAveragePrecision,
    RankedQuery,
    average_precision,
    bootstrap_interval,
    mean_average_precision,
    recall_at_k,
)


def ranking(relevance: list[int], num_relevant: int | None = None, scores: list[float] | None = None) -> RankedQuery:
    """Videos in rank order unless scores are given."""
    if scores is None:
        scores = [float(-rank) for rank in range(len(relevance))]
    return RankedQuery(np.array(scores), np.array(relevance, dtype=bool), num_relevant or sum(relevance))


class TestAveragePrecision:
    def test_is_the_mean_precision_at_the_ranks_of_the_relevant_videos(self):
        assert average_precision(ranking([1, 0, 1])) == pytest.approx((1 + 2 / 3) / 2)

    def test_counts_relevant_videos_that_were_not_retrieved(self):
        assert average_precision(ranking([1, 0, 1, 0, 1], num_relevant=4)) == pytest.approx(0.566667, abs=1e-6)

    def test_is_one_if_all_relevant_videos_come_first(self):
        assert average_precision(ranking([1, 1, 0, 0])) == 1

    def test_is_zero_if_nothing_relevant_was_retrieved(self):
        assert average_precision(ranking([0, 0], num_relevant=1)) == 0
        assert average_precision(ranking([], num_relevant=1)) == 0

    def test_equal_scores_are_one_group_in_any_order(self):
        for relevance in ([1, 0], [0, 1]):
            assert average_precision(ranking(relevance, scores=[0.5, 0.5])) == 0.5
        # group of two at the top holds one of two: 1/2 * 1/2; the second one is third: 1/2 * 2/3
        assert average_precision(ranking([0, 1, 1], scores=[0.9, 0.9, 0.1])) == pytest.approx(1 / 4 + 1 / 3)

    @given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=20), st.randoms())
    def test_does_not_depend_on_the_order_of_the_list(self, pairs, random):
        def value() -> float:
            scores, relevance = zip(*pairs, strict=True)
            return average_precision(ranking(list(relevance), sum(relevance) + 1, [float(s) for s in scores]))

        before = value()
        random.shuffle(pairs)
        assert value() == pytest.approx(before)


class TestRankedQuery:
    def test_videos_left_out_are_neither_ranked_nor_relevant(self):
        query = RankedQuery.of({"a": 0.9, "b": 0.8, "c": 0.7}, relevant={"b", "x"}, left_out={"a", "x"})
        assert query.scores.tolist() == [0.8, 0.7]
        assert query.is_relevant.tolist() == [True, False]
        assert query.num_relevant == 1

    def test_scores_that_are_not_numbers_are_refused(self):
        with pytest.raises(DataError, match="finite"):
            ranking([1, 0], scores=[float("nan"), 0.0])

    def test_a_query_without_relevant_videos_is_refused(self):
        with pytest.raises(DataError, match="no average precision"):
            RankedQuery.of({"a": 1.0}, relevant=set())


class TestMeansOverQueries:
    first = ranking([1, 0], scores=[0.9, 0.2])  # AP 1
    second = ranking([0, 1], scores=[0.8, 0.6])  # AP 1/2

    def test_map_is_the_mean_of_the_queries(self):
        assert mean_average_precision([self.first, self.second]) == 0.75

    def test_micro_ap_is_that_of_one_list_of_all_pairs(self):
        # 0.9 right, 0.8 wrong, 0.6 right, 0.2 wrong
        assert MicroAveragePrecision([self.first, self.second])() == pytest.approx((1 + 2 / 3) / 2)

    def test_micro_ap_of_scores_that_do_not_compare_is_lower_than_map(self):
        low_scale = ranking([1, 0], scores=[0.1, 0.0])
        assert mean_average_precision([low_scale, self.second]) == 0.75
        assert MicroAveragePrecision([low_scale, self.second])() == pytest.approx((1 / 2 + 2 / 3) / 2)

    def test_counts_equal_repeated_queries(self):
        repeated = MicroAveragePrecision([self.first, self.first, self.second])()
        assert MicroAveragePrecision([self.first, self.second])(np.array([2, 1])) == pytest.approx(repeated)

    def test_a_query_that_is_not_in_the_sample_has_no_part(self):
        assert MicroAveragePrecision([self.first, self.second])(np.array([0, 1])) == 0.5


class TestRecallAtK:
    def test_is_one_if_a_relevant_video_is_among_the_first_k(self):
        assert [recall_at_k(ranking([0, 1, 0]), k) for k in (1, 2, 3, 9)] == [0, 1, 1, 1]

    def test_equal_scores_count_by_the_share_of_their_orders(self):
        tied = ranking([1, 0, 0, 0], scores=[0.5, 0.5, 0.5, 0.1])
        assert recall_at_k(tied, 1) == pytest.approx(1 / 3)
        assert recall_at_k(tied, 2) == pytest.approx(2 / 3)
        assert recall_at_k(tied, 3) == 1

    def test_nothing_retrieved_is_zero(self):
        assert recall_at_k(ranking([], num_relevant=1), 1) == 0


class TestBootstrap:
    def test_one_component_leaves_no_doubt(self):
        values = np.array([0.2, 0.6])
        interval = bootstrap_interval(
            lambda counts: float(np.average(values, weights=counts)),
            ["film", "film"],
            np.random.default_rng(0),
        )
        assert (interval.value, interval.low, interval.high) == pytest.approx((0.4, 0.4, 0.4))

    def test_queries_of_a_component_are_drawn_together(self):
        seen = set()

        def statistic(counts: np.ndarray) -> float:
            seen.add(tuple(counts))
            return 0.0

        bootstrap_interval(statistic, ["a", "a", "b"], np.random.default_rng(0))
        assert seen == {(1, 1, 1), (2, 2, 0), (0, 0, 2)}

    def test_covers_what_a_normal_approximation_covers(self):
        values = np.random.default_rng(1).normal(3, 1, 400)
        interval = bootstrap_interval(
            lambda counts: float(np.average(values, weights=counts)), range(400), np.random.default_rng(0)
        )
        expected = values.mean() + np.array([-1.96, 1.96]) * values.std() / 20
        assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=0.02)

    def test_a_paired_difference_is_surer_than_two_values(self):
        rng = np.random.default_rng(2)
        hard = rng.normal(0, 1, 100)
        better = hard + 0.1 + rng.normal(0, 0.05, 100)
        difference = bootstrap_interval(
            lambda counts: float(np.average(better, weights=counts) - np.average(hard, weights=counts)),
            range(100),
            rng,
        )
        assert 0 < difference.low < 0.1 < difference.high < 0.2

    def test_the_same_seed_gives_the_same_interval(self):
        values = np.arange(10.0)
        first, second = (
            bootstrap_interval(lambda c: float(np.average(values, weights=c)), range(10), np.random.default_rng(5))
            for _ in range(2)
        )
        assert first == second

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation import slow_metrics
from visil.errors import DataError
from visil.evaluation.metrics import (
    FORMS,
    TIES,
    Interval,
    MicroAveragePrecision,
    RankedQuery,
    average_precision,
    bootstrap_weights,
    mean_average_precision,
    precision_curve,
    recall_at_k,
    share_found,
    weighted_mean,
)

# lists of (score, is relevant): few distinct scores, so most have ties
LISTS = st.lists(st.tuples(st.integers(-2, 3).map(lambda n: n / 2), st.booleans()), max_size=25)
SEVERAL_LISTS = st.lists(LISTS, min_size=1, max_size=5)
EVERY_RULE = pytest.mark.parametrize("ties", TIES)
EVERY_FORM = pytest.mark.parametrize("form", FORMS)
quick = settings(deadline=None)


def ranking(relevance: list[int], num_relevant: int | None = None, scores: list[float] | None = None) -> RankedQuery:
    """Videos in rank order unless scores are given."""
    if scores is None:
        scores = [float(-rank) for rank in range(len(relevance))]
    relevant = sum(relevance) if num_relevant is None else num_relevant
    return RankedQuery.sort(np.array(scores), np.array(relevance, dtype=bool), relevant)


def ranking_of(pairs: list[tuple[float, bool]], num_missing: int = 0) -> RankedQuery:
    return ranking([r for _, r in pairs], sum(r for _, r in pairs) + num_missing, [s for s, _ in pairs])


class TestAveragePrecision:
    def test_is_the_mean_precision_at_the_ranks_of_the_relevant_videos(self):
        assert average_precision(ranking([1, 0, 1])) == pytest.approx((1 + 2 / 3) / 2)

    def test_counts_relevant_videos_that_were_not_retrieved(self):
        assert average_precision(ranking([1, 0, 1, 0, 1], num_relevant=4)) == pytest.approx(0.566667, abs=1e-6)

    def test_the_trapezoid_takes_the_precision_before_a_rank_too(self):
        assert average_precision(ranking([1, 0, 1, 0, 1], 4), "trapezoid") == pytest.approx(0.533333, abs=1e-6)
        assert average_precision(ranking([0, 0, 1]), "trapezoid") == pytest.approx(1 / 6)

    @EVERY_FORM
    def test_is_one_if_all_relevant_videos_come_first(self, form):
        assert average_precision(ranking([1, 1, 0, 0]), form) == 1

    @EVERY_FORM
    def test_is_zero_if_nothing_relevant_was_retrieved(self, form):
        assert average_precision(ranking([0, 0], num_relevant=1), form) == 0
        assert average_precision(ranking([], num_relevant=1), form) == 0

    def test_equal_scores_are_one_group_in_any_order(self):
        for relevance in ([1, 0], [0, 1]):
            assert average_precision(ranking(relevance, scores=[0.5, 0.5])) == 0.5
        # group of two at the top holds one of two: 1/2 * 1/2; the second one is third: 1/2 * 2/3
        assert average_precision(ranking([0, 1, 1], scores=[0.9, 0.9, 0.1])) == pytest.approx(1 / 4 + 1 / 3)

    def test_the_other_rules_give_equal_scores_an_order(self):
        tied = ranking([0, 1, 0], scores=[0.5, 0.5, 0.5])
        assert [average_precision(tied, ties=ties) for ties in ("best", "stable", "worst")] == [1, 1 / 2, 1 / 3]

    @EVERY_RULE
    @EVERY_FORM
    @given(pairs=LISTS, num_missing=st.integers(1, 3))
    @quick
    def test_equals_a_loop_over_the_ranks(self, pairs, num_missing, form, ties):
        query = ranking_of(pairs, num_missing)
        slow = slow_metrics.average_precision(pairs, query.num_relevant, form, ties)
        assert average_precision(query, form, ties) == pytest.approx(slow, abs=1e-12)

    @pytest.mark.parametrize("ties", ["group", "best", "worst"])
    @EVERY_FORM
    @given(pairs=LISTS, random=st.randoms())
    @quick
    def test_the_order_of_the_file_matters_to_the_stable_rule_alone(self, pairs, random, form, ties):
        before = average_precision(ranking_of(pairs, 1), form, ties)
        random.shuffle(pairs)
        assert average_precision(ranking_of(pairs, 1), form, ties) == pytest.approx(before, abs=1e-12)

    @EVERY_FORM
    @given(pairs=LISTS)
    @quick
    def test_best_and_worst_bound_every_rule(self, pairs, form):
        worst, stable, group, best = (
            average_precision(ranking_of(pairs, 1), form, ties) for ties in ("worst", "stable", "group", "best")
        )
        assert worst - 1e-12 <= stable <= best + 1e-12
        assert worst - 1e-12 <= group <= best + 1e-12

    @pytest.mark.parametrize("ties", ["stable", "best", "worst"])
    @given(pairs=LISTS)
    @quick
    def test_the_trapezoid_of_an_order_is_at_most_its_rectangle(self, pairs, ties):
        query = ranking_of(pairs, 1)
        assert average_precision(query, "trapezoid", ties) <= average_precision(query, "rectangle", ties) + 1e-12

    @EVERY_RULE
    @EVERY_FORM
    @given(pairs=LISTS, num_low=st.integers(1, 5))
    @quick
    def test_irrelevant_videos_below_all_others_change_nothing(self, pairs, num_low, form, ties):
        longer = [*pairs, *[(-9.0, False)] * num_low]
        assert average_precision(ranking_of(longer, 1), form, ties) == average_precision(
            ranking_of(pairs, 1), form, ties
        )

    def test_without_relevant_videos_there_is_none(self):
        with pytest.raises(DataError, match="no average precision"):
            average_precision(ranking([0, 0]))

    @pytest.mark.parametrize("names", [("square", "group"), ("rectangle", "alphabetical")])
    def test_names_of_forms_and_rules_are_checked(self, names):
        with pytest.raises(DataError, match=r"square|alphabetical"):
            average_precision(ranking([1]), *names)


class TestRankedQuery:
    def test_scores_fall_and_the_places_of_the_relevant_videos_go_with_them(self):
        query = ranking([1, 0, 0, 1], scores=[0.1, 0.9, 0.5, 0.9])
        assert query.scores.tolist() == [0.9, 0.9, 0.5, 0.1]
        assert query.positions.tolist() == [1, 3]

    def test_videos_left_out_are_neither_ranked_nor_relevant(self):
        query = RankedQuery.of({"a": 0.9, "b": 0.8, "c": 0.7}, relevant={"b", "x"}, left_out={"a", "x"})
        assert query.scores.tolist() == [0.8, 0.7]
        assert query.positions.tolist() == [0]
        assert query.num_relevant == 1

    def test_scores_that_are_not_numbers_are_refused(self):
        with pytest.raises(DataError, match="finite"):
            ranking([1, 0], scores=[float("nan"), 0.0])

    def test_lists_of_other_lengths_are_refused(self):
        with pytest.raises(DataError, match="two lists"):
            ranking([1, 0], scores=[0.5])

    def test_more_retrieved_than_there_are_is_refused(self):
        with pytest.raises(DataError, match="more than"):
            ranking([1, 1], num_relevant=1)


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

    def test_a_query_without_relevant_videos_adds_its_videos_to_the_pool(self):
        nothing = ranking([0, 0], scores=[0.95, 0.85])
        # 0.95 wrong, 0.9 right, 0.85 and 0.8 wrong, 0.6 right
        assert MicroAveragePrecision([self.first, nothing, self.second])() == pytest.approx((1 / 2 + 2 / 5) / 2)

    @EVERY_RULE
    @given(lists=SEVERAL_LISTS)
    @quick
    def test_micro_ap_equals_a_loop_over_all_pairs_in_the_order_of_the_queries(self, lists, ties):
        queries = [ranking_of(pairs, 1) for pairs in lists]
        num_relevant = sum(query.num_relevant for query in queries)
        slow = slow_metrics.average_precision([pair for pairs in lists for pair in pairs], num_relevant, ties=ties)
        assert MicroAveragePrecision(queries, ties)() == pytest.approx(slow, abs=1e-12)

    @EVERY_RULE
    @given(pairs=LISTS)
    @quick
    def test_micro_ap_of_one_query_is_its_average_precision(self, pairs, ties):
        query = ranking_of(pairs, 1)
        assert MicroAveragePrecision([query], ties)() == pytest.approx(average_precision(query, ties=ties), abs=1e-12)

    def test_micro_ap_needs_a_relevant_video(self):
        with pytest.raises(DataError, match="no micro-AP"):
            MicroAveragePrecision([ranking([0, 0])])()


class TestResampledMicroAveragePrecision:
    @EVERY_RULE
    @given(lists=SEVERAL_LISTS)
    @quick
    def test_every_query_once_is_the_value(self, lists, ties):
        micro = MicroAveragePrecision([ranking_of(pairs, 1) for pairs in lists], ties)
        assert micro.resampled(np.ones((1, len(lists))))[0] == pytest.approx(micro(), abs=1e-12)

    @given(lists=SEVERAL_LISTS, data=st.data())
    @quick
    def test_weights_are_how_often_a_query_is_in_the_sample(self, lists, data):
        weights = data.draw(st.lists(st.integers(0, 3), min_size=len(lists), max_size=len(lists)).filter(any))
        queries = [ranking_of(pairs, 1) for pairs in lists]
        repeated = [query for query, weight in zip(queries, weights, strict=True) for _ in range(weight)]
        value = MicroAveragePrecision(queries).resampled(np.array([weights]))[0]
        assert value == pytest.approx(MicroAveragePrecision(repeated)(), abs=1e-12)

    def test_every_sample_is_computed_by_itself_whatever_the_blocks(self, monkeypatch):
        rng = np.random.default_rng(0)
        queries = [RankedQuery.sort(rng.random(30).round(1), rng.random(30) < 0.3, 30) for _ in range(7)]
        weights = rng.integers(0, 3, size=(11, 7))
        whole = MicroAveragePrecision(queries).resampled(weights)
        monkeypatch.setattr("visil.evaluation.metrics.MAX_BLOCK", 100)
        assert MicroAveragePrecision(queries).resampled(weights) == pytest.approx(whole, abs=1e-12)
        assert len(set(whole)) > 5

    def test_is_exact_where_a_sample_has_more_videos_than_float32_can_count(self):
        micro = MicroAveragePrecision([ranking([0, 0, 1])])
        assert micro.resampled(np.array([[2**24 + 1]]))[0] == pytest.approx(1 / 3, rel=1e-12)

    def test_a_sample_without_anything_relevant_has_no_value(self):
        micro = MicroAveragePrecision([ranking([1]), ranking([0])])
        assert micro.resampled(np.array([[0, 2], [1, 1]])).tolist() == pytest.approx([np.nan, 1 / 2], nan_ok=True)


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


class TestShareFound:
    def test_is_the_share_of_the_relevant_videos_among_the_first_k(self):
        assert [share_found(ranking([1, 0, 1, 1, 0]), k) for k in (1, 2, 3, 4)] == pytest.approx(
            [1 / 3, 1 / 3, 2 / 3, 1]
        )

    def test_those_that_were_not_retrieved_count(self):
        assert share_found(ranking([1, 0], num_relevant=4), 4) == 0.25

    def test_equal_scores_count_by_the_share_of_their_places(self):
        tied = ranking([1, 1, 1, 0, 0], scores=[0.9, 0.5, 0.5, 0.5, 0.5])  # two of four are relevant, two places left
        assert share_found(tied, 3) == pytest.approx((1 + 2 * 2 / 4) / 3)


class TestPrecisionCurve:
    def test_is_the_highest_precision_at_a_recall_or_more(self):
        curve = precision_curve([ranking([0, 1, 1, 0])])
        assert curve.tolist() == pytest.approx([2 / 3] * 21)

    def test_is_zero_beyond_what_was_retrieved(self):
        curve = precision_curve([ranking([1, 0, 1], num_relevant=4)])
        assert curve.tolist() == pytest.approx([1] * 6 + [2 / 3] * 5 + [0] * 10)

    def test_a_recall_of_3_in_20_is_the_level_of_15_percent(self):
        assert precision_curve([ranking([1, 1, 1, 0] + [1] * 17)])[3] == 1

    def test_is_the_mean_over_the_queries(self):
        assert precision_curve([ranking([1]), ranking([0, 1])]).tolist() == [0.75] * 21

    @EVERY_RULE
    @given(pairs=LISTS)
    @quick
    def test_equals_a_loop_over_the_ranks(self, pairs, ties):
        query = ranking_of(pairs, 1)
        slow = slow_metrics.precision_at_recall(pairs, query.num_relevant, ties)
        assert precision_curve([query], ties).tolist() == pytest.approx(slow)


class TestBootstrap:
    def test_one_component_leaves_no_doubt(self):
        values = np.array([0.2, 0.6])
        resampled = weighted_mean(values, bootstrap_weights(["film", "film"], np.random.default_rng(0)))
        assert resampled == pytest.approx([0.4] * 1000)

    def test_queries_of_a_component_are_drawn_together(self):
        weights = bootstrap_weights(["a", "a", "b"], np.random.default_rng(0))
        assert set(map(tuple, weights)) == {(1, 1, 1), (2, 2, 0), (0, 0, 2)}

    def test_a_sample_has_as_many_components_as_there_are(self):
        weights = bootstrap_weights("abcdefg", np.random.default_rng(0), num_resamples=50)
        assert weights.shape == (50, 7) and (weights.sum(axis=1) == 7).all()
        assert weights.mean() == pytest.approx(1)

    def test_covers_what_a_normal_approximation_covers(self):
        values = np.random.default_rng(1).normal(3, 1, 400)
        weights = bootstrap_weights(range(400), np.random.default_rng(0), num_resamples=2000)
        interval = Interval.of(values.mean(), weighted_mean(values, weights))
        expected = values.mean() + np.array([-1.96, 1.96]) * values.std() / 20
        assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=0.02)

    def test_a_paired_difference_is_surer_than_two_values(self):
        rng = np.random.default_rng(2)
        hard = rng.normal(0, 1, 100)
        better = hard + 0.1 + rng.normal(0, 0.05, 100)
        weights = bootstrap_weights(range(100), rng)
        difference = Interval.of(0.1, weighted_mean(better, weights) - weighted_mean(hard, weights))
        assert 0 < difference.low < 0.1 < difference.high < 0.2

    def test_the_same_seed_gives_the_same_samples(self):
        first, second, other = (bootstrap_weights(range(10), np.random.default_rng(seed)) for seed in (5, 5, 6))
        assert (first == second).all() and (first != other).any()

    def test_an_interval_holds_the_middle_of_the_samples(self):
        interval = Interval.of(0.5, np.arange(101) / 100, confidence=0.9)
        assert (interval.value, interval.low, interval.high) == pytest.approx((0.5, 0.05, 0.95))

    def test_an_interval_leaves_out_samples_without_a_value(self):
        samples = np.append(np.arange(101) / 100, [np.nan] * 50)
        assert Interval.of(0.5, samples, confidence=0.9) == Interval.of(0.5, samples[:101], confidence=0.9)
        assert Interval.of(0.5, np.array([np.nan])) == Interval(0.5, 0.5, 0.5)

    def test_no_samples_are_refused(self):
        with pytest.raises(DataError, match="samples"):
            bootstrap_weights("ab", np.random.default_rng(0), num_resamples=0)

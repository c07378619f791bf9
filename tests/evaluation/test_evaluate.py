"""Rules of counting, each on a data set small enough to count by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation import slow_metrics
from visil.errors import DataError
from visil.evaluation.evaluate import evaluate
from visil.evaluation.ground_truth import GroundTruth, Task
from visil.evaluation.metrics import TIES
from visil.evaluation.results import Evaluation, Share, TaskResult
from visil.evaluation.scores import MappedScores, QueryScores

VIDEOS = tuple("abcdef")


def task(relevant: dict[str, str], **rules) -> Task:
    """Task T; the relevant videos of a query are the letters of a text."""
    return Task("T", {query: frozenset(videos) for query, videos in relevant.items()}, **rules)


def data_set(*tasks: Task, queries: tuple[str, ...] = ("p", "q"), database: tuple[str, ...] = VIDEOS, **more):
    return GroundTruth("Toys", queries, database, tasks, **more)


def ranked(**rankings: str) -> dict[str, dict[str, float]]:
    """Scores that rank videos as the letters of a text: 0.9, 0.8, 0.7 ..."""
    return {q: {video: round(0.9 - i / 10, 1) for i, video in enumerate(text)} for q, text in rankings.items()}


def evaluated(truth: GroundTruth, scores: dict, available=None, **options) -> Evaluation:
    return evaluate(truth, MappedScores(scores, available), **{"num_resamples": 20, **options})


def result(truth: GroundTruth, scores: dict, available=None, **options) -> TaskResult:
    (only,) = evaluated(truth, scores, available, **options).tasks
    return only


def mean_of(found: TaskResult) -> float:
    return found.mean_average_precision.value.value


def micro_of(found: TaskResult) -> float:
    return found.micro_average_precision.value.value


class ListedScores:
    """A source that checks nothing itself."""

    available = None

    def __init__(self, *queries: QueryScores) -> None:
        self.queries = queries

    def __iter__(self):
        return iter(self.queries)


class TestWhatIsRanked:
    def test_videos_that_are_not_in_the_database_take_no_rank(self):
        found = result(data_set(task({"q": "b"})), ranked(q="xyb"))
        assert found.average_precision == {"q": 1}

    def test_videos_that_are_not_available_take_no_rank(self):
        found = result(data_set(task({"q": "b"})), ranked(q="acb"), {"q", "b"})
        assert found.average_precision == {"q": 1}

    def test_a_query_does_not_find_itself(self):
        truth = data_set(task({"a": "ab"}), queries=("a",))
        found = result(truth, ranked(a="acb"))
        assert found.average_precision == {"a": 1 / 2} and found.num_relevant == 1

    def test_unless_the_task_ranks_queries(self):
        truth = data_set(task({"a": "ab"}, ranks_query=True), queries=("a",))
        assert result(truth, ranked(a="acb")).average_precision == {"a": 1 / 3}  # a miss, as in EVVE

    def test_and_it_is_a_hit_if_the_task_counts_it_too(self):
        truth = data_set(task({"a": "ab"}, ranks_query=True, counts_query=True), queries=("a",))
        found = result(truth, ranked(a="acb"))  # as in CC_WEB_VIDEO
        assert found.average_precision == {"a": (1 + 2 / 3) / 2} and found.num_relevant == 2

    def test_a_query_may_count_without_being_ranked(self):
        truth = data_set(task({"a": "ab"}, counts_query=True), queries=("a",))
        assert result(truth, ranked(a="acb")).average_precision == {"a": 1 / 4}  # the official script of FIVR-200K

    def test_videos_left_out_are_neither_ranked_nor_counted(self):
        truth = data_set(task({"q": "bc"}, left_out={"q": frozenset("ac")}))
        found = result(truth, ranked(q="acb"))
        assert found.average_precision == {"q": 1} and found.num_relevant == 1

    def test_videos_left_out_for_one_query_are_ranked_for_another(self):
        truth = data_set(task({"q": "b", "p": "b"}, left_out={"q": frozenset("a")}))
        assert result(truth, ranked(q="ab", p="ab")).average_precision == {"p": 1 / 2, "q": 1}

    def test_removed_videos_are_gone_for_all(self):
        truth = data_set(task({"q": "bc", "p": "b"}, removed=frozenset("ac")))
        found = result(truth, ranked(q="acb", p="ab"))
        assert found.average_precision == {"p": 1, "q": 1} and found.num_relevant == 2

    def test_only_candidates_of_the_query_are_ranked(self):
        candidates = {"q": frozenset("bc"), "p": frozenset("ab")}
        truth = data_set(task({"q": "b", "p": "b"}, candidates=candidates))
        assert result(truth, ranked(q="acb", p="acb")).average_precision == {"p": 1 / 2, "q": 1 / 2}

    def test_shared_candidates_are_ranked_for_every_query(self):
        truth = data_set(task({"q": "b"}, candidates={"q": frozenset("b")}, shared_candidates=frozenset("de")))
        assert result(truth, ranked(q="dacb")).average_precision == {"q": 1 / 2}

    def test_tasks_with_other_rules_each_rank_their_own_videos(self):
        plain = task({"q": "b"})
        hard = replace(plain, name="hard", removed=frozenset("a"))
        found = evaluated(data_set(plain, hard), ranked(q="acb"))
        assert [mean_of(one) for one in found.tasks] == [1 / 3, 1 / 2]

    def test_queries_may_share_one_list_of_videos(self):
        videos = list("qabc")
        scores = ListedScores(
            QueryScores("p", videos, np.array([0.9, 0.8, 0.7, 0.6])),
            QueryScores("q", videos, np.array([0.9, 0.6, 0.7, 0.8])),
        )
        truth = data_set(task({"p": "a", "q": "a"}), database=("q", *VIDEOS))
        found = evaluate(truth, scores, num_resamples=5).tasks[0]
        assert found.average_precision == {"p": 1 / 2, "q": 1 / 3}

    def test_queries_may_score_other_videos_each(self):
        scores = {"q": {"a": 0.5, "x": 0.4, "b": 0.3}, "p": {"c": 0.2, "y": 0.9, "a": 0.1}}
        truth = data_set(task({"q": "bc", "p": "ab"}, left_out={"p": frozenset("b")}))
        found = result(truth, scores)
        assert found.average_precision == {"p": 1 / 2, "q": (1 / 2) / 2}

    def test_an_id_is_looked_up_once_however_many_queries_score_it(self):
        class Watched(frozenset):
            num_asked = 0

            def __contains__(self, id: object) -> bool:
                Watched.num_asked += 1
                return super().__contains__(id)

        relevant = {f"q{i}": "a" for i in range(20)}
        truth = data_set(task(relevant, removed=Watched("f")), queries=tuple(relevant))
        found = result(truth, {query: {v: i / 10 for i, v in enumerate(VIDEOS)} for query in relevant})
        assert found.num_queries == 20
        assert Watched.num_asked == len(VIDEOS)


class TestWhatCounts:
    def test_relevant_videos_without_a_score_count(self):
        assert result(data_set(task({"q": "ab"})), ranked(q="a")).average_precision == {"q": 1 / 2}

    def test_relevant_videos_outside_the_database_do_not(self):
        found = result(data_set(task({"q": "ax"})), ranked(q="a"))
        assert found.average_precision == {"q": 1} and found.num_relevant_strict == 1

    def test_relevant_videos_that_are_not_available_count_in_the_strict_way_alone(self):
        found = result(data_set(task({"q": "ab"})), ranked(q="ac"), {"q", "a", "c"})
        for measure in (found.mean_average_precision, found.micro_average_precision):
            assert (measure.value.value, measure.strict) == (1, 1 / 2)
        assert (found.num_relevant, found.num_relevant_strict) == (1, 2)

    def test_unless_the_task_counts_what_is_unavailable(self):
        truth = data_set(task({"q": "abx"}, counts_unavailable=True))
        found = result(truth, ranked(q="ac"), {"q", "a", "c"})
        assert found.average_precision == {"q": 1 / 3}

    def test_a_query_without_scores_counts_in_the_strict_way_alone(self):
        found = result(data_set(task({"q": "a", "p": "bc"})), ranked(q="a"))
        assert (found.mean_average_precision.value.value, found.mean_average_precision.strict) == (1, 1 / 2)
        assert (found.micro_average_precision.value.value, found.micro_average_precision.strict) == (1, 1 / 3)
        assert (found.num_queries, found.num_missing, found.num_skipped) == (1, 1, 0)

    def test_a_query_whose_relevant_videos_are_all_unavailable_counts_in_the_strict_way_alone(self):
        found = result(data_set(task({"q": "a", "p": "b"})), ranked(q="a", p="c"), {"q", "p", "a", "c"})
        assert (found.mean_average_precision.value.value, found.mean_average_precision.strict) == (1, 1 / 2)
        assert found.num_skipped == 1

    def test_a_query_with_nothing_relevant_is_skipped(self):
        found = result(data_set(task({"q": "a"})), ranked(q="a", p="b"))
        assert found.average_precision == {"q": 1}
        assert (found.num_skipped, found.num_missing, found.mean_average_precision.strict) == (1, 0, 1)

    def test_or_zero_if_the_task_says_so(self):
        found = result(data_set(task({"q": "a"}, empty_is_zero=True)), ranked(q="a", p="b"))
        assert found.average_precision == {"p": 0, "q": 1} and mean_of(found) == 1 / 2

    def test_where_the_source_does_not_know_what_is_available_all_of_the_database_is(self):
        found = result(data_set(task({"q": "ab"})), ranked(q="a"), None)
        assert found.mean_average_precision.strict == mean_of(found) == 1 / 2

    def test_means_of_groups_count_available_queries_without_scores_as_zero(self):
        groups = {"q": "event", "p": "event", "r": "other"}
        truth = data_set(task({"q": "a", "p": "b", "r": "c"}, groups=groups), queries=("p", "q", "r"))
        found = result(truth, ranked(q="a"), {"q", "p", *VIDEOS})
        assert found.group_means == {"event": 1 / 2}
        assert mean_of(found) == 1

    @given(st.data())
    @settings(deadline=None, max_examples=50)
    def test_the_strict_way_is_never_above_the_papers(self, data):
        letters = st.sets(st.sampled_from(VIDEOS))
        relevant = {query: "".join(sorted(data.draw(letters))) for query in "pqr"}
        scored = data.draw(st.sets(st.sampled_from("pqr"), min_size=1))
        available = data.draw(letters.filter(lambda found: "a" in found)) | set("pqr")
        orders = {query: "".join(data.draw(st.permutations(VIDEOS))) for query in sorted(scored)}
        truth = data_set(task({q: v for q, v in relevant.items() if v}), queries=tuple("pqr"))
        found = result(truth, ranked(**orders), available)
        for measure in (found.mean_average_precision, found.micro_average_precision):
            assert measure is None or measure.strict <= measure.value.value + 1e-12


class TestMicroAveragePrecision:
    def test_pools_the_lists_of_queries_that_are_annotated_for_the_task(self):
        truth = data_set(task({"q": "a", "p": "b"}, removed=frozenset("b")))
        # p has nothing relevant left, its list stays in the pool
        found = result(truth, {"q": {"a": 0.5}, "p": {"c": 0.9}})
        assert mean_of(found) == 1 and micro_of(found) == 1 / 2

    def test_but_not_those_of_others(self):
        found = result(data_set(task({"q": "a"})), {"q": {"a": 0.5}, "p": {"c": 0.9}})
        assert micro_of(found) == 1

    def test_unless_the_task_pools_every_query(self):
        truth = data_set(task({"q": "a", "r": "b"}, pools_every_query=True), queries=("p", "q", "r"))
        found = result(truth, {"q": {"a": 0.5}, "p": {"c": 0.9}})
        assert micro_of(found) == (1 / 2) / 2  # r's relevant pair counts, though r has no scores
        assert mean_of(found) == 1

    def test_an_open_data_set_takes_queries_and_videos_as_they_come(self):
        truth = data_set(task({"q": "a"}, pools_every_query=True), queries=("q",), database=("a",), is_open=True)
        found = evaluated(truth, {"q": {"a": 0.5, "x": 0.7}, "distractor": {"y": 0.9}})
        assert micro_of(found.tasks[0]) == 1 / 3
        assert found.coverage.queries == found.coverage.database == Share(1, 1)
        assert not found.warnings


class TestTies:
    TRUTH = data_set(task({"q": "b"}))
    TIED: dict = {"q": {"a": 0.5, "b": 0.5, "c": 0.5}}  # noqa: RUF012

    def test_each_rule_has_its_value_with_the_bounds_beside_it(self):
        for ties, value in {"group": 1 / 3, "stable": 1 / 2, "best": 1, "worst": 1 / 3}.items():
            found = result(self.TRUTH, self.TIED, ties=ties)
            for measure in (found.mean_average_precision, found.micro_average_precision):
                assert (measure.value.value, measure.best, measure.worst) == pytest.approx((value, 1, 1 / 3))

    def test_a_task_can_insist_on_its_rule(self):
        truth = data_set(task({"q": "b"}, ties="group"))
        assert mean_of(result(truth, self.TIED, ties="stable")) == pytest.approx(1 / 3)

    def test_stable_micro_ap_takes_queries_in_the_order_of_the_scores(self):
        truth = data_set(task({"q": "a", "p": "a"}))
        first, second = {"a": 0.5}, {"b": 0.5, "a": 0.4}
        assert micro_of(result(truth, {"q": first, "p": second}, ties="stable")) == (1 + 2 / 3) / 2
        assert micro_of(result(truth, {"p": second, "q": first}, ties="stable")) == (1 / 2 + 2 / 3) / 2


@given(st.data(), st.sampled_from(TIES))
@settings(deadline=None, max_examples=60)
def test_equals_loops_over_filtered_lists(data, ties):
    """mAP, micro-AP and the curve of a task with removed and unavailable videos, against plain Python."""
    videos = st.sets(st.sampled_from(VIDEOS), max_size=4)
    relevant = {query: frozenset(data.draw(videos)) for query in "abq"}
    removed, missing = frozenset(data.draw(videos)), data.draw(videos)
    levels = st.sampled_from([-0.5, 0.0, 0.5, 1.0])
    scores = {q: data.draw(st.dictionaries(st.sampled_from((*VIDEOS, "x")), levels)) for q in "baq"}
    if not any(video in VIDEOS for found in scores.values() for video in found):
        return
    truth = data_set(Task("T", relevant, removed=removed), queries=("a", "b", "q"))
    found = result(truth, scores, set(VIDEOS) - missing, ties=ties)

    kept = set(VIDEOS) - missing - removed
    counts = {q: len(relevant[q] & kept - {q}) for q in scores}
    lists = {
        q: [(score, video in relevant[q]) for video, score in scores[q].items() if video in kept and video != q]
        for q in scores
    }
    means = {q: slow_metrics.average_precision(lists[q], counts[q], ties=ties) for q in scores if counts[q]}
    assert found.average_precision == pytest.approx(means)
    assert found.num_relevant == sum(counts.values())
    if means:
        pool = [pair for q in scores for pair in lists[q]]
        assert mean_of(found) == pytest.approx(np.mean(list(means.values())))
        assert micro_of(found) == pytest.approx(slow_metrics.average_precision(pool, sum(counts.values()), ties=ties))
        curves = [slow_metrics.precision_at_recall(lists[q], counts[q], ties) for q in means]
        assert found.precision.tolist() == pytest.approx(np.mean(curves, axis=0).tolist())
    else:
        assert found.mean_average_precision is found.micro_average_precision is None
        assert not found.precision.any()


class TestBootstrap:
    RELEVANT = {f"q{i}": "abc"[i % 3] for i in range(12)}  # noqa: RUF012
    TRUTH = data_set(task(RELEVANT), queries=tuple(RELEVANT))

    def scores(self, seed: int) -> dict[str, dict[str, float]]:
        rng = np.random.default_rng(seed)
        return {query: dict(zip(VIDEOS, rng.random(6), strict=True)) for query in self.TRUTH.queries}

    def test_does_not_depend_on_the_order_of_the_scores(self):
        scores = self.scores(0)
        first = result(self.TRUTH, scores)
        second = result(self.TRUTH, dict(reversed(scores.items())))
        for name in ("mean_average_precision", "micro_average_precision"):
            one, other = getattr(first, name), getattr(second, name)
            assert one.resampled == pytest.approx(other.resampled)
            assert len(set(one.resampled)) > 10
        assert list(second.average_precision) == list(self.TRUTH.queries)

    def test_every_sample_is_that_of_its_queries(self):
        scores = self.scores(1)
        found = result(self.TRUTH, scores, seed=3, num_resamples=4)
        rng = np.random.default_rng(3)
        values = np.array(list(found.average_precision.values()))
        means = [values[sample].mean() for sample in rng.integers(12, size=(4, 12))]
        assert found.mean_average_precision.resampled == pytest.approx(means)

    def test_queries_of_a_component_are_drawn_together(self):
        truth = replace(self.TRUTH, components=dict.fromkeys(self.TRUTH.queries, "one event"))
        for measure in (
            result(truth, self.scores(2)).mean_average_precision,
            result(truth, self.scores(2)).micro_average_precision,
        ):
            assert measure.value.low == pytest.approx(measure.value.value) == measure.value.high

    def test_the_interval_of_the_micro_ap_leaves_out_samples_without_anything_relevant(self):
        truth = data_set(task({"q": "b", "p": "a"}))
        found = result(
            truth, ranked(q="cdefb", p="cdef"), {"q", "p", *"bcdef"}, num_resamples=100
        ).micro_average_precision
        assert np.isnan(found.resampled).any()
        assert found.value.low > 0

    def test_seed_and_number_of_samples_are_the_callers(self):
        first, second = (result(self.TRUTH, self.scores(3), seed=seed, num_resamples=7) for seed in (0, 1))
        assert first.mean_average_precision.resampled.shape == (7,)
        assert (first.mean_average_precision.resampled != second.mean_average_precision.resampled).any()


class TestCoverage:
    def test_says_what_was_read_of_queries_videos_and_relevant_pairs(self):
        truth = data_set(task({"q": "abc", "p": "a"}), replace(task({"q": "cd"}), name="U"))
        found = evaluated(truth, ranked(q="ab"), {"q", "p", "a", "b", "c"}).coverage
        assert (found.queries, found.database) == (Share(1, 2), Share(3, 6))
        assert found.relevant_pairs == Share(3, 5)

    def test_takes_what_was_scored_where_the_source_cannot_know(self):
        found = evaluated(data_set(task({"q": "abc", "p": "a"})), ranked(q="ab", p="d")).coverage
        assert (found.database, found.relevant_pairs) == (Share(3, 6), Share(3, 4))
        assert not found.knows_available
        assert evaluated(data_set(task({"q": "a"})), ranked(q="ab"), set("abpq")).coverage.knows_available

    def test_lists_the_queries_and_videos_that_are_missing(self):
        truth = data_set(task({"q": "a"}))
        found = evaluated(truth, ranked(q="ab"), {"q", "a", "c", "e"}).coverage
        assert (found.missing_queries, found.missing_videos) == (("p",), ("b", "d", "f"))
        assert evaluated(truth, ranked(q="ab")).coverage.missing_videos == ()  # a source that cannot know

    def test_is_of_the_videos_that_a_search_scores(self):
        truth = data_set(task({"q": "a"}), database=("a", "b", "p", "q"), searched=("a", "b"))
        assert evaluated(truth, ranked(q="apq")).coverage.database == Share(1, 2)


class TestWarnings:
    def test_what_is_unknown_missing_or_skipped_is_counted_with_an_example(self):
        truth = data_set(task({"q": "a"}), queries=("p", "q", "r"), warnings=("from the annotation",))
        lines = evaluated(truth, ranked(q="ayz", p="b", stranger="a")).warnings
        assert lines == (
            "from the annotation",
            "scored queries that Toys does not have, ignored: 1 (such as 'stranger')",
            "scored videos that Toys does not have, ignored: 2 (such as 'y')",
            "queries of Toys without scores, not in the means but 0 in the strict count: 1 (such as 'r')",
            "T: scored queries without relevant videos, skipped: 1",
        )

    def test_a_query_that_is_a_video_of_the_data_set_is_not_called_unknown(self):
        (line,) = evaluated(data_set(task({"q": "a"}), queries=("q",)), ranked(q="ab", b="a")).warnings
        assert line == "scored queries that are videos of Toys, but none of its queries, ignored: 1 (such as 'b')"

    def test_scored_videos_that_are_not_available_are_counted(self):
        (line,) = evaluated(data_set(task({"q": "a"}), queries=("q",)), ranked(q="ab"), {"q", "a"}).warnings
        assert "unavailable" in line and "1" in line

    def test_a_query_scored_as_a_video_is_nothing_strange(self):
        assert not evaluated(data_set(task({"q": "a"}), queries=("q",)), ranked(q="qa")).warnings

    def test_an_open_data_set_says_if_nothing_relevant_was_scored(self):
        truth = data_set(task({"q": "a"}), queries=("q",), database=("a",), is_open=True)
        (line,) = evaluated(truth, ranked(q="xyz")).warnings
        assert "none of the relevant videos" in line and "'a'" in line


class TestErrors:
    TRUTH = data_set(task({"q": "a"}))

    @pytest.mark.parametrize("score", [float("nan"), float("inf")])
    def test_a_score_that_is_not_a_number_is_named(self, score):
        with pytest.raises(DataError, match=f"'q'.*'b' is {score}"):
            evaluated(self.TRUTH, {"q": {"a": 0.5, "b": score}})

    def test_a_query_that_comes_twice(self):
        once = QueryScores("q", ["a"], np.array([0.5]))
        with pytest.raises(DataError, match="'q' comes twice"):
            evaluate(self.TRUTH, ListedScores(once, once))

    def test_a_video_that_is_scored_twice(self):
        with pytest.raises(DataError, match="'q': video 'a' is scored twice"):
            evaluate(self.TRUTH, ListedScores(QueryScores("q", ["a", "b", "a"], np.zeros(3))))

    def test_more_videos_than_scores(self):
        with pytest.raises(DataError, match="2 videos"):
            evaluate(self.TRUTH, ListedScores(QueryScores("q", ["a", "b"], np.zeros(3))))

    def test_scores_of_another_data_set_show_an_id_of_each_side(self):
        with pytest.raises(DataError, match=r"no query of Toys, such as 'p'.*such as 'stranger'"):
            evaluated(self.TRUTH, ranked(stranger="a"))
        with pytest.raises(DataError, match=r"no database video of Toys, such as 'a'.*such as 'x'"):
            evaluated(self.TRUTH, ranked(q="xyz"))

    def test_no_scores_at_all(self):
        with pytest.raises(DataError, match="scored queries are none"):
            evaluated(self.TRUTH, {})
        with pytest.raises(DataError, match="scored videos are none"):
            evaluated(self.TRUTH, {"q": {}})

    def test_unknown_names_of_tasks_and_rules_list_the_known_ones(self):
        with pytest.raises(DataError, match=r"no task U; it has T"):
            evaluated(self.TRUTH, ranked(q="a"), tasks=["U"])
        with pytest.raises(DataError, match=r"'first'.*group, stable"):
            evaluated(self.TRUTH, ranked(q="a"), ties="first")

    def test_errors_are_one_line(self):
        with pytest.raises(DataError) as caught:
            evaluated(self.TRUTH, ranked(stranger="a"))
        assert "\n" not in str(caught.value)


def test_tasks_can_be_chosen_by_name():
    truth = data_set(task({"q": "a"}), replace(task({"q": "b"}), name="U"))
    assert [found.name for found in evaluated(truth, ranked(q="ab"), tasks=["U"]).tasks] == ["U"]

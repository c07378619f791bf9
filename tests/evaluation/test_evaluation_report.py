"""Reports: what JSON says can be read again, rows say it flat, two runs are compared on the same samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visil.errors import DataError
from visil.evaluation.evaluate import evaluate
from visil.evaluation.evaluation_report import (
    CSV_COLUMNS,
    MAP,
    MICRO_AP,
    csv_rows,
    differences,
    header,
    read_report,
    task_row,
    ties_that_matter,
)
from visil.evaluation.ground_truth import GroundTruth, Task
from visil.evaluation.metrics import Interval
from visil.evaluation.results import Coverage, Evaluation, Measure, SegmentEvaluation, Share, TaskResult
from visil.evaluation.scores import MappedScores

QUERIES = tuple(f"q{i}" for i in range(8))
DATABASE = tuple(f"v{i}" for i in range(12))
RELEVANT = {query: frozenset({f"v{i}", f"v{i + 1}"}) for i, query in enumerate(QUERIES)}
TRUTH = GroundTruth("made", QUERIES, DATABASE, (Task("DSVR", RELEVANT, "DSVD"), Task("EVVE", RELEVANT)))


def measure(value: float, resampled: list[float], *, strict: float = 0.4, spread: float = 0.0) -> Measure:
    interval = Interval(value, value - 0.1, value + 0.1)
    return Measure(interval, strict, value + spread, value - spread, np.array(resampled))


def task_result(name: str = "DSVR", detection: str = "DSVD", **changes: Any) -> TaskResult:
    """Two queries with average precisions .25 and .75."""
    result = TaskResult(
        name=name,
        detection_name=detection,
        mean_average_precision=measure(0.5, [0.25, 0.5, 0.75]),
        micro_average_precision=measure(0.6, [0.5, 0.6, 0.7]),
        average_precision={"q0": 0.25, "q1": 0.75},
        group_means={},
        num_skipped=1,
        num_missing=2,
        num_relevant=7,
        num_relevant_strict=9,
        pool="of two queries",
        recall=np.linspace(0, 1, 21),
        precision=np.linspace(1, 0, 21),
    )
    return replace(result, **changes)


def evaluation_of(*tasks: TaskResult, **changes: Any) -> Evaluation:
    coverage = Coverage(queries=Share(3, 5), database=Share(10, 12), relevant_pairs=Share(7, 9))
    found = Evaluation("made", "by hand", "group", 0, 3, tasks or (task_result(),), coverage, ("2 ids are unknown",))
    return replace(found, **changes)


def scored(seed: int, *, queries: tuple[str, ...] = QUERIES, **options: Any) -> Evaluation:
    rng = np.random.default_rng(seed)
    scores = {query: dict(zip(DATABASE, rng.random(len(DATABASE)).tolist(), strict=True)) for query in queries}
    return evaluate(TRUTH, MappedScores(scores), **options)


def pooled_run(*, distractors: str = "xyz", is_reversed: bool = False) -> Evaluation:
    """Of an open data set that pools every scored query, as VSC2022 does; scores differ from query to query."""
    task = Task("T", {query: RELEVANT[query] for query in QUERIES[:4]}, pools_every_query=True)
    truth = GroundTruth("open", QUERIES[:4], DATABASE[:6], (task,), is_open=True)
    rng = np.random.default_rng(0)
    scores = {
        query: dict(zip(DATABASE, rng.random(12).tolist(), strict=True)) for query in (*QUERIES[:4], *distractors)
    }
    return evaluate(truth, MappedScores(dict(reversed(scores.items())) if is_reversed else scores))


def as_json(evaluation: Evaluation) -> str:
    return json.dumps({**header(evaluation, {}), "rows": [task_row(task) for task in evaluation.tasks]}, indent=1)


def as_jsonl(evaluation: Evaluation) -> str:
    return "\n".join(map(json.dumps, [header(evaluation, {}), *map(task_row, evaluation.tasks)])) + "\n"


class TestAReportThatIsReadAgain:
    @pytest.mark.parametrize("written", [as_json, as_jsonl])
    def test_says_the_same(self, tmp_path: Path, written: Callable[[Evaluation], str]) -> None:
        evaluation = scored(0)
        (tmp_path / "run.json").write_text(written(evaluation), encoding="utf-8")
        read = read_report(tmp_path / "run.json")
        assert written(read) == written(evaluation)
        assert read.coverage == evaluation.coverage
        assert read.tasks[0].average_precision == evaluation.tasks[0].average_precision

    def test_keeps_a_task_in_which_nothing_could_be_evaluated(self, tmp_path: Path) -> None:
        empty = task_result(mean_average_precision=None, micro_average_precision=None, average_precision={})
        (tmp_path / "run.json").write_text(as_json(evaluation_of(empty)), encoding="utf-8")
        (task,) = read_report(tmp_path / "run.json").tasks
        assert (task.mean_average_precision, task.num_queries) == (None, 0)

    def test_rounds_resampled_values_and_curves_and_no_metric(self) -> None:
        third = measure(1 / 3, [1 / 3] * 3)
        row = task_row(task_result(mean_average_precision=third, precision=np.array([1 / 3])))
        assert (row[MAP]["value"], row["resampled"][MAP]) == (1 / 3, [0.333333] * 3)
        assert row["precision"] == [0.333333]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "3",
            '{"rows": []}',
            '{"rows": [1], "manifest": {}}',
            "\n\n",
            "[" * 100_000,
            as_json(evaluation_of()).replace('"strict": 0.4', '"strict": NaN'),
            as_json(evaluation_of()).replace('"strict": 0.4', '"strict": 1e999'),
            as_json(evaluation_of()).replace('"strict": 0.4', '"strict": null'),
            as_json(evaluation_of()).replace('"resampled"', '"sampled"'),
            as_json(evaluation_of(task_result(precision=np.ones(2)))),
            as_json(evaluation_of(task_result(precision=np.ones((21, 1))))),
            as_json(evaluation_of(task_result(precision=np.full(21, np.nan)))).replace("NaN", '"nan"'),
            as_json(evaluation_of()).replace('"average_precision": {', '"average_precision": {"q9": [],'),
        ],
    )  # fmt: skip
    def test_that_is_something_else_is_one_line_with_the_file(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "run.json").write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=r"run\.json: not a report of `visil evaluate --format json`") as error:
            read_report(tmp_path / "run.json")
        assert "\n" not in str(error.value)

    def test_may_begin_with_a_byte_order_mark(self, tmp_path: Path) -> None:
        (tmp_path / "run.json").write_text(as_json(evaluation_of()), encoding="utf-8-sig")
        assert read_report(tmp_path / "run.json").data_set == "made"

    def test_that_is_missing_or_no_text_is_one_line_too(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"nobody\.json: cannot be read"):
            read_report(tmp_path / "nobody.json")
        (tmp_path / "run.json").write_bytes(b"\x80\x81")
        with pytest.raises(DataError, match=r"run\.json: not a report"):
            read_report(tmp_path / "run.json")


class TestTheDifferenceOfTwoRuns:
    def test_is_this_one_less_the_other_with_the_interval_of_their_paired_samples(self) -> None:
        ours = evaluation_of(task_result(mean_average_precision=measure(0.5, [0.2, 0.5, 0.8], strict=0.4)))
        other = evaluation_of(task_result(mean_average_precision=measure(0.3, [0.1, 0.3, 0.5], strict=0.1)))
        (mean, micro), notes = differences(ours, other)
        assert notes == []
        assert (mean.task, mean.metric, mean.value, mean.other) == ("DSVR", MAP, 0.5, 0.3)
        assert (mean.difference, mean.strict) == (pytest.approx(0.2), pytest.approx(0.3))
        assert (mean.low, mean.high) == (pytest.approx(0.105), pytest.approx(0.295))  # of .1, .2, .3
        assert (micro.task, micro.metric, micro.low, micro.high) == ("DSVD", MICRO_AP, 0.0, 0.0)

    @given(st.integers(0, 1000), st.integers(0, 1000))
    def test_turns_round_with_the_runs_and_is_nothing_between_a_run_and_itself(self, a: int, b: int) -> None:
        ours, theirs = scored(a, num_resamples=20), scored(b, num_resamples=20)
        there, back = differences(ours, theirs)[0], differences(theirs, ours)[0]
        for row, turned in zip(there, back, strict=True):
            assert (row.difference, row.low, row.high) == pytest.approx((-turned.difference, -turned.high, -turned.low))
        assert {(row.difference, row.low, row.high) for row in differences(ours, ours)[0]} == {(0.0, 0.0, 0.0)}

    def test_is_surer_than_two_intervals_apart(self) -> None:
        """What a hard query costs both runs cancels."""
        rng = np.random.default_rng(0)
        hard = {query: {v: rng.random() for v in DATABASE} for query in QUERIES}
        easier = {
            query: {v: score + 0.05 * (v in RELEVANT[query]) for v, score in scores.items()}
            for query, scores in hard.items()
        }
        ours, theirs = (evaluate(TRUTH, MappedScores(scores)) for scores in (easier, hard))
        row = differences(ours, theirs)[0][0]
        apart = ours.tasks[0].mean_average_precision
        assert row.low is not None and row.high is not None and apart is not None
        assert row.low >= 0.0
        assert row.high - row.low < (apart.value.high - apart.value.low) / 2

    @pytest.mark.parametrize("changes", [{"seed": 1}, {"num_resamples": 4}])
    def test_has_no_interval_without_the_same_samples(self, changes: dict[str, int]) -> None:
        rows, (note,) = differences(evaluation_of(), evaluation_of(**changes))
        assert [(row.low, row.high) for row in rows] == [(None, None)] * 2
        assert "differences have no interval" in note

    def test_is_over_the_common_queries_when_the_runs_have_others_without_interval_and_micro_ap(self) -> None:
        ours, theirs = scored(0), scored(1, queries=QUERIES[2:])
        rows, notes = differences(ours, theirs)
        common = [ours.tasks[0].average_precision[query] for query in QUERIES[2:]]
        assert [(row.task, row.metric) for row in rows] == [("DSVR", MAP), ("EVVE", MAP)]
        assert (rows[0].value, rows[0].low, rows[0].strict) == (pytest.approx(np.mean(common)), None, None)
        assert "8 queries here, 6 in the other run; the difference is over the 6 of both, without interval" in notes[0]

    def test_has_no_row_for_a_task_without_a_common_query(self) -> None:
        other = task_result(average_precision={"q7": 1.0})
        rows, (note,) = differences(evaluation_of(), evaluation_of(other))
        assert (rows, "the 0 of both" in note) == ([], True)

    def test_of_micro_ap_has_no_interval_where_other_queries_without_relevant_videos_were_ranked(self) -> None:
        (mean, micro), (note,) = differences(evaluation_of(), evaluation_of(task_result(pool="of others")))
        assert (mean.low, micro.low, micro.difference) == (0.0, None, 0.0)
        assert "DSVR: the micro-AP ranks the videos of other queries here" in note

    def test_of_micro_ap_does_not_depend_on_the_order_of_the_queries_in_a_file(self) -> None:
        ours, theirs = pooled_run(), pooled_run(is_reversed=True)
        (mean, micro), notes = differences(ours, theirs)
        assert (micro.difference, micro.low, micro.high, mean.low, mean.high) == (0.0, 0.0, 0.0, 0.0, 0.0)
        assert ours.tasks[0].micro_average_precision.value.low < ours.tasks[0].micro_average_precision.value.high
        assert notes == []

    def test_of_micro_ap_has_no_interval_over_as_many_but_other_queries(self) -> None:
        (mean, micro), (note,) = differences(pooled_run(), pooled_run(distractors="uvw"))
        assert (mean.low, micro.low, micro.high) == (0.0, None, None)
        assert "the micro-AP ranks the videos of other queries here" in note

    def test_leaves_out_samples_in_which_a_run_has_no_value(self, tmp_path: Path) -> None:
        nan = float("nan")
        ours = evaluation_of(task_result(micro_average_precision=measure(0.6, [0.5, nan, 0.7, nan])))
        other = evaluation_of(task_result(micro_average_precision=measure(0.5, [0.4, 0.1, 0.6, nan])))
        (tmp_path / "run.json").write_text(as_json(other), encoding="utf-8")
        for run in (other, read_report(tmp_path / "run.json")):
            micro = differences(ours, run)[0][1]
            assert (micro.low, micro.high) == (pytest.approx(0.1), pytest.approx(0.1))

    def test_says_that_the_runs_read_other_videos(self) -> None:
        (note,) = differences(evaluation_of(), evaluation_of(task_result(num_relevant=8)))[1]
        assert "7 relevant pairs were counted here, 8 in the other run" in note

    def test_says_that_equal_scores_rank_in_another_way(self) -> None:
        rows, (note,) = differences(evaluation_of(), evaluation_of(ties="stable"))
        assert (len(rows), "'group' here and by 'stable'" in note) == (2, True)

    def test_of_other_data_sets_or_tasks_is_refused(self) -> None:
        with pytest.raises(DataError, match="the other run is of EVVE, this one of made"):
            differences(evaluation_of(), evaluation_of(data_set="EVVE", truth_hash="another"))
        with pytest.raises(DataError, match=r"no task of this one \(CSVR\)"):
            differences(evaluation_of(), evaluation_of(task_result("CSVR")))

    def test_of_one_data_set_under_two_names_is_that_of_one(self) -> None:
        rows, notes = differences(evaluation_of(truth_hash="a"), evaluation_of(truth_hash="a", data_set="renamed"))
        assert (len(rows), notes) == (2, [])

    def test_of_two_annotations_of_one_name_has_no_interval_and_says_so(self) -> None:
        rows, (note, *_) = differences(evaluation_of(truth_hash="a"), evaluation_of(truth_hash="b"))
        assert [(row.difference, row.low, row.high) for row in rows] == [(0.0, None, None)] * 2
        assert "the annotation of made was another one in the other run" in note

    def test_of_a_task_that_one_run_could_not_evaluate_has_no_row(self) -> None:
        empty = task_result(mean_average_precision=None, micro_average_precision=None)
        assert differences(evaluation_of(), evaluation_of(empty))[0] == []
        partly = task_result(mean_average_precision=None)
        assert [row.metric for row in differences(evaluation_of(), evaluation_of(partly))[0]] == [MICRO_AP]


class TestRows:
    def test_hold_a_metric_each_with_coverage_beside_it(self) -> None:
        mean, micro = csv_rows(evaluation_of())
        assert set(mean) == set(micro) == set(CSV_COLUMNS)
        assert {name: value for name, value in mean.items() if value is not None} == {
            "data_set": "made", "task": "DSVR", "metric": MAP, "value": 0.5, "low": 0.4, "high": 0.6, "strict": 0.4,
            "best": 0.5, "worst": 0.5, "ties": "group", "queries": 2, "skipped_queries": 1, "missing_queries": 2,
            "relevant_pairs": 7, "strict_relevant_pairs": 9, "coverage_queries_found": 3, "coverage_queries_total": 5,
            "coverage_database_found": 10, "coverage_database_total": 12, "coverage_relevant_pairs_found": 7,
            "coverage_relevant_pairs_total": 9,
        }  # fmt: skip
        assert (micro["task"], micro["metric"], micro["value"]) == ("DSVD", MICRO_AP, 0.6)

    def test_name_a_detection_as_its_task_where_it_has_no_name_of_its_own(self) -> None:
        assert [row["task"] for row in csv_rows(evaluation_of(task_result("EVVE", MICRO_AP)))] == ["EVVE", "EVVE"]

    def test_hold_events_and_queries_if_asked_for(self) -> None:
        evaluation = evaluation_of(task_result(group_means={"wedding": 0.3}))
        rows = list(csv_rows(evaluation, per_query=True))[2:]
        assert [(row["metric"], row["event"], row["query"], row["value"]) for row in rows] == [
            (MAP, "wedding", None, 0.3), ("AP", None, "q0", 0.25), ("AP", None, "q1", 0.75)
        ]  # fmt: skip
        assert len(list(csv_rows(evaluation))) == 3

    def test_hold_the_difference_from_another_run_in_the_row_of_its_metric(self) -> None:
        evaluation = evaluation_of()
        other = evaluation_of(task_result(mean_average_precision=measure(0.3, [0.25, 0.5, 0.75])))
        mean, micro = csv_rows(evaluation, compared=differences(evaluation, other)[0])
        assert (mean["other"], mean["difference"], micro["difference"]) == (0.3, pytest.approx(0.2), 0.0)


def test_ties_matter_where_best_and_worst_order_differ_by_more_than_a_ten_thousandth() -> None:
    little = task_result(mean_average_precision=measure(0.5, [], spread=0.00004))
    much = task_result(
        "CSVR",
        "CSVD",
        mean_average_precision=measure(0.5, [], spread=0.001),
        micro_average_precision=measure(0.5, [], spread=0.2),
    )
    assert [name for name, *_ in ties_that_matter(evaluation_of(little, much))] == ["CSVD", "CSVR"]


def test_the_header_of_segments_says_how_many_pairs_were_predicted() -> None:
    found = SegmentEvaluation("VCSL", "by hand", {"F1": 0.5}, num_pairs=4, num_predicted=3)
    assert header(found, {"command": []}) == {
        "manifest": {"command": [], "data_set": "VCSL", "annotation": "by hand"},
        "coverage": {"num_pairs": 4, "num_predicted": 3},
        "warnings": [],
    }

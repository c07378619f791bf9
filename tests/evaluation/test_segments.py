"""How well copied segments are found: segment AP of VSC2022, copy overlap of VCSL."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.errors import DataError
from visil.evaluation import segments
from visil.evaluation.segments import (
    COPY_OVERLAP,
    SEGMENT_AP,
    PairBoxes,
    SegmentTruth,
    copy_overlap,
    error_rates,
    evaluate_segments,
    overall,
    pairwise_micro_ap,
    per_query_set,
    segment_curve,
)

A, B, C = ("Q1", "R1"), ("Q1", "R2"), ("Q2", "R1")


def scored(*rows):
    """Boxes from rows (pair, box, score)."""
    pairs = tuple(dict.fromkeys(pair for pair, _, _ in rows))
    return PairBoxes(
        pairs,
        np.array([pairs.index(pair) for pair, _, _ in rows], dtype=np.int64),
        np.array([box for _, box, _ in rows], dtype=np.float64).reshape(len(rows), 4),
        np.array([score for _, _, score in rows], dtype=np.float64),
    )


def rows_of(boxes):
    return [
        (boxes.pairs[p], tuple(b), s)
        for p, b, s in zip(boxes.pair, boxes.boxes.tolist(), boxes.scores.tolist(), strict=True)
    ]


def segment_ap(truth, predictions):
    return segment_curve(truth, predictions).average_precision


# The definitions in plain Python, for times that are small integers.


def union(intervals):
    """The seconds [k, k + 1) that whole-number intervals cover."""
    return {second for start, end in intervals for second in range(int(start), int(end))}


def overlaps(a, b):
    return all(min(a[axis + 2], b[axis + 2]) > max(a[axis], b[axis]) for axis in (0, 1))


def slow_segment_ap(truth, predictions):
    true_rows, rows = rows_of(truth), rows_of(predictions)
    pairs = {pair for pair, _, _ in true_rows + rows}
    ap, before = 0.0, 0.0
    for threshold in sorted({score for _, _, score in rows}, reverse=True):
        recall, precision = 1.0, 1.0
        for axis in (0, 1):
            total = predicted = found = 0
            for pair in pairs:
                boxes = [box for p, box, _ in true_rows if p == pair]
                guesses = [box for p, box, score in rows if p == pair and score >= threshold]
                active = [box for box in boxes if any(overlaps(box, guess) for guess in guesses)]
                covered = union((box[axis], box[axis + 2]) for box in guesses)
                total += len(union((box[axis], box[axis + 2]) for box in boxes))
                predicted += len(covered)
                found += len(covered & union((box[axis], box[axis + 2]) for box in active))
            recall *= found / total
            precision *= found / predicted if predicted else 0.0
        ap += sqrt(precision) * (sqrt(recall) - before)
        before = sqrt(recall)
    return ap


def slow_share(boxes, others):
    """VCSL's precision of boxes against others; its recall with the two exchanged."""
    share = 1.0
    for axis in (0, 1):
        covered = total = 0.0
        for box in boxes:
            hits = [other for other in others if overlaps(box, other)]
            covered += len(union((max(box[axis], h[axis]), min(box[axis + 2], h[axis + 2])) for h in hits))
            total += box[axis + 2] - box[axis]
        share *= covered / (total + 1e-6)
    return share


intervals = st.tuples(st.integers(0, 12), st.integers(0, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))
boxes = st.tuples(intervals, intervals).map(lambda two: (two[0][0], two[1][0], two[0][1], two[1][1]))
proper_boxes = boxes.filter(lambda box: box[0] < box[2] and box[1] < box[3])
scores = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 2.0])
predicted_rows = st.lists(st.tuples(st.sampled_from([A, B, C]), boxes, scores), max_size=12)
true_rows = st.lists(st.tuples(st.sampled_from([A, B]), proper_boxes, st.just(0.0)), min_size=1, max_size=6)
fuzzy = settings(deadline=None, max_examples=60)


class TestSegmentCurve:
    TRUTH = scored((A, (4, 10, 14, 18), 0))

    def test_a_perfect_prediction_has_ap_1(self):
        assert segment_ap(self.TRUTH, scored((A, (4, 10, 14, 18), 0.3))) == pytest.approx(1.0)

    def test_a_segment_found_in_two_parts_loses_nothing(self):
        halves = scored((A, (4, 10, 8, 14), 1), (A, (8, 14, 14, 18), 2))
        curve = segment_curve(self.TRUTH, halves)
        assert curve.scores.tolist() == [2, 1]
        # First 6 of 10 s of the query and 4 of 8 s of the reference.
        assert curve.recall == pytest.approx([sqrt(6 / 10 * 4 / 8), 1])
        assert curve.precision == pytest.approx([1, 1])

    def test_a_loose_prediction_costs_more_when_it_comes_first(self):
        exact, loose = (4, 10, 14, 18), (0, 0, 40, 40)
        last = segment_ap(self.TRUTH, scored((A, exact, 2), (A, loose, 1)))
        first = segment_ap(self.TRUTH, scored((A, exact, 1), (A, loose, 2)))
        assert last == pytest.approx(1.0)
        # 10 and 8 of the 40 s predicted on either side are true.
        assert first == pytest.approx(sqrt(10 / 40 * 8 / 40))

    def test_parts_that_belong_to_other_parts_find_nothing(self):
        truth = scored((A, (0, 0, 10, 10), 0), (A, (10, 10, 20, 20), 0))
        swapped = scored((A, (0, 10, 10, 20), 1), (A, (10, 0, 20, 10), 1))
        assert segment_ap(truth, swapped) == 0

    def test_the_right_times_in_the_wrong_video_find_nothing(self):
        assert segment_ap(self.TRUTH, scored((B, (4, 10, 14, 18), 1))) == 0

    def test_a_false_alarm_above_a_hit_costs_its_length(self):
        rows = scored((B, (0, 0, 30, 24), 2), (A, (4, 10, 14, 18), 1))
        assert segment_ap(self.TRUTH, rows) == pytest.approx(sqrt(10 / 40 * 8 / 32))

    def test_a_box_without_length_finds_nothing_and_costs_nothing(self):
        rows = scored((A, (3, 3, 3, 3), 9), (A, (4, 10, 14, 18), 1))
        curve = segment_curve(self.TRUTH, rows)
        assert curve.precision.tolist() == pytest.approx([0, 1])
        assert curve.average_precision == pytest.approx(1.0)

    def test_boxes_that_only_touch_do_not_overlap(self):
        assert segment_ap(self.TRUTH, scored((A, (0, 6, 4, 10), 1))) == 0

    def test_touching_intervals_are_one(self):
        whole, touching = scored((A, (0, 0, 9, 9), 1)), scored((A, (0, 0, 4, 4), 1), (A, (4, 4, 9, 9), 1))
        assert segment_ap(whole, touching) == pytest.approx(1.0)
        assert segment_ap(touching, whole) == pytest.approx(1.0)

    def test_nothing_predicted_has_ap_0(self):
        assert segment_ap(self.TRUTH, scored()) == 0

    def test_nothing_true_has_no_ap(self):
        with pytest.raises(DataError, match="no segment of positive length"):
            segment_curve(scored((A, (3, 3, 3, 3), 0)), scored((A, (0, 0, 1, 1), 1)))

    @pytest.mark.parametrize("unit", [1e-3, 60.0, 1e6])
    def test_no_value_depends_on_the_unit_of_time(self, unit):
        predictions = scored((A, (3, 9, 12, 20), 1), (B, (0, 0, 4, 4), 2))
        stretched = [PairBoxes(b.pairs, b.pair, b.boxes * unit, b.scores) for b in (self.TRUTH, predictions)]
        assert segment_ap(*stretched) == pytest.approx(segment_ap(self.TRUTH, predictions))

    def test_times_as_large_as_a_clock_gives_them_keep_their_seconds(self):
        shift = 1.7e9  # seconds since 1970
        truth, rows = scored((A, (0, 0, 10, 10), 0)), scored((A, (5, 5, 10, 10), 1))
        later = [PairBoxes(b.pairs, b.pair, b.boxes + shift, b.scores) for b in (truth, rows)]
        assert segment_ap(*later) == pytest.approx(0.5)

    @fuzzy
    @given(true_rows, predicted_rows)
    def test_equals_the_definition_worked_out_second_by_second(self, truth, predictions):
        truth, predictions = scored(*truth), scored(*predictions)
        assert segment_ap(truth, predictions) == pytest.approx(slow_segment_ap(truth, predictions), abs=1e-12)

    @fuzzy
    @given(true_rows, predicted_rows, st.randoms(use_true_random=False))
    def test_the_order_of_the_predictions_does_not_matter(self, truth, predictions, random):
        shuffled = random.sample(predictions, len(predictions))
        assert segment_ap(scored(*truth), scored(*shuffled)) == pytest.approx(
            segment_ap(scored(*truth), scored(*predictions)), abs=1e-12
        )

    @fuzzy
    @given(true_rows, predicted_rows.filter(len))
    def test_a_prediction_given_twice_changes_nothing(self, truth, predictions):
        assert segment_ap(scored(*truth), scored(*predictions, predictions[0])) == pytest.approx(
            segment_ap(scored(*truth), scored(*predictions)), abs=1e-12
        )

    @fuzzy
    @given(true_rows)
    def test_the_truth_itself_has_ap_1(self, truth):
        assert segment_ap(scored(*truth), scored(*truth)) == pytest.approx(1.0)

    @fuzzy
    @given(true_rows, predicted_rows)
    def test_recall_never_falls(self, truth, predictions):
        recall = segment_curve(scored(*truth), scored(*predictions)).recall
        assert (np.diff(recall) >= 0).all() and (recall <= 1 + 1e-12).all()

    @fuzzy
    @given(true_rows, predicted_rows)
    def test_only_the_order_of_the_scores_counts(self, truth, predictions):
        raised = [(pair, box, 3 * score + 7) for pair, box, score in predictions]
        assert segment_ap(scored(*truth), scored(*raised)) == segment_ap(scored(*truth), scored(*predictions))

    def test_the_drawn_points_are_those_where_recall_grows(self):
        rows = scored((A, (4, 10, 14, 18), 3), (B, (0, 0, 5, 5), 2), (C, (0, 0, 5, 5), 1))
        assert segment_curve(self.TRUTH, rows).rising.scores.tolist() == [3]


class TestPairwiseMicroAp:
    TRUTH = scored((A, (0, 0, 5, 5), 0), (C, (0, 0, 5, 5), 0))
    BOX = (0, 0, 1, 1)

    def test_a_pair_counts_at_its_highest_score(self):
        rows = scored((A, self.BOX, 1), (A, self.BOX, 9), (B, self.BOX, 5), (C, self.BOX, 4))
        assert pairwise_micro_ap(self.TRUTH, rows) == pytest.approx((1 / 1 + 2 / 3) / 2)

    def test_negative_scores_rank_as_they_are(self):
        rows = scored((A, self.BOX, -3), (B, self.BOX, -2), (C, self.BOX, -1))
        assert pairwise_micro_ap(self.TRUTH, rows) == pytest.approx((1 / 1 + 2 / 3) / 2)

    def test_pairs_that_are_not_predicted_count(self):
        assert pairwise_micro_ap(self.TRUTH, scored((A, self.BOX, 1))) == pytest.approx(0.5)

    def test_nothing_predicted_is_0(self):
        assert pairwise_micro_ap(self.TRUTH, scored()) == 0


def overlap_of(predicted, true):
    """(precision, recall) of one pair."""
    overlap = copy_overlap(PairBoxes.of({A: true}), PairBoxes.of({A: predicted}))
    return overlap.precision[0], overlap.recall[0]


class TestCopyOverlap:
    def test_half_of_the_query_predicted_is_half_of_the_recall(self):
        assert overlap_of([(0, 0, 5, 10)], [(0, 0, 10, 10)]) == pytest.approx((1, 0.5), abs=1e-6)

    def test_intersections_of_one_box_are_joined_before_they_are_measured(self):
        # Two true boxes overlap on the query's axis: 0-10 is covered once.
        precision, _ = overlap_of([(0, 0, 10, 20)], [(0, 0, 8, 10), (4, 10, 10, 20)])
        assert precision == pytest.approx(1, abs=1e-6)

    def test_predictions_are_not_joined_so_loose_copies_of_one_cost(self):
        once = overlap_of([(0, 0, 10, 10)], [(0, 0, 5, 5)])
        with_another = overlap_of([(0, 0, 10, 10), (0, 0, 20, 20)], [(0, 0, 5, 5)])
        assert once == pytest.approx((1 / 4, 1), abs=1e-6)
        assert with_another == pytest.approx((10 / 30 * 10 / 30, 1), abs=1e-6)

    @pytest.mark.parametrize(
        ("predicted", "true", "expected"),
        [([], [(0, 0, 1, 1)], (1, 0)), ([(0, 0, 1, 1)], [], (0, 1)), ([], [], (1, 1))],
        ids=["missed", "false alarm", "rightly silent"],
    )
    def test_empty_sides_have_their_marks(self, predicted, true, expected):
        assert overlap_of(predicted, true) == expected

    def test_a_box_without_length_counts_as_predicted_and_finds_nothing(self):
        assert overlap_of([(3, 3, 3, 3)], [(0, 0, 10, 10)]) == (0, 0)

    def test_large_times_keep_their_seconds(self):
        start = 2.0**24
        predicted, true = [(start, 0, start + 2, 10)], [(start + 1, 0, start + 3, 10)]
        assert overlap_of(predicted, true) == pytest.approx((0.5, 0.5), abs=1e-6)

    @fuzzy
    @given(st.lists(boxes, max_size=6), st.lists(boxes, max_size=6))
    def test_equals_the_definition_worked_out_second_by_second(self, predicted, true):
        precision, recall = overlap_of(predicted, true)
        assert precision == pytest.approx(slow_share(predicted, true) if predicted else 1, abs=1e-12)
        assert recall == pytest.approx(slow_share(true, predicted) if true else 1, abs=1e-12)

    @fuzzy
    @given(st.lists(boxes, min_size=1, max_size=6), st.lists(boxes, min_size=1, max_size=6))
    def test_every_prediction_given_twice_changes_nothing(self, predicted, true):
        assert overlap_of(predicted * 2, true) == pytest.approx(overlap_of(predicted, true), abs=1e-5)

    @fuzzy
    @given(st.lists(boxes, max_size=6), st.lists(boxes, max_size=6), st.randoms(use_true_random=False))
    def test_the_order_of_the_predictions_does_not_matter(self, predicted, true, random):
        shuffled = random.sample(predicted, len(predicted))
        assert overlap_of(shuffled, true) == pytest.approx(overlap_of(predicted, true), abs=1e-12)

    @fuzzy
    @given(st.lists(proper_boxes, min_size=1, max_size=6))
    def test_the_truth_itself_is_perfect(self, true):
        assert overlap_of(true, true) == pytest.approx((1, 1), abs=1e-5)

    def test_blocks_do_not_show(self, monkeypatch):
        rng = np.random.default_rng(0)
        starts = rng.integers(0, 50, (2, 200, 2)).astype(np.float64)
        truth, predictions = (
            PairBoxes(
                (A, B, C),
                rng.integers(0, 3, 200),
                np.concatenate([start, start + rng.integers(0, 9, (200, 2))], axis=1),
                np.arange(200.0),
            )
            for start in starts
        )
        overlap, curve = copy_overlap(truth, predictions), segment_curve(truth, predictions)
        monkeypatch.setattr(segments, "BLOCK_OVERLAPS", 7)
        again = copy_overlap(truth, predictions)
        np.testing.assert_allclose(again.precision, overlap.precision, rtol=1e-12)
        np.testing.assert_allclose(again.recall, overlap.recall, rtol=1e-12)
        np.testing.assert_array_equal(segment_curve(truth, predictions).recall, curve.recall)


class TestSummariesOfCopyOverlap:
    """Four pairs: half found, missed, a false alarm, rightly silent."""

    PAIRS = tuple((f"q{i}", "r") for i in range(4))
    BOX = (0, 0, 10, 10)
    TRUTH = PairBoxes.of(dict(zip(PAIRS, [[BOX], [BOX], [], []], strict=True)))
    OVERLAP = copy_overlap(TRUTH, PairBoxes.of(dict(zip(PAIRS, [[(0, 0, 5, 10)], [], [BOX], []], strict=True))))

    def test_precision_is_of_predicted_pairs_and_recall_of_copied_ones(self):
        summary = overall(self.OVERLAP)
        assert (summary.precision, summary.recall) == pytest.approx(((1 + 0) / 2, (0.5 + 0) / 2), abs=1e-6)
        assert summary.f1 == pytest.approx(2 * 0.5 * 0.25 / 0.75, abs=1e-6)

    def test_query_sets_take_every_pair_and_then_the_mean_of_the_sets(self):
        summary = per_query_set(self.OVERLAP, [np.array([0]), np.array([1, 2, 3])])
        assert summary.precision == pytest.approx((1 + (1 + 0 + 1) / 3) / 2, abs=1e-6)
        assert summary.recall == pytest.approx((0.5 + (0 + 1 + 1) / 3) / 2, abs=1e-6)

    def test_error_rates_are_shares_of_the_copied_and_of_the_other_pairs(self):
        assert error_rates(self.OVERLAP) == (0.5, 0.5)

    def test_the_published_rates_with_equally_many_of_both_are_the_same(self):
        assert error_rates(self.OVERLAP, ratio=1.0) == (0.5, 0.5)

    def test_the_published_rates_weigh_both_by_the_ratio(self):
        # One miss and one alarm in four pairs, as if copied pairs were twice as many as others.
        assert error_rates(self.OVERLAP, ratio=2.0) == pytest.approx((3 / 2 / 4, 3 / 4))


class TestEvaluateSegments:
    BOX = (0, 0, 10, 10)
    VCSL = SegmentTruth("VCSL", PairBoxes.of({A: [BOX], B: [], C: [BOX]}), COPY_OVERLAP)
    VSC = SegmentTruth("VSC2022", PairBoxes.of({A: [BOX], C: [BOX]}), SEGMENT_AP)

    def test_vsc_has_its_segment_ap_its_pairs_and_its_curve(self):
        evaluation = evaluate_segments(self.VSC, scored((A, self.BOX, 1), (B, self.BOX, -1)))
        assert evaluation.figures == pytest.approx({"segment AP": 0.5, "pairwise micro-AP": 0.5})
        assert (evaluation.num_pairs, evaluation.num_predicted) == (2, 2)
        assert (evaluation.recall.tolist(), evaluation.precision.tolist()) == (pytest.approx([0.5]), pytest.approx([1]))
        assert not evaluation.warnings

    def test_predictions_without_length_are_counted(self):
        evaluation = evaluate_segments(self.VSC, scored((A, (1, 1, 1, 5), 1)))
        assert evaluation.warnings == ("1 predicted segments have no length on one side: they find nothing",)

    def test_a_pair_of_vcsl_that_is_missing_counts_as_an_empty_prediction(self):
        missing = evaluate_segments(self.VCSL, PairBoxes.of({A: [self.BOX]}))
        empty = evaluate_segments(self.VCSL, PairBoxes.of({A: [self.BOX], B: [], C: []}))
        assert missing.figures == empty.figures
        assert missing.warnings == ("2 pairs of the split are not among the predictions: counted as empty predictions",)
        assert not empty.warnings

    def test_pairs_that_are_not_in_the_split_are_ignored_and_counted(self):
        predictions = PairBoxes.of({A: [self.BOX], B: [], C: [], ("other", "pair"): [self.BOX]})
        evaluation = evaluate_segments(self.VCSL, predictions)
        assert evaluation.figures["precision"] == pytest.approx(1, abs=1e-6)
        assert evaluation.warnings == ("1 predicted pairs are not in the split: ignored",)

    def test_predicting_nothing_is_worth_nothing_and_says_so(self):
        evaluation = evaluate_segments(self.VCSL, PairBoxes.of({A: [], B: [], C: []}))
        assert evaluation.figures == {"precision": 0, "recall": 0, "F1": 0, "FRR": 1, "FAR": 0}
        assert "precision has no predicted pair" in evaluation.warnings[0]

    def test_query_sets_add_their_means_and_say_what_flatters_them(self):
        truth = SegmentTruth("VCSL", self.VCSL.boxes, COPY_OVERLAP, {"one": [A, B], "two": [C]})
        evaluation = evaluate_segments(truth, PairBoxes.of({A: [self.BOX], B: [], C: []}))
        assert evaluation.figures["recall per query set"] == pytest.approx(0.5, abs=1e-6)
        assert evaluation.figures["precision per query set"] == pytest.approx(1, abs=1e-6)
        assert "1 copied pairs without prediction count as precision 1" in evaluation.warnings[0]


class TestValues:
    @pytest.mark.parametrize(
        ("box", "score", "message"),
        [
            ((0, 0, np.nan, 5), 1, "Q1 - R1: .*times must be finite"),
            ((0, 0, np.inf, 5), 1, "times must be finite"),
            ((0, 0, 1e300, 5), 1, "at most 1e[+]12 s"),
            ((5, 0, 4, 5), 1, "5-4 s of the query, 0-5 s of the reference, .*must not end before it starts"),
            ((0, 5, 4, 4), 1, "must not end before it starts"),
            ((0, 0, 5, 5), np.nan, "scores must be finite"),
        ],
    )
    def test_impossible_boxes_are_refused_by_name(self, box, score, message):
        with pytest.raises(DataError, match=message):
            scored((A, box, score))

    def test_a_pair_comes_once(self):
        with pytest.raises(DataError, match="twice"):
            PairBoxes((A, A), np.zeros(0, dtype=np.int64), np.zeros((0, 4)), np.zeros(0))

    def test_a_truth_without_a_copy_is_refused(self):
        with pytest.raises(DataError, match="VCSL: no copied segment"):
            SegmentTruth("VCSL", PairBoxes.of({A: [], B: [(1, 1, 1, 1)]}), COPY_OVERLAP)

    def test_a_metric_that_does_not_exist_is_refused(self):
        with pytest.raises(DataError, match="metric must be one of segment AP, copy overlap, got 'mAP'"):
            SegmentTruth("VCSL", PairBoxes.of({A: [(0, 0, 1, 1)]}), "mAP")

    @pytest.mark.parametrize(("pairs", "message"), [([C], "Q2-R1 is no pair"), ([], "it has no pairs")])
    def test_query_sets_hold_pairs_of_the_split(self, pairs, message):
        with pytest.raises(DataError, match=message):
            SegmentTruth("VCSL", PairBoxes.of({A: [(0, 0, 1, 1)]}), COPY_OVERLAP, {"set": pairs})

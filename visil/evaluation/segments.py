r"""How well copied segments are found: the metrics of the VSC2022 matching track and of VCSL.

    true boxes + predicted boxes of pairs of videos ─► [evaluate_segments] ─► SegmentEvaluation
                                                       this module

A box is a copied segment: a stretch of the query times a stretch of the reference, in seconds. No loop runs over
boxes or pairs: the time axes of all pairs are laid end to end and cut into cells at every start and end.

Sources: The 2023 Video Similarity Dataset and Challenge (matching track), A Large-scale Comprehensive Dataset and
Copy-overlap Aware Evaluation Protocol for Segment-level Video Copy Detection (VCSL). Where the published code fails
(boxes without length, negative scores, times beyond 2^24 s) the definition counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from visil.errors import DataError
from visil.evaluation.metrics import RankedQuery, average_precision
from visil.evaluation.results import SegmentEvaluation

Pair = tuple[str, str]
"""Ids of a query and of a reference."""

SEGMENT_AP, COPY_OVERLAP = "segment AP", "copy overlap"
METRICS = (SEGMENT_AP, COPY_OVERLAP)

MAX_TIME_S = 1e12
"""Times beyond this many seconds are refused: their differences would lose the seconds."""

AXES = (0, 1)
"""Columns of the start on the query's and on the reference's axis; the end is two columns on."""

LENGTH_EPSILON_S = 1e-6
"""Added to summed lengths by the definition of VCSL's precision and recall."""

BLOCK_OVERLAPS = 1 << 20
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class PairBoxes:
    """Boxes of pairs of videos.

    Attributes:
        pairs: each once; a pair need not have a box.
        pair: int64 [N], index into `pairs` of every box.
        boxes: float64 [N, 4]: query start, reference start, query end, reference end, in seconds.
        scores: float64 [N], higher is surer; zeros where there are none.
    """

    pairs: tuple[Pair, ...] = field(repr=False)
    pair: np.ndarray = field(repr=False)
    boxes: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        if len(set(self.pairs)) < len(self.pairs):
            raise DataError("a pair of videos comes twice")
        if self.boxes.shape != (len(self.pair), 4) or self.scores.shape != self.pair.shape:
            raise DataError(f"boxes must be [N,4] with a pair and a score each, got {self.boxes.shape}")
        for wrong, what in (
            (~(np.abs(self.boxes) <= MAX_TIME_S).all(axis=1), f"times must be finite and at most {MAX_TIME_S:g} s"),
            ((self.boxes[:, :2] > self.boxes[:, 2:]).any(axis=1), "a segment must not end before it starts"),
            (~np.isfinite(self.scores), "scores must be finite"),
        ):
            if wrong.any():
                i = int(np.argmax(wrong))
                query, reference = self.pairs[self.pair[i]]
                x1, y1, x2, y2 = self.boxes[i].tolist()
                raise DataError(
                    f"{query[:80]} - {reference[:80]}: segment {x1:g}-{x2:g} s of the query, "
                    f"{y1:g}-{y2:g} s of the reference, score {self.scores[i]:g}: {what}"
                )

    @staticmethod
    def of(boxes: Mapping[Pair, Sequence[Sequence[float]]]) -> PairBoxes:
        """Boxes without scores, by pair."""
        counts = [len(rows) for rows in boxes.values()]
        rows = [row for rows in boxes.values() for row in rows]
        return PairBoxes(
            tuple(boxes),
            np.repeat(np.arange(len(boxes)), counts),
            np.array(rows, dtype=np.float64).reshape(len(rows), 4),
            np.zeros(len(rows)),
        )

    def among(self, pairs: Sequence[Pair]) -> PairBoxes:
        """The boxes of these pairs, which become the pairs; boxes of others are dropped."""
        numbers = {pair: i for i, pair in enumerate(pairs)}
        place = np.array([numbers.get(pair, -1) for pair in self.pairs], dtype=np.int64)[self.pair]
        kept = place >= 0
        return PairBoxes(tuple(pairs), place[kept], self.boxes[kept], self.scores[kept])


@dataclass(frozen=True)
class SegmentTruth:
    """The copied segments of a data set.

    Attributes:
        name: of the data set.
        boxes: what is true. VCSL: `pairs` are all pairs of the split, those without a copy too. VSC2022: the pairs with
            a copy; every other pair is without.
        metric: one of METRICS: `segment AP` (VSC2022) or `copy overlap` (VCSL).
        query_sets: name -> pairs of a query set (VCSL).
        source: where the annotation is from, with its licence.
    """

    name: str
    boxes: PairBoxes
    metric: str
    query_sets: Mapping[str, Sequence[Pair]] = field(default_factory=dict, repr=False)
    source: str = ""

    def __post_init__(self) -> None:
        where = f"{self.name} ({self.source})" if self.source else self.name
        if self.metric not in METRICS:
            raise DataError(f"{where}: metric must be one of {', '.join(METRICS)}, got {self.metric!r}")
        # An empty box can be neither found nor missed.
        if not (lengths(self.boxes.boxes) > 0).all(axis=1).any():
            raise DataError(f"{where}: no copied segment in its ground truth: there is nothing to find")
        known = set(self.boxes.pairs)
        for name, pairs in self.query_sets.items():
            unknown = next((pair for pair in pairs if pair not in known), None)
            if unknown or not pairs:
                detail = "-".join(unknown) + " is no pair of the split" if unknown else "it has no pairs"
                raise DataError(f"{where}: query set {name[:80]!r}: {detail}")


def evaluate_segments(truth: SegmentTruth, predictions: PairBoxes) -> SegmentEvaluation:
    """The figures of a data set's metric.

    VSC2022: every predicted pair counts; one without a true segment is a false alarm. VCSL: a pair of the split that
    was not predicted counts as one with an empty prediction; other pairs are ignored. Both are counted in warnings.
    """
    if truth.metric == SEGMENT_AP:
        return _evaluate_segment_ap(truth, predictions)
    return _evaluate_copy_overlap(truth, predictions)


def lengths(boxes: np.ndarray) -> np.ndarray:
    """Seconds on both axes, [N, 4] -> [N, 2]."""
    return np.asarray(boxes[:, 2:] - boxes[:, :2])


# Segment AP


@dataclass(frozen=True)
class SegmentCurve:
    """Precision and recall of segments while the threshold on the score falls.

    Attributes:
        scores, recall, precision: float64 [G], at every distinct score, descending.
    """

    scores: np.ndarray = field(repr=False)
    recall: np.ndarray = field(repr=False)
    precision: np.ndarray = field(repr=False)

    @property
    def average_precision(self) -> float:
        r"""AP = \sum_g P_g (R_g - R_{g-1}) over the distinct scores; 0 without predictions."""
        return float(np.sum(self.precision * np.diff(self.recall, prepend=0.0)))

    @property
    def rising(self) -> SegmentCurve:
        """The points at which recall grows: what the challenge draws."""
        grows = np.diff(self.recall, prepend=0.0) > 0
        return SegmentCurve(self.scores[grows], self.recall[grows], self.precision[grows])


def segment_curve(truth: PairBoxes, predictions: PairBoxes) -> SegmentCurve:
    r"""Precision and recall of the VSC2022 matching track.

    On each axis x, with the predictions of at least a score, summed over pairs of videos:

        GT_x   length of the union of the true segments
        T_x    length of the union of the predicted segments
        I_x    length of (union of predicted) ∩ (union of those true segments that overlap a prediction on both axes)
        R = \sqrt{I_q/GT_q \cdot I_r/GT_r},  P = \sqrt{I_q/T_q \cdot I_r/T_r}

    Segments that touch are one. Predictions of equal score enter together. While only segments without length are
    predicted, P is 0.

    Raises:
        DataError: the truth has no segment of positive length.
    """
    pairs = tuple(dict.fromkeys(truth.pairs + predictions.pairs))
    truth, predictions = truth.among(pairs), predictions.among(pairs)
    descending, rank = np.unique(-predictions.scores, return_inverse=True)
    activated = _first_overlap(truth, predictions, rank)
    num_ranks = len(descending)
    recall_squared, precision_squared = np.ones(num_ranks), np.ones(num_ranks)
    for axis in AXES:
        axis_pairs = np.concatenate([predictions.pair, truth.pair])
        intervals = np.concatenate([predictions.boxes, truth.boxes])[:, [axis, axis + 2]]
        cells = _Cells(axis_pairs, intervals)
        is_true = np.arange(len(axis_pairs)) >= len(predictions.pair)
        predicted_from = cells.first_cover(~is_true, rank)
        active_from = cells.first_cover(is_true, activated)
        found_from = np.maximum(predicted_from, active_from)
        total = cells.length[cells.first_cover(is_true, np.zeros_like(activated)) < NEVER].sum()
        if not total > 0:
            raise DataError("the ground truth has no segment of positive length")
        predicted = _length_by_rank(cells.length, predicted_from, num_ranks)
        found = _length_by_rank(cells.length, found_from, num_ranks)
        recall_squared *= found / total
        precision_squared *= np.divide(found, predicted, out=np.zeros(num_ranks), where=predicted > 0)
    return SegmentCurve(-descending, np.sqrt(recall_squared), np.sqrt(precision_squared))


def pairwise_micro_ap(truth: PairBoxes, predictions: PairBoxes) -> float:
    """Micro-AP of the pairs of videos, each at its highest score, whatever its sign (VSC2022 descriptor metric)."""
    true_pairs = {truth.pairs[i] for i in np.unique(truth.pair)}
    best = np.full(len(predictions.pairs), -np.inf)
    np.maximum.at(best, predictions.pair, predictions.scores)
    is_predicted = np.isfinite(best)
    is_true = np.array([pair in true_pairs for pair in predictions.pairs], dtype=bool)
    return average_precision(RankedQuery.sort(best[is_predicted], is_true[is_predicted], len(true_pairs)))


def _evaluate_segment_ap(truth: SegmentTruth, predictions: PairBoxes) -> SegmentEvaluation:
    curve = segment_curve(truth.boxes, predictions)
    is_empty = (lengths(predictions.boxes) <= 0).any(axis=1)
    return SegmentEvaluation(
        data_set=truth.name,
        source=truth.source,
        figures={
            "segment AP": curve.average_precision,
            "pairwise micro-AP": pairwise_micro_ap(truth.boxes, predictions),
        },
        num_pairs=len(truth.boxes.pairs),
        num_predicted=len(np.unique(predictions.pair)),
        warnings=_warnings((is_empty.sum(), "predicted segments have no length on one side: they find nothing")),
        recall=curve.rising.recall,
        precision=curve.rising.precision,
    )


def _first_overlap(truth: PairBoxes, predictions: PairBoxes, rank: np.ndarray) -> np.ndarray:
    """Rank of the first prediction that overlaps each true box with positive area, int64 [N]; NEVER without one."""
    first = np.full(len(truth.pair), NEVER, dtype=np.int64)
    for i, j in _joined(predictions.pair, truth.pair, len(truth.pairs)):
        overlap = _intersection(predictions.boxes[i], truth.boxes[j])
        is_hit = (lengths(overlap) > 0).all(axis=1)
        np.minimum.at(first, j[is_hit], rank[i[is_hit]])
    return first


def _length_by_rank(length: np.ndarray, rank: np.ndarray, num_ranks: int) -> np.ndarray:
    """Summed length of the cells of at most each rank, [num_ranks]."""
    counted = rank < NEVER
    return np.cumsum(np.bincount(rank[counted], weights=length[counted], minlength=num_ranks))


class _Cells:
    """The time axes of all pairs, end to end, cut at every start and end of an interval.

    Attributes:
        length: seconds of every cell, float64 [2N]; no interval covers those from one pair to the next.
    """

    def __init__(self, pair: np.ndarray, intervals: np.ndarray) -> None:
        """From intervals [N, 2] and their pairs [N]."""
        times = intervals.T.ravel()
        pairs = np.tile(pair, 2)
        order = np.lexsort((times, pairs))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        self.length = np.diff(times[order], append=0.0)
        self._first, self._end = place[: len(pair)], place[len(pair) :]

    def first_cover(self, kept: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Lowest value among the kept intervals that cover each cell, int64 [2N]; NEVER where none does.

        An interval is written as two overlapping runs of 2^k cells; runs then hand their value on to their halves.

        Args:
            kept: bool [N].
            values: int64, one for each kept interval.
        """
        first, end = self._first[kept], self._end[kept]
        # An interval without length may lie in any order among the places of its one time.
        covers = end > first
        first, end, values = first[covers], end[covers], values[covers]
        level = np.frexp(end - first)[1] - 1
        lowest = np.full(len(self.length), NEVER, dtype=np.int64)
        for k in range(level.max(initial=0), -1, -1):
            if k < level.max(initial=0):
                half = 1 << k
                shifted = np.full_like(lowest, NEVER)
                shifted[half:] = lowest[:-half]
                lowest = np.minimum(lowest, shifted)
            here = level == k
            np.minimum.at(lowest, first[here], values[here])
            np.minimum.at(lowest, end[here] - (1 << k), values[here])
        return lowest


# Copy overlap


@dataclass(frozen=True)
class CopyOverlap:
    """Precision and recall of every pair of VCSL.

    Attributes:
        precision, recall: float64 [P], in the order of the pairs of the truth.
        is_predicted, is_copied: bool [P], a pair has a predicted, a true box.
    """

    precision: np.ndarray = field(repr=False)
    recall: np.ndarray = field(repr=False)
    is_predicted: np.ndarray = field(repr=False)
    is_copied: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class OverlapSummary:
    """Means over pairs; F1 is that of the means."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean; 0 where both are."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def copy_overlap(truth: PairBoxes, predictions: PairBoxes) -> CopyOverlap:
    """How much of each pair's predictions is true, and how much of the truth was predicted (VCSL).

    Precision: every predicted box is intersected with every true box; w and h are the lengths of the union of the
    intersections of positive area on the two axes. Over the boxes of a pair, with 1e-6 s added to the lengths below:

        P = sum w / sum of query lengths  *  sum h / sum of reference lengths

    Recall is the same with the roles exchanged. Unions are taken inside one box only: a prediction made twice
    counts twice above and below. Pairs without prediction have precision 1, pairs without truth recall 1; the other
    of the two is 0, or 1 where both are missing.
    """
    predictions = predictions.among(truth.pairs)
    num_pairs = len(truth.pairs)
    is_predicted, is_copied = (np.bincount(boxes.pair, minlength=num_pairs) > 0 for boxes in (predictions, truth))
    return CopyOverlap(
        precision=np.where(is_predicted, _covered_share(predictions, truth), 1.0),
        recall=np.where(is_copied, _covered_share(truth, predictions), 1.0),
        is_predicted=is_predicted,
        is_copied=is_copied,
    )


def overall(overlap: CopyOverlap) -> OverlapSummary:
    """Mean precision over the predicted pairs, mean recall over the copied ones; 0 where there are none."""
    return OverlapSummary(
        _mean(overlap.precision[overlap.is_predicted]),
        _mean(overlap.recall[overlap.is_copied]),
    )


def per_query_set(overlap: CopyOverlap, query_sets: Sequence[np.ndarray]) -> OverlapSummary:
    """Mean over query sets of the means over all their pairs, as published: no prediction is precision 1 here.

    Args:
        query_sets: indices of the pairs of each set.
    """
    return OverlapSummary(
        _mean(np.array([_mean(overlap.precision[members]) for members in query_sets])),
        _mean(np.array([_mean(overlap.recall[members]) for members in query_sets])),
    )


def error_rates(overlap: CopyOverlap, ratio: float | None = None) -> tuple[float, float]:
    r"""Share of copied pairs without prediction, and of other pairs with one (FRR, FAR).

        FRR = (1 + \rho)/\rho \cdot misses/n,  FAR = (1 + \rho) \cdot alarms/n

    Args:
        ratio: \rho, copied pairs to others; None: as they are. VCSL publishes with 1, which its test split has.
    """
    num_pairs, num_copied = len(overlap.is_copied), int(overlap.is_copied.sum())
    misses = int((overlap.is_copied & ~overlap.is_predicted).sum())
    alarms = int((~overlap.is_copied & overlap.is_predicted).sum())
    if ratio is None:
        return misses / max(1, num_copied), alarms / max(1, num_pairs - num_copied)
    return (1 + ratio) / ratio * misses / num_pairs, (1 + ratio) * alarms / num_pairs


def _evaluate_copy_overlap(truth: SegmentTruth, predictions: PairBoxes) -> SegmentEvaluation:
    known, given = set(truth.boxes.pairs), set(predictions.pairs)
    overlap = copy_overlap(truth.boxes, predictions)
    micro, (misses, alarms) = overall(overlap), error_rates(overlap)
    figures = {"precision": micro.precision, "recall": micro.recall, "F1": micro.f1, "FRR": misses, "FAR": alarms}
    num_unfound = int((overlap.is_copied & ~overlap.is_predicted).sum())
    flattering = 0
    if truth.query_sets:
        number = {pair: i for i, pair in enumerate(truth.boxes.pairs)}
        sets = [np.array([number[pair] for pair in pairs]) for pairs in truth.query_sets.values()]
        macro = per_query_set(overlap, sets)
        figures |= {
            "precision per query set": macro.precision,
            "recall per query set": macro.recall,
            "F1 per query set": macro.f1,
        }
        flattering = num_unfound
    return SegmentEvaluation(
        data_set=truth.name,
        source=truth.source,
        figures=figures,
        num_pairs=len(known),
        num_predicted=int(overlap.is_predicted.sum()),
        warnings=_warnings(
            (len(known - given), "pairs of the split are not among the predictions: counted as empty predictions"),
            (len(given - known), "predicted pairs are not in the split: ignored"),
            (0 if overlap.is_predicted.any() else 1, "precision has no predicted pair to be a mean of: shown as 0"),
            (flattering, "copied pairs without prediction count as precision 1 per query set, as published"),
        ),
    )


def _covered_share(boxes: PairBoxes, others: PairBoxes) -> np.ndarray:
    """Product over the axes of the share of each pair's boxes that the other boxes cover, float64 [P]."""
    num_pairs = len(boxes.pairs)
    covered = np.zeros((len(boxes.pair), 2))
    for i, j in _joined(boxes.pair, others.pair, num_pairs):
        overlap = _intersection(boxes.boxes[i], others.boxes[j])
        is_hit = (lengths(overlap) > 0).all(axis=1)
        i, overlap = i[is_hit], overlap[is_hit]
        for axis in AXES:
            cells = _Cells(i, overlap[:, [axis, axis + 2]])
            is_covered = cells.first_cover(np.ones(len(i), dtype=bool), np.zeros(len(i), dtype=np.int64)) < NEVER
            owner = np.sort(np.tile(i, 2))
            covered[:, axis] += np.bincount(owner, weights=cells.length * is_covered, minlength=len(covered))
    share = np.ones(num_pairs)
    for axis in AXES:
        total = np.bincount(boxes.pair, weights=lengths(boxes.boxes)[:, axis], minlength=num_pairs)
        share *= np.bincount(boxes.pair, weights=covered[:, axis], minlength=num_pairs) / (total + LENGTH_EPSILON_S)
    return share


# Both


def _joined(pair: np.ndarray, other: np.ndarray, num_pairs: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices (i, j) of all boxes i and other boxes j of the same pair, in blocks; all j of an i lie in one block."""
    by_pair = np.argsort(other, kind="stable")
    counts = np.bincount(other, minlength=num_pairs)
    starts = np.cumsum(counts) - counts
    owners = np.flatnonzero(counts[pair])
    done = np.cumsum(counts[pair[owners]])
    begin = 0
    while begin < len(owners):
        limit = (done[begin - 1] if begin else 0) + BLOCK_OVERLAPS
        end = max(begin + 1, int(np.searchsorted(done, limit, side="right")))
        block = owners[begin:end]
        repeats = counts[pair[block]]
        i = np.repeat(block, repeats)
        offset = np.arange(len(i)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        yield i, by_pair[starts[pair[i]] + offset]
        begin = end


def _intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Boxes [N, 4] that two lists of boxes share; of negative length where they are apart."""
    return np.concatenate([np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])], axis=1)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _warnings(*counted: tuple[int, str]) -> tuple[str, ...]:
    return tuple(f"{count:,} {what}" for count, what in counted if count)

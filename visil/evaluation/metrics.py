"""How good a ranking is: average precision, micro-AP, recall at k, precision-recall curves, and how sure we are of it.

    scores + relevant videos ─► [RankedQuery ─► average_precision, MicroAveragePrecision, recall_at_k,
                                precision_curve ─► bootstrap]

Relevant videos that were not retrieved (they have no score) still count. Sums are in float64.

Forms of the average precision of a list, n relevant videos in the ground truth:
    rectangle   mean over the n of the precision at the rank of each, 0 where it was not retrieved
    trapezoid   the same with the mean of the precision at the rank and just before it (EVVE)
Rules for equal scores:
    group       equal scores are one step of the ranking, so that no order among them matters; the trapezoid, which has
                no such steps, takes the mean of `best` and `worst`. This is what scikit-learn, SVD and VSC2022 do.
    stable      they keep the order of their source, as the published evaluators of FIVR-200K, CC_WEB_VIDEO and EVVE do
    best, worst relevant videos come first, or last
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from math import comb
from typing import Literal

import numpy as np

from visil.defaults import TIES
from visil.errors import DataError

RECTANGLE, TRAPEZOID = FORMS = ("rectangle", "trapezoid")
GROUP, STABLE, BEST, WORST = TIES
NUM_RESAMPLES = 1000
CONFIDENCE = 0.95
NUM_LEVELS = 20  # steps of recall in a curve
MAX_BLOCK = 4_000_000  # numbers in one array of a bootstrap


@dataclass(frozen=True)
class RankedQuery:
    """The scored videos of one query in their order, and where the relevant ones are.

    Attributes:
        scores: float64 [N], falling; equal scores in the order of their source.
        positions: int64 [R], rising: the places of the relevant videos among them, from 0.
        num_relevant: relevant videos of the ground truth, retrieved or not.
    """

    scores: np.ndarray = field(repr=False)
    positions: np.ndarray = field(repr=False)
    num_relevant: int

    def __post_init__(self) -> None:
        if len(self.positions) > self.num_relevant:
            raise DataError(
                f"{len(self.positions)} relevant videos were retrieved, more than the {self.num_relevant} there are"
            )

    @staticmethod
    def sort(scores: np.ndarray, is_relevant: np.ndarray, num_relevant: int) -> RankedQuery:
        """From finite scores [N] and relevance [N] in the order of their source."""
        if scores.ndim != 1 or scores.shape != is_relevant.shape:
            raise DataError(f"scores {scores.shape} and relevance {is_relevant.shape} must be two lists")
        if not np.isfinite(scores).all():
            raise DataError("scores must be finite numbers")
        order = falling_order(scores)
        return RankedQuery(scores[order], np.flatnonzero(is_relevant[order]), num_relevant)

    @staticmethod
    def of(scores: Mapping[str, float], relevant: Set[str], left_out: Set[str] = frozenset()) -> RankedQuery:
        """From scores by video; videos left out are neither relevant nor ranked."""
        ranked = {video: score for video, score in scores.items() if video not in left_out}
        return RankedQuery.sort(
            np.array(list(ranked.values()), dtype=np.float64),
            np.array([video in relevant for video in ranked], dtype=bool),
            len(relevant - left_out),
        )


def falling_order(scores: np.ndarray) -> np.ndarray:
    """Indices that sort scores [N] from high to low; equal ones keep their order."""
    return np.argsort(-scores, kind="stable")


def average_precision(query: RankedQuery, form: str = RECTANGLE, ties: str = GROUP) -> float:
    """Average precision of one ranking.

    Raises:
        DataError: nothing is relevant to the query, so it has none; or the form or the rule has no such name.
    """
    if not query.num_relevant:
        raise DataError("a query without relevant videos has no average precision")
    _check_names(form, ties)
    if form == TRAPEZOID and ties == GROUP:
        return (average_precision(query, form, BEST) + average_precision(query, form, WORST)) / 2
    found, rank = _found_and_rank(query, ties)
    if form == RECTANGLE:
        return float((found / rank).sum() / query.num_relevant)
    before = np.divide(found - 1, rank - 1, out=np.ones(len(rank)), where=rank > 1)
    return float((before + found / rank).sum() / (2 * query.num_relevant))


def mean_average_precision(queries: Sequence[RankedQuery], form: str = RECTANGLE, ties: str = GROUP) -> float:
    """Mean of the average precisions of the queries."""
    return float(np.mean([average_precision(query, form, ties) for query in queries]))


def _check_names(form: str, ties: str) -> None:
    for what, name, names in (("form of average precision", form, FORMS), ("rule for ties", ties, TIES)):
        if name not in names:
            raise DataError(f"{name!r} is no {what}; there are {', '.join(names)}")


def _found_and_rank(query: RankedQuery, ties: str) -> tuple[np.ndarray, np.ndarray]:
    """For every retrieved relevant video: how many relevant ones, and how many videos, are up to it; float64 [R]."""
    number = np.arange(1.0, len(query.positions) + 1)
    if ties == STABLE:
        return number, query.positions + 1.0
    scores = query.scores[query.positions]
    if ties == BEST:
        return number, number + _num_above(query.scores, scores) - _num_above(scores, scores)
    at_least, found = _num_at_least(query.scores, scores), _num_at_least(scores, scores)
    if ties == WORST:
        return number, number + at_least - found
    return found.astype(np.float64), at_least.astype(np.float64)


def _num_above(falling: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many of some falling scores are above each threshold."""
    return len(falling) - np.searchsorted(falling[::-1], thresholds, side="right")


def _num_at_least(falling: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    return len(falling) - np.searchsorted(falling[::-1], thresholds, side="left")


class MicroAveragePrecision:
    r"""Average precision (rectangle) of one ranking of all (query, video) pairs: scores must compare across queries.

    AP = \frac{1}{n} \sum_j \frac{found(j)}{\sum_q C_{qj}}

    over the retrieved relevant pairs j, with C_qj videos of query q up to pair j. The counts C are all that is needed:
    the pairs are never sorted as a whole, and a bootstrap sample only gives the queries other weights. `stable` takes
    equal scores in the order of the queries and then of the videos.
    """

    def __init__(self, queries: Sequence[RankedQuery], ties: str = GROUP) -> None:
        _check_names(RECTANGLE, ties)
        self._queries, self._ties = list(queries), ties
        self._num_relevant = np.array([query.num_relevant for query in queries], dtype=np.float64)
        scores = np.concatenate([np.empty(0), *(query.scores[query.positions] for query in queries)])
        query_of = np.repeat(np.arange(len(queries)), [len(query.positions) for query in queries])
        order = falling_order(scores)  # stable: equal scores by query, then by position
        self._query_of, falling = query_of[order], scores[order]
        starts = np.flatnonzero(np.append(True, falling[1:] != falling[:-1]))[: len(falling)]
        self._levels = falling[starts]  # distinct, falling
        sizes = np.diff(np.append(starts, len(falling)))
        self._level_of = np.repeat(np.arange(len(starts)), sizes)
        self._first, self._last = np.repeat(starts, sizes), np.repeat(starts + sizes - 1, sizes)

    def __call__(self) -> float:
        """The value; each query counts once.

        Raises:
            DataError: nothing is relevant to any query.
        """
        if not self._num_relevant.sum():
            raise DataError("queries without relevant videos have no micro-AP")
        found = self._found(np.ones((1, len(self._queries))))[0]
        return float((found / self._retrieved()).sum() / self._num_relevant.sum())

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """Values of bootstrap samples: weights [B, Q] say how often each holds a query; float64 [B].

        Copies of a pair are one step of the ranking, whatever the rule for ties. A sample in which nothing is relevant
        has no value: nan.
        """
        counts = np.empty((len(self._queries), len(self._query_of)), dtype=np.float32)
        for number in range(len(self._queries)):
            counts[number] = self._counts(number)
        values = np.empty(len(weights))
        num_samples = max(1, MAX_BLOCK // max(1, counts.shape[1]))
        for first in range(0, len(weights), num_samples):
            block = np.asarray(weights[first : first + num_samples], dtype=np.float64)
            retrieved = _exact_product(block, counts)
            gained = self._found(block) * block[:, self._query_of]
            precision = np.divide(gained, retrieved, out=np.zeros_like(gained), where=retrieved > 0)
            relevant = block @ self._num_relevant
            values[first : first + num_samples] = np.divide(
                precision.sum(axis=1), relevant, out=np.full(len(block), np.nan), where=relevant > 0
            )
        return values

    def _found(self, weights: np.ndarray) -> np.ndarray:
        """Weighted relevant pairs up to each one, [B, P]."""
        found = np.cumsum(weights[:, self._query_of], axis=1)
        return found[:, self._last] if self._ties == GROUP else found

    def _retrieved(self) -> np.ndarray:
        """Videos of all queries up to each relevant pair, [P]: the sum of `_counts`, by a shorter way."""
        if self._ties == STABLE:
            return sum((self._counts(number) for number in range(len(self._queries))), np.zeros(len(self._query_of)))
        lists = [query.scores for query in self._queries]
        place = np.arange(len(self._query_of))
        if self._ties == BEST:
            return self._at_levels(lists, "right") + (place - self._first + 1)
        at_least = self._at_levels(lists, "left")
        return at_least if self._ties == GROUP else at_least - (self._last - place)

    def _counts(self, number: int) -> np.ndarray:
        """Videos of a query up to each relevant pair, [P]."""
        query = self._queries[number]
        if self._ties == GROUP:
            return self._at_levels([query.scores], "left")
        own = self._query_of == number
        if self._ties == STABLE:
            at_least, above = (self._at_levels([query.scores], side) for side in ("left", "right"))
            counts = np.where(self._query_of > number, at_least, above)
            counts[own] = query.positions + 1
            return counts
        found = np.cumsum(own)
        if self._ties == BEST:
            return self._at_levels([query.scores], "right") + found - (found - own)[self._first]
        return self._at_levels([query.scores], "left") - (found[self._last] - found)

    def _at_levels(self, lists: Iterable[np.ndarray], side: Literal["left", "right"]) -> np.ndarray:
        return _num_of_levels(lists, self._levels, side)[self._level_of]


def _exact_product(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Product of [B, Q] and float32 [Q, P] in float64, a part of the pairs at a time: sums may be beyond 2^24."""
    product = np.empty((len(weights), counts.shape[1]))
    num_pairs = max(1, MAX_BLOCK // max(1, len(counts)))
    for first in range(0, counts.shape[1], num_pairs):
        part = slice(first, first + num_pairs)
        product[:, part] = weights @ counts[:, part].astype(np.float64)
    return product


def _num_of_levels(lists: Iterable[np.ndarray], levels: np.ndarray, side: Literal["left", "right"]) -> np.ndarray:
    """How many scores of some falling lists are at least (`left`) or above (`right`) each of some falling levels.

    Of a list and the levels, the longer one is searched for the shorter one.
    """
    rising = levels[::-1]
    num_scores, num_below = 0, np.zeros(len(levels), dtype=np.int64)
    reached = np.zeros(len(levels) + 1, dtype=np.int64)  # scores by the number of levels that they reach
    for falling in lists:
        num_scores += len(falling)
        if len(falling) >= len(levels):
            num_below += np.searchsorted(falling[::-1], rising, side=side)
        else:
            num_levels = np.searchsorted(rising, falling, side="right" if side == "left" else "left")
            reached += np.bincount(num_levels, minlength=len(reached))
    return (num_scores - num_below - np.cumsum(reached)[:-1])[::-1]


def recall_at_k(query: RankedQuery, k: int) -> float:
    """1 if one of the first k videos is relevant, else 0; the mean over queries is the usual recall@k.

    Where a group of equal scores reaches over rank k: the share of its orders that put a relevant video
    among the first k.
    """
    if len(query.scores) <= k:
        return float(len(query.positions) > 0)
    cut = query.scores[k - 1 : k]
    above, at_least = int(_num_above(query.scores, cut)[0]), int(_num_at_least(query.scores, cut)[0])
    if (query.positions < above).any():
        return 1.0
    num_tied = at_least - above
    num_wrong = num_tied - int((query.positions < at_least).sum())
    return 1.0 - comb(num_wrong, k - above) / comb(num_tied, k - above)


def share_found(query: RankedQuery, k: int) -> float:
    """Share of the relevant videos that are among the first k.

    Of a group of equal scores that reaches over rank k each counts by the share of the group's places up to there.
    """
    if len(query.scores) <= k:
        return len(query.positions) / query.num_relevant
    cut = query.scores[k - 1 : k]
    above, at_least = int(_num_above(query.scores, cut)[0]), int(_num_at_least(query.scores, cut)[0])
    num_above, num_at_least = (int((query.positions < rank).sum()) for rank in (above, at_least))
    num_tied = num_at_least - num_above
    return (num_above + num_tied * (k - above) / (at_least - above)) / query.num_relevant


def precision_curve(queries: Sequence[RankedQuery], ties: str = GROUP) -> np.ndarray:
    """Highest precision at a recall of i/20 or more, i = 0 ... 20; mean over queries; float64 [21].

    0 where so much was never retrieved, and everywhere without queries.
    """
    curves = np.zeros((max(1, len(queries)), NUM_LEVELS + 1))
    for curve, query in zip(curves, queries, strict=False):
        found, rank = _found_and_rank(query, ties)
        first = np.searchsorted(found * NUM_LEVELS, np.arange(NUM_LEVELS + 1) * query.num_relevant)  # whole numbers
        curve[:] = _highest_from(found / rank)[first]
    return curves.mean(axis=0)


def _highest_from(values: np.ndarray) -> np.ndarray:
    """Highest of values [R] from each place on, and 0 after the last; [R + 1]."""
    return np.maximum.accumulate(np.append(values, 0.0)[::-1])[::-1]


@dataclass(frozen=True)
class Interval:
    """A statistic and its bootstrap percentile interval."""

    value: float
    low: float
    high: float

    @staticmethod
    def of(value: float, resampled: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
        """From the values [B] of bootstrap samples.

        Samples without a value (nan) are dropped: nothing in them is relevant, so they say nothing of the statistic.
        Where none is left, the interval is the value alone.
        """
        tail = (1 - confidence) / 2
        valid = resampled[~np.isnan(resampled)]
        low, high = np.quantile(valid if len(valid) else [value], [tail, 1 - tail])
        return Interval(value, float(low), float(high))


def bootstrap_weights(
    components: Sequence[Hashable], rng: np.random.Generator, num_resamples: int = NUM_RESAMPLES
) -> np.ndarray:
    """How often each bootstrap sample holds each query, float64 [B, Q], drawing whole components with replacement.

    Queries of one component (the same event, film or take) are no independent evidence, so they are drawn or
    left out together. A sample has as many components as there are.

    Args:
        components: component of each query.
    """
    if num_resamples < 1:
        raise DataError(f"a bootstrap needs samples, not {num_resamples}")
    names = {name: i for i, name in enumerate(dict.fromkeys(components))}
    samples = rng.integers(len(names), size=(num_resamples, len(names)))
    places = samples + np.arange(num_resamples)[:, None] * len(names)
    counts = np.bincount(places.ravel(), minlength=places.size).reshape(places.shape)
    return counts[:, [names[name] for name in components]].astype(np.float64)


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of values [Q] in each sample of weights [B, Q]; float64 [B]."""
    return np.asarray(weights @ values / weights.sum(axis=1))

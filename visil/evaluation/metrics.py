"""How good a ranking is: average precision, micro-AP, recall at k, and how sure we are of it.

    scores + ground truth ─► [RankedQuery ─► mean_average_precision, MicroAveragePrecision, recall_at_k
                              ─► bootstrap_interval]

Equal scores count as one group, so that no value depends on the order in which they happen to lie. Relevant
videos that were not retrieved (they have no score) still count. Sums in float64. The form is the one that
scikit-learn and VSC2022 use; without ties it equals that of FIVR-200K.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from math import comb

import numpy as np

from visil.errors import DataError

NUM_RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class RankedQuery:
    """The scored videos of one query and which of them are relevant.

    Attributes:
        scores: float64 [N], higher is more similar; any order.
        is_relevant: bool [N].
        num_relevant: relevant videos of the ground truth, retrieved or not; at least 1.
    """

    scores: np.ndarray = field(repr=False)
    is_relevant: np.ndarray = field(repr=False)
    num_relevant: int

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or self.scores.shape != self.is_relevant.shape:
            raise DataError(f"scores {self.scores.shape} and relevance {self.is_relevant.shape} must be two lists")
        if not np.isfinite(self.scores).all():
            raise DataError("scores must be finite numbers")
        num_found = int(np.count_nonzero(self.is_relevant))
        if self.num_relevant < max(1, num_found):
            raise DataError(
                f"{num_found} relevant videos were retrieved, {self.num_relevant} are in the ground truth: there must "
                "be one and as many; a query without any has no average precision"
            )

    @staticmethod
    def of(scores: Mapping[str, float], relevant: Set[str], left_out: Set[str] = frozenset()) -> RankedQuery:
        """From scores by video; videos left out are neither relevant nor ranked."""
        ranked = {video: score for video, score in scores.items() if video not in left_out}
        return RankedQuery(
            np.array(list(ranked.values()), dtype=np.float64),
            np.array([video in relevant for video in ranked], dtype=bool),
            len(relevant - left_out),
        )


def average_precision(query: RankedQuery) -> float:
    r"""Area under the precision-recall steps of one ranking.

    AP = \sum_s \frac{P_s}{n} \cdot \frac{P_{\geq s}}{N_{\geq s}}

    over the distinct scores s, with P_s relevant videos of score s, P_{>=s} relevant and N_{>=s} all videos
    of at least that score, n relevant videos in the ground truth. Without ties: the mean over the relevant
    videos of the precision at their rank.
    """
    return MicroAveragePrecision([query])()


def mean_average_precision(queries: Sequence[RankedQuery]) -> float:
    """Mean of the average precisions of the queries."""
    return float(np.mean([average_precision(query) for query in queries]))


class MicroAveragePrecision:
    """Average precision of one ranking of all (query, video) pairs: scores must compare across queries.

    Sorts once; a call takes two cumulative sums. Its counts [Q] say how often each query is in a bootstrap
    sample (default: once).
    """

    def __init__(self, queries: Sequence[RankedQuery]) -> None:
        scores = np.concatenate([query.scores for query in queries])
        order = np.argsort(-scores, kind="stable")
        self._query = np.repeat(np.arange(len(queries)), [len(query.scores) for query in queries])[order]
        self._is_relevant = np.concatenate([query.is_relevant for query in queries])[order]
        self._num_relevant = np.array([query.num_relevant for query in queries])
        ranked = scores[order]
        self._group_ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))[: len(ranked)]

    def __call__(self, counts: np.ndarray | None = None) -> float:
        weights = np.ones(len(self._num_relevant)) if counts is None else np.asarray(counts, dtype=np.float64)
        pair_weights = weights[self._query]
        retrieved = np.cumsum(pair_weights)[self._group_ends]
        relevant = np.cumsum(pair_weights * self._is_relevant)[self._group_ends]
        gained = np.diff(relevant, prepend=0.0)
        precision = np.divide(relevant, retrieved, out=np.zeros_like(relevant), where=retrieved > 0)
        return float((gained * precision).sum() / (weights * self._num_relevant).sum())


def recall_at_k(query: RankedQuery, k: int) -> float:
    """1 if one of the first k videos is relevant, else 0; the mean over queries is the usual recall@k.

    Where a group of equal scores reaches over rank k: the share of its orders that put a relevant video
    among the first k.
    """
    if len(query.scores) <= k:
        return float(query.is_relevant.any())
    cut = np.sort(query.scores)[-k]
    above, tied = query.scores > cut, query.scores == cut
    if query.is_relevant[above].any():
        return 1.0
    places = k - int(above.sum())
    num_tied, num_wrong = int(tied.sum()), int((tied & ~query.is_relevant).sum())
    return 1.0 - comb(num_wrong, places) / comb(num_tied, places)


@dataclass(frozen=True)
class Interval:
    """A statistic and its bootstrap percentile interval."""

    value: float
    low: float
    high: float


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float],
    components: Sequence[Hashable],
    rng: np.random.Generator,
    *,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Percentile interval of a statistic of queries, drawing whole components with replacement.

    Queries of one component (the same event, film or take) are no independent evidence, so they are drawn or
    left out together. A sample has as many components as there are. For a paired interval of the difference
    of two systems pass a statistic that subtracts: both then see the same samples.

    Args:
        statistic: value for counts [Q], how often each query is in the sample.
        components: component of each query.
    """
    names = {name: i for i, name in enumerate(dict.fromkeys(components))}
    member = np.array([names[name] for name in components])
    samples = rng.integers(len(names), size=(num_resamples, len(names)))
    values = [statistic(np.bincount(sample, minlength=len(names))[member]) for sample in samples]
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(statistic(np.ones(len(member))), float(low), float(high))

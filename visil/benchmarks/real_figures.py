"""How well a system tells real near-duplicates from what is unrelated, at one threshold for all queries.

    SystemScores ─► [micro-AP, recall at rates of false pairs, pairs above, highest pairs] ─► scripts/bench_real.py

Queries of all figures are the labelled videos; footage is what else is in their library. A pair of a higher level, an
ambiguous one and one without a label is neither right nor wrong. REL is left out as well, or wrong. Intervals are by
bootstrap over components of queries; the samples are the same for every system, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from visil.benchmarks.benchmark_files import rng_of
from visil.benchmarks.benchmark_search import NO_SCORE
from visil.benchmarks.real_pairs import NO_LABEL, UNRELATED, RealPairs
from visil.errors import DataError
from visil.evaluation.metrics import (
    MAX_BLOCK,
    Interval,
    MicroAveragePrecision,
    RankedQuery,
    bootstrap_weights,
    falling_order,
)
from visil.evaluation.real_videos import LEVELS, ND, PART, REL, SI

RATES = (1e-2, 1e-3, 1e-4)  # of false pairs among the unrelated ones
MICRO_LEVELS = ("ND", "ND+PART")
REL_WRONG = ", REL wrong"  # of a figure: those pairs are negatives too
FOUND = (ND, PART, SI)  # labels whose recall is told
FOOTAGE = "unrelated, both footage"  # no video with labels has a part in it


@dataclass(frozen=True)
class Figure:
    """A statistic over the labelled queries.

    Attributes:
        num_pairs: that are to be found.
        num_units: components of their queries.
        resampled: float64 [B], in each bootstrap sample; nan where a sample holds none of the pairs.
    """

    num_pairs: int
    num_units: int
    value: float
    resampled: np.ndarray = field(repr=False)

    @property
    def interval(self) -> Interval:
        return Interval.of(self.value, self.resampled)


@dataclass(frozen=True)
class PairsAbove:
    """How many ordered pairs of a kind there are, and how many of them above each threshold."""

    kind: str
    num_pairs: int
    above: tuple[int, ...]


@dataclass(frozen=True)
class ScoredPair:
    """Two files, numbers of `RealPairs.paths`, and the higher score of their two directions."""

    score: float
    query: int
    video: int


def sample_weights(real: RealPairs, seed: int) -> np.ndarray:
    """How often each bootstrap sample holds each labelled query: float64 [B, L]."""
    components = [row.component for row, is_labelled in zip(real.rows, real.is_labelled, strict=True) if is_labelled]
    return bootstrap_weights(components, rng_of(seed, "bootstrap", "real"))


def figures(real: RealPairs, scores: np.ndarray, weights: np.ndarray) -> dict[str, Figure]:
    """Every figure that the split has pairs for, by name: micro-AP of levels, recall of labels at RATES.

    The threshold of a rate is chosen anew in every bootstrap sample.

    Args:
        scores: [V, V], NO_SCORE where there is none.
        weights: of `sample_weights`.

    Raises:
        DataError: no unrelated pair has a score.
    """
    relation, scores = real.relation[real.is_labelled], scores[real.is_labelled].astype(np.float64)
    units = np.array([row.component for row in real.rows])[real.is_labelled]
    found: dict[str, Figure] = {}

    def add(name: str, is_relevant: np.ndarray, value: float, resampled: np.ndarray) -> None:
        num_units = len(set(units[is_relevant.any(axis=1)]))
        found[name] = Figure(int(is_relevant.sum()), num_units, value, resampled)

    for level in MICRO_LEVELS:
        is_relevant = np.isin(relation, list(LEVELS[level]))
        if not is_relevant.any():
            continue
        for suffix, wrong in (("", [UNRELATED]), (REL_WRONG, [UNRELATED, REL])):
            ranked = (is_relevant | np.isin(relation, wrong)) & (scores > NO_SCORE)
            micro = MicroAveragePrecision(
                [
                    RankedQuery.sort(row[chosen], relevant[chosen], int(relevant.sum()))
                    for row, chosen, relevant in zip(scores, ranked, is_relevant, strict=True)
                ]
            )
            add(f"micro-AP {level}{suffix}", is_relevant, micro(), micro.resampled(weights))

    everyone = np.ones((1, len(relation)))
    at_value, at_samples = (_thresholds(relation, scores, each) for each in (everyone, weights))
    for label in FOUND:
        is_relevant = relation == label
        if not is_relevant.any():
            continue
        for number, rate in enumerate(RATES):
            value = _recall(is_relevant, scores, everyone, at_value[:, number])[0]
            resampled = _recall(is_relevant, scores, weights, at_samples[:, number])
            add(f"recall {label} at {rate:g}", is_relevant, float(value), resampled)
    return found


def gains(of: Mapping[str, Figure], other: Mapping[str, Figure]) -> dict[str, Interval]:
    """Each figure of a system minus that of another one, with an interval over the same samples."""
    return {
        name: Interval.of(figure.value - other[name].value, figure.resampled - other[name].resampled)
        for name, figure in of.items()
    }


def thresholds(real: RealPairs, scores: np.ndarray) -> list[float]:
    """The lowest scores that at most RATES of the unrelated pairs lie above."""
    labelled = real.is_labelled
    return list(map(float, _thresholds(real.relation[labelled], scores[labelled], np.ones((1, labelled.sum())))[0]))


def kinds(real: RealPairs) -> dict[str, np.ndarray]:
    """Pairs by what they are: name -> bool [V, V]. Those without a label are listed here and count nowhere."""
    labelled, is_unrelated = real.is_labelled, real.relation == UNRELATED
    return {
        **{label: real.relation == label for label in (*FOUND, REL)},
        UNRELATED: is_unrelated & labelled[:, None],
        FOOTAGE: is_unrelated & ~labelled[:, None] & ~labelled,
        NO_LABEL: real.relation == NO_LABEL,
    }


def pairs_above(real: RealPairs, scores: np.ndarray, above: Sequence[float]) -> list[PairsAbove]:
    """Pairs above thresholds, by kind; pairs without a score are above none."""
    return [
        PairsAbove(kind, int(pairs.sum()), tuple(int((pairs & (scores > threshold)).sum()) for threshold in above))
        for kind, pairs in kinds(real).items()
    ]


def highest_pairs(scores: np.ndarray, pairs: np.ndarray, count: int) -> list[ScoredPair]:
    """The pairs [V, V] with the highest scores; of both directions of a pair the higher one counts."""
    queries, videos = np.nonzero(pairs & (scores > NO_SCORE))
    listed: dict[frozenset[int], ScoredPair] = {}
    for place in falling_order(scores[queries, videos])[: 2 * count]:
        query, video = int(queries[place]), int(videos[place])
        listed.setdefault(frozenset((query, video)), ScoredPair(float(scores[query, video]), query, video))
    return list(listed.values())[:count]


def _thresholds(relation: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The lowest scores that at most RATES of the unrelated pairs lie above, in every sample: float64 [B, rates].

    Args:
        relation, scores: [L, V].
        weights: [B, L], how often a sample holds a query with all of its pairs.
    """
    queries, videos = np.nonzero((relation == UNRELATED) & (scores > NO_SCORE))
    if not len(queries):
        raise DataError("no unrelated pair has a score, so there is no threshold for false pairs")
    order = falling_order(scores[queries, videos])
    falling, query_of = scores[queries, videos][order], queries[order]
    found = np.empty((len(weights), len(RATES)))
    num_samples = max(1, MAX_BLOCK // len(falling))
    for first in range(0, len(weights), num_samples):
        num_down_to = np.cumsum(weights[first : first + num_samples, query_of], axis=1)
        for number, rate in enumerate(RATES):
            beyond = num_down_to > rate * num_down_to[:, -1:]
            found[first : first + num_samples, number] = falling[beyond.argmax(axis=1)]
    return found


def _recall(is_relevant: np.ndarray, scores: np.ndarray, weights: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Share of the relevant pairs [L, V] that lie above the threshold of each sample [B]: float64 [B]."""
    queries, videos = np.nonzero(is_relevant)
    held = weights[:, queries]  # [B, P]
    num_found = (held * (scores[queries, videos] > above[:, None])).sum(axis=1)
    total = held.sum(axis=1)
    return np.divide(num_found, total, out=np.full(len(held), np.nan), where=total > 0)

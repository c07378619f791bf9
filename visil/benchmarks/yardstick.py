"""What the yardstick says of a system: how well it finds edited copies, how often it takes unrelated videos for some.

    SystemScores ─► [figures by family and level, thresholds, false matches] ─► report

Only unrelated pairs are negatives, everywhere. Pooled figures, thresholds and counts of pairs are of the families that
`Family.is_pooled` names; the others have rows of their own, so that a new one leaves all other figures as they were. A
video that could not be read is missing in the rankings, and counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visil.benchmarks.benchmark_data import (
    DISTRACTOR,
    EDIT,
    LONG_NO_MATCH,
    LOOK_ALIKE,
    MONTAGE,
    NO_MATCH,
    REAL,
    Benchmark,
    Query,
)
from visil.benchmarks.benchmark_files import rng_of
from visil.benchmarks.benchmark_search import NO_SCORE
from visil.errors import DataError
from visil.evaluation.metrics import (
    Interval,
    MicroAveragePrecision,
    RankedQuery,
    average_precision,
    bootstrap_weights,
    recall_at_k,
    share_found,
    weighted_mean,
)
from visil.synth.edits import FAMILIES, LEVELS
from visil.synth.furniture import FURNITURE

RATES = (1e-3, 1e-4, 1e-5)  # of false matches among unrelated pairs, that thresholds are chosen for
POOLED = "pooled"
ALL_FURNITURE = "furniture, all kinds"
UNRELATED = "unrelated"


@dataclass(frozen=True)
class Figures:
    """How well some of the edited queries are found; intervals by bootstrap over units, see `Query.unit`.

    Attributes:
        family: or POOLED.
        part: a level; `real` or `montages`, where all levels are pooled over queries of one kind of source; or `all`.
    """

    family: str
    part: str
    num_queries: int
    num_units: int
    recall_at_1: Interval
    mean_average_precision: Interval
    micro_average_precision: Interval


@dataclass(frozen=True)
class PairsAbove:
    """How many of some pairs lie above thresholds.

    Edits of one source are often above for one reason. So pairs of a source and a video are counted beside the pairs
    of a query and a video: how many independent cases there are at most.

    Attributes:
        name: which pairs.
        num_designs: of the furniture that they share; 0 if they share none.
        num_queries, num_pairs, num_source_pairs: there are, with a score.
        queries: with a pair above each threshold.
        pairs: above each threshold.
        source_pairs: distinct pairs of a source and a video among them; a query that is no edit is its own source.
    """

    name: str
    num_designs: int
    num_queries: int
    num_pairs: int
    num_source_pairs: int
    queries: tuple[int, ...]
    pairs: tuple[int, ...]
    source_pairs: tuple[int, ...]


@dataclass(frozen=True)
class SourcesFound:
    """How much of their several sources edited queries of one family and level find.

    Attributes:
        num_sources: N, of a query; the most where they differ.
        share: of its sources among the first N videos, mean over the queries.
    """

    family: str
    level: str
    num_queries: int
    num_sources: int
    share: float


def figures(benchmark: Benchmark, scores: np.ndarray) -> list[Figures]:
    """For every family and level, and pooled.

    Args:
        scores: [Q, V], NO_SCORE where there is none.
    """
    numbers, rankings = _rankings(benchmark, scores)
    queries = [benchmark.queries[number] for number in numbers]
    recall = np.array([recall_at_k(ranking, 1) for ranking in rankings])
    precision = np.array([average_precision(ranking) for ranking in rankings])
    found = []
    for family, part in _cells(benchmark):
        chosen = [i for i, query in enumerate(queries) if _is_in(query, family) and part in _parts(query)]
        units = [queries[i].unit for i in chosen]
        if not chosen:
            continue
        weights = bootstrap_weights(units, rng_of(benchmark.settings.seed, "bootstrap", family, part))
        micro = MicroAveragePrecision([rankings[i] for i in chosen])
        found.append(
            Figures(
                family,
                part,
                num_queries=len(chosen),
                num_units=len(set(units)),
                recall_at_1=Interval.of(float(recall[chosen].mean()), weighted_mean(recall[chosen], weights)),
                mean_average_precision=Interval.of(
                    float(precision[chosen].mean()), weighted_mean(precision[chosen], weights)
                ),
                micro_average_precision=Interval.of(micro(), micro.resampled(weights)),
            )
        )
    return found


def gains(
    benchmark: Benchmark, scores: Mapping[str, np.ndarray], names: Sequence[str], *, part: str = "all"
) -> dict[tuple[str, str], Interval]:
    """Pooled micro-AP of systems minus that of others, over the same bootstrap samples.

    Args:
        scores: [Q, V] by system.
        names: of the systems that are compared with every other one.
        part: of the edited queries, as in `Figures`.

    Returns:
        (system, other) -> difference.
    """
    values, samples = {}, {}
    for name, of_system in scores.items():
        numbers, rankings = _rankings(benchmark, of_system)
        queries = [benchmark.queries[number] for number in numbers]
        chosen = [i for i, query in enumerate(queries) if query.is_pooled and part in _parts(query)]
        micro = MicroAveragePrecision([rankings[i] for i in chosen])
        units = [queries[i].unit for i in chosen]
        weights = bootstrap_weights(units, rng_of(benchmark.settings.seed, "bootstrap", POOLED, part))
        values[name], samples[name] = micro(), micro.resampled(weights)
    return {
        (name, other): Interval.of(values[name] - values[other], samples[name] - samples[other])
        for name in names
        for other in scores
        if other != name
    }


def sources_found(benchmark: Benchmark, scores: np.ndarray) -> list[SourcesFound]:
    """For every level of the families that join several sources.

    Args:
        scores: [Q, V], NO_SCORE where there is none.
    """
    rankings: dict[tuple[str, str], list[RankedQuery]] = {}
    for number, ranking in zip(*_rankings(benchmark, scores), strict=True):
        query = benchmark.queries[number]
        if FAMILIES[query.family].joins_sources:
            rankings.setdefault((query.family, query.level), []).append(ranking)
    return [
        SourcesFound(
            family,
            level,
            num_queries=len(of_level),
            num_sources=max(ranking.num_relevant for ranking in of_level),
            share=float(np.mean([share_found(ranking, ranking.num_relevant) for ranking in of_level])),
        )
        for (family, level), of_level in rankings.items()
    ]


def thresholds(benchmark: Benchmark, scores: np.ndarray, rates: Sequence[float] = RATES) -> list[float]:
    """The lowest scores that at most these shares of the unrelated pairs lie above.

    The pairs are those of edited queries with real videos, montages and distractors: furniture and look-alikes are
    told apart by thresholds that know nothing of them.
    """
    pairs = unrelated_pairs(benchmark)[UNRELATED]
    negatives = np.sort(scores[pairs & (scores > NO_SCORE)])[::-1]
    return [float(negatives[int(rate * len(negatives))]) for rate in rates]


def read_thresholds(path: Path, tables: str) -> dict[tuple[str, str | None], list[float]]:
    """Those that a run of `bench_edits.py` on val chose, by name of the system and hash of its bundle.

    Another bundle of the same name gives other scores: it has none here.

    Args:
        tables: `digest_of_tables` of the data that they are wanted for.

    Raises:
        DataError: the file is not of such a run, or of a run over other data.
    """
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        if run["settings"]["split"] != "val":
            raise DataError(f"{path}: thresholds are chosen on val, this is a run on {run['settings']['split']}")
        if run["settings"].get("tables") != tables:
            raise DataError(
                f"{path}: is a run over other data, or of before thresholds named theirs; run bench_edits.py --split "
                "val --json FILE again, with the same --data and --model"
            )
        measured = {name: result for name, result in run["results"].items() if "not_run" not in result}
        known = {(name, result.get("bundle")): result["thresholds"] for name, result in measured.items()}
        known = {system: above for system, above in known.items() if above is not None}  # a run that had none either
        if not all(len(above) == len(RATES) and all(map(math.isfinite, above)) for above in known.values()):
            raise ValueError(f"a system has other thresholds than {len(RATES)} numbers")
        return known
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: no JSON of a run of bench_edits.py ({error}); make one with --split val") from error


def false_matches(benchmark: Benchmark, scores: np.ndarray, above: Sequence[float]) -> list[PairsAbove]:
    """Unrelated pairs above thresholds, by what they have in common all the same."""
    return [
        _above(benchmark, name, pairs, pairs & (scores > NO_SCORE), scores, above)
        for name, pairs in unrelated_pairs(benchmark).items()
    ]


def found_matches(benchmark: Benchmark, scores: np.ndarray, above: Sequence[float]) -> list[PairsAbove]:
    """Matches of edited queries above thresholds, by level; those without a score count among all."""
    level_of = np.array([query.level if query.is_pooled else "" for query in benchmark.queries])
    matches = {level: benchmark.is_relevant & (level_of == level)[:, None] for level in LEVELS}
    return [_above(benchmark, level, pairs, pairs, scores, above) for level, pairs in matches.items()]


def _parts(query: Query) -> tuple[str, str, str]:
    """What an edited query is pooled under, see `Figures`."""
    return ("all", query.level, "montages" if query.of_montage else "real")


def _is_in(query: Query, family: str) -> bool:
    return query.is_pooled if family == POOLED else query.family == family


def _cells(benchmark: Benchmark) -> list[tuple[str, str]]:
    cells = dict.fromkeys((query.family, query.level) for query in benchmark.queries if query.kind == EDIT)
    return [*cells, *((POOLED, part) for part in (*LEVELS, "real", "montages", "all"))]


def _rankings(benchmark: Benchmark, scores: np.ndarray) -> tuple[list[int], list[RankedQuery]]:
    """Numbers of the edited queries, and the ranking of each."""
    numbers = [number for number, query in enumerate(benchmark.queries) if query.kind == EDIT]
    ranked = (benchmark.is_relevant | benchmark.is_unrelated) & (scores > NO_SCORE)
    return numbers, [
        RankedQuery.sort(
            scores[number, ranked[number]].astype(np.float64),
            benchmark.is_relevant[number, ranked[number]],
            int(benchmark.is_relevant[number].sum()),
        )
        for number in numbers
    ]


def unrelated_pairs(benchmark: Benchmark) -> dict[str, np.ndarray]:
    """Kinds of unrelated pairs: name -> bool [Q, V]; see `false_matches`."""
    query_kind = np.array([query.kind for query in benchmark.queries])[:, None]
    is_pooled = np.array([query.is_pooled for query in benchmark.queries])[:, None]
    video_kind = np.array([video.kind for video in benchmark.videos])[None, :]
    query_subject = np.array([query.subject for query in benchmark.queries])[:, None]
    video_subject = np.array([video.subject for video in benchmark.videos])[None, :]
    query_design = np.array([query.design for query in benchmark.queries])[:, None]
    video_design = np.array([video.design for video in benchmark.videos])[None, :]
    same_furniture = (query_kind == video_kind) & np.isin(query_kind, list(FURNITURE)) & (query_design == video_design)
    is_plain = np.isin(video_kind, (REAL, MONTAGE, DISTRACTOR))
    kinds = {
        UNRELATED: is_pooled & is_plain,
        **{kind: same_furniture & (query_kind == kind) for kind in FURNITURE},
        ALL_FURNITURE: same_furniture,
        LOOK_ALIKE: (query_kind == LOOK_ALIKE) & (query_subject == video_subject) & is_plain,
        NO_MATCH: np.isin(query_kind, (NO_MATCH, LOOK_ALIKE)) & is_plain,
        LONG_NO_MATCH: (query_kind == LONG_NO_MATCH) & is_plain,
    }
    return {name: pairs & benchmark.is_unrelated for name, pairs in kinds.items()}


def _above(
    benchmark: Benchmark,
    name: str,
    pairs: np.ndarray,
    counted: np.ndarray,
    scores: np.ndarray,
    above: Sequence[float],
) -> PairsAbove:
    """Count, of pairs [Q, V], those that are `counted`, and those above thresholds."""
    numbers = {
        source: number for number, source in enumerate({query.source or query.path for query in benchmark.queries})
    }
    source = np.array([numbers[query.source or query.path] for query in benchmark.queries])

    def num_source_pairs(chosen: np.ndarray) -> int:
        rows, columns = np.nonzero(chosen)
        return len(np.unique(source[rows] * len(benchmark.videos) + columns))

    over = [pairs & (scores > threshold) for threshold in above]
    designs = {(query.kind, query.design) for query, row in zip(benchmark.queries, counted, strict=True) if row.any()}
    return PairsAbove(
        name,
        num_designs=sum(design >= 0 for _, design in designs),
        num_queries=int(counted.any(axis=1).sum()),
        num_pairs=int(counted.sum()),
        num_source_pairs=num_source_pairs(counted),
        queries=tuple(int(high.any(axis=1).sum()) for high in over),
        pairs=tuple(int(high.sum()) for high in over),
        source_pairs=tuple(num_source_pairs(high) for high in over),
    )

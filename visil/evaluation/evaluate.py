"""Judges the scores of a system by the ground truth of a data set.

GroundTruth ─┐
Scores ──────┴─► Rankings ─► [evaluate: RankedQuery of each task ─► metrics] ─► Evaluation

What is relevant is counted in two ways. The paper's takes out of the ground truth what is not available; the strict one
keeps it, so that videos and queries that could not be read count against the system.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from visil.errors import DataError
from visil.evaluation import metrics
from visil.evaluation.ground_truth import GroundTruth, Task
from visil.evaluation.metrics import Interval, MicroAveragePrecision, RankedQuery
from visil.evaluation.rankings import Rankings, read_rankings
from visil.evaluation.results import Evaluation, Measure, TaskResult
from visil.evaluation.scores import Scores

NOTHING_RANKED = np.empty(0), np.empty(0, dtype=np.int64)


def evaluate(
    truth: GroundTruth,
    scores: Scores,
    *,
    ties: str = metrics.GROUP,
    seed: int = 0,
    num_resamples: int = metrics.NUM_RESAMPLES,
    tasks: Collection[str] | None = None,
) -> Evaluation:
    """Evaluate the tasks of a data set.

    The scores of a query are sorted once and let go; what is kept is one sorted list a query for all tasks that rank
    the same videos.

    Args:
        ties: rule for equal scores, one of `metrics.TIES`.
        seed, num_resamples: of the bootstrap over the components of the evaluated queries.
        tasks: names of those to evaluate; None: all.

    Raises:
        DataError: a score is not finite, a query or a pair comes twice, no query or no video of the data set was
            scored, or a name of a task or rule is unknown.
    """
    if ties not in metrics.TIES:
        raise DataError(f"{ties!r} is no rule for ties; there are {', '.join(metrics.TIES)}")
    chosen = _chosen(truth, tasks)
    rankings = read_rankings(truth, scores, chosen)
    results = [_result(truth, task, rankings, task.ties or ties, seed, num_resamples) for task in chosen]
    warnings = (*truth.warnings, *rankings.warnings(), *_warnings_of_skipped(results))
    return Evaluation(
        truth.name,
        truth.source,
        ties,
        seed,
        num_resamples,
        tuple(results),
        rankings.coverage(chosen),
        warnings,
        truth.content_hash,
    )


def _chosen(truth: GroundTruth, names: Collection[str] | None) -> tuple[Task, ...]:
    if names is None:
        return truth.tasks
    unknown = set(names) - {task.name for task in truth.tasks}
    if unknown or not names:
        known = ", ".join(task.name for task in truth.tasks)
        raise DataError(f"{truth.name} has no task {', '.join(sorted(unknown)) or 'without a name'}; it has {known}")
    return tuple(task for task in truth.tasks if task.name in names)


def _result(truth: GroundTruth, task: Task, rankings: Rankings, ties: str, seed: int, num_resamples: int) -> TaskResult:
    found = rankings.found[task.name]
    every_query = [*truth.queries, *sorted(found.keys() - set(truth.queries))]  # in one order, whatever the file's
    paper = {query: rankings.num_relevant(task, query, strict=False) for query in every_query}
    strict = {query: rankings.num_relevant(task, query, strict=True) for query in every_query}
    evaluated = [query for query in every_query if query in found and (paper[query] or task.empty_is_zero)]
    ranked = {query: RankedQuery(*found[query], paper[query]) for query in evaluated}

    pooled = every_query if task.pools_every_query else [q for q in every_query if q in found and q in task.relevant]

    def bootstrap(queries: Sequence[str]) -> np.ndarray:
        components = [truth.component(query) for query in queries]
        return metrics.bootstrap_weights(components, np.random.default_rng(seed), num_resamples)

    by_rule = {
        rule: _average_precisions(ranked.values(), task.form, rule) for rule in {ties, metrics.BEST, metrics.WORST}
    }
    mean = micro = None
    if evaluated:
        resampled = metrics.weighted_mean(by_rule[ties], bootstrap(evaluated))
        mean = Measure(
            Interval.of(float(by_rule[ties].mean()), resampled),
            _strict_mean(task, dict(zip(evaluated, by_rule[ties], strict=True)), paper, strict),
            float(by_rule[metrics.BEST].mean()),
            float(by_rule[metrics.WORST].mean()),
            resampled,
        )
    if any(paper[query] for query in pooled):
        micro = _micro(found, pooled, bootstrap(pooled), paper, strict, ties)
    average_precision = dict(zip(evaluated, by_rule[ties].tolist(), strict=True))
    return TaskResult(
        name=task.name,
        detection_name=task.detection_name,
        mean_average_precision=mean,
        micro_average_precision=micro,
        average_precision=average_precision,
        group_means=_group_means(task, average_precision, rankings),
        num_skipped=sum(query in found and query not in ranked for query in truth.queries),
        num_missing=sum(query not in found for query in truth.queries),
        num_relevant=sum(paper[query] for query in pooled),
        num_relevant_strict=sum(strict.values()),
        pool=_digest(pooled),
        recall=np.arange(metrics.NUM_LEVELS + 1) / metrics.NUM_LEVELS,
        precision=metrics.precision_curve(list(ranked.values()), ties),
    )


def _digest(ids: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def _average_precisions(ranked: Iterable[RankedQuery], form: str, ties: str) -> np.ndarray:
    """Of each query; 0 where nothing is relevant."""
    return np.array([metrics.average_precision(query, form, ties) if query.num_relevant else 0.0 for query in ranked])


def _strict_mean(task: Task, values: Mapping[str, float], paper: Mapping[str, int], strict: Mapping[str, int]) -> float:
    """Mean over all queries with relevant videos: those not retrieved for any reason stay in the denominator."""
    counted = [query for query in strict if strict[query] or (task.empty_is_zero and query in values)]
    shares = (values[query] * paper[query] / strict[query] for query in counted if values.get(query))
    return float(sum(shares) / len(counted))


def _micro(
    found: Mapping[str, tuple[np.ndarray, np.ndarray]],
    pooled: Sequence[str],
    weights: np.ndarray,
    paper: Mapping[str, int],
    strict: Mapping[str, int],
    ties: str,
) -> Measure:
    """micro-AP of some queries, in the order of `weights`; their lists are pooled in the order of the scores."""
    place = {query: column for column, query in enumerate(pooled)}
    order = [query for query in found if query in place] + [query for query in pooled if query not in found]
    queries = [RankedQuery(*found.get(query, NOTHING_RANKED), paper[query]) for query in order]
    micro = MicroAveragePrecision(queries, ties)
    value = micro()
    resampled = micro.resampled(weights[:, [place[query] for query in order]])
    return Measure(
        Interval.of(value, resampled),
        value * sum(paper[query] for query in pooled) / sum(strict.values()),
        MicroAveragePrecision(queries, metrics.BEST)(),
        MicroAveragePrecision(queries, metrics.WORST)(),
        resampled,
    )


def _group_means(task: Task, average_precision: Mapping[str, float], rankings: Rankings) -> dict[str, float]:
    """Mean of each group over its available queries; those without scores count as 0."""
    members: dict[str, list[str]] = {}
    for query, group in task.groups.items():
        if rankings.available is None or query in rankings.available or query in rankings.queries:
            members.setdefault(group, []).append(query)
    return {
        group: sum(average_precision.get(query, 0.0) for query in queries) / len(queries)
        for group, queries in members.items()
    }


def _warnings_of_skipped(results: Iterable[TaskResult]) -> list[str]:
    return [
        f"{result.name}: scored queries without relevant videos, skipped: {result.num_skipped}"
        for result in results
        if result.num_skipped
    ]

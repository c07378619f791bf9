"""Judges the scores of a system by the ground truth of a data set.

GroundTruth ─┐
Scores ──────┴─► [evaluate: a sorted list of each query ─► RankedQuery of each task ─► metrics] ─► Evaluation

What is relevant is counted in two ways. The paper's takes out of the ground truth what is not available; the strict one
keeps it, so that videos and queries that could not be read count against the system.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from visil.errors import DataError
from visil.evaluation import metrics
from visil.evaluation.ground_truth import GroundTruth, Task, videos_of
from visil.evaluation.metrics import Interval, MicroAveragePrecision, RankedQuery
from visil.evaluation.results import Coverage, Evaluation, Measure, Share, TaskResult
from visil.evaluation.scores import QueryScores, Scores

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
    rankings = _read(truth, scores, chosen)
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
    )


def _chosen(truth: GroundTruth, names: Collection[str] | None) -> tuple[Task, ...]:
    if names is None:
        return truth.tasks
    unknown = set(names) - {task.name for task in truth.tasks}
    if unknown or not names:
        known = ", ".join(task.name for task in truth.tasks)
        raise DataError(f"{truth.name} has no task {', '.join(sorted(unknown)) or 'without a name'}; it has {known}")
    return tuple(task for task in truth.tasks if task.name in names)


# --- what is ranked ---


@dataclass(frozen=True)
class _ListRules:
    """The fields of a task that say which videos are ranked: tasks that agree in them share the lists."""

    ranks_query: bool
    left_out: Mapping[str, frozenset[str]]
    candidates: Mapping[str, frozenset[str]] | None
    shared_candidates: frozenset[str]
    removed: frozenset[str]

    @staticmethod
    def of(task: Task) -> _ListRules:
        return _ListRules(task.ranks_query, task.left_out, task.candidates, task.shared_candidates, task.removed)


class _Videos:
    """The scored videos of a query, which may be those of all: their places, and which of them can be ranked."""

    def __init__(self, query: str, ids: Sequence[str], known: Set[str] | None, rules: Sequence[_ListRules]) -> None:
        self.ids = ids
        self.place = {video: place for place, video in enumerate(ids)}
        if len(self.place) < len(ids):
            twice = next(video for place, video in enumerate(ids) if self.place[video] != place)
            raise DataError(f"query {query!r}: video {twice!r} is scored twice")
        in_database = np.ones(len(ids), dtype=bool) if known is None else self.are_in(known)
        self.can_be_ranked = [in_database & ~self.are_in(rule.removed) for rule in rules]
        self.are_shared = [self.are_in(rule.shared_candidates) for rule in rules]

    def are_in(self, ids: Set[str]) -> np.ndarray:
        """Which of the videos are among others, bool [N]."""
        result = np.zeros(len(self.ids), dtype=bool)
        result[self.places_of(ids)] = True
        return result

    def places_of(self, ids: Iterable[str]) -> list[int]:
        """Places of those ids that were scored."""
        return [place for place in map(self.place.get, ids) if place is not None]

    def kept(self, query: str, number: int, rules: _ListRules) -> np.ndarray:
        """Which videos the list of a query holds, bool [N]."""
        kept = self.can_be_ranked[number].copy()
        if rules.candidates is not None:
            kept &= self.are_shared[number] | self.are_in(videos_of(rules.candidates, query))
        kept[self.places_of(videos_of(rules.left_out, query))] = False
        if not rules.ranks_query:
            kept[self.places_of((query,))] = False
        return kept


@dataclass
class _Rankings:
    """What was read: for every task, the sorted list and the places of the relevant videos of every scored query.

    Attributes:
        available: database videos that count as available, or None: all.
        scored: videos scored for any query.
        found: task -> query -> scores falling, positions of relevant videos; queries in the order of the scores.
    """

    truth: GroundTruth
    available: Set[str] | None
    database: Set[str]
    found: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]
    queries: dict[str, None] = field(default_factory=dict)
    unknown_queries: list[str] = field(default_factory=list)
    scored: set[str] = field(default_factory=set)

    def num_relevant(self, task: Task, query: str, *, strict: bool) -> int:
        """Relevant videos of a query in the strict count or the paper's."""
        relevant = self.counted(task, query)
        if not (strict or task.counts_unavailable or self.available is None):
            relevant = relevant & self.available
        return len(relevant)

    def counted(self, task: Task, query: str) -> Set[str]:
        """Relevant videos of a query, available or not."""
        relevant: Set[str] = videos_of(task.relevant, query) - task.removed - videos_of(task.left_out, query)
        if not task.counts_unavailable and not self.truth.is_open:
            relevant = relevant & self.database
        return relevant if task.counts_query else relevant - {query}

    def coverage(self, tasks: Iterable[Task]) -> Coverage:
        """How much of the data set could be read and scored."""
        readable = self.scored if self.available is None else self.available
        searched = frozenset(self.truth.searched or self.truth.database)
        found = total = 0
        tasks = tuple(tasks)
        for query in self.truth.queries:
            relevant = set[str]().union(*(self.counted(task, query) for task in tasks))
            total += len(relevant)
            if query in self.queries:
                found += len(relevant & readable)
        return Coverage(
            queries=Share(sum(query in self.queries for query in self.truth.queries), len(self.truth.queries)),
            database=Share(len(searched & readable), len(searched)),
            relevant_pairs=Share(found, total),
        )

    def warnings(self) -> list[str]:
        """What was ignored or is missing."""
        name, known_queries = self.truth.name, set(self.truth.queries)
        unavailable = set() if self.available is None else (self.scored & self.database) - self.available
        happened = {
            f"scored queries that {name} does not have, ignored": self.unknown_queries,
            f"scored videos that {name} does not have, ignored": (
                () if self.truth.is_open else self.scored - self.database - known_queries
            ),
            "scored videos that are said to be unavailable, ignored": unavailable,
            f"queries of {name} without scores, not in the means but 0 in the strict count": (
                known_queries - self.queries.keys()
            ),
        }
        lines = [f"{what}: {len(ids)} (such as {min(ids)!r})" for what, ids in happened.items() if ids]
        if not self.scored & self.database:
            lines.append(f"none of the relevant videos of {name}, such as {self.truth.database[0]!r}, was scored")
        return lines


def _read(truth: GroundTruth, scores: Scores, tasks: Sequence[Task]) -> _Rankings:
    """Sort the scores of one query after the other."""
    database = frozenset(truth.database)
    rankings = _Rankings(truth, scores.available, database, {task.name: {} for task in tasks})
    rules: list[_ListRules] = []
    for task in tasks:
        if _ListRules.of(task) not in rules:
            rules.append(_ListRules.of(task))
    numbers = [rules.index(_ListRules.of(task)) for task in tasks]
    available = scores.available
    known: Set[str] | None = available if truth.is_open else database if available is None else database & available
    queries, videos = frozenset(truth.queries), None
    for query in scores:
        if query.query in rankings.queries:
            raise DataError(f"query {query.query!r} comes twice")
        if query.query not in queries and not (truth.is_open and any(task.pools_every_query for task in tasks)):
            rankings.unknown_queries.append(query.query)
            continue
        _check(query)
        if videos is None or query.videos is not videos.ids:
            videos = _Videos(query.query, query.videos, known, rules)
            rankings.scored.update(query.videos)
        rankings.queries[query.query] = None
        order = metrics.falling_order(query.scores)
        falling = query.scores[order].astype(np.float64, copy=False)
        lists = [_listed(falling, order, videos.kept(query.query, i, rule)) for i, rule in enumerate(rules)]
        for task, number in zip(tasks, numbers, strict=True):
            listed, position = lists[number]
            relevant = rankings.counted(task, query.query)
            positions = position[videos.places_of(relevant)]
            rankings.found[task.name][query.query] = listed, np.sort(positions[positions >= 0])
    _check_something_matched(truth, rankings)
    return rankings


def _check(query: QueryScores) -> None:
    if query.scores.shape != (len(query.videos),):
        raise DataError(f"query {query.query!r} has {len(query.videos)} videos and scores {query.scores.shape}")
    finite = np.isfinite(query.scores)
    if not finite.all():
        place = int(np.argmin(finite))
        raise DataError(
            f"query {query.query!r}: the score of video {query.videos[place]!r} is {query.scores[place]}, not a number"
        )


def _listed(falling: np.ndarray, order: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sorted scores of the videos that are kept, and the position of each video among them, -1 if it is not."""
    kept_in_order = kept[order]
    position = np.full(len(order), -1)
    position[order[kept_in_order]] = np.arange(np.count_nonzero(kept_in_order))
    return (falling if kept_in_order.all() else falling[kept_in_order]), position


def _check_something_matched(truth: GroundTruth, rankings: _Rankings) -> None:
    """An open data set knows only what is relevant: that none of it was scored may be a poor system."""
    if rankings.queries.keys().isdisjoint(truth.queries):
        scored = [*rankings.unknown_queries, *rankings.queries]
        given = f"are others, such as {scored[0]!r}" if scored else "are none"
        raise DataError(
            f"no query of {truth.name}, such as {truth.queries[0]!r}, has scores; the scored queries {given}"
        )
    if not truth.is_open and rankings.scored.isdisjoint(rankings.database):
        given = f"are others, such as {min(rankings.scored)!r}" if rankings.scored else "are none"
        raise DataError(
            f"no database video of {truth.name}, such as {truth.database[0]!r}, was scored; the scored videos {given}"
        )


# --- how well ---


def _result(
    truth: GroundTruth, task: Task, rankings: _Rankings, ties: str, seed: int, num_resamples: int
) -> TaskResult:
    found = rankings.found[task.name]
    every_query = list(dict.fromkeys([*truth.queries, *found]))
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
        recall=np.arange(metrics.NUM_LEVELS + 1) / metrics.NUM_LEVELS,
        precision=metrics.precision_curve(list(ranked.values()), ties),
    )


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


def _group_means(task: Task, average_precision: Mapping[str, float], rankings: _Rankings) -> dict[str, float]:
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

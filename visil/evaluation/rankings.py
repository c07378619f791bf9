"""Sorts the scores of every query once, and finds the relevant videos of every task in the sorted lists.

GroundTruth, Scores ─► [read_rankings ─► Rankings] ─► evaluate
                       this module
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import count, islice

import numpy as np

from visil.errors import DataError
from visil.evaluation import metrics
from visil.evaluation.ground_truth import GroundTruth, Task, videos_of
from visil.evaluation.results import Coverage, Share
from visil.evaluation.scores import QueryScores, Scores


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


class _Ids:
    """The ids scored so far, with a number each, and which of them can be ranked: looked up once an id, not a query.

    Attributes:
        number: id -> its number; an id that is asked for by `[]` gets the next one.
        can_be_ranked, are_shared: for each of the rules, bool [ids].
    """

    def __init__(self, known: Set[str] | None, rules: Sequence[_ListRules]) -> None:
        self.number: defaultdict[str, int] = defaultdict(count().__next__)
        self.can_be_ranked, self.are_shared = ([np.zeros(0, dtype=bool) for _ in rules] for _ in range(2))
        self._known, self._rules = known, rules

    def numbers_of(self, ids: Sequence[str]) -> np.ndarray:
        """Numbers int64 [N] of ids, new ones included."""
        num_before = len(self.number)
        numbers = np.fromiter(map(self.number.__getitem__, ids), dtype=np.int64, count=len(ids))
        if len(self.number) > num_before:
            self._look_up(list(islice(self.number, num_before, None)))
        return numbers

    def _look_up(self, new: Sequence[str]) -> None:
        is_known = np.array([self._known is None or id in self._known for id in new], dtype=bool)
        for place, rule in enumerate(self._rules):
            removed, shared = (
                np.array([id in ids for id in new], dtype=bool) for ids in (rule.removed, rule.shared_candidates)
            )
            self.can_be_ranked[place] = np.append(self.can_be_ranked[place], is_known & ~removed)
            self.are_shared[place] = np.append(self.are_shared[place], shared)


class _Videos:
    """The scored videos of a query, which may be those of several: their places, and which of them can be ranked."""

    def __init__(self, query: str, videos: Sequence[str], ids: _Ids) -> None:
        self.videos, self._ids = videos, ids
        numbers, places = ids.numbers_of(videos), np.arange(len(videos))
        self._place = np.full(len(ids.number), -1)  # of every id; -1: not scored
        self._place[numbers] = places
        is_repeated = self._place[numbers] != places
        if is_repeated.any():
            raise DataError(f"query {query!r}: video {videos[int(np.argmax(is_repeated))]!r} is scored twice")
        self.can_be_ranked = [mask[numbers] for mask in ids.can_be_ranked]
        self.are_shared = [mask[numbers] for mask in ids.are_shared]

    def places_of(self, videos: Iterable[str]) -> np.ndarray:
        """Places int64 [R] of those that were scored."""
        numbers = [number for number in map(self._ids.number.get, videos) if number is not None]
        places = self._place[np.array(numbers, dtype=np.int64)]
        return places[places >= 0]

    def kept(self, query: str, number: int, rules: _ListRules) -> np.ndarray:
        """Which videos the list of a query holds, bool [N]."""
        kept = self.can_be_ranked[number].copy()
        if rules.candidates is not None:
            is_candidate = self.are_shared[number].copy()
            is_candidate[self.places_of(videos_of(rules.candidates, query))] = True
            kept &= is_candidate
        kept[self.places_of(videos_of(rules.left_out, query))] = False
        if not rules.ranks_query:
            kept[self.places_of((query,))] = False
        return kept


@dataclass
class Rankings:
    """What was read: for every task, the sorted list and the places of the relevant videos of every scored query.

    Attributes:
        available: ids that count as available, or None: all.
        database: of the ground truth.
        found: task -> query -> scores falling, positions of relevant videos; queries in the order of the scores.
        queries: that were scored, in their order.
        unknown_queries: scored ones that the ground truth does not have.
        scored: videos scored for any query.
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
        searched = self.truth.searched_videos
        missing_videos = tuple(video for video in searched if video not in readable)
        found = total = 0
        tasks = tuple(tasks)
        for query in self.truth.queries:
            relevant = set[str]().union(*(self.counted(task, query) for task in tasks))
            total += len(relevant)
            if query in self.queries:
                found += len(relevant & readable)
        return Coverage(
            queries=Share(sum(query in self.queries for query in self.truth.queries), len(self.truth.queries)),
            database=Share(len(searched) - len(missing_videos), len(searched)),
            relevant_pairs=Share(found, total),
            missing_queries=tuple(query for query in self.truth.queries if query not in self.queries),
            missing_videos=() if self.available is None else missing_videos,
            knows_available=self.available is not None,
        )

    def warnings(self) -> list[str]:
        """What was ignored or is missing."""
        name, known_queries = self.truth.name, set(self.truth.queries)
        unavailable = set() if self.available is None else (self.scored & self.database) - self.available
        happened = {
            f"scored queries that {name} does not have, ignored": set(self.unknown_queries) - self.database,
            f"scored queries that are videos of {name}, but none of its queries, ignored": (
                set(self.unknown_queries) & self.database
            ),
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


def read_rankings(truth: GroundTruth, scores: Scores, tasks: Sequence[Task]) -> Rankings:
    """Sort the scores of one query after the other; tasks that rank the same videos share the sorted lists.

    Raises:
        DataError: see `evaluate`.
    """
    database, available = frozenset(truth.database), scores.available
    rankings = Rankings(truth, available, database, {task.name: {} for task in tasks})
    rules: list[_ListRules] = []
    for task in tasks:
        if _ListRules.of(task) not in rules:
            rules.append(_ListRules.of(task))
    numbers = [rules.index(_ListRules.of(task)) for task in tasks]
    known: Set[str] | None = None if truth.is_open else database
    if available is not None:
        known = available if known is None else known & available
    takes_any_query = truth.is_open and any(task.pools_every_query for task in tasks)
    ids = _Ids(known, rules)
    queries, videos = frozenset(truth.queries), None
    for query in scores:
        if query.query in rankings.queries:
            raise DataError(f"query {query.query!r} comes twice")
        if query.query not in queries and not takes_any_query:
            rankings.unknown_queries.append(query.query)
            continue
        _check(query)
        if videos is None or query.videos is not videos.videos:
            videos = _Videos(query.query, query.videos, ids)
        rankings.queries[query.query] = None
        order = metrics.falling_order(query.scores)
        falling = query.scores[order].astype(np.float64, copy=False)
        lists = [_listed(falling, order, videos.kept(query.query, i, rule)) for i, rule in enumerate(rules)]
        for task, number in zip(tasks, numbers, strict=True):
            listed, position = lists[number]
            relevant = rankings.counted(task, query.query)
            positions = position[videos.places_of(relevant)]
            rankings.found[task.name][query.query] = listed, np.sort(positions[positions >= 0])
    rankings.scored.update(ids.number)
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


def _check_something_matched(truth: GroundTruth, rankings: Rankings) -> None:
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

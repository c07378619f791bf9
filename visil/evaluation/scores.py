"""Scores of a system, query by query: what every source of scores gives to `evaluate`.

library, score file ─► [Scores] ─► evaluate
                       this module
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class QueryScores:
    """The scored videos of one query, in the order of their source: ties may be broken by it.

    Attributes:
        videos: ids, each once. Sources whose queries all score the same videos give the same object every time.
        scores: float64 [N], finite, higher is more similar; any range.
    """

    query: str
    videos: Sequence[str] = field(repr=False)
    scores: np.ndarray = field(repr=False)


class Scores(Protocol):
    """A source of scores; each query comes once."""

    @property
    def available(self) -> Set[str] | None:
        """Ids of the queries and videos that could be read; None where the source cannot know: then all of them."""

    def __iter__(self) -> Iterator[QueryScores]:
        """One query after the other.

        Raises:
            DataError: a score is not finite, a query or a pair comes twice, or the source is damaged.
        """


@dataclass(frozen=True)
class MappedScores:
    """Scores that lie in memory as `{query: {video: score}}`; the caller vouches for them.

    Attributes:
        available: see `Scores`.
    """

    mapping: dict[str, dict[str, float]] = field(repr=False)
    available: Set[str] | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[QueryScores]:
        for query, scores in self.mapping.items():
            yield QueryScores(query, list(scores), np.fromiter(scores.values(), dtype=np.float64, count=len(scores)))

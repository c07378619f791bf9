"""What an evaluation found: values only; `evaluate` makes them, reports print them.

evaluate ─► [Evaluation: TaskResult, Coverage] ─► evaluation_report
            this module
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from visil.evaluation.metrics import Interval


@dataclass(frozen=True)
class Share:
    """So many of so many."""

    found: int
    total: int


@dataclass(frozen=True)
class Coverage:
    """How much of a data set could be read and scored: it stands beside every metric.

    Attributes:
        queries: with scores, of the data set's.
        database: available, of the data set's; scored for any query, where the source cannot know what is available.
        relevant_pairs: of a scored query and an available video, of those in the annotation (union of all tasks).
        missing_queries: without scores.
        missing_videos: not available; empty where the source cannot know.
        knows_available: whether the source knows what is available; else the paper's count is the strict one.
    """

    queries: Share
    database: Share
    relevant_pairs: Share
    missing_queries: tuple[str, ...] = field(default=(), repr=False)
    missing_videos: tuple[str, ...] = field(default=(), repr=False)
    knows_available: bool = True


@dataclass(frozen=True)
class Measure:
    """One number of a task, counted both ways.

    Attributes:
        value: the paper's way, with its bootstrap interval: what is not available is taken out of the ground truth.
        strict: missing relevant videos and missing queries stay in the denominator.
        best, worst: the paper's way with relevant videos first and last among equal scores.
        resampled: float64 [resamples], the paper's way in every bootstrap sample, nan where nothing in it is relevant:
            the interval leaves these out. Two runs with the same queries and seed saw the same samples, so their
            difference has an interval.
    """

    value: Interval
    strict: float
    best: float
    worst: float
    resampled: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class TaskResult:
    """What was found for a task.

    Attributes:
        name, detection_name: as of the task.
        mean_average_precision, micro_average_precision: None where no query could be evaluated.
        average_precision: query -> average precision, the paper's way.
        group_means: event -> mean of its available queries (see `Task.groups`).
        num_skipped: queries without relevant videos.
        num_missing: queries of the data set without scores.
        num_relevant: pairs in the paper's count, and in the strict one.
        pool: digest of the queries that the micro-AP pools: two runs with the same one saw the same samples of it.
        recall, precision: float64 [21]: recall 0, .05 ... 1, and the highest precision at that recall or more, mean
            over queries (as published with FIVR-200K).
    """

    name: str
    detection_name: str
    mean_average_precision: Measure | None
    micro_average_precision: Measure | None
    average_precision: Mapping[str, float] = field(repr=False)
    group_means: Mapping[str, float] = field(repr=False)
    num_skipped: int
    num_missing: int
    num_relevant: int
    num_relevant_strict: int
    pool: str = field(repr=False)
    recall: np.ndarray = field(repr=False)
    precision: np.ndarray = field(repr=False)

    @property
    def num_queries(self) -> int:
        """Queries in the mean."""
        return len(self.average_precision)


@dataclass(frozen=True)
class Evaluation:
    """A data set evaluated.

    Attributes:
        data_set: its name.
        source: of its annotation, with the licence.
        ties: rule for equal scores.
        seed, num_resamples: of the bootstrap.
        warnings: one line each: what was ignored or is missing, with counts.
        truth_hash: of the ground truth (`GroundTruth.content_hash`).
    """

    data_set: str
    source: str
    ties: str
    seed: int
    num_resamples: int
    tasks: tuple[TaskResult, ...]
    coverage: Coverage
    warnings: tuple[str, ...] = ()
    truth_hash: str = ""


@dataclass(frozen=True)
class SegmentEvaluation:
    """A data set of copied segments evaluated (VSC2022 matching track, VCSL).

    Attributes:
        figures: name -> value, such as `segment AP`, `precision`, `recall`, `F1`.
        num_pairs: of the ground truth, and predicted.
        recall, precision: float64 [P], the points of the segment AP's curve at which recall grows; empty for VCSL.
    """

    data_set: str
    source: str
    figures: Mapping[str, float]
    num_pairs: int
    num_predicted: int
    warnings: tuple[str, ...] = ()
    recall: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    precision: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)

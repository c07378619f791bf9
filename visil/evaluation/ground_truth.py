"""What is true of a data set: its queries, its videos, and which of them count as relevant in which task.

annotations ─► [GroundTruth] ─► evaluate
               this module
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, field

from visil.errors import DataError

NO_VIDEOS: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Task:
    """One measurement of a data set: what is relevant to a query, and by which rules a ranking is judged.

    Rules of the published evaluators differ; the fields after `form` name where. Defaults are the canonical rules of
    FIVR-200K.

    Attributes:
        name: of the mAP, such as `DSVR`.
        detection_name: of the micro-AP, such as `DSVD`; `micro-AP` where the data set has no word for it.
        relevant: query -> relevant videos, as annotated.
        form: of the average precision behind the mAP: `rectangle` or `trapezoid` (see `metrics.average_precision`);
            the micro-AP always is of the rectangle form.
        ranks_query: a query that is scored against itself stays in its own ranking (EVVE: a miss; CC_WEB_VIDEO: a hit).
        counts_query: a query that is annotated as relevant to itself counts (CC_WEB_VIDEO; the official script of
            FIVR-200K, which never ranks it).
        left_out: query -> videos that are neither ranked nor counted.
        candidates: query -> the only videos ranked for it, beside `shared_candidates`; None: the whole database.
        shared_candidates: videos that are ranked for every query where `candidates` is given (SVD's unlabelled ones).
        removed: videos taken out of the database (the hard variant of FIVR).
        counts_unavailable: relevant videos that are not available, or not in the database, count in the paper's way
            too (CC_WEB_VIDEO).
        empty_is_zero: a query without relevant videos has average precision 0 (EVVE); else it is skipped.
        pools_every_query: the micro-AP ranks the videos of queries without relevant videos too, and counts the relevant
            ones of queries without scores (VSC2022).
        groups: query -> event, for a mean of each event: sum of average precisions over its available queries, those
            without scores counting as 0 (EVVE).
        ties: a rule of `metrics.TIES` that is part of the task's definition (SVD: `group`); None: as the caller asks.
    """

    name: str
    relevant: Mapping[str, frozenset[str]] = field(repr=False)
    detection_name: str = "micro-AP"
    form: str = "rectangle"
    ranks_query: bool = False
    counts_query: bool = False
    left_out: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)
    candidates: Mapping[str, frozenset[str]] | None = field(default=None, repr=False)
    shared_candidates: frozenset[str] = field(default=NO_VIDEOS, repr=False)
    removed: frozenset[str] = field(default=NO_VIDEOS, repr=False)
    counts_unavailable: bool = False
    empty_is_zero: bool = False
    pools_every_query: bool = False
    groups: Mapping[str, str] = field(default_factory=dict, repr=False)
    ties: str | None = None


@dataclass(frozen=True)
class GroundTruth:
    """A data set without its videos.

    Attributes:
        name: as a person writes it, such as `FIVR-200K`.
        queries: ids, in the order of the annotation.
        database: ids of the videos that are ranked, in the order of the annotation. Queries need not be among them.
        tasks: what is measured.
        searched: the videos that a search scores, where that is not the whole database (EVVE ranks what a score file
            scores, queries included, but its queries are searched for among its database videos only).
        components: query -> unit of the bootstrap: queries of one unit are no independent evidence. A query that is
            not named is a unit of its own.
        source: where the annotation is from, with its licence; printed in every report.
        is_open: the annotation names only what is relevant (VSC2022's, a list of the user's own): every scored video
            is a video of the database, and every scored query a query where a task pools every query. `database` then
            holds the relevant videos alone.
        warnings: one line each, with counts: what was odd in the annotation and how it was read.
    """

    name: str
    queries: tuple[str, ...] = field(repr=False)
    database: tuple[str, ...] = field(repr=False)
    tasks: tuple[Task, ...]
    searched: tuple[str, ...] = field(default=(), repr=False)
    components: Mapping[str, str] = field(default_factory=dict, repr=False)
    source: str = ""
    is_open: bool = False
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"{self.name} ({self.source})" if self.source else self.name
        for what, ids in (("queries", self.queries), ("database videos", self.database)):
            if not ids:
                raise DataError(f"{where}: it has no {what}")
            if len(set(ids)) < len(ids):
                raise DataError(f"{where}: an id is twice among its {what}")
        names = [task.name for task in self.tasks]
        if len(set(names)) < len(names) or not names:
            raise DataError(f"{where}: needs tasks with a name each, got {', '.join(names) or 'none'}")
        unknown = {query for task in self.tasks for query in task.relevant} - set(self.queries)
        if unknown:
            raise DataError(f"{where}: {min(unknown)!r} has relevant videos but is not a query")

    @property
    def searched_videos(self) -> tuple[str, ...]:
        """The videos that a search scores, in the order of the annotation."""
        return self.searched or self.database

    @property
    def wanted(self) -> frozenset[str] | None:
        """Ids of all videos that an evaluation needs, queries included; None: of all there are, in an open set."""
        return None if self.is_open else frozenset((*self.queries, *self.searched_videos))

    @property
    def content_hash(self) -> str:
        """Of everything that decides a metric, hexadecimal: the same for equal annotations, wherever they lie."""
        told = {name: value for name, value in asdict(self).items() if name not in ("name", "source", "warnings")}
        text = json.dumps(
            told | {"queries": sorted(self.queries), "database": sorted(self.database)}, default=sorted, sort_keys=True
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def component(self, query: str) -> str:
        """Unit of the bootstrap that a query belongs to."""
        return self.components.get(query, query)


def videos_of(mapping: Mapping[str, Set[str]], query: str) -> Set[str]:
    """The videos of a query in one of the mappings of a task; none if it is not there."""
    return mapping.get(query, NO_VIDEOS)

"""A library as a source of scores: every query of a data set that it holds, with the videos of the data set.

Library × GroundTruth ─► [LibraryScores] ─► evaluate
                         this module
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass

from visil.commands import visil_command
from visil.errors import DataError
from visil.evaluation.ground_truth import GroundTruth
from visil.evaluation.scores import QueryScores
from visil.library.library import Library
from visil.library.search import rerank_count
from visil.library.store import NO_CONTENT, OK

NUM_EXAMPLES = 3


@dataclass(frozen=True)
class SourceFacts:
    """What an evaluation of a library cost, and of which system it is.

    Attributes:
        num_videos: of the data set, in the library and with content.
        bytes_per_video: of the region vectors and descriptors of these, on average.
        num_queries: scored so far.
        query_s: mean seconds a query; encoding is not in it, and queries share passes over the videos.
        num_fine: fine scores computed.
        rerank: as asked for.
        sampling: of the library's files.
    """

    bundle_name: str
    bundle_hash: str
    num_videos: int
    bytes_per_video: float
    num_queries: int
    query_s: float | None
    num_fine: int
    rerank: str
    sampling: str
    device: str
    precision: str


class LibraryScores:
    """Scores (see `visil.evaluation.scores`) of the videos of a data set, under its ids in a library.

    A fine score is shown in [0, 1]; videos that did not get one follow below, see `VideoScores`. What a search adds for
    people - equal content first, scores rounded - plays no part.

    Args:
        rerank: how many of the videos get a fine score: a number, a share such as `5%`, `all`.
        only: ids in the library that are measured, the others count as missing; None: all.
        progress: called before the first query and after each, with how many are done and how many there are.

    Attributes:
        available: ids in the library that have content, without those that turned out to be damaged so far.
        unreadable: (id, reason) of those of the data set that are in the library and have no score.

    Raises:
        DataError: `rerank` is not valid, or the library holds no query, or no video, of the data set.
    """

    def __init__(
        self,
        library: Library,
        truth: GroundTruth,
        *,
        rerank: int | str = "all",
        only: Set[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        rerank_count(rerank, 0)
        library.refresh()
        self._library = library
        self._rerank = rerank
        self._progress = progress
        self._listed = {record.id for record in library.list()}
        records = [record for record in library.list() if only is None or record.id in only]
        wanted = truth.wanted
        self.available = {record.id for record in records if record.status == OK}
        self.unreadable = [
            (record.id, "every frame is blank, so it has no score" if record.status == NO_CONTENT else record.reason)
            for record in records
            if record.status != OK and (wanted is None or record.id in wanted)
        ]
        self._queries = [query for query in truth.queries if query in self.available]
        searched = self.available if truth.is_open else frozenset(truth.searched_videos)
        self._among = searched & self.available
        for what, found, ids in (
            ("query", self._queries, truth.queries),
            ("database video", self._among, truth.searched_videos),
        ):
            if not found:
                held = sorted(self.available)
                with_pattern = visil_command("index", "FOLDER", "--pattern", "{id}/video.*", library=library.path)
                raise DataError(
                    f"library {library.path} holds no {what} of {truth.name}: its ids are {_examples(held)}, those of "
                    f"the data set {_examples(ids)}; `{with_pattern}` says what becomes the id, or '{{id}}.mp4'"
                )
        self._keep_query = any(task.ranks_query for task in truth.tasks)
        self._num_queries = self._num_fine = 0
        self._seconds = 0.0

    def __iter__(self) -> Iterator[QueryScores]:
        self._num_queries = self._num_fine = 0
        self._seconds = 0.0
        self._tell()
        began_s = time.perf_counter()
        results = self._library.score_many(
            self._queries, rerank=self._rerank, keep_query=self._keep_query, among=self._among
        )
        for query, result in zip(self._queries, results, strict=True):
            self._seconds += time.perf_counter() - began_s
            self._num_queries += 1
            self._num_fine += result.num_fine
            self._tell()
            self._leave_out_damaged()
            if query in self.available:
                yield QueryScores(query, result.ids, result.scores)
            began_s = time.perf_counter()  # what the caller does with the scores is not counted

    def facts(self) -> SourceFacts:
        """What was found out so far; complete after the iteration."""
        library = self._library
        stored = library.stored_bytes()
        return SourceFacts(
            bundle_name=library.model.settings.name,
            bundle_hash=library.model.bundle.hash,
            num_videos=len(self._among),
            bytes_per_video=sum(stored[id] for id in self._among) / len(self._among),
            num_queries=self._num_queries,
            query_s=self._seconds / self._num_queries if self._num_queries else None,
            num_fine=self._num_fine,
            rerank=str(self._rerank),
            sampling=library.preprocessing.sampling,
            device=str(library.model.device),
            precision=library.model.precision,
        )

    def _leave_out_damaged(self) -> None:
        """Videos that turned out to be damaged have no score; of a damaged file nobody knows what else it spoils."""
        for name, reason in self._library.damaged.items():
            is_of_the_data_set = name in self._among or name in self._queries
            if name in self.available:
                self.available.remove(name)
            elif name in self._listed:
                continue
            if is_of_the_data_set or name not in self._listed:
                self.unreadable.append((name, reason))
                self._listed.add(name)

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._num_queries, len(self._queries))


def _examples(ids: Sequence[str]) -> str:
    if not ids:
        return "none"
    more = ", ..." if len(ids) > NUM_EXAMPLES else ""
    return ", ".join(repr(id) for id in ids[:NUM_EXAMPLES]) + more

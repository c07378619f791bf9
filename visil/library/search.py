"""Queries over one version of a library: coarse, fine, ranking.

    query ─► candidates ─► [fine score of the best N] ─► ranking ─► files looked at ─► matches       (search)
             candidates.py  fine.py                  │   this module  file_state.py
                                                     └► scores of all, unranked                       (score)

A search scores query to video: how well the frames of the query are found in the video. A long query also counts by its
moments, so that a compilation finds its sources. Several queries share one pass over the region vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from math import ceil, inf
from pathlib import Path

import numpy as np

from visil.defaults import DEFAULT_RERANK, DEFAULT_TOP
from visil.errors import DataError
from visil.library.candidates import Candidates
from visil.library.file_state import CHANGED, GONE, Contents, OwnFile, file_state
from visil.library.fine import Tell, fine_scores
from visil.library.store import FileFacts, Store, VideoRecord
from visil.model.model import Model
from visil.model.moments import moment_descriptors
from visil.values import EncodedVideo, Match, shown_score

SCORE_DECIMALS = 5  # scores that agree in them are a tie: what is beyond depends on which videos share a block


@dataclass(frozen=True)
class Query:
    """What is searched for.

    Attributes:
        name: as the user gave it.
        encoded: None if it shows nothing, or cannot be decoded: then only equal content answers.
        path: its file; None if there is none.
        file: that file when its vectors were made, now or by `index`; None for a part, which equals nothing.
        exclude: id of the video of the library that the query is, or is a part of.
        equals: ids of the other videos of the library whose content is that of its file.
        warning: what is to be said about it, in one line.
    """

    name: str
    encoded: EncodedVideo | None
    path: Path | None = None
    file: FileFacts | None = None
    exclude: str | None = None
    equals: frozenset[str] = frozenset()
    warning: str = ""


@dataclass(frozen=True)
class SearchResult:
    """The matches of one query, best first, or why there are none.

    Attributes:
        num_fine: fine scores computed.
        warning: one line about a query that was read with a warning, is answered by its bytes alone, or whose file is
            not any more what its vectors were made from.
        damaged: (id, reason) of the videos that could not be compared, because what is stored of them is not what was
            written, and (name, reason) of the files of the library that are damaged; by id and name.
        error: one line if the query could not be read or has no score.
    """

    query: str
    matches: list[Match] = field(default_factory=list)
    num_fine: int = 0
    damaged: Sequence[tuple[str, str]] = ()
    warning: str = ""
    error: str | None = None


@dataclass(frozen=True)
class SearchProgress:
    """What a search is at, between results: a query is read, a file is hashed, or queries are compared.

    Attributes:
        reading: path of the query that is decoded; else empty.
        read_s: seconds of it that are encoded.
        hashing: path of a file all of which is read, to tell whether it is a copy; else empty.
        num_compared: queries that share the pass over the library.
        share: of that file, or of that pass, in [0, 1].
    """

    reading: str = ""
    read_s: float = 0.0
    hashing: str = ""
    num_compared: int = 0
    share: float = 0.0


@dataclass(frozen=True)
class VideoScores:
    """Scores of a query with many videos, unranked.

    Attributes:
        ids: of the videos, in the order of the table; one object for queries of a pass that score the same videos.
        scores: float64 [N]: s/2 + 1/2 of the fine score, in [0, 1]; of a video without one, s/2 - 1/2 of the coarse
            one, in [-1, 0], so that it stands behind. (The two-stage scripts of DnS mix both scales instead.)
        is_fine: bool [N], whether a fine score was computed.
    """

    ids: Sequence[str] = field(repr=False)
    scores: np.ndarray = field(repr=False)
    is_fine: np.ndarray = field(repr=False)

    @property
    def num_fine(self) -> int:
        """Fine scores computed."""
        return int(self.is_fine.sum())


NO_SCORES = VideoScores((), np.zeros(0), np.zeros(0, dtype=bool))


def rerank_count(rerank: int | str, num_videos: int) -> int:
    """How many candidates get a fine score: a number, a share such as `5%` (rounded up), or `all`.

    Raises:
        DataError: anything else.
    """
    text = str(rerank).strip()
    try:
        if text == "all":
            return num_videos
        count = ceil(float(text[:-1]) / 100 * num_videos) if text.endswith("%") else int(text)
        if count < 0 or (text.endswith("%") and not 0 <= float(text[:-1]) <= 100):
            raise ValueError
    except (ValueError, OverflowError):
        raise DataError(f"rerank must be a number, a share such as 5%, or all; got {rerank!r}") from None
    return min(count, num_videos)


def search(
    store: Store,
    candidates: Candidates,
    records: dict[str, VideoRecord],
    model: Model,
    queries: Sequence[Query],
    *,
    contents: Contents,
    rerank: int | str = DEFAULT_RERANK,
    top: int = DEFAULT_TOP,
    tell: Tell | None = None,
) -> list[SearchResult]:
    """Rank the videos of a library for every query; see `Library.search`.

    Args:
        contents: what tells whether files are still copies of each other.
    """
    count = rerank_count(rerank, len(candidates.ids))
    count = max(count, top) if count else 0
    compared = [(query, query.encoded) for query in queries if query.encoded is not None]
    encoded = [video for _, video in compared]
    coarse = [candidates.scores(_descriptors(video, model, by_moments=True)) for video in encoded]  # [V] each
    chosen = [
        _best(scores, count, candidates, _without_itself(query, candidates)) | _equal(query, candidates, count)
        for (query, _), scores in zip(compared, coarse, strict=True)
    ]
    fine = fine_scores(store, candidates, model, encoded, chosen, by_moments=True, tell=tell)
    sound, damaged = _sound(store, candidates), tuple(sorted(store.damaged.items()))
    found = iter(zip(coarse, chosen, fine, strict=True))
    stages = [_stages(candidates, *next(found), sound) if query.encoded is not None else {} for query in queries]
    ranked = [_rank(*of_query, records, top, contents) for of_query in zip(queries, stages, strict=True)]
    return [replace(result, damaged=damaged) for result in ranked]


def score(
    store: Store,
    candidates: Candidates,
    model: Model,
    queries: Sequence[Query],
    *,
    rerank: int | str,
    among: np.ndarray,
    by_moments: bool,
) -> list[VideoScores]:
    """Score the videos of a library for every query; see `Library.score_many`.

    Args:
        queries: each with an encoded video.
        among: bool [V], the candidates that count.
    """
    encoded = [query.encoded for query in queries if query.encoded is not None]
    coarse = [candidates.scores(_descriptors(video, model, by_moments=by_moments)) for video in encoded]  # [V] each
    scored = [_without_itself(query, candidates) & among for query in queries]
    chosen = [
        _best(scores, rerank_count(rerank, int(some.sum())), candidates, some)
        for scores, some in zip(coarse, scored, strict=True)
    ]
    fine = fine_scores(store, candidates, model, encoded, chosen, by_moments=by_moments)
    among, *scored = (some & _sound(store, candidates) for some in (among, *scored))
    shared_ids = list(compress(candidates.ids, among.tolist()))
    ids = [shared_ids if (some == among).all() else list(compress(candidates.ids, some.tolist())) for some in scored]
    return [_in_two_bands(*of_query) for of_query in zip(ids, scored, coarse, chosen, fine, strict=True)]


def _descriptors(video: EncodedVideo, model: Model, *, by_moments: bool) -> np.ndarray:
    """float32 [P, D], what candidates for a query are looked for by: its parts, and the moments of a long one."""
    vectors = video.region_vectors.vectors
    if not by_moments or not model.network.is_plain or vectors.dtype == np.uint8:  # of sign codes only parts are left
        return video.descriptors
    return np.concatenate([video.descriptors, moment_descriptors(vectors)])


def _sound(store: Store, candidates: Candidates) -> np.ndarray:
    """bool [V], False for the videos that turned out to be damaged."""
    sound = np.ones(len(candidates.ids), dtype=bool)
    sound[[candidates.numbers[id] for id in store.damaged if id in candidates.numbers]] = False
    return sound


def _without_itself(query: Query, candidates: Candidates) -> np.ndarray:
    """bool [V], False for the video that the query is."""
    others = np.ones(len(candidates.ids), dtype=bool)
    if query.exclude in candidates.numbers:
        others[candidates.numbers[query.exclude]] = False
    return others


def _best(scores: np.ndarray, count: int, candidates: Candidates, eligible: np.ndarray) -> np.ndarray:
    """bool [V]: the best `count` of the eligible videos; ties by id."""
    if count >= eligible.sum():
        return eligible.copy()
    order = np.lexsort((candidates.ranks_of_ids, (-scores).round(SCORE_DECIMALS)))
    best = np.zeros(len(scores), dtype=bool)
    best[order[eligible[order]][:count]] = True
    return best


def _equal(query: Query, candidates: Candidates, count: int) -> np.ndarray:
    """bool [V], the videos of equal content: they get a fine score whatever the coarse one, if any does."""
    equal = np.zeros(len(candidates.ids), dtype=bool)
    if count:
        equal[[candidates.numbers[id] for id in query.equals if id in candidates.numbers]] = True
    return equal


def _stages(
    candidates: Candidates, coarse: np.ndarray, chosen: np.ndarray, fine: np.ndarray, sound: np.ndarray
) -> dict[str, dict[str, float]]:
    """Raw scores by stage of the videos that may be matches, by id: those with a fine score, of all if none has one.

    Without those that turned out to be damaged.
    """
    shown = (chosen if chosen.any() else np.ones(len(chosen), dtype=bool)) & sound
    return {
        candidates.ids[number]: {"coarse": float(coarse[number])}
        | ({"fine": float(fine[number])} if chosen[number] else {})
        for number in np.flatnonzero(shown).tolist()
    }


def _rank(
    query: Query, stages: dict[str, dict[str, float]], records: dict[str, VideoRecord], top: int, contents: Contents
) -> SearchResult:
    """Equal content first, then by score, then by id; the files of the best are looked at, and copies are read.

    What is no copy any more gives up its place: to a copy, or to one of the best others.
    """
    equal = records.keys() & query.equals
    problem = _problem_of_its_file(query, contents, may_have_copies=bool(equal))
    ids = (stages.keys() | equal) - {query.exclude}
    may_be_copies = frozenset() if problem else equal
    matches = sorted((_match(query, records[id], stages.get(id, {}), id in may_be_copies) for id in ids), key=_place)
    own = OwnFile(query.path) if query.path is not None else None
    num_equal = sum(match.identical for match in matches)
    copies: list[Match] = []
    others: list[Match] = []
    for match in matches[:num_equal]:
        if len(copies) == top:
            break  # the rest would stand behind them
        match = _looked_at(match, records[match.video], own, contents)
        (copies if match.identical else others).append(match)
    places = matches[num_equal : num_equal + top - len(copies)]
    others += [_looked_at(match, records[match.video], own, contents) for match in places]
    num_fine = sum("fine" in scores for scores in stages.values())
    shown = sorted([*copies, *others], key=_place)[:top]
    return SearchResult(query.name, shown, num_fine, warning=_warning(query, problem))


def _problem_of_its_file(query: Query, contents: Contents, *, may_have_copies: bool) -> str:
    """Why the file of a query has no copies any more; all of it is read if something may be one."""
    if query.file is None:
        return ""
    return contents.problem(query.file) if may_have_copies else file_state(query.file)


def _warning(query: Query, problem: str) -> str:
    if not problem:
        return query.warning
    said = {GONE: "is gone", CHANGED: "has changed since it was read"}.get(problem, problem)
    return f"{query.warning or query.name}{';' if query.warning else ':'} its file {said}: no match is called identical"


def _match(query: Query, record: VideoRecord, stages: dict[str, float], is_equal: bool) -> Match:
    raw = stages.get("fine", stages.get("coarse"))
    return Match(
        query=query.name,
        video=record.id,
        path=record.file.path,
        score=None if raw is None else shown_score(raw),
        probability=None,
        identical=is_equal,
        stages=stages,
    )


def _place(match: Match) -> tuple[bool, float, str]:
    """What matches are sorted by."""
    return not match.identical, inf if match.score is None else -round(match.score, SCORE_DECIMALS), match.video


def _looked_at(match: Match, record: VideoRecord, own: OwnFile | None, contents: Contents) -> Match:
    """The match as its file is now: only another file that still has the bytes that were indexed is a copy."""
    state = file_state(record.file, own, is_equal=match.identical)
    if state or not match.identical:
        return replace(match, file=state, identical=False)
    problem = contents.problem(record.file)
    return replace(match, file=problem if problem in (GONE, CHANGED) else "", identical=not problem)


def _in_two_bands(
    ids: Sequence[str], scored: np.ndarray, coarse: np.ndarray, chosen: np.ndarray, fine: np.ndarray
) -> VideoScores:
    """The scored videos: those with a fine score in [0, 1], the others below them, in [-1, 0]."""
    raw = np.where(chosen, fine, coarse).astype(np.float64)
    scores = (raw / 2 + 0.5).clip(0, 1) - ~chosen
    return VideoScores(ids, scores[scored], chosen[scored])

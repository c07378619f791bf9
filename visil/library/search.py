"""Queries over one version of a library: coarse, fine, ranking.

    query ─► candidates ─► [fine score of the best N] ─► ranking ─► matches       (search)
             candidates.py  this module              └─► scores of all, unranked  (score)

Several queries share one pass over the region vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import compress
from math import ceil

import numpy as np
import torch

from visil.defaults import DEFAULT_RERANK, DEFAULT_TOP
from visil.errors import DataError
from visil.library.candidates import Candidates
from visil.library.store import BLOCK_BYTES, Store, VectorPiece, VideoRecord
from visil.model.model import Model
from visil.model.threads import independent_threads
from visil.values import EncodedVideo, Match, shown_score

SCORE_DECIMALS = 5  # scores that agree in them are a tie: what is beyond depends on which videos share a block


@dataclass(frozen=True)
class Query:
    """What is searched for.

    Attributes:
        name: as the user gave it.
        sha256: of the file, to recognise equal content; None if there is no file.
        exclude: id of the video that the query itself is, if it was taken from the library.
    """

    name: str
    encoded: EncodedVideo
    sha256: str | None = None
    exclude: str | None = None


@dataclass(frozen=True)
class SearchResult:
    """The matches of one query, best first, or why there are none.

    Attributes:
        num_fine: fine scores computed.
        damaged: (id, reason) of the videos that could not be compared, because what is stored of them is not what was
            written.
        error: one line if the query could not be read or has no score.
        warning: one line if only a part of the query could be read; its matches are those of that part.
    """

    query: str
    matches: list[Match] = field(default_factory=list)
    num_fine: int = 0
    damaged: Sequence[tuple[str, str]] = ()
    error: str | None = None
    warning: str = ""


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
    rerank: int | str = DEFAULT_RERANK,
    top: int = DEFAULT_TOP,
) -> list[SearchResult]:
    """Rank the videos of a library for every query; see `Library.search`."""
    count = rerank_count(rerank, len(candidates.ids))
    count = max(count, top) if count else 0
    coarse = [candidates.scores(query.encoded.descriptors) for query in queries]  # [V] each
    chosen = []
    for query, scores in zip(queries, coarse, strict=True):
        best = _best(scores, count, candidates, _without_itself(query, candidates))
        if count and query.sha256 is not None:
            best |= [id != query.exclude and records[id].file.sha256 == query.sha256 for id in candidates.ids]
        chosen.append(best)
    fine = _fine_scores(store, candidates, model, queries, chosen)
    sound = _sound(store, candidates)
    return [
        replace(
            _rank(query, scores, best & sound, found, sound, candidates.ids, records, top),
            damaged=tuple(sorted(store.damaged.items())),
        )
        for query, scores, best, found in zip(queries, coarse, chosen, fine, strict=True)
    ]


def score(
    store: Store,
    candidates: Candidates,
    model: Model,
    queries: Sequence[Query],
    *,
    rerank: int | str,
    among: np.ndarray,
) -> list[VideoScores]:
    """Score the videos of a library for every query; see `Library.score_many`.

    Args:
        among: bool [V], the candidates that count.
    """
    coarse = [candidates.scores(query.encoded.descriptors) for query in queries]  # [V] each
    scored = [_without_itself(query, candidates) & among for query in queries]
    chosen = [
        _best(scores, rerank_count(rerank, int(some.sum())), candidates, some)
        for scores, some in zip(coarse, scored, strict=True)
    ]
    fine = _fine_scores(store, candidates, model, queries, chosen)
    among, *scored = (some & _sound(store, candidates) for some in (among, *scored))
    shared_ids = list(compress(candidates.ids, among.tolist()))
    ids = [shared_ids if (some == among).all() else list(compress(candidates.ids, some.tolist())) for some in scored]
    return [_in_two_bands(*of_query) for of_query in zip(ids, scored, coarse, chosen, fine, strict=True)]


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


def _fine_scores(
    store: Store, candidates: Candidates, model: Model, queries: Sequence[Query], chosen: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Raw fine scores float32 [V] of the chosen videos of every query, in one pass over their region vectors."""
    comparisons = [_Comparison(model, query, wanted) for query, wanted in zip(queries, chosen, strict=True)]
    union = np.logical_or.reduce(chosen) if len(chosen) else np.zeros(0, dtype=bool)
    if union.any():
        ids = [candidates.ids[number] for number in np.flatnonzero(union)]
        with _each_on_a_core(model, len(comparisons)) as apply:
            for pieces in filter(None, _read_ahead(store.vectors(ids, block_bytes=BLOCK_BYTES))):
                block = _Block(
                    np.array([candidates.numbers[piece.id] for piece in pieces]),
                    [piece.is_last for piece in pieces],
                    [len(piece.vectors) for piece in pieces],
                    model.on_device(np.concatenate([piece.vectors for piece in pieces])),
                )
                list(apply(partial(_Comparison.add, block=block), comparisons))
    return [comparison.scores for comparison in comparisons]


@dataclass(frozen=True)
class _Block:
    """Region vectors of some videos on the device, as one.

    Attributes:
        numbers: int [N], whose they are.
        is_last: whether they are the last of their video.
        lengths: frames.
        vectors: [sum of lengths, R, D].
    """

    numbers: np.ndarray
    is_last: list[bool]
    lengths: list[int]
    vectors: torch.Tensor


class _Comparison:
    """Fine scores of one query, as the blocks come."""

    def __init__(self, model: Model, query: Query, wanted: np.ndarray) -> None:
        self._model = model
        self._vectors = model.on_device(query.encoded.region_vectors.vectors)
        self._wanted = wanted
        self._partial: dict[int, list[torch.Tensor]] = {}  # of videos that go on in the next block
        self.scores = np.zeros(len(wanted), dtype=np.float32)

    def add(self, block: _Block) -> None:
        """Compare with the wanted videos of a block."""
        wanted = self._wanted[block.numbers]
        if not wanted.any():
            return
        members = np.flatnonzero(wanted).tolist()
        vectors = block.vectors
        if len(members) < len(wanted):
            frames = vectors.split(block.lengths)
            vectors = torch.cat([frames[member] for member in members])
        similarity = self._model.frame_similarity(self._vectors, vectors)  # [Tq, sum T]: one product for all of them
        columns = similarity.split([block.lengths[member] for member in members], dim=1)
        whole: dict[int, torch.Tensor] = {}  # [Tq, Tt] of the videos that end in this block
        for member, column in zip(members, columns, strict=True):
            number = int(block.numbers[member])
            pieces = [*self._partial.pop(number, []), column]
            if block.is_last[member]:
                whole[number] = torch.cat(pieces, dim=1) if len(pieces) > 1 else column
            else:
                self._partial[number] = pieces
        self.scores[list(whole)] = self._model.scores_of_similarity(list(whole.values()))


@contextmanager
def _each_on_a_core(model: Model, count: int) -> Iterator[Callable[..., Iterable[None]]]:
    """A `map` over `count` items that uses the cores of a CPU.

    Matrices of a few frames are too small for torch to share among cores: four threads of its own take longer than one.
    Too few items are left to torch all the same.
    """
    num_threads = torch.get_num_threads()
    if model.device.type != "cpu" or not 1 < num_threads <= count:
        yield map
        return
    with independent_threads(num_threads) as threads:
        yield threads.map


def _read_ahead(blocks: Iterator[list[VectorPiece]]) -> Iterator[list[VectorPiece]]:
    """The same blocks; the next one is read while one is compared."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        following = reader.submit(next, blocks, None)
        while (block := following.result()) is not None:
            following = reader.submit(next, blocks, None)
            yield block


def _rank(
    query: Query,
    coarse: np.ndarray,
    chosen: np.ndarray,
    fine: np.ndarray,
    sound: np.ndarray,
    ids: Sequence[str],
    records: dict[str, VideoRecord],
    top: int,
) -> SearchResult:
    """Equal content first, then by score (fine scores before coarse ones), then by id."""
    matches = []
    shown = chosen if chosen.any() else sound
    for number in np.flatnonzero(shown).tolist():
        id = ids[number]
        if id == query.exclude:
            continue
        stages = {"coarse": float(coarse[number])} | ({"fine": float(fine[number])} if chosen[number] else {})
        file = records[id].file
        matches.append(
            Match(
                query=query.name,
                video=id,
                path=file.path,
                score=shown_score(stages.get("fine", stages["coarse"])),
                probability=None,
                identical=query.sha256 is not None and file.sha256 == query.sha256,
                stages=stages,
            )
        )
    matches.sort(key=lambda match: (not match.identical, -round(match.score, SCORE_DECIMALS), match.video))
    encoded = query.encoded
    warning = f"{query.name}: searched in part: {encoded.warning}" if encoded.cut_short else ""
    return SearchResult(query.name, matches[:top], int(chosen.sum()), warning=warning)


def _in_two_bands(
    ids: Sequence[str], scored: np.ndarray, coarse: np.ndarray, chosen: np.ndarray, fine: np.ndarray
) -> VideoScores:
    """The scored videos: those with a fine score in [0, 1], the others below them, in [-1, 0]."""
    raw = np.where(chosen, fine, coarse).astype(np.float64)
    scores = (raw / 2 + 0.5).clip(0, 1) - ~chosen
    return VideoScores(ids, scores[scored], chosen[scored])

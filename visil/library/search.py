"""Queries over one version of a library: coarse, fine, ranking.

    query ─► candidates ─► [fine score of the best N] ─► ranking ─► matches
             candidates.py  this module                  this module

Several queries share one pass over the region vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import ceil

import numpy as np
import torch

from visil.defaults import DEFAULT_RERANK, DEFAULT_TOP
from visil.errors import DataError
from visil.library.candidates import Candidates
from visil.library.store import BLOCK_BYTES, Store, VectorPiece, VideoRecord
from visil.model.model import Model
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
        error: one line if the query could not be read or has no score.
    """

    query: str
    matches: list[Match] = field(default_factory=list)
    num_fine: int = 0
    error: str | None = None


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
    coarse = [candidates.scores(query.encoded.descriptors) for query in queries]  # [V] each
    count = rerank_count(rerank, len(candidates.ids))
    count = max(count, top) if count else 0
    chosen = [_choose(q, scores, count, candidates, records) for q, scores in zip(queries, coarse, strict=True)]
    fine = _fine_scores(store, model, queries, chosen)
    return [
        _rank(query, dict(zip(candidates.ids, scores.tolist(), strict=True)), fine_scores, records, top)
        for query, scores, fine_scores in zip(queries, coarse, fine, strict=True)
    ]


def _choose(
    query: Query, scores: np.ndarray, count: int, candidates: Candidates, records: dict[str, VideoRecord]
) -> set[str]:
    """Ids of the best `count` videos and of those with equal content; ties by id."""
    ranks = (-scores).round(SCORE_DECIMALS)
    order = sorted(range(len(scores)), key=lambda i: (ranks[i], candidates.ids[i]))
    ids = [candidates.ids[i] for i in order if candidates.ids[i] != query.exclude]
    identical = [id for id in ids if query.sha256 is not None and records[id].file.sha256 == query.sha256]
    return set(ids[:count]) | (set(identical) if count else set())


def _fine_scores(
    store: Store, model: Model, queries: Sequence[Query], chosen: Sequence[set[str]]
) -> list[dict[str, float]]:
    """Fine scores of the chosen videos of every query, in one pass over their region vectors."""
    scores: list[dict[str, float]] = [{} for _ in queries]
    partial: dict[tuple[int, str], list[torch.Tensor]] = {}
    on_device = [model.on_device(query.encoded.region_vectors.vectors) for query in queries]
    union = set().union(*chosen) if chosen else set()
    for block in _read_ahead(store.vectors(sorted(union), block_bytes=BLOCK_BYTES)):
        frames = [model.on_device(piece.vectors) for piece in block]  # [T, R, D] each
        stacked = torch.cat(frames)  # [sum T, R, D]
        for number, vectors in enumerate(on_device):
            wanted = [position for position, piece in enumerate(block) if piece.id in chosen[number]]
            if not wanted:
                continue
            some = stacked if len(wanted) == len(block) else torch.cat([frames[position] for position in wanted])
            similarity = model.frame_similarity(vectors, some)  # [Tq, sum T]: one product for all of them
            columns = similarity.split([len(frames[position]) for position in wanted], dim=1)
            whole: dict[str, torch.Tensor] = {}  # [Tq, Tt] of the videos that end in this block
            for position, column in zip(wanted, columns, strict=True):
                piece = block[position]
                pieces = [*partial.pop((number, piece.id), []), column]
                if piece.is_last:
                    whole[piece.id] = torch.cat(pieces, dim=1)
                else:
                    partial[number, piece.id] = pieces
            scores[number] |= zip(whole, model.scores_of_similarity(list(whole.values())), strict=True)
    return scores


def _read_ahead(blocks: Iterator[list[VectorPiece]]) -> Iterator[list[VectorPiece]]:
    """The same blocks; the next one is read while one is compared."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        following = reader.submit(next, blocks, None)
        while (block := following.result()) is not None:
            following = reader.submit(next, blocks, None)
            yield block


def _rank(
    query: Query, coarse: dict[str, float], fine: dict[str, float], records: dict[str, VideoRecord], top: int
) -> SearchResult:
    """Equal content first, then by score (fine scores before coarse ones), then by id."""
    matches = []
    for id in fine or coarse:
        if id == query.exclude:
            continue
        stages = {"coarse": coarse[id]} | ({"fine": fine[id]} if id in fine else {})
        file = records[id].file
        matches.append(
            Match(
                query=query.name,
                video=id,
                path=file.path,
                score=shown_score(fine.get(id, coarse[id])),
                probability=None,
                identical=query.sha256 is not None and file.sha256 == query.sha256,
                stages=stages,
            )
        )
    matches.sort(key=lambda match: (not match.identical, -round(match.score, SCORE_DECIMALS), match.video))
    return SearchResult(query.name, matches[:top], len(fine))

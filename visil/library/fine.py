"""The fine stage: scores of queries with the videos chosen for them, in one pass over their region vectors.

    query × chosen videos ─► blocks of vectors ─► [similarity ─► row maxima, or comparator] ─► fine scores
                             store.py              this module

No whole matrix of a long pair is held: query and videos come in blocks, and between the blocks of a video only maxima
are kept (and the columns that the comparator has yet to see the neighbours of).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from visil.library.candidates import Candidates
from visil.library.store import BLOCK_BYTES, Store, VectorPiece
from visil.model.model import Model
from visil.model.moments import best_moment, moment_starts, score_by_moments
from visil.model.network import RunningScore
from visil.model.threads import independent_threads
from visil.values import EncodedVideo

QUERY_FRAMES = 512  # of a longer query on the device at once: 11 MB of 14 x 384 float32 vectors
MAXIMA_AT_ONCE = 1 << 19  # row maxima of short videos that are looked through together, 6 MB with their places

Tell = Callable[[float], None]  # how far it is: the share of the work that is done


def fine_scores(
    store: Store,
    candidates: Candidates,
    model: Model,
    queries: Sequence[EncodedVideo],
    chosen: Sequence[np.ndarray],
    *,
    by_moments: bool,
    tell: Tell | None = None,
) -> list[np.ndarray]:
    """Raw fine scores of the chosen videos of every query.

    Args:
        chosen: bool [V] for each query.
        by_moments: long queries also count by their best moment, where the network is plain (see
            `visil.model.moments`).
        tell: called before the first product and after some, possibly from several threads, one at a time.

    Returns:
        float32 [V] for each query; 0 where a video was not chosen.
    """
    done = _Share(store, candidates, queries, chosen, tell) if tell is not None else None
    comparisons = [
        _Comparison(model, query, wanted, by_moments=by_moments, done=done)
        for query, wanted in zip(queries, chosen, strict=True)
    ]
    union = np.logical_or.reduce(chosen) if len(chosen) else np.zeros(0, dtype=bool)
    if union.any():
        ids = [candidates.ids[number] for number in np.flatnonzero(union)]
        with _each_on_a_core(model, len(comparisons)) as apply:
            for pieces in filter(None, _read_ahead(store.vectors(ids, block_bytes=BLOCK_BYTES))):
                block = _Block(
                    np.array([candidates.numbers[piece.id] for piece in pieces]),
                    [piece.is_last for piece in pieces],
                    [len(piece.vectors) for piece in pieces],
                    [piece.vectors.nbytes for piece in pieces],
                    model.on_device(np.concatenate([piece.vectors for piece in pieces])),
                )
                list(apply(partial(_Comparison.add, block=block), comparisons))
    return [comparison.scores for comparison in comparisons]


class _Share:
    """Adds up what is done and tells the share."""

    def __init__(
        self,
        store: Store,
        candidates: Candidates,
        queries: Sequence[EncodedVideo],
        chosen: Sequence[np.ndarray],
        tell: Tell,
    ) -> None:
        stored = store.vector_bytes()
        num_bytes = np.array([stored[id] for id in candidates.ids], dtype=np.float64)
        self._total = sum(
            len(q.region_vectors) * num_bytes[some].sum() for q, some in zip(queries, chosen, strict=True)
        )
        self._done = 0.0
        self._tell = tell
        self._lock = threading.Lock()
        tell(0.0)

    def add(self, work: float) -> None:
        """So many frames of a query, times bytes of the vectors that they were compared with."""
        with self._lock:
            self._done += work
            self._tell(min(1.0, self._done / self._total))


@dataclass(frozen=True)
class _Block:
    """Region vectors of some videos on the device, as one.

    Attributes:
        numbers: int [N], whose they are.
        is_last: whether they are the last of their video.
        lengths: frames.
        num_bytes: as stored.
        vectors: [sum of lengths, R, D].
    """

    numbers: np.ndarray
    is_last: list[bool]
    lengths: list[int]
    num_bytes: list[int]
    vectors: Tensor


class _RowMaxima(NamedTuple):
    """The best match of every query frame among some frames of a video.

    Attributes:
        best, where: [Tq], how alike, and which of the frames.
        num_columns: of how many frames.
    """

    best: Tensor
    where: Tensor
    num_columns: int

    @classmethod
    def of(cls, columns: Tensor) -> _RowMaxima:
        """Of a matrix [Tq, t]."""
        return cls(*columns.max(dim=1), columns.shape[1])

    @classmethod
    def below_each_other(cls, parts: Sequence[_RowMaxima]) -> _RowMaxima:
        """Of more query frames, in the same frames of the video."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            torch.cat([part.best for part in parts]), torch.cat([part.where for part in parts]), parts[0].num_columns
        )

    def then(self, later: _RowMaxima) -> _RowMaxima:
        """In more frames of the video, which come behind these."""
        is_better = later.best > self.best
        return _RowMaxima(
            torch.where(is_better, later.best, self.best),
            torch.where(is_better, later.where + self.num_columns, self.where),
            self.num_columns + later.num_columns,
        )


class _Comparison:
    """Fine scores of one query, as the blocks come."""

    def __init__(
        self, model: Model, query: EncodedVideo, wanted: np.ndarray, *, by_moments: bool, done: _Share | None
    ) -> None:
        self._model = model
        self._vectors = query.region_vectors.vectors
        self._held = model.on_device(self._vectors) if len(self._vectors) <= QUERY_FRAMES else None
        counts = by_moments and model.network.is_plain
        starts = moment_starts(query.region_vectors.times_s) if counts else np.zeros(0, dtype=np.int64)
        self._starts = torch.as_tensor(starts, device=model.device)
        self._wanted = wanted
        self._done = done
        self._maxima: dict[int, _RowMaxima] = {}  # of videos that go on in the next block, for a plain network
        self._running: dict[int, RunningScore] = {}  # the same, for any other
        self.scores = np.zeros(len(wanted), dtype=np.float32)

    def add(self, block: _Block) -> None:
        """Compare with the wanted videos of a block."""
        members = np.flatnonzero(self._wanted[block.numbers]).tolist()
        if not members:
            return
        vectors = block.vectors
        if len(members) < len(block.lengths):
            frames = vectors.split(block.lengths)
            vectors = torch.cat([frames[member] for member in members])
        numbers = [int(block.numbers[member]) for member in members]
        is_last = [block.is_last[member] for member in members]
        columns = self._columns(vectors, block, members)
        with torch.inference_mode(), self._model.autocast():
            if self._model.network.is_plain:
                self._add_maxima(numbers, is_last, columns)
            else:
                self._add_matrices(numbers, is_last, columns)

    def _columns(self, vectors: Tensor, block: _Block, members: list[int]) -> Iterator[tuple[Tensor, ...]]:
        """For some frames of the query after others: their similarity [tq, t] with each of the videos."""
        lengths = [block.lengths[member] for member in members]
        num_bytes = sum(block.num_bytes[member] for member in members)
        for start in range(0, len(self._vectors), QUERY_FRAMES):
            rows = self._vectors[start : start + QUERY_FRAMES]
            similarity = self._model.frame_similarity(
                self._model.on_device(rows) if self._held is None else self._held, vectors
            )
            if self._done is not None:
                self._done.add(len(rows) * num_bytes)
            yield similarity.split(lengths, dim=1)

    def _add_maxima(self, numbers: list[int], is_last: list[bool], columns: Iterable[tuple[Tensor, ...]]) -> None:
        """Of a plain network."""
        found = [[_RowMaxima.of(column) for column in of_rows] for of_rows in columns]
        ended: dict[int, _RowMaxima] = {}
        for number, last, parts in zip(numbers, is_last, zip(*found, strict=True), strict=True):
            maxima = _RowMaxima.below_each_other(parts)
            if number in self._maxima:
                maxima = self._maxima.pop(number).then(maxima)
            (ended if last else self._maxima)[number] = maxima
        at_once = max(1, MAXIMA_AT_ONCE // len(self._vectors))
        for start in range(0, len(ended), at_once):
            some = list(ended)[start : start + at_once]
            self.scores[some] = self._scores([ended[number] for number in some]).cpu().numpy()

    def _scores(self, videos: Sequence[_RowMaxima]) -> Tensor:
        """[N] of a plain network."""
        best = torch.stack([maxima.best for maxima in videos])  # [N, Tq]
        where = torch.stack([maxima.where for maxima in videos])
        whole = self._model.network.score_of_best(best, where)
        if not len(self._starts):
            return whole
        return score_by_moments(whole, best_moment(best, where, self._starts), len(self._starts))

    def _add_matrices(self, numbers: list[int], is_last: list[bool], columns: Iterable[tuple[Tensor, ...]]) -> None:
        """Of any other network."""
        whole: dict[int, Tensor] = {}  # [Tq, Tt] of the videos that lie in this block
        for number, last, parts in zip(numbers, is_last, zip(*columns, strict=True), strict=True):
            matrix = torch.cat(parts)
            if last and number not in self._running:
                whole[number] = matrix
                continue
            running = self._running.setdefault(number, RunningScore(self._model.network))
            running.add(matrix, is_last=last)
            if last:
                self.scores[number] = float(self._running.pop(number).score())
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

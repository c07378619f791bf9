"""Scores of the VSC2022 descriptor track from two files of vectors, by the challenge's own search.

    query.npz, reference.npz ─► [read_descriptors ─► descriptor_scores] ─► Scores ─► evaluate
                                this module

The inner product of every query vector with every reference vector is computed in blocks. Of all of them the
highest 1,200 a query video stay (one threshold for all queries), a pair of videos has the highest of its vectors, and
the highest 25 pairs a query video are what is judged. Equal values at a cut: those of the earlier vectors stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from visil.errors import DataError
from visil.evaluation.npz_files import read_npz
from visil.evaluation.scores import MappedScores
from visil.evaluation.segment_files import vsc_id

VECTOR_PAIRS_PER_QUERY = 1200
PAIRS_PER_QUERY = 25
BLOCK = 2048  # vectors of either side whose products are in memory at a time
MAX_VALUE = 1e15  # of a vector: beyond it products may leave the range of float32


@dataclass(frozen=True)
class Descriptors:
    """Vectors of videos; the vectors of a video need not follow one another.

    Attributes:
        videos: ids, each once, in the order of their first vectors.
        video: int64 [N], index into `videos` of every vector.
        features: float32 [N, D].
    """

    videos: tuple[str, ...] = field(repr=False)
    video: np.ndarray = field(repr=False)
    features: np.ndarray = field(repr=False)


def read_descriptors(path: Path, letter: str) -> Descriptors:
    """Vectors from an npz file: `video_ids` [N] (text or integers), `features` [N, D], `timestamps` [N] or [N, 2].

    Timestamps are checked for their shape only: no score depends on them. Vectors of a video that lie apart are joined
    by its id.

    Args:
        letter: `Q` or `R`: what ids begin with.

    Raises:
        DataError: the file is no such npz, or holds a vector that is not finite, or an id of another form.
    """
    ids, features, times = read_npz(path, ("video_ids", "features", "timestamps"))
    if ids.ndim != 1 or ids.dtype.kind not in "Uiu" or not len(ids):
        raise DataError(f"{path}: video_ids must be a list of texts or integers, got {ids.dtype} {ids.shape}")
    if features.ndim != 2 or len(features) != len(ids) or features.dtype.kind != "f":
        raise DataError(f"{path}: features must be floats [{len(ids)},D], got {features.dtype} {features.shape}")
    if times.shape not in ((len(ids),), (len(ids), 2)):
        raise DataError(f"{path}: timestamps must be [{len(ids)}] or [{len(ids)},2], got {times.shape}")
    is_usable = (np.abs(features) <= MAX_VALUE).all(axis=1)
    if not is_usable.all():
        raise DataError(
            f"{path}: a vector of {ids[~is_usable][0]} has a value that is not finite, or beyond {MAX_VALUE:g}"
        )
    given, video = np.unique(ids, return_inverse=True)
    names = [vsc_id(str(name), letter, str(path)) for name in given]
    # Two forms of one id, such as 7 and Q000007, are one video.
    numbers: dict[str, int] = {}
    number_of = np.empty(len(given), dtype=np.int64)
    for i in dict.fromkeys(video.tolist()):
        number_of[i] = numbers.setdefault(names[i], len(numbers))
    return Descriptors(tuple(numbers), number_of[video], features.astype(np.float32, copy=False))


def descriptor_scores(
    queries: Descriptors,
    references: Descriptors,
    *,
    vector_pairs_per_query: int = VECTOR_PAIRS_PER_QUERY,
    pairs_per_query: int = PAIRS_PER_QUERY,
) -> MappedScores:
    """Scores of the pairs of videos that the track judges; queries without any are there with none.

    Raises:
        DataError: the vectors of the two sides have other dimensions.
    """
    dimensions = queries.features.shape[1], references.features.shape[1]
    if dimensions[0] != dimensions[1]:
        raise DataError(f"query vectors have {dimensions[0]} dimensions, reference vectors {dimensions[1]}")
    scores, rows, columns = _highest_products(
        queries.features, references.features, vector_pairs_per_query * len(queries.videos)
    )
    pair = queries.video[rows] * len(references.videos) + references.video[columns]
    pairs, place = np.unique(pair, return_inverse=True)
    best = np.full(len(pairs), -np.inf)
    np.maximum.at(best, place, scores)
    order = np.argsort(-best, kind="stable")[: pairs_per_query * len(queries.videos)]
    mapping: dict[str, dict[str, float]] = {query: {} for query in queries.videos}
    for number, score in zip(pairs[order].tolist(), best[order].tolist(), strict=True):
        query, reference = divmod(number, len(references.videos))
        mapping[queries.videos[query]][references.videos[reference]] = score
    return MappedScores(mapping, available=frozenset(queries.videos + references.videos))


def _highest_products(a: np.ndarray, b: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The highest inner products of rows of a [N, D] and b [M, D]: values, rows and columns, `limit` or all [K]."""
    found: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64))]
    num_found, threshold = 0, -np.inf
    for row in range(0, len(a), BLOCK):
        for column in range(0, len(b), BLOCK):
            products = a[row : row + BLOCK] @ b[column : column + BLOCK].T
            i, j = np.nonzero(products >= threshold)
            found.append((products[i, j], (row + i) * len(b) + column + j))
            num_found += len(i)
            if num_found > 2 * limit:
                found = [_highest(*_joined(found), limit)]
                num_found, threshold = limit, found[0][0].min()
    values, places = _highest(*_joined(found), limit)
    rows, columns = np.divmod(places, len(b))
    return values.astype(np.float64), rows, columns


def _joined(found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    values, places = zip(*found, strict=True)
    return np.concatenate(values), np.concatenate(places)


def _highest(values: np.ndarray, places: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """The `limit` highest values with their places; of those equal to the lowest, the ones of lower places."""
    if len(values) <= limit:
        return values, places
    lowest = np.partition(values, -limit)[-limit]
    above, equal = np.flatnonzero(values > lowest), np.flatnonzero(values == lowest)
    equal = equal[np.argsort(places[equal])][: limit - len(above)]
    kept = np.concatenate([above, equal])
    return values[kept], places[kept]

"""Score normalisation: similarity to what is alike everywhere is taken off, so that 0 means no more alike than noise.

    descriptors or a similarity matrix, and those of noise ─► [each query frame less its nearest noise] ─► candidates

Noise is videos of another split: what is known to have nothing in common with the targets. Pure functions.
Source: The 2023 Video Similarity Dataset and Challenge, "Score normalization"; case `vsc_score_normalization`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from visil.align.matrix import checked_matrix
from visil.errors import DataError

Descriptors = Mapping[str, np.ndarray]
"""Descriptors [T, D] of the frames of videos, by id."""


@dataclass(frozen=True)
class ScoreNormalisation:
    """Parameters, with the published defaults; the published baselines use a beta of 1.2.

    Attributes:
        beta: how much of the similarity to the noise is taken off.
        l2_normalises: divide every vector by its norm; zero vectors stay.
        replaces_dim: the dimension in which the noise varies least makes room, so that vectors keep their width.
    """

    beta: float = 1.0
    l2_normalises: bool = True
    replaces_dim: bool = True


def normalised_descriptors(
    queries: Descriptors, targets: Descriptors, noise: Descriptors, settings: ScoreNormalisation = ScoreNormalisation()
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Queries and targets whose products are normalised scores: mostly negative, positive where a pair beats the noise.

        q' = [q, -β · max_n <q, n>],   r' = [r, 1],   <q', r'> = <q, r> - β · max_n <q, n>

    Raises:
        DataError: there is no noise, a video is in the noise and among the targets, or widths differ.
    """
    if both := noise.keys() & targets.keys():
        raise DataError(f"{min(both)[:80]} is in the noise and among the targets; take the noise from other videos")
    vectors = [_checked_vectors(name, rows) for name, rows in noise.items()]
    if not sum(map(len, vectors)):
        raise DataError("score normalisation needs descriptors of noise, got none")
    sides = [{id: _checked_vectors(id, rows) for id, rows in side.items()} for side in (queries, targets)]
    widths = {rows.shape[1] for rows in (*vectors, *sides[0].values(), *sides[1].values())}
    if len(widths) > 1:
        raise DataError(f"descriptors of queries, targets and noise must be equally wide, got widths {sorted(widths)}")
    stacked = np.concatenate(vectors)
    if settings.replaces_dim:
        dim = least_varying_dim(stacked)
        stacked = np.delete(stacked, dim, axis=1)
        sides = [{id: np.delete(rows, dim, axis=1) for id, rows in side.items()} for side in sides]
    if settings.l2_normalises:
        stacked = _unit(stacked)
        sides = [{id: _unit(rows) for id, rows in side.items()} for side in sides]
    return (
        {
            id: with_background(rows, (rows @ stacked.T).max(axis=1), beta=settings.beta)
            for id, rows in sides[0].items()
        },
        {id: np.column_stack([rows, np.ones(len(rows), dtype=rows.dtype)]) for id, rows in sides[1].items()},
    )


def with_background(queries: np.ndarray, background: np.ndarray, *, beta: float = 1.0) -> np.ndarray:
    """q' = [q, -β · background] of every query vector, [T, D] -> [T, D + 1].

    Args:
        background: [T], similarity of each to its nearest noise.
    """
    return np.column_stack([queries, (-beta * background).astype(queries.dtype)])


def without_background(similarity: ArrayLike, background: ArrayLike, *, beta: float = 1.0) -> np.ndarray:
    """The same of a matrix: S[i, j] - β · background[i], a new [Q, R].

    Args:
        background: [Q], similarity of each query frame to its nearest noise.

    Raises:
        DataError: see `checked_matrix`, or there is not one number for each query frame.
    """
    matrix, level = checked_matrix(similarity), np.asarray(background)
    if level.shape != matrix.shape[:1] or not np.isfinite(level).all():
        raise DataError(f"background is a finite number for each of {len(matrix)} query frames, got {level.shape}")
    return np.asarray(matrix - beta * level[:, None].astype(matrix.dtype))


def least_varying_dim(noise: np.ndarray) -> int:
    """Number of the first dimension of smallest variance (of the population) over noise vectors [N, D]."""
    return int(noise.var(axis=0).argmin())


def _checked_vectors(name: str, rows: np.ndarray) -> np.ndarray:
    vectors = np.asarray(rows)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise DataError(f"{name[:80]}: descriptors must be finite [frames, dimensions], got shape {vectors.shape}")
    return vectors


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1))

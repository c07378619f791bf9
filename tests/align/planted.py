"""Matrices with planted copies, for the tests of this room."""

import numpy as np


def background(rows: int, columns: int, *, seed: int = 0) -> np.ndarray:
    """What unrelated samples look like: similarities around 0.1, float64 [rows, columns]."""
    return np.random.default_rng(seed).normal(0.1, 0.05, (rows, columns))


def plant(
    matrix: np.ndarray, query_start: int, target_start: int, length: int, *, speed: float = 1.0, value: float = 0.9
) -> None:
    """Write a copy into a matrix: `length` query samples against `length * speed` target samples, with no sample of
    either left out; backwards where the speed is negative."""
    num_columns = round(length * abs(speed))
    for cell in range(4 * max(length, num_columns)):
        share = (cell + 0.5) / (4 * max(length, num_columns))
        row, column = int(share * length), int(share * num_columns)
        if speed < 0:
            column = num_columns - 1 - column
        matrix[query_start + row, target_start + column] = value


def random_matrix(rows: int, columns: int, *, seed: int, levels: int = 0) -> np.ndarray:
    """Float32 with a ridge, in [-1, 1]; with `levels` of so many values, so that sums are often equal."""
    rng = np.random.default_rng(seed)
    matrix = rng.uniform(-0.4, 0.6, (rows, columns))
    for start in rng.integers(0, [rows, columns], (3, 2)):
        length = min(rows - start[0], columns - start[1], int(rng.integers(2, 12)))
        steps = np.arange(length)
        matrix[start[0] + steps, start[1] + steps] += 0.5
    if levels:
        matrix = np.round(matrix * levels) / levels
    return matrix.clip(-1, 1).astype(np.float32)

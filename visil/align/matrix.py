"""What every method of this room asks of a similarity matrix, and the order in which dynamic programs visit it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from visil.errors import DataError


def checked_matrix(similarity: ArrayLike) -> np.ndarray:
    """The matrix itself where it is float32 or float64, else a copy as float32 (half precision) or float64.

    No method writes into it. A video of one frame is a matrix with one row or column; both axes must be there.

    Args:
        similarity: [Q, R], row = query frame, column = target frame, higher is more alike.

    Raises:
        DataError: it has not two axes, a side without frames, or values that are no finite numbers.
    """
    matrix = np.asarray(similarity)
    if matrix.ndim != 2:
        raise DataError(
            f"a similarity matrix is [query frames, target frames], got shape {list(matrix.shape)}; "
            "a video of one frame keeps its axis"
        )
    if not matrix.size:
        raise DataError(f"a similarity matrix of {matrix.shape[0]} x {matrix.shape[1]} frames has nothing to align")
    if matrix.dtype not in (np.float32, np.float64):
        if not (np.issubdtype(matrix.dtype, np.floating) or np.issubdtype(matrix.dtype, np.integer)):
            raise DataError(f"a similarity matrix holds real numbers, got {matrix.dtype}")
        matrix = matrix.astype(np.float32 if matrix.dtype == np.float16 else np.float64)
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise DataError(f"similarity of query frame {row} and target frame {column} is {matrix[row, column]}")
    return matrix


def antidiagonals(num_rows: int, num_columns: int) -> Iterator[slice]:
    """Cells of a flat [num_rows, num_columns] table by antidiagonal, without its first row and column.

    The cells of one depend on earlier ones only: of a slice of the flat table, moved by -num_columns - 1, -num_columns
    and -1, come the cells before on the diagonal, above and to the left.
    """
    for total in range(2, num_rows + num_columns - 1):
        first, last = max(1, total - num_columns + 1), min(num_rows - 1, total - 1)
        if first <= last:
            step = num_columns - 1
            yield slice(first * step + total, last * step + total + 1, step)


def moved(cells: slice, by: int) -> slice:
    """The cells so many places further on in the flat table."""
    return slice(cells.start + by, cells.stop + by, cells.step)

"""Arrays of an npz file, which may come from a stranger: scores, descriptors.

npz ─► [arrays by name] ─► score_files, descriptor_track
       this module
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visil.errors import DataError
from visil.evaluation.tables import check_regular, one_line

ZIP_HEADS = (b"PK\x03\x04", b"PK\x05\x06")  # of an archive, and of an empty one


def read_npz(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """The arrays of these names; nothing is unpickled.

    Raises:
        DataError: the file cannot be read, is no npz or a damaged one, lacks an array, or one holds Python objects or
            text that is none.
    """
    check_regular(path)
    try:
        # An open file, because numpy leaves its own one open when it fails.
        with path.open("rb") as file:
            if file.read(4) not in ZIP_HEADS:
                raise ValueError("it is not several arrays by name, as numpy.savez writes them")
            file.seek(0)
            stored = np.load(file, allow_pickle=False)
            if missing := [name for name in names if name not in stored.files]:
                raise ValueError(f"no array {', '.join(missing)} in it, it needs {', '.join(names)}")
            arrays = [stored[name] for name in names]
        for name, array in zip(names, arrays, strict=True):
            if not isinstance(array, np.ndarray):  # bytes of a member that is written in another way
                raise ValueError(f"{name} is no array")
            if array.dtype.kind == "U":
                array.tolist()  # fails where a number is no character
    except Exception as error:  # a header is Python to numpy, so damage can be any error of a parser
        reason = one_line(error)
        if "allow_pickle" in reason:
            reason = "an array in it has a damaged header, or holds Python objects, which are not read"
        raise DataError(f"{path}: cannot be read as npz: {reason}") from error
    return arrays

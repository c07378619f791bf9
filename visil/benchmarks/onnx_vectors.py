"""Vectors of pictures by a network in an ONNX file, such as SSCD: run as it is, never converted.

pictures ─► [onnxruntime ─► one unit vector each] ─► frame_descriptors
             this module
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from visil.errors import ModelError
from visil.model.weight_files import first_line

BATCH = 8  # pictures that go through the network at once: more are no faster on a CPU
ONLY_FATAL = 4  # severity of what onnxruntime prints itself: its errors are raised besides


class OnnxVectors:
    """Describes pictures uint8 [T, H, W, 3] by unit vectors, stored in half precision as those of a library.

    The network takes pictures as they are, normalises them itself, and gives one vector for each.

    Raises:
        ModelError: the file is no such network.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self._path = path
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ONLY_FATAL
        try:
            self._session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes have no common one
            raise ModelError(f"{path}: not a readable ONNX network ({first_line(error)})") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        takes = [(node.type, len(node.shape), node.shape[-1]) for node in inputs]
        gives = [(node.type, len(node.shape)) for node in outputs]
        if takes != [("tensor(uint8)", 4, 3)] or gives != [("tensor(float)", 2)]:
            raise ModelError(f"{path}: its network does not make one vector of a picture uint8 [height, width, 3]")
        self._input = inputs[0].name

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Pictures uint8 [T, H, W, 3] -> float16 [T, D]."""
        batches = [self._vectors(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
        return np.concatenate([np.zeros((0, self._dim), dtype=np.float16), *batches])

    def _vectors(self, images: np.ndarray) -> np.ndarray:
        try:
            (vectors,) = self._session.run(None, {self._input: np.ascontiguousarray(images)})
        except Exception as error:
            raise ModelError(f"{self._path}: cannot describe pictures ({first_line(error)})") from error
        return np.asarray(vectors, dtype=np.float16)

    @cached_property
    def _dim(self) -> int:
        """D, of one black picture: a file need not say it, and a network need not take none."""
        return self._vectors(np.zeros((1, 224, 224, 3), dtype=np.uint8)).shape[1]

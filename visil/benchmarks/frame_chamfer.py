"""The baseline of one vector a frame, or one a region: how well every sample of the query is found in a video.

    frame_descriptors ─► vectors of every video ─► [best frame for every sample ─► mean] ─► scores

The score is `chamfer_similarity` of the frame-to-frame similarity matrix, here of all videos at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from visil.model.similarity import frame_similarity


class FrameChamfer:
    """The frame vectors of the videos of a library, ready to be compared with.

    Args:
        vectors: of every video float [T, D], or [T, R, D]; T may be 0.
    """

    def __init__(self, vectors: Sequence[np.ndarray]) -> None:
        lengths = np.array([len(of_video) for of_video in vectors])
        self._has_frames = lengths > 0
        self._starts = (np.cumsum(lengths) - lengths)[self._has_frames]
        self._frames = _units(np.concatenate(vectors))  # [N, R, D]

    def scores(self, query: np.ndarray) -> np.ndarray:
        """Chamfer similarity of the query's vectors float [T, D] or [T, R, D] to every video: float32 [V].

        Returns:
            Zeros for a query without a sample, and for videos without one.
        """
        scores = np.zeros(len(self._has_frames), dtype=np.float32)
        if len(query) and len(self._starts):
            similarity = frame_similarity(_units(query), self._frames).numpy()  # [T, N]
            scores[self._has_frames] = np.maximum.reduceat(similarity, self._starts, axis=1).mean(axis=0)
        return scores


def _units(vectors: np.ndarray) -> Tensor:
    """[T, D] or [T, R, D] -> float32 [T, R, D]; half precision leaves norms off by 3e-5."""
    regions = vectors[:, None] if vectors.ndim == 2 else vectors
    return F.normalize(torch.from_numpy(regions).float(), dim=-1)

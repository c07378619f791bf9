"""The baseline of one vector a frame: how well every sample of the query is found in a video.

    frame_descriptors ─► vectors of every video ─► [best frame for every sample ─► mean] ─► scores

The score is `chamfer_similarity` of the frame-to-frame similarity matrix, here of all videos at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from visil.model.similarity import frame_similarity


class FrameChamfer:
    """The frame vectors of the videos of a library, ready to be compared with.

    Args:
        vectors: of every video float [T, D]; T may be 0.
    """

    def __init__(self, vectors: Sequence[np.ndarray]) -> None:
        lengths = np.array([len(of_video) for of_video in vectors])
        self._has_frames = lengths > 0
        self._starts = (np.cumsum(lengths) - lengths)[self._has_frames]
        self._frames = _units(np.concatenate(vectors))  # [N, 1, D]

    def scores(self, query: np.ndarray) -> np.ndarray:
        """Chamfer similarity of the query's vectors float [T, D] to every video: float32 [V].

        Returns:
            Zeros for a query without a sample, and for videos without one.
        """
        scores = np.zeros(len(self._has_frames), dtype=np.float32)
        if len(query) and len(self._starts):
            similarity = frame_similarity(_units(query), self._frames).numpy()  # [T, N]
            scores[self._has_frames] = np.maximum.reduceat(similarity, self._starts, axis=1).mean(axis=0)
        return scores


def _units(vectors: np.ndarray) -> Tensor:
    """[T, D] -> float32 [T, 1, D], one region a frame; half precision leaves norms off by 3e-5."""
    return F.normalize(rearrange(torch.from_numpy(vectors).float(), "t d -> t 1 d"), dim=-1)

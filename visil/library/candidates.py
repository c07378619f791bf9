"""The coarse stage: which videos deserve the fine score.

    descriptors of the query × descriptors of all videos ─► [best pair of parts] ─► candidates
                                                            this module

An exact matrix product: a million 512-dimensional descriptors take a fraction of a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

BLOCK_PRODUCTS = 1 << 22  # at a time, 16 MB: a film as a query has thousands of descriptors


@dataclass(frozen=True)
class Candidates:
    """The coarse index of one version of a library.

    Attributes:
        ids: the videos that have a score.
        descriptors: float32 [P, D], the parts of video 0, then of video 1 ...
        owners: int [P], ascending: the video of each part.
    """

    ids: list[str]
    descriptors: np.ndarray
    owners: np.ndarray

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Which video an id is."""
        return {id: number for number, id in enumerate(self.ids)}

    @cached_property
    def ranks_of_ids(self) -> np.ndarray:
        """int [V], the place of each video when they are sorted by id."""
        ranks = np.empty(len(self.ids), dtype=np.int64)
        ranks[sorted(range(len(self.ids)), key=self.ids.__getitem__)] = np.arange(len(self.ids))
        return ranks

    def scores(self, query: np.ndarray) -> np.ndarray:
        """Best dot product over pairs of parts, for every video.

        Args:
            query: float32 [Pq, D], the descriptors of a query, at least one.

        Returns:
            float32 [V] in [-1, 1].
        """
        best = np.empty(len(self.owners), dtype=np.float32)
        num_parts = max(1, BLOCK_PRODUCTS // len(query))
        for start in range(0, len(best), num_parts):
            block = slice(start, start + num_parts)
            best[block] = (self.descriptors[block] @ query.T).max(axis=1)
        if not self.ids:
            return best
        first_parts = np.searchsorted(self.owners, np.arange(len(self.ids)))
        return np.maximum.reduceat(best, first_parts)

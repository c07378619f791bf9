"""The baseline every network must beat: perceptual hashes and best-match voting.

    frame_descriptors ─► hashes of every video ─► [closest hash for every sample ─► votes] ─► scores

Each sample of the query gives one vote to the video that holds the closest hash (Hamming distance); videos at the
same distance share the vote equally. The score of a video is its share of the votes, hence 0 for most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class HashVoting:
    """The hashes of the videos of a library, ready to be voted for.

    Args:
        hashes: of every video uint8 [T, B], eight bits a byte; T may be 0.
    """

    def __init__(self, hashes: Sequence[np.ndarray]) -> None:
        self.num_videos = len(hashes)
        lengths = [len(of_video) for of_video in hashes]
        self._owner = np.repeat(np.arange(self.num_videos), lengths)  # [N]
        self._signs = _signs(np.concatenate(hashes)) if sum(lengths) else np.zeros((0, 8), dtype=np.float32)

    def scores(self, query: np.ndarray, left_out: np.ndarray | None = None) -> np.ndarray:
        """Share of the votes of the query's hashes uint8 [T, B] for every video: float64 [V].

        Args:
            left_out: bool [V], videos that nobody may vote for; they score 0.

        Returns:
            Zeros for a query without a sample.
        """
        votes = np.zeros(self.num_videos)
        if not len(query) or not len(self._owner):
            return votes
        # Equal bits minus different ones: exact in float32, and BLAS is as quick as counting bits.
        likeness = _signs(query) @ self._signs.T  # [T, N]
        if left_out is not None:
            likeness[:, left_out[self._owner]] = -np.inf
        closest = likeness == likeness.max(axis=1, keepdims=True)
        closest &= likeness > -np.inf
        for candidates in closest:
            winners = np.unique(self._owner[candidates])
            votes[winners] += 1 / max(1, len(winners))
        return votes / len(query)


def _signs(hashes: np.ndarray) -> np.ndarray:
    """Bits as -1 and 1: float32 [T, 8 B]."""
    return 2 * np.unpackbits(hashes, axis=1).astype(np.float32) - 1

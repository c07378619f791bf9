"""The selector: which pairs deserve the fine student.

    region vectors of a video ─► self-similarity value, stored with it ─┐
    coarse similarity of a pair ────────────────────────────────────────┴─► [Selector] ─► score in (0, 1)
                                                                             this module

A high score says that the coarse student is probably wrong about the pair.
Source: DnS (IJCV 2022), "Selector network" (cases `selector_*`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from visil.model.attention import Attention
from visil.model.comparator import MIN_FRAMES, Comparator

NUM_FEATURES = 3  # values of query and target, coarse similarity


@dataclass(frozen=True)
class SelectorSettings:
    """Attributes: hidden: width of the hidden layers; layers: of them beyond the first; dropout: in training."""

    hidden: int = 100
    layers: int = 1
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.layers < 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"expected hidden of 1, layers of 0 or more and dropout in [0, 1), got {self}")


class Selector(nn.Module):
    """Values of videos, and scores of pairs.

    Args:
        dim: D of the region vectors.
    """

    def __init__(self, settings: SelectorSettings, dim: int) -> None:
        super().__init__()
        self.attention = Attention(dim, "sigmoid")
        self.comparator = Comparator("zeros")
        widths = [NUM_FEATURES, *[settings.hidden] * (1 + settings.layers)]
        parts: list[nn.Module] = []
        for before, width in pairwise(widths):
            linear = nn.Linear(before, width, bias=False)
            parts += [linear, nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(settings.dropout)]
        last = nn.Linear(settings.hidden, 1)
        self.mlp = nn.Sequential(*parts, last)
        for part in self.mlp:
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
        nn.init.zeros_(last.bias)

    def frame_similarity(self, vectors: Tensor) -> Tensor:
        """Mean dot product of all pairs of regions of every pair of frames: [B, T, R, D] -> [B, T, T].

        That of the mean regions of the frames, which is the same.
        """
        means = self.attention(vectors).mean(dim=-2)
        return means @ means.mT

    def video_values(self, vectors: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What is stored of a video: the mean over the comparator's cells of its self-similarity, [B].

        Args:
            vectors: [B, T, R, D], at least 4 frames each (`SimilarityNetwork.repeat_short`), padded at the end.
            lengths: int64 [B], real frames; None: all are.
        """
        cells = self.comparator(self.frame_similarity(vectors), query_lengths=lengths, target_lengths=lengths)
        if lengths is None:
            return cells.mean(dim=(1, 2))
        return cells.sum(dim=(1, 2)) / (lengths // MIN_FRAMES) ** 2  # beyond the real cells it is 0

    def forward(self, query_values: Tensor, target_values: Tensor, coarse: Tensor) -> Tensor:
        """Scores [B] in (0, 1) of pairs, from the values [B] of both videos and their raw coarse similarity [B]."""
        return torch.sigmoid(self.mlp(torch.stack([query_values, target_values, coarse], dim=1))[:, 0])

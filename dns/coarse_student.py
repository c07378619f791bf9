"""The coarse-grained student: region vectors of a video -> one vector, compared by a dot product.

    [B, T, R, D] ─► attention ─► sum of regions, unit ─► transformer ─► NetVLAD ─► unit [B, D']
                    └───────────────────────── this module ──────────────────────────┘

Source: DnS (IJCV 2022), "Coarse-grained similarity student" (cases `coarse_*`). It does not know the order of frames:
there is no positional encoding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from visil.dns.netvlad import NetVLAD
from visil.model.attention import Attention

DROPOUT = 0.1  # in training, on attention weights and behind each part of a layer (published)


@dataclass(frozen=True)
class CoarseSettings:
    """Which parts it has; the paper's by default, whose NetVLAD has 33.5 of 37 million parameters.

    Attributes:
        attention: weighs regions, as the fine student does.
        layers: of the transformer; 0: there is none.
        heads, feedforward: of a layer.
        centres: of NetVLAD; 0: the mean over frames in its place.
        out_dim: of the vector; the width of the region vectors where there is no NetVLAD.
    """

    attention: bool = True
    layers: int = 1
    heads: int = 8
    feedforward: int = 2048
    centres: int = 64
    out_dim: int = 1024

    def __post_init__(self) -> None:
        if min(self.layers, self.centres) < 0 or min(self.heads, self.feedforward, self.out_dim) < 1:
            raise ValueError("layers and centres must be at least 0; heads, feedforward and out_dim at least 1")


class CoarseStudent(nn.Module):
    """Describes a video, or a part of one, by a vector.

    Args:
        dim: D of the region vectors.
    """

    def __init__(self, settings: CoarseSettings, dim: int) -> None:
        super().__init__()
        if settings.layers and dim % settings.heads:
            raise ValueError(f"heads must divide the {dim} dimensions of a region vector, got {settings.heads}")
        self.attention = Attention(dim, "sigmoid") if settings.attention else None
        self.transformer = None
        if settings.layers:
            layer = nn.TransformerEncoderLayer(dim, settings.heads, settings.feedforward, DROPOUT, batch_first=True)
            norm = nn.LayerNorm(dim)
            self.transformer = nn.TransformerEncoder(layer, settings.layers, norm, enable_nested_tensor=False)
        self.netvlad = NetVLAD(dim, settings.centres, settings.out_dim) if settings.centres else None

    def frame_vectors(self, vectors: Tensor) -> Tensor:
        """Region vectors [B, T, R, D] -> one unit vector a frame [B, T, D]."""
        weighted = vectors if self.attention is None else self.attention(vectors)
        return F.normalize(weighted.sum(dim=-2), dim=-1)

    def encode_frames(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """Frame vectors [B, T, D] that have seen each other; padded ones are seen by none."""
        if self.transformer is None:
            return frames
        encoded: Tensor = self.transformer(frames, src_key_padding_mask=None if mask is None else ~mask)
        return encoded

    def forward(self, vectors: Tensor, mask: Tensor | None = None) -> Tensor:
        """Region vectors [B, T, R, D] -> unit vectors [B, D'].

        Args:
            mask: bool [B, T], True for real frames; None: all are.
        """
        frames = self.encode_frames(self.frame_vectors(vectors), mask)
        if self.netvlad is not None:
            return F.normalize(self.netvlad(frames, mask), dim=-1)
        if mask is None:
            return F.normalize(frames.mean(dim=1), dim=-1)
        return F.normalize(frames.masked_fill(~mask[..., None], 0.0).sum(dim=1), dim=-1)

"""The learned weight of a region vector.

    stage maps ─ regions ─► whitening ─► [attention] ─► RegionVectors ─ similarity ─► ...
                                          this module

Part of indexing: applied once a video, on both sides of a pair. Sources: ViSiL (ICCV 2019), "Feature
extraction" (`linear`); DnS (IJCV 2022), fine-grained attention student (`sigmoid`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

KINDS = ("linear", "linear_normalised", "sigmoid")
NORM_FLOOR = 1e-6  # under the norm of a context vector (published)


def unit_norm(weight: Tensor) -> Tensor:
    """Constrain context vectors [..., D] to length 1, w / max(||w||, 1e-6), as training does after a step."""
    return weight / torch.linalg.vector_norm(weight, dim=-1, keepdim=True).clamp(min=NORM_FLOOR)


class Attention(nn.Module):
    """Weigh every region vector by its agreement with a learned context vector u.

        linear               a(x) = u·x / 2 + 1/2              (ViSiL; u as stored)
        linear_normalised    a(x) = u·x / (2 ||u||) + 1/2      (S2VS)
        sigmoid              a(x) = σ(u · tanh(W x + b))       (DnS, S2VS)

    With unit vectors a(x) lies in [0, 1].

    Args:
        dim: D of the region vectors.
        kind: one of the three above.
    """

    def __init__(self, dim: int, kind: str = "linear") -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"attention must be one of {', '.join(KINDS)}, got {kind!r}")
        self.kind = kind
        self.context_vector = nn.Linear(dim, 1, bias=False)
        if kind == "sigmoid":
            self.transform = nn.Linear(dim, dim)
            nn.init.xavier_uniform_(self.transform.weight)
            nn.init.zeros_(self.transform.bias)
            nn.init.xavier_uniform_(self.context_vector.weight)
        else:
            nn.init.normal_(self.context_vector.weight)
            with torch.no_grad():
                self.context_vector.weight.copy_(unit_norm(self.context_vector.weight))

    def weights(self, vectors: Tensor) -> Tensor:
        """a(x) of every region vector, [..., D] -> [..., 1]."""
        if self.kind == "sigmoid":
            return torch.sigmoid(self.context_vector(torch.tanh(self.transform(vectors))))
        if self.kind == "linear":
            return self.context_vector(vectors) / 2 + 0.5
        return nn.functional.linear(vectors, unit_norm(self.context_vector.weight)) / 2 + 0.5

    def forward(self, vectors: Tensor) -> Tensor:
        """a(x) · x, [..., D] -> [..., D]; not normalised again."""
        return self.weights(vectors) * vectors

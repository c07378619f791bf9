"""Vectors of any number -> one: each by how it differs from the centres that it is assigned to.

    frame vectors [B, N, D] ─► soft assignment to K centres ─► residuals, normalised ─► [NetVLAD] ─► [B, D']
                                                                                        this module

Source: NetVLAD (CVPR 2016), as DnS has it (IJCV 2022, coarse-grained student; cases `netvlad*`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5  # of the normalisation at the end (published)


class NetVLAD(nn.Module):
    """V_k = Σ_i a_k(x_i) (x_i - c_k), a = softmax over k of w_k · x; each V_k, then all of them unit.

    Args:
        dim: D.
        num_centres: K.
        out_dim: D', by a linear map without bias; None: K · D, as they are.

    Attributes:
        centres: c [K, D]; w starts as a copy of it.
    """

    def __init__(self, dim: int, num_centres: int, out_dim: int | None = None) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(num_centres, dim) / dim**0.5)
        self.assignment = nn.Parameter(self.centres.detach().clone())
        width = num_centres * dim
        self.reduction = nn.Linear(width, out_dim, bias=False) if out_dim is not None else None
        if self.reduction is not None:
            nn.init.normal_(self.reduction.weight, std=width**-0.5)
        self.norm = nn.LayerNorm(width if out_dim is None else out_dim, eps=EPSILON)

    def forward(self, vectors: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, D] -> [B, D'], not unit.

        Args:
            mask: bool [B, N], True for those that count; None: all do.
        """
        shares = (vectors @ self.assignment.T).softmax(dim=-1)  # [B, N, K]
        if mask is not None:
            shares = shares * mask[..., None]
        # Σ a x - (Σ a) c: the residuals [B, N, K, D] themselves would be K times the video.
        sums = torch.einsum("bnk,bnd->bkd", shares, vectors) - shares.sum(dim=1)[..., None] * self.centres
        flat = F.normalize(F.normalize(sums, dim=-1).flatten(1), dim=-1)
        return self.norm(flat if self.reduction is None else self.reduction(flat))

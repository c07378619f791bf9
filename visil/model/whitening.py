"""PCA whitening of region vectors, and how one is learnt.

    Frames ─ backbone ─► stage maps ─ regions ─► [whitening] ─► attention | binarization
                                                  this module

Source: Jégou and Chum, ECCV 2012, as used in ViSiL (ICCV 2019), "Feature extraction"; eigenvectors scaled by
(eigenvalue + 1e-7)^(-1/2) as in its published code. Statistics are float64, the result is float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

EIGENVALUE_FLOOR = 1e-7  # added to every eigenvalue (published)
RANK_TOLERANCE = 1e-10  # of the largest eigenvalue; float32 vectors carry rounding noise below it


class Whitening(nn.Module):
    """Centre, rotate, scale and normalise: y = L2((x - mean) · projection + bias).

    Attributes:
        mean: float [D].
        projection: float [D, n], eigenvectors in columns, scaled; or learned.
        bias: float [n], of a projection that was learned with one; None: there is none.
    """

    mean: Tensor
    projection: Tensor
    bias: Tensor | None

    def __init__(self, mean: Tensor, projection: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        if mean.ndim != 1 or projection.ndim != 2 or len(mean) != len(projection):
            raise ValueError(
                f"whitening needs a mean [D] and a projection [D, n], got {[*mean.shape]} and {[*projection.shape]}"
            )
        if bias is not None and bias.shape != projection.shape[1:]:
            raise ValueError(f"a bias of a whitening to {projection.shape[1]} dimensions has shape {[*bias.shape]}")
        self.register_buffer("mean", mean)
        self.register_buffer("projection", projection)
        self.register_buffer("bias", bias)

    @classmethod
    def from_eigen(cls, mean: Tensor, eigenvalues: Tensor, eigenvectors: Tensor, dim: int) -> Whitening:
        """Keep the `dim` directions of largest variance.

        Args:
            mean: [D] or [1, D].
            eigenvalues: [D], in any order.
            eigenvectors: [D, D], in the columns; their signs are kept.
        """
        if not 1 <= dim <= len(eigenvalues):
            raise ValueError(f"dim must lie between 1 and {len(eigenvalues)}, got {dim}")
        order = eigenvalues.argsort(descending=True, stable=True)[:dim]
        scale = (eigenvalues[order] + EIGENVALUE_FLOOR).rsqrt()  # [n]
        return cls(mean.flatten(), eigenvectors[:, order] * scale)

    def forward(self, vectors: Tensor) -> Tensor:
        """[..., D] -> [..., n], L2-normalised; the input is left as it is."""
        projected = (vectors - self.mean) @ self.projection
        return F.normalize(projected if self.bias is None else projected + self.bias, dim=-1)


class WhiteningFit:
    """Learns a whitening from more vectors than fit in memory: centred covariance PCA.

    Keeps count, mean and scatter (sum of outer products of centred vectors) in float64 and merges batches
    exactly (Chan et al., 1979), so the split into batches only changes rounding. Fit on other videos than are
    searched.

    Example:
        >>> fit = WhiteningFit()
        >>> for _ in range(3):
        ...     fit.update(torch.randn(100, 9, 16))
        >>> fit.finish(8)(torch.randn(4, 9, 16)).shape
        torch.Size([4, 9, 8])
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = torch.zeros(0, dtype=torch.float64)  # [D] from the first batch on
        self._scatter = torch.zeros(0, 0, dtype=torch.float64)  # [D, D]

    def update(self, vectors: Tensor) -> None:
        """Add the vectors [..., D] of a batch."""
        rows = rearrange(vectors.detach().cpu().double(), "... d -> (...) d")
        if len(rows) == 0:
            return
        if not rows.isfinite().all():
            raise ValueError("cannot fit a whitening: the batch holds NaN or infinite values")
        dim = rows.shape[1]
        if self.count == 0:
            self._mean = torch.zeros(dim, dtype=torch.float64)
            self._scatter = torch.zeros(dim, dim, dtype=torch.float64)
        elif dim != len(self._mean):
            raise ValueError(f"vectors of {dim} dimensions after vectors of {len(self._mean)}")
        batch_mean = rows.mean(dim=0)
        centred = rows - batch_mean
        shift = batch_mean - self._mean
        total = self.count + len(rows)
        between = shift * (self.count * len(rows) / total)
        self._scatter += centred.T @ centred + torch.outer(between, shift)
        self._mean = self._mean + shift * (len(rows) / total)
        self.count = total

    def finish(self, dim: int) -> Whitening:
        """The whitening to `dim` dimensions; more vectors may be added afterwards.

        Every component is turned so that its entry of largest magnitude is positive: one result for one set
        of vectors, whatever the linear algebra library.

        Raises:
            ValueError: the vectors span fewer than `dim` directions. Such a whitening would blow up rounding
                noise, so it is refused rather than cut short.
        """
        if self.count <= dim:
            raise ValueError(f"cannot whiten to {dim} dimensions: got {self.count} vectors, more than {dim} are needed")
        eigenvalues, eigenvectors = torch.linalg.eigh(self._scatter / (self.count - 1))  # ascending
        rank = int((eigenvalues > RANK_TOLERANCE * eigenvalues[-1]).sum())
        if rank < dim:
            raise ValueError(
                f"cannot whiten to {dim} dimensions: the {self.count} vectors span only {rank}; "
                f"fit on more varied vectors or ask for at most {rank}"
            )
        largest = eigenvectors.abs().argmax(dim=0, keepdim=True)  # [1, D]
        eigenvectors = eigenvectors * eigenvectors.gather(0, largest).sign()
        return Whitening.from_eigen(self._mean, eigenvalues, eigenvectors, dim).float()

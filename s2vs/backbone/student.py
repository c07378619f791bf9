"""The network that is trained: pictures -> region vectors, as a bundle computes them.

    views ─► [backbone ─► pyramid of regions, or any windows ─► projection] ─► region vectors [B, R, D] ─► losses

All of it goes into the bundle: its `backbone` and its `whitening`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visil.model.backbone import BackboneSettings, build_network
from visil.model.pyramid import pyramid_vectors, window_vectors

FLOOR_SHARE = 1e-3  # of the largest variance, added to all: directions without any stay small at the start
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of pixels; the usual ones of ImageNet


class Student(nn.Module):
    """Backbone, regions and projection.

    Args:
        dim: of a region vector.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, backbone: BackboneSettings, *, levels: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.levels = levels
        self.backbone = build_network(backbone).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        width = sum(self.backbone.feature_info.channels())
        self.mean = nn.Parameter(torch.zeros(width))
        self.projection = nn.Parameter(nn.init.orthogonal_(torch.empty(width, dim)))
        self.register_buffer("pixel_mean", torch.tensor(MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(STD).reshape(1, 3, 1, 1), persistent=False)

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """RGB in [0, 1], [B, 3, H, W] -> a map [B, C, H', W'] of every stage."""
        pixels = (pictures - self.pixel_mean) / self.pixel_std
        return list(self.backbone(pixels.contiguous(memory_format=torch.channels_last)))

    def pooled(self, maps: list[Tensor]) -> Tensor:
        """Region vectors before the projection, [B, R, C] float32, unit: as `visil.model.regions.region_vectors`."""
        return _joined([pyramid_vectors(stage.float(), self.levels) for stage in maps])

    def pooled_windows(self, maps: list[Tensor], boxes: Tensor) -> Tensor:
        """The same of any windows [B, K, 4] of the pictures, as shares of their sides: [B, K, C]."""
        return _joined([window_vectors(stage.float(), boxes) for stage in maps])

    def project(self, pooled: Tensor) -> Tensor:
        """[..., C] -> unit vectors [..., D], as `Whitening`."""
        return F.normalize((pooled - self.mean) @ self.projection, dim=-1)

    @torch.no_grad()
    def whiten(self, pooled: Tensor) -> None:
        """Start the projection as the whitening of these vectors [N, C]: without it all cosines begin near 1."""
        mean = pooled.mean(dim=0)
        values, directions = torch.linalg.eigh((pooled - mean).T.double().cov())  # ascending
        chosen = values.argsort(descending=True)[: self.projection.shape[1]]
        scaled = directions[:, chosen] / (values[chosen] + FLOOR_SHARE * values.max()).sqrt()
        self.mean.copy_(mean)
        self.projection.copy_(scaled * (self.projection.norm() / scaled.norm()))


def _joined(stages: list[Tensor]) -> Tensor:
    """Vectors of several stages [B, R, C_s] as one, each part and the whole unit."""
    return F.normalize(torch.cat([F.normalize(vectors, dim=-1) for vectors in stages], dim=-1), dim=-1)


def region_matches(query: Tensor, target: Tensor) -> Tensor:
    """Best match of every region of the queries in every target: [Q, R, D] and [T, R, D] -> [Q, R, T] float32.

    Its mean over the regions, by their weights, is `visil.model.similarity.frame_similarity`.
    """
    similarity = query.flatten(0, 1) @ target.flatten(0, 1).T  # [Q * R, T * R]
    return similarity.reshape(*query.shape[:2], *target.shape[:2]).amax(dim=3).float()

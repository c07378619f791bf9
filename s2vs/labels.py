"""Which clips of a batch show the same video, which do not, and which pairs say nothing.

    hosts, shares, related videos ─► [Labels: positive, negative or neither] ─► losses

A batch of B videos has 2B clips: the weak ones, then the strong ones. A strong clip may show its own video small inside
another one's (video in video): it is then a positive of both.
Source: S2VS (CVPRW 2023), "Training"; cases `labels_viv_*`. Beyond the paper: videos that are related are neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Labels:
    """Of all ordered pairs of 2B clips.

    Attributes:
        is_positive: bool [2B, 2B], two clips that show the same video; not a clip and itself.
        is_negative: bool [2B, 2B], two clips that show unrelated videos.
    """

    is_positive: Tensor
    is_negative: Tensor


def video_shares(hosts: Tensor, shares: Tensor) -> Tensor:
    """How much of each video a strong clip shows, [B, B]: 1 of its own, or what is left to it beside its host.

    Args:
        hosts: int64 [B], the video around a strong clip, -1 where there is none.
        shares: [B], of the host's part that stays to see (lambda).
    """
    own = torch.eye(len(hosts), device=hosts.device)
    mixed = (hosts >= 0).nonzero()[:, 0]
    own[mixed, hosts[mixed]] = shares[mixed].to(own)
    return own


def same_video(shares: Tensor) -> Tensor:
    """Which of the weak and strong clips show something of one video, bool [2B, 2B], true on the diagonal.

        L = [I ; v],   L Lᵀ > 0

    A strong clip i in host j: weak i, weak j, strong i, and every strong clip that shows i or j, also as a host. Not
    transitive: weak i and weak j stay apart.

    Args:
        shares: v [B, B], see `video_shares`; what it holds beyond 0 has no effect.
    """
    clips = torch.cat([torch.eye(len(shares), device=shares.device), (shares > 0).float()])
    return clips @ clips.T > 0


def label(shares: Tensor, is_related: Tensor | None = None) -> Labels:
    """Positive, negative or neither.

    Args:
        shares: [B, B], see `video_shares`.
        is_related: bool [B, B], videos that share footage or may: their clips are no negatives of each other. None: no
            two are (the paper).
    """
    is_same = same_video(shares)
    is_negative = ~is_same
    if is_related is not None:
        clips = torch.cat([torch.eye(len(shares), device=shares.device), (shares > 0).float()])
        is_negative &= clips @ (is_related | is_related.T).float() @ clips.T == 0
    itself = torch.eye(len(is_same), dtype=torch.bool, device=is_same.device)
    return Labels(is_same & ~itself, is_negative)

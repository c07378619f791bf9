"""Losses on scores of pairs and on region vectors.

    pairs of videos ─ SimilarityNetwork ─► raw map, scores ─► [losses] ─► gradient
    views of pictures ─ student ─► region vectors, scores ──► [losses] ─► gradient
                                                              this module

Sources: ViSiL (ICCV 2019), "Loss function" (regularisation, triplets; S2VS keeps the former); S2VS (CVPRW 2023),
InfoNCE with several positives, SSHN; SSCD (CVPR 2022), sections 3.2 and 3.3, with KoLeo of Sablayrolles et al. (ICLR
2019), and its published code.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_SQUARED_DISTANCE = 1e-6  # of two vectors in KoLeo (published): equal ones would have an infinite loss
NEVER = -1e4  # as a logit: less than any, and no infinity, whose difference from another is no number
PUBLISHED_FLOOR = 1e-6  # of what a positive competes with, in SSCD and in S2VS
SSHN_FLOOR = 1e-3  # below what a logarithm is taken of


def similarity_regularisation(raw: Tensor, reduction: str = "sum") -> Tensor:
    """Penalty on comparator outputs that the clipping would cut off: Σ max(0, |y| - 1).

    Args:
        raw: unclipped output of the comparator, any shape; zero out padded cells (the comparator does).
        reduction: `sum` over all elements (ViSiL, DnS), or `mean` (offered by S2VS).

    Returns:
        [], 0 if everything lies in [-1, 1]; exactly ±1 has no gradient.
    """
    excess = F.relu(raw.abs() - 1)
    if reduction == "sum":
        return excess.sum()
    if reduction == "mean":
        return excess.mean()
    raise ValueError(f"reduction must be sum or mean, got {reduction!r}")


def triplet_loss(positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Mean of max(0, s⁻ - s⁺ + margin).

    Args:
        positive, negative: scores [B] or [B, 1] of an anchor with its positive and with its negative.
        margin: published: 0.5 (paper), 1.0 (PyTorch code).
    """
    if positive.shape != negative.shape:
        raise ValueError(
            f"expected a positive and a negative score for every anchor, "
            f"got {[*positive.shape]} and {[*negative.shape]}"
        )
    return F.relu(negative - positive + margin).mean()


def info_nce(
    scores: Tensor, positive_weights: Tensor, is_negative: Tensor, *, temperature: float, pooled: bool = False
) -> Tensor:
    """Each positive of a query against all of its negatives; other positives do not compete with it.

        L_q = Σ_p w_qp · -log( e^{s_qp/t} / (e^{s_qp/t} + Σ_{n in N_q} e^{s_qn/t}) ) / Σ_p w_qp

    Args:
        scores: [Q, T], higher is more alike.
        positive_weights: [Q, T], 0 for what is no positive.
        is_negative: bool [Q, T]; what is neither is left out. Every query needs one of both.
        pooled: every positive competes with the mean over queries of Σ_n e^{s/t}, instead of its own query's: scores of
            different queries are made comparable, which micro-AP asks for.

    Returns:
        [], mean over the queries; computed without overflow at any temperature.
    """
    if not ((positive_weights.sum(dim=1) > 0) & is_negative.any(dim=1)).all():
        raise ValueError("every query needs a positive and a negative")
    logits = scores / temperature
    negatives = logits.masked_fill(~is_negative, -torch.inf).logsumexp(dim=1, keepdim=True)  # [Q, 1]
    if pooled:
        negatives = negatives.logsumexp(dim=0, keepdim=True) - math.log(len(scores))  # [1, 1]
    losses = F.softplus(negatives - logits) * positive_weights  # [Q, T]
    return (losses.sum(dim=1) / positive_weights.sum(dim=1)).mean()


def matching_regions_nce(
    matches: Tensor, positive: Tensor, is_negative: Tensor, *, count: int, temperature: float
) -> Tensor:
    """InfoNCE for the regions of a query that match its positive best, one by one.

    The mean over all regions hides the few that show the picture when it lies inside another one.

    Args:
        matches: [Q, R, T], the best match of every region of a query in a target.
        positive: int64 [Q], the target that shows the same.
        is_negative: bool [Q, T].
        count: regions of a query that are asked for.
    """
    rows = torch.arange(len(matches), device=matches.device)
    own = matches[rows, :, positive]  # [Q, R]
    chosen = own.detach().topk(count, dim=1).indices  # [Q, count]
    own = own.gather(1, chosen)
    others = matches.gather(1, chosen[:, :, None].expand(-1, -1, matches.shape[2]))  # [Q, count, T]
    negatives = (others / temperature).masked_fill(~is_negative[:, None, :], -torch.inf).logsumexp(dim=2)
    return F.softplus(negatives - own / temperature).mean()


def share_a_picture(shares: Tensor) -> Tensor:
    """Which views show something of the same picture, bool [N, N].

    Args:
        shares: [N, M] at least 0, how much of each of M pictures a view shows; of one that is not mixed a single 1.
    """
    return (shares @ shares.T) > 0


def sscd_info_nce(similarity: Tensor, is_same: Tensor, *, temperature: float, mixed: bool = False) -> Tensor:
    """InfoNCE as SSCD has it: every view is a query, every other view of its picture a positive.

        L = 1/N · Σ_i Σ_{p in P_i} -log( e^{s_ip/t} / (e^{s_ip/t} + Σ_{k in U_i} e^{s_ik/t} + 1e-6) )

    A picture of four views thus weighs more than one of two; of mixed pictures, which have positives by chance, each
    row counts by the mean over its own.

    Args:
        similarity: [N, N], cosines of all views, those of other processes included.
        is_same: bool [N, N], True where two views show something of one picture; the others are the negatives U.
        mixed: the mean over P_i takes the place of the sum.

    Returns:
        [], mean over the views; one without positives adds nothing.
    """
    is_positive = is_same & ~torch.eye(len(is_same), dtype=torch.bool, device=is_same.device)
    costs = _positive_costs(similarity, is_positive, ~is_same, temperature)
    return (costs / is_positive.sum(dim=1).clamp(min=1) if mixed else costs).mean()


def clip_info_nce(similarity: Tensor, is_positive: Tensor, is_negative: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE as S2VS has it: every clip of a batch is a query, every other clip of its video a positive.

        p_ij = e^{s_ij/t} / (e^{s_ij/t} + Σ_{k in N_i} e^{s_ik/t} + 1e-6),   L = mean_i 1/|P_i| · Σ_{j in P_i} -log p_ij

    The published code gives no number where a clip has no positive, and where e^{s/t} overflows.

    Args:
        similarity: [N, N], scores of all ordered pairs of clips in [0, 1], row = query.
        is_positive, is_negative: bool [N, N], see `visil.s2vs.labels`; what is neither has no part.

    Returns:
        [], mean over the clips that have a positive; 0 if none has.
    """
    count = is_positive.sum(dim=1)
    costs = _positive_costs(similarity, is_positive, is_negative, temperature) / count.clamp(min=1)
    return costs.sum() / (count > 0).sum().clamp(min=1)


def _positive_costs(similarity: Tensor, is_positive: Tensor, is_negative: Tensor, temperature: float) -> Tensor:
    """[N], Σ_{j in P_i} -log p_ij, each positive against all negatives of its row and a floor."""
    logits = similarity / temperature
    floor = logits.new_full((len(logits), 1), math.log(PUBLISHED_FLOOR))
    negatives = torch.cat([logits.masked_fill(~is_negative, -torch.inf), floor], dim=1).logsumexp(dim=1, keepdim=True)
    return (F.softplus(negatives - logits) * is_positive).sum(dim=1)


def hardest_negative(similarity: Tensor, is_negative: Tensor) -> Tensor:
    """Of SSHN: the most alike negative of every clip is driven to 0.

        L = -mean_i log max(1 - max_{k in N_i} s_ik, 1e-3)

    The published code lets a clip without negatives add -log 101; here it has no part.

    Args:
        similarity: [N, N] in [0, 1].
        is_negative: bool [N, N].

    Returns:
        [], mean over the clips that have a negative; 0 if none has.
    """
    has_negative = is_negative.any(dim=1)
    if not has_negative.any():
        return similarity.new_zeros(())
    hardest = similarity.masked_fill(~is_negative, -torch.inf)[has_negative].max(dim=1).values  # one of equal ones
    return -(1 - hardest).clamp(min=SSHN_FLOOR).log().mean()


def self_similarity(similarity: Tensor) -> Tensor:
    """Of SSHN: the score of every clip with itself is driven to 1: L = -mean_i log max(s_ii, 1e-3), of [N, N]."""
    return -similarity.diagonal().clamp(min=SSHN_FLOOR).log().mean()


def koleo(vectors: Tensor, is_other: Tensor) -> Tensor:
    """Kozachenko-Leonenko entropy: vectors are spread out by pushing each away from its nearest neighbour.

        L = -1/N · Σ_i log min_{j other than i} |v_i - v_j|,   |v_i - v_j|² = 2 - 2 v_i·v_j

    The gradient moves both of a pair, and only turns them.

    Args:
        vectors: [N, D], unit.
        is_other: bool [N, N], True where j shows something else than i; a row without any is left out.
    """
    with torch.no_grad():
        nearest = (vectors @ vectors.T).masked_fill(~is_other, -torch.inf).argmax(dim=1)  # [N]
    squared = (2 - 2 * (vectors * vectors[nearest]).sum(dim=1)).clamp(min=MIN_SQUARED_DISTANCE)  # [N]
    has_other = is_other.any(dim=1)
    return -(squared.log() / 2 * has_other).sum() / has_other.sum().clamp(min=1)


def similarity_distillation(
    student: Tensor, teacher: Tensor, bank: Tensor, is_other: Tensor, *, temperature: float
) -> Tensor:
    """What of others the teacher finds alike and what not, as the student's similarities with a bank must say it.

        L = 1/N · Σ_i KL( softmax_j(t_i·b_j / T) ‖ softmax_j(s_i·b_j / T) ),   j over others

    Args:
        student, teacher: [N, D], unit, of the same pictures.
        bank: [M, D], unit, teacher's vectors of any pictures.
        is_other: bool [N, M], True where j shows something else than i: against itself everything else is nothing.
    """
    masked = torch.where(is_other, 0.0, NEVER)
    wanted = (teacher @ bank.T / temperature + masked).log_softmax(dim=1)
    found = (student @ bank.T / temperature + masked).log_softmax(dim=1)
    return F.kl_div(found, wanted, reduction="batchmean", log_target=True)


def false_friends(student: Tensor, teacher: Tensor, bank: Tensor, is_other: Tensor, *, count: int) -> Tensor:
    """How far the student is off where it finds most alike what shows something else.

        L = 1/N · Σ_i Σ_{j in the `count` highest s_i·b_j of others} (s_i·b_j - t_i·b_j)²

    One threshold for all queries fails by its highest false pairs, which a mean over the bank does not see.

    Args:
        student, teacher, bank: as of `similarity_distillation`.
        is_other: bool [N, M]; every row needs `count` of them.
    """
    found = student @ bank.T  # [N, M]
    highest = found.detach().masked_fill(~is_other, -torch.inf).topk(count, dim=1).indices
    wanted = (teacher @ bank.T).gather(1, highest)
    return (found.gather(1, highest) - wanted).square().sum(dim=1).mean()


def cosine_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of 1 - cosine between vectors [..., D] of a student and of its teacher."""
    return 1 - F.cosine_similarity(student, teacher, dim=-1).mean()

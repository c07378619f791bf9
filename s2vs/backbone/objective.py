"""What a student is asked for in a step: the losses of a batch, and their sum.

batch ─► student ─► [losses between views, with the teacher, of windows] ─► one number to learn from
                     this module; the losses themselves: losses.py
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from visil.model.pyramid import region_weights
from visil.s2vs.backbone.batches import Batch
from visil.s2vs.backbone.student import Student, region_matches
from visil.s2vs.backbone.training_settings import TrainingSettings
from visil.s2vs.backbone.views import Views
from visil.s2vs.losses import (
    cosine_distillation,
    false_friends,
    info_nce,
    koleo,
    matching_regions_nce,
    similarity_distillation,
)


class Objective:
    """The losses of a run."""

    def __init__(self, settings: TrainingSettings, device: torch.device) -> None:
        self._settings = settings
        self._weights = torch.tensor(region_weights(settings.levels, settings.shares), device=device)

    def losses(self, student: Student, batch: Batch, autocast: torch.autocast) -> dict[str, Tensor]:
        """Each by its name, and what is worth knowing beside them; see `total`.

        Args:
            autocast: of the backbone and of the products of regions.
        """
        settings, views, groups, teacher = self._settings, batch.views, batch.groups, batch.teacher
        with autocast:
            maps = student.maps(torch.cat([views.query, views.target]))
        query, target = student.project(student.pooled(maps)).chunk(2)  # [B, R, D]
        with autocast:
            matches = region_matches(query, target)  # [B, R, B]
        scores = torch.einsum("qrt,r->qt", matches, self._weights)

        own = torch.arange(len(groups), device=groups.device)
        is_same = groups[:, None] == groups[None, :]
        likeness = teacher @ teacher.T
        shown = _shown(views, len(groups), settings.host_weight)  # [B, B]
        is_negative = (shown @ is_same.float()) == 0  # neither what it shows, nor its host, nor what shows the same
        is_unlike = unlike(batch, shown, is_negative, settings.alike)
        is_far = ~is_same & (likeness < settings.apart)
        count = target.shape[1]
        region = torch.randint(min(1, count - 1), count, (len(groups),)).to(groups.device)
        with torch.no_grad():
            hardest = scores.masked_fill(~is_negative, -1).amax(dim=1)
            found_first = (scores.diagonal() > hardest).float().mean()
        return {
            "info_nce": info_nce(scores, shown, is_unlike, temperature=settings.temperature),
            "pooled_nce": info_nce(scores, shown, is_unlike, temperature=settings.pooled_temperature, pooled=True),
            "region_nce": matching_regions_nce(
                matches, own, is_unlike, count=settings.num_matching, temperature=settings.region_temperature
            ),
            "koleo": koleo(target[:, 0], is_far) + koleo(target[own, region], is_far),
            **self.teacher_losses(batch, query[:, 0], target[:, 0]),
            **self.window_losses(student, batch, [stage.chunk(2)[1] for stage in maps]),
            "found_first": found_first,
            "positive": scores.detach().diagonal().mean(),
            "hardest_negative": hardest.mean(),
        }

    def teacher_losses(self, batch: Batch, query: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Of the vectors of the whole picture [B, D] against what the teacher says of the targets and of the bank.

        A query is asked for the teacher's vector of its target, though it is edited; one that lies in a host for both.
        One without a host is held against it as the target itself is.
        """
        settings, teacher, views = self._settings, batch.teacher, batch.views
        bank = torch.cat([teacher, batch.whole_teacher, batch.bank])
        groups = torch.cat([batch.groups, batch.groups, batch.bank_groups])
        is_other = batch.groups[:, None] != groups  # [B, 2B + M]
        is_unlike = is_other & (teacher @ bank.T < settings.alike)
        own = torch.eye(len(query), device=query.device)
        hosts = _shown(views, len(query), settings.teacher_host) - own
        hosted = (views.host >= 0).nonzero()[:, 0]
        host = views.host[hosted]
        is_unlike[hosted] &= is_other[host] & (batch.whole_teacher[host] @ bank.T < settings.alike)
        free = (views.host < 0).nonzero()[:, 0]
        found, rows = torch.cat([target, query[free]]), torch.cat([torch.arange(len(query)).to(free), free])
        return {
            "bank_nce": info_nce(
                query @ bank.T,
                torch.cat([own, hosts, own.new_zeros(len(query), len(batch.bank))], dim=1),
                is_unlike,
                temperature=settings.bank_temperature,
            ),
            "similarity": similarity_distillation(
                target, teacher, bank, is_other, temperature=settings.similarity_temperature
            ),
            "distillation": cosine_distillation(found, teacher[rows]),
            "friends": false_friends(found, teacher[rows], bank, is_other[rows], count=settings.num_friends),
        }

    def window_losses(self, student: Student, batch: Batch, maps: list[Tensor]) -> dict[str, Tensor]:
        """What the student sees in windows of whole pictures, against what the teacher says of them cut out."""
        if not len(batch.within):
            nothing = batch.teacher.new_zeros(())
            return {"windows": nothing, "window_friends": nothing}
        pooled = student.pooled_windows([stage[batch.within] for stage in maps], batch.windows)
        found, wanted = student.project(pooled), batch.window_teacher  # [W, K, D]
        is_other = batch.groups[batch.within][:, None] != batch.bank_groups  # [W, M]
        one = torch.randint(found.shape[1], (len(found),)).to(found.device)  # window of each
        rows = torch.arange(len(found), device=found.device)
        return {
            "windows": cosine_distillation(found, wanted),
            "window_friends": false_friends(
                found[rows, one], wanted[rows, one], batch.bank, is_other, count=self._settings.num_friends
            ),
        }

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the losses."""
        settings = self._settings
        return (
            losses["info_nce"]
            + settings.pooled_weight * losses["pooled_nce"]
            + settings.region_weight * losses["region_nce"]
            + settings.koleo_weight * losses["koleo"]
            + settings.bank_weight * losses["bank_nce"]
            + settings.similarity_weight * losses["similarity"]
            + settings.distillation_weight * losses["distillation"]
            + settings.friends_weight * (losses["friends"] + losses["window_friends"])
            + settings.window_weight * losses["windows"]
        )


def _shown(views: Views, count: int, host_weight: float) -> Tensor:
    """What every query shows of the pictures of its batch, [B, B]: its own 1, its host the given weight."""
    shown = torch.eye(count, device=views.host.device)
    hosted = (views.host >= 0).nonzero()[:, 0]
    shown[hosted, views.host[hosted]] = host_weight
    return shown


def unlike(batch: Batch, shown: Tensor, is_negative: Tensor, alike: float) -> Tensor:
    """Of the negatives [B, B] those that the teacher does not find alike to what a query shows; all if none is left.

    A host counts as a whole: more of it is seen around a query than its own target's window.
    """
    hosts = shown - torch.eye(len(shown), device=shown.device)
    is_alike = (batch.teacher @ batch.teacher.T >= alike) | (
        (hosts @ (batch.whole_teacher @ batch.teacher.T >= alike).float()) > 0
    )
    is_unlike = is_negative & ~is_alike
    return torch.where(is_unlike.any(dim=1, keepdim=True), is_unlike, is_negative)

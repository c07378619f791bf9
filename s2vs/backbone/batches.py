"""What a step learns from: pictures, views of them, what the teacher says of what they show.

    packed pictures, teacher's vectors ─► [batch of step k] ─► objective
                                           this module

Drawn from a generator of the seed and the number of the step alone.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from visil.s2vs.backbone.furniture import with_furniture
from visil.s2vs.backbone.pictures import PackedPictures, mixed_indices, nearest_pictures, with_nearest
from visil.s2vs.backbone.teacher import TeacherVectors
from visil.s2vs.backbone.training_settings import TrainingSettings
from visil.s2vs.backbone.views import Views, draw_views
from visil.s2vs.loop import SEEDS_APART

NUM_NEAREST, CLIQUE = 16, 7  # pictures most like one to the teacher; of them come together with it


@dataclass(frozen=True)
class Batch:
    """What a step learns from.

    Attributes:
        views: of B pictures.
        groups: int64 [B].
        teacher: [B, D], the teacher's vectors of the targets' windows; `whole_teacher` of the whole pictures.
        bank: [M, D], of any windows of any pictures; `bank_groups` int64 [M].
        within: int64 [W], targets that are whole pictures with nothing around them.
        windows: [W, K, 4], windows of those; `window_teacher` [W, K, D].
    """

    views: Views
    groups: Tensor
    teacher: Tensor
    whole_teacher: Tensor
    bank: Tensor
    bank_groups: Tensor
    within: Tensor
    windows: Tensor
    window_teacher: Tensor


class Batches:
    """The batches of a run.

    Args:
        teacher: in the student's dimensions.
    """

    def __init__(
        self, settings: TrainingSettings, pictures: PackedPictures, teacher: TeacherVectors, device: torch.device
    ) -> None:
        self._settings = settings
        self._pictures = pictures
        self._teacher = teacher
        self._device = device
        self._nearest = nearest_pictures(
            teacher.vectors[:, 0], pictures.groups, count=min(NUM_NEAREST, len(pictures) - 1)
        )

    def taught(self, teacher: TeacherVectors) -> Batches:
        """The same batches, with the teacher's vectors turned: they are as alike as before."""
        turned = copy(self)
        turned._teacher = teacher
        return turned

    def draw(self, step: int, *, settings: TrainingSettings | None = None, side_px: int | None = None) -> Batch:
        """What a step learns from.

        Args:
            settings: other than those of the run.
            side_px: of the views; None: that of the step.
        """
        settings = settings or self._settings
        pictures, teacher = self._pictures, self._teacher
        generator = torch.Generator().manual_seed(SEEDS_APART * settings.seed + step)
        chosen = with_nearest(
            mixed_indices(
                pictures.groups,
                pictures.num_stills,
                seed=settings.seed,
                step=step,
                batch_size=settings.num_dealt,
                frame_share=settings.frame_share,
            ),
            self._nearest,
            batch_size=settings.batch_size,
            clique=CLIQUE,
            generator=generator,
        )
        num_windows = teacher.boxes.shape[1]
        others = torch.randint(1, num_windows, (len(chosen),), generator=generator)
        is_whole = torch.rand(len(chosen), generator=generator) < settings.whole_share
        window = torch.where(is_whole, 0, others)
        views = draw_views(
            pictures.batch(chosen).to(self._device),
            teacher.boxes[chosen, window],
            pictures.stickers,
            side=side_px or settings.side_of(step),
            generator=generator,
            settings=settings.views_of(step),
        )
        views, is_furnished = with_furniture(views, pictures.stickers, generator, settings.furniture)
        within = (is_whole & ~is_furnished).nonzero()[:, 0]
        bank = torch.randint(len(pictures), (settings.bank_size,), generator=generator)
        bank_window = torch.randint(num_windows, (settings.bank_size,), generator=generator)
        return Batch(
            views,
            pictures.groups[chosen].to(self._device),
            teacher.vectors[chosen, window].to(self._device),
            teacher.vectors[chosen, 0].to(self._device),
            teacher.vectors[bank, bank_window].to(self._device),
            pictures.groups[bank].to(self._device),
            within.to(self._device),
            teacher.boxes[chosen[within], 1:].to(self._device),
            teacher.vectors[chosen[within], 1:].to(self._device),
        )

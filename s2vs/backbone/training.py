"""The training run of a student of pictures: what the loop is given, and the bundle's weights in the end.

    packed pictures ─ batch of step k ─► views ─► student ─► losses ─► loop.py
                      └─ teacher's vectors of the same windows ─┘

What happens in a step depends on the seed, the number of the step and the weights alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from visil.errors import DataError
from visil.model.backbone import BackboneSettings
from visil.s2vs.backbone.batches import Batch, Batches
from visil.s2vs.backbone.objective import Objective
from visil.s2vs.backbone.pictures import PackedPictures
from visil.s2vs.backbone.student import Student
from visil.s2vs.backbone.teacher import TeacherVectors
from visil.s2vs.backbone.training_settings import TrainingSettings
from visil.s2vs.claims import claim, digest
from visil.s2vs.loop import LOSS, Loop, LoopSettings, Share, floats

STARTING_BATCHES = 16  # that the projection starts from, and that the teacher is turned by
STATISTICS_BATCHES = 16  # that batch-norm statistics are measured over
MEAN_RATE = 0.1  # of the learning rate: entries of the projection's mean are small


class Training:
    """A run and where it stands: made anew, or from its newest checkpoint. The task of its loop.

    Args:
        folder: of the run; made if it is not there.
        start: weights of a student to begin with, such as those of the stage before; None: random ones.

    Raises:
        DataError: the folder is of a run with other settings or data, or damaged; or the teacher's vectors are of other
            pictures, or too short.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        pictures: PackedPictures,
        teacher: TeacherVectors,
        folder: Path,
        *,
        device: str,
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        if len(teacher) != len(pictures) or teacher.vectors.shape[2] < settings.dim:
            raise DataError(
                f"the teacher's vectors are of {len(teacher)} pictures in {teacher.vectors.shape[2]} dimensions, "
                f"expected {len(pictures)} in at least {settings.dim}; make them again"
            )
        claim_folder(folder, settings, pictures, teacher, start)
        self.settings = settings
        self.device = torch.device(device)
        self._folder = folder
        self._start = start
        self._basis = teacher.leading(settings.dim)  # [D', D], of what the student learns; see `begin`
        self._batches = Batches(settings, pictures, teacher.through(self._basis), self.device)
        torch.manual_seed(settings.seed)
        self.student = _student(settings).to(self.device).train()
        self._objective = Objective(settings, self.device)
        self.module = _Step(self.student, self._objective, self._autocast())
        named = list(self.student.named_parameters())
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for _, p in named if p.ndim > 1], "weight_decay": settings.weight_decay},
                {"params": [p for name, p in named if p.ndim <= 1 and name != "mean"], "weight_decay": 0.0},
                {"params": [self.student.mean], "weight_decay": 0.0, "rate_factor": MEAN_RATE},
            ],
            lr=settings.learning_rate,
        )
        self._loop = Loop(self, _loop_settings(settings), folder, self.device)
        self._batches = self._batches.taught(teacher.through(self._basis))

    @property
    def step(self) -> int:
        """Steps done."""
        return self._loop.step

    @property
    def is_done(self) -> bool:
        return self._loop.is_done

    def run(
        self,
        *,
        max_minutes: float | None = None,
        until_step: int | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Go on, see `Loop.run`."""
        self._loop.run(max_minutes=max_minutes, until_step=until_step, stop=stop)

    def save(self) -> None:
        """Leave a checkpoint."""
        self._loop.save()

    @torch.no_grad()
    def finished(self, side_px: int) -> Student:
        """The student for use: the running average of the weights, with batch-norm statistics of its own.

        Averaged statistics are of other weights, of views of several sizes and of batches with more that is alike than
        videos have. So they are measured anew, over views at the size that the bundle will see, of pictures drawn
        evenly. On val this was worth more than any other choice after training.
        """
        student = _student(self.settings)
        average = {name.removeprefix("student."): value for name, value in self._loop.average.items()}
        student.load_state_dict({**student.state_dict(), **average})
        student.to(self.device)
        norms = [module for module in student.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
        student.train()
        evenly = replace(
            self.settings,
            batch_size=self.settings.num_dealt,
            hard_share=0.0,
            furniture=replace(self.settings.furniture, share=0.0),
        )
        for number in range(STATISTICS_BATCHES):
            step = self.settings.steps + number  # drawn as at the end of the run, and by no step of it
            views = self._batches.draw(step, settings=evenly, side_px=side_px).views
            student.maps(torch.cat([views.query, views.target]))
        return student.eval().cpu()

    @torch.no_grad()
    def begin(self) -> None:
        """Take the weights given, or start the projection as a whitening of what a random backbone sees.

        The teacher is turned towards the student: what it says is how alike pictures are, so its vectors may be turned,
        all alike; the student starts with those that lie nearest to its own (orthogonal Procrustes).
        """
        if self._start is not None:
            self._take(self._start)
        pooled, teacher = [], []
        for step in range(STARTING_BATCHES):
            batch = self._batches.draw(step)
            with self._autocast():
                maps = self.student.maps(batch.views.target)
            pooled.append(self.student.pooled(maps))
            teacher.append(batch.teacher)
        if self._start is None:
            self.student.whiten(torch.cat(pooled).flatten(0, 1))
        whole = self.student.project(torch.cat(pooled)[:, 0])
        left, _, right = torch.linalg.svd((torch.cat(teacher).T @ whole).double())
        self._basis.copy_(self._basis @ (left @ right).float().cpu())

    def _take(self, start: Mapping[str, Tensor]) -> None:
        shapes = {name: value.shape for name, value in floats(self.student).items()}
        if {name: value.shape for name, value in start.items()} != shapes:
            raise DataError(f"{self._folder}: the weights to begin with are of another network")
        self.student.load_state_dict({**self.student.state_dict(), **start})

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.settings.precision == "bf16")

    def draw(self, batch: int, share: Share) -> Batch:
        if share.count > 1:
            raise DataError("a backbone is trained by one process: start it without torchrun")
        return self._batches.draw(batch)

    def rate_of(self, step: int) -> float:
        return self.settings.rate_of(step)

    def validate(self) -> Mapping[str, float]:
        return {}

    def tensors(self) -> Mapping[str, Tensor]:
        return {"teacher.basis": self._basis}


class _Step(nn.Module):
    """Batch -> losses."""

    def __init__(self, student: Student, objective: Objective, autocast: torch.autocast) -> None:
        super().__init__()
        self.student = student
        self._objective = objective
        self._autocast = autocast

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        losses = self._objective.losses(self.student, batch, self._autocast)
        return {**losses, LOSS: self._objective.total(losses)}


def claim_folder(
    folder: Path,
    settings: TrainingSettings,
    pictures: PackedPictures,
    teacher: TeacherVectors,
    start: Mapping[str, Tensor] | None,
) -> None:
    """Note in the folder of a run what it depends on, or see that it is of this one; see `Training`.

    Of a teacher's file its origin counts: made again on another machine it differs in rounding, as the run would.

    Raises:
        DataError: it is of another run, or cannot be read or written.
    """
    data = {"pictures": pictures.digest, "teacher": teacher.origin or digest(teacher.tensors().values())}
    if start is not None:
        data["start"] = digest(start[name] for name in sorted(start))
    claim(folder, asdict(settings), data)


def _student(settings: TrainingSettings) -> Student:
    return Student(BackboneSettings(settings.backbone, settings.stages), levels=settings.levels, dim=settings.dim)


def _loop_settings(settings: TrainingSettings) -> LoopSettings:
    return LoopSettings(
        steps=settings.steps,
        seed=settings.seed,
        max_gradient=settings.max_gradient,
        average_decay=settings.average_decay,
        log_steps=settings.log_steps,
        checkpoint_steps=settings.checkpoint_steps,
    )

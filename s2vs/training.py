"""The training run of a student: one loop, in pieces of any length, with the same weights in the end.

    packed pictures ─ batch of step k ─► views ─► student ─► losses ─► AdamW ─► weights, their running average
                      └─ teacher's vectors of the same windows ─────────┘

What happens in a step depends on the seed, the number of the step and the weights alone: pictures and random choices
are drawn from generators seeded by (seed, step). So a run that is stopped and resumed gives the weights of one that was
not (same machine, threads and versions; CPU).
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visil.errors import DataError
from visil.model.backbone import BackboneSettings
from visil.s2vs.batches import SEEDS_APART, Batches
from visil.s2vs.checkpoints import load_checkpoint, save_checkpoint
from visil.s2vs.claims import claim, digest, note_piece
from visil.s2vs.objective import Objective
from visil.s2vs.pictures import PackedPictures
from visil.s2vs.student import Student
from visil.s2vs.teacher import TeacherVectors
from visil.s2vs.training_settings import TrainingSettings

logger = logging.getLogger(__name__)

LOG = "log.jsonl"
STARTING_BATCHES = 16  # that the projection starts from, and that the teacher is turned by
STATISTICS_BATCHES = 16  # that batch-norm statistics are measured over
MEAN_RATE = 0.1  # of the learning rate: entries of the projection's mean are small


class Training:
    """A run and where it stands: made anew, or from its newest checkpoint.

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
        self.settings = settings
        self.folder = folder
        self.device = torch.device(device)
        claim_folder(folder, settings, pictures, teacher, start)
        self._basis = teacher.leading(settings.dim)  # [D', D], of what the student learns; see `_begin`
        self._batches = Batches(settings, pictures, teacher.through(self._basis), self.device)
        self._objective = Objective(settings, self.device)
        torch.manual_seed(settings.seed)
        self.student = _student(settings).to(self.device).train()
        self._average = {name: value.clone() for name, value in _floats(self.student).items()}
        named = list(self.student.named_parameters())
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [p for _, p in named if p.ndim > 1], "weight_decay": settings.weight_decay},
                {"params": [p for name, p in named if p.ndim <= 1 and name != "mean"], "weight_decay": 0.0},
                {"params": [self.student.mean], "weight_decay": 0.0},  # its entries are small: see `_take_step`
            ],
            lr=settings.learning_rate,
        )
        self.step = 0
        found = load_checkpoint(folder)
        if found is None:
            self._begin(start)
        else:
            self.step, tensors = found
            self._restore(tensors)
        self._batches = self._batches.taught(teacher.through(self._basis))

    @property
    def is_done(self) -> bool:
        return self.step >= self.settings.steps

    def run(
        self,
        *,
        max_minutes: float | None = None,
        until_step: int | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Go on to the end, or for so many minutes, to a step, or until `stop` says so; a checkpoint is left behind.

        Raises:
            DataError: a loss is no number, or a checkpoint cannot be written; the last checkpoint stays.
        """
        settings = self.settings
        end_s = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        last = min(settings.steps, until_step if until_step is not None else settings.steps)
        sums: dict[str, float] = {}
        started_s, started_step = time.monotonic(), self.step
        first = self.step
        while self.step < last and (end_s is None or time.monotonic() < end_s) and not stop():
            if self.step == first:
                note_piece(self.folder, first, self.device)
            for name, value in self._take_step().items():
                sums[name] = sums.get(name, 0.0) + value
            self.step += 1
            if self.step % settings.log_steps == 0 or self.step == last:
                num_steps = self.step - started_step
                spent_s = time.monotonic() - started_s
                self._log({name: value / num_steps for name, value in sums.items()}, spent_s / num_steps)
                sums, started_s, started_step = {}, time.monotonic(), self.step
            if self.step % settings.checkpoint_steps == 0 and self.step < last:
                self.save()
        self.save()

    @torch.no_grad()
    def finished(self, side_px: int) -> Student:
        """The student for use: the running average of the weights, with batch-norm statistics of its own.

        Averaged statistics are of other weights, of views of several sizes and of batches with more that is alike than
        videos have. So they are measured anew, over views at the size that the bundle will see, of pictures drawn
        evenly. On val this was worth more than any other choice after training.
        """
        student = _student(self.settings)
        student.load_state_dict({**student.state_dict(), **self._average})
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

    def save(self) -> None:
        """Leave a checkpoint."""
        tensors = {f"student.{name}": tensor for name, tensor in self.student.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self._average.items()}
        tensors["teacher.basis"] = self._basis
        for number, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in state.items()}
        save_checkpoint(self.folder, self.step, tensors)

    @torch.no_grad()
    def _begin(self, start: Mapping[str, Tensor] | None) -> None:
        """Take the weights given, or start the projection as a whitening of what a random backbone sees.

        The teacher is turned towards the student: what it says is how alike pictures are, so its vectors may be turned,
        all alike; the student starts with those that lie nearest to its own (orthogonal Procrustes).
        """
        if start is not None:
            self._take(start)
        pooled, teacher = [], []
        for step in range(STARTING_BATCHES):
            batch = self._batches.draw(step)
            with self._autocast():
                maps = self.student.maps(batch.views.target)
            pooled.append(self.student.pooled(maps))
            teacher.append(batch.teacher)
        if start is None:
            self.student.whiten(torch.cat(pooled).flatten(0, 1))
        whole = self.student.project(torch.cat(pooled)[:, 0])
        left, _, right = torch.linalg.svd((torch.cat(teacher).T @ whole).double())
        self._basis = self._basis @ (left @ right).float().cpu()
        self._average = {name: value.clone() for name, value in _floats(self.student).items()}

    def _take(self, start: Mapping[str, Tensor]) -> None:
        shapes = {name: value.shape for name, value in _floats(self.student).items()}
        if {name: value.shape for name, value in start.items()} != shapes:
            raise DataError(f"{self.folder}: the weights to begin with are of another network")
        self.student.load_state_dict({**self.student.state_dict(), **start})

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.settings.precision == "bf16")

    def _take_step(self) -> dict[str, float]:
        with _deterministic():
            return self._learn()

    def _learn(self) -> dict[str, float]:
        settings = self.settings
        rate = settings.rate_of(self.step)
        for group, factor in zip(self._optimizer.param_groups, (1.0, 1.0, MEAN_RATE), strict=True):
            group["lr"] = factor * rate
        torch.manual_seed(SEEDS_APART * settings.seed + self.step)  # a backbone may draw, for stochastic depth
        losses = self._objective.losses(self.student, self._batches.draw(self.step), self._autocast())
        total = self._objective.total(losses)
        if not math.isfinite(total.item()):
            raise DataError(
                f"{self.folder}: the loss of step {self.step} is {total.item()}; a lower learning_rate may help"
            )
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.student.parameters(), settings.max_gradient)
        self._optimizer.step()
        self._update_average()
        return {name: value.item() for name, value in (losses | {"loss": total.detach(), "gradient": norm}).items()}

    @torch.no_grad()
    def _update_average(self) -> None:
        """Running average of weights and statistics; short at the beginning, when the weights are still random."""
        decay = min(self.settings.average_decay, (1 + self.step) / (10 + self.step))
        for name, value in _floats(self.student).items():
            self._average[name].lerp_(value, 1 - decay)

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

        try:
            self.student.load_state_dict(part("student."))
            average = part("average.")
            if {n: t.shape for n, t in average.items()} != {n: t.shape for n, t in self._average.items()}:
                raise ValueError("the running average is of other weights")
            for name, value in average.items():
                self._average[name].copy_(value)
            self._basis.copy_(tensors["teacher.basis"])
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in part("optimizer.").items():
                number, _, entry = name.partition(".")
                state.setdefault(int(number), {})[entry] = value
            self._check_optimizer_state(state)
            self._optimizer.load_state_dict(
                {"state": state, "param_groups": self._optimizer.state_dict()["param_groups"]}
            )
        except (RuntimeError, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{self.folder}: the checkpoint is of another network ({reason})") from error

    def _check_optimizer_state(self, state: Mapping[int, Mapping[str, Tensor]]) -> None:
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        shapes = {i: {"step": (), "exp_avg": p.shape, "exp_avg_sq": p.shape} for i, p in enumerate(parameters)}
        fits = all({n: t.shape for n, t in of_one.items()} == shapes.get(i) for i, of_one in state.items())
        if not fits or (self.step and not state):
            raise ValueError("the state of the optimizer is of other weights")

    def _log(self, means: Mapping[str, float], seconds_a_step: float) -> None:
        settings = self.settings
        line: dict[str, Any] = {
            "step": self.step,
            **{name: round(value, 5) for name, value in means.items()},
            "learning_rate": settings.rate_of(self.step - 1),
            "side_px": settings.side_of(self.step - 1),
            "seconds_a_step": round(seconds_a_step, 3),
        }
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        logger.info("%s", " ".join(f"{name} {value}" for name, value in line.items()))


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


@contextmanager
def _deterministic() -> Iterator[None]:
    """Sums in an order of their own: with several threads the gradient of an indexing adds in any order otherwise."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fills = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)  # a GPU may know no such way: then it is said, and goes on
    memory.fill_uninitialized_memory = False  # nothing here reads memory that it has not written
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = fills


def _floats(student: Student) -> dict[str, Tensor]:
    """Weights and statistics, without counters."""
    return {name: value for name, value in student.state_dict().items() if value.is_floating_point()}

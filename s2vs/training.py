"""The training run of a student: one loop, in pieces of any length, with the same weights in the end.

    packed pictures ─ batch of step k ─► views ─► student ─► losses ─► AdamW ─► weights, their running average
                      └─ teachers' vectors of the targets' windows ─────┘

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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from visil.errors import DataError
from visil.model.backbone import BackboneSettings
from visil.model.pyramid import num_regions
from visil.s2vs.checkpoints import load_checkpoint, save_checkpoint
from visil.s2vs.claims import claim, digest, note_piece
from visil.s2vs.losses import cosine_distillation, info_nce, koleo, matching_regions_nce
from visil.s2vs.pictures import PackedPictures, batch_indices
from visil.s2vs.student import Student, region_matches
from visil.s2vs.views import Views, ViewSettings, draw_views

logger = logging.getLogger(__name__)

LOG = "log.jsonl"
SEEDS_APART = 1_000_003  # between the seeds of the steps of two runs
WHITENED_BATCHES = 8  # that the projection starts from
STATISTICS_BATCHES = 16  # that batch-norm statistics are measured over
MEAN_RATE = 0.1  # of the learning rate: entries of the projection's mean are small
VIEWS = ViewSettings(inset_weight=3.0, inset=(0.72, 0.32), mirrored=0.4, crop_area=(0.75, 0.22))  # of a plain run


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that a run depends on beside its data.

    Attributes:
        stages: of the backbone, see `BackboneSettings`.
        levels: of the pyramid of regions.
        dim: of a region vector.
        sides_px: schedule of (share, side): from this share of the run on, views have this side.
        steps: of the whole run.
        batch_size: pictures a step; each has two views.
        warmup_steps: the learning rate rises linearly.
        decay_share: of the run, at its end: the learning rate falls linearly to 0.
        temperature, pooled_temperature: of InfoNCE over frame scores, within a query and pooled over queries.
        region_temperature: of InfoNCE over single regions, the `num_matching` best ones of a query.
        host_weight: of the picture around a query as a second positive; the query's own has 1.
        whole_share: of the targets, that are whole pictures; the others are windows.
        pooled_weight, region_weight, koleo_weight, distillation_weight: of the losses; InfoNCE has weight 1.
        max_gradient: norm to which gradients are clipped.
        average_decay: a step, of the running average of the weights, which is what ships.
        precision: of the backbone: `fp32` or `bf16`.
        log_steps, checkpoint_steps: between two lines of the log, two checkpoints.
        views: schedule of (share, settings): from this share of the run on, views are drawn so.
    """

    backbone: str = "fasternet_t0"
    stages: tuple[int, ...] = (2, 3)
    levels: tuple[int, ...] = (1, 2, 3)
    dim: int = 384
    sides_px: tuple[tuple[float, int], ...] = ((0.0, 112), (0.4, 128), (0.72, 160))
    steps: int = 4375
    batch_size: int = 192
    learning_rate: float = 1.5e-3
    warmup_steps: int = 300
    decay_share: float = 0.5
    weight_decay: float = 0.05
    max_gradient: float = 1.0
    temperature: float = 0.04
    pooled_temperature: float = 0.07
    region_temperature: float = 0.07
    num_matching: int = 3
    host_weight: float = 0.25
    whole_share: float = 0.5
    pooled_weight: float = 0.3
    region_weight: float = 0.5
    koleo_weight: float = 1.5
    distillation_weight: float = 5.0
    average_decay: float = 0.998
    precision: str = "bf16"
    log_steps: int = 20
    checkpoint_steps: int = 250
    seed: int = 0
    views: tuple[tuple[float, ViewSettings], ...] = ((0.0, VIEWS), (0.4, replace(VIEWS, inset_weight=6.0)))

    def rate_of(self, step: int) -> float:
        """The learning rate of a step."""
        rising = (step + 1) / self.warmup_steps if self.warmup_steps else 1.0
        falling = (self.steps - step) / max(1.0, self.decay_share * self.steps)
        return self.learning_rate * min(1.0, rising, falling)

    def side_of(self, step: int) -> int:
        """Side of the views of a step, pixels."""
        return next(side for share, side in reversed(self.sides_px) if step >= share * self.steps)

    def views_of(self, step: int) -> ViewSettings:
        """How the views of a step are drawn."""
        return next(views for share, views in reversed(self.views) if step >= share * self.steps)


@dataclass(frozen=True)
class Teachers:
    """What the teachers see in some windows of every picture.

    Attributes:
        boxes: float32 [N, V, 4]: (top, left, height, width) as shares of the sides; the first is the whole picture.
        vectors: float16 [N, V, R, D], unit, regions as the student's.
    """

    boxes: Tensor
    vectors: Tensor

    def __post_init__(self) -> None:
        if self.boxes.ndim != 3 or self.boxes.shape[1] < 2 or self.boxes.shape[2] != 4:
            raise ValueError(f"boxes: expected [N, V, 4] with V of 2 or more, got {[*self.boxes.shape]}")
        if self.vectors.ndim != 4 or self.vectors.shape[:2] != self.boxes.shape[:2]:
            raise ValueError(f"vectors: expected [{len(self.boxes)}, V, R, D], got {[*self.vectors.shape]}")
        for name, tensor in vars(self).items():
            if tensor.dtype not in (torch.float16, torch.float32) or not tensor.numel():
                raise ValueError(f"{name}: expected numbers in half or single precision, got {tensor.dtype}")
        is_share = ((self.boxes >= 0) & (self.boxes <= 1)).all()  # no NaN is
        if not (is_share and (self.boxes[..., 2:] > 0).all()):
            raise ValueError("boxes: expected shares of the sides, from 0 to 1, with an area")

    @classmethod
    def read(cls, path: Path) -> Teachers:
        """A file that `scripts/train_mini.py` makes.

        Raises:
            DataError: it is missing, truncated, or something else.
        """
        try:
            tensors = load_file(path)
            return cls(tensors["boxes"], tensors["vectors"])
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{path}: no readable file of teachers' vectors ({reason}); delete it and let it be made again"
            ) from error


class Training:
    """A run and where it stands: made anew, or from its newest checkpoint.

    Args:
        folder: of the run; made if it is not there.

    Raises:
        DataError: the folder is of a run with other settings or data, or damaged; or the teachers are of other
            pictures.
    """

    def __init__(
        self, settings: TrainingSettings, pictures: PackedPictures, teachers: Teachers, folder: Path, *, device: str
    ) -> None:
        if len(teachers.boxes) != len(pictures) or teachers.vectors.shape[2] != num_regions(settings.levels):
            raise DataError(
                f"teachers' vectors are of {len(teachers.boxes)} pictures with {teachers.vectors.shape[2]} regions, "
                f"expected {len(pictures)} with levels {settings.levels}; make them again"
            )
        self.settings = settings
        self.folder = folder
        self.device = torch.device(device)
        self._pictures = pictures
        self._teachers = teachers
        claim(folder, asdict(settings), {"pictures": _digest_of(pictures), "teachers": digest(vars(teachers).values())})
        torch.manual_seed(settings.seed)
        self.student = _student(settings, teachers.vectors.shape[3]).to(self.device).train()
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
            self._begin()
        else:
            self.step, tensors = found
            self._restore(tensors)

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

        Averaged statistics are of other weights and of views of several sizes. So they are measured anew, over views
        at the size that the bundle will see. On val this was worth more than any other choice after training.
        """
        student = _student(self.settings, self._teachers.vectors.shape[3])
        student.load_state_dict({**student.state_dict(), **self._average})
        student.to(self.device)
        norms = [module for module in student.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
        student.train()
        for step in range(STATISTICS_BATCHES):
            views, _, _ = self._draw(step, side_px=side_px)
            student.maps(torch.cat([views.query, views.target]))
        return student.eval().cpu()

    def save(self) -> None:
        """Leave a checkpoint."""
        tensors = {f"student.{name}": tensor for name, tensor in self.student.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self._average.items()}
        for number, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in state.items()}
        save_checkpoint(self.folder, self.step, tensors)

    @torch.no_grad()
    def _begin(self) -> None:
        """Start the projection as a whitening of what the random backbone sees."""
        seen = []
        for step in range(WHITENED_BATCHES):
            views, _, _ = self._draw(step)
            with self._autocast():
                maps = self.student.maps(views.target)
            seen.append(self.student.pooled(maps).flatten(0, 1))
        self.student.whiten(torch.cat(seen))
        self._average = {name: value.clone() for name, value in _floats(self.student).items()}

    def _draw(self, step: int, *, side_px: int | None = None) -> tuple[Views, Tensor, Tensor]:
        """Views of a step, groups [B] of their pictures, and the teachers' vectors [B, R, D] of their targets.

        Args:
            side_px: of the views; None: that of the step.
        """
        settings = self.settings
        chosen = batch_indices(self._pictures.groups, seed=settings.seed, step=step, batch_size=settings.batch_size)
        generator = torch.Generator().manual_seed(SEEDS_APART * settings.seed + step)
        others = torch.randint(1, self._teachers.boxes.shape[1], (len(chosen),), generator=generator)
        is_whole = torch.rand(len(chosen), generator=generator) < settings.whole_share
        window = torch.where(is_whole, 0, others)
        views = draw_views(
            self._pictures.batch(chosen).to(self.device),
            self._teachers.boxes[chosen, window],
            self._pictures.stickers,
            side=side_px or settings.side_of(step),
            generator=generator,
            settings=settings.views_of(step),
        )
        teacher = self._teachers.vectors[chosen, window].to(self.device).float()
        return views, self._pictures.groups[chosen].to(self.device), teacher

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
        losses = self._losses(*self._draw(self.step))
        total = (
            losses["info_nce"]
            + settings.pooled_weight * losses["pooled_nce"]
            + settings.region_weight * losses["region_nce"]
            + settings.koleo_weight * losses["koleo"]
            + settings.distillation_weight * losses["distillation"]
        )
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

    def _losses(self, views: Views, groups: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        settings = self.settings
        with self._autocast():
            maps = self.student.maps(torch.cat([views.query, views.target]))
        pooled = self.student.pooled(maps)  # [2B, R, C]
        query, target = self.student.project(pooled).chunk(2)  # [B, R, D]
        with self._autocast():
            matches = region_matches(query, target)  # [B, R, B]
        scores = matches.mean(dim=1)

        is_same = groups[:, None] == groups[None, :]
        own = torch.arange(len(groups), device=groups.device)
        weights = torch.eye(len(groups), device=groups.device)
        hosted = (views.host >= 0).nonzero()[:, 0]
        weights[hosted, views.host[hosted]] = settings.host_weight
        is_negative = (weights @ is_same.float()) == 0  # neither what it shows, nor its host, nor what shows the same
        region = torch.randint(1, target.shape[1], (len(groups),)).to(groups.device)
        with torch.no_grad():
            hardest = scores.masked_fill(~is_negative, -1).amax(dim=1)
            found_first = (scores.diagonal() > hardest).float().mean()
        return {
            "info_nce": info_nce(scores, weights, is_negative, temperature=settings.temperature),
            "pooled_nce": info_nce(scores, weights, is_negative, temperature=settings.pooled_temperature, pooled=True),
            "region_nce": matching_regions_nce(
                matches, own, is_negative, count=settings.num_matching, temperature=settings.region_temperature
            ),
            "koleo": koleo(target[:, 0], ~is_same) + koleo(target[own, region], ~is_same),
            "distillation": cosine_distillation(self.student.head(pooled.chunk(2)[1]), teacher),
            "found_first": found_first,
            "positive": scores.detach().diagonal().mean(),
            "hardest_negative": hardest.mean(),
        }

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


def _student(settings: TrainingSettings, teacher_dim: int) -> Student:
    backbone = BackboneSettings(settings.backbone, settings.stages)
    return Student(backbone, levels=settings.levels, dim=settings.dim, teacher_dim=teacher_dim)


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


def _digest_of(pictures: PackedPictures) -> str:
    return digest([pictures.pictures, pictures.groups, *vars(pictures.stickers).values()])

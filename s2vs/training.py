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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visil.errors import DataError
from visil.model.backbone import BackboneSettings
from visil.model.pyramid import num_regions, region_weights
from visil.s2vs.checkpoints import load_checkpoint, save_checkpoint
from visil.s2vs.claims import claim, digest, note_piece
from visil.s2vs.furniture import FurnitureSettings, with_furniture
from visil.s2vs.losses import (
    cosine_distillation,
    false_friends,
    info_nce,
    koleo,
    matching_regions_nce,
    similarity_distillation,
)
from visil.s2vs.pictures import PackedPictures, mixed_indices, nearest_pictures, with_nearest
from visil.s2vs.student import Student, region_matches
from visil.s2vs.teacher import TeacherVectors
from visil.s2vs.views import Views, ViewSettings, draw_views

logger = logging.getLogger(__name__)

LOG = "log.jsonl"
SEEDS_APART = 1_000_003  # between the seeds of the steps of two runs
STARTING_BATCHES = 16  # that the projection starts from, and that the teacher is turned by
STATISTICS_BATCHES = 16  # that batch-norm statistics are measured over
NUM_NEAREST, CLIQUE = 16, 7  # pictures most like one to the teacher; of them come together with it
MEAN_RATE = 0.1  # of the learning rate: entries of the projection's mean are small
VIEWS = ViewSettings(inset_weight=3.0, inset=(0.72, 0.32), mirrored=0.4, crop_area=(0.75, 0.22))  # of a plain run


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that a run depends on beside its data.

    Attributes:
        stages: of the backbone, see `BackboneSettings`.
        levels: of the pyramid of regions; the first is the whole picture.
        shares: of the levels in the score of a frame, 1 together.
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
        frame_share: of the other pictures of a batch, that are frames of videos.
        hard_share: of a batch, that looks like other pictures of it to the teacher.
        teacher_host: what the picture around a query counts where the teacher's vector of what it shows is asked for;
            the query's own counts 1.
        bank_size: vectors of the teacher that a query and a target are compared with, besides the batch's own.
        bank_temperature, similarity_temperature: of the two losses that compare with the bank.
        num_friends: highest similarities with others that are held against the teacher's.
        alike: cosine of the teacher from which on two pictures are no negatives of each other.
        apart: cosine of the teacher below which KoLeo drives two pictures apart.
        pooled_weight, region_weight, koleo_weight: of the losses between queries and targets; InfoNCE has weight 1.
        bank_weight, similarity_weight, distillation_weight, friends_weight, window_weight: of those with the teacher.
        max_gradient: norm to which gradients are clipped.
        average_decay: a step, of the running average of the weights, which is what ships.
        precision: of the backbone: `fp32` or `bf16`.
        log_steps, checkpoint_steps: between two lines of the log, two checkpoints.
        views: schedule of (share, settings): from this share of the run on, views are drawn so.
    """

    backbone: str = "fasternet_t0"
    stages: tuple[int, ...] = (2, 3)
    levels: tuple[int, ...] = (1, 2, 3)
    shares: tuple[float, ...] = (0.5, 0.15, 0.35)
    dim: int = 384
    sides_px: tuple[tuple[float, int], ...] = ((0.0, 96), (0.4, 128), (0.72, 160))
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
    frame_share: float = 0.15
    hard_share: float = 0.45
    teacher_host: float = 0.4
    bank_size: int = 4096
    bank_temperature: float = 0.05
    similarity_temperature: float = 0.05
    num_friends: int = 16
    alike: float = 0.5
    apart: float = 0.3
    pooled_weight: float = 0.3
    region_weight: float = 0.5
    koleo_weight: float = 0.3
    bank_weight: float = 1.0
    similarity_weight: float = 1.0
    distillation_weight: float = 2.0
    friends_weight: float = 4.0
    window_weight: float = 2.0
    average_decay: float = 0.998
    precision: str = "bf16"
    log_steps: int = 20
    checkpoint_steps: int = 250
    seed: int = 0
    views: tuple[tuple[float, ViewSettings], ...] = ((0.0, VIEWS), (0.4, replace(VIEWS, inset_weight=6.0)))
    furniture: FurnitureSettings = field(default_factory=FurnitureSettings)

    def __post_init__(self) -> None:
        is_ascending = list(self.levels) == sorted(set(self.levels)) and self.levels[:1] == (1,)
        if not is_ascending or len(self.shares) != len(self.levels) or abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(
                f"expected rising levels from 1 and a share for each, 1 together, got {self.levels} and {self.shares}"
            )
        if not 1 <= self.num_matching <= num_regions(self.levels):
            raise ValueError(
                f"num_matching must lie between 1 and the regions of {self.levels}, got {self.num_matching}"
            )
        if not 0 <= self.hard_share < 1 or not 0 <= self.frame_share < 1:
            raise ValueError("frame_share and hard_share must be at least 0 and less than 1")
        if self.num_friends > self.bank_size:
            raise ValueError(f"num_friends must be at most bank_size, got {self.num_friends} and {self.bank_size}")

    @property
    def num_dealt(self) -> int:
        """Pictures of a batch that are dealt; the others look like some of them."""
        return self.batch_size - round(self.hard_share * self.batch_size)

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
        self._pictures = pictures
        claim_folder(folder, settings, pictures, teacher, start)
        self._basis = teacher.leading(settings.dim)  # [D', D], of what the student learns; see `_begin`
        self._teacher = teacher.through(self._basis)
        self._nearest = nearest_pictures(
            self._teacher.vectors[:, 0], pictures.groups, count=min(NUM_NEAREST, len(pictures) - 1)
        )
        self._weights = torch.tensor(region_weights(settings.levels, settings.shares), device=self.device)
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
        self._teacher = teacher.through(self._basis)

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
            views = self._draw(step, settings=evenly, side_px=side_px).views
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
            batch = self._draw(step)
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

    def _draw(self, step: int, *, settings: TrainingSettings | None = None, side_px: int | None = None) -> Batch:
        """What a step learns from.

        Args:
            settings: other than those of the run.
            side_px: of the views; None: that of the step.
        """
        settings = settings or self.settings
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
            pictures.batch(chosen).to(self.device),
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
            pictures.groups[chosen].to(self.device),
            teacher.vectors[chosen, window].to(self.device),
            teacher.vectors[chosen, 0].to(self.device),
            teacher.vectors[bank, bank_window].to(self.device),
            pictures.groups[bank].to(self.device),
            within.to(self.device),
            teacher.boxes[chosen[within], 1:].to(self.device),
            teacher.vectors[chosen[within], 1:].to(self.device),
        )

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
        losses = self._losses(self._draw(self.step))
        total = (
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

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        settings, views, groups, teacher = self.settings, batch.views, batch.groups, batch.teacher
        with self._autocast():
            maps = self.student.maps(torch.cat([views.query, views.target]))
        query, target = self.student.project(self.student.pooled(maps)).chunk(2)  # [B, R, D]
        with self._autocast():
            matches = region_matches(query, target)  # [B, R, B]
        scores = torch.einsum("qrt,r->qt", matches, self._weights)

        own = torch.arange(len(groups), device=groups.device)
        is_same = groups[:, None] == groups[None, :]
        likeness = teacher @ teacher.T
        shown = _shown(views, len(groups), settings.host_weight)  # [B, B]
        is_negative = (shown @ is_same.float()) == 0  # neither what it shows, nor its host, nor what shows the same
        is_unlike = _unlike(batch, shown, is_negative, settings.alike)
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
            **self._teacher_losses(batch, query[:, 0], target[:, 0]),
            **self._window_losses(batch, [stage.chunk(2)[1] for stage in maps]),
            "found_first": found_first,
            "positive": scores.detach().diagonal().mean(),
            "hardest_negative": hardest.mean(),
        }

    def _teacher_losses(self, batch: Batch, query: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Of the vectors of the whole picture [B, D] against what the teacher says of the targets and of the bank.

        A query is asked for the teacher's vector of its target, though it is edited; one that lies in a host for both.
        One without a host is held against it as the target itself is.
        """
        settings, teacher, views = self.settings, batch.teacher, batch.views
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

    def _window_losses(self, batch: Batch, maps: list[Tensor]) -> dict[str, Tensor]:
        """What the student sees in windows of whole pictures, against what the teacher says of them cut out."""
        if not len(batch.within):
            nothing = batch.teacher.new_zeros(())
            return {"windows": nothing, "window_friends": nothing}
        pooled = self.student.pooled_windows([stage[batch.within] for stage in maps], batch.windows)
        found, wanted = self.student.project(pooled), batch.window_teacher  # [W, K, D]
        is_other = batch.groups[batch.within][:, None] != batch.bank_groups  # [W, M]
        one = torch.randint(found.shape[1], (len(found),)).to(found.device)  # window of each
        rows = torch.arange(len(found), device=found.device)
        return {
            "windows": cosine_distillation(found, wanted),
            "window_friends": false_friends(
                found[rows, one], wanted[rows, one], batch.bank, is_other, count=self.settings.num_friends
            ),
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

    Raises:
        DataError: it is of another run, or cannot be read or written.
    """
    data = {"pictures": pictures.digest, "teacher": digest(vars(teacher).values())}
    if start is not None:
        data["start"] = digest(start[name] for name in sorted(start))
    claim(folder, asdict(settings), data)


def _student(settings: TrainingSettings) -> Student:
    return Student(BackboneSettings(settings.backbone, settings.stages), levels=settings.levels, dim=settings.dim)


def _shown(views: Views, count: int, host_weight: float) -> Tensor:
    """What every query shows of the pictures of its batch, [B, B]: its own 1, its host the given weight."""
    shown = torch.eye(count, device=views.host.device)
    hosted = (views.host >= 0).nonzero()[:, 0]
    shown[hosted, views.host[hosted]] = host_weight
    return shown


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


def _unlike(batch: Batch, shown: Tensor, is_negative: Tensor, alike: float) -> Tensor:
    """Of the negatives [B, B] those that the teacher does not find alike to what a query shows; all if none is left.

    A host counts as a whole: more of it is seen around a query than its own target's window.
    """
    hosts = shown - torch.eye(len(shown), device=shown.device)
    is_alike = (batch.teacher @ batch.teacher.T >= alike) | (
        (hosts @ (batch.whole_teacher @ batch.teacher.T >= alike).float()) > 0
    )
    is_unlike = is_negative & ~is_alike
    return torch.where(is_unlike.any(dim=1, keepdim=True), is_unlike, is_negative)

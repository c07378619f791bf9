"""The training loop: one for the backbone, for S2VS and for students.

    task: batch of step k ─► its module ─► losses ─► gradient ─► optimizer ─► running average, log, checkpoint, best
                             [this module: the order of it, pieces, processes, what is kept]

A run can end after any step and go on from its newest checkpoint, with the weights of a run in one piece (same machine,
threads and versions; CPU): batches are drawn, and dropout seeded, by the seed of the run and the number of the step
alone. Under `torchrun` every process draws its share of a batch, and gradients are averaged over the processes
(DistributedDataParallel); the losses of a process see its own share only, as in the paper.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from visil.errors import DataError
from visil.s2vs.checkpoints import load_checkpoint, save_checkpoint
from visil.s2vs.claims import note_piece

logger = logging.getLogger(__name__)

LOG, BEST = "log.jsonl", "best.safetensors"
SEEDS_APART = 1_000_003  # between the seeds of the steps of two runs
LOSS = "loss"  # by this name a task gives what is minimised


@dataclass(frozen=True)
class Share:
    """Which share of a batch a process draws: the `rank`-th of `count`."""

    rank: int = 0
    count: int = 1


def this_share() -> Share:
    """Of this process."""
    return Share(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Share()


class Task(Protocol):
    """What is trained."""

    @property
    def module(self) -> nn.Module:
        """Batch -> numbers to log by name, tensors []; `LOSS` among them is minimised."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Of the module's parameters; a group's `rate_factor`, 1 if it has none, multiplies the rate of a step."""

    def begin(self) -> None:
        """Where there is no checkpoint: what is done before the first step."""

    def draw(self, batch: int, share: Share) -> Any:
        """What the module takes; by the number of the batch and the share alone."""

    def rate_of(self, step: int) -> float:
        """The learning rate of a step."""

    def validate(self) -> Mapping[str, float]:
        """Figures of the module as it is, the first of them the one that the best has highest; empty: none."""

    def tensors(self) -> Mapping[str, Tensor]:
        """What else a checkpoint holds, by names with a dot; restored in place."""


@dataclass(frozen=True)
class LoopSettings:
    """How the loop runs.

    Attributes:
        steps: of the whole run.
        accumulation: batches whose gradients are averaged in a step.
        max_gradient: norm to which gradients are clipped; None: they are not.
        average_decay: a step, of the running average of weights and statistics; None: there is none.
        scales_gradients: as fp16 needs it, and nothing else.
        log_steps, checkpoint_steps: between two lines of the log, two checkpoints.
        validation_steps: between two validations; one is always at the end. None: never.
    """

    steps: int
    seed: int = 0
    accumulation: int = 1
    max_gradient: float | None = None
    average_decay: float | None = None
    scales_gradients: bool = False
    log_steps: int = 20
    checkpoint_steps: int = 250
    validation_steps: int | None = None


class Loop:
    """A run and where it stands: made anew, or from its newest checkpoint.

    Args:
        task: its module lies on the device.
        folder: of the run, claimed by whoever knows what it depends on (`claims.claim`).

    Raises:
        DataError: the checkpoint is damaged, or of another network.
    """

    def __init__(self, task: Task, settings: LoopSettings, folder: Path, device: torch.device) -> None:
        self._task = task
        self._settings = settings
        self._folder = folder
        self._device = device
        self._share = this_share()
        self._scaler = torch.amp.GradScaler(device.type, enabled=settings.scales_gradients)
        self._best = torch.tensor(-math.inf, dtype=torch.float64)
        self.average = _copies(floats(task.module)) if settings.average_decay is not None else {}
        self.step = 0
        self.on_log: Callable[[int, Mapping[str, float]], None] | None = None
        """Also told of every line of the log, by the first process."""
        self._sums: dict[str, float] = {}  # of what is logged next
        self._num_summed = 0
        found = load_checkpoint(folder)
        if found is None:
            task.begin()
            self.average = _copies(floats(task.module)) if settings.average_decay is not None else {}
        else:
            self.step, tensors = found
            self._restore(tensors)
        if not self._share.rank:
            self._cut_log()
        is_shared = self._share.count > 1
        self._module = DistributedDataParallel(task.module) if is_shared else task.module

    @property
    def is_done(self) -> bool:
        return self.step >= self._settings.steps

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
        settings = self._settings
        end_s = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        last = min(settings.steps, until_step if until_step is not None else settings.steps)
        started_s, started_step = time.monotonic(), self.step
        first = self.step
        while self.step < last and not self._all_agree((end_s is not None and time.monotonic() >= end_s) or stop()):
            if self.step == first and not self._share.rank:
                note_piece(self._folder, first, self._device)
            for name, value in self._take_step().items():
                self._sums[name] = self._sums.get(name, 0.0) + value
            self._num_summed += 1
            self.step += 1
            if self.step % settings.log_steps == 0 or self.is_done:
                means = {name: value / self._num_summed for name, value in self._sums.items()}
                means["learning_rate"] = self._task.rate_of(self.step - 1)
                self._log({**means, "seconds_a_step": (time.monotonic() - started_s) / (self.step - started_step)})
                self._sums, self._num_summed = {}, 0
                started_s, started_step = time.monotonic(), self.step
            if settings.validation_steps and (self.step % settings.validation_steps == 0 or self.is_done):
                self._validate()
            if self.step % settings.checkpoint_steps == 0 and self.step < last:
                self.save()
        self.save()

    def save(self) -> None:
        """Leave a checkpoint."""
        if not self._share.rank:
            save_checkpoint(self._folder, self.step, self._tensors())
        if self._share.count > 1:
            dist.barrier()

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"module.{name}": tensor for name, tensor in self._task.module.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        for number, state in self._task.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in state.items()}
        scale = {f"scaler.{name}": torch.as_tensor(value) for name, value in self._scaler.state_dict().items()}
        sums = {f"log.sum.{name}": torch.tensor(value, dtype=torch.float64) for name, value in self._sums.items()}
        rest = {"best.figure": self._best, "log.count": torch.tensor(self._num_summed)}
        return tensors | scale | sums | rest | dict(self._task.tensors())

    def _take_step(self) -> dict[str, float]:
        with deterministic():
            return self._learn()

    def _learn(self) -> dict[str, float]:
        settings, optimizer = self._settings, self._task.optimizer
        rate = self._task.rate_of(self.step)
        for group in optimizer.param_groups:
            group["lr"] = group.get("rate_factor", 1.0) * rate
        optimizer.zero_grad(set_to_none=True)
        sums: dict[str, float] = {}
        for turn in range(settings.accumulation):
            number = settings.accumulation * self.step + turn
            torch.manual_seed(SEEDS_APART * settings.seed + number)  # a module may draw, for dropout
            batch = self._task.draw(number, self._share)
            with self._synchronised(turn == settings.accumulation - 1):
                found: dict[str, Tensor] = self._module(batch)
                self._check(found[LOSS])
                self._scaler.scale(found[LOSS] / settings.accumulation).backward()
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + value.item() / settings.accumulation
        if settings.max_gradient is not None:
            self._scaler.unscale_(optimizer)
            norm = torch.nn.utils.clip_grad_norm_(self._task.module.parameters(), settings.max_gradient)
            sums["gradient"] = norm.item()
        self._scaler.step(optimizer)
        self._scaler.update()
        self._update_average()
        return sums

    def _synchronised(self, is_last: bool) -> AbstractContextManager[object]:
        """Gradients of several batches are exchanged once."""
        if isinstance(self._module, DistributedDataParallel) and not is_last:
            return self._module.no_sync()
        return nullcontext()

    def _check(self, loss: Tensor) -> None:
        if not math.isfinite(loss.item()):
            raise DataError(
                f"{self._folder}: the loss of step {self.step} is {loss.item()}; a lower learning rate may help"
            )

    def _all_agree(self, ends: bool) -> bool:
        """Whether any process wants to end: then all do, after the same step."""
        if self._share.count == 1:
            return ends
        asked = torch.tensor(float(ends), device=self._device)
        dist.all_reduce(asked, dist.ReduceOp.MAX)
        return bool(asked.item())

    @torch.no_grad()
    def _update_average(self) -> None:
        """Running average of weights and statistics; short at the beginning, when the weights are still random."""
        if self._settings.average_decay is None:
            return
        decay = min(self._settings.average_decay, (1 + self.step) / (10 + self.step))
        for name, value in floats(self._task.module).items():
            self.average[name].lerp_(value, 1 - decay)

    def _validate(self) -> None:
        """Note the figures of the module as it is, and keep it if it is the best so far."""
        was_training = self._task.module.training
        self._task.module.eval()
        figures = dict(self._task.validate())
        self._task.module.train(was_training)
        if self._share.rank or not figures:
            return
        self._log({f"val_{name}": value for name, value in figures.items()})
        figure = next(iter(figures.values()))
        if figure > self._best.item() or not (self._folder / BEST).exists():
            self._best.fill_(figure)
            weights = {name: t.detach().cpu().contiguous() for name, t in self._task.module.state_dict().items()}
            partial = self._folder / f".{BEST}.partial"
            save_file(weights, partial, {"step": str(self.step), "figure": repr(figure)})
            partial.replace(self._folder / BEST)

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

        try:
            self._task.module.load_state_dict(part("module."))
            _copy_all(part("average."), self.average, "the running average")
            _copy_all(
                {name: tensors[name] for name in self._task.tensors()}, self._task.tensors(), "what the task keeps"
            )
            self._best.copy_(tensors["best.figure"])
            self._sums = {name: value.item() for name, value in part("log.sum.").items()}
            self._num_summed = int(tensors.get("log.count", torch.tensor(0)))
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in part("optimizer.").items():
                number, _, entry = name.partition(".")
                state.setdefault(int(number), {})[entry] = value
            self._check_optimizer_state(state)
            groups = self._task.optimizer.state_dict()["param_groups"]
            self._task.optimizer.load_state_dict({"state": state, "param_groups": groups})
            self._scaler.load_state_dict({name: value.item() for name, value in part("scaler.").items()})
        except (RuntimeError, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{self._folder}: the checkpoint is of another network ({reason})") from error

    def _cut_log(self) -> None:
        """Take out what a run that broke off wrote behind its last checkpoint: it will be written again."""
        place = self._folder / LOG
        if not place.exists():
            return
        lines = place.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if _step_of(line) <= self.step]
        if len(kept) < len(lines):
            partial = place.with_name(f".{LOG}.partial")
            partial.write_text("".join(kept), encoding="utf-8")
            partial.replace(place)

    def _check_optimizer_state(self, state: Mapping[int, Mapping[str, Tensor]]) -> None:
        parameters = [p for group in self._task.optimizer.param_groups for p in group["params"]]
        shapes = {i: {"step": (), "exp_avg": p.shape, "exp_avg_sq": p.shape} for i, p in enumerate(parameters)}
        fits = all({n: t.shape for n, t in of_one.items()} == shapes.get(i) for i, of_one in state.items())
        may_be_empty = not self.step or self._settings.scales_gradients  # whose first steps can be left out
        if not fits or not (state or may_be_empty):
            raise ValueError("the state of the optimizer is of other weights")

    def _log(self, figures: Mapping[str, float]) -> None:
        if self._share.rank:
            return
        line: dict[str, Any] = {"step": self.step, **{name: _rounded(value) for name, value in figures.items()}}
        with (self._folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.on_log is not None:
            self.on_log(self.step, figures)
        logger.info("%s", " ".join(f"{name} {value}" for name, value in line.items()))


@contextmanager
def first_alone() -> Iterator[None]:
    """Of several processes the first goes through the body alone, then the others: for what is written once."""
    is_first = not dist.is_initialized() or dist.get_rank() == 0
    if not is_first:
        dist.barrier()
    yield  # an error of the first ends its process, and with it the waiting of the others
    if is_first and dist.is_initialized():
        dist.barrier()


@contextmanager
def ending_softly() -> Iterator[list[int]]:
    """Signals that asked for the end: the first of a kind is only noted here, the next does what it always does."""
    asked: list[int] = []
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(number, usual[signal.Signals(number)])
        logger.info("stopping after this step; once more: at once, and back to the last checkpoint")

    for number in usual:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


@contextmanager
def deterministic() -> Iterator[None]:
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


def floats(module: nn.Module) -> dict[str, Tensor]:
    """Weights and statistics, without counters."""
    return {name: value for name, value in module.state_dict().items() if value.is_floating_point()}


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in tensors.items()}


def _copy_all(found: Mapping[str, Tensor], into: Mapping[str, Tensor], what: str) -> None:
    if {n: t.shape for n, t in found.items()} != {n: t.shape for n, t in into.items()}:
        raise ValueError(f"{what} is of other weights")
    for name, value in found.items():
        into[name].copy_(value)


def _step_of(line: str) -> float:
    """Of a line of a log; infinite where a kill cut it off."""
    try:
        return float(json.loads(line)["step"]) if line.endswith("\n") else math.inf
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf


def _rounded(value: float) -> float:
    """To five digits, however small."""
    return float(f"{value:.5g}")

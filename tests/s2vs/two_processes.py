"""Run by torchrun in two processes: gradients and weights against those of one process that averages by hand.

    python -m torch.distributed.run --standalone --nproc-per-node 2 tests/s2vs/two_processes.py PROJECT

Ends with an error where they differ, and where they do not differ although the averaging was taken out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from visil.s2vs.loop import LOSS, SEEDS_APART, Share
from visil.s2vs.settings import read_settings
from visil.s2vs.training import S2VSTraining

STEPS, RATE = 20, 1e-3
CHANGES = [
    "training.batch=2",
    f"schedule.steps={STEPS}",
    f"schedule.rate={RATE}",
    "schedule.warmup_steps=0",
    "schedule.final_share=1.0",
    "data.validation_frames=[]",
]


def trained(project: Path, name: str, *, steps: int, is_averaged: bool = True) -> S2VSTraining:
    settings = read_settings(project / "s2vs.toml", CHANGES)
    training = S2VSTraining(settings, settings.data, project / name, base=project)
    if not is_averaged:
        training.loop._module = training.module
    training.loop.run(until_step=steps)
    return training


def by_hand(project: Path, *, steps: int) -> S2VSTraining:
    """One process: the gradients of both shares of a batch, one after the other, and their mean."""
    training = trained(project, "by-hand", steps=0)
    for step in range(steps):
        for group in training.optimizer.param_groups:
            group["lr"] = RATE
        training.optimizer.zero_grad()
        for rank in range(2):
            torch.manual_seed(SEEDS_APART * training.settings.training.seed + step)
            (training.module(training.draw(step, Share(rank, 2)))[LOSS] / 2).backward()
        training.optimizer.step()
    return training


def farthest(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """Largest difference, relative to the largest entry of a tensor."""
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-12)) for a, b in pairs)


def gradients(training: S2VSTraining) -> list[torch.Tensor]:
    return [parameter.grad for parameter in training.module.parameters() if parameter.grad is not None]


def main() -> None:
    dist.init_process_group("gloo")
    project = Path(sys.argv[1])
    one_step = gradients(by_hand(project, steps=1))
    assert farthest(gradients(trained(project, "once", steps=1)), one_step) < 1e-5
    alone = trained(project, "once-alone", steps=1, is_averaged=False)
    assert farthest(gradients(alone), one_step) > 1e-2, "the gradients agree although nothing averages them"
    expected = [parameter.detach() for parameter in by_hand(project, steps=STEPS).module.parameters()]
    found = [parameter.detach() for parameter in trained(project, "all", steps=STEPS).module.parameters()]
    assert max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True)) < 1e-4
    others = [torch.zeros_like(parameter) for parameter in found]
    for mine, theirs in zip(found, others, strict=True):
        theirs.copy_(mine)
        dist.broadcast(theirs, src=0)
        assert mine.equal(theirs), "the processes have other weights"
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

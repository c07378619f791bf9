"""Checks that training in pieces gives the weights of one piece, byte by byte, at real size (CPU).

    python scripts/check_resume.py --work WORK --steps 10 --batch 32 --threads 1

Trains the settings of `scripts/train_mini.py`, shortened, once in one process and once in five; the sides of views and
the way they are drawn change on the way. Compares all tensors of the last checkpoints: weights, batch-norm statistics,
running average, state of the optimizer. Pictures and the teacher's vectors are those in WORK (made by that recipe).
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import multiprocessing
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from visil.s2vs.backbone.pictures import PackedPictures
from visil.s2vs.backbone.teacher import TeacherVectors
from visil.s2vs.backbone.training import Training
from visil.s2vs.backbone.training_settings import TrainingSettings
from visil.s2vs.checkpoints import load_checkpoint

NUM_PIECES = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=10, help="[default: 10]")
    parser.add_argument("--batch", type=int, default=TrainingSettings.batch_size, help="[default: %(default)s]")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="[default: torch's]")
    options = parser.parse_args()
    settings = replace(TrainingSettings(), steps=options.steps, batch_size=options.batch, warmup_steps=2, log_steps=1)
    ends = sorted({round(options.steps * part / NUM_PIECES) for part in range(1, NUM_PIECES + 1)} - {0})
    with tempfile.TemporaryDirectory() as folder:
        whole, pieces = Path(folder, "whole"), Path(folder, "pieces")
        for run, end in [(whole, options.steps), *((pieces, end) for end in ends)]:
            process = multiprocessing.get_context("spawn").Process(
                target=_train, args=(options.work, run, settings, end, options.threads)
            )
            process.start()
            process.join()
            if process.exitcode:
                return process.exitcode
        expected, found = _bytes_of(whole), _bytes_of(pieces)
    other = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    changed = sorted({settings.side_of(step) for step in range(options.steps)})
    print(
        f"{settings.backbone}, {settings.precision}, {options.threads} threads, batch {options.batch}, "
        f"sides {changed} px: {options.steps} steps in one process and with stops after {ends[:-1]}"
    )
    for name, tensors in (("one piece", expected), ("pieces", found)):
        print(f"{name}: {len(tensors)} tensors, {sum(map(len, tensors.values()))} bytes, sha256 {_hash(tensors)}")
    print(f"different: {', '.join(other)}" if other else "equal, byte by byte")
    return int(bool(other))


def _train(work: Path, run: Path, settings: TrainingSettings, until_step: int, threads: int) -> None:
    """A piece, in a process of its own."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    torch.set_num_threads(threads)
    pictures = PackedPictures.read(work / "pictures.safetensors")
    teacher = TeacherVectors.read(work / "teacher.safetensors")
    Training(settings, pictures, teacher, run, device="cpu").run(until_step=until_step)


def _bytes_of(run: Path) -> dict[str, bytes]:
    checkpoint = load_checkpoint(run)
    assert checkpoint is not None  # a piece has just left it
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in checkpoint[1].items()}


def _hash(tensors: dict[str, bytes]) -> str:
    hashed = hashlib.sha256()
    for name in sorted(tensors):
        hashed.update(name.encode() + tensors[name])
    return hashed.hexdigest()


if __name__ == "__main__":
    sys.exit(main())

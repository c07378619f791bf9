"""Where a training run stands, on disk: small files that are complete or not there.

    RUN/settings.json, pieces.jsonl     whose the folder is, see claims.py
    RUN/log.jsonl                       a line every few steps
    RUN/step-0001200/00.safetensors ... all tensors, in files of at most 16 MiB
    RUN/step-0001200/index.json         written last: number and hashes of the files

A checkpoint is written into a folder of another name, which then gets its own; only then the one before is deleted.
Where a run broke off between the two, the newest counts.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from visil.errors import DataError

MAX_FILE_BYTES = 16 * 2**20 - 2**16  # the header of a file counts too
INDEX = "index.json"


def save_checkpoint(run: Path, step: int, tensors: Mapping[str, Tensor]) -> None:
    """Write the checkpoint of a step, unless it is there (a run has one state at a step), and delete all others.

    Raises:
        DataError: it cannot be written; the one before stays.
    """
    place = run / _name(step)
    try:
        for left_over in run.glob(".step-*.partial"):
            shutil.rmtree(left_over)
        if not place.exists():
            partial = run / f".{place.name}.partial"
            partial.mkdir(parents=True)
            _write(partial, step, tensors)
            partial.rename(place)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(run / f".{place.name}.partial", ignore_errors=True)
        raise DataError(f"{place}: the checkpoint cannot be written ({error}); the one before stays") from error
    for other in run.glob("step-*"):
        if other != place:
            shutil.rmtree(other, ignore_errors=True)


def load_checkpoint(run: Path) -> tuple[int, dict[str, Tensor]] | None:
    """Step and tensors of the newest checkpoint; None if there is none.

    Raises:
        DataError: it is damaged.
    """
    places = sorted(run.glob("step-*"))
    if not places:
        return None
    place = places[-1]
    try:
        index = json.loads((place / INDEX).read_text(encoding="utf-8"))
        tensors: dict[str, Tensor] = {}
        if type(index["step"]) is not int or place.name != _name(index["step"]):
            raise ValueError(f"its index is of step {index['step']!r}")
        for name, expected in index["sha256"].items():
            if name != Path(name).name:
                raise ValueError(f"its index names {name!r}, which is no file in it")
            if _hash(place / name) != expected:
                raise DataError(f"{place / name}: the checkpoint is damaged; delete the folder {place} and begin anew")
            tensors |= load_file(place / name)
        return index["step"], tensors
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{place}: no complete checkpoint ({error}); delete the folder and begin anew") from error


def _name(step: int) -> str:
    return f"step-{step:07d}"


def _write(folder: Path, step: int, tensors: Mapping[str, Tensor]) -> None:
    hashes = {}
    for number, shard in enumerate(_shards(tensors)):
        file = folder / f"{number:02d}.safetensors"
        save_file(shard, file)
        hashes[file.name] = _hash(file)
    (folder / INDEX).write_text(json.dumps({"step": step, "sha256": hashes}, indent=1), encoding="utf-8")
    for file in folder.iterdir():  # a rename may reach the disk before the content does
        with file.open("rb+") as written:
            os.fsync(written.fileno())


def _shards(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    num_bytes = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        if shards[-1] and num_bytes + tensor.nbytes > MAX_FILE_BYTES:
            shards.append({})
            num_bytes = 0
        shards[-1][name] = tensor.clone(memory_format=torch.contiguous_format)
        num_bytes += tensor.nbytes
    return shards


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()

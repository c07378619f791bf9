"""`visil s2vs train` as a call: the frames of videos, one process or several, an end that can be asked for, a bundle.

CONFIG ─► settings ─► frames of [data] videos ─► S2VSTraining ─► loop ─► RUN/bundle.safetensors
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist

from visil.errors import DataError
from visil.library.files import find_files
from visil.model.bundle import load_bundle
from visil.model.catalogue import find_bundle
from visil.s2vs.clips import extract_frames
from visil.s2vs.settings import Data, S2VSSettings, placed, read_settings
from visil.s2vs.training import S2VSTraining

logger = logging.getLogger(__name__)

FRAMES, BUNDLE = "frames", "bundle.safetensors"  # in the folder of a run
BACKENDS = {"cuda": "nccl"}  # of several processes; gloo for other devices


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        bundle: its file, if all steps are done.
        failed: why videos and clips were left out, by their ids.
        signal: that asked for the end, if any.
    """

    step: int
    steps: int
    bundle: Path | None
    failed: Mapping[str, str]
    signal: int | None

    @property
    def status(self) -> int:
        """Exit status."""
        if self.signal is not None:
            return 128 + self.signal
        return 1 if self.failed else 0


def run(
    config: Path,
    folder: Path,
    *,
    changes: Sequence[str] = (),
    max_minutes: float | None = None,
    name: str = "s2vs",
    device: str = "cpu",
) -> Outcome:
    """Train as settings say, from where the folder's run stands.

    Raises:
        DataError: settings, folder or data are not right.
    """
    settings = read_settings(config, changes)
    with _processes(device) as device, ending_softly() as asked:
        data, failed = _with_frames(settings, folder, config.parent)
        training = S2VSTraining(settings, data, folder, base=config.parent, device=device)
        training.fill(lambda: bool(asked))
        training.loop.run(max_minutes=max_minutes, stop=lambda: bool(asked))
        bundle = None
        if training.loop.is_done and _is_first():
            bundle = folder / BUNDLE
            training.finished(name).save(bundle)
        return Outcome(
            training.loop.step, settings.schedule.steps, bundle, {**failed, **training.failed}, next(iter(asked), None)
        )


def _with_frames(settings: S2VSSettings, folder: Path, base: Path) -> tuple[Data, dict[str, str]]:
    """The data with folders of frames in the place of videos, and why some have none."""
    data = settings.data
    if not data.videos:
        return data, {}
    root = placed(base, data.cache) if data.cache else folder / FRAMES
    failed: dict[str, str] = {}
    if _is_first():
        found = find_files([placed(base, path) for path in data.videos])
        if not found.files:
            raise DataError(f"[data] videos: no video in {', '.join(data.videos)}")
        preprocessing = load_bundle(find_bundle(settings.bundle)).settings.preprocessing
        videos: dict[str, Path] = {}
        for file in found.files:
            name = file.name if file.name not in videos else f"{file.root.name}/{file.name}"
            videos[name] = file.path
        extraction = extract_frames(videos, root, preprocessing)
        failed = dict(extraction.failed)
        logger.info("frames: %d new, %d there, %d failed", extraction.done, extraction.kept, len(failed))
    if dist.is_initialized():
        dist.barrier()
    return replace(data, frames=(*data.frames, str(root.absolute()))), failed


@contextmanager
def _processes(device: str) -> Iterator[str]:
    """Joins the others where torchrun started several; the device of this one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    kind = torch.device(device).type
    own = f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
    dist.init_process_group(BACKENDS.get(kind, "gloo"))
    try:
        yield own
    finally:
        dist.destroy_process_group()


def _is_first() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


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

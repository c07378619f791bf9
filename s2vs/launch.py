"""`visil s2vs train` as a call: the frames of videos, one process or several, an end that can be asked for, a bundle.

CONFIG ─► settings ─► frames of [data] videos ─► who may show the same ─► S2VSTraining ─► loop ─► RUN/bundle.safetensors
"""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from visil.errors import DataError
from visil.library.files import FoundFile, find_files
from visil.model.bundle import load_bundle
from visil.model.model import Model
from visil.s2vs.claims import claim
from visil.s2vs.clips import digest_of, extract_frames
from visil.s2vs.loop import ending_softly, first_alone
from visil.s2vs.overlay_assets import augly_assets
from visil.s2vs.screening import check_packages, screen_clips, screened
from visil.s2vs.settings import Data, S2VSSettings, placed, read_settings
from visil.s2vs.tensorboard import tensorboard_log
from visil.s2vs.training import S2VSTraining, bundle_file, clips_below

logger = logging.getLogger(__name__)

FRAMES, SCREENING, BUNDLE = "frames", "screening", "bundle.safetensors"  # in the folder of a run
LONGEST_WAIT = timedelta(hours=24)  # of a process for the first one, which extracts frames
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}  # of several processes


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        bundle: its file, if all steps are done.
        failed: why videos and clips were left out, by their ids; in all processes.
        signal: that asked for the end, if any.
        is_first: of several processes, which speaks for all.
    """

    step: int
    steps: int
    bundle: Path | None
    failed: Mapping[str, str]
    signal: int | None
    is_first: bool = True

    @property
    def status(self) -> int:
        """Exit status."""
        if self.signal is not None:
            return 128 + self.signal
        return 1 if self.failed and self.is_first else 0


def run(
    config: Path,
    folder: Path,
    *,
    changes: Sequence[str] = (),
    max_minutes: float | None = None,
    name: str = "s2vs",
    device: str = "cpu",
    tensorboard: bool = False,
) -> Outcome:
    """Train as settings say, from where the folder's run stands.

    Args:
        tensorboard: whether the log is also written for TensorBoard.

    Raises:
        DataError: settings, folder or data are not right.
    """
    settings = read_settings(config, changes)
    _check_packages(settings, tensorboard)
    end_s = None if max_minutes is None else time.monotonic() + 60 * max_minutes
    with _processes(device) as device, ending_softly() as asked:

        def stop() -> bool:
            return bool(asked) or (end_s is not None and time.monotonic() >= end_s)

        try:
            data, failed = _with_frames(settings, folder, config.parent, stop)
            if data is None:
                return Outcome(0, settings.schedule.steps, None, failed, next(iter(asked), None), _is_first())
            related = None
            if data.screening:
                related = _screened(settings, data, folder, config.parent, device, stop)
                if related is None:
                    return Outcome(0, settings.schedule.steps, None, failed, next(iter(asked), None), _is_first())
            training = S2VSTraining(settings, data, folder, base=config.parent, device=device, screened=related)
            if tensorboard and _is_first():
                training.loop.on_log = tensorboard_log(folder, training.loop.step)
            training.fill(stop)
            training.loop.run(stop=stop)
            bundle = folder / BUNDLE if training.loop.is_done else None
            if bundle is not None and _is_first():
                training.finished(name).save(bundle)
            failed = _of_all({**failed, **training.failed})
        except RuntimeError as error:
            if not dist.is_initialized():
                raise
            reason = " ".join(str(error).split())
            raise DataError(f"a process of this run has failed; see what the others said ({reason[:200]})") from error
        steps = settings.schedule.steps
        return Outcome(training.loop.step, steps, bundle, failed, next(iter(asked), None), _is_first())


def _check_packages(settings: S2VSSettings, tensorboard: bool) -> None:
    """Raises DataError where something that is asked for is not installed: before hours of decoding."""
    views = settings.views
    if ("frame" in views.groups and (views.text or views.emoji)) or views.furniture:
        augly_assets()
    if settings.data.screening:
        check_packages()
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise DataError('--tensorboard needs the package tensorboard: pip install "visil[tensorboard]"')


def _of_all(failed: Mapping[str, str]) -> dict[str, str]:
    """What could not be read by any process."""
    if not dist.is_initialized():
        return dict(failed)
    found: list[dict[str, str]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(found, dict(failed))
    return {name: reason for of_one in found for name, reason in of_one.items()}


def _with_frames(
    settings: S2VSSettings, folder: Path, base: Path, stop: Callable[[], bool]
) -> tuple[Data | None, dict[str, str]]:
    """The data with folders of frames in the place of videos, and why some have none; None: it was stopped before."""
    data = settings.data
    if not data.videos:
        return data, {}
    root = placed(base, data.cache) if data.cache else folder / FRAMES
    failed: dict[str, str] = {}
    is_whole = True
    with first_alone():
        if _is_first():
            found = find_files([placed(base, path) for path in data.videos])
            failed = dict(found.unreadable)
            preprocessing = load_bundle(bundle_file(settings, base)).settings.preprocessing
            videos = _named(found.files)
            extraction = extract_frames(videos, root, preprocessing, stop=stop)
            is_whole = extraction.done + extraction.kept + len(extraction.failed) == len(videos)
            failed |= extraction.failed
            logger.info("frames: %d new, %d there, %d failed", extraction.done, extraction.kept, len(failed))
            if is_whole and not extraction.done + extraction.kept:
                reason = next(iter(failed.values()), "there is none")
                raise DataError(f"[data] videos: no video of {', '.join(data.videos)} can be read: {reason}")
    if dist.is_initialized():
        told = [is_whole]
        dist.broadcast_object_list(told)
        is_whole = told[0]
    return replace(data, frames=(*data.frames, str(root.absolute()))) if is_whole else None, failed


def _screened(
    settings: S2VSSettings, data: Data, folder: Path, base: Path, device: str, stop: Callable[[], bool]
) -> np.ndarray | None:
    """Which clips may show the same, see `screening`; None: it was stopped before."""
    clips = clips_below(data.frames, base)
    bank = settings.training.bank
    place = (placed(base, bank) if bank else folder) / SCREENING
    with first_alone():
        if _is_first():
            bundle = load_bundle(bundle_file(settings, base))
            claim(place, {}, {"bundle": bundle.hash, "clips": digest_of(clips)})
            screen_clips(clips, Model(bundle, device=device), place, stop)
    related = screened(place, len(clips), data.screening)
    if related is not None and _is_first():
        logger.info("screening: %d pairs of clips may show the same", (related.sum() - len(clips)) // 2)
    return related


def _named(files: Sequence[FoundFile]) -> dict[str, Path]:
    """Files by what is unique of their paths: below their root, with its name before it where two are alike."""
    videos: dict[str, Path] = {}
    for file in files:
        name = file.name
        while name in videos:
            name = f"{file.root.name or 'root'}/{name}"
        videos[name] = file.path
    return videos


@contextmanager
def _processes(device: str) -> Iterator[str]:
    """Joins the others where torchrun started several; the device of this one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise DataError(f"--device {device}: of several processes each takes its own; say cpu or cuda")
    own = device
    if device == "cuda":
        own = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(own)
    dist.init_process_group(BACKENDS[device], timeout=LONGEST_WAIT)
    try:
        yield own
    finally:
        dist.destroy_process_group()


def _is_first() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0

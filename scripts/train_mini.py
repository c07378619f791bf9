"""The recipe of `mini`: pictures -> teachers' vectors -> training -> bundle, each step where the one before it ended.

    python scripts/pack_pictures.py --data ../shared/data --output WORK/pictures.safetensors
    python scripts/train_mini.py --work WORK --weights ../shared/weights --max-minutes 60     # as often as needed
    python scripts/train_mini.py --work WORK --output mini.safetensors                        # when it says it is done

Teachers (licences: docs/models/mini.md) see three windows of every picture once (about 25 minutes of one core, in one
go); the student then learns from random weights, see `visil.s2vs.training`. WORK/run holds its settings, log and newest
checkpoint. Ctrl-C ends a run after its step, with a checkpoint (exit status 130); the same command goes on from there.
The bundle can be made at any time (`--max-minutes 0`): it takes the running average of the weights. Needed in training
itself: torch, timm, numpy and safetensors.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from visil.errors import DataError, VisilError
from visil.media.preprocessing import PRESETS
from visil.model.backbone import Backbone, BackboneSettings
from visil.model.bundle import Bundle, BundleSettings, RegionSettings
from visil.model.making import bundle_of
from visil.model.model import load_strictly
from visil.model.network import NetworkSettings
from visil.model.pyramid import pyramid_vectors
from visil.model.whitening import Whitening, WhiteningFit
from visil.s2vs.pictures import PackedPictures
from visil.s2vs.student import MEAN, STD, Student
from visil.s2vs.training import Teachers, Training, TrainingSettings

PICTURES, TEACHERS, RUN = "pictures.safetensors", "teachers.safetensors", "run"
WINDOW_AREA, WINDOW_ASPECT = (0.3, 0.9), 4 / 3  # of the second and third window: share of the area, aspect up to
NUM_WINDOWS = 3  # of a picture; the first is the whole of it
SIDE_PX = 160  # of the pictures that the bundle sees; chosen on val
TEACHER_SIDE_PX, TEACHER_DIM, BATCH = 224, 512, 32
WHITENED_ON = 4000  # pictures


@dataclass(frozen=True)
class Teacher:
    """A network with published weights, see the README of the weights."""

    settings: BackboneSettings
    file: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


CHOSEN_TEACHERS = (
    Teacher(
        BackboneSettings("mobilenetv1_100", (4,), {"pad_type": "same"}),
        "mobilenetv1_100_in1k.safetensors",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
    Teacher(
        BackboneSettings("resnet50", (3,), stride_in_first_conv=True),
        "resnet50_in1k_l123.safetensors",
        mean=(0.48502, 0.45796, 0.40760),
        std=(0.229, 0.224, 0.225),
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the run; holds the packed pictures")
    parser.add_argument("--weights", type=Path, help="folder of the teachers' weights, for the first time")
    parser.add_argument("--max-minutes", type=float, help="of training; stop after so long, to go on another time")
    parser.add_argument(
        "--steps", type=_positive, default=TrainingSettings.steps, help="of the whole run  [default: %(default)s]"
    )
    parser.add_argument("--device", default="cpu", help="[default: cpu]")
    parser.add_argument("--threads", type=_positive, help="of torch; another number gives other rounding")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of training; and of the windows that teachers see, when those are made  [default: 0]",
    )
    parser.add_argument("--output", type=Path, help="write the bundle, of the weights as they are by then")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    settings = TrainingSettings(steps=options.steps, seed=options.seed)
    _check_device(options.device)
    pictures = PackedPictures.read(options.work / PICTURES)
    vectors = options.work / TEACHERS
    if not vectors.exists():
        if options.weights is None:
            raise DataError(f"{vectors}: not made yet; to make it, say where the weights are: --weights DIR")
        _save(teach(pictures, options.weights, settings.levels, seed=options.seed), vectors)
    training = Training(settings, pictures, Teachers.read(vectors), options.work / RUN, device=options.device)
    with ending_softly() as asked:
        training.run(max_minutes=options.max_minutes, stop=lambda: bool(asked))
    print(f"step {training.step} of {settings.steps}" + (", done" if training.is_done else ": run this again to go on"))
    if asked:
        return 128 + asked[0]
    if options.output:
        bundle = finished(settings, training.finished(SIDE_PX), pictures)
        bundle.save(options.output)
        print(f"{options.output}: hash {bundle.hash[:12]}, {options.output.stat().st_size / 1e6:.1f} MB")
    return 0


@contextmanager
def ending_softly() -> Iterator[list[int]]:
    """Signals that asked for the end: the first of a kind is only noted here, the next does what it always does."""
    asked: list[int] = []
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(number, usual[signal.Signals(number)])
        logging.info("stopping after this step; once more: at once, and back to the last checkpoint")

    for number in usual:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def finished(settings: TrainingSettings, student: Student, pictures: PackedPictures) -> Bundle:
    """The bundle of a student: matrices and kernels in half precision, biases and statistics in single."""
    stored = {name: t.half() if t.ndim > 1 else t for name, t in student.backbone.state_dict().items()}
    return bundle_of(
        BundleSettings(
            name="mini",
            preprocessing=replace(PRESETS["whole-frame"], size_px=SIDE_PX, mean=MEAN, std=STD),
            backbone=BackboneSettings(settings.backbone, settings.stages),
            regions=RegionSettings("pyramid", levels=settings.levels),
            network=NetworkSettings(),
            licence="Apache-2.0",
            training_data=f"{len(pictures)} pictures of {len(pictures.sources)} sources, see docs/models/mini.md",
        ),
        stored,
        Whitening(student.mean.detach(), student.projection.detach()),
    )


# --- teachers ---


def teach(pictures: PackedPictures, weights: Path, levels: tuple[int, ...], *, seed: int) -> dict[str, Tensor]:
    """The vectors of all teachers, side by side, in some windows of every picture; see `Teachers`.

    Raises:
        DataError: the weights of a teacher cannot be read.
    """
    boxes = windows(len(pictures), torch.Generator().manual_seed(seed))  # [N, V, 4]
    backbones = [_backbone(teacher, weights / teacher.file) for teacher in CHOSEN_TEACHERS]
    vectors = []
    for backbone in backbones:
        pooled = torch.cat(list(_pooled(pictures, boxes, backbone, levels))).unflatten(0, boxes.shape[:2])
        fit = WhiteningFit()
        chosen = torch.randperm(len(pooled), generator=torch.Generator().manual_seed(seed))[:WHITENED_ON]
        for part in pooled[chosen].split(256):
            fit.update(part.float())
        whitening = fit.finish(TEACHER_DIM)
        vectors.append(torch.cat([whitening(part.float()).half() for part in pooled.split(256)]))
    return {"boxes": boxes, "vectors": torch.cat(vectors, dim=-1).div_(len(vectors) ** 0.5)}  # unit again


def _backbone(teacher: Teacher, file: Path) -> Backbone:
    try:
        tensors = {name: t.float() for name, t in load_file(file).items()}
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file}: a teacher's weights cannot be read ({error})") from error
    backbone = Backbone(teacher.settings, mean=teacher.mean, std=teacher.std)
    names = backbone.network.state_dict().keys()
    load_strictly(backbone.network, {name: tensors[name] for name in names if name in tensors}, teacher.file)
    return backbone


def windows(count: int, generator: torch.Generator) -> Tensor:
    """[count, V, 4] (top, left, height, width) as shares: the whole picture, and windows of it."""
    shape = (count, NUM_WINDOWS - 1)
    low, high = WINDOW_AREA
    area = low + (high - low) * torch.rand(shape, generator=generator)
    aspect = WINDOW_ASPECT ** (2 * torch.rand(shape, generator=generator) - 1)
    height, width = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    top = (1 - height) * torch.rand(shape, generator=generator)
    left = (1 - width) * torch.rand(shape, generator=generator)
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(count, 1, 4)
    return torch.cat([whole, torch.stack([top, left, height, width], dim=-1)], dim=1)


@torch.inference_mode()
def _pooled(pictures: PackedPictures, boxes: Tensor, backbone: Backbone, levels: tuple[int, ...]) -> Iterator[Tensor]:
    """Pooled region vectors float16 [B, R, C] of every window of every picture, windows of a picture in a row."""
    for start in range(0, len(pictures), BATCH):
        numbers = torch.arange(start, min(start + BATCH, len(pictures)))
        pairs = zip(pictures.batch(numbers), boxes[numbers], strict=True)
        crops = [cut(picture, box) for picture, of_picture in pairs for box in of_picture]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            (stage,) = backbone(torch.stack(crops).movedim(1, -1))
        yield F.normalize(pyramid_vectors(stage.float(), levels), dim=-1).half()
        if start % (32 * BATCH) == 0:
            logging.info("teacher: %d of %d pictures", start, len(pictures))


def cut(picture: Tensor, box: Tensor) -> Tensor:
    """The window (top, left, height, width) of a picture uint8 [3, S, S], to the pixel, at the teachers' size."""
    side = picture.shape[-1]
    top, left, height, width = (box * side).round().int().tolist()
    window = picture[None, :, top : top + max(1, height), left : left + max(1, width)].float()
    resized = F.interpolate(window, (TEACHER_SIDE_PX, TEACHER_SIDE_PX), mode="bicubic", antialias=True)[0]
    return resized.round().clamp(0, 255).byte()


# --- small things ---


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """A whole file or none."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file(tensors, partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be written ({error})") from error
    finally:
        partial.unlink(missing_ok=True)


def _check_device(name: str) -> None:
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:  # torch says of a lacking driver that an assertion failed
        raise DataError(f"--device {name}: {str(error).splitlines()[0]}") from error


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (VisilError, OSError) as error:
        raise SystemExit(f"train_mini: {error}") from error
    except KeyboardInterrupt:
        print("train_mini: interrupted; the last checkpoint stays", file=sys.stderr)
        sys.exit(130)

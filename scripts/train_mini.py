"""The recipe of `mini`: pictures -> the teacher's vectors -> stages of training -> bundle; it goes on where it ended.

    python scripts/pack_pictures.py --data ../shared/data --output WORK/pictures.safetensors
    python scripts/train_mini.py --work WORK --sscd sscd.onnx --start first.safetensors --max-minutes 60  # and again
    python scripts/train_mini.py --work WORK --start first.safetensors --output mini.safetensors  # when it is done

The teacher, SSCD (licence: docs/models/mini.md; where to get it: docs/benchmarks.md), sees some windows of every
picture once (about half an hour of one core, an hour without VNNI). The student then learns, in stages, from the
weights of another bundle (`--start`) or from random ones: see `visil.s2vs.backbone.training`. Each stage begins with
the bundle that the one before it left behind. `WORK/stage-1/` holds settings, log, newest checkpoint and in the end the
bundle of the stage: settings.json, log.jsonl and bundle.safetensors are all that has to be kept, and a folder of other
settings or data is refused. Ctrl-C ends a run after its step, with a checkpoint (exit status 130); the same command
goes on from there.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from visil.benchmarks.onnx_vectors import OnnxVectors
from visil.benchmarks.picture_windows import cut_window
from visil.benchmarks.report import natural, positive
from visil.errors import DataError, VisilError
from visil.media.preprocessing import PRESETS
from visil.model.backbone import BackboneSettings
from visil.model.bundle import Bundle, BundleSettings, RegionSettings, load_bundle
from visil.model.making import bundle_of
from visil.model.network import NetworkSettings
from visil.model.whitening import Whitening
from visil.s2vs.backbone.furniture import FurnitureSettings
from visil.s2vs.backbone.pictures import PackedPictures
from visil.s2vs.backbone.student import MEAN, STD, Student
from visil.s2vs.backbone.teacher import ORIGIN, TeacherVectors
from visil.s2vs.backbone.training import Training, claim_folder
from visil.s2vs.backbone.training_settings import VIEWS, TrainingSettings
from visil.s2vs.claims import SETTINGS
from visil.s2vs.loop import ending_softly, floats

PICTURES, TEACHER, BUNDLE = "pictures.safetensors", "teacher.safetensors", "bundle.safetensors"
LOCK = "train_mini.lock"
PARTS, PART = "teacher-parts", 512  # folder of what the teacher has said so far, and of how many pictures at once
WINDOW_AREA, WINDOW_ASPECT = (0.2, 0.9), 4 / 3  # of the windows but the first: share of the area, aspect up to
NUM_WINDOWS = 7  # of a picture; the first is the whole of it
SIDE_PX = 160  # of the pictures that the bundle sees; chosen on val
TEACHER_SIDE_PX, BATCH = 224, 32

SSCD = "86386042eb852df12dee402ac7e305827cc246f5fab261acf7994c49bb2cb181"  # SHA-256 of the teacher of what ships

BASE = TrainingSettings(views=((0.0, replace(VIEWS, inset_weight=6.0)),), precision="fp32")
STAGES = (  # from the first edition; an hour and a half of two cores each
    replace(BASE, sides_px=((0.0, 96), (0.6, 128)), learning_rate=1e-3, warmup_steps=100, decay_share=0.5, steps=1400),
    replace(BASE, sides_px=((0.0, 160),), learning_rate=6e-4, warmup_steps=100, decay_share=0.6, steps=900),
)
WITHOUT = {  # ablations: settings that leave something out
    "sscd": {
        **dict.fromkeys(
            (
                "bank_weight",
                "similarity_weight",
                "distillation_weight",
                "friends_weight",
                "window_weight",
                "hard_share",
            ),
            0.0,
        ),
        "alike": 2.0,  # no cosine is
        "apart": 2.0,
    },
    "footage": {},  # see `main`
    "furniture": {"furniture": FurnitureSettings(share=0.0)},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the run; holds the packed pictures")
    parser.add_argument(
        "--sscd", type=Path, metavar="FILE", help="ONNX network of the teacher, until teacher.safetensors is made"
    )
    parser.add_argument(
        "--start", type=Path, metavar="BUNDLE", help="whose weights the first stage begins with  [default: random ones]"
    )
    parser.add_argument("--max-minutes", type=_minutes, help="of training; stop after so long, to go on another time")
    parser.add_argument(
        "--share",
        type=_share,
        default=1.0,
        help="of the steps of every stage, to compare; a run of its own  [default: 1]",
    )
    parser.add_argument(
        "--without",
        choices=sorted(WITHOUT),
        help="leave something out, to see what it is worth (footage: all frames of videos); a run of its own in WORK",
    )
    parser.add_argument("--device", default="cpu", help="[default: cpu]")
    parser.add_argument("--threads", type=positive, help="of torch; another number gives other rounding")
    parser.add_argument("--seed", type=natural, default=0, help="of windows and training  [default: 0]")
    parser.add_argument("--output", type=Path, help="write the bundle, of the weights as they are by then")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    _check_device(options.device)
    if not options.work.is_dir():
        raise DataError(f"--work {options.work}: is no folder; it must be one that holds {PICTURES}")
    try:
        with FileLock(options.work / LOCK, timeout=0):
            return run(options)
    except Timeout:
        raise DataError(f"{options.work}: another run is at work there; wait for it, or end it") from None


def run(options: argparse.Namespace) -> int:
    """What `main` was asked for, by the only one at work in the folder."""
    bundle = None if options.start is None else load_bundle(options.start)
    if bundle is not None:
        _check_start(bundle, options.start)
    pictures = PackedPictures.read(options.work / PICTURES)
    boxes = windows(len(pictures), torch.Generator().manual_seed(options.seed))  # [N, V, 4]
    low, high = WINDOW_AREA  # said by their rule: processors round the boxes differently
    rule = f"{NUM_WINDOWS} windows of {low:g} to {high:g} of the area, aspect up to {WINDOW_ASPECT:.3g}"
    parts = (f"pictures {pictures.digest[:12]}", f"teacher {SSCD[:12]}", rule, f"seed {options.seed}")
    origin = ", ".join(parts)
    if not (options.work / TEACHER).exists():
        if options.sscd is None:
            raise DataError(
                f"{options.work / TEACHER}: not made yet; to make it, say where the teacher is: --sscd FILE"
            )
        _check_teacher(options.sscd)
        teach(pictures, boxes, OnnxVectors(options.sscd), options.work, origin)
    teacher = TeacherVectors.read(options.work / TEACHER, origin)
    if options.without == "footage":
        stills = slice(pictures.num_stills)
        teacher = replace(teacher, boxes=teacher.boxes[stills], vectors=teacher.vectors[stills])
        pictures = pictures.without_frames()
    first = bundle  # whose pictures and teachers are in the weights too
    variant = "".join(
        f"-{word}"
        for word in (options.without and f"without-{options.without}", options.share < 1 and f"share-{options.share:g}")
        if word
    )
    end_s = None if options.max_minutes is None else time.monotonic() + 60 * options.max_minutes
    with ending_softly() as asked:
        for number, of_stage in enumerate(STAGES, start=1):
            settings = replace(
                of_stage,
                steps=max(1, round(options.share * of_stage.steps)),
                warmup_steps=round(options.share * of_stage.warmup_steps),
                seed=len(STAGES) * options.seed + number - 1,  # no stage draws what another has drawn
                **(WITHOUT[options.without] if options.without else {}),
            )
            folder = options.work / f"stage-{number}{variant}"
            start = None if bundle is None else weights_of(bundle)
            if (folder / BUNDLE).exists():
                if not (folder / SETTINGS).exists():
                    raise DataError(f"{folder / SETTINGS}: is gone, so nothing says what {BUNDLE} beside it is of")
                claim_folder(folder, settings, pictures, teacher, start)
            else:
                training = Training(settings, pictures, teacher, folder, device=options.device, start=start)
                minutes = None if end_s is None else (end_s - time.monotonic()) / 60
                training.run(max_minutes=minutes, stop=lambda: bool(asked))
                if training.is_done or (options.output and not asked):
                    student = training.finished(SIDE_PX)
                    bundle = finished(settings, student, pictures, name=f"mini{variant}", first=first)
                if not training.is_done:
                    print(f"stage {number}, step {training.step} of {settings.steps}: run this again to go on")
                    break
                bundle.save(folder / BUNDLE)
            bundle = load_bundle(folder / BUNDLE)
            print(f"stage {number} of {len(STAGES)} is done: {folder / BUNDLE}, hash {bundle.hash[:12]}")
    if asked:
        return 128 + asked[0]
    if options.output:
        assert bundle is not None  # of the last stage that was begun
        bundle.save(options.output)
        print(f"{options.output}: hash {bundle.hash[:12]}, {options.output.stat().st_size / 1e6:.1f} MB")
    return 0


def finished(
    settings: TrainingSettings,
    student: Student,
    pictures: PackedPictures,
    *,
    name: str = "mini",
    first: Bundle | None = None,
) -> Bundle:
    """The bundle of a student: matrices and kernels in half precision, biases and statistics in single.

    Args:
        first: that the first stage began with.
    """
    data = f"{len(pictures)} pictures of {len(pictures.sources)} sources"
    data += "" if first is None else f", and what bundle {first.hash[:12]} was trained on"
    stored = {name: t.half() if t.ndim > 1 else t for name, t in student.backbone.state_dict().items()}
    return bundle_of(
        BundleSettings(
            name=name,
            preprocessing=replace(PRESETS["whole-frame"], size_px=SIDE_PX, mean=MEAN, std=STD),
            backbone=BackboneSettings(settings.backbone, settings.stages),
            regions=RegionSettings("pyramid", levels=settings.levels, shares=settings.shares),
            network=NetworkSettings(),
            licence="Apache-2.0",
            training_data=f"{data}; see docs/models/mini.md",
        ),
        stored,
        Whitening(student.mean.detach(), student.projection.detach()),
    )


def weights_of(bundle: Bundle) -> dict[str, Tensor]:
    """The student that a bundle was made of, up to half precision."""
    backbone = {f"backbone.{name}": tensor for name, tensor in bundle.part("backbone").items()}
    return {**backbone, **bundle.part("whitening")}


# --- the teacher ---


def teach(
    pictures: PackedPictures,
    boxes: Tensor,
    describe: Callable[[np.ndarray], np.ndarray],
    work: Path,
    origin: str,
) -> None:
    """Write the teacher's vectors of some windows of every picture, see `TeacherVectors`; goes on where it ended.

    Args:
        boxes: the windows [N, V, 4].
        describe: pictures uint8 [T, H, W, 3] -> one unit vector each, [T, D].
        work: folder in which the file is made; meanwhile parts that are done lie in a folder of it, named after what
            they depend on.
        origin: of the file, see `TeacherVectors.read`.

    Raises:
        DataError: a part is damaged or cannot be written.
    """
    folder = work / f"{PARTS}-{hashlib.sha256(origin.encode()).hexdigest()[:8]}"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: parts of the teacher's vectors cannot be kept there ({error.strerror})") from error
    parts = []
    for numbers in torch.arange(len(pictures)).split(PART):
        part = folder / f"{numbers[0]:06}.safetensors"
        if not part.exists():
            vectors = torch.cat([_described(pictures, describe, some, boxes[some]) for some in numbers.split(BATCH)])
            _save({"boxes": boxes[numbers], "vectors": vectors}, part, origin)
            logging.info("teacher: %d of %d pictures", numbers[-1] + 1, len(pictures))
        parts.append(TeacherVectors.read(part, origin))
    whole = {name: torch.cat([part.tensors()[name] for part in parts]) for name in parts[0].tensors()}
    _save(whole, work / TEACHER, origin)
    shutil.rmtree(folder, ignore_errors=True)


def _described(
    pictures: PackedPictures, describe: Callable[[np.ndarray], np.ndarray], numbers: Tensor, boxes: Tensor
) -> Tensor:
    """[N, V, D] of some pictures and windows [N, V, 4] of them."""
    pairs = zip(pictures.batch(numbers), boxes, strict=True)
    crops = torch.stack([cut_window(picture, box, TEACHER_SIDE_PX) for picture, of_one in pairs for box in of_one])
    vectors = torch.from_numpy(describe(crops.movedim(1, -1).contiguous().numpy()))
    return vectors.unflatten(0, boxes.shape[:2])


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


# --- small things ---


def _save(tensors: dict[str, Tensor], path: Path, origin: str) -> None:
    """A whole file or none."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file(tensors, partial, {ORIGIN: origin})
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be written ({error})") from error
    finally:
        partial.unlink(missing_ok=True)


def _check_teacher(file: Path) -> None:
    """Raises DataError where it is another file than the one that the model card says may teach."""
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{file}: the teacher cannot be read ({error})") from error
    if found != SSCD:
        raise DataError(f"{file}: is not the sscd.onnx that may teach (docs/models/mini.md): SHA-256 {found[:12]}...")


def _check_start(bundle: Bundle, file: Path) -> None:
    """Raises DataError where its weights are no student of the first stage."""
    first = STAGES[0]
    with torch.random.fork_rng():
        student = Student(BackboneSettings(first.backbone, first.stages), levels=first.levels, dim=first.dim)
    wanted = {name: tensor.shape for name, tensor in floats(student).items()}
    if {name: tensor.shape for name, tensor in weights_of(bundle).items()} != wanted:
        raise DataError(f"--start {file}: is of another network than {first.backbone} with {first.dim} dimensions")


def _check_device(name: str) -> None:
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:  # torch says of a lacking driver that an assertion failed
        raise DataError(f"--device {name}: {str(error).splitlines()[0]}") from error


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"expected more than 0 and at most 1, got {text}")
    return share


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = -1.0
    if not minutes >= 0:  # nor is it no number
        raise argparse.ArgumentTypeError(f"expected 0 or more, got {text}")
    return minutes


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (VisilError, OSError) as error:
        raise SystemExit(f"train_mini: {error}") from error
    except KeyboardInterrupt:
        print(
            "train_mini: interrupted; the last checkpoint, or what the teacher has said so far, stays", file=sys.stderr
        )
        sys.exit(130)

"""Descriptors of single frames for the baselines: perceptual hashes, colour histograms, vectors of SSCD.

    files ─► decode_files (the same samples as a library's) ─► [frames with content ─► KINDS] ─► voting, intersection,
                                                                                                Chamfer
A kind is a function of pictures, so what it gives for a file can be kept; of SSCD together with the file that its
weights lie in, which whoever measures gets for himself (docs/benchmarks.md). Packages that are not installed are asked
for only when their kind is.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from visil.benchmarks.onnx_vectors import OnnxVectors
from visil.benchmarks.picture_windows import cut_window
from visil.errors import VisilError
from visil.media.blank import has_content
from visil.media.decoding import decode_files
from visil.media.preprocessing import PRESETS
from visil.media.worker_process import DecodeEnd
from visil.model.pyramid import region_boxes
from visil.model.regions import LEVELS

LEVELS_A_CHANNEL = 8  # of a colour histogram: 512 bins


def phashes(images: np.ndarray) -> np.ndarray:
    """64-bit DCT hashes (`imagehash.phash`) of pictures uint8 [T, H, W, 3]: uint8 [T, 8], eight bits a byte."""
    import imagehash
    from PIL import Image

    hashes = [imagehash.phash(Image.fromarray(image)).hash.ravel() for image in images]
    return np.packbits(np.array(hashes, dtype=bool).reshape(-1, 64), axis=1)


def pdq_hashes(images: np.ndarray) -> np.ndarray:
    """256-bit PDQ hashes (`pdqhash`) of pictures uint8 [T, H, W, 3]: uint8 [T, 32], eight bits a byte.

    Source: Facebook, "PDQ & TMK + PDQF" (2019). Its quality value is not asked: pictures without content are left
    out before, by one rule for all systems.
    """
    import pdqhash

    hashes = [pdqhash.compute(np.ascontiguousarray(image))[0] for image in images]
    return np.packbits(np.array(hashes, dtype=bool).reshape(-1, 256), axis=1)


def colour_histograms(images: np.ndarray) -> np.ndarray:
    """Share of the pixels in each of 8 x 8 x 8 boxes of RGB, of pictures uint8 [T, H, W, 3]: float32 [T, 512]."""
    boxes = images.astype(np.uint16) // (256 // LEVELS_A_CHANNEL)
    box = (boxes[..., 0] * LEVELS_A_CHANNEL + boxes[..., 1]) * LEVELS_A_CHANNEL + boxes[..., 2]
    counts = [np.bincount(picture.ravel(), minlength=LEVELS_A_CHANNEL**3) for picture in box]
    pixels = images.shape[1] * images.shape[2]
    return (np.array(counts).reshape(-1, LEVELS_A_CHANNEL**3) / pixels).astype(np.float32)


Describe = Callable[[np.ndarray], np.ndarray]


def of_windows(describe: Describe) -> Describe:
    """The same of every region of `mini`, cut out: pictures uint8 [T, S, S, 3] -> [T, R, D] for [T, D]."""
    boxes = region_boxes(LEVELS)

    def described(images: np.ndarray) -> np.ndarray:
        pictures = torch.from_numpy(images).movedim(-1, 1)
        crops = [cut_window(picture, box, images.shape[1]) for picture in pictures for box in boxes]
        if not crops:
            return np.repeat(describe(images)[:, None], len(boxes), axis=1)
        rows = describe(torch.stack(crops).movedim(1, -1).contiguous().numpy())
        return rows.reshape(len(images), len(boxes), -1)

    return described


OF_PICTURES: dict[str, Describe] = {
    "pHash": phashes,
    "PDQ": pdq_hashes,
    "colour histogram": colour_histograms,
}
OF_FILES = {  # kinds of weights in a file: its option
    "SSCD": "--sscd",
    "SSCD distilled": "--sscd-distilled",
    "SSCD of regions": "--sscd-regions",
}
OF_REGIONS = ("SSCD of regions",)  # fourteen times as dear: for a sample
KINDS = (*OF_PICTURES, *OF_FILES)
PACKAGES = {"pHash": "imagehash", "PDQ": "pdqhash", **dict.fromkeys(OF_FILES, "onnxruntime")}  # extra `bench`


@dataclass(frozen=True)
class FrameDescriptor:
    """A kind that can be made here.

    Attributes:
        name: one of KINDS.
        describe: pictures uint8 [T, H, W, 3] -> one row each.
        weights: SHA-256 of the file of its weights; None: it has none.
    """

    name: str
    describe: Describe
    weights: str | None = None

    @property
    def file_name(self) -> str:
        """What its rows are kept under: other weights make other rows."""
        return self.name if self.weights is None else f"{self.name}-{self.weights[:12]}"


def missing_package(kind: str) -> str | None:
    """Name of the package that a kind needs and that is not installed; None if nothing is missing."""
    package = PACKAGES.get(kind)
    return package if package is not None and importlib.util.find_spec(package) is None else None


def why_not_run(files: Mapping[str, Path | None]) -> dict[str, str]:
    """Kinds that cannot be made here, and why.

    Args:
        files: of the weights of OF_FILES.
    """
    reasons = {}
    for kind in KINDS:
        file = files.get(kind)
        if kind in OF_REGIONS and file is None:
            continue  # for samples: nobody misses it
        if kind in OF_FILES and file is None:
            reasons[kind] = f"no file of it ({OF_FILES[kind]} FILE)"
        elif file is not None and not file.is_file():
            reasons[kind] = f"{file}: no such file"
        elif (package := missing_package(kind)) is not None:
            reasons[kind] = f"{package} is not installed (extra bench)"
    return reasons


def frame_descriptors(files: Mapping[str, Path | None]) -> list[FrameDescriptor]:
    """Every kind that can be made here.

    Args:
        files: as of `why_not_run`.

    Raises:
        ModelError: a file is no such network.
    """
    reasons = why_not_run(files)
    found = []
    for kind in KINDS:
        file = files.get(kind)
        if kind in reasons or (kind in OF_FILES and file is None):
            continue
        if file is None:
            found.append(FrameDescriptor(kind, OF_PICTURES[kind]))
        else:
            weights = hashlib.sha256(file.read_bytes()).hexdigest()
            network = OnnxVectors(file)
            found.append(FrameDescriptor(kind, of_windows(network) if kind in OF_REGIONS else network, weights))
    return found


def describe_files(
    paths: Sequence[Path], kinds: Sequence[FrameDescriptor], *, workers: int
) -> Iterator[tuple[Path, dict[str, np.ndarray] | VisilError]]:
    """The descriptors of every file, by name of the kind, or why there are none.

    They are one row, or one for each region, for each sample with content.

    Samples are those of a library: one a second, more of a short video.
    """
    rows: dict[int, list[Mapping[str, np.ndarray]]] = {}
    whole_frame = PRESETS["whole-frame"]
    for index, event in decode_files(paths, whole_frame, workers=workers):
        if not isinstance(event, DecodeEnd):
            images = event.images[has_content(event.images, whole_frame.blank)]
            rows.setdefault(index, []).append({kind.name: kind.describe(images) for kind in kinds})
            continue
        found = rows.pop(index, [])
        if event.error is not None:
            yield paths[index], event.error
        else:
            yield paths[index], {kind.name: np.concatenate([chunk[kind.name] for chunk in found]) for kind in kinds}

"""Descriptors of single frames for the baselines: perceptual hashes and colour histograms.

    files ─► decode_files (the same samples as a library's) ─► [frames with content ─► KINDS] ─► voting, intersection

A kind is a function of pictures alone, so what it gives for a file can be kept. Packages that are not installed are
asked for only when their kind is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from visil.errors import VisilError
from visil.media.blank import has_content
from visil.media.decoding import decode_files
from visil.media.preprocessing import PRESETS
from visil.media.worker_process import DecodeEnd

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


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "pHash": phashes,
    "PDQ": pdq_hashes,
    "colour histogram": colour_histograms,
}
PACKAGES = {"pHash": "imagehash", "PDQ": "pdqhash"}  # extra `bench`


def missing_package(kind: str) -> str | None:
    """Name of the package that a kind needs and that is not installed; None if nothing is missing."""
    package = PACKAGES.get(kind)
    return package if package is not None and importlib.util.find_spec(package) is None else None


def why_not_run() -> dict[str, str]:
    """Kinds that cannot be made here, and why."""
    packages = {kind: missing_package(kind) for kind in KINDS}
    return {kind: f"{package} is not installed (extra bench)" for kind, package in packages.items() if package}


def describe_files(
    paths: Sequence[Path], kinds: Sequence[str], *, workers: int
) -> Iterator[tuple[Path, dict[str, np.ndarray] | VisilError]]:
    """The descriptors of every kind, one row for each sample with content, of every file; or why there are none.

    Samples are those of a library: one a second, more of a short video.

    Raises:
        VisilError: a kind that there is not, or whose package is not installed.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise VisilError(f"no kind of frame descriptor {kind!r}; there are {', '.join(KINDS)}")
        if (package := missing_package(kind)) is not None:
            raise VisilError(f'{kind}: {package} is not installed: pip install "visil[bench]"')
    rows: dict[int, list[Mapping[str, np.ndarray]]] = {}
    whole_frame = PRESETS["whole-frame"]
    for index, event in decode_files(paths, whole_frame, workers=workers):
        if not isinstance(event, DecodeEnd):
            images = event.images[has_content(event.images, whole_frame.blank)]
            rows.setdefault(index, []).append({kind: KINDS[kind](images) for kind in kinds})
            continue
        found = rows.pop(index, [])
        if event.error is not None:
            yield paths[index], event.error
        else:
            yield paths[index], {kind: np.concatenate([chunk[kind] for chunk in found]) for kind in kinds}

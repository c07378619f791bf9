"""A bundle with other levels, shares, burstiness or fewer dimensions, of the same weights: to see what each is worth.

    python scripts/vary_bundle.py --model mini2.safetensors --levels 1 2 --shares .6 .4 --output mini-12.safetensors
    python scripts/vary_bundle.py --model mini2.safetensors --dim 256 --pictures WORK/pictures.safetensors \\
        --output mini-256.safetensors

Fewer dimensions are the leading directions of what the network says of the training pictures. A bundle of regions
`pyramid` only.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from visil.errors import DataError, VisilError
from visil.model.bundle import load_bundle
from visil.model.catalogue import find_bundle
from visil.model.making import bundle_of
from visil.model.model import Model
from visil.model.network import NetworkSettings
from visil.model.whitening import Whitening
from visil.s2vs.backbone.pictures import PackedPictures
from visil.s2vs.backbone.teacher import leading_directions

EVERY, BATCH = 4, 64  # of the pictures one in four is enough for directions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="NAME_OR_PATH", help="the bundle")
    parser.add_argument("--levels", type=int, nargs="+", help="of the regions  [default: the bundle's]")
    parser.add_argument("--shares", type=float, nargs="+", default=[], help="of the levels  [default: regions alike]")
    parser.add_argument("--burstiness", type=float, default=0.0, help="of the network  [default: 0, as the papers]")
    parser.add_argument("--dim", type=int, help="of a region vector  [default: the bundle's]")
    parser.add_argument("--pictures", type=Path, help="packed training pictures, for --dim")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    bundle = load_bundle(find_bundle(options.model))
    settings, whitening = bundle.settings, bundle.part("whitening")
    if settings.regions.scheme != "pyramid" or settings.network != NetworkSettings() or not whitening:
        raise DataError(f"{options.model}: expected regions of a pyramid, a whitening and no network after it")
    projection = whitening["projection"]
    if options.dim is not None:
        if options.pictures is None or not 1 <= options.dim <= projection.shape[1]:
            raise DataError(f"--dim: expected 1 to {projection.shape[1]}, and --pictures FILE to choose directions by")
        vectors = said_of(Model(bundle, device="cpu"), PackedPictures.read(options.pictures))
        projection = projection @ leading_directions(vectors, options.dim)
    try:
        regions = replace(
            settings.regions,
            levels=tuple(options.levels or settings.regions.levels),
            shares=tuple(options.shares) or (() if options.levels else settings.regions.shares),
        )
        network = NetworkSettings(burstiness=options.burstiness)
    except ValueError as error:
        raise DataError(str(error)) from error
    backbone = {n.removeprefix("backbone."): t for n, t in bundle.tensors.items() if n.startswith("backbone.")}
    varied = bundle_of(
        replace(settings, name=options.output.stem, regions=regions, network=network),
        backbone,
        Whitening(whitening["mean"], projection),
    )
    varied.save(options.output)
    print(
        f"{options.output}: hash {varied.hash[:12]}, {regions.levels}, {projection.shape[1]} dimensions, "
        f"burstiness {options.burstiness:g}"
    )
    return 0


def said_of(model: Model, pictures: PackedPictures) -> Tensor:
    """Region vectors of a part of the pictures, [M, D]."""
    side = model.settings.preprocessing.size_px
    vectors = []
    for numbers in torch.arange(0, len(pictures), EVERY).split(BATCH):
        squares = torch.nn.functional.interpolate(
            pictures.batch(numbers).float(), (side, side), mode="bilinear", antialias=True
        )
        vectors.append(model.region_vectors(squares.round().byte().movedim(1, -1).numpy()).flatten(0, 1))
    return torch.cat(vectors)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except VisilError as error:
        raise SystemExit(f"vary_bundle: {error}") from error

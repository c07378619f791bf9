"""Makes a bundle from backbone weights, a choice of stages and regions, and folders of frames or videos.

The whitening is fitted on pictures (jpg, png, also inside uncompressed tar shards) and on the frames of videos in
the given folders. Where a folder has a `split.csv` or `index.csv` with a column `split`, only its `train` rows are
used, and of these only rows whose licence allows it (`train_licence_ok`); --ship takes `ship_ok` rows alone.

    python scripts/make_bundle.py --name mobile --backbone mobilenetv1_100 --option pad_type=same --stages 4 \\
        --weights ../shared/weights/mobilenetv1_100_in1k.safetensors --mean 0.5 --std 0.5 --licence Apache-2.0 \\
        --fit ../shared/data/images --fit ../shared/data/videos --output mobile.safetensors

About 60 s for 4,000 pictures of 224 px through a MobileNet on 4 cores. Prints what was used and the bundle's hash.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from visil.library.files import VIDEO_SUFFIXES
from visil.media.decoding import decode_files
from visil.media.preprocessing import PRESETS, Preprocessing
from visil.media.pyav_reader import read_still
from visil.model.backbone import BackboneSettings, build_network
from visil.model.bundle import Bundle, BundleSettings, RegionSettings
from visil.model.making import make_bundle
from visil.model.network import NetworkSettings
from visil.values import Frames

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}
BATCH = 32


def main() -> None:
    args = parse_arguments()
    preprocessing = replace(PRESETS[args.preset], mean=triple(args.mean), std=triple(args.std))
    if args.size is not None:
        preprocessing = replace(preprocessing, size_px=args.size)
    settings = BundleSettings(
        name=args.name,
        preprocessing=preprocessing,
        backbone=BackboneSettings(
            args.backbone,
            tuple(args.stages),
            options(args.option),
            args.stride_in_first_conv,
        ),
        regions=regions(args.regions),
        network=NetworkSettings(),
        licence=args.licence,
    )
    if args.weights is not None:
        weights = load_file(args.weights)
    else:
        weights = build_network(settings.backbone, pretrained=True).state_dict()
    batches = stacked(pictures(args.fit, preprocessing, args.pictures, args.seed, ship=args.ship), BATCH)
    used = [0]
    bundle = make_bundle(settings, weights, counted(batches, used), dim=args.dim)
    weights_name = args.weights.name if args.weights else "timm"
    training_data = f"weights: {weights_name}; whitening: {used[0]} pictures"
    bundle = Bundle(replace(settings, training_data=training_data), bundle.tensors)
    bundle.save(args.output)
    print(f"{args.output}: {settings.name}, hash {bundle.hash[:12]}, {args.output.stat().st_size / 1e6:.1f} MB")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--backbone", required=True, help="architecture of timm")
    parser.add_argument("--weights", type=Path, help="safetensors with timm's names; default: timm's download")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="argument of the architecture"
    )
    parser.add_argument("--stages", type=int, nargs="+", required=True, help="indices of features_only")
    parser.add_argument("--stride-in-first-conv", action="store_true", help="ResNet v1 weights")
    parser.add_argument(
        "--regions", default="adaptive:3", help="adaptive:GRID, pyramid:LEVEL,LEVEL..., limac, visil or whole"
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), default="whole-frame")
    parser.add_argument("--size", type=int, metavar="PX", help="side of the pictures; default: of the preset")
    parser.add_argument("--mean", type=float, nargs="+", default=list(PRESETS["whole-frame"].mean))
    parser.add_argument("--std", type=float, nargs="+", default=list(PRESETS["whole-frame"].std))
    parser.add_argument("--dim", type=int, default=512, help="dimensions after whitening")
    parser.add_argument("--fit", type=Path, action="append", required=True, metavar="DIR")
    parser.add_argument("--pictures", type=int, default=4000, help="pictures to fit on, all folders together")
    parser.add_argument("--ship", action="store_true", help="only rows with ship_ok")
    parser.add_argument("--licence", default="", help="of the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def options(given: list[str]) -> dict[str, object]:
    """`pad_type=same`, `img_size=256`, `dynamic_img_size=true`: JSON where it is JSON, else text."""
    parsed: dict[str, object] = {}
    for option in given:
        name, _, value = option.partition("=")
        parsed[name] = json.loads(value) if value in ("true", "false") or value.isdecimal() else value
    return parsed


def regions(text: str) -> RegionSettings:
    """`limac`, `adaptive:4`, `pyramid:1,2,3`."""
    scheme, _, argument = text.partition(":")
    if scheme == "pyramid" and argument:
        return RegionSettings(scheme, levels=tuple(int(level) for level in argument.split(",")))
    return RegionSettings(scheme, int(argument or 3))


def triple(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = values * 3 if len(values) == 1 else values
    return red, green, blue


def pictures(
    folders: list[Path], preprocessing: Preprocessing, count: int, seed: int, *, ship: bool
) -> Iterator[np.ndarray]:
    """At most `count` frames [H, W, 3]: those of the videos first, the rest a seeded draw of the pictures."""
    videos, stills = [], []
    for folder in folders:
        allowed = allowed_names(folder, ship=ship)
        for path in sorted(folder.rglob("*")):
            if path.suffix == ".tar":
                with tarfile.open(path) as shard:
                    stills += [(path, member) for member in shard if allowed is None or member.name in allowed]
            elif allowed is None or path.name in allowed:
                if path.suffix.lower() in PICTURE_SUFFIXES:
                    stills.append((path, None))
                elif path.suffix.lower() in VIDEO_SUFFIXES:
                    videos.append(path)
    print(f"{len(videos)} videos and {len(stills)} pictures may be used")
    taken = 0
    for _, event in decode_files(videos, preprocessing, workers=1):
        if isinstance(event, Frames):
            images = event.images[: max(0, count - taken)]
            taken += len(images)
            yield from images
        elif event.error:
            print(event.error)
    order = np.random.default_rng(seed).permutation(len(stills))[: max(0, count - taken)]
    for number in sorted(order):  # in file order: shards are read front to back
        path, member = stills[number]
        yield read_still(member_bytes(path, member) if member else path, preprocessing)[0]
    print(f"fitted on {taken} frames of videos and {len(order)} pictures")


def allowed_names(folder: Path, *, ship: bool) -> set[str] | None:
    """File names of the `train` rows that may be used; None if the folder has no table of splits."""
    for table, column in (("split.csv", "file"), ("index.csv", "name")):
        if (folder / table).exists():
            with (folder / table).open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
            right = "ship_ok" if ship else "train_licence_ok"
            return {row[column] for row in rows if row.get(right, "yes") == "yes"}
    return None


def member_bytes(shard: Path, member: tarfile.TarInfo) -> io.BytesIO:
    with shard.open("rb") as file:
        file.seek(member.offset_data)
        return io.BytesIO(file.read(member.size))


def counted(batches: Iterator[np.ndarray], total: list[int]) -> Iterator[np.ndarray]:
    for batch in batches:
        total[0] += len(batch)
        yield batch


def stacked(images: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    batch: list[np.ndarray] = []
    for image in images:
        batch.append(image)
        if len(batch) == size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


if __name__ == "__main__":
    main()

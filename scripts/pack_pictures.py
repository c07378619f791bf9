"""Packs the pictures that a bundle that ships may be trained on, and stickers to put on them, into one file.

    images/index.csv, shards ──────────┐
    videos, footage: split.csv, files ─┴─► [train rows with ship_ok ─► squashed to a square] ─► pictures.safetensors
                                           groups: what shows the same thing   (visil.s2vs.backbone.pictures reads it)

    python scripts/pack_pictures.py --data ../shared/data --output pictures.safetensors

A picture that repeats one of `val` or `test`, still or frame (a mirrored or nearly equal one), does not go in. About
four minutes on one core for 9,000 pictures of 224 px (1.4 GB). Imports the reading and drawing half of visil, so it is
no part of the training room, which reads nothing but the file.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image, ImageOps
from safetensors import SafetensorError
from safetensors.numpy import save_file

from visil.benchmarks.stills import SEEN_REPEATS, join_repeats
from visil.errors import DataError, VisilError
from visil.media.decoding import read_frames
from visil.media.preprocessing import PRESETS, Preprocessing
from visil.media.pyav_reader import read_still
from visil.s2vs.backbone.pictures import FORMAT
from visil.synth.stickers import OPAQUE, Sticker, caption, emoji, logo

MIN_FRAMES_PER_VIDEO = 3
MAX_FRAMES_PER_COMPONENT = 120  # of clips that show one place or are of one maker: spread over all of them
CLIPS = ("videos", "footage")  # folders of short videos, laid out alike
SEED = 20_261_121  # of the stickers; the benchmarks draw theirs from [seed, purpose] with small seeds
CAPTION_SIZE_PX = (40, 160)
LOGO_WIDTH_PX = 96
EMOJI_SIZE_PX = 64
NUM_CAPTIONS, NUM_LOGOS, NUM_EMOJI = 256, 128, 256
RULE = (
    "rows of index.csv and split.csv with split = train and ship_ok = yes; of videos and footage one frame a second, "
    f"at least {MIN_FRAMES_PER_VIDEO}, blank ones too, of a component at most {MAX_FRAMES_PER_COMPONENT}, spread "
    "evenly; no picture whose perceptual hash is nearly that of a val or test picture"
)


@dataclass(frozen=True)
class Origin:
    """Where a picture comes from.

    Attributes:
        name: file name, with the frame's number behind it for videos.
        split: of its row.
        same: pictures with an equal one show the same thing, whatever they look like.
        group: pictures with an equal one may show the same thing: never negatives of each other.
        source, licence: as stated in the tables.
        is_frame: of a video; frames come behind all stills.
    """

    name: str
    split: str
    same: str
    group: str
    source: str
    licence: str
    is_frame: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="holds images/, videos/ and footage/")
    parser.add_argument("--side", type=int, default=224, help="of the square pictures, px [default: 224]")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    if args.side < 1:
        parser.error(f"--side must be a number of pixels above 0, got {args.side}")
    if not (args.data / "images/index.csv").is_file():
        parser.error(
            f"--data {args.data}: holds no images/index.csv; name the folder with images/, videos/ and footage/"
        )
    facts = pack(args.data, args.output, side_px=args.side)
    counted = ", ".join(f"{facts[name]} {name}" for name in ("pictures", "groups", "repeats_left_out"))
    print(f"{args.output}: {counted}, {args.output.stat().st_size / 1e6:.1f} MB")


def pack(data: Path, output: Path, *, side_px: int = 224) -> dict[str, object]:
    """Write the packed file; returns its metadata.

    Args:
        data: folder with `images`, `videos` and `footage`, as their README.md files describe them.
        side_px: of the square that every picture is squashed to, whatever its aspect.

    Raises:
        VisilError: a table, a picture or a video cannot be read, or nothing may be taken.
        OSError, SafetensorError: a table is missing, or the file cannot be written.
    """
    preprocessing = replace(PRESETS["whole-frame"], size_px=side_px, min_samples=MIN_FRAMES_PER_VIDEO)
    origins, pictures = [], []
    clips = [name for name in CLIPS if (data / name).is_dir()]
    for read in (_stills(data / "images", preprocessing), *(_frames(data / name, preprocessing) for name in clips)):
        for origin, picture in read:
            origins.append(origin)
            pictures.append(picture)
    if not any(origin.split == "train" for origin in origins):
        raise DataError(f"{data}: no row is of the train split and may ship")
    repeats = _repeats(pictures)
    shown = repeats(origins, [origin.same for origin in origins])
    held_out = {shown[origin.name] for origin in origins if origin.split != "train"}
    kept = [i for i, origin in enumerate(origins) if shown[origin.name] not in held_out]
    if not kept:
        raise DataError(f"{data}: no row is of the train split, may ship and shows what no other split shows")
    related = repeats(origins, [origin.group for origin in origins])
    groups = _numbered([related[origins[i].name] for i in kept])
    facts: dict[str, object] = {
        "format": FORMAT,
        "pictures": len(kept),
        "stills": sum(not origins[i].is_frame for i in kept),
        "groups": int(groups.max()) + 1,
        "repeats_left_out": sum(origin.split == "train" for origin in origins) - len(kept),
        "side_px": side_px,
        "rule": RULE,
        "tables": {
            name: _sha256(data / name) for name in ("images/index.csv", *(f"{name}/split.csv" for name in clips))
        },
        "sources": [
            {"source": source, "licence": licence, "pictures": number}
            for (source, licence), number in Counter(
                (origins[i].source, origins[i].licence) for i in kept
            ).most_common()
        ],
    }
    tensors = {"pictures": np.stack([pictures[i] for i in kept]), "groups": groups, **_stickers()}
    unfinished = output.with_name(f".{output.name}.partial")
    try:
        save_file(tensors, unfinished, metadata={"visil": json.dumps(facts)})
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
    return facts


def _stills(images: Path, preprocessing: Preprocessing) -> Iterator[tuple[Origin, np.ndarray]]:
    """Pictures of the train rows that may ship, and all of the other splits (to find their repeats)."""
    rows = _rows(images / "index.csv", "name", "shard", "split", "ship_ok", "source", "licence", "path")
    taken = {name: row for name, row in rows.items() if row["split"] != "train" or row["ship_ok"] == "yes"}
    for shard in sorted({row["shard"] for row in taken.values()}):
        if Path(shard).name != shard:
            raise DataError(f"{images / 'index.csv'}: the shard {shard!r} is not the name of a file beside it")
        own = {name for name, row in taken.items() if row["shard"] == shard}
        for name, content in _members(images / shard, own):
            row = taken[name]
            same = f"{row['source']}/{row['path'].partition('#')[0].partition('@')[0]}"
            origin = Origin(name, row["split"], same, same, row["source"], row["licence"])
            try:
                picture = read_still(io.BytesIO(content), preprocessing)[0]
            except VisilError as error:
                raise DataError(f"{images / shard}: {name} cannot be read as a picture ({error})") from error
            yield origin, picture


def _members(shard: Path, wanted: Set[str]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the wanted files in a shard; it must have all of them."""
    missing = set(wanted)
    try:
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name in missing:
                    missing.remove(member.name)
                    file = tar.extractfile(member)
                    if file is None:
                        raise DataError(f"{shard}: {member.name} is not a file")
                    yield member.name, file.read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{shard}: is no whole tar file ({reason}); get it again") from error
    if missing:
        raise DataError(
            f"{shard}: has no {min(missing)}, which index.csv names (nor {len(missing) - 1} others); get it again"
        )


def _frames(videos: Path, preprocessing: Preprocessing) -> Iterator[tuple[Origin, np.ndarray]]:
    """Frames of the train rows that may ship, and of all of the other splits (to find their repeats)."""
    manifest = _rows(videos / "manifest.csv", "file", "repository", "license")
    components: dict[tuple[str, str], list[str]] = {}
    for file, row in _rows(videos / "split.csv", "file", "component", "split", "ship_ok").items():
        if row["split"] != "train" or row["ship_ok"] == "yes":
            if file not in manifest:
                raise DataError(f"{videos / 'manifest.csv'}: has no row of {file}, which split.csv names")
            components.setdefault((row["component"], row["split"]), []).append(file)
    for (component, split), files in components.items():
        found = [(file, picture) for file in files for picture in _pictures(videos / file, preprocessing)]
        wanted = min(len(found), MAX_FRAMES_PER_COMPONENT) if split == "train" else len(found)
        for number in np.linspace(0, len(found) - 1, wanted).round().astype(int):
            file, picture = found[number]
            name = f"{videos.name}/{file}@{number}"
            source, licence = (manifest[file][column] for column in ("repository", "license"))
            group = f"{videos.name}, component {component}"
            yield Origin(name, split, name, group, source, licence, is_frame=True), picture


def _pictures(video: Path, preprocessing: Preprocessing) -> Iterator[np.ndarray]:
    for frames in read_frames(video, preprocessing):
        yield from frames.images


def _repeats(pictures: Sequence[np.ndarray]) -> Callable[[Sequence[Origin], Sequence[str]], dict[str, str]]:
    """What joins pictures by name: equal keys, and perceptual hashes that are nearly equal."""
    hashes, mirrored = [], []
    for picture in map(Image.fromarray, pictures):
        hashes.append(imagehash.phash(picture).hash.ravel())
        mirrored.append(imagehash.phash(ImageOps.mirror(picture)).hash.ravel())

    def joined(origins: Sequence[Origin], keys: Sequence[str]) -> dict[str, str]:
        first_of: dict[str, str] = {}
        pairs = zip(keys, origins, strict=True)
        same = [(first_of.setdefault(key, origin.name), origin.name) for key, origin in pairs]
        names = [origin.name for origin in origins]
        return join_repeats(names, np.array(hashes), np.array(mirrored), seen=[*SEEN_REPEATS, *same])

    return joined


def _numbered(names: Sequence[str]) -> np.ndarray:
    """int64 [N]: equal names have equal numbers, counted from 0 in the order in which they come."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def _stickers() -> dict[str, np.ndarray]:
    """Captions, logos and emoji, each uint8 RGBA [K, H, W, 4], alpha straight."""
    return {
        "captions": _drawn("captions", NUM_CAPTIONS, _caption),
        "logos": _drawn("logos", NUM_LOGOS, lambda rng: logo(rng, LOGO_WIDTH_PX)),
        "emoji": _drawn("emoji", NUM_EMOJI, _emoji),
    }


def _caption(rng: np.random.Generator) -> Sticker:
    return caption(rng, *CAPTION_SIZE_PX, num_lines=int(rng.integers(1, 4)))


def _emoji(rng: np.random.Generator) -> Sticker:
    """There are only a few: most get other colours and half are mirrored."""
    drawn = emoji(rng, EMOJI_SIZE_PX)
    turn = int(rng.choice([-1, 1]))
    return Sticker(drawn.colours[:, ::turn, rng.permutation(3)], drawn.alpha[:, ::turn])


def _drawn(kind: str, number: int, draw: Callable[[np.random.Generator], Sticker]) -> np.ndarray:
    stickers = (draw(np.random.default_rng([SEED, zlib.crc32(kind.encode()), i])) for i in range(number))
    drawn = np.stack([np.concatenate([s.colours, _alpha(s)], axis=-1) for s in stickers])
    return np.ascontiguousarray(drawn)  # safetensors writes memory as it lies


def _alpha(sticker: Sticker) -> np.ndarray:
    return np.round(sticker.alpha * (255 / OPAQUE)).astype(np.uint8)


def _rows(table: Path, key: str, *columns: str) -> Mapping[str, Mapping[str, str]]:
    """Rows of a table by the value of a column; it must have the others too."""
    try:
        with table.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            lacking = {key, *columns}.difference(reader.fieldnames or ())
            if lacking:
                raise DataError(f"{table}: lacks the column {min(lacking)!r}")
            return {row[key]: row for row in reader}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as a table in UTF-8 ({error})") from error


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    try:
        main()
    except (VisilError, OSError, SafetensorError, tarfile.TarError) as error:
        raise SystemExit(f"pack_pictures: {error}") from error

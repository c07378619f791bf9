"""Still pictures of a benchmark: which repeat each other, and what each one is used for.

    images/index.csv, shards ─► [unpacked stills ─► components ─► roles] ─► benchmark_data

A still has one role, so that no picture of a query lies in the library by another way. Stills that show the same
picture are one component: videos made from them are related, and never count as a false match of each other.
"""

from __future__ import annotations

import csv
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from visil.errors import DataError, VisilError
from visil.evaluation.real_videos import components_of

FILM_OF_REAL_VIDEOS = "bower-media-samples/big-buck-bunny-480p-30s"  # its pictures are of the film of bbb_*
SAME_PICTURE_BITS = 8  # of 64: in the pictures at hand, pairs up to here are repeats or look like them
# Repeats that these hashes do not tell: other crops, other numbers in one drawing. Found by eye among the pairs that a
# network finds nearest.
SEEN_REPEATS = (
    ("000941.jpg", "008792.jpg"),
    ("001012.jpg", "003871.jpg"),
    ("001482.jpg", "001801.jpg"),
    ("001882.jpg", "020701.jpg"),
    ("001931.jpg", "007702.jpg"),
    ("003702.jpg", "007771.jpg"),
    ("005432.jpg", "009961.jpg"),
    ("006171.jpg", "009192.jpg"),
    ("007020.jpg", "007720.jpg"),
    ("007862.jpg", "009021.jpg"),
    ("020481.jpg", "023151.jpg"),
    ("020940.jpg", "022540.jpg"),
)


@dataclass(frozen=True)
class Still:
    """A picture of the index.

    Attributes:
        path: the unpacked file.
        subject: what it shows, where its source sorts its pictures by subject (a folder each), else empty.
        component: the first of the pictures that show the same.
    """

    path: Path
    subject: str
    component: str


@dataclass(frozen=True)
class Roles:
    """Stills by what they are used for; none is in two of them.

    Attributes:
        pans: shots of the montages that queries are made from.
        hosts: footage around a query (picture-in-picture, a clip inside other footage).
        queries: negatives on the query side.
        library: everything else: distractors, and negatives on the library side.
    """

    pans: tuple[Still, ...]
    hosts: tuple[Still, ...]
    queries: tuple[Still, ...]
    library: tuple[Still, ...]


def read_stills(images: Path, split: str, folder: Path, *, may_ship: bool = False) -> list[Still]:
    """The stills of a split, unpacked into `folder`, in the order of the index.

    Pictures of the film that the real videos are of are left out.

    Args:
        may_ship: only those that weights that ship may be fitted on.

    Raises:
        DataError: the index cannot be read.
        VisilError: imagehash is not installed.
    """
    try:
        with (images / "index.csv").open(newline="", encoding="utf-8") as file:
            rows = [r for r in csv.DictReader(file) if r["split"] == split and r["source"] != FILM_OF_REAL_VIDEOS]
            rows = [row for row in rows if not may_ship or row["ship_ok"] == "yes"]
    except (OSError, KeyError) as error:
        raise DataError(f"{images / 'index.csv'}: cannot be read ({error}); it lists the pictures") from error
    _unpack(images, rows, folder)
    paths = [folder / row["name"] for row in rows]
    components = join_repeats([path.name for path in paths], *_hashes(paths), seen=SEEN_REPEATS)
    subjects = [_subject(row) for row in rows]
    return [Still(path, subject, components[path.name]) for path, subject in zip(paths, subjects, strict=True)]


def assign_roles(
    stills: Sequence[Still], rng: np.random.Generator, *, num_pans: int, num_hosts: int, num_queries: int
) -> Roles:
    """Shuffle the stills and deal them out; the library gets what is left.

    Raises:
        DataError: nothing is left.
    """
    order = [stills[i] for i in rng.permutation(len(stills))]
    ends = np.cumsum([num_pans, num_hosts, num_queries]).tolist()
    if len(order) <= ends[-1]:
        raise DataError(f"{len(order)} pictures are too few for {ends[-1]} of queries and a library")
    return Roles(*(tuple(order[start:end]) for start, end in zip([0, *ends], [*ends, len(order)], strict=True)))


def join_repeats(
    names: Sequence[str], hashes: np.ndarray, mirrored: np.ndarray, seen: Sequence[tuple[str, str]] = ()
) -> dict[str, str]:
    """Component of every picture: the first one that it is the same as, directly or by way of others.

    Args:
        hashes, mirrored: bool [N, bits], perceptual hashes of the pictures and of their mirror images.
        seen: names of pictures that are the same, whatever their hashes; those that are not there do not matter.
    """
    signs = 2.0 * hashes - 1.0
    close = signs @ signs.T >= hashes.shape[1] - 2 * SAME_PICTURE_BITS  # equal minus different bits
    close |= signs @ (2.0 * mirrored - 1.0).T >= hashes.shape[1] - 2 * SAME_PICTURE_BITS
    links = [(names[a], names[b]) for a, b in np.argwhere(close).tolist()]
    there = set(names)
    return components_of(names, [*links, *(pair for pair in seen if there.issuperset(pair))])


def _hashes(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    try:
        import imagehash
        from PIL import Image, ImageOps
    except ImportError as error:
        raise VisilError(f'repeats among the pictures need imagehash ({error}): pip install "visil[bench]"') from error

    hashes, mirrored = [], []
    for path in paths:
        with Image.open(path) as picture:
            hashes.append(imagehash.phash(picture).hash.ravel())
            mirrored.append(imagehash.phash(ImageOps.mirror(picture)).hash.ravel())
    return np.array(hashes, dtype=bool), np.array(mirrored, dtype=bool)


def _subject(row: Mapping[str, str]) -> str:
    """Caltech-101 has a folder for each kind of thing."""
    folder = Path(row.get("path") or "").parent
    return folder.name if "101" in str(folder) and not folder.name.startswith("BACKGROUND") else ""


def _unpack(images: Path, rows: Sequence[Mapping[str, str]], folder: Path) -> None:
    names_by_shard: dict[str, list[str]] = {}
    for row in rows:
        names_by_shard.setdefault(row["shard"], []).append(row["name"])
    folder.mkdir(parents=True, exist_ok=True)
    for shard, names in names_by_shard.items():
        missing = [name for name in names if not (folder / name).exists()]
        if missing:
            with tarfile.open(images / shard) as tar:
                for name in missing:
                    part = folder / f"{name}.part"
                    part.write_bytes(cast(IO[bytes], tar.extractfile(name)).read())
                    part.replace(folder / name)

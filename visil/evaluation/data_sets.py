"""Data sets by name: ground truth from the package, from a folder of annotations, or from files of the user's own.

    name ─► [load, load_segments] ─► GroundTruth, SegmentTruth
            this module

Annotations that do not come with visil are looked for in the folder that the caller names, and in the folder of that
data set inside it; else in the platform's cache folder of visil.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from visil.errors import DataError
from visil.evaluation import own_sets, published_sets
from visil.evaluation.annotation_files import SVD_UNLABELLED, VCDB_FILES, VCSL_PAIRS, VSC_FILE
from visil.evaluation.ground_truth import GroundTruth

if TYPE_CHECKING:
    from visil.evaluation.segments import SegmentTruth

PACKAGED = {
    "FIVR-200K": published_sets.fivr_200k,
    "FIVR-5K": published_sets.fivr_5k,
    "EVVE": published_sets.evve,
    "CC_WEB_VIDEO": published_sets.cc_web_video,
}
NAMES = (*PACKAGED, "SVD", "VCDB", "VCDB-DIST", "VSC2022", "VCSL")
SEGMENT_NAMES = ("VSC2022", "VCSL")
SPLITS = ("train", "val", "test")
DEFAULT_SPLIT = "test"
ALIASES = {"ccweb": "CC_WEB_VIDEO", "vcdbdistractors": "VCDB-DIST", "vcdbd": "VCDB-DIST", "dvsc2023": "VSC2022"}


@dataclass(frozen=True)
class _Missing:
    """What to say of annotations that do not come with visil.

    Attributes:
        files: any of these is enough (glob patterns); `{split}` stands for the split.
    """

    files: tuple[str, ...]
    origin: str


_ORIGINS = {
    "svd": _Missing((SVD_UNLABELLED,), "svdbase.github.io (Jiang et al., ICCV 2019)"),
    "vcdb": _Missing(VCDB_FILES, "the VCDB project page (Jiang, Jiang, Wang, ECCV 2014)"),
    "vsc2022": _Missing(
        (VSC_FILE,),
        "the Video Similarity Challenge (facebookresearch/vsc2022 on GitHub says where)",
    ),
    "vcsl": _Missing((VCSL_PAIRS,), "alipay/VCSL on GitHub (He et al., CVPR 2022)"),
}


def load(name_or_path: str | Path, *, annotations: Path | None = None, split: str | None = None) -> GroundTruth:
    """The ground truth of a published data set, or of the user's own files (see `own_sets`).

    A file, or a folder with tables of a data set, wins over a name.

    Args:
        name_or_path: one of `NAMES`, with any case and punctuation; or a path.
        annotations: folder with annotations that do not come with visil.
        split: of data sets that have splits; None: `test` for VSC2022, all rows of a folder.

    Raises:
        DataError: no such data set; its annotation is not there, or is damaged; there is no such split.
    """
    if own_sets.is_own_set(Path(name_or_path)):
        _refuse_annotations(str(name_or_path), annotations)
        return own_sets.own_set(Path(name_or_path), split=split)
    name = _named(str(name_or_path))
    if name == "VCSL":
        raise DataError("VCSL: is measured on segments only: give predicted segments with --segments FILE")
    if name == "VSC2022":
        from visil.evaluation import copy_sets

        split = _split(name, split)
        return copy_sets.vsc2022(_folder(name, "vsc2022", annotations, split), split)
    if split is not None:
        raise DataError(f"{name}: has no splits, --split {split} means nothing here")
    if name in PACKAGED:
        _refuse_annotations(name, annotations)
        return PACKAGED[name]()
    if name == "SVD":
        return _svd(annotations)
    from visil.evaluation import copy_sets

    folder = _folder(name, "vcdb", annotations)
    return copy_sets.vcdb(folder, with_distractors=name == "VCDB-DIST")


def load_segments(name: str, *, annotations: Path | None = None, split: str | None = None) -> SegmentTruth:
    """The true segments of VSC2022 (matching track) or VCSL.

    Args:
        annotations, split: see `load`.

    Raises:
        DataError: another data set; its annotation is not there, or is damaged; there is no such split.
    """
    from visil.evaluation import copy_sets

    known = _named(name)
    if known not in SEGMENT_NAMES:
        raise DataError(f"{known}: has no true segments; {' and '.join(SEGMENT_NAMES)} have")
    split = _split(known, split)
    folder = _folder(known, known.lower(), annotations, split)
    return (copy_sets.vsc2022_segments if known == "VSC2022" else copy_sets.vcsl_segments)(folder, split)


def annotation_cache() -> Path:
    """The folder where annotations are looked for when none is named."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("visil")) / "annotations"


def _named(text: str) -> str:
    plain = _plain(text)
    for name in NAMES:
        if _plain(name) == plain:
            return name
    if plain in ALIASES:
        return ALIASES[plain]
    if Path(text).is_dir():
        raise DataError(f"{text}: a folder without manifest.csv and pairs.csv, the tables of a data set of your own")
    raise DataError(
        f"{text}: no such data set or file; data sets are {', '.join(NAMES)}; one of your own is a folder with "
        "manifest.csv and pairs.csv, a CSV of pairs or a JSON"
    )


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _split(name: str, split: str | None) -> str:
    if split is not None and split not in SPLITS:
        raise DataError(f"{name}: no split {split!r}; there are {', '.join(SPLITS)}")
    return split or DEFAULT_SPLIT


def _svd(annotations: Path | None) -> GroundTruth:
    """With the unlabelled videos if a folder is named, or if their list lies in the cache."""
    if annotations is None and not (annotation_cache() / "svd" / SVD_UNLABELLED).exists():
        return published_sets.svd()
    from visil.evaluation.copy_sets import id_list

    return published_sets.svd(id_list(_folder("SVD", "svd", annotations) / SVD_UNLABELLED))


def _folder(name: str, key: str, annotations: Path | None, split: str = "") -> Path:
    """The folder that holds the annotation files of a data set."""
    missing = _ORIGINS[key]
    files = [file.format(split=split) for file in missing.files]
    places = [annotations, annotations / key] if annotations is not None else [annotation_cache() / key]
    for place in places:
        if any(any(place.glob(file)) for file in files):
            return place
    raise DataError(
        f"{name}: its annotation does not come with visil; get it from {missing.origin} and put {' or '.join(files)} "
        f"into {places[-1] if annotations is None else annotations}, or name its folder with --annotations DIR"
    )


def _refuse_annotations(name: str, annotations: Path | None) -> None:
    if annotations is not None:
        raise DataError(f"{name}: its annotation is at hand; --annotations {annotations} would not be read")

"""Clips to train on: trees of JPEG frames, as the authors lay them out, and videos that are turned into such a tree.

    videos ─► extract_frames ─► ROOT/<id>/00000.jpg, 00001.jpg ... ─► find_clips ─► [Clip] ─► views
              once, goes on where it ended

A number that is absent in a folder is skipped, and other files in it are none of our business: the published loader
takes the number of directory entries for the number of frames. Source: S2VS (CVPRW 2023), its code's `spec` section 2.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from visil.errors import DataError
from visil.media.decoding import DecodeEnd, decode_files, read_frames
from visil.media.preprocessing import MOST_OBLONG, Preprocessing

logger = logging.getLogger(__name__)

SHORT_SIDE_PX = 256  # of the frames
JPEG_QUALITY = 95
FRAME = re.compile(r"\d{5,}\.jpe?g", re.IGNORECASE)


@dataclass(frozen=True)
class Clip:
    """A video as a folder of frames.

    Attributes:
        id: path of its folder below the root.
        frames: files of the frames, by their numbers.
    """

    id: str
    frames: tuple[Path, ...]

    def read(self, start: int, end: int) -> np.ndarray:
        """Frames from `start` to before `end`, uint8 [T, H, W, 3], short side of SHORT_SIDE_PX.

        Raises:
            DataError: one cannot be read, or is of another size than the first.
        """
        pictures = [_read(file) for file in self.frames[start:end]]
        sizes = {picture.shape for picture in pictures}
        if len(sizes) != 1:
            raise DataError(f"{self.frames[start].parent}: its frames have {len(sizes)} sizes; extract them again")
        return np.stack(pictures)


def find_clips(roots: Sequence[Path], *, only: str | None = None) -> list[Clip]:
    """Every folder of frames below the roots, by its id.

    Args:
        only: id of the one that is looked for.

    Raises:
        DataError: a root is missing or holds none, or two clips have one id.
    """
    clips: dict[str, Clip] = {}
    for root in roots:
        if not root.is_dir():
            raise DataError(f"{root}: is no folder of frames; expected <folder>/<video>/00000.jpg, 00001.jpg ...")
        folders: dict[Path, list[Path]] = {}
        for file in (root if only is None else root / only).rglob("*"):
            if FRAME.fullmatch(file.name) and not any(part.startswith(".") for part in file.relative_to(root).parts):
                folders.setdefault(file.parent, []).append(file)
        if not folders:
            place = root if only is None else root / only
            raise DataError(f"{place}: holds no frames; expected <folder>/<video>/00000.jpg, 00001.jpg ...")
        for folder, files in folders.items():
            name = folder.relative_to(root).as_posix()
            if name in clips:
                raise DataError(f"{folder}: another folder of frames has the same id, {name}; rename one")
            clips[name] = Clip(name, tuple(sorted(files, key=lambda file: int(file.stem))))
    return [clips[name] for name in sorted(clips)]


def digest_of(clips: Sequence[Clip]) -> str:
    """Of what the clips are called and how long they are: what lies where does not matter."""
    text = "\n".join(f"{clip.id} {len(clip.frames)}" for clip in clips)
    return hashlib.sha256(os.fsencode(text)).hexdigest()  # names of files can be no text


@dataclass(frozen=True)
class Extraction:
    """What became of the videos.

    Attributes:
        done, kept: number of those whose frames were extracted, and had been before.
        failed: reasons, by id.
    """

    done: int
    kept: int
    failed: Mapping[str, str]


def extract_frames(
    videos: Mapping[str, Path],
    root: Path,
    preprocessing: Preprocessing,
    *,
    workers: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> Extraction:
    """Write the frames of videos into a tree; those that are in it already are left as they are.

    A folder appears when it is whole, so a run that was ended goes on with the next video.

    Args:
        videos: files by their ids.
        preprocessing: of the bundle that the frames are for; its sampling and its bars count, its size does not.
        stop: asked after every video, whether to leave the others for another time.
    """
    wanted = {name: path for name, path in videos.items() if not (root / name).exists()}
    names, written = list(wanted), 0
    failed: dict[str, str] = {}
    begun: set[int] = set()
    root.mkdir(parents=True, exist_ok=True)
    with closing(decode_files(wanted.values(), _sampled_like(preprocessing), workers=workers)) as events:
        for number, event in events:
            name = names[number]
            partial = root / f".{os.getpid()}-{number}.partial"
            if not isinstance(event, DecodeEnd):
                if number not in begun:  # what an ended run left there is of some other video
                    begun.add(number)
                    shutil.rmtree(partial, ignore_errors=True)
                _write(event.images, partial)
            elif event.error is None and partial.exists():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                if (root / name).exists():  # another run was faster
                    shutil.rmtree(partial)
                else:
                    partial.rename(root / name)
                written += 1
                logger.info("frames of %d of %d videos", written + len(failed), len(wanted))
            else:
                failed[name] = str(event.error or "no frame")
                shutil.rmtree(partial, ignore_errors=True)
            if isinstance(event, DecodeEnd) and stop():
                break
    for left_over in root.glob(f".{os.getpid()}-*.partial"):
        shutil.rmtree(left_over, ignore_errors=True)
    return Extraction(written, len(videos) - len(wanted), failed)


def write_frames(images: Iterable[np.ndarray], folder: Path) -> None:
    """Pictures uint8 [H, W, 3] as a folder of frames, which appears when it is whole."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _write(images, partial)
    partial.rename(folder)


def read_video(path: Path, preprocessing: Preprocessing, count: int) -> np.ndarray:
    """The first frames that `extract_frames` would write, at most `count`, uint8 [T, H, W, 3].

    Raises:
        MediaError: the file is not a readable video.
    """
    images: list[np.ndarray] = []
    with closing(read_frames(path, _sampled_like(preprocessing))) as chunks:
        for chunk in chunks:
            images.extend(chunk.images)
            if len(images) >= count:
                break
    return np.stack(images[:count])


def _sampled_like(preprocessing: Preprocessing) -> Preprocessing:
    return replace(
        preprocessing,
        size_rule="short-side",
        size_px=SHORT_SIDE_PX,
        crop_px=None,
        interpolation="bicubic",
        blank="keep",
    )


def _write(images: Iterable[np.ndarray], folder: Path) -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    start = sum(1 for _ in folder.iterdir())
    for number, image in enumerate(images, start=start):
        Image.fromarray(image).save(folder / f"{number:05d}.jpg", quality=JPEG_QUALITY)


def _read(file: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(file, formats=["JPEG"]) as picture:
            if max(picture.size) > MOST_OBLONG * min(picture.size):
                raise ValueError(f"{picture.width} x {picture.height} px is no frame of a video")
            scale = SHORT_SIDE_PX / min(picture.size)
            size = (round(picture.width * scale), round(picture.height * scale))
            shown = picture.convert("RGB")
            return np.asarray(shown if size == picture.size else shown.resize(size, Image.Resampling.BICUBIC))
    except (OSError, ValueError, SyntaxError, ZeroDivisionError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: no readable frame ({error})") from error

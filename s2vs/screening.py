"""Which clips of a folder may show the same, where nobody has said: found by a search of each among all.

    clips ─► region vectors ─► a library ─► [scores of every clip with those like it] ─► related, bool [N, N]

Losses with a hardest negative choose exactly the copies that nobody knew of. The library does the work: candidates by
their descriptors, plain or refined scores as the bundle's network gives them, both directions of a pair. Beyond the
paper, whose clips are taken to be unrelated.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from visil.errors import DataError
from visil.library.library import Library
from visil.library.store import OK
from visil.model.model import Model
from visil.s2vs.clips import Clip
from visil.s2vs.video_in_video import resized

logger = logging.getLogger(__name__)

CANDIDATES = 50  # that a clip is compared with
READ_AT_ONCE = 64  # frames
LOG_CLIPS = 200
VECTORS, LIBRARY, SCORES = "vectors.h5", "library", "scores.npy"  # in the folder


def screen_clips(clips: Sequence[Clip], model: Model, folder: Path, stop: Callable[[], bool] = lambda: False) -> None:
    """Score every clip with those most like it, once; another run of the same clips takes it over.

    Clips that cannot be read are related to none.

    Args:
        model: of the bundle that is trained on.
        stop: asked after every clip, whether to leave the others for another time.

    Raises:
        DataError: h5py is not installed, or the folder cannot be written.
    """
    vectors, place = folder / VECTORS, folder / LIBRARY
    try:
        if (folder / SCORES).exists() or not (vectors.exists() or _write_vectors(clips, model, vectors, stop)):
            return
        shutil.rmtree(place, ignore_errors=True)
        library = Library.create(place, model)
        library.add_features(vectors)
        ids = [record.id for record in library.list() if record.status == OK]
        rows: list[tuple[int, int, float]] = []
        for clip, found in zip(ids, library.score_many(ids, rerank=CANDIDATES), strict=True):
            if stop():
                return
            rows += [
                (int(clip), int(found.ids[k]), float(found.scores[k])) for k in np.flatnonzero(found.is_fine).tolist()
            ]
        partial = folder / f".{SCORES}"
        np.save(partial, np.array(rows, dtype=[("a", "i8"), ("b", "i8"), ("score", "f4")]))
        partial.replace(folder / SCORES)
        shutil.rmtree(place)
        vectors.unlink()
    except OSError as error:
        raise DataError(f"{folder}: clips cannot be screened there ({error})") from error


def screened(folder: Path, count: int, threshold: float) -> np.ndarray | None:
    """Which of the clips score at least `threshold` with each other, in one direction or the other, bool [N, N].

    None: `screen_clips` was not done with them.

    Args:
        count: of the clips.
        threshold: a score in [0, 1], as a search shows it.

    Raises:
        DataError: what is in the folder cannot be read.
    """
    file = folder / SCORES
    if not file.exists():
        return None
    try:
        pairs = np.load(file, allow_pickle=False)
        is_close = pairs["score"] >= threshold
        is_related = np.eye(count, dtype=bool)
        is_related[pairs["a"][is_close], pairs["b"][is_close]] = True
    except (OSError, ValueError, IndexError, TypeError) as error:
        raise DataError(f"{file}: no readable scores of clips ({error}); delete it and let it be made again") from error
    is_related |= is_related.T
    logger.info("screening: %d pairs of clips may show the same", (is_related.sum() - count) // 2)
    return is_related


def _write_vectors(clips: Sequence[Clip], model: Model, file: Path, stop: Callable[[], bool]) -> bool:
    """Region vectors of every frame of every clip, a data set a clip, its name its number; whether all is done."""
    try:
        import h5py
    except ImportError:
        raise DataError('screening needs the package h5py: pip install "visil[train]"') from None
    side_px = model.bundle.settings.preprocessing.sides_px[0]
    partial = file.with_name(f".{file.name}.partial")
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(partial, "w") as opened:
        for number, clip in enumerate(clips):
            if stop():
                return False
            parts = []
            try:
                for start in range(0, len(clip.frames), READ_AT_ONCE):
                    frames = torch.from_numpy(clip.read(start, start + READ_AT_ONCE))
                    parts.append(model.region_vectors(resized(frames, (side_px, side_px)).numpy()).half().cpu().numpy())
            except DataError as error:
                logger.warning("not screened: %s", error)
                continue
            opened.create_dataset(str(number), data=np.concatenate(parts))
            if (number + 1) % LOG_CLIPS == 0:
                logger.info("screening: vectors of %d of %d clips", number + 1, len(clips))
    partial.replace(file)
    return True

"""Which clips of a folder may show the same, where nobody has said: found by a search of each among all.

    clips ─► region vectors ─► a library ─► [scores of every clip with those like it] ─► related, bool [N, N]

Losses with a hardest negative choose exactly the copies that nobody knew of. The library does the work: candidates by
their descriptors, plain or refined scores as the bundle's network gives them, both directions of a pair. Beyond the
paper, whose clips are taken to be unrelated.
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from visil.errors import DataError
from visil.library.library import Library, is_library
from visil.library.store import OK
from visil.model.model import Model
from visil.s2vs.clips import Clip
from visil.s2vs.video_in_video import resized

logger = logging.getLogger(__name__)

CANDIDATES = 50  # that a clip is compared with
READ_AT_ONCE = 64  # frames
AT_ONCE = 64  # clips that are scored in one pass over the library
LOG_CLIPS = 200
VECTORS, LIBRARY, PARTIAL, SCORES, LOCK = "vectors.h5", "library", "scores.partial", "scores.txt", "screening.lock"


def check_packages() -> None:
    """Raises DataError where what screening needs is not installed: before hours of decoding."""
    if importlib.util.find_spec("h5py") is None:
        raise DataError('screening needs the package h5py: pip install "visil[train]"')


def screen_clips(clips: Sequence[Clip], model: Model, folder: Path, stop: Callable[[], bool] = lambda: False) -> None:
    """Score every clip with those most like it; what an ended run has done stays, and other runs take it over.

    Clips that cannot be read are related to none. Networks with a comparator compare whole clips alone, plain ones
    also by the moments of long clips, as a search does.

    Args:
        model: of the bundle that is trained on.
        stop: asked before every clip and every pass over the library, whether to leave the rest for another time.

    Raises:
        DataError: h5py is not installed, or the folder cannot be written.
    """
    check_packages()
    vectors, place = folder / VECTORS, folder / LIBRARY
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):  # runs that share a bank screen one after the other
            if (folder / SCORES).exists() or not (vectors.exists() or _write_vectors(clips, model, vectors, stop)):
                return
            library = (
                Library.open(place, device=model.device.type) if is_library(place) else Library.create(place, model)
            )
            library.add_features(vectors)
            if not _score_clips(library, folder / PARTIAL, stop):
                return
            (folder / PARTIAL).replace(folder / SCORES)
            shutil.rmtree(place)
            vectors.unlink()
    except OSError as error:
        raise DataError(f"{folder}: clips cannot be screened there ({error})") from error


def _score_clips(library: Library, file: Path, stop: Callable[[], bool]) -> bool:
    """Lines `a b score` for all clips; whether all is done. The last line of a clip is that of itself."""
    text = file.read_text(encoding="ascii") if file.exists() else ""
    lines = [line.split() for line in text.splitlines() if line.count(" ") == 2]
    done = {line[0] for line in lines if line[0] == line[1]}
    kept = [" ".join(line) + "\n" for line in lines if line[0] in done]
    waiting = [record.id for record in library.list() if record.status == OK and record.id not in done]
    with file.open("w", encoding="ascii") as written:
        written.writelines(kept)
        for start in range(0, len(waiting), AT_ONCE):
            if stop():
                return False
            some = waiting[start : start + AT_ONCE]
            for clip, found in zip(some, library.score_many(some, rerank=CANDIDATES, by_moments=True), strict=True):
                is_fine = np.flatnonzero(found.is_fine).tolist()
                written.writelines(f"{clip} {found.ids[k]} {found.scores[k]:.5f}\n" for k in is_fine)
                written.write(f"{clip} {clip} 1\n")
            written.flush()
    return True


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
        lines = [line.split() for line in file.read_text(encoding="ascii").splitlines()]
        is_related = np.eye(count, dtype=bool)
        for a, b, score in lines:
            is_related[int(a), int(b)] |= float(score) >= threshold
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{file}: no readable scores of clips ({error}); delete it and let it be made again") from error
    return is_related | is_related.T


def _write_vectors(clips: Sequence[Clip], model: Model, file: Path, stop: Callable[[], bool]) -> bool:
    """Region vectors of every frame of every clip, a data set a clip, its name its number; whether all is done."""
    side_px = model.bundle.settings.preprocessing.sides_px[0]
    partial = file.with_name(f".{file.name}.partial")
    with _appended(partial) as opened:
        for number, clip in enumerate(clips):
            if str(number) in opened:
                continue
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
            opened.flush()
            if (number + 1) % LOG_CLIPS == 0:
                logger.info("screening: vectors of %d of %d clips", number + 1, len(clips))
    partial.replace(file)
    return True


def _appended(file: Path) -> Any:
    """An HDF5 file to go on with; a damaged one, of a run that was killed, is begun anew."""
    import h5py

    try:
        return h5py.File(file, "a")
    except OSError:
        file.unlink(missing_ok=True)
        return h5py.File(file, "w")

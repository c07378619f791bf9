"""Search over the videos of a benchmark: the library of each bundle, and scores of every video for every query.

folders ─► library (kept beside the made files) ─► search ─► [scores by video ─► RankedQuery]
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from visil.errors import DataError
from visil.library.ingest import Progress
from visil.library.library import Library
from visil.model.model import Model

PROGRESS_SECONDS = 20.0

logger = logging.getLogger(__name__)


def benchmark_library(place: Path, model: Model, folders: Sequence[Path], *, workers: int) -> Library:
    """The library of a bundle over these folders, made or brought up to date.

    Args:
        place: the folder of libraries; this one is named after its bundle.

    Raises:
        DataError: a file could not be indexed: figures over part of the videos compare to nothing.
    """
    folder = place / f"{model.settings.name}-{model.bundle.hash[:12]}"
    library = Library.create(folder, model) if not folder.exists() else Library.open(folder)
    report = library.add(folders, workers=workers, progress=_Log())
    failed = [*report.failed, *report.failed_before]
    if failed:
        raise DataError(
            f"{len(failed)} files could not be indexed, the first is {failed[0][0]}: {failed[0][1]}"
        )
    return library


def scores_of(
    library: Library, queries: Iterable[str | Path], *, rerank: int | str, top: int | None = None
) -> list[dict[str, float]]:
    """For every query the score of every video, or of the best `top`; by id."""
    found = []
    for result in library.search_many(queries, rerank=rerank, top=top or max(1, len(library.list()))):
        if result.error is not None:
            raise DataError(result.error)
        found.append({match.video: match.score for match in result.matches})
    return found


class _Log:
    """Says how far indexing is, every few seconds."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self._last_s > PROGRESS_SECONDS:
            self._last_s = time.monotonic()
            logger.info("indexed %d of %d videos", progress.done, progress.total)

"""Search over the videos of a benchmark.

files ─► [library of a bundle ─► search ─► score of every video for every query] ─► metrics
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from visil.errors import DataError
from visil.library.ingest import Progress
from visil.library.library import SETTINGS, Library
from visil.library.store import OK
from visil.model.model import Model, load_model

PROGRESS_SECONDS = 20.0

logger = logging.getLogger(__name__)


def load_models(names: Iterable[str], *, device: str) -> Iterator[Model]:
    """One model after the other; results are told apart by the bundles' names.

    Raises:
        DataError: two bundles have the same name.
    """
    seen: set[str] = set()
    for name in names:
        model = load_model(name, device=device)
        if model.settings.name in seen:
            raise DataError(f"{name}: another bundle is called {model.settings.name!r} too; give it a name of its own")
        seen.add(model.settings.name)
        yield model


def library_folder(place: Path, model: Model, sampling: str | None = None) -> Path:
    """Where below `place` the library of a bundle lies; `sampling` as in `benchmark_library`."""
    name = f"{model.settings.name}-{model.bundle.hash[:12]}"
    return place / (name if sampling is None else f"{name}-{sampling}")


def benchmark_library(
    folder: Path, model: Model, paths: Sequence[Path], *, workers: int, sampling: str | None = None
) -> Library:
    """The library of these files and folders, made or brought up to date; failures are logged.

    Args:
        sampling: of the library; None: as the bundle says. Queries are always sampled as the bundle says.
    """
    if (folder / SETTINGS).exists():
        library = Library.open(folder, device=str(model.device), precision=model.precision)
    else:
        library = Library.create(folder, model, sampling=sampling)
    report = library.add(paths, workers=workers, progress=_Log())
    for path, reason in [*report.failed, *report.failed_before]:
        logger.warning("%s was not indexed: %s", path, reason)
    return library


def searchable(library: Library) -> frozenset[str]:
    """Ids of the videos that could be read and show something; their share is the coverage of a benchmark."""
    return frozenset(record.id for record in library.list() if record.status == OK)


def scores_of(
    library: Library, queries: Iterable[str | Path], *, rerank: int | str, top: int | None = None
) -> list[dict[str, float]]:
    """For every query the score of every video, or of the best `top`, by id.

    Raises:
        DataError: a query cannot be read or has no score.
    """
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

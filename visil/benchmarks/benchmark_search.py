"""Scores of every video of a benchmark for every query: of networks and of baselines.

Searches ─► [features, kept by bundle ─► scores of all pairs] ─► yardstick, real_figures
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from visil.benchmarks.colour_histogram import intersection, mean_histogram
from visil.benchmarks.frame_chamfer import FrameChamfer
from visil.benchmarks.frame_descriptors import OF_FILES, FrameDescriptor, describe_files
from visil.benchmarks.hash_voting import HashVoting
from visil.benchmarks.untrained import kept_untrained_bundle
from visil.defaults import DEFAULT_BUNDLE
from visil.errors import DataError, VisilError
from visil.library.ingest import Progress
from visil.library.library import QUERY_BYTES, SCORED_QUERY_COUNT, SETTINGS, Library
from visil.library.search import rerank_count
from visil.library.store import OK
from visil.model.model import Model, load_model
from visil.values import EncodedVideo

PROGRESS_SECONDS = 20.0
NO_SCORE = -2.0  # of a pair with a video that could not be read or shows nothing: below every score
COLOUR_HISTOGRAM = "colour histogram"

logger = logging.getLogger(__name__)


class Searches(Protocol):
    """What of a benchmark systems are told: what is searched for, and in what.

    Attributes:
        folder: what is worked out from the files is kept below it.
        video_paths: V files of the library.
        query_paths: Q files. Where they are the videos themselves, each is read once.
        takes_no_votes: bool [Q, V]: videos that the hashes of a query may not vote for.
    """

    @property
    def folder(self) -> Path: ...
    @property
    def video_paths(self) -> Sequence[Path]: ...
    @property
    def query_paths(self) -> Sequence[Path]: ...
    @property
    def takes_no_votes(self) -> np.ndarray: ...


@dataclass(frozen=True)
class SystemScores:
    """What a system says about all pairs of a benchmark.

    Attributes:
        bundle: hash of the network's bundle, or of the file of a baseline's weights; None for one without.
        scores: float32 [Q, V]; higher is more similar, NO_SCORE where it has none.
        num_queries, num_videos: read, so that they have scores: the coverage.
        bytes_a_video: of what is stored of a video, mean over the library.
        ms_a_pair: wall time of comparing, a pair: from the features of a query in memory to its scores. Of networks the
            region vectors of the library are read in that time, once for many queries, as a search does; the time is
            shared among the pairs with a fine score (all pairs if none has one).
    """

    name: str
    bundle: str | None
    scores: np.ndarray = field(repr=False)
    num_queries: int
    num_videos: int
    bytes_a_video: float
    ms_a_pair: float


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


def check_models(names: Iterable[str], *, device: str) -> None:
    """That all can be loaded, before hours of work for the first; the built-in one where there are none.

    Raises:
        VisilError: see `load_models` and `load_model`.
    """
    for _ in load_models(list(names) or [DEFAULT_BUNDLE], device=device):
        pass


def benchmark_library(
    folder: Path, model: Model, paths: Sequence[Path], *, workers: int, sampling: str | None = None
) -> Library:
    """The library of these files and folders, made or brought up to date; failures are logged.

    Args:
        sampling: of the library; None: as the bundle says.
    """
    if (folder / SETTINGS).exists():
        library = Library.open(folder, device=str(model.device), precision=model.precision)
    else:
        library = Library.create(folder, model, sampling=sampling)
    report = library.add(paths, workers=workers, progress=_Log())
    for path, reason in [*report.failed, *report.failed_before]:
        logger.warning("%s was not indexed: %s", path, reason)
    return library


def ids_of(library: Library, paths: Sequence[Path]) -> dict[str, int]:
    """Ids of the videos that have scores, and the position of each in `paths`."""
    position = {os.path.abspath(path): number for number, path in enumerate(paths)}
    searchable = {record.file.path: record.id for record in library.list() if record.status == OK}
    return {id: position[path] for path, id in searchable.items() if path in position}


def features_folder(searches: Searches, model: Model) -> Path:
    """Where the region vectors that a bundle makes of `videos` and `queries` are kept."""
    return searches.folder / "features" / f"{model.settings.name}-{model.bundle.hash[:12]}"


def system_scores(
    searches: Searches,
    baselines: Sequence[FrameDescriptor],
    models: Sequence[str],
    *,
    untrained: Path | None,
    device: str,
    workers: int,
    rerank: int | str = "all",
    sampling: str | None = None,
    precision: str = "fp32",
    by_moments: bool = True,
) -> Iterator[SystemScores]:
    """Scores by the systems that a benchmark compares: baselines, an untrained network, the models.

    Args:
        baselines: as in `baseline_scores`.
        models: names or files of bundles; the built-in one where there are none.
        untrained: the folder in which that network is kept; None: without it.
        rerank, sampling, precision, by_moments: of networks, as in `model_scores`.
    """
    if baselines:
        yield from baseline_scores(searches, baselines, workers=workers)
    names = list(models) or [DEFAULT_BUNDLE]
    if untrained is not None:
        names.insert(0, str(kept_untrained_bundle(untrained)))
    for model in load_models(names, device=device):
        logger.info("searching with %s", model.settings.name)
        yield model_scores(
            searches,
            model,
            workers=workers,
            rerank=rerank,
            sampling=sampling,
            precision=precision,
            by_moments=by_moments,
        )


def model_scores(
    searches: Searches,
    model: Model,
    *,
    workers: int,
    rerank: int | str = "all",
    sampling: str | None = None,
    precision: str = "fp32",
    by_moments: bool = True,
) -> SystemScores:
    """Scores by a network; region vectors of videos and queries are kept by bundle.

    Args:
        model: in float32, as the vectors are kept.
        rerank: how many videos get the fine score of every query; the others follow by their coarse score.
        sampling: of the videos that are searched; queries go by the bundle.
        precision: of the comparison.
        by_moments: long queries also count by their moments, as in a search; else as in the papers.
    """
    place = features_folder(searches, model)
    paths, query_paths = searches.video_paths, searches.query_paths
    videos = place / ("videos" if sampling is None else f"videos-{sampling}")
    library = queries = benchmark_library(videos, model, paths, workers=workers, sampling=sampling)
    if sampling is not None or query_paths != paths:
        queries = benchmark_library(place / "queries", model, query_paths, workers=workers)
    columns, rows = ids_of(library, paths), ids_of(queries, query_paths)
    if precision != model.precision:
        library = Library.open(videos, device=str(model.device), precision=precision)

    scores = np.full((len(query_paths), len(paths)), NO_SCORE, dtype=np.float32)
    spent_s, num_pairs = 0.0, 0
    for block in _blocks(queries, rows):
        started_s = time.monotonic()
        found = list(library.score_many(block.values(), rerank=rerank, among=columns.keys(), by_moments=by_moments))
        spent_s += time.monotonic() - started_s
        for id, result in zip(block, found, strict=True):
            scores[rows[id], [columns[other] for other in result.ids]] = result.scores
            num_pairs += rerank_count(rerank, len(result.ids)) or len(result.ids)
    return SystemScores(
        name=model.settings.name,
        bundle=model.bundle.hash,
        scores=scores,
        num_queries=len(rows),
        num_videos=len(columns),
        bytes_a_video=_table_bytes(library) / max(1, len(library.list())),
        ms_a_pair=1000 * spent_s / max(1, num_pairs),
    )


def _blocks(library: Library, ids: Iterable[str]) -> Iterator[dict[str, EncodedVideo]]:
    """Stored videos by id, as many at once as share a pass over the data of another library."""
    block: dict[str, EncodedVideo] = {}
    num_bytes = 0
    for id in ids:
        block[id] = library.encoded(id)
        num_bytes += block[id].region_vectors.vectors.nbytes
        if num_bytes > QUERY_BYTES or len(block) == SCORED_QUERY_COUNT:
            yield block
            block, num_bytes = {}, 0
    if block:
        yield block


def baseline_scores(searches: Searches, kinds: Sequence[FrameDescriptor], *, workers: int) -> Iterator[SystemScores]:
    """Scores by baselines."""
    folder, paths, query_paths = searches.folder / "features", searches.video_paths, searches.query_paths
    of_videos = of_queries = kept_descriptors(folder / "frames-videos", paths, kinds, workers=workers)
    if query_paths != paths:
        of_queries = kept_descriptors(folder / "frames-queries", query_paths, kinds, workers=workers)
    takes_no_votes = searches.takes_no_votes
    for kind in kinds:
        videos, queries = of_videos[kind.name], of_queries[kind.name]
        has_frames = np.array([len(rows) > 0 for rows in videos])
        scores = np.full(takes_no_votes.shape, NO_SCORE, dtype=np.float32)
        compare = _comparison(kind.name, videos)
        started_s = time.monotonic()
        for number, query in enumerate(queries):
            if len(query):
                scores[number, has_frames] = compare(query, takes_no_votes[number])[has_frames]
        spent_s = time.monotonic() - started_s
        num_queries = sum(len(query) > 0 for query in queries)
        yield SystemScores(
            name=kind.name,
            bundle=kind.weights,
            scores=scores,
            num_queries=num_queries,
            num_videos=int(has_frames.sum()),
            bytes_a_video=_stored_bytes(kind.name, videos) / len(videos),
            ms_a_pair=1000 * spent_s / max(1, num_queries * int(has_frames.sum())),
        )


def _comparison(kind: str, videos: Sequence[np.ndarray]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Scores [V] of all videos for the frames of a query and a mask [V] of videos that take no votes."""
    if kind == COLOUR_HISTOGRAM:
        means = np.stack([mean_histogram(rows) for rows in videos])
        return lambda query, _takes_no_votes: intersection(mean_histogram(query), means)
    if kind in OF_FILES:
        frames = FrameChamfer(videos)
        return lambda query, _takes_no_votes: frames.scores(query)
    return HashVoting(videos).scores


def _stored_bytes(kind: str, videos: Sequence[np.ndarray]) -> int:
    """A histogram is kept once a video, hashes and vectors of every sample."""
    return sum(rows[:1].nbytes if kind == COLOUR_HISTOGRAM else rows.nbytes for rows in videos)


def kept_descriptors(
    folder: Path, paths: Sequence[Path], kinds: Sequence[FrameDescriptor], *, workers: int
) -> dict[str, list[np.ndarray]]:
    """Frame descriptors of files, by name of the kind; those of files that did not change are read from `folder`.

    A file that cannot be read has none, and is logged.
    """
    states = {path: f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths}
    kept = {kind.name: _read_descriptors(folder / f"{kind.file_name}.npz") for kind in kinds}
    missing = [path for path, state in states.items() if any(state not in rows for rows in kept.values())]
    if missing:
        logger.info("describing the frames of %d files", len(missing))
        for path, found in describe_files(missing, kinds, workers=workers):
            if isinstance(found, VisilError):
                logger.warning("%s was not described: %s", path, found)
            for kind in kinds:
                nothing = kind.describe(np.zeros((0, 8, 8, 3), dtype=np.uint8))
                kept[kind.name][states[path]] = nothing if isinstance(found, VisilError) else found[kind.name]
        folder.mkdir(parents=True, exist_ok=True)
        for kind in kinds:
            rows = {state: kept[kind.name][state] for state in states.values()}
            partial = folder / f"{kind.file_name}.partial.npz"
            np.savez(partial, **rows)  # type: ignore[arg-type]
            partial.replace(folder / f"{kind.file_name}.npz")
    return {name: [rows[state] for state in states.values()] for name, rows in kept.items()}


def _read_descriptors(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    with np.load(path) as stored:
        return dict(stored)


def _table_bytes(library: Library) -> int:
    """What the vectors and records of all videos take on the disk."""
    return sum(file.stat().st_size for file in library.path.glob("*.lance/**/*") if file.is_file())


class _Log:
    """Says how far indexing is, every few seconds."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self._last_s > PROGRESS_SECONDS:
            self._last_s = time.monotonic()
            logger.info("indexed %d of %d videos", progress.done, progress.total)

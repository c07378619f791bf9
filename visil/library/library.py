"""A library: a folder that holds encoded videos and answers queries.

library.toml       format version, bundle, sampling; written last: a folder without it is no library
model.safetensors  a copy of the bundle: the library opens without anything else
videos.lance       the table

Library.add(files)      files ─► ingest ─► table
Library.search(query)   query ─► candidates ─► fine score ─► matches
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import filelock
import numpy as np

from visil.defaults import DEFAULT_BUNDLE, DEFAULT_RERANK, DEFAULT_TOP
from visil.errors import DataError, LibraryError, ModelError, VisilError
from visil.library.candidates import Candidates
from visil.library.files import content_hash, is_there
from visil.library.ingest import IngestReport, Progress, add_files
from visil.library.queries import expand_query
from visil.library.search import Query, SearchResult, rerank_count, search
from visil.library.store import Store, VideoRecord, create_table, holds_videos
from visil.library.verify import Finding, check_library
from visil.media.decoding import DecodeLimits
from visil.model.bundle import load_bundle
from visil.model.catalogue import find_bundle
from visil.model.model import Model, load_model
from visil.values import EncodedVideo, Match

FORMAT_VERSION = 2
SETTINGS, BUNDLE, TABLE, LOCK = "library.toml", "model.safetensors", "videos.lance", "writer.lock"
QUERY_BYTES, QUERY_COUNT = 256 << 20, 32  # region vectors and number of queries that share a pass


class Library:
    """Videos that can be searched. Use `Library.create` or `Library.open`.

    Any number of processes may search while one adds; a reader sees the version it opened, or last refreshed, whole.

    Attributes:
        path: its folder.
        model: the model of its bundle.
    """

    def __init__(self, path: Path, model: Model) -> None:
        self.path = Path(os.path.abspath(path))  # the caller may change its folder later
        self.model = model
        self._store = Store(self.path / TABLE, model.dim)
        self._cached_version = self._store.version

    # --- opening -------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str | Path, model: Model) -> Library:
        """Make an empty library for the vectors of this model.

        Raises:
            LibraryError: the folder holds a library, or anything else, or cannot be written.
        """
        path = _text_path(path)
        already_there = LibraryError(f"{path}: there is a library already; open it, or choose another folder")
        try:
            if (path / SETTINGS).exists():
                raise already_there
            path.mkdir(parents=True, exist_ok=True)
            others = sorted(entry.name for entry in path.iterdir() if not _left_by_an_interrupted_create(entry.name))
            if others:
                raise LibraryError(f"{path}: not empty (it holds {others[0]}); choose a new folder for the library")
            with _writer_lock(path):
                if (path / SETTINGS).exists():
                    raise already_there
                if holds_videos(path / TABLE):
                    raise LibraryError(f"{path}: holds videos, but no {SETTINGS}; restore it, or choose another folder")
                model.bundle.save(path / BUNDLE)
                create_table(path / TABLE, model.dim)
                partial = path / f".{SETTINGS}.partial"
                partial.write_text(_settings_text(model), encoding="utf-8")
                partial.replace(path / SETTINGS)
        except OSError as error:
            raise LibraryError(f"{path}: a library cannot be made here ({error.strerror or error})") from error
        return cls(path, model)

    @classmethod
    def open(cls, path: str | Path, *, device: str = "auto", precision: str = "fp32") -> Library:
        """Open a library with the bundle it holds.

        Raises:
            LibraryError: no library, one of another format, or a damaged one.
        """
        path = _text_path(path)
        settings = _read_settings(path)
        try:
            bundle = load_bundle(path / BUNDLE)
        except ModelError as error:
            raise LibraryError(f"library {path}: its bundle is unusable: {error}") from error
        if bundle.hash != settings["bundle"]["hash"]:
            raise LibraryError(f"library {path}: {BUNDLE} is not the bundle its videos were encoded with")
        return cls(path, Model(bundle, device=device, precision=precision))

    @classmethod
    def open_or_create(
        cls, path: str | Path, bundle: str | Path | None = None, *, device: str = "auto", precision: str = "fp32"
    ) -> Library:
        """The library at `path`, made if there is none.

        Args:
            bundle: name or file; None: that of the library, or the default for a new one.

        Raises:
            LibraryError: see `open` and `create`; also a library made with another bundle than the one asked for.
        """
        if not (Path(path) / SETTINGS).exists():
            return cls.create(path, load_model(bundle or DEFAULT_BUNDLE, device=device, precision=precision))
        library = cls.open(path, device=device, precision=precision)
        if bundle is not None and load_bundle(find_bundle(bundle)).hash != library.model.bundle.hash:
            raise LibraryError(
                f"library {path}: made with bundle {library.model.settings.name!r}, not with {bundle}; "
                "go on with its own, or choose another folder"
            )
        return library

    def __repr__(self) -> str:
        return f"Library({str(self.path)!r}, bundle {self.model.settings.name!r}, version {self.version})"

    # --- reading -------------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Version of the table that this object reads."""
        return self._store.version

    def refresh(self) -> None:
        """Read the newest version from now on."""
        self._store.refresh()
        if self.version != self._cached_version:  # the store may have moved before: it follows its own writes
            self._cached_version = self.version
            for cached in ("_records", "_candidates"):
                self.__dict__.pop(cached, None)

    def list(self) -> Sequence[VideoRecord]:
        """All videos, by id, those that failed included."""
        return tuple(self._records.values())

    def record(self, id: str) -> VideoRecord:
        """What is known about a video.

        Raises:
            LibraryError: no such video.
        """
        if id not in self._records:
            raise LibraryError(f"no video {id!r} in the library; `visil list` names them")
        return self._records[id]

    @property
    def num_searchable(self) -> int:
        """Videos that have a score."""
        return len(self._candidates.ids)

    def encoded(self, id: str) -> EncodedVideo:
        """A stored video.

        Raises:
            LibraryError: no such video, or one that failed.
        """
        stored = self._store.read(self.record(id).id)
        if stored.encoded is None:
            raise LibraryError(f"video {id!r} could not be read when it was indexed: {stored.reason}")
        return stored.encoded

    def verify(self, *, progress: Callable[[int, int], None] | None = None) -> Sequence[Finding]:
        """Check everything the library promises; an empty list means that all holds."""
        self.refresh()
        return check_library(self._store, self.model, self._records, progress=progress)

    @cached_property
    def _records(self) -> dict[str, VideoRecord]:
        return {record.id: record for record in self._store.records()}

    @cached_property
    def _candidates(self) -> Candidates:
        return Candidates(*self._store.descriptors())

    # --- searching -----------------------------------------------------------------------------------------------

    def search(
        self, query: str | Path | EncodedVideo, *, rerank: int | str = DEFAULT_RERANK, top: int = DEFAULT_TOP
    ) -> Sequence[Match]:
        """The videos that match one query, best first.

        Args:
            query: a video file, `id:ID` of a video of the library, or an encoded video.
            rerank: how many candidates get the fine score: a number, a share such as `5%`, `all`; 0: coarse only.
                Raised to `top`.
            top: matches to return at most.

        Raises:
            VisilError: the query cannot be read or has no score.
        """
        if isinstance(query, EncodedVideo):
            self._check_options(rerank, top)
            self.refresh()
            return self._search([self._scorable(Query("", query))], rerank, top)[0].matches
        results = list(self.search_many([query], rerank=rerank, top=top))
        if len(results) > 1:
            raise DataError(f"{query}: stands for {len(results)} queries; `search_many` takes them")
        if results[0].error is not None:
            raise DataError(results[0].error)
        return results[0].matches

    def search_many(
        self, queries: Iterable[str | Path], *, rerank: int | str = DEFAULT_RERANK, top: int = DEFAULT_TOP
    ) -> Iterator[SearchResult]:
        """Results of several queries in their order; queries share passes over the data.

        Args:
            queries: video files, folders, lists (`@list.txt`) or `id:ID`. An existing path wins over any other
                reading.

        A query that cannot be read gives a result with its error; the others go on.

        Raises:
            DataError: `rerank` or `top` is not valid.
        """
        self._check_options(rerank, top)
        self.refresh()
        waiting: list[Query | SearchResult] = []
        for item in self._encoded_queries(queries):
            waiting.append(item)
            num_bytes = sum(q.encoded.region_vectors.vectors.nbytes for q in waiting if isinstance(q, Query))
            if num_bytes > QUERY_BYTES or len(waiting) == QUERY_COUNT:
                yield from self._answer(waiting, rerank, top)
                waiting = []
        yield from self._answer(waiting, rerank, top)

    def _encoded_queries(self, queries: Iterable[str | Path]) -> Iterator[Query | SearchResult]:
        for given in queries:
            try:
                names = expand_query(given)
            except VisilError as error:
                yield SearchResult(str(given), error=str(error))
                continue
            for name in names:
                try:
                    yield self._query(name)
                except (VisilError, OSError) as error:
                    yield SearchResult(name, error=str(error))

    def _query(self, name: str) -> Query:
        if name.startswith("id:") and not is_there(name):
            id = name.removeprefix("id:")
            query = Query(name, self.encoded(id), self.record(id).file.sha256, exclude=id)
        else:
            query = Query(name, self.model.encode(name), content_hash(Path(name)))
        return self._scorable(query)

    def _scorable(self, query: Query) -> Query:
        vectors = query.encoded.region_vectors.vectors
        owner = query.name or "the encoded video"
        if not query.encoded.has_content:
            raise DataError(f"{owner}: every frame is blank, so it has no score")
        if (vectors.shape[-1], vectors.dtype == np.uint8) != (
            self.model.stored_dim,
            self.model.stored_dtype == np.uint8,
        ):
            raise DataError(
                f"{owner} has {vectors.dtype} {list(vectors.shape)} region vectors, those of library {self.path} are "
                f"{self.model.stored_dtype} of {self.model.stored_dim}: encode it with library.model.encode(path)"
            )
        return query

    @staticmethod
    def _check_options(rerank: int | str, top: int) -> None:
        rerank_count(rerank, 0)
        if top < 1:
            raise DataError(f"top must be at least 1, got {top}")

    def _answer(self, waiting: Sequence[Query | SearchResult], rerank: int | str, top: int) -> Iterator[SearchResult]:
        found = iter(self._search([q for q in waiting if isinstance(q, Query)], rerank, top))
        for item in waiting:
            yield next(found) if isinstance(item, Query) else item

    def _search(self, queries: Sequence[Query], rerank: int | str, top: int) -> Sequence[SearchResult]:
        return search(self._store, self._candidates, self._records, self.model, queries, rerank=rerank, top=top)

    # --- writing -------------------------------------------------------------------------------------------------

    def add(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        pattern: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        workers: int | None = None,
        retry_failed: bool = False,
        reader: str = "pyav",
        limits: DecodeLimits = DecodeLimits(),
        progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        """Index files and folders; what is there and unchanged is skipped.

        Args:
            pattern: for folders, where the videos lie and what their ids are: `{id}/video.*`.
            include, exclude: for folders, what to take and what to leave out; see `visil.library.files.find_files`.
            workers: decoding processes; default: one a core. The content does not depend on it.
            retry_failed: try files again that failed before.
            reader: what decodes; see `visil.media.readers`.
            limits: what one file may cost.
            progress: called after every video.

        Raises:
            LibraryError: another process is writing.
            DataError: a pattern or the number of workers is not valid. Files that fail are in the report.
        """
        if workers is not None and workers < 1:
            raise DataError(f"workers must be at least 1, got {workers}")
        with self._writing():
            return add_files(
                self._store,
                self.model,
                self.model.settings.preprocessing,
                [paths] if isinstance(paths, str | Path) else paths,
                pattern=pattern,
                include=include,
                exclude=exclude,
                workers=workers or os.cpu_count() or 1,
                retry_failed=retry_failed,
                reader=reader,
                limits=limits,
                progress=progress,
            )

    def remove(self, ids: str | Sequence[str]) -> None:
        """Forget videos; their files stay.

        Raises:
            LibraryError: there is no such video (nothing is removed), or another process is writing.
        """
        with self._writing():
            self.refresh()
            self._store.delete([self.record(id).id for id in ([ids] if isinstance(ids, str) else ids)])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with _writer_lock(self.path):
                self._store.refresh()
                try:
                    yield
                finally:
                    self.refresh()
        except OSError as error:
            raise LibraryError(f"library {self.path}: cannot be written ({error.strerror or error})") from error


def _text_path(path: str | Path) -> Path:
    """The store takes folders whose names are text."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise LibraryError(f"{str(path)!a}: the name of a library's folder must be valid UTF-8") from None
    return Path(path)


@contextmanager
def _writer_lock(path: Path) -> Iterator[None]:
    """One writer at a time; readers never lock."""
    try:
        with filelock.FileLock(path / LOCK, timeout=0):
            yield
    except filelock.Timeout:
        raise LibraryError(f"library {path}: another process is writing to it; try again when it is done") from None


def _left_by_an_interrupted_create(name: str) -> bool:
    return name in (BUNDLE, TABLE, LOCK) or (
        name.startswith((f".{BUNDLE}.", f".{SETTINGS}.")) and name.endswith(".partial")
    )


def _settings_text(model: Model) -> str:
    """TOML of the library."""
    preprocessing = model.settings.preprocessing
    return (
        f"format_version = {FORMAT_VERSION}\n\n"
        f"[bundle]\nname = {_toml_text(model.settings.name)}\nhash = {_toml_text(model.bundle.hash)}\n\n"
        f"[sampling]\nmode = {_toml_text(preprocessing.sampling)}\nfps = {float(preprocessing.fps)}\n"
        f"min_samples = {preprocessing.min_samples}\n"
    )


def _toml_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read_settings(path: Path) -> dict[str, dict[str, str]]:
    try:
        settings = tomllib.loads((path / SETTINGS).read_text(encoding="utf-8"))
        version, _ = settings["format_version"], settings["bundle"]["hash"]
    except FileNotFoundError:
        raise LibraryError(f"{path}: no library here; `visil index FOLDER --library {path}` makes one") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LibraryError(f"{path / SETTINGS}: cannot be read ({error})") from error
    if version != FORMAT_VERSION:
        raise LibraryError(f"{path}: library format {version}, this visil reads format {FORMAT_VERSION}; update one")
    return settings

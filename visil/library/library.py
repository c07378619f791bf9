"""A library: a folder that holds encoded videos and answers queries.

library.toml       format version, bundle, files, sampling; written last: a folder without it is no library
model.safetensors  a copy of the bundle: the library opens without anything else
videos.lance       the table
library.sha256     what these files were when they were written
second             copies of the little that nothing else can restore

Library.add(files)      files ─► ingest ─► table
Library.search(query)   query ─► candidates ─► fine score ─► matches
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np

from visil.commands import repair_command, shell_word, visil_command
from visil.defaults import DEFAULT_BUNDLE, DEFAULT_RERANK, DEFAULT_TOP
from visil.errors import DataError, LibraryError, MediaError, ModelError, VisilError
from visil.library.candidates import Candidates
from visil.library.compacting import compact_library, folder_bytes
from visil.library.disk import (
    ELSEWHERE,
    LOCK,
    is_left_by_a_trial,
    new_folder,
    undone_on_error,
    what_is_lacking,
    writer_lock,
)
from visil.library.feature_files import add_feature_file
from visil.library.file_state import Contents, file_state
from visil.library.files import is_there, seen
from visil.library.fine import Tell
from visil.library.ingest import IngestReport, Progress, add_files
from visil.library.queries import VideoQuery, expand_query, video_query
from visil.library.reindexing import begin, encode_anew, switch
from visil.library.search import (
    NO_SCORES,
    Query,
    SearchProgress,
    SearchResult,
    VideoScores,
    rerank_count,
    score,
    search,
)
from visil.library.second import SECOND, renew_copies
from visil.library.settings import (
    BUNDLE,
    FORMAT_VERSION,
    SETTINGS,
    TABLE,
    LibrarySettings,
    check_settings_are_not_lost,
    is_library,
    read_settings,
    write_settings,
)
from visil.library.store import (
    FAILED,
    DamagedVideoError,
    Store,
    VersionGoneError,
    VideoRecord,
    check_is_there,
    create_table,
    reason_of,
)
from visil.library.sums import SUMS, Sums, being_replaced, note_files
from visil.library.upgrading import bring_up_to_date
from visil.library.verify import Finding, check_library
from visil.media.decoding import DecodeLimits
from visil.media.preprocessing import Preprocessing
from visil.media.reader import RULES
from visil.model.bundle import Bundle, load_bundle
from visil.model.catalogue import bundle_of_hash, find_bundle
from visil.model.model import Model, load_model
from visil.values import EncodedVideo, Match

logger = logging.getLogger(__name__)

Value = TypeVar("Value")
Told = ParamSpec("Told")

QUERY_BYTES, QUERY_COUNT = 256 << 20, 32  # region vectors and number of queries that share a pass
SCORED_QUERY_COUNT = 128  # of an evaluation: nobody waits for the first. 9 bytes a pair: 260 MB for 225,960 videos


class Library:
    """Videos that can be searched. Use `Library.create` or `Library.open`.

    Any number of processes may search while one adds; a reader sees the version it opened, or last refreshed, whole.

    Attributes:
        path: its folder.
        model: the model of its bundle.
    """

    def __init__(self, path: Path, settings: LibrarySettings, model: Model) -> None:
        self.path = Path(os.path.abspath(path))  # the caller may change its folder later
        self.model = model
        self._settings = settings
        check_is_there(self.path / settings.table_file)
        self._store = self._opened_table()
        self._cached_version = self._store.version

    def _opened_table(self) -> Store:
        return Store(self.path / self._settings.table_file, self.model.dim, has_digests=self._settings.has_digests)

    # --- opening -------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str | Path, model: Model, *, sampling: str | None = None) -> Library:
        """Make an empty library for the vectors of this model.

        Args:
            sampling: how its files are sampled (see `Preprocessing`); None: as the bundle says.

        Raises:
            LibraryError: the folder holds a library, or anything else, or cannot be written.
            DataError: no such sampling.
        """
        path = _text_path(path)
        preprocessing = _sampled(model, sampling)
        settings = LibrarySettings(model.settings.name, model.bundle.hash, preprocessing.sampling)
        try:
            if is_library(path):
                raise _already_there(path)
            check_settings_are_not_lost(path)
            with new_folder(path):
                cls._make(path, settings, model)
        except OSError as error:
            raise LibraryError(f"{path}: a library cannot be made here ({reason_of(error)})") from error
        return cls(path, settings, model)

    @staticmethod
    def _make(path: Path, settings: LibrarySettings, model: Model) -> None:
        names = sorted(entry.name for entry in path.iterdir())
        others = [name for name in names if not _left_by_an_interrupted_create(name)]
        if others:
            raise LibraryError(f"{path}: not empty (it holds {others[0]}); choose a new folder for the library")
        if lacking := what_is_lacking(path):
            raise LibraryError(f"{path}: a library cannot be made here: {lacking}; {ELSEWHERE}")
        with writer_lock(path), undone_on_error(path, keep=names):
            if is_library(path):
                raise _already_there(path)
            with being_replaced(path / BUNDLE):
                model.bundle.save(path / BUNDLE)
            create_table(path / TABLE, model.dim)
            write_settings(path, settings)
            renew_copies(Sums(path), [path / SETTINGS])

    @classmethod
    def open(cls, path: str | Path, *, device: str = "auto", precision: str = "fp32") -> Library:
        """Open a library with the bundle it holds.

        Raises:
            LibraryError: no library, one of another format, or a damaged one.
        """
        path = _text_path(path)
        settings = read_settings(path)
        while True:
            try:
                return cls(path, settings, Model(_own_bundle(path, settings), device=device, precision=precision))
            except LibraryError:
                opened, settings = settings, read_settings(path)
                if settings == opened:  # else it was moved to another bundle in between, and its old files are gone
                    raise

    @classmethod
    def open_or_create(
        cls,
        path: str | Path,
        bundle: str | Path | None = None,
        *,
        sampling: str | None = None,
        device: str = "auto",
        precision: str = "fp32",
    ) -> Library:
        """The library at `path`, made if there is none.

        Args:
            bundle: name or file; None: that of the library, or the default for a new one.
            sampling: how its files are sampled; None: as those of the library, or as the bundle says for a new one.

        Raises:
            LibraryError: see `open` and `create`; also a library made with another bundle or sampling than asked for.
        """
        if not is_library(Path(path)):
            model = load_model(bundle or DEFAULT_BUNDLE, device=device, precision=precision)
            return cls.create(path, model, sampling=sampling)
        library = cls.open(path, device=device, precision=precision)
        own = library._settings
        asked = None if bundle is None else load_bundle(find_bundle(bundle)).hash
        if asked is not None and asked != own.bundle_hash:
            raise LibraryError(
                f"library {path}: made with bundle {own.bundle_name!r} ({own.bundle_hash[:12]}), not with {bundle} "
                f"({asked[:12]}); go on with its own, move it with "
                f"`{visil_command('index', '--reindex', '--model', bundle, library=path)}`, or choose another folder"
            )
        if sampling is not None and sampling != own.sampling:
            raise LibraryError(
                f"library {path}: its files are sampled by {own.sampling!r}, not by {sampling!r}; go on with its own, "
                f"move it with `{visil_command('index', '--reindex', '--sampling', sampling, library=path)}`, or "
                "choose another folder"
            )
        return library

    def __repr__(self) -> str:
        return f"Library({str(self.path)!r}, bundle {self.model.settings.name!r}, version {self.version})"

    # --- reading -------------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Version of the table that this object reads."""
        return self._store.version

    @property
    def preprocessing(self) -> Preprocessing:
        """How the files of this library are sampled and resized; queries go by the bundle alone."""
        return _sampled(self.model, self._settings.sampling)

    def refresh(self) -> None:
        """Read the newest version from now on.

        Raises:
            LibraryError: the library was moved to another bundle since it was opened.
        """
        settings = read_settings(self.path)
        if replace(settings, format_version=self._settings.format_version) != self._settings:
            raise LibraryError(f"library {self.path}: was moved to another bundle meanwhile; open it again")
        if settings != self._settings:  # another process brought it up to date
            self._settings = settings
            self._store = self._opened_table()
        self._store.refresh()
        if self.version != self._cached_version:  # the store may have moved before: it follows its own writes
            self._forget()

    def _forget(self) -> None:
        """Drop what was read of another version."""
        self._cached_version = self.version
        for cached in ("_records", "_ids_of_content", "_ids_of_paths", "_candidates"):
            self.__dict__.pop(cached, None)

    def list(self) -> Sequence[VideoRecord]:
        """All videos, by id, those that failed included."""
        return tuple(self._reading(lambda: self._records).values())

    def record(self, id: str) -> VideoRecord:
        """What is known about a video.

        Raises:
            LibraryError: no such video.
        """
        records = self._reading(lambda: self._records)
        if id not in records:
            names = visil_command("list", library=self.path)
            raise LibraryError(f"no video '{id}' in the library; `{names}` names them")
        return records[id]

    @property
    def damaged(self) -> Mapping[str, str]:
        """Videos that are left out because what is stored of them is not what was written, and why, by id.

        Files of rows are looked at when the library is opened, vectors when they are read: `verify` looks at all.
        """
        return dict(self._store.damaged)

    @property
    def num_searchable(self) -> int:
        """Videos that have a score."""
        return len(self._reading(lambda: self._candidates).ids)

    def stored_bytes(self) -> Mapping[str, int]:
        """Bytes of the region vectors and descriptors of every video that has a score."""

        def count() -> Mapping[str, int]:
            num_bytes = self._store.vector_bytes()
            num_parts = np.bincount(self._candidates.owners, minlength=len(self._candidates.ids))
            part_bytes = self.model.dim * self._candidates.descriptors.itemsize
            return {
                id: num_bytes[id] + number * part_bytes
                for id, number in zip(self._candidates.ids, num_parts.tolist(), strict=True)
            }

        return self._reading(count)

    def encoded(self, id: str) -> EncodedVideo:
        """A stored video.

        Raises:
            LibraryError: no such video, or one that failed.
        """
        stored = self._reading(lambda: self._store.read(self.record(id).id))
        if stored.encoded is None:
            raise LibraryError(f"video '{id}' could not be read when it was indexed: {stored.reason}")
        return stored.encoded

    def verify(self, *, progress: Callable[[int, int], None] | None = None) -> Sequence[Finding]:
        """Check everything the library promises; an empty list means that all holds."""
        self.refresh()

        def check() -> Sequence[Finding]:
            names = (SETTINGS, self._settings.bundle_file) if self._store.has_digests else ()
            files = [self.path / name for name in names]
            return check_library(self._store, self.model, lambda: self._records, files=files, progress=progress)

        return self._reading(check)

    def _reading(self, read: Callable[[], Value]) -> Value:
        """What `read` gives; from the newest version if `compact` has taken away the one it began with."""
        try:
            return read()
        except VersionGoneError:
            self.refresh()
            return read()

    @cached_property
    def _records(self) -> dict[str, VideoRecord]:
        return {record.id: record for record in self._store.records()}

    @cached_property
    def _ids_of_content(self) -> Mapping[str, Set[str]]:
        """Ids of the videos of a file's content, by its SHA-256."""
        ids: dict[str, set[str]] = {}
        for record in self._records.values():
            if record.file.sha256 and not record.file.is_feature_set:
                ids.setdefault(record.file.sha256, set()).add(record.id)
        return ids

    @cached_property
    def _ids_of_paths(self) -> Mapping[str, str]:
        return {record.file.path: record.id for record in self._records.values()}

    @cached_property
    def _candidates(self) -> Candidates:
        return Candidates(*self._store.descriptors())

    # --- searching -----------------------------------------------------------------------------------------------

    def search(
        self,
        query: str | Path | EncodedVideo,
        *,
        rerank: int | str = DEFAULT_RERANK,
        top: int = DEFAULT_TOP,
        limits: DecodeLimits = DecodeLimits(),
    ) -> Sequence[Match]:
        """The videos that match one query, best first: how well the frames of the query are found in the video.

        A video of the library does not answer for itself, whether it is named by its path, by its id or in part. A long
        query also counts by its moments (docs/method.md, "Long queries"). What cannot be compared is answered by its
        bytes: videos of equal content, without a score.

        Before a match is called identical its file and that of the query are read to the end, unless the query's was
        just now; the hash must be that of when they were indexed.

        That the query was read with a warning, in part, or answered by its bytes alone, that its file is gone or has
        changed, and that videos were left out because they are damaged, is logged as a warning; `search_many` gives it
        as values, and `damaged` names the videos.

        Args:
            query: a video file, a part of one (`clip.mp4@1:20-1:40`), a still picture, `id:ID` of a video of the
                library, or an encoded video.
            rerank: how many candidates get the fine score: a number, a share such as `5%`, `all`; 0: coarse only.
                Raised to `top`.
            top: matches to return at most.
            limits: what decoding the query may cost.

        Raises:
            VisilError: the query cannot be read or has no score, and nothing in the library equals it.
        """
        if isinstance(query, EncodedVideo):
            self._check_options(rerank, top)
            self.refresh()
            return _matches_of(self._search([self._scorable(Query("", query))], Contents(), rerank, top)[0], self.path)
        results = list(self.search_many([query], rerank=rerank, top=top, limits=limits))
        if len(results) > 1:
            raise DataError(f"{query}: stands for {len(results)} queries; `search_many` takes them")
        if results[0].error is not None:
            raise DataError(results[0].error)
        return _matches_of(results[0], self.path)

    def search_many(
        self,
        queries: Iterable[str | Path],
        *,
        rerank: int | str = DEFAULT_RERANK,
        top: int = DEFAULT_TOP,
        limits: DecodeLimits = DecodeLimits(),
        progress: Callable[[SearchProgress], None] | None = None,
    ) -> Iterator[SearchResult]:
        """Results of several queries in their order; queries share passes over the data. See `search`.

        Args:
            queries: video files, parts of them (`clip.mp4@1:20-1:40`), still pictures, folders, lists (`@list.txt`)
                or `id:ID`. An existing path wins over any other reading.
            limits: what decoding one query may cost.
            progress: called while a query is decoded, while files are hashed and while queries are compared, possibly
                from other threads, one at a time.

        A query that cannot be read gives a result with its error; the others go on.

        Raises:
            DataError: `rerank` or `top` is not valid.
        """
        self._check_options(rerank, top)
        self.refresh()
        tell = None if progress is None else lambda path, share: progress(SearchProgress(hashing=path, share=share))
        files = _QueryFiles(Contents(tell), limits, progress)
        waiting: list[Query | SearchResult] = []
        for item in self._encoded_queries(queries, files):
            waiting.append(item)
            num_bytes = sum(_vector_bytes(item) for item in waiting)
            if num_bytes > QUERY_BYTES or len(waiting) == QUERY_COUNT:
                yield from self._answer(waiting, files, rerank, top)
                waiting = []
        yield from self._answer(waiting, files, rerank, top)

    def score_many(
        self,
        queries: Iterable[str | EncodedVideo],
        *,
        rerank: int | str = "all",
        keep_query: bool = False,
        among: Collection[str] | None = None,
        by_moments: bool = False,
    ) -> Iterator[VideoScores]:
        """Scores of several queries with the videos of the library, unranked, in the order of the queries.

        For evaluations: nothing is made of a pair but its number. Queries share passes over the data; they are taken
        as they are needed. Videos that turn out to be damaged have no score, as query and as target: see `damaged`.

        Args:
            queries: ids of videos of the library, or encoded videos.
            rerank: how many videos get the fine score: a number, a share of those that are scored, `all`; 0: none.
            keep_query: a query by its id is scored with itself too.
            among: ids of the videos that are scored; None: all that have content.
            by_moments: long queries also count by their moments, as in a search; without it a score is that of the
                papers, of the whole query.

        Raises:
            DataError: `rerank` is not valid, or a query has no content or is of another bundle.
            LibraryError: there is no video of an id, or it failed.
        """
        rerank_count(rerank, 0)
        self.refresh()
        waiting: list[Query | None] = []
        num_bytes = 0
        for given in queries:
            try:
                encoded = self.encoded(given) if isinstance(given, str) else given
            except DamagedVideoError:
                waiting.append(None)
                continue
            name = given if isinstance(given, str) else ""
            query = Query(name, encoded, exclude=None if keep_query else name or None)
            waiting.append(self._scorable(query))
            num_bytes += _vector_bytes(query)
            if num_bytes > QUERY_BYTES or len(waiting) == SCORED_QUERY_COUNT:
                yield from self._score(waiting, rerank, among, by_moments)
                waiting, num_bytes = [], 0
        yield from self._score(waiting, rerank, among, by_moments)

    def _score(
        self, queries: Sequence[Query | None], rerank: int | str, among: Collection[str] | None, by_moments: bool
    ) -> Iterator[VideoScores]:
        """Scores of each query; of one that is damaged those of no video."""

        def scores() -> Sequence[VideoScores]:
            ids = self._candidates.ids
            wanted = np.array([among is None or id in among for id in ids], dtype=bool)
            sound = [query for query in queries if query is not None]
            return score(
                self._store, self._candidates, self.model, sound,
                rerank=rerank, among=wanted, by_moments=by_moments,
            )  # fmt: skip

        found = iter(self._reading(scores))
        for query in queries:
            yield NO_SCORES if query is None else next(found)

    def _encoded_queries(self, queries: Iterable[str | Path], files: _QueryFiles) -> Iterator[Query | SearchResult]:
        for given in queries:
            try:
                names = expand_query(given)
            except VisilError as error:
                yield SearchResult(str(given), error=str(error))
                continue
            for name in names:
                try:
                    yield self._query(name, files)
                except VisilError as error:
                    yield SearchResult(name, error=str(error))
                except OSError as error:
                    yield SearchResult(name, error=f"{name}: cannot be read ({error.strerror or error})")

    def _query(self, name: str, files: _QueryFiles) -> Query:
        if name.startswith("id:") and not is_there(name):
            record = self.record(name.removeprefix("id:"))
            query = self._of_a_row(Query(name, None, exclude=record.id), record)
            if record.status == FAILED and record.id not in self.damaged:
                return _by_bytes(query, f"video '{record.id}' could not be read when it was indexed: {record.reason}")
            return self._scorable(replace(query, encoded=self.encoded(record.id)), "searched as it was indexed,")
        source = video_query(name)
        if name.startswith("@") and not is_there(source.path):
            raise DataError(f"{name}: no such file, and lists do not nest: write its lines into the list itself")
        own = self._reading(lambda: self._ids_of_paths).get(os.path.abspath(source.path))
        query = Query(name, None, source.path, exclude=own)
        stored = self._as_stored(own) if own is not None and source.span_s is None else None
        if stored is not None and own is not None:
            query = self._of_a_row(query, self.record(own))
            return self._scorable(replace(query, encoded=stored), "searched as it was indexed,")
        return self._decoded(query, source, files)

    def _decoded(self, query: Query, source: VideoQuery, files: _QueryFiles) -> Query:
        """The query with its vectors and what equals its file: nothing if it is a part, or changed meanwhile."""
        before = seen(source.path)
        error = ""
        try:
            query = replace(query, encoded=files.encode(self.model, source))
        except MediaError as failure:
            if source.span_s is not None or not (is_there(source.path) and source.path.is_file()):
                raise
            error = str(failure)
        whole = query if source.span_s is not None else self._of_a_file(query, files)
        if seen(source.path) == before:
            query, changed = whole, ""
        else:
            changed = "its file changed while it was read"
        if query.encoded is None:
            return _by_bytes(query, "; ".join(filter(None, [error, changed])))
        warning = "; ".join(filter(None, [query.encoded.warning, changed]))
        return self._scorable(replace(query, encoded=replace(query.encoded, warning=warning)))

    def _of_a_row(self, query: Query, record: VideoRecord) -> Query:
        """The query with the file that a row was read from, and what equalled it then."""
        if record.file.is_feature_set:
            return query
        equals = self._equals(record.file.sha256, record.id)
        return replace(query, path=Path(record.file.path), file=record.file, equals=equals)

    def _of_a_file(self, query: Query, files: _QueryFiles) -> Query:
        """The query with the file that is read for it, and what equals it."""
        assert query.path is not None
        file = files.contents.facts(query.path)
        return replace(query, file=file, equals=self._equals(file.sha256, query.exclude))

    def _as_stored(self, id: str) -> EncodedVideo | None:
        """A video of the library, if decoding its file as a query by the same rules would give what is stored of it.

        One that was cut short too: nobody waits for a file that hangs a second time.
        """
        record = self.record(id)
        is_read_alike = record.rules == RULES and self.preprocessing == self.model.settings.preprocessing
        if record.status == FAILED or not is_read_alike or file_state(record.file):
            return None
        try:
            return self.encoded(id)
        except LibraryError:  # its row is damaged: the file is there
            return None

    def _equals(self, sha256: str, own: str | None) -> frozenset[str]:
        """Ids of the videos of this content but its own."""
        return frozenset(self._reading(lambda: self._ids_of_content).get(sha256, ())) - {own}

    def _scorable(self, query: Query, how: str = "searched") -> Query:
        """The query, if it can be compared with the videos of this library.

        Args:
            how: is said of one whose file was read with a warning.
        """
        if query.encoded is None or not query.encoded.has_content:
            return _by_bytes(query, f"{query.name or 'the encoded video'}: every frame is blank, so it has no score")
        vectors = query.encoded.region_vectors.vectors
        if (vectors.shape[-1], vectors.dtype == np.uint8) != (
            self.model.stored_dim,
            self.model.stored_dtype == np.uint8,
        ):
            raise DataError(
                f"{query.name or 'the encoded video'} has {vectors.dtype} {list(vectors.shape)} region vectors, those "
                f"of library {self.path} are {self.model.stored_dtype} of {self.model.stored_dim}: encode it with "
                "library.model.encode(path)"
            )
        if query.encoded.warning:
            part = "in part" if query.encoded.cut_short else "with a warning"
            name = query.name or "the encoded video"
            return replace(query, warning=f"{name}: {how} {part}: {query.encoded.warning}")
        return query

    @staticmethod
    def _check_options(rerank: int | str, top: int) -> None:
        rerank_count(rerank, 0)
        if top < 1:
            raise DataError(f"top must be at least 1, got {top}")

    def _answer(
        self,
        waiting: Sequence[Query | SearchResult],
        files: _QueryFiles,
        rerank: int | str,
        top: int,
    ) -> Iterator[SearchResult]:
        progress = files.progress
        queries = [query for query in waiting if isinstance(query, Query)]
        tell = (
            None if progress is None else lambda share: progress(SearchProgress(num_compared=len(queries), share=share))
        )
        found = iter(self._search(queries, files.contents, rerank, top, tell))
        for item in waiting:
            yield next(found) if isinstance(item, Query) else item

    def _search(
        self, queries: Sequence[Query], contents: Contents, rerank: int | str, top: int, tell: Tell | None = None
    ) -> Sequence[SearchResult]:
        return self._reading(
            lambda: search(
                self._store, self._candidates, self._records, self.model, queries,
                contents=contents, rerank=rerank, top=top, tell=tell,
            )
        )  # fmt: skip

    # --- writing -------------------------------------------------------------------------------------------------

    def add(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        pattern: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        only: Set[str] | None = None,
        workers: int | None = None,
        retry_failed: bool = False,
        reader: str = "pyav",
        limits: DecodeLimits = DecodeLimits(),
        progress: Callable[[Progress], None] | None = None,
        looked_back: Callable[[int, int], None] | None = None,
    ) -> IngestReport:
        """Index files and folders; what is there and unchanged is skipped.

        Unchanged files that an earlier visil has read are looked at once, without decoding them: those that it may
        have read wrongly are read again.

        Args:
            pattern: for folders, where the videos lie and what their ids are: `{id}/video.*`.
            include, exclude, only: for folders, what to take and what to leave out; see
                `visil.library.files.find_files`.
            workers: decoding processes; default: one a core. The content does not depend on it.
            retry_failed: try files again that failed before, or that a stall, a crash or a limit cut short.
            reader: what decodes; see `visil.media.readers`.
            limits: what one file may cost.
            progress: called after every video.
            looked_back: called with how many of the files of an earlier visil have been looked at, and how many there
                are, before the first and after every one.

        Raises:
            LibraryError: another process is writing.
            DataError: a pattern or the number of workers is not valid. Files that fail are in the report.
        """
        num_workers = _num_workers(workers)
        with self._writing():
            return add_files(
                self._store,
                self.model,
                self.preprocessing,
                [paths] if isinstance(paths, str | Path) else paths,
                pattern=pattern,
                include=include,
                exclude=exclude,
                only=only,
                workers=num_workers,
                retry_failed=retry_failed,
                reader=reader,
                limits=limits,
                progress=_of_the_caller(progress),
                looked_back=_of_the_caller(looked_back),
            )

    def add_features(
        self,
        path: str | Path,
        *,
        only: Set[str] | None = None,
        retry_failed: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> IngestReport:
        """Add the videos of an HDF5 file of region vectors, or update them: the layout of the authors of DnS and S2VS.

        The vectors are those of the library's bundle before attention: whitened, of length 1, float [T, R, D] (or
        [T, D]), a data set a video. Its name becomes the id. Unchanged data sets are skipped, and an interrupted run
        goes on where it stopped. Such a video can be searched like any other, but not encoded anew.

        Args:
            only: ids to take; None: all.
            retry_failed: try data sets again that failed before.
            progress: called with how many data sets are done and how many there are.

        Raises:
            DataError: no HDF5 file, a damaged one, vectors of another length than the bundle's, nothing to add, or
                h5py is not installed; or a video file has the id of a data set. Data sets that fail are in the report.
            LibraryError: another process is writing.
        """
        with self._writing():
            return add_feature_file(
                self._store,
                self.model,
                Path(path),
                only=only,
                retry_failed=retry_failed,
                progress=_of_the_caller(progress),
            )

    def reindex(
        self,
        bundle: str | Path | None = None,
        *,
        sampling: str | None = None,
        workers: int | None = None,
        reader: str = "pyav",
        limits: DecodeLimits = DecodeLimits(),
        progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        """Move the library to another bundle: encode every video anew, then switch. Ids and paths stay.

        Until the switch the library is what it was, for every reader. An interrupted move goes on where it stopped
        when it is called again. The old vectors stay on the disk until `compact`.

        Args:
            bundle: name or file; None: the default one, or its own if only the sampling is to change.
            sampling: how its files are sampled (see `Preprocessing`); None: as before, or as the new bundle says if it
                was as the old one said.
            workers, reader, limits, progress: see `add`.

        Returns:
            What was encoded (`added`), was ready from an earlier run (`unchanged`) or fails as before (`failed`).

        Raises:
            UnfinishedReindexError: videos are gone, changed or cannot be decoded any more; nothing is switched.
            LibraryError: another move is unfinished, or another process is writing.
            DataError: the sampling or the number of workers is not valid.
        """
        num_workers = _num_workers(workers)
        model = self.model
        if bundle is not None or sampling is None:
            name = bundle or DEFAULT_BUNDLE
            model = load_model(name, device=str(self.model.device), precision=self.model.precision)
        with self._writing():
            if sampling is None and self._settings.sampling != self.model.settings.preprocessing.sampling:
                sampling = self._settings.sampling  # of its own choice
            preprocessing = _sampled(model, sampling)
            if (model.bundle.hash, preprocessing.sampling) == (self._settings.bundle_hash, self._settings.sampling):
                return IngestReport(unchanged=len(self._records))
            begun = begin(self.path, self._settings, model, preprocessing.sampling)
            table = Store(self.path / begun.table_file, model.dim)
            report = encode_anew(
                self._store, table, model, preprocessing,
                workers=num_workers, reader=reader, limits=limits,
                samples_alike=preprocessing.samples_like(self.preprocessing), progress=_of_the_caller(progress),
            )  # fmt: skip
            switch(self.path)
            self.model, self._settings, self._store = model, begun, table
            self._forget()
        return report

    def remove(self, ids: str | Sequence[str]) -> None:
        """Forget videos; their files stay.

        Raises:
            LibraryError: there is no such video (nothing is removed), or another process is writing.
        """
        with self._writing():
            self.refresh()
            self._store.delete([self.record(id).id for id in ([ids] if isinstance(ids, str) else ids)])

    def compact(self) -> int:
        """Give back the disk space of what was replaced or removed; readers go on with the newest version.

        Returns:
            Bytes given back.

        Raises:
            LibraryError: another process is writing, or the disk is too full even for this.
        """
        with self._writing():
            return compact_library(self.path, self._settings, self._store)

    @property
    def bytes_to_rewrite(self) -> int:
        """Of a library of an older format, which the next write brings up to date; 0 for one of today."""
        return 0 if self._settings.has_digests else folder_bytes(self.path / self._settings.table_file)

    def bring_up_to_date(self, *, progress: Callable[[int, int], None] | None = None) -> None:
        """Do what the next write would do first with a library of an older format: read all of it and write it anew.

        Args:
            progress: called with how many steps are done and how many there are.

        Raises:
            LibraryError: another process is writing, or the disk cannot be written.
        """
        with self._writing(upgrading=_of_the_caller(progress)):
            pass

    @contextmanager
    def _writing(self, *, upgrading: Callable[[int, int], None] | None = None) -> Iterator[None]:
        try:
            with writer_lock(self.path):
                self.refresh()
                self._bring_up_to_date(upgrading)
                self._store.check_writable()
                try:
                    yield
                finally:
                    self.refresh()
                self._note_files()
        except _CallersError as carried:
            raise carried.error from None
        except OSError as error:
            lacking = ""
            with suppress(OSError):
                lacking = what_is_lacking(self.path)
            problem, remedy = (lacking, f"; {ELSEWHERE}") if lacking else (reason_of(error), "")
            raise LibraryError(
                f"library {self.path}: cannot be written ({problem}); what was committed before is kept{remedy}"
            ) from error

    def _bring_up_to_date(self, progress: Callable[[int, int], None] | None) -> None:
        """A library of format 2 gets its digests and sums with the first write."""
        if not self._settings.has_digests:
            bring_up_to_date(self.path, self._settings, self.model, progress=progress)
            self._settings = replace(self._settings, format_version=FORMAT_VERSION)
            self._store = self._opened_table()
            self._forget()

    def _note_files(self) -> None:
        """Bring in the sums and copies that are lacking: a write before this one was interrupted."""
        self._store.note_files()
        note_files(self.path / name for name in (SETTINGS, self._settings.bundle_file))
        renew_copies(self._store.sums, [self.path / SETTINGS])


@dataclass(frozen=True)
class _QueryFiles:
    """How the files of one search are read."""

    contents: Contents
    limits: DecodeLimits
    progress: Callable[[SearchProgress], None] | None

    def encode(self, model: Model, source: VideoQuery) -> EncodedVideo:
        """A query that is not stored."""
        told = self.progress
        tell = None if told is None else lambda read_s: told(SearchProgress(str(source.path), read_s=read_s))
        return model.encode(source.path, span_s=source.span_s, stills=True, limits=self.limits, progress=tell)


def _matches_of(result: SearchResult, library: Path) -> Sequence[Match]:
    """The matches alone; what else there is to say is logged."""
    if result.warning:
        logger.warning("%s", result.warning)
    if result.damaged:
        id, reason = result.damaged[0]
        number = len(result.damaged)
        logger.warning(
            "library %s: %d damaged and left out, as %s: %s; see `Library.damaged`", library, number, id, reason
        )
    return result.matches


def _vector_bytes(query: Query | SearchResult) -> int:
    """Of what waits to be compared."""
    return query.encoded.region_vectors.vectors.nbytes if isinstance(query, Query) and query.encoded else 0


def _by_bytes(query: Query, why: str) -> Query:
    """A query that has no score, for the videos of equal content; if there is none, it is an error."""
    if not query.equals:
        raise DataError(why)
    return replace(query, encoded=None, warning=f"{why}; only files of equal bytes are found")


class _CallersError(Exception):
    """Carries an error of the caller's `progress` past what takes every OSError for one of the disk."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def _of_the_caller(progress: Callable[Told, None] | None) -> Callable[Told, None] | None:
    """The same function, its errors told from those of the disk."""
    if progress is None:
        return None

    def tell(*told: Told.args, **named: Told.kwargs) -> None:
        try:
            progress(*told, **named)
        except OSError as error:
            raise _CallersError(error) from error

    return tell


def _text_path(path: str | Path) -> Path:
    """The store takes folders whose names are text."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise LibraryError(f"{shell_word(str(path))}: the name of a library's folder must be valid UTF-8") from None
    return Path(path)


def _already_there(path: Path) -> LibraryError:
    return LibraryError(f"{path}: there is a library already; open it, or choose another folder")


def _left_by_an_interrupted_create(name: str) -> bool:
    return (
        name in (BUNDLE, TABLE, LOCK, SUMS, SECOND)
        or is_left_by_a_trial(name)
        or (name.startswith((f".{BUNDLE}.", f".{SETTINGS}.", f".{SUMS}.")) and name.endswith(".partial"))
    )


def _num_workers(workers: int | None) -> int:
    if workers is not None and workers < 1:
        raise DataError(f"workers must be at least 1, got {workers}")
    return workers or os.cpu_count() or 1


def _sampled(model: Model, sampling: str | None) -> Preprocessing:
    """The preprocessing of a bundle with the sampling of a library."""
    preprocessing = model.settings.preprocessing
    try:
        return preprocessing if sampling is None else replace(preprocessing, sampling=sampling)
    except ValueError as error:
        raise DataError(str(error)) from error


def _own_bundle(path: Path, settings: LibrarySettings) -> Bundle:
    """The bundle in the folder of a library, which must be the one its videos were encoded with."""
    try:
        bundle = load_bundle(path / settings.bundle_file)
        if bundle.hash == settings.bundle_hash:
            return bundle
        problem = f"{settings.bundle_file} is not the bundle its videos were encoded with"
    except ModelError as error:
        problem = f"its bundle is unusable: {error}"
    options = () if bundle_of_hash(settings.bundle_hash) else ("--model", "BUNDLE")
    raise LibraryError(
        f"library {path}: {problem}; `{repair_command(path, *options)}` restores it from another copy of "
        f"{settings.bundle_name!r} ({settings.bundle_hash[:12]})"
    )

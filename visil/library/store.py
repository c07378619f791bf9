"""The table of a library: one row a video, or a row per stretch of a very long one, in Lance.

    EncodedVideo ─► [rows of videos.lance] ─► descriptors (all) ─► candidates
                    this module            ─► region vectors (of candidates) ─► fine score

Every change of a video is one commit, so a reader sees a whole old video or a whole new one. A `Store` is one version
of the table: what it reads does not change under it while another process writes.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from visil.errors import LibraryError
from visil.library.disk import flush_folder
from visil.values import EncodedVideo, RegionVectors, VideoInfo

STRETCH_FRAMES = 2048  # frames in a row: 19 MB of 9 x 512 half-precision vectors
BLOCK_BYTES = 8 << 20  # region vectors read at once; float32 copies of more are new memory each time, twice as slow
FRAGMENT_ROWS = 1024  # about 1 GB in a file: a later compaction leaves it alone
_ARRAYS = frozenset({"vectors", "times_s", "descriptors"})
OK, NO_CONTENT, FAILED = "ok", "no_content", "failed"
FEATURE_SET = "hdf5:"  # begins the path of a video that was read from a feature file: hdf5:/data/evve.hdf5#an_id
DAMAGE = (ValueError, OSError, RuntimeError)  # what Lance raises when it cannot read a table

_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how Rust prints what the system said
_RUST_SOURCE = re.compile(r", \S+\.rs:\d+:\d+")

_RECORD_COLUMNS = [
    "id", "path", "root", "size_bytes", "mtime_ns", "sha256", "status", "reason", "reason_class", "duration_s",
    "num_samples",
    "coded_width", "coded_height", "rotated_width", "rotated_height", "square_pixel_width", "square_pixel_height",
    "rotation_deg", "codec", "start_offset_s", "num_stretches",
]  # fmt: skip


@dataclass(frozen=True)
class FileFacts:
    """A file as it was when it was read; `root` is the folder it was found under, to tell an unmounted drive.

    A video can also come from a data set of a feature file (see `feature_files`): `path` then names both, the size is
    that of the data set and the time that of the file.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    sha256: str
    root: str = ""

    @property
    def is_feature_set(self) -> bool:
        """Whether this is a data set of a feature file, which nobody can decode."""
        return self.path.startswith(FEATURE_SET)


@dataclass(frozen=True)
class StoredVideo:
    """What is written: an encoded video, or the reason why there is none, and its class (`visil.errors`).

    Of an encoded video the reason is its warning, and the class says what cut it short, if anything did.
    """

    id: str
    file: FileFacts
    encoded: EncodedVideo | None
    reason: str = ""
    reason_class: str = ""

    @property
    def status(self) -> str:
        if self.encoded is None:
            return FAILED
        return OK if self.encoded.has_content else NO_CONTENT

    @property
    def num_bytes(self) -> int:
        return 0 if self.encoded is None else self.encoded.region_vectors.vectors.nbytes


@dataclass(frozen=True)
class VideoRecord:
    """A video of a library without its vectors.

    Attributes:
        status: `ok`, `no_content` (every frame is blank: no score) or `failed`.
        reason: why it failed, or a warning about a video that was read in part.
        reason_class: of a failure, or of what cut a video short, one of `visil.errors.REASON_CLASSES`; else empty.
    """

    id: str
    file: FileFacts
    status: str
    reason: str
    duration_s: float
    num_samples: int
    video: VideoInfo | None
    reason_class: str = ""

    @property
    def is_to_retry(self) -> bool:
        """Whether another try may give more: it failed, or was cut short."""
        return self.status == FAILED or self.reason_class != ""


@dataclass(frozen=True)
class VectorPiece:
    """Consecutive region vectors of one video; `is_last` ends the video."""

    id: str
    vectors: np.ndarray
    is_last: bool


class VersionGoneError(LibraryError):
    """The version that was read is not the newest any more and `compact` took its files away: refresh, read again."""


def create_table(uri: Path, dim: int) -> None:
    """An empty table for descriptors of this many dimensions, seen on the disk; any table there is replaced."""
    mode = "overwrite" if uri.exists() else "create"  # overwriting nothing makes Lance write a warning
    lance.write_dataset(_schema(dim).empty_table(), os.path.abspath(uri), mode=mode)  # `s3:x` is a folder here
    flush_folder(uri)


def holds_videos(uri: Path) -> bool:
    """Whether there is a table with rows, or a damaged one that may have had some."""
    try:
        return lance.dataset(str(uri)).count_rows() > 0
    except DAMAGE:
        return any(uri.glob("data/*"))


def check_is_there(uri: Path) -> None:
    """Raises LibraryError if the table in use is not there at all: a repair would find nothing to save."""
    if not uri.exists():
        raise LibraryError(f"{uri}: the table is missing; restore it from a copy, or index into a new folder")


class Store:
    """One version of the table, and the changes that lead to the next."""

    def __init__(self, uri: Path, dim: int) -> None:
        try:
            self._dataset = lance.dataset(os.path.abspath(uri))  # the caller may change its folder later
        except DAMAGE as error:
            raise LibraryError(f"{uri}: the table cannot be read ({reason_of(error)}); {_remedy(uri)}") from error
        if set(self._dataset.schema.remove_metadata()) != set(_schema(dim)):
            raise LibraryError(
                f"{uri}: the table is not one of this format for descriptors of {dim} dimensions; {_remedy(uri)}"
            )
        self._dim = dim
        self._layout: dict[str, list[tuple[int, int]]] | None = None

    @property
    def uri(self) -> Path:
        """Where the table lies."""
        return Path(self._dataset.uri)

    @property
    def version(self) -> int:
        """Number of the version that is read."""
        return self._dataset.version

    def refresh(self) -> None:
        """Move to the newest version."""
        with self._damage_is_an_error():
            if self._dataset.latest_version != self._dataset.version:
                self._dataset = lance.dataset(self._dataset.uri)
                self._layout = None

    # --- reading -----------------------------------------------------------------------------------------------

    def records(self) -> list[VideoRecord]:
        """All videos, by id."""
        table = self._scan(columns=_RECORD_COLUMNS, filter="stretch = 0")
        return sorted((_record(row) for row in table.to_pylist()), key=lambda r: r.id)

    def descriptors(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Ids of the videos that have a score, float32 [P, D] of all their parts, and whose part each is, int [P]."""
        table = self._scan(columns=["id", "descriptors"], filter=f"stretch = 0 AND status = '{OK}'")
        ids = table["id"].to_pylist()
        column = table["descriptors"].combine_chunks()
        counts = np.diff(column.offsets.to_numpy())
        values = column.flatten()
        matrix = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, values.type.list_size)
        return ids, matrix, np.repeat(np.arange(len(ids)), counts)

    def vector_bytes(self) -> dict[str, int]:
        """Bytes of the region vectors of every video."""
        return {id: sum(size for _, size in rows) for id, rows in self._rows_of().items()}

    def vectors(self, ids: Sequence[str], *, block_bytes: int = BLOCK_BYTES) -> Iterator[list[VectorPiece]]:
        """Region vectors of these videos in table order, in blocks of at most block_bytes (or one row)."""
        layout = self._rows_of()
        rows = [
            (offset, size, video, number == len(layout[video]) - 1)
            for video in sorted(ids, key=lambda i: layout[i][0])
            for number, (offset, size) in enumerate(layout[video])
        ]
        block: list[tuple[int, int, str, bool]] = []
        for row in rows:
            if block and sum(r[1] for r in block) + row[1] > block_bytes:
                yield self._pieces(block)
                block = []
            block.append(row)
        if block:
            yield self._pieces(block)

    def read(self, id: str) -> StoredVideo:
        """One whole video.

        Raises:
            LibraryError: there is no such video.
        """
        layout = self._rows_of()
        if id not in layout:
            raise LibraryError(f"no video {id!r} in the library; `visil list` names them")
        rows = self._take([offset for offset, _ in layout[id]]).to_pylist()
        record = _record(rows[0])
        if record.video is None:
            return StoredVideo(id, record.file, None, record.reason, record.reason_class)
        vectors = RegionVectors(
            np.concatenate([_vectors(row["vectors"], row) for row in rows]),
            np.array([t for row in rows for t in row["times_s"]], dtype=np.float64),
        )
        descriptors = np.array(rows[0]["descriptors"], dtype=np.float32).reshape(-1, self._dim)
        encoded = EncodedVideo(
            vectors,
            descriptors,
            record.num_samples,
            record.duration_s,
            record.video,
            record.reason,
            record.reason_class,
        )
        return StoredVideo(id, record.file, encoded, record.reason, record.reason_class)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row as it is stored, for `verify`; one block of vectors in memory at a time."""
        columns = [name for name in self._dataset.schema.names if name != "vectors"]
        with self._damage_is_an_error():
            for batch in self._dataset.to_batches(columns=[*columns, "vectors"], batch_size=8):
                yield from batch.to_pylist()

    def _scan(self, **options: Any) -> pa.Table:
        with self._damage_is_an_error():
            return self._dataset.to_table(**options)

    def _take(self, offsets: list[int], *, columns: list[str] | None = None) -> pa.Table:
        with self._damage_is_an_error():
            return self._dataset.take(offsets, columns=columns)

    @contextmanager
    def _damage_is_an_error(self) -> Iterator[None]:
        try:
            yield
        except DAMAGE as error:
            if self._is_superseded():
                raise VersionGoneError(
                    f"{self.uri}: version {self.version} was compacted away while it was read; open the library again"
                ) from error
            raise LibraryError(f"{self.uri}: the table is damaged ({reason_of(error)}); {_remedy(self.uri)}") from error

    def _is_superseded(self) -> bool:
        try:
            latest: int = self._dataset.latest_version
        except DAMAGE:
            return not self.uri.exists()  # a whole generation was removed
        return latest != self.version

    def _rows_of(self) -> dict[str, list[tuple[int, int]]]:
        """Position and vector bytes of every row of every video, in stretch order; positions hold for this version."""
        if self._layout is None:
            table = self._scan(columns=["id", "stretch", "vector_bytes"])
            rows: dict[str, list[tuple[int, int, int]]] = {}
            for offset, row in enumerate(table.to_pylist()):
                rows.setdefault(row["id"], []).append((row["stretch"], offset, row["vector_bytes"]))
            self._layout = {id: [(o, size) for _, o, size in sorted(found)] for id, found in rows.items()}
        return self._layout

    def _pieces(self, block: list[tuple[int, int, str, bool]]) -> list[VectorPiece]:
        offsets = [offset for offset, *_ in block]
        order = np.argsort(offsets)
        table = self._take(
            [offsets[i] for i in order], columns=["id", "num_frames", "num_regions", "packed", "vectors"]
        )
        shapes = table.drop_columns(["vectors"]).to_pylist()
        buffers = [scalar.as_buffer() for scalar in table["vectors"]]
        where = {offsets[i]: position for position, i in enumerate(order)}
        pieces = []
        for offset, _, video, is_last in block:
            facts = shapes[where[offset]]
            pieces.append(VectorPiece(video, _vectors(buffers[where[offset]], facts), is_last))
        return pieces

    # --- writing; the caller holds the writer lock ---------------------------------------------------------------

    def append(self, videos: Sequence[StoredVideo]) -> None:
        """Insert whole videos that are not in the table, in one commit. Nothing of the table is read for it."""
        if videos:
            lance.write_dataset(self._to_write(videos), self._same_version(), mode="append")
            self.refresh()

    def put(self, videos: Sequence[StoredVideo]) -> None:
        """Insert or replace whole videos in one commit."""
        if videos:
            (
                self._same_version()
                .merge_insert(["id", "stretch"])
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .when_not_matched_by_source_delete(_id_filter([video.id for video in videos]))
                .execute(self._to_write(videos))
            )
            self.refresh()

    def _to_write(self, videos: Sequence[StoredVideo]) -> pa.RecordBatchReader:
        """Their rows, one at a time."""
        ids = [video.id for video in videos]
        if len(set(ids)) != len(ids):
            raise ValueError("a video may be written once a commit")
        schema = _schema(self._dim)
        batches = (_record_batch(row, schema) for video in videos for row in _rows(video))
        return pa.RecordBatchReader.from_batches(schema, batches)

    def update_files(self, files: dict[str, FileFacts]) -> None:
        """New path, size and time of videos whose content stays, in one commit; vectors are not rewritten."""
        if not files:
            return
        fragments: list[Any] = []
        modified: list[int] = []
        for fragment in self._dataset.get_fragments():
            ids = fragment.to_table(columns=["id"])["id"].to_pylist()
            touched = [id for id in dict.fromkeys(ids) if id in files]
            if touched:
                changes = pa.table(
                    {
                        "id": pa.array(touched, pa.string()),
                        "path": pa.array([files[id].path for id in touched], pa.string()),
                        "root": pa.array([files[id].root for id in touched], pa.string()),
                        "size_bytes": pa.array([files[id].size_bytes for id in touched], pa.int64()),
                        "mtime_ns": pa.array([files[id].mtime_ns for id in touched], pa.int64()),
                    }
                )
                metadata, modified = fragment.update_columns(changes, left_on="id", right_on="id")
                fragments.append(metadata)
        if fragments:
            operation = lance.LanceOperation.Update(
                updated_fragments=fragments, fields_modified=modified, update_mode="rewrite_columns"
            )
            lance.LanceDataset.commit(self._dataset.uri, operation, read_version=self.version)
            self.refresh()

    def delete(self, ids: Sequence[str]) -> None:
        """Remove videos in one commit."""
        if ids:
            self._same_version().delete(_id_filter(ids))
            self.refresh()

    def compact(self) -> None:
        """Gather the rows of many commits into few files, without those that were replaced; forget older versions.

        A reader of an older version is told so by a `VersionGoneError`.
        """
        flush_folder(self.uri)
        self._forget_older_versions()  # twice: on a full disk it makes room for what comes next
        lance.dataset(self._dataset.uri).optimize.compact_files(
            target_rows_per_fragment=FRAGMENT_ROWS,
            batch_size=1,  # Lance reads many batches ahead; a row has up to 19 MB
            num_threads=1,
        )
        flush_folder(self.uri)
        self._forget_older_versions()
        self.refresh()

    def _forget_older_versions(self) -> None:
        """The caller has seen the newest one on the disk."""
        dataset = lance.dataset(self._dataset.uri)
        dataset.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)  # no other writer is at work

    def _same_version(self) -> lance.LanceDataset:
        """A handle to write with: Lance moves it to the version it writes, and `refresh` must see the step."""
        return lance.dataset(self._dataset.uri, version=self.version)


def _schema(dim: int) -> pa.Schema:
    text, integer, number = pa.string(), pa.int32(), pa.float64()
    return pa.schema(
        [
            pa.field("id", text, nullable=False),
            pa.field("stretch", integer, nullable=False),
            pa.field("num_stretches", integer, nullable=False),
            ("path", text), ("root", text), ("size_bytes", pa.int64()), ("mtime_ns", pa.int64()), ("sha256", text),
            ("status", text), ("reason", text), ("reason_class", text),
            ("duration_s", number), ("num_samples", integer),
            ("coded_width", integer), ("coded_height", integer),
            ("rotated_width", integer), ("rotated_height", integer),
            ("square_pixel_width", integer), ("square_pixel_height", integer),
            ("rotation_deg", integer), ("codec", text), ("start_offset_s", number),
            ("num_frames", integer), ("num_regions", integer), ("packed", pa.bool_()),
            ("times_s", pa.list_(number)),
            ("vector_bytes", pa.int64()), ("vectors", pa.large_binary()),
            ("descriptors", pa.list_(pa.list_(pa.float32(), dim))),
        ]
    )  # fmt: skip


def _rows(video: StoredVideo) -> Iterator[dict[str, Any]]:
    """One row a stretch: values by column, arrays as they are. Only the first row carries the descriptors."""
    facts = {
        "id": video.id,
        "path": video.file.path,
        "root": video.file.root,
        "size_bytes": video.file.size_bytes,
        "mtime_ns": video.file.mtime_ns,
        "sha256": video.file.sha256,
        "status": video.status,
        "reason": video.reason,
        "reason_class": video.reason_class,
    }
    encoded = video.encoded
    if encoded is None:
        nothing = {"num_frames": 0, "num_regions": 0, "packed": False, "times_s": np.zeros(0), "vector_bytes": 0}
        yield {
            **facts,
            **nothing,
            "stretch": 0,
            "num_stretches": 1,
            "num_samples": 0,
            "vectors": np.zeros(0, np.uint8),
            "descriptors": np.zeros((0, 0), np.float32),
        }
        return
    info, vectors, times_s = encoded.video, encoded.region_vectors.vectors, encoded.region_vectors.times_s
    facts |= {
        "duration_s": encoded.duration_s,
        "num_samples": encoded.num_samples,
        "coded_width": info.coded_size_px[0],
        "coded_height": info.coded_size_px[1],
        "rotated_width": info.rotated_size_px[0],
        "rotated_height": info.rotated_size_px[1],
        "square_pixel_width": info.square_pixel_size_px[0],
        "square_pixel_height": info.square_pixel_size_px[1],
        "rotation_deg": info.rotation_deg,
        "codec": info.codec,
        "start_offset_s": info.start_offset_s,
        "num_regions": vectors.shape[1],
        "packed": vectors.dtype == np.uint8,
    }
    starts = range(0, max(1, len(vectors)), STRETCH_FRAMES)
    for number, start in enumerate(starts):
        stretch = vectors[start : start + STRETCH_FRAMES]
        yield {
            **facts,
            "stretch": number,
            "num_stretches": len(starts),
            "num_frames": len(stretch),
            "times_s": times_s[start : start + STRETCH_FRAMES],
            "vector_bytes": stretch.nbytes,
            "vectors": stretch,
            "descriptors": encoded.descriptors[: None if number == 0 else 0],
        }


def _record_batch(row: dict[str, Any], schema: pa.Schema) -> pa.RecordBatch:
    """One row of `_rows` for Arrow; vectors stay where they are, a copy would be as large as the video."""
    columns = {name: pa.array([row.get(name)], schema.field(name).type) for name in row.keys() - _ARRAYS}
    vectors = np.ascontiguousarray(row["vectors"])
    offsets = pa.py_buffer(np.array([0, vectors.nbytes], np.int64))
    columns["vectors"] = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(vectors)])
    columns["times_s"] = _list_of(pa.array(row["times_s"], pa.float64()))
    parts = pa.array(row["descriptors"].ravel(), pa.float32())
    dim = schema.field("descriptors").type.value_type.list_size
    columns["descriptors"] = _list_of(pa.FixedSizeListArray.from_arrays(parts, dim))
    missing = {name: pa.nulls(1, schema.field(name).type) for name in schema.names if name not in columns}
    return pa.RecordBatch.from_pydict({**columns, **missing}, schema=schema)


def _list_of(values: pa.Array) -> pa.ListArray:
    """One row that holds all values."""
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def _record(row: dict[str, Any]) -> VideoRecord:
    video = None
    if row["status"] != FAILED:
        video = VideoInfo(
            (row["coded_width"], row["coded_height"]),
            (row["rotated_width"], row["rotated_height"]),
            (row["square_pixel_width"], row["square_pixel_height"]),
            row["rotation_deg"],
            row["codec"],
            row["start_offset_s"],
        )
    file = FileFacts(row["path"], row["size_bytes"], row["mtime_ns"], row["sha256"], row["root"])
    return VideoRecord(
        row["id"],
        file,
        row["status"],
        row["reason"],
        row["duration_s"] or 0.0,
        row["num_samples"],
        video,
        row["reason_class"],
    )


def _vectors(buffer: Any, row: dict[str, Any]) -> np.ndarray:
    """[T, R, D] float16, or [T, R, D/8] uint8, as the row says."""
    dtype = np.uint8 if row["packed"] else np.float16
    frames, regions = row["num_frames"], row["num_regions"]
    if not frames:
        return np.zeros((0, max(1, regions or 1), 1), dtype)
    try:
        return np.frombuffer(buffer, dtype=dtype).reshape(frames, regions, -1)
    except (TypeError, ValueError) as error:
        raise LibraryError(f"video {row['id']!r}: its vectors are damaged ({error}); remove and index it") from error


def _id_filter(ids: Sequence[str]) -> str:
    quoted = ", ".join("'" + id.replace("'", "''") + "'" for id in ids)
    return f"id IN ({quoted})"


def reason_of(error: Exception) -> str:
    """The words of an error in one line; of Lance's, without the place in its source."""
    words: str = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if of_the_system := _OS_ERROR.search(words):
        return os.strerror(int(of_the_system[1]))
    return _RUST_SOURCE.sub("", words.splitlines()[0])[:200]


def was_refused(error: Exception) -> bool:
    """Whether the system did not let Lance read a file: no permission, too many open files, a failing disk.

    That says nothing about what the file holds. A file that is missing is damage.
    """
    of_the_system = _OS_ERROR.search(str(error))
    return of_the_system is not None and int(of_the_system[1]) != errno.ENOENT


def _remedy(uri: Path) -> str:
    return f"`visil verify --repair --library {uri.parent}` saves what can be read"

"""The columns of a row, and the values that they are written from and read into.

    StoredVideo ─► [rows: columns, digest ─► Arrow] ─► table ─► [VideoRecord, vectors]
                    this module

What is stored of a video is declared here and nowhere else; `docs/formats.md` says what it means.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from visil.errors import LibraryError
from visil.library.digests import DIGESTED, row_digest
from visil.media.reader import RULES
from visil.values import EncodedVideo, VideoInfo

UNKNOWN_TIME_NS = -1  # no file has it: `visil index` looks at the content
# Of a file, with what stands for a value that cannot be read.
FILE_COLUMNS = {"path": "", "size_bytes": 0, "mtime_ns": UNKNOWN_TIME_NS, "sha256": "", "root": ""}
_ARRAYS = frozenset({"vectors", "times_s", "descriptors"})
UNCOMPRESSED = {"lance-encoding:compression": "none"}
OK, NO_CONTENT, FAILED = "ok", "no_content", "failed"
FEATURE_SET = "hdf5:"  # begins the path of a video that was read from a feature file: hdf5:/data/evve.hdf5#an_id
# The first two by format 2, the others by format 3; with what a row without them has from then on.
ADDED_LATER = {"root": "", "reason_class": "", "rules": 1, "digest": None}

RECORD_COLUMNS = [
    "id", "path", "root", "size_bytes", "mtime_ns", "sha256", "status", "reason", "reason_class", "duration_s",
    "num_samples",
    "coded_width", "coded_height", "rotated_width", "rotated_height", "square_pixel_width", "square_pixel_height",
    "rotation_deg", "codec", "start_offset_s", "num_stretches", "rules",
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

    Of an encoded video the reason is its warning, and the class says what cut it short, if anything did. `rules` is the
    version of the reading rules (`visil.media.reader.RULES`) that the file was read by.
    """

    id: str
    file: FileFacts
    encoded: EncodedVideo | None
    reason: str = ""
    reason_class: str = ""
    rules: int = RULES

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
        rules: version of the reading rules it was read by; 1 in a library of format 1 or 2.
    """

    id: str
    file: FileFacts
    status: str
    reason: str
    duration_s: float
    num_samples: int
    video: VideoInfo | None
    reason_class: str = ""
    rules: int = RULES

    @property
    def is_to_retry(self) -> bool:
        """Whether another try may give more: it failed, or was cut short."""
        return self.status == FAILED or self.reason_class != ""


def table_schema(dim: int) -> pa.Schema:
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
            ("vector_bytes", pa.int64()),
            # Uncompressed: they hardly shrink, and Lance believes the length that a compressed value says it will have.
            pa.field("vectors", pa.large_binary(), metadata=UNCOMPRESSED),
            ("descriptors", pa.list_(pa.list_(pa.float32(), dim))),
            ("rules", integer), ("digest", text),
        ]
    )  # fmt: skip


def has_columns(found: pa.Schema, dim: int, *, may_lack: Collection[str]) -> bool:
    """Whether a table has the columns that it should, and no others."""
    expected = set(table_schema(dim))
    return set(found) <= expected and {field.name for field in expected - set(found)} <= {*may_lack}


def rows_of(video: StoredVideo, stretch_frames: int) -> Iterator[dict[str, Any]]:
    """One row a stretch: values by column, arrays as they are. Only the first row carries the descriptors."""
    for row in _rows_without_digest(video, stretch_frames):
        vectors, descriptors = np.ascontiguousarray(row["vectors"]), row["descriptors"].astype(np.float32, copy=False)
        row |= {"vectors": vectors, "descriptors": descriptors}
        yield row | {"digest": row_digest(*(row[name] for name in DIGESTED))}


def _rows_without_digest(video: StoredVideo, stretch_frames: int) -> Iterator[dict[str, Any]]:
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
        "rules": video.rules,
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
    starts = range(0, max(1, len(vectors)), stretch_frames)
    for number, start in enumerate(starts):
        stretch = vectors[start : start + stretch_frames]
        yield {
            **facts,
            "stretch": number,
            "num_stretches": len(starts),
            "num_frames": len(stretch),
            "times_s": times_s[start : start + stretch_frames],
            "vector_bytes": stretch.nbytes,
            "vectors": stretch,
            "descriptors": encoded.descriptors[: None if number == 0 else 0],
        }


def record_batch(row: dict[str, Any], schema: pa.Schema) -> pa.RecordBatch:
    """One row of `rows_of` for Arrow; vectors stay where they are, a copy would be as large as the video."""
    columns = {name: pa.array([row.get(name)], schema.field(name).type) for name in row.keys() - _ARRAYS}
    vectors = row["vectors"]
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


def by_row(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The values of each row by column; those of _ARRAYS as Arrow has them."""
    arrays = [name for name in table.column_names if name in _ARRAYS]
    for number, row in enumerate(table.drop_columns(arrays).to_pylist()):
        yield row | {name: table[name][number] for name in arrays}


def file_of(row: Mapping[str, Any]) -> FileFacts:
    """What a row says of its file; a flipped bit may have made any of it null, and not all columns may be read."""
    facts: list[Any] = [unknown if row.get(name) is None else row[name] for name, unknown in FILE_COLUMNS.items()]
    return FileFacts(*facts)


def record_of(row: Mapping[str, Any]) -> VideoRecord:
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
    return VideoRecord(
        row["id"],
        file_of(row),
        row["status"],
        row["reason"],
        row["duration_s"] or 0.0,
        row["num_samples"],
        video,
        row["reason_class"],
        row.get("rules") or 1,
    )


def vectors_of(buffer: Any, row: Mapping[str, Any]) -> np.ndarray:
    """[T, R, D] float16, or [T, R, D/8] uint8, as the row says."""
    dtype = np.uint8 if row["packed"] else np.float16
    frames, regions = row["num_frames"], row["num_regions"]
    if not frames:
        return np.zeros((0, max(1, regions or 1), 1), dtype)
    try:
        return np.frombuffer(buffer, dtype=dtype).reshape(frames, regions, -1)
    except (TypeError, ValueError) as error:
        raise LibraryError(f"video {row['id']!r}: its vectors are damaged ({error}); remove and index it") from error

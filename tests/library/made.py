"""Values that the tests of this room share: encoded videos out of a random generator, without a file behind them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from visil.library.digests import DIGESTED, row_digest
from visil.library.files import content_hash
from visil.library.settings import SETTINGS, TABLE
from visil.library.store import FileFacts, Store, StoredVideo
from visil.library.sums import SUMS
from visil.values import EncodedVideo, RegionVectors, VideoInfo

DIM = 8
NUM_REGIONS = 2
VIDEO = VideoInfo((64, 48), (64, 48), (64, 48), 0, "h264", 0.0)


def unit(array: np.ndarray) -> np.ndarray:
    """The same vectors at length 1."""
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def encoded_video(
    num_frames: int,
    *,
    seed: int = 0,
    dim: int = DIM,
    num_regions: int = NUM_REGIONS,
    num_parts: int = 1,
    warning: str = "",
) -> EncodedVideo:
    """Random unit vectors, one sample a second; without frames it is a video of nothing but blank pictures."""
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(num_frames, num_regions, dim))).astype(np.float16)
    return EncodedVideo(
        region_vectors=RegionVectors(vectors, np.arange(num_frames, dtype=np.float64)),
        descriptors=unit(rng.normal(size=(num_parts if num_frames else 0, dim))).astype(np.float32),
        num_samples=max(1, num_frames),
        duration_s=float(max(1, num_frames)),
        video=VIDEO,
        warning=warning,
    )


def file_facts(path: str, *, sha256: str = "", mtime_ns: int = 1) -> FileFacts:
    """A file that nobody ever wrote."""
    return FileFacts(path, 100, mtime_ns, sha256 or f"hash of {path}")


def facts_of(path: Path) -> FileFacts:
    """A file as it is now."""
    status = path.stat()
    return FileFacts(str(path), status.st_size, status.st_mtime_ns, content_hash(path))


def stored_video(id: str, num_frames: int = 3, *, seed: int = 0, sha256: str = "") -> StoredVideo:
    """A row to write: id and path are alike."""
    return StoredVideo(id, file_facts(f"/videos/{id}", sha256=sha256), encoded_video(num_frames, seed=seed))


Row = dict[str, Any]


def tamper(library: Path, change: Callable[[Row], None], *, id: str, stretch: int = 0, dim: int) -> None:
    """Change a row such that nothing but its values can tell: with a digest and sums that fit."""
    dataset = lance.dataset(str(library / TABLE))
    (row,) = dataset.to_table(filter=f"id = '{id}' AND stretch = {stretch}").to_pylist()
    change(row)
    of_digest = {**row, "times_s": np.array(row["times_s"]), "descriptors": np.array(row["descriptors"])}
    row["digest"] = row_digest(*(of_digest[name] for name in DIGESTED))
    table = pa.Table.from_pylist([row], schema=dataset.schema)
    dataset.merge_insert(["id", "stretch"]).when_matched_update_all().when_not_matched_insert_all().execute(table)
    note_files(library, dim)


def note_files(library: Path, dim: int) -> None:
    """Bring in the sums of what was written behind the back of a library."""
    Store(library / TABLE, dim).note_files()


def as_format_2(library: Path, *, settings: str = SETTINGS, table: str = TABLE) -> None:
    """Make a library what it was before there were digests and sums: compressed vectors, two columns less."""
    uri = str(library / table)
    rows = lance.dataset(uri).to_table().drop_columns(["rules", "digest"])
    plain = pa.schema([pa.field(field.name, field.type, field.nullable) for field in rows.schema])
    lance.write_dataset(rows.cast(plain), uri, mode="overwrite", max_rows_per_file=2)
    content = (library / settings).read_text()
    (library / settings).write_text(content.replace("format_version = 3", "format_version = 2"))
    (library / SUMS).unlink()


def failed_video(id: str, reason: str = "not a video") -> StoredVideo:
    """A row of a file that could not be read."""
    return StoredVideo(id, file_facts(f"/videos/{id}"), None, reason)


def assert_same_video(read: StoredVideo, written: StoredVideo) -> None:
    """Every value of a video comes back as it was written, bit for bit."""
    assert (read.id, read.file, read.status, read.reason, read.reason_class) == (
        written.id,
        written.file,
        written.status,
        written.reason,
        written.reason_class,
    )
    if written.encoded is None or read.encoded is None:
        assert read.encoded is written.encoded
        return
    ours, theirs = read.encoded, written.encoded
    assert (ours.num_samples, ours.duration_s, ours.video) == (theirs.num_samples, theirs.duration_s, theirs.video)
    np.testing.assert_array_equal(ours.region_vectors.times_s, theirs.region_vectors.times_s)
    np.testing.assert_array_equal(ours.descriptors, theirs.descriptors)
    assert len(ours.region_vectors) == len(theirs.region_vectors)
    if len(theirs.region_vectors):
        np.testing.assert_array_equal(ours.region_vectors.vectors, theirs.region_vectors.vectors)
        assert ours.region_vectors.vectors.dtype == theirs.region_vectors.vectors.dtype

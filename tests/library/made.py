"""Values that the tests of this room share: encoded videos out of a random generator, without a file behind them."""

from __future__ import annotations

import numpy as np

from visil.library.store import FileFacts, StoredVideo
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


def stored_video(id: str, num_frames: int = 3, *, seed: int = 0, sha256: str = "") -> StoredVideo:
    """A row to write: id and path are alike."""
    return StoredVideo(id, file_facts(f"/videos/{id}", sha256=sha256), encoded_video(num_frames, seed=seed))


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

"""Adds the videos of a feature file to a library, as the authors of DnS and S2VS publish them.

    HDF5 ─► [data sets ─► VectorEncoder ─► commits] ─► table
             this module

One data set a video, its name the id: whitened unit vectors before attention, float [T, R, D], or [T, D] for R = 1. An
id with a slash (CC_WEB_VIDEO `1/1_1_Y`) is a data set in a group. Short videos need no repeating here: scoring does it,
as the published readers do (`SimilarityNetwork.repeat_short`). A file says nothing about times: samples are taken to be
as far apart as the bundle's.

A feature file comes from a stranger. Links and data sets that lie in other files are not followed: they could put any
file of the reader's into a library.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from visil.commands import visil_command
from visil.errors import DataError, MediaError
from visil.library.ingest import Commits, IngestReport
from visil.library.planning import Job, Target
from visil.library.store import FAILED, FEATURE_SET, OK, FileFacts, Store, VideoRecord
from visil.model.model import Model, VectorEncoder
from visil.model.threads import one_thread
from visil.values import EncodedVideo, VideoInfo

READ_BYTES = 32 << 20  # of a data set at a time, as float32
MAX_VIDEO_BYTES = 4 << 30  # as float32: 65 h at a sample a second of 9 x 512; a file of a few bytes can claim any size
NORM_TOLERANCE = 1e-2  # half precision of unit vectors, twice
NO_PICTURES = VideoInfo((0, 0), (0, 0), (0, 0), 0, "features", 0.0)
NUM_EXAMPLES = 3
NUM_LOOKED_AT = 100  # data sets that say what shape a file's vectors have
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError)  # what h5py raises when a file is not what it says


def add_feature_file(
    store: Store,
    model: Model,
    path: Path,
    *,
    only: Set[str] | None,
    retry_failed: bool,
    progress: Callable[[int, int], None] | None,
) -> IngestReport:
    """See `Library.add_features`; the caller holds the writer lock."""
    path = Path(os.path.abspath(path))
    report = IngestReport()
    with FeatureFile.opened(path) as file:
        ids, others = file.ids()
        wanted = [id for id in ids if only is None or id in only]
        asked_for = None if only is None else _with_groups(only)
        report.failed = [(file.place(id), reason) for id, reason in others if asked_for is None or id in asked_for]
        if not wanted:
            held = f"its data sets are {', '.join(map(repr, ids[:NUM_EXAMPLES]))} ..." if ids else "no data set in it"
            raise DataError(f"{path}: no video to add; {held}")
        records = {record.id: record for record in store.records()}
        _refuse_taken(path, wanted, records, store.uri.parent)
        expected = (_num_regions(file, wanted, store, records.values(), model), model.dim)
        touched: dict[str, FileFacts] = {}
        with closing(Commits(store, report, stored=set(records))) as commits, one_thread():
            for done, id in enumerate(wanted):
                if progress is not None:
                    progress(done, len(wanted))
                if _is_done(file.facts(id), records.get(id), report, retry_failed=retry_failed):
                    continue
                job, encoded, error = _encoded(file, id, records.get(id), model, expected)
                target = job.targets[0].file
                if id in records and records[id].status != FAILED and target.sha256 == records[id].file.sha256:
                    touched[id] = target
                    report.unchanged += 1
                    continue
                report.num_samples += encoded.num_samples if encoded is not None else 0
                commits.finish(job, encoded, error)
        store.update_files(touched)
    if progress is not None:
        progress(len(wanted), len(wanted))
    return report


def feature_set_path(path: Path, id: str) -> str:
    """What the table has as the path of a data set of a feature file."""
    return f"{FEATURE_SET}{os.path.abspath(path)}#{id}"


def feature_file_of(record: VideoRecord) -> Path:
    """The feature file that a video was read from."""
    return Path(record.file.path.removeprefix(FEATURE_SET).removesuffix(f"#{record.id}"))


def _with_groups(ids: Set[str]) -> Set[str]:
    """The ids, and the groups that they lie in."""
    found = set(ids)
    for id in ids:
        while (id := id.rpartition("/")[0]) and id not in found:
            found.add(id)
    return found


def _refuse_taken(path: Path, ids: Iterable[str], records: Mapping[str, VideoRecord], library: Path) -> None:
    """Raises DataError if a video file has one of the ids: its vectors would pass for those of the feature file."""
    taken = [id for id in ids if id in records and not records[id].file.is_feature_set]
    if taken:
        more = f", and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise DataError(
            f"{path}: the library has a video {taken[0]!r} already, indexed from {records[taken[0]].file.path}{more}; "
            f"take another library, or `{visil_command('remove', 'ID...', library=library)}` them"
        )


def _is_done(facts: FileFacts, record: VideoRecord | None, report: IngestReport, *, retry_failed: bool) -> bool:
    """Whether nothing is to be read, because it was; the report says so."""
    if record is None:
        return False
    if replace(record.file, sha256="") != facts or (record.status == FAILED and retry_failed):
        return False
    if record.status == FAILED:
        report.failed_before.append((record.file.path, record.reason))
    else:
        report.unchanged += 1
    return True


def _encoded(
    file: FeatureFile, id: str, record: VideoRecord | None, model: Model, expected: tuple[int, int]
) -> tuple[Job, EncodedVideo | None, MediaError | None]:
    """A data set as the library keeps it, with the hash of its values, or why it cannot be kept."""
    encoder, digest = VectorEncoder(model), hashlib.sha256()
    encoded = error = None
    fps = model.settings.preprocessing.fps
    num_samples = 0
    try:
        for vectors in file.vectors(id, expected):
            digest.update(vectors.tobytes())
            _check_unit(vectors)
            shows = vectors.any(axis=(1, 2))  # a frame of zeros has no content
            times_s = np.arange(num_samples, num_samples + len(vectors)) / fps
            encoder.add(torch.from_numpy(vectors[shows]).to(model.device), times_s[shows])
            num_samples += len(vectors)
        encoded = encoder.finish(num_samples=num_samples, duration_s=num_samples / fps, video=NO_PICTURES)
    except MediaError as failure:
        error = failure
        digest = hashlib.sha256(f"{file.facts(id).path} {failure}".encode())  # like no other content
    facts = replace(file.facts(id), sha256=digest.hexdigest())
    return Job((Target(id, facts, is_new=record is None),)), encoded, error


def _check_unit(vectors: np.ndarray) -> None:
    """Raises MediaError for vectors that are not whitened unit vectors: each is as long as 1, or 0."""
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(vectors, axis=-1)
    if not np.isfinite(norms).all():
        raise MediaError("its values are not all finite numbers")
    if (np.abs(norms[norms > 0] - 1) > NORM_TOLERANCE).any():
        worst = float(norms.flat[np.abs(np.where(norms > 0, norms, 1) - 1).argmax()])
        raise MediaError(f"its vectors must be of length 1, as they are before attention, got one of {worst:.3g}")


def _num_regions(
    file: FeatureFile, ids: Iterable[str], store: Store, records: Iterable[VideoRecord], model: Model
) -> int:
    """R of the library, or of most data sets of an empty one: videos of different R cannot be compared.

    Raises:
        DataError: the vectors of most data sets are not of the bundle's length.
    """
    shapes = Counter(islice(_sound_shapes(file, ids), NUM_LOOKED_AT))
    num_regions, dim = shapes.most_common(1)[0][0] if shapes else (1, model.dim)
    if dim != model.dim:
        raise DataError(
            f"{file.path}: its vectors have {dim} dimensions, those of bundle {model.settings.name!r} have "
            f"{model.dim}; use the bundle that they were made with"
        )
    stored = next((record.id for record in records if record.status == OK), None)
    if stored is not None:
        video = store.read(stored).encoded
        assert video is not None
        return video.region_vectors.vectors.shape[1]
    return num_regions


def _sound_shapes(file: FeatureFile, ids: Iterable[str]) -> Iterator[tuple[int, int]]:
    """R and D of the data sets that hold region vectors."""
    for id in ids:
        with suppress(MediaError):
            yield file.shape(id)[1:]


@dataclass(frozen=True)
class FeatureFile:
    """An open feature file; only what lies in the file itself is read.

    Attributes:
        mtime_ns: of the file when it was opened.
    """

    path: Path
    mtime_ns: int
    _root: Any  # h5py.File

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[FeatureFile]:
        """Raises DataError: no such file, not an HDF5 file, a damaged one, or h5py is not installed."""
        try:
            import h5py
        except ImportError:
            raise DataError(f"{path}: feature files need h5py: pip install 'visil[evaluate]'") from None
        if not path.is_file():
            raise DataError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
        try:
            str(path).encode()  # the table holds text
            root = h5py.File(path, "r")
        except _DAMAGE as error:
            raise DataError(f"{path}: cannot be read as HDF5 ({_one_line(error)})") from error
        with root:
            yield cls(path, path.stat().st_mtime_ns, root)

    def ids(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Names of the data sets, and what else was found: (name, why it is passed over).

        Raises:
            DataError: a group is damaged, so that nobody knows what is missing.
        """
        import h5py

        ids: list[str] = []
        others: list[tuple[str, str]] = []
        entered: set[int] = set()
        groups = [("", self._root)]
        try:
            while groups:
                prefix, group = groups.pop()
                address = h5py.h5o.get_info(group.id).addr
                if address in entered:
                    others.append((prefix.rstrip("/"), "a group that was found before under another name"))
                    continue
                entered.add(address)
                for name in group:
                    if not isinstance(name, str):  # h5py passes on what it cannot decode
                        raise ValueError(f"the name {name!a} is not valid UTF-8")
                    id = f"{prefix}{name}"
                    kind = group.get(name, getclass=True) if _is_hard(group, name) else None
                    if kind is None:
                        others.append((id, "a link, which is not followed"))
                    elif kind is h5py.Group:
                        groups.append((f"{id}/", group[name]))
                    elif kind is h5py.Dataset:
                        ids.append(id)
                    else:
                        others.append((id, "not a data set"))
        except _DAMAGE as error:
            raise DataError(f"{self.path}: damaged ({_one_line(error)})") from error
        return sorted(ids), others

    def facts(self, id: str) -> FileFacts:
        """What the table keeps of a data set beside its values; of one that cannot be opened the size is 0."""
        try:
            num_bytes = int(self._root[id].nbytes)
        except _DAMAGE:
            num_bytes = 0
        return FileFacts(self.place(id), num_bytes, self.mtime_ns, sha256="")

    def shape(self, id: str) -> tuple[int, int, int]:
        """T, R and D of a data set.

        Raises:
            MediaError: it holds no region vectors, or they do not lie in this file.
        """
        try:
            data_set = self._root[id]
            shape, dtype = data_set.shape, data_set.dtype
            if data_set.is_virtual or data_set.external:
                raise MediaError("its values lie in other files, which are not read", "unsupported_format")
            if shape is None or len(shape) not in (2, 3) or dtype.kind != "f" or dtype.itemsize > 8:
                described = "no values" if shape is None else f"{dtype} {list(shape)}"
                raise MediaError(f"expected float [T,R,D] or [T,D], got {described}", "unsupported_format")
            if 0 in shape:
                raise MediaError(f"it holds no frame: {list(shape)}", "no_frames")
            if max(prod(shape), prod(data_set.chunks or (0,))) * 4 > MAX_VIDEO_BYTES:
                raise MediaError(f"it is too large: {list(shape)}", "too_large")
            if data_set.id.get_storage_size() == 0:
                raise MediaError("its values were never written", "truncated")
        except _DAMAGE as error:
            raise MediaError(f"damaged ({_one_line(error)})") from error
        return (shape[0], 1, shape[1]) if len(shape) == 2 else shape

    def vectors(self, id: str, expected: tuple[int, int]) -> Iterator[np.ndarray]:
        """The region vectors of a data set, float32 [T, R, D] in blocks of frames.

        Args:
            expected: R and D.

        Raises:
            MediaError: it holds others, or cannot be read.
        """
        num_frames, *found = self.shape(id)
        if tuple(found) != expected:
            raise MediaError(f"{found[0]} regions of {found[1]} dimensions, expected {expected[0]} of {expected[1]}")
        data_set = self._root[id]
        in_chunk = data_set.chunks[0] if data_set.chunks else 1  # part of one is unpacked anew each time
        step = max(1, READ_BYTES // (4 * prod(expected) * in_chunk)) * in_chunk
        for start in range(0, num_frames, step):
            try:
                block = data_set[start : start + step]
            except _DAMAGE as error:
                raise MediaError(f"damaged ({_one_line(error)})") from error
            with np.errstate(over="ignore"):
                yield block.reshape(-1, *expected).astype(np.float32)

    def content_hash(self, id: str) -> str:
        """SHA-256 of the values of a data set as float32, hexadecimal; raises MediaError as `vectors` does."""
        _, *expected = self.shape(id)
        digest = hashlib.sha256()
        for vectors in self.vectors(id, (expected[0], expected[1])):
            digest.update(vectors.tobytes())
        return digest.hexdigest()

    def place(self, id: str) -> str:
        """What the table has as the path of a data set."""
        return feature_set_path(self.path, id)


def _is_hard(group: Any, name: str) -> bool:
    import h5py

    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

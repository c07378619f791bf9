"""The table of a library: one row a video, or a row per stretch of a very long one, in Lance.

    EncodedVideo ─► [rows of videos.lance] ─► descriptors (all) ─► candidates
                    this module            ─► region vectors (of candidates) ─► fine score

Every change of a video is one commit, so a reader sees a whole old video or a whole new one. A `Store` is one version
of the table: what it reads does not change under it while another process writes.

Nothing that feeds a score is believed unseen: before the first read of a file all of it but the vectors is compared
with its sum (`sums`), and the vectors of a video with the digest of its rows (`digests`) whenever they are read. A
video that does not fit is left out and named in `Store.damaged`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from visil.commands import repair_command, visil_command
from visil.errors import LibraryError
from visil.library.digests import DIGESTED, digests_of
from visil.library.disk import flush_files, flush_folder
from visil.library.lance_files import (
    DAMAGE,
    files_of_fragment,
    immutable_files,
    is_about_a_row,
    manifests,
    newest_version,
    panics_are_damage,
    reason_of,
    vector_columns,
)
from visil.library.rows import (
    ADDED_LATER,
    FAILED,
    OK,
    RECORD_COLUMNS,
    FileFacts,
    StoredVideo,
    VideoRecord,
    by_row,
    file_of,
    has_columns,
    record_batch,
    record_of,
    rows_of,
    table_schema,
    vectors_of,
)
from visil.library.rows import FEATURE_SET as FEATURE_SET
from visil.library.rows import NO_CONTENT as NO_CONTENT
from visil.library.salvaging import NO_DIGEST, OTHER_DIGEST, PROBLEM, ROW, UNREADABLE, salvaged_rows
from visil.library.second import copy_of, keep_copies, written_versions
from visil.library.sums import Sums, row_file_sum
from visil.values import EncodedVideo, RegionVectors

STRETCH_FRAMES = 2048  # frames in a row: 19 MB of 9 x 512 half-precision vectors
BLOCK_BYTES = 8 << 20  # region vectors read at once; float32 copies of more are new memory each time, twice as slow
CACHE_BYTES = 64 << 20  # of Lance, which would keep up to 1 GiB of vectors: a first read takes no longer without
FRAGMENT_ROWS = 1024  # about 1 GB in a file: a later compaction leaves it alone


@dataclass(frozen=True)
class VectorPiece:
    """Consecutive region vectors of one video; `is_last` ends the video."""

    id: str
    vectors: np.ndarray
    is_last: bool


class VersionGoneError(LibraryError):
    """The version that was read is not the newest any more and `compact` took its files away: refresh, read again."""


class DamagedVideoError(LibraryError):
    """The rows of a video are not what was written."""


def create_table(uri: Path, dim: int) -> None:
    """An empty table for descriptors of this many dimensions, seen on the disk; any table there is replaced."""
    sums = Sums(uri.parent)
    shutil.rmtree(copy_of(uri, sums.folder), ignore_errors=True)
    sums.forget([uri.parent / name for name in sums.by_name if name.startswith(f"{uri.name}/")])
    mode = "overwrite" if uri.exists() else "create"  # overwriting nothing makes Lance write a warning
    lance.write_dataset(table_schema(dim).empty_table(), os.path.abspath(uri), mode=mode)  # `s3:x` is a folder here
    flush_folder(uri)
    Store(uri, dim).note_files()


def check_is_there(uri: Path) -> None:
    """Raises LibraryError if the table in use is not there at all: a repair would find nothing to save."""
    if not uri.exists():
        raise LibraryError(f"{uri}: the table is missing; restore it from a copy, or index into a new folder")


class Store:
    """One version of the table, and the changes that lead to the next.

    Args:
        has_digests: False for a table of format 1 or 2, which is believed as it is; its columns may be fewer.

    Attributes:
        damaged: why videos that should have a score have none, by id; and what is wrong with files of rows, by name:
            what such a file says of its videos beside their vectors may be wrong. It grows as rows are read.
    """

    def __init__(self, uri: Path, dim: int, *, has_digests: bool = True) -> None:
        self._uri = Path(os.path.abspath(uri))  # the caller may change its folder later
        self._has_digests = has_digests
        self._sums = Sums(self._uri.parent)
        self._verdicts: dict[Path, bool] = {}  # of the files looked at: whether they are what was written
        self._dim = dim
        try:
            with panics_are_damage():
                self._open()
        except DAMAGE as error:
            raise LibraryError(f"{uri}: the table cannot be read ({reason_of(error)}); {_remedy(uri)}") from error
        if not has_columns(self._schema, dim, may_lack=() if has_digests else ADDED_LATER):
            raise LibraryError(
                f"{uri}: the table is not one of this format for descriptors of {dim} dimensions; {_remedy(uri)}"
            )

    @property
    def uri(self) -> Path:
        """Where the table lies."""
        return self._uri

    @property
    def version(self) -> int:
        """Number of the version that is read."""
        return self._dataset.version

    @property
    def has_digests(self) -> bool:
        """Whether its rows have digests and its files sums."""
        return self._has_digests

    @property
    def sums(self) -> Sums:
        """What the files of the library were when they were written."""
        return self._sums

    def files(self) -> list[Path]:
        """The files that this version rests on; none if it has no digests, and so no sums.

        Raises:
            VersionGoneError: it was compacted away.
        """
        if not self._has_digests:
            return []
        manifest = self._manifest(self.version)
        if manifest is None:
            raise self._version_gone()
        return [manifest, *(path for part in self._fragments() for path in files_of_fragment(self.uri, part))]

    def refresh(self) -> None:
        """Move to the newest version."""
        with self._damage_is_an_error():
            self._sums.reload()
            if self._newest_version() != self._dataset.version:
                self._open()

    def _open(self) -> None:
        """The newest version; the one that comes after it if `compact` takes it away in this moment."""
        while True:
            newest = self._newest_version()
            try:
                self._open_version(newest)
                return
            except (LibraryError, *DAMAGE):
                if self._newest_version() == newest:
                    raise

    def _newest_version(self) -> int:
        """Its number; raises LibraryError if a newer one was written that is not there any more.

        A commit that was cut off before its sums, or older versions that are gone, are no such thing.
        """
        newest = newest_version(self.uri)
        written = written_versions(self._sums, self.uri) if self._has_digests else {}
        last = max(written, default=0)
        if last <= newest:
            return newest
        if written[last].exists():  # some network drives list it a while later
            return last
        newest = newest_version(self.uri)  # twice: files may go while it looks
        if last > newest and self.uri.exists():  # else all of it was left behind by a move to another bundle
            name = self._sums.name(written[last])
            raise LibraryError(f"{self.uri}: version {last} is lost ({name} is gone); {_remedy(self.uri)}")
        return newest

    def _manifest(self, number: int) -> Path | None:
        """The file of a version; None if it is not there."""
        listed = manifests(self.uri).get(number)
        if listed is None and number in (written := written_versions(self._sums, self.uri)):
            return written[number] if written[number].exists() else None
        return listed

    def _open_version(self, newest: int) -> None:
        """A version, its manifest compared with its sum."""
        manifest = self._manifest(newest)
        if manifest is not None and not self._is_sound(manifest):
            problem = f"{self._sums.name(manifest)} {OTHER_DIGEST}"
            raise LibraryError(f"{self.uri}: version {newest} is damaged ({problem}); {_remedy(self.uri)}")
        self._dataset = lance.dataset(str(self.uri), version=newest or None, metadata_cache_size_bytes=CACHE_BYTES)
        self._schema = self._dataset.schema  # here, where Lance may panic over it
        self._layout: dict[str, list[tuple[int, int]]] | None = None
        self._salvaged: dict[int, list[dict[str, Any]]] | None = None
        self.damaged: dict[str, str] = {}

    # --- reading -----------------------------------------------------------------------------------------------

    def records(self) -> list[VideoRecord]:
        """All videos, by id; those that are known to be damaged as failures."""
        rows = self._scan(columns=self._present(RECORD_COLUMNS), filter="stretch = 0").to_pylist()
        rows += [row for row in self._salvaged_rows() if row["stretch"] == 0]
        return sorted((self._record(row) for row in rows), key=lambda r: r.id)

    def _record(self, row: Mapping[str, Any]) -> VideoRecord:
        problem = self.damaged.get(row["id"])
        if problem is None:
            return record_of(row)
        return VideoRecord(row["id"], file_of(row), FAILED, problem, 0.0, 0, None, "unreadable", row.get("rules") or 1)

    def descriptors(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Ids of the videos that have a score, float32 [P, D] of all their parts, and whose part each is, int [P]."""
        columns = ["id", "descriptors"]
        table = self._scan(columns=columns, filter=f"stretch = 0 AND status = '{OK}'")
        salvaged = [row for row in self._salvaged_rows() if row["stretch"] == 0 and row.get("status") == OK]
        if self.damaged:
            more = pa.Table.from_pylist(salvaged, schema=table.schema)
            table = pa.concat_tables([table, more])
            table = table.filter(pc.invert(pc.is_in(table["id"], pa.array(self.damaged, pa.string()))))
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
        """Region vectors of these videos in table order, in blocks of at most block_bytes (or one row).

        A video that turns out to be damaged is in `damaged` from then on and has no further pieces: the last one that
        came of it was not its last.
        """
        layout = self._rows_of()
        rows = [
            (offset, size, video, number == len(layout[video]) - 1)
            for video in sorted((id for id in ids if id not in self.damaged), key=lambda i: layout[i][0])
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
            DamagedVideoError: its rows are not what was written.
            LibraryError: there is no such video.
        """
        layout = self._rows_of()
        if id not in layout and id not in self.damaged:
            names = visil_command("list", library=self.uri.parent)
            raise LibraryError(f"no video {id!r} in the library; `{names}` names them")
        places = [] if id in self.damaged else [offset for offset, _ in layout[id]]
        found = self._sound_rows(dict.fromkeys(places, id))
        if id in self.damaged:
            raise DamagedVideoError(f"video {id!r}: {self.damaged[id]}")
        rows = [found[place] for place in places]
        record = record_of(rows[0])
        if record.video is None:
            return StoredVideo(id, record.file, None, record.reason, record.reason_class, record.rules)
        vectors = RegionVectors(
            np.concatenate([vectors_of(row["vectors"].as_buffer(), row) for row in rows]),
            np.array([t for row in rows for t in row["times_s"].as_py()], dtype=np.float64),
        )
        descriptors = np.array(rows[0]["descriptors"].as_py(), dtype=np.float32).reshape(-1, self._dim)
        encoded = EncodedVideo(
            vectors,
            descriptors,
            record.num_samples,
            record.duration_s,
            record.video,
            record.reason,
            record.reason_class,
        )
        return StoredVideo(id, record.file, encoded, record.reason, record.reason_class, record.rules)

    def rows(self, damaged: Set[Path] = frozenset()) -> Iterator[dict[str, Any]]:
        """Every row as it is stored, for `verify`; one block of vectors in memory at a time.

        PROBLEM says what is wrong with a row as far as its digest tells. Rows of damaged files come without vectors,
        and with few other columns if they cannot be read.

        Args:
            damaged: files that are known to be.
        """
        columns = [name for name in self._schema.names if name != "vectors"]
        for fragment in self._fragments():
            read = 0
            if damaged.isdisjoint(files_of_fragment(self.uri, fragment)):
                try:
                    with panics_are_damage():
                        for batch in fragment.to_batches(columns=[*columns, "vectors"], batch_size=8):
                            problems = self._problems(batch)
                            for row, problem in zip(batch.to_pylist(), problems, strict=True):
                                yield row | {PROBLEM: problem}
                            read += len(batch)
                    continue
                except DAMAGE as error:
                    if not (self._has_digests and is_about_a_row(error)):
                        with self._damage_is_an_error():
                            raise
            yield from self._salvage(fragment)[read:]

    def _problems(self, rows: pa.Table | pa.RecordBatch) -> list[str]:
        """What is wrong with each row as far as its digest tells; rows with the columns DIGESTED and `digest`."""
        if not self._has_digests:
            return [""] * len(rows)
        written = rows["digest"].to_pylist()
        return [
            NO_DIGEST if theirs is None else "" if theirs == ours else OTHER_DIGEST
            for theirs, ours in zip(written, digests_of(rows), strict=True)
        ]

    def _present(self, columns: Sequence[str]) -> list[str]:
        return [name for name in columns if name in self._schema.names]

    def _fragments(self, unsound: Collection[int] = ()) -> list[Any]:
        """The parts of this version, without those given."""
        return [fragment for fragment in self._dataset.get_fragments() if fragment.fragment_id not in unsound]

    def _scan(self, **options: Any) -> pa.Table:
        """What the sound parts of this version hold."""
        unsound = self._salvaged_parts()
        with self._damage_is_an_error():
            if unsound:
                options["fragments"] = self._fragments(unsound)
                if not options["fragments"]:
                    return self._schema.empty_table().select(options["columns"])
            return self._dataset.scanner(**options).to_table()

    def _salvaged_rows(self) -> list[dict[str, Any]]:
        """The rows of the parts that are not sound, without vectors; `damaged` names their videos if they are not."""
        return [row for rows in self._salvaged_parts().values() for row in rows]

    def _salvaged_parts(self) -> dict[int, list[dict[str, Any]]]:
        if self._salvaged is None:
            unsound = self._unsound()
            self._salvaged = {
                fragment.fragment_id: self._salvage(fragment)
                for fragment in self._fragments()
                if fragment.fragment_id in unsound
            }
            for row in self._salvaged_rows():
                if row[PROBLEM]:
                    self._is_damaged(row["id"], row[PROBLEM])
            remedy = f"`{repair_command(self.uri.parent)}` mends it"
            problem = f"{OTHER_DIGEST}: what is listed of its videos may be wrong; {remedy}"
            self.damaged |= dict.fromkeys(unsound.values(), problem)
        return self._salvaged

    def _unsound(self) -> dict[int, str]:
        """The parts of this version that have a file which is not what was written beside the vectors, and its name."""
        if not self._has_digests:
            return {}
        unsound: dict[int, str] = {}
        with self._damage_is_an_error():
            for fragment in self._dataset.get_fragments():
                for path in files_of_fragment(self.uri, fragment):
                    if not self._is_sound(path):
                        unsound[fragment.fragment_id] = self._sums.name(path)
        return unsound

    def _is_sound(self, path: Path) -> bool:
        """Whether a file is what was written as far as it is read at opening; one without a sum is believed."""
        if path not in self._verdicts:
            known = self._sums.of(path) if self._has_digests else None
            if known is None:
                return True
            self._verdicts[path] = known.fits_quickly(path)
        return self._verdicts[path]

    def _salvage(self, fragment: Any) -> list[dict[str, Any]]:
        """The rows of a part that is not sound; raises LibraryError if there is one that cannot be told whose it is."""
        deletions = fragment.deletion_file()
        with self._damage_is_an_error():
            if deletions and not self._is_sound(self.uri / deletions):
                raise ValueError(f"{self._sums.name(self.uri / deletions)} {OTHER_DIGEST}")
            rows = salvaged_rows(self.uri, self.version, fragment)
            unknown = sum("id" not in row or row["id"] is None for row in rows)
            if unknown:
                name = self._sums.name(files_of_fragment(self.uri, fragment)[0])
                raise ValueError(
                    f"{unknown} of {len(rows)} rows of {name} cannot be read, nor which videos they are of"
                )
        return rows

    def _is_damaged(self, id: str, problem: str) -> None:
        remedy = f"`{repair_command(self.uri.parent)}` mends it, or says how to encode its file again"
        self.damaged.setdefault(id, f"its row in the library {problem}; {remedy}")

    def _sound_rows(self, rows: Mapping[int, str], columns: list[str] | None = None) -> dict[int, Mapping[str, Any]]:
        """Rows by their place in the table; the videos of those that are not what was written are in `damaged`.

        Args:
            rows: place -> id of the video.
            columns: with DIGESTED; None: all.
        """
        found: dict[int, Mapping[str, Any]] = {}
        with self._damage_is_an_error():
            for offsets, table in self._takes(rows, columns):
                for offset, row, problem in zip(offsets, by_row(table), self._problems(table), strict=True):
                    if problem:
                        self._is_damaged(rows[offset], problem)
                    else:
                        found[offset] = row
        return found

    def _takes(self, rows: Mapping[int, str], columns: list[str] | None) -> Iterator[tuple[list[int], pa.Table]]:
        """The rows in as few pieces as they can be read in: one, unless Lance cannot make sense of one of them."""
        offsets = sorted(rows)
        try:
            yield offsets, self._take(offsets, columns)
            return
        except DAMAGE as error:
            if not (self._has_digests and is_about_a_row(error)):
                raise
        for offset in offsets:
            try:
                yield [offset], self._take([offset], columns)
            except DAMAGE as error:
                if not is_about_a_row(error):
                    raise
                self._is_damaged(rows[offset], UNREADABLE)

    def _take(self, offsets: list[int], columns: list[str] | None) -> pa.Table:
        with panics_are_damage():
            return self._dataset.take(offsets, columns=columns)

    @contextmanager
    def _damage_is_an_error(self) -> Iterator[None]:
        try:
            with panics_are_damage():
                yield
        except DAMAGE as error:
            if self._is_superseded():
                raise self._version_gone() from error
            raise LibraryError(f"{self.uri}: the table is damaged ({reason_of(error)}); {_remedy(self.uri)}") from error

    def _version_gone(self) -> VersionGoneError:
        return VersionGoneError(
            f"{self.uri}: version {self.version} was compacted away while it was read; open the library again"
        )

    def _is_superseded(self) -> bool:
        """Whether there is a newer version, or the whole generation was removed."""
        return not self.uri.exists() or newest_version(self.uri) != self.version

    def _rows_of(self) -> dict[str, list[tuple[int, int]]]:
        """Position and vector bytes of every row of every video, in stretch order; positions hold for this version."""
        if self._layout is None:
            rows: dict[str, list[tuple[int, int, int]]] = {}
            for offset, row in self._placed_rows():
                rows.setdefault(row["id"], []).append((row["stretch"], offset, row["vector_bytes"]))
            self._layout = {id: [(o, size) for _, o, size in sorted(found)] for id, found in rows.items()}
        return self._layout

    def _placed_rows(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Position, id, stretch and vector bytes of every row that can be read."""
        columns = ["id", "stretch", "vector_bytes"]
        salvaged = self._salvaged_parts()
        if not salvaged:
            yield from enumerate(self._scan(columns=columns).to_pylist())
            return
        start = 0
        for fragment in self._fragments():
            if fragment.fragment_id in salvaged:
                rows = [row for row in salvaged[fragment.fragment_id] if not row[PROBLEM]]
                yield from ((start + row[ROW], row) for row in rows)
            else:
                with self._damage_is_an_error():
                    yield from enumerate(fragment.to_table(columns=columns).to_pylist(), start)
            start += fragment.metadata.num_rows

    def _pieces(self, block: list[tuple[int, int, str, bool]]) -> list[VectorPiece]:
        columns = (
            [*DIGESTED, "digest"] if self._has_digests else ["id", "num_frames", "num_regions", "packed", "vectors"]
        )
        rows = self._sound_rows({offset: video for offset, _, video, _ in block if video not in self.damaged}, columns)
        return [
            VectorPiece(video, vectors_of(rows[offset]["vectors"].as_buffer(), rows[offset]), is_last)
            for offset, _, video, is_last in block
            if video not in self.damaged
        ]

    # --- writing; the caller holds the writer lock ---------------------------------------------------------------

    def append(self, videos: Sequence[StoredVideo]) -> None:
        """Insert whole videos that are not in the table, in one commit. Nothing of the table is read for it."""
        if videos:
            lance.write_dataset(self._to_write(videos), self._same_version(), mode="append")
            self._committed()

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
            self._committed()

    def _to_write(self, videos: Sequence[StoredVideo]) -> pa.RecordBatchReader:
        """Their rows, one at a time."""
        ids = [video.id for video in videos]
        if len(set(ids)) != len(ids):
            raise ValueError("a video may be written once a commit")
        schema = table_schema(self._dim)
        batches = (record_batch(row, schema) for video in videos for row in rows_of(video, STRETCH_FRAMES))
        return pa.RecordBatchReader.from_batches(schema, batches)

    def update_files(self, files: dict[str, FileFacts]) -> None:
        """New path, size and time of videos whose content stays, in one commit; vectors are not rewritten."""
        facts = list(files.values())
        self._update_columns(
            {
                "id": pa.array(files, pa.string()),
                "path": pa.array([file.path for file in facts], pa.string()),
                "root": pa.array([file.root for file in facts], pa.string()),
                "size_bytes": pa.array([file.size_bytes for file in facts], pa.int64()),
                "mtime_ns": pa.array([file.mtime_ns for file in facts], pa.int64()),
            }
        )

    def update_rules(self, rules: Mapping[str, int]) -> None:
        """The version of the reading rules that videos are known to fit, in one commit; vectors are not rewritten."""
        self._update_columns(
            {"id": pa.array(rules, pa.string()), "rules": pa.array(list(rules.values()), pa.int32())},
        )

    def _update_columns(self, changes: Mapping[str, pa.Array]) -> None:
        """New values of columns that no digest is over, by id; ids that are not there are passed over."""
        table = pa.table(dict(changes))
        fragments: list[Any] = []
        modified: list[int] = []
        for fragment in self._same_version().get_fragments() if len(table) else ():
            ids = fragment.to_table(columns=["id"])["id"]
            touched = table.filter(pc.is_in(table["id"], ids.combine_chunks()))
            if len(touched):
                metadata, modified = fragment.update_columns(touched, left_on="id", right_on="id")
                fragments.append(metadata)
        if fragments:
            operation = lance.LanceOperation.Update(
                updated_fragments=fragments, fields_modified=modified, update_mode="rewrite_columns"
            )
            lance.LanceDataset.commit(self._dataset.uri, operation, read_version=self.version)
            self._committed()

    def delete(self, ids: Sequence[str]) -> None:
        """Remove videos in one commit."""
        if ids:
            self._same_version().delete(_id_filter(ids))
            self._committed()

    def compact(self) -> None:
        """Gather the rows of many commits into few files, without those that were replaced; forget older versions.

        A reader of an older version is told so by a `VersionGoneError`.
        """
        flush_folder(self.uri)
        self.forget_older_versions()  # twice: on a full disk it makes room for what comes next
        with self._damage_is_an_error():
            self._same_version().optimize.compact_files(
                target_rows_per_fragment=FRAGMENT_ROWS,
                batch_size=1,  # Lance reads many batches ahead; a row has up to 19 MB
                num_threads=1,
            )
        self._committed()
        flush_folder(self.uri)
        self.forget_older_versions()

    def forget_older_versions(self) -> None:
        """Remove their files, and their sums; the caller has seen the newest one on the disk."""
        dataset = lance.dataset(self._dataset.uri, version=self.version)
        dataset.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)  # no other writer is at work
        self._sums.forget_missing()

    def _committed(self) -> None:
        """Move to the version that was just written, and note down what its files are."""
        self.refresh()
        self.note_files()

    def note_files(self) -> None:
        """Bring in the sums and copies that are lacking: of this commit, and of a write that was interrupted.

        Files are seen on the disk before their sums: a sum that outlives its file says that a version is lost.
        """
        known, table = self._sums.by_name, self.uri.name
        new = [self.uri / name for name in immutable_files(self.uri) if f"{table}/{name}" not in known]
        flush_files(new, below=self.uri)
        columns = vector_columns(self._dataset) if new else {}
        self._sums.add({path: row_file_sum(path, columns) for path in new})
        keep_copies(self._sums, self.uri, self.files())

    def check_writable(self) -> None:
        """Raises LibraryError if a file of rows is damaged: what a commit keeps of it would be a guess."""
        for name in self._unsound().values():
            raise LibraryError(f"{self.uri}: the table is damaged ({name} {OTHER_DIGEST}); {_remedy(self.uri)}")

    def _same_version(self) -> lance.LanceDataset:
        """A handle to write with: Lance moves it to the version it writes, and `refresh` must see the step."""
        self.check_writable()
        return lance.dataset(self._dataset.uri, version=self.version)


def _id_filter(ids: Sequence[str]) -> str:
    quoted = ", ".join("'" + id.replace("'", "''") + "'" for id in ids)
    return f"id IN ({quoted})"


def _remedy(uri: Path) -> str:
    return f"`{repair_command(uri.parent)}` saves what can be read"

"""Single bits that turn on the disk: whoever reads them notices, the rest of the library goes on, a repair mends it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pytest

import visil.library.lance_files as lance_files
from tests.library.made import as_format_2, encoded_video
from visil.errors import LibraryError
from visil.evaluation.ground_truth import GroundTruth, Task
from visil.evaluation.library_scores import LibraryScores
from visil.library.files import content_hash
from visil.library.lance_files import manifests, newest_version
from visil.library.library import Library
from visil.library.reindexing import PENDING, begin
from visil.library.repairing import repair_library
from visil.library.salvaging import PROBLEM, salvaged_rows
from visil.library.second import SECOND
from visil.library.settings import BUNDLE, SETTINGS, TABLE, read_settings
from visil.library.store import FAILED, OK, DamagedVideoError, FileFacts, Store, StoredVideo, VersionGoneError
from visil.library.sums import SUMS, FileSum, Sums
from visil.model.model import Model

FRAMES = {"a": 40, "b": 30, "c": 35, "d": 3}
OTHER_FILE = "e"  # in a commit of its own
EMPTY_SHA256 = hashlib.sha256().hexdigest()


def mends(path: Path) -> str:
    return f"`visil verify --repair --library {path}` mends it, or says how to encode its file again"


@pytest.fixture
def path(tmp_path: Path, quick_model: Model) -> Path:
    """Videos a to d and one that failed in one file of rows, e in another; the files that they stand for are there."""
    library = Library.create(tmp_path / "library", quick_model)
    store = Store(library.path / TABLE, quick_model.dim)
    videos = []
    for seed, (id, num_frames) in enumerate({**FRAMES, OTHER_FILE: 20}.items()):
        file = tmp_path / f"{id}.mp4"
        file.write_text(id)
        facts = FileFacts(str(file), file.stat().st_size, file.stat().st_mtime_ns, content_hash(file))
        videos.append(StoredVideo(id, facts, encoded_video(num_frames, seed=seed, dim=quick_model.dim, num_regions=9)))
    (tmp_path / "failed.mp4").touch()
    nothing = FileFacts(str(tmp_path / "failed.mp4"), 0, (tmp_path / "failed.mp4").stat().st_mtime_ns, EMPTY_SHA256)
    store.append([*videos[:-1], StoredVideo("failed", nothing, None, "empty file", "empty_file")])
    store.append(videos[-1:])
    return library.path


def of(path: Path, id: str) -> StoredVideo:
    return Store(path / TABLE, 128).read(id)


def file_of(path: Path, id: str) -> Path:
    """The file of rows that holds a video."""
    for fragment in lance.dataset(str(path / TABLE)).get_fragments():
        if id in fragment.to_table(columns=["id"])["id"].to_pylist():
            return path / TABLE / "data" / fragment.data_files()[0].path
    raise AssertionError(id)


def turn(file: Path, place: int | bytes, bit: int = 3) -> None:
    """Turn a bit of the byte there, or in the middle of these bytes, and leave size and time as they are."""
    content = bytearray(file.read_bytes())
    offset = place if isinstance(place, int) else content.index(place) + len(place) // 2
    content[offset] ^= 1 << bit
    status = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def turn_vectors(path: Path, id: str) -> None:
    turn(file_of(path, id), of(path, id).encoded.region_vectors.vectors.tobytes())


def turn_descriptors(path: Path, id: str) -> None:
    turn(file_of(path, id), of(path, id).encoded.descriptors.tobytes())


def repaired_with_the_copy_moved_into_place(path: Path, name: str) -> Library:
    """As a message about a copy that no sum vouches for says."""
    (path / SECOND / name).replace(path / name)
    repair_library(path)
    library = Library.open(path, device="cpu")
    assert library.verify() == []
    return library


def found_by(library: Library, query: str) -> dict[str, float]:
    return {match.video: match.score for match in library.search(f"id:{query}", rerank="all")}


class TestASearch:
    @pytest.mark.parametrize("turned", [turn_vectors, turn_descriptors])
    def test_leaves_the_damaged_video_out_names_it_and_gives_the_others_what_they_had(self, path, turned):
        before = found_by(Library.open(path, device="cpu"), "a")
        turned(path, "b")
        library = Library.open(path, device="cpu")
        (result,) = library.search_many(["id:a"], rerank="all")
        found = {match.video: match.score for match in result.matches}
        assert found == pytest.approx({id: score for id, score in before.items() if id != "b"}, abs=1e-6)
        assert dict(result.damaged)["b"] == f"its row in the library is not what was written; {mends(path)}"
        assert library.damaged["b"] == dict(result.damaged)["b"]

    def test_for_one_query_logs_that_a_video_was_left_out(self, path, caplog):
        turn_vectors(path, "b")
        library = Library.open(path, device="cpu")
        library.search("id:a", rerank="all")
        (said,) = caplog.messages
        number, (id, reason) = len(library.damaged), min(library.damaged.items())
        assert "b" in library.damaged
        assert said == f"library {path}: {number} damaged and left out, as {id}: {reason}; see `Library.damaged`"

    @pytest.mark.parametrize("turned", [turn_vectors, turn_descriptors])
    def test_for_the_damaged_video_itself_is_an_error(self, path, turned):
        turned(path, "b")
        library = Library.open(path, device="cpu")
        (result,) = library.search_many(["id:b"])
        assert result.error == f"video 'b': its row in the library is not what was written; {mends(path)}"
        with pytest.raises(DamagedVideoError, match="video 'b': its row in the library is not what was written"):
            library.encoded("b")

    def test_leaves_out_a_video_whose_length_lance_cannot_make_sense_of(self, path):
        before = found_by(Library.open(path, device="cpu"), "a")
        file, vectors = file_of(path, "b"), of(path, "b").encoded.region_vectors.vectors.tobytes()
        turn(file, file.read_bytes().index(vectors) - 2, bit=6)  # of the 8 bytes that say how long they are
        library = Library.open(path, device="cpu")
        found = found_by(library, "a")
        assert found == pytest.approx({id: score for id, score in before.items() if id != "b"}, abs=1e-6)
        assert library.damaged == {"b": f"its row in the library cannot be read; {mends(path)}"}
        assert {finding.id for finding in library.verify() if finding.damage} == {"b", f"{TABLE}/data/{file.name}"}
        assert repair_library(path) and found_by(Library.open(path, device="cpu"), "a") == pytest.approx(
            found, abs=1e-6
        )

    def test_that_needs_no_vectors_of_it_does_not_look(self, path):
        (best,) = Library.open(path, device="cpu").search("id:a", rerank=1, top=1)
        turn_vectors(path, "b" if best.video == "c" else "c")
        (result,) = Library.open(path, device="cpu").search_many(["id:a"], rerank=1, top=1)
        assert (result.matches, result.damaged) == ([best], ())

    def test_goes_on_where_a_long_video_is_damaged_in_its_second_stretch(self, path, quick_model, monkeypatch):
        monkeypatch.setattr("visil.library.store.STRETCH_FRAMES", 20)
        monkeypatch.setattr("visil.library.fine.BLOCK_BYTES", 1)  # its first stretch has been compared by then
        file = replace(of(path, "a").file, sha256="f" * 64)
        long = StoredVideo("long", file, encoded_video(50, seed=9, dim=quick_model.dim, num_regions=9))
        Store(path / TABLE, quick_model.dim).append([long])
        turn(file_of(path, "long"), long.encoded.region_vectors.vectors[20:40].tobytes())
        library = Library.open(path, device="cpu")
        assert "long" not in found_by(library, "a") and "b" in found_by(library, "a")
        assert list(library.damaged) == ["long"]

    def test_names_a_file_that_is_damaged_beside_what_has_digests(self, path):
        before = found_by(Library.open(path, device="cpu"), "a")
        file = file_of(path, "a")
        turn(file, str(path.parent / "b.mp4").encode())  # what the video is called, and nothing else
        library = Library.open(path, device="cpu")
        (result,) = library.search_many(["id:a"], rerank="all")
        assert {match.video: match.score for match in result.matches} == pytest.approx(before, abs=1e-6)
        told = (
            "is not what was written: what is listed of its videos may be wrong; "
            f"`visil verify --repair --library {path}` mends it"
        )
        assert result.damaged == ((f"{TABLE}/data/{file.name}", told),)

    @pytest.mark.parametrize("from_end", [1, 5, 20, 36, 60, 300])
    def test_goes_on_without_a_file_of_which_nothing_can_be_read_or_says_that_it_cannot(self, path, from_end):
        file = file_of(path, OTHER_FILE)
        turn(file, file.stat().st_size - from_end)
        library = Library.open(path, device="cpu")
        try:
            (result,) = library.search_many(["id:a"], rerank="all")
            assert f"{TABLE}/data/{file.name}" in dict(result.damaged)
        except LibraryError as error:
            assert "the table is damaged (1 of 1 rows of " in str(error)


class TestOtherReads:
    def test_a_list_shows_what_a_damaged_file_does_to_its_videos(self, path):
        turn_descriptors(path, "b")
        records = {record.id: record for record in Library.open(path, device="cpu").list()}
        assert {id: record.status for id, record in records.items()} == {
            **dict.fromkeys("acde", OK), "b": FAILED, "failed": FAILED,
        }  # fmt: skip
        assert records["b"].reason.startswith("its row in the library is not what was written")
        assert records["b"].file.path == str(path.parent / "b.mp4")

    @pytest.mark.parametrize("turned", [turn_vectors, turn_descriptors])
    def test_an_evaluation_counts_a_damaged_video_as_unreadable_with_its_reason(self, path, turned):
        truth = GroundTruth("set", ("a", "b"), ("c", "b", "d"), (Task("T", {"a": frozenset("c")}),))
        turned(path, "b")
        scores = LibraryScores(Library.open(path, device="cpu"), truth)
        assert [(query.query, sorted(query.videos)) for query in scores] == [("a", ["c", "d"])]
        assert "b" not in scores.available
        assert dict(scores.unreadable)["b"].startswith("its row in the library is not what was written")

    def test_a_read_finds_nothing_wrong_with_what_is_whole(self, path):
        library = Library.open(path, device="cpu")
        for id in "acde":
            found_by(library, id)
        assert library.damaged == {} and library.verify() == []

    @pytest.mark.parametrize(
        "write",
        [
            lambda library: library.remove("a"),
            lambda library: library.compact(),
            lambda library: library.add([library.path.parent], workers=1),
        ],
        ids=["remove", "compact", "add"],
    )
    def test_nothing_is_written_over_a_damaged_file_of_rows(self, path, write: Callable[[Library], object]):
        library = Library.open(path, device="cpu")
        turn_descriptors(path, "b")
        with pytest.raises(
            LibraryError, match=r"the table is damaged \(.*\.lance is not what was written\); `visil ver"
        ):
            write(Library.open(path, device="cpu"))
        assert library.version == newest_version(path / TABLE)

    def test_a_copy_of_a_damaged_video_is_encoded_instead(self, tmp_path, quick_model, clips, monkeypatch):
        monkeypatch.setattr("visil.library.lance_files.BULK_BYTES", 1024)  # a clip has 7 kB of vectors
        library = Library.create(tmp_path / "library", quick_model)
        library.add([clips / "clip_0.mp4"], workers=1)
        turn_vectors(library.path, "clip_0.mp4")
        (clips / "copy.mp4").write_bytes((clips / "clip_0.mp4").read_bytes())
        assert library.add([clips / "copy.mp4"], workers=1).added == ["copy.mp4"]
        assert library.encoded("copy.mp4").has_content


class TestOtherFiles:
    def test_a_version_that_is_not_what_was_written_is_not_opened(self, path):
        turn(manifests(path / TABLE)[newest_version(path / TABLE)], 100)
        with pytest.raises(
            LibraryError, match=r"version 3 is damaged \(.*manifest is not what was written\); `visil ver"
        ):
            Library.open(path, device="cpu")
        shutil.rmtree(path / SECOND)
        with pytest.raises(LibraryError, match="version 3 of the table is damaged; version 2 holds 5 videos"):
            repair_library(path)

    def test_a_version_over_which_lance_panics_is_damage_even_without_a_sum(self, path):
        (path / SUMS).unlink()
        shutil.rmtree(path / SECOND)
        turn(manifests(path / TABLE)[newest_version(path / TABLE)], b"large_binary")
        cannot_be_read = rf"the table cannot be read \(.+\); `visil verify --repair --library {path}` saves"
        with pytest.raises(LibraryError, match=cannot_be_read):
            Library.open(path, device="cpu")
        with pytest.raises(LibraryError, match="version 3 of the table is damaged; version 2 holds 5 videos"):
            repair_library(path)

    def test_an_older_version_is_named_by_verify_and_harms_nobody(self, path):
        manifest = manifests(path / TABLE)[2]
        turn(manifest, 100)
        (finding,) = Library.open(path, device="cpu").verify()
        assert (finding.damage, finding.problem) == (False, "is not what was written, but nothing needs it now")
        assert finding.id == f"{TABLE}/_versions/{manifest.name}"

    def test_rows_that_were_deleted_do_not_come_back(self, path):
        Library.open(path, device="cpu").remove("a")
        (deletions,) = (path / TABLE / "_deletions").iterdir()
        content = deletions.read_bytes()
        for offset in range(0, len(content), 7):
            turn(deletions, offset)
            with pytest.raises(LibraryError, match=r"_deletions/.* is not what was written"):
                Library.open(path, device="cpu").list()
            deletions.write_bytes(content)

    @pytest.mark.parametrize("lost", ["a bit", "the file", "the file and its sum"])
    def test_where_it_is_not_known_which_rows_were_deleted_none_is_given_up_unasked(self, path, lost):
        Library.open(path, device="cpu").remove("a")
        Store(path / TABLE, 128).put([of(path, "b")])
        newer = Store(path / TABLE, 128).read("b").encoded.region_vectors.vectors
        deletions = max((path / TABLE / "_deletions").iterdir(), key=lambda file: file.stat().st_mtime_ns)
        shutil.rmtree(path / SECOND)
        turn(deletions, 300) if lost == "a bit" else deletions.unlink()
        if lost == "the file and its sum":
            (path / SUMS).unlink()
        data = {file: file.read_bytes() for file in (path / TABLE / "data").iterdir()}
        asked = (
            r"3 of 3 rows in damaged files of the table \(1\) cannot be saved, since nobody knows which videos they "
            r"were, or which were deleted: `visil verify --repair --drop-rows 3 --library .*` gives them"
        )
        with pytest.raises(LibraryError, match=asked):
            repair_library(path)
        assert data == {file: file.read_bytes() for file in (path / TABLE / "data").iterdir()}
        (done, *_) = repair_library(path, drop_rows=3)
        assert done == "damaged files of the table replaced: 1; 3 of 3 rows of them are lost, as agreed"
        library = Library.open(path, device="cpu")
        assert not any(finding.damage for finding in library.verify())
        assert "a" not in {record.id for record in library.list()}, "it was removed"
        assert np.array_equal(library.encoded("b").region_vectors.vectors, newer)

    @pytest.mark.parametrize("harm", [lambda file: file.unlink(), lambda file: file.write_bytes(b"nothing")])
    def test_deletions_are_taken_by_hand_from_a_copy_that_no_sum_vouches_for(self, path, harm):
        Library.open(path, device="cpu").remove("a")
        (deletions,) = (path / TABLE / "_deletions").iterdir()
        harm(deletions)
        (path / SUMS).unlink()
        name = f"{TABLE}/_deletions/{deletions.name}"
        with pytest.raises(LibraryError, match=rf"the copy {SECOND}/{name} has no sum .*: moved to {name} it is taken"):
            repair_library(path)
        library = repaired_with_the_copy_moved_into_place(path, name)
        assert [record.id for record in library.list()] == [*"bcde", "failed"]

    @pytest.mark.parametrize("place", [b"mini", b"time", b"format_version = 3", b"videos.lance"])
    def test_settings_are_not_believed(self, path, place):
        settings = path / SETTINGS
        turn(settings, place if place in settings.read_bytes() else b"quick", bit=0)
        with pytest.raises(LibraryError):
            Library.open(path, device="cpu")

    def test_settings_that_can_be_read_are_taken_as_they_are_by_a_repair(self, path):
        turn(path / SETTINGS, b"quick", bit=0)
        shutil.rmtree(path / SECOND)
        with pytest.raises(
            LibraryError, match=r"library\.toml: is not what was written; restore it from a copy, or `vi"
        ):
            Library.open(path, device="cpu")
        assert repair_library(path) == ["library.toml is not what was written: what is left is taken as it is"]
        assert Library.open(path, device="cpu").verify() == []

    def test_the_bundle_is_noticed_by_its_own_hash(self, path):
        turn(path / BUNDLE, (path / BUNDLE).stat().st_size - 1000)
        with pytest.raises(LibraryError, match="its bundle is unusable"):
            Library.open(path, device="cpu")

    @pytest.mark.parametrize("place", range(0, 1200, 97))
    def test_the_sums_are_not_believed_where_they_are_damaged(self, path, place):
        turn(path / SUMS, place)
        library = Library.open(path, device="cpu")
        assert set(found_by(library, "a")) == set("bcde")
        findings = library.verify()
        assert findings and not any(finding.damage for finding in findings)
        library.remove("d")
        assert library.verify() == []

    def test_what_nobody_reads_is_named_by_verify(self, path):
        transaction = next((path / TABLE / "_transactions").iterdir())
        turn(transaction, 20)
        (finding,) = Library.open(path, device="cpu").verify()
        assert (finding.id, finding.damage) == (f"{TABLE}/_transactions/{transaction.name}", False)

    def test_what_is_noted_of_the_newest_version_is_not_asked(self, path):
        (path / TABLE / "_versions/latest_version_hint.json").write_text('{"version":2}')
        assert Library.open(path, device="cpu").version == 3


class TestVerifyAndRepair:
    @pytest.mark.parametrize("turned", [turn_vectors, turn_descriptors])
    def test_the_video_and_the_file_are_named(self, path, turned):
        file = file_of(path, "b")
        turned(path, "b")
        findings = Library.open(path, device="cpu").verify()
        assert [(finding.id, finding.problem, finding.damage) for finding in findings] == [
            (f"{TABLE}/data/{file.name}", "is not what was written", True),
            ("b", "stretch 0 is not what was written", True),
        ]

    @pytest.mark.parametrize("turned", [turn_vectors, turn_descriptors])
    def test_a_repair_without_copies_makes_the_video_a_failure_and_keeps_the_others(self, path, turned):
        whole = {id: of(path, id).encoded.region_vectors.vectors for id in "acde"}
        turned(path, "b")
        shutil.rmtree(path / SECOND)
        assert repair_library(path)
        library = Library.open(path, device="cpu")
        assert {record.id: record.status for record in library.list()}["b"] == FAILED
        assert library.record("b").file.path == str(path.parent / "b.mp4")
        assert [finding.id for finding in library.verify() if finding.damage] == []
        for id, vectors in whole.items():
            np.testing.assert_array_equal(library.encoded(id).region_vectors.vectors, vectors)
        assert library.damaged == {} and repair_library(path) == []

    def test_a_length_that_lance_would_believe_costs_one_video_and_no_memory(self, path):
        """Values that are compressed say how long they will be; 2^62 bytes were asked for, and the process ended."""
        as_format_2(path)
        (fragment, *_) = lance.dataset(str(path / TABLE)).get_fragments()
        file = path / TABLE / "data" / fragment.data_files()[0].path
        size = of_format_2(path, "a").encoded.region_vectors.vectors.nbytes.to_bytes(8, "little")
        at = file.read_bytes().index(size + b"\x28\xb5\x2f\xfd")  # the magic number of zstd
        turn(file, at + 7, bit=6)
        rows = salvaged_rows(path / TABLE, lance.dataset(str(path / TABLE)).version, fragment)
        assert [(row["id"], row["_problem"]) for row in rows] == [("a", "cannot be read"), ("b", "has no digest")]
        assert repair_library(path)
        assert {record.id: record.status for record in Library.open(path, device="cpu").list()} == {
            "a": FAILED, **dict.fromkeys("bcde", OK), "failed": FAILED,
        }  # fmt: skip


def of_format_2(path: Path, id: str) -> StoredVideo:
    return Store(path / TABLE, 128, has_digests=False).read(id)


class TestALostVersion:
    """The newest manifest is gone: what came with it must not vanish without a word."""

    @pytest.fixture
    def lost(self, path) -> Path:
        manifest = manifests(path / TABLE)[3]
        manifest.unlink()
        return manifest

    def test_is_damage_to_whoever_opens_the_library_or_reads_on(self, path):
        readers = [Library.open(path, device="cpu"), Library(path, read_settings(path), Library.open(path).model)]
        manifest = manifests(path / TABLE)[3]
        manifest.unlink()
        told = (
            rf"videos\.lance: version 3 is lost \(videos\.lance/_versions/{manifest.name} is gone\); "
            rf"`visil verify --repair --library {path}` saves what can be read"
        )
        for read in (lambda: Library.open(path, device="cpu"), readers[0].refresh, lambda: readers[1].search("id:a")):
            with pytest.raises(LibraryError, match=told):
                read()

    def test_is_put_back_from_its_copy(self, path, lost):
        assert repair_library(path) == [f"{TABLE}/_versions/{lost.name} was gone: its second copy is put back"]
        library = Library.open(path, device="cpu")
        assert (library.version, library.verify()) == (3, [])
        assert [record.id for record in library.list()] == [*"abcde", "failed"]

    def test_without_a_copy_is_given_up_only_when_told(self, path, lost):
        shutil.rmtree(path / SECOND)
        asked = (
            "version 3 of the table is lost; version 2 holds 5 videos: `visil verify --repair --to-version 2 --library "
        )
        for _ in range(2):
            with pytest.raises(LibraryError, match=asked):
                repair_library(path)
        (done,) = repair_library(path, to_version=2)
        assert done == "went back from version 3 to 2, which holds 5 videos; what came later is lost"
        library = Library.open(path, device="cpu")
        assert (library.version, library.verify()) == (2, [])

    @pytest.fixture(params=["sums gone", "last seal damaged"])
    def lost_with_its_sum(self, request, path, lost) -> Path:
        if request.param == "sums gone":
            (path / SUMS).unlink()
        else:
            content = (path / SUMS).read_bytes()
            turn(path / SUMS, content.rindex(b"# seal") + 10)
        return lost

    def test_is_known_by_its_copy_if_its_sum_is_lost_too(self, path, lost_with_its_sum):
        name = f"{TABLE}/_versions/{lost_with_its_sum.name}"
        with pytest.raises(LibraryError, match=rf"version 3 is lost \({name} is gone\); `visil verify --repair"):
            Library.open(path, device="cpu")
        asked = (
            rf"version 3 of the table is lost; version 2 holds 5 videos: .*; the copy {SECOND}/{name} has no sum that "
            rf"vouches for it: moved to {name} it is taken as it is"
        )
        with pytest.raises(LibraryError, match=asked):
            repair_library(path)
        library = repaired_with_the_copy_moved_into_place(path, name)
        assert library.version == 3
        assert [record.id for record in library.list()] == [*"abcde", "failed"]

    def test_the_only_one_is_taken_by_hand_from_its_copy_if_its_sum_is_lost_too(self, path):
        Library.open(path, device="cpu").compact()
        (manifest,) = (path / TABLE / "_versions").glob("*.manifest")
        manifest.unlink()
        (path / SUMS).unlink()
        name = f"{TABLE}/_versions/{manifest.name}"
        asked = (
            rf"no version of the table can be opened; .*; the copy {SECOND}/{name} has no sum that vouches for it: "
            rf"moved to {name} it is taken as it is"
        )
        with pytest.raises(LibraryError, match=asked):
            repair_library(path)
        library = repaired_with_the_copy_moved_into_place(path, name)
        assert [record.id for record in library.list()] == [*"abcde", "failed"]

    def test_that_a_copy_tells_of_is_given_up_only_when_told(self, path, lost_with_its_sum):
        copy = path / SECOND / lost_with_its_sum.relative_to(path)
        repair_library(path, to_version=2)
        assert not copy.exists()
        library = Library.open(path, device="cpu")
        assert (library.version, library.verify()) == (2, [])
        library.remove("a")
        assert (library.version, copy.exists()) == (3, True)

    def test_stays_lost_when_giving_it_up_is_cut_off(self, path, lost, monkeypatch):
        shutil.rmtree(path / SECOND)
        with monkeypatch.context() as killed:
            killed.setattr(Sums, "forget", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                repair_library(path, to_version=2)
        with pytest.raises(LibraryError, match="version 3 is lost"):
            Library.open(path, device="cpu")
        assert repair_library(path, to_version=2)

    def test_is_none_that_a_network_drive_lists_a_while_later(self, path, quick_model, monkeypatch):
        reader = Library.open(path, device="cpu")
        before = [manifest.name for manifest in manifests(path / TABLE).values()]
        Library.open(path, device="cpu").remove("e")
        names = lance_files._names
        monkeypatch.setattr(lance_files, "_names", lambda place: before if place.name == "_versions" else names(place))
        reader.refresh()
        for library in (reader, Library.open(path, device="cpu")):
            assert (library.version, library.verify()) == (4, [])
            assert [record.id for record in library.list()] == [*"abcd", "failed"]

    def test_is_none_if_all_of_the_table_was_left_behind(self, path, quick_model):
        store = Store(path / TABLE, quick_model.dim)
        shutil.rmtree(path / TABLE)
        with pytest.raises(VersionGoneError):
            store.refresh()

    def test_is_none_if_a_commit_was_cut_off_before_its_sums(self, path, quick_model, monkeypatch):
        store = Store(path / TABLE, quick_model.dim)
        with monkeypatch.context() as killed:
            killed.setattr(Store, "note_files", lambda self: None)
            store.delete(["e"])
        assert Library.open(path, device="cpu").version == 4

    def test_is_none_if_compacting_was_cut_off_before_it_forgot_what_it_removed(self, path, monkeypatch):
        library = Library.open(path, device="cpu")
        with monkeypatch.context() as killed:
            killed.setattr(Sums, "forget_missing", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                library.compact()
        assert 2 in Sums(path).manifests(path / TABLE) and 2 not in manifests(path / TABLE)
        again = Library.open(path, device="cpu")
        assert [record.id for record in again.list()] == [*"abcde", "failed"]
        again.compact()
        assert again.verify() == []

    def test_is_none_that_a_move_had_which_was_given_up(self, path, quick_model):
        sampled = begin(path, read_settings(path), quick_model, "keyframes")
        Store(path / sampled.table_file, quick_model.dim).put([of(path, "d")])
        (path / PENDING).unlink()
        begin(path, read_settings(path), quick_model, "keyframes")
        assert Store(path / sampled.table_file, quick_model.dim).version == 1

    def test_is_none_in_a_library_of_format_2(self, path):
        as_format_2(path)
        sums = Sums(path)
        version = newest_version(path / TABLE)
        sums.add({manifests(path / TABLE)[version].with_name(f"{2**64 - 1 - 99:020}.manifest"): FileSum("0" * 64)})
        assert Library.open(path, device="cpu").version == version

    def test_is_none_because_the_hint_says_so(self, path):
        (path / TABLE / "_versions/latest_version_hint.json").write_text('{"version":99}')
        assert Library.open(path, device="cpu").version == 3

    def test_of_an_unfinished_move_gives_that_move_up(self, path, quick_model):
        sampled = begin(path, read_settings(path), quick_model, "keyframes")
        uri = path / sampled.table_file
        Store(uri, quick_model.dim).put([of(path, "d")])
        manifests(uri)[newest_version(uri)].unlink()
        (done,) = repair_library(path)
        assert done.startswith(
            "the unfinished move to bundle 'quick' given up: its table videos-2.lance is damaged; `vis"
        )


class TestAnInterruptedWrite:
    def test_between_a_commit_and_its_sums_is_no_damage_and_the_next_write_brings_them_in(
        self, path, quick_model, monkeypatch
    ):
        store = Store(path / TABLE, quick_model.dim)
        with monkeypatch.context() as killed:
            killed.setattr(Store, "note_files", lambda self: None)
            store.append([StoredVideo("f", FileFacts("/f", 1, 1, "x"), None, "gone")])
        library = Library.open(path, device="cpu")
        unlisted = [finding for finding in library.verify() if finding.id.startswith(TABLE)]
        assert len(unlisted) == 2  # rows and version
        for finding in unlisted:
            told = "has no sum yet: a write goes on, or was interrupted and the next one brings it in"
            assert (finding.problem, finding.damage) == (told, False)
        library.remove("d")
        assert not [finding for finding in library.verify() if finding.id.startswith(TABLE)]

    def test_of_the_sums_alone_loses_none_of_those_before(self, path):
        listed = set(Sums(path).by_name)
        with (path / SUMS).open("ab") as file:
            file.write(b"0123456789abcdef  videos.la")
        library = Library.open(path, device="cpu")
        assert set(Sums(path).by_name) == listed
        (finding,) = library.verify()
        assert (finding.id, finding.damage) == (SUMS, False)
        library.remove("d")
        assert library.verify() == []


class TestAPathThatAFlippedBitMadeNull:
    @pytest.fixture
    def nameless(self, path, quick_model) -> Path:
        """A library two rows of which do not say which file they are of."""
        facts = FileFacts(None, 1, 0, "0")  # type: ignore[arg-type]
        Store(path / TABLE, quick_model.dim).put([StoredVideo(id, facts, None, "broken") for id in ("y", "z")])
        return path

    def test_is_empty_and_keeps_no_search_from_going_on(self, nameless):
        library = Library.open(nameless, device="cpu")
        assert {record.id: record.file for record in library.list()}["z"] == FileFacts("", 1, 0, "0")
        assert library.search("id:a")

    def test_is_no_path_that_two_videos_share(self, nameless):
        before = {record.id for record in Library.open(nameless, device="cpu").list()}
        repair_library(nameless)
        assert {record.id for record in Library.open(nameless, device="cpu").list()} == before

    def test_is_empty_where_the_row_is_known_to_be_damaged(self, path, monkeypatch):
        def salvaged(store):
            store.damaged["z"] = "its row is not what was written"
            return [{"id": "z", "stretch": 0, "path": None, "size_bytes": None, "sha256": "0", PROBLEM: ""}]

        monkeypatch.setattr(Store, "_salvaged_rows", salvaged)
        library = Library.open(path, device="cpu")
        (record,) = [record for record in library.list() if record.id == "z"]
        assert (record.file, record.status) == (FileFacts("", 0, -1, "0"), FAILED)

"""The table: what is written is read back, whole, whatever else is changed and in whatever order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import visil.library.store as store_module
from tests.library.made import DIM, assert_same_video, encoded_video, failed_video, file_facts, stored_video
from visil.errors import LibraryError
from visil.library.salvaging import PROBLEM
from visil.library.store import DamagedVideoError, Store, StoredVideo, create_table
from visil.library.sums import SUMS
from visil.values import RegionVectors

STRETCH = 5

# Ids are other people's file names: quotes, newlines, backslashes, any script.
IDS = ["a.mp4", "it's", 'say "b"', "line\nbreak", "back\\slash", "日本/é %20.mp4"]


@pytest.fixture
def uri(tmp_path: Path) -> Path:
    create_table(tmp_path / "videos.lance", DIM)
    return tmp_path / "videos.lance"


@pytest.fixture
def store(uri: Path) -> Store:
    return Store(uri, DIM)


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "STRETCH_FRAMES", STRETCH)


def read_back(store: Store, ids: list[str], block_bytes: int) -> dict[str, np.ndarray]:
    """Region vectors by id, put together from the pieces of all blocks."""
    pieces: dict[str, list[np.ndarray]] = {}
    finished: set[str] = set()
    for block in store.vectors(ids, block_bytes=block_bytes):
        for piece in block:
            assert piece.id not in finished, "a piece came after the last one of its video"
            pieces.setdefault(piece.id, []).append(piece.vectors)
            if piece.is_last:
                finished.add(piece.id)
    assert finished == set(pieces)
    return {id: np.concatenate(found) for id, found in pieces.items()}


class TestReadingBack:
    def test_an_empty_table_holds_nothing(self, store):
        ids, descriptors, owners = store.descriptors()
        assert (store.records(), ids, len(owners)) == ([], [], 0)
        assert descriptors.shape == (0, DIM)

    def test_a_video_comes_back_bit_for_bit(self, store):
        video = stored_video("a.mp4", 4)
        store.put([video])
        assert_same_video(store.read("a.mp4"), video)

    def test_a_failure_keeps_its_reason_and_has_no_vectors(self, store):
        store.put([failed_video("a.mp4", "no video stream")])
        assert_same_video(store.read("a.mp4"), failed_video("a.mp4", "no video stream"))

    def test_a_video_without_content_is_listed_but_has_no_descriptor(self, store):
        store.put([stored_video("blank.mp4", 0), stored_video("a.mp4")])
        assert [record.status for record in store.records()] == ["ok", "no_content"]
        assert store.descriptors()[0] == ["a.mp4"]

    def test_packed_bits_stay_bits(self, store):
        bits = np.random.default_rng(0).integers(0, 256, (3, 2, 16), dtype=np.uint8)
        packed = replace(encoded_video(3), region_vectors=RegionVectors(bits, np.arange(3.0)))
        video = StoredVideo("a.mp4", file_facts("/a"), packed)
        store.put([video])
        assert_same_video(store.read("a.mp4"), video)

    def test_records_come_sorted_by_id(self, store):
        store.put([stored_video(id) for id in ("c", "a", "b")])
        assert [record.id for record in store.records()] == ["a", "b", "c"]

    def test_parts_name_their_owner(self, store):
        three_parts = StoredVideo("a", file_facts("/a"), encoded_video(9, num_parts=3))
        store.put([three_parts, stored_video("b")])
        ids, descriptors, owners = store.descriptors()
        by_id = {id: descriptors[owners == number] for number, id in enumerate(ids)}
        assert by_id["a"].shape == (3, DIM)
        np.testing.assert_array_equal(by_id["a"], three_parts.encoded.descriptors)

    def test_an_unknown_id_is_an_error(self, store):
        with pytest.raises(LibraryError, match=r"no video 'x' in the library; `visil list --library "):
            store.read("x")

    @given(id=st.text(min_size=1, max_size=20))
    def test_any_text_can_be_an_id(self, tmp_path_factory, id):
        uri = tmp_path_factory.mktemp("ids") / "videos.lance"
        create_table(uri, DIM)
        store = Store(uri, DIM)
        store.put([stored_video(id), stored_video(id + "'")])
        store.put([stored_video(id, seed=1)])
        assert_same_video(store.read(id), stored_video(id, seed=1))
        store.delete([id])
        assert [record.id for record in store.records()] == [id + "'"]


class TestStretches:
    @pytest.mark.parametrize("num_frames", [0, 1, STRETCH - 1, STRETCH, STRETCH + 1, 3 * STRETCH, 3 * STRETCH + 2])
    def test_a_video_of_any_length_comes_back_whole(self, store, short_stretches, num_frames):
        video = stored_video("a.mp4", num_frames)
        store.put([video])
        assert_same_video(store.read("a.mp4"), video)
        assert len(store.records()) == 1

    def test_a_shorter_video_leaves_no_stretch_of_the_longer_one_behind(self, uri, store, short_stretches):
        store.put([stored_video("a.mp4", 4 * STRETCH), stored_video("b.mp4", 2 * STRETCH)])
        store.put([stored_video("a.mp4", 2)])
        assert sorted((row["id"], row["stretch"]) for row in Store(uri, DIM).rows()) == [
            ("a.mp4", 0),
            ("b.mp4", 0),
            ("b.mp4", 1),
        ]

    @pytest.mark.parametrize("block_bytes", [1, 300, 1 << 20])
    def test_blocks_hold_every_frame_once_whatever_their_size(self, store, short_stretches, block_bytes):
        videos = [stored_video(f"v{i}", 3 + 4 * i, seed=i) for i in range(5)]
        store.put(videos)
        found = read_back(store, [video.id for video in videos], block_bytes)
        for video in videos:
            np.testing.assert_array_equal(found[video.id], video.encoded.region_vectors.vectors)

    def test_a_block_is_no_larger_than_asked_for(self, store, short_stretches):
        store.put([stored_video(f"v{i}", 3 * STRETCH) for i in range(4)])
        row_bytes = STRETCH * 2 * DIM * 2
        sizes = [
            sum(piece.vectors.nbytes for piece in block)
            for block in store.vectors([f"v{i}" for i in range(4)], block_bytes=2 * row_bytes + 1)
        ]
        assert sizes == [2 * row_bytes] * 6

    def test_vectors_that_were_read_are_not_kept_in_memory(self, uri, monkeypatch):
        """Lance keeps long rows that it has read: a library of films would lie in memory after one search."""
        monkeypatch.setattr(store_module, "STRETCH_FRAMES", 1 << 16)
        monkeypatch.setattr(store_module, "CACHE_BYTES", 1 << 20)
        store = Store(uri, DIM)
        store.put([stored_video(f"{number}.mp4", 1 << 16) for number in range(4)])
        read_back(store, [record.id for record in store.records()], 1 << 20)
        assert store._dataset.session().size_bytes() < 2 << 20 < sum(store.vector_bytes().values()) / 2


class TestChanges:
    def test_a_commit_is_one_version(self, store):
        before = store.version
        store.put([stored_video(f"v{i}") for i in range(10)])
        assert store.version == before + 1

    def test_replacing_and_inserting_together_is_one_version(self, store, short_stretches):
        store.put([stored_video("a", 12)])
        before = store.version
        store.put([stored_video("a", 2), stored_video("b", 7)])
        assert store.version == before + 1

    def test_nothing_to_do_makes_no_version(self, store):
        before = store.version
        store.put([])
        store.delete([])
        store.update_files({})
        assert store.version == before

    def test_a_reader_keeps_its_version_until_it_refreshes(self, uri, store):
        store.put([stored_video("a", seed=0)])
        reader = Store(uri, DIM)
        store.put([stored_video("a", seed=1), stored_video("b")])
        store.delete(["b"])
        assert_same_video(reader.read("a"), stored_video("a", seed=0))
        reader.refresh()
        assert_same_video(reader.read("a"), stored_video("a", seed=1))

    def test_a_store_reads_what_it_has_just_written(self, store):
        store.put([stored_video("a")])
        store.read("a")  # positions of rows are remembered from here on
        store.put([stored_video("b", seed=1)])
        assert_same_video(store.read("b"), stored_video("b", seed=1))
        store.delete(["a"])
        assert_same_video(store.read("b"), stored_video("b", seed=1))

    def test_new_file_facts_leave_the_vectors_alone(self, store, short_stretches):
        video = stored_video("a", 12)
        store.put([video, stored_video("b")])
        moved = file_facts("/elsewhere/a", sha256=video.file.sha256, mtime_ns=77)
        store.update_files({"a": moved})
        assert_same_video(store.read("a"), replace(video, file=moved))
        assert_same_video(store.read("b"), stored_video("b"))

    def test_a_video_may_be_written_once_a_commit(self, store):
        for write in (store.put, store.append):
            with pytest.raises(ValueError, match="once a commit"):
                write([stored_video("a"), stored_video("a")])

    def test_appending_is_one_version_and_gives_what_putting_would(self, store, short_stretches):
        videos = [stored_video("a", 3 * STRETCH + 1), failed_video("b"), stored_video("c", 0)]
        before = store.version
        store.append([])
        store.append(videos)
        assert store.version == before + 1
        for video in videos:
            assert_same_video(store.read(video.id), video)

    def test_vectors_that_do_not_lie_in_one_piece_are_written_all_the_same(self, store):
        vectors = stored_video("a", 8).encoded.region_vectors
        every_other = RegionVectors(vectors.vectors[::2], vectors.times_s[::2])
        video = StoredVideo("a", file_facts("/a"), replace(stored_video("a", 4).encoded, region_vectors=every_other))
        store.append([video])
        assert_same_video(store.read("a"), video)

    @given(
        steps=st.lists(
            st.tuples(
                st.sampled_from(["put", "append", "delete", "move"]),
                st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True),
                st.integers(0, 2 * STRETCH + 1),
            ),
            min_size=1,
            max_size=8,
        )
    )
    def test_after_any_changes_the_table_holds_what_a_dictionary_would(self, tmp_path_factory, steps):
        uri = tmp_path_factory.mktemp("steps") / "videos.lance"
        create_table(uri, DIM)
        store = Store(uri, DIM)
        expected: dict[str, StoredVideo] = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store_module, "STRETCH_FRAMES", STRETCH)
            for number, (action, ids, num_frames) in enumerate(steps):
                if action in ("put", "append"):
                    videos = [
                        stored_video(id, num_frames, seed=number) if num_frames != 1 else failed_video(id)
                        for id in ids
                        if action == "put" or id not in expected
                    ]
                    (store.put if action == "put" else store.append)(videos)
                    expected |= {video.id: video for video in videos}
                elif action == "delete":
                    store.delete(ids)
                    expected = {id: video for id, video in expected.items() if id not in ids}
                else:
                    moved = {id: replace(expected[id].file, path=f"/{number}/{id}") for id in ids if id in expected}
                    store.update_files(moved)
                    expected |= {id: replace(expected[id], file=file) for id, file in moved.items()}
        for reader in (store, Store(uri, DIM)):
            assert [record.id for record in reader.records()] == sorted(expected)
            for id, video in expected.items():
                assert_same_video(reader.read(id), video)
            searchable = [id for id, video in expected.items() if video.status == "ok"]
            assert sorted(reader.descriptors()[0]) == sorted(searchable)
            vectors = read_back(reader, searchable, block_bytes=200)
            for id in searchable:
                np.testing.assert_array_equal(vectors[id], expected[id].encoded.region_vectors.vectors)


class TestPlaces:
    @pytest.mark.parametrize("name", ["two  words", "per%20cent", "ha#sh", "que?ry", "日本 é", "s3:x", "it's", "[x]*"])
    def test_a_table_lies_in_a_folder_of_any_name(self, tmp_path, name):
        (tmp_path / name).mkdir()
        uri = tmp_path / name / "videos.lance"
        create_table(uri, DIM)
        Store(uri, DIM).put([stored_video("a")])
        assert_same_video(Store(uri, DIM).read("a"), stored_video("a"))
        assert [path.name for path in tmp_path.iterdir()] == [name]

    def test_a_relative_place_stays_where_it_was_when_the_caller_goes_elsewhere(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        create_table(Path("videos.lance"), DIM)
        store = Store(Path("videos.lance"), DIM)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        store.put([stored_video("a")])
        assert_same_video(store.read("a"), stored_video("a"))


class TestDamage:
    @pytest.fixture(params=["cut in half", "zeroed", "gone"])
    def damaged(self, request, uri, store) -> Iterator[Store]:
        """A store whose file of vectors was damaged behind its back."""
        store.put([stored_video(f"v{i}") for i in range(3)])
        (path,) = (uri / "data").iterdir()
        content = path.read_bytes()
        if request.param == "gone":
            path.unlink()
        else:
            path.write_bytes(content[: len(content) // 2] if request.param == "cut in half" else bytes(len(content)))
        return Store(uri, DIM)

    @pytest.mark.parametrize(
        "reading",
        [
            lambda store: store.records(),
            lambda store: store.descriptors(),
            lambda store: list(store.rows()),
            lambda store: store.read("v1"),
            lambda store: list(store.vectors(["v1"])),
        ],
        ids=["records", "descriptors", "rows", "read", "vectors"],
    )
    def test_reading_a_damaged_table_is_one_clear_error(self, damaged, reading):
        with pytest.raises(LibraryError, match=r"videos\.lance: the table is damaged"):
            reading(damaged)

    def test_a_video_read_before_the_damage_is_a_clear_error_after_it(self, uri, store):
        store.put([stored_video("a", 2000)])
        store.read("a")
        shutil.rmtree(uri / "data")
        fresh = Store(uri, DIM)
        fresh._layout = store._layout  # the positions are known, the vectors are gone
        with pytest.raises(LibraryError, match=r"videos\.lance: the table is damaged"):
            fresh.read("a")
        with pytest.raises(LibraryError, match=r"videos\.lance: the table is damaged"):
            list(fresh.vectors(["a"]))

    @pytest.fixture
    def panicking(self, store, monkeypatch) -> Callable[[str], Store]:
        """A store of one video, of whose calls of Lance one panics, as PyO3 tells it."""
        store.put([stored_video("a")])
        panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})

        def give_up(*_: object, **__: object) -> None:
            raise panic("index out of bounds\nnote: run with RUST_BACKTRACE=1")

        def panics_in(name: str) -> Store:
            monkeypatch.setattr(f"lance.{name}", give_up)
            return store

        return panics_in

    @pytest.mark.parametrize(
        ("name", "reading"),
        [
            ("LanceDataset.scanner", lambda store: store.records()),
            ("LanceDataset.get_fragments", lambda store: store.descriptors()),
            ("dataset", lambda store: Store(store.uri, DIM)),
        ],
        ids=["records", "descriptors", "opening"],
    )
    def test_a_panic_within_lance_is_one_clear_error(self, panicking, name, reading):
        told = r"the table (is damaged|cannot be read) \(Lance gave up on it: index out of bounds\); `visil verify.*$"
        with pytest.raises(LibraryError, match=told):
            reading(panicking(name))

    def test_a_panic_over_a_row_is_damage_of_its_video(self, panicking):
        store = panicking("LanceDataset.take")
        assert list(store.vectors(["a"])) == [[]]
        assert list(store.damaged) == ["a"]
        with pytest.raises(DamagedVideoError, match="video 'a': its row in the library cannot be read"):
            store.read("a")

    def test_rows_are_read_one_by_one_after_a_panic(self, panicking):
        (row,) = panicking("fragment.LanceFragment.to_batches").rows()
        assert (row["id"], row[PROBLEM]) == ("a", "")

    def test_an_interrupt_within_lance_stays_one(self, store, monkeypatch):
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        store.put([stored_video("a")])
        monkeypatch.setattr("lance.LanceDataset.scanner", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.records()

    @pytest.mark.parametrize("with_sums", [True, False])
    @pytest.mark.parametrize("folder", ["data", "_deletions"])
    def test_a_file_that_is_gone_is_named(self, store, uri, folder, with_sums):
        store.append([stored_video("a"), stored_video("b")])
        store.delete(["b"])
        (file,) = (uri / folder).iterdir()
        file.unlink()
        if not with_sums:
            (uri.parent / SUMS).unlink()
        with pytest.raises(LibraryError, match=rf"the table is damaged \(No such file or directory: {file}\); `visil"):
            Store(uri, DIM).records()

    def test_a_table_for_other_vectors_is_a_clear_error(self, uri):
        with pytest.raises(LibraryError, match=r"videos\.lance: .* for descriptors of 16 dimensions"):
            Store(uri, 16)

    def test_no_table_is_a_clear_error(self, tmp_path):
        with pytest.raises(LibraryError, match=r"nothing\.lance: the table cannot be read"):
            Store(tmp_path / "nothing.lance", DIM)

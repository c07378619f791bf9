"""The digest of a row: over the bytes that docs/formats.md states, and another one after any change."""

from __future__ import annotations

import struct

import lance
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from tests.library.made import DIM, encoded_video, failed_video, file_facts, stored_video
from visil.library.digests import DIGESTED, digests_of, row_digest
from visil.library.store import Store, StoredVideo, create_table
from visil.values import EncodedVideo, RegionVectors

VALUES = {
    "id": "é.mp4",
    "stretch": 1,
    "num_frames": 2,
    "num_regions": 3,
    "packed": False,
    "vectors": np.arange(24, dtype=np.float16).reshape(2, 3, 4),
    "times_s": np.array([0.0, 1.5]),
    "descriptors": np.array([[0.6, 0.8]], dtype=np.float32),
}


def test_it_is_xxh3_128_over_the_bytes_that_the_formats_page_states():
    name = b"\xc3\xa9.mp4"
    stated = (
        struct.pack("<8q", 1, 2, 3, 0, len(name), 48, 16, 8)
        + name
        + struct.pack("<24e", *range(24))
        + struct.pack("<2d", 0.0, 1.5)
        + struct.pack("<2f", 0.6, 0.8)
    )
    assert row_digest(**VALUES) == xxhash.xxh3_128(stated).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        {"id": "e.mp4"},
        {"stretch": 0},
        {"num_frames": 3},
        {"num_regions": 2},
        {"packed": True},
        {"times_s": np.array([0.0, 1.5, 2.0])},
        {
            "times_s": np.array([0.0]),
            "descriptors": np.array([[0.0, 1.9375], [0.6, 0.8]], np.float32),
        },  # a byte moves on
        {"descriptors": np.zeros((0, 2), np.float32)},
    ],
)
def test_another_fact_is_another_digest(other):
    assert row_digest(**VALUES | other) != row_digest(**VALUES)


@given(bit=st.integers(0, 8 * (48 + 16 + 8) - 1))
def test_no_bit_of_vectors_times_or_descriptors_can_turn_unnoticed(bit):
    arrays = {name: VALUES[name].copy() for name in ("vectors", "times_s", "descriptors")}
    for array in arrays.values():
        if bit < 8 * array.nbytes:
            array.view(np.uint8).reshape(-1)[bit // 8] ^= 1 << bit % 8
            break
        bit -= 8 * array.nbytes
    assert row_digest(**VALUES | arrays) != row_digest(**VALUES)


class TestOfStoredRows:
    @pytest.fixture
    def uri(self, tmp_path, monkeypatch):
        """Floats in stretches of 5 frames, codes, no content, a failure."""
        monkeypatch.setattr("visil.library.store.STRETCH_FRAMES", 5)
        create_table(tmp_path / "videos.lance", DIM)
        bits = RegionVectors(np.arange(48, dtype=np.uint8).reshape(3, 2, 8), np.arange(3.0))
        plain = encoded_video(3)
        codes = EncodedVideo(bits, plain.descriptors, 3, 3.0, plain.video)
        parts = encoded_video(12, num_parts=4)
        videos = [StoredVideo("codes", file_facts("/codes"), codes), StoredVideo("parts", file_facts("/parts"), parts)]
        Store(tmp_path / "videos.lance", DIM).append([*videos, stored_video("blank", 0), failed_video("failed")])
        return tmp_path / "videos.lance"

    def test_every_row_has_the_one_of_what_it_holds(self, uri):
        rows = lance.dataset(str(uri)).to_table()
        assert len(rows) == 6
        assert rows["digest"].to_pylist() == list(digests_of(rows))

    def test_it_does_not_matter_which_slice_of_them_is_looked_at(self, uri):
        rows = lance.dataset(str(uri)).to_table(columns=[*DIGESTED]).combine_chunks()
        whole = list(digests_of(rows))
        for start in range(len(rows)):
            assert list(digests_of(rows.slice(start, 2))) == whole[start : start + 2]

    def test_new_facts_of_the_file_leave_it_alone(self, uri):
        store = Store(uri, DIM)
        before = {(row["id"], row["stretch"]): row["digest"] for row in store.rows()}
        store.update_files({"parts": file_facts("/moved")})
        store.update_rules({"parts": 9})
        assert before == {(row["id"], row["stretch"]): row["digest"] for row in store.rows()}
        assert {row["_problem"] for row in store.rows()} == {""}

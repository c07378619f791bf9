import os
import pickle
import struct
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.errors import DataError
from visil.evaluation import safe_pickle
from visil.evaluation.safe_pickle import read_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
plain_values = st.recursive(
    scalars | st.frozensets(scalars) | st.sets(scalars),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(scalars, inner, max_size=4)
    ),
    max_leaves=10,
)


@pytest.fixture
def read(tmp_path):
    def reader(content: bytes) -> object:
        path = tmp_path / "annotation.pickle"
        path.write_bytes(content)
        return read_pickle(path)

    return reader


@settings(deadline=None)
@given(plain_values, st.sampled_from(PROTOCOLS))
def test_plain_values_come_back_as_python_would_load_them(tmp_path_factory, value, protocol):
    path = tmp_path_factory.mktemp("pickles") / "value.pickle"
    path.write_bytes(pickle.dumps(value, protocol))
    assert read_pickle(path) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_dictionaries_of_collections_come_back_as_plain_ones(read, protocol):
    positives = defaultdict(set, {"a": {"b", "c"}, "b": set()})
    value = {"positives": positives, "order": OrderedDict([("x", 1), ("y", 2)])}
    back = read(pickle.dumps(value, protocol))
    assert back == {"positives": {"a": {"b", "c"}, "b": set()}, "order": {"x": 1, "y": 2}}
    assert type(back["positives"]) is dict


def test_text_of_python_2_is_text(read):
    assert read(b"(lp0\nS'an id'\np1\naU\x04morea.") == ["an id", "more"]


class Opens:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_called(read, tmp_path, protocol):
    with pytest.raises(DataError, match=r"annotation\.pickle: is not read: it wants (posix|nt)\.mkdir"):
        read(pickle.dumps([Opens(tmp_path / "made")], protocol))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "it wants os.system"),
        (b"c__builtin__\neval\n(S'1'\ntR.", "it wants __builtin__.eval"),
        (b"(S'true'\nios\nsystem\n.", "the instruction INST"),
        (b"\x80\x02c__builtin__\nset\n)\x81.", "the instruction NEWOBJ"),
        (b"\x80\x02]}b.", "the instruction BUILD"),
        (b"\x80\x02\x82\x01.", "the instruction EXT1"),
        (b"P1\n.", "the instruction PERSID"),
        (b"\x80\x05\x97.", "the instruction NEXT_BUFFER"),
        (b"\x80\x04K\x01K\x02\x93.", "it wants something.unnamed"),
        (b"\x80\x02c__builtin__\nset\n.", "the name of a class"),
        (b"\x80\x02c__builtin__\nset\nK\x01\x85R.", "a set is not made of one list"),
        (b"\x80\x02ccollections\nOrderedDict\n]K\x01a\x85R.", "not made of pairs"),
        (b"\x80\x02]K\x01\x85R.", "it treats a list as a container"),
        (b"\x80\x04\x8f(]\x90.", "it has a list in a set or as a key"),
        (b"\x80\x02K\x01K\x02a.", "it treats a int as a list"),
    ],
)
def test_instructions_and_names_beyond_plain_values_are_refused(read, content, message):
    with pytest.raises(DataError, match=message):
        read(content)


@pytest.mark.parametrize("value", [Counter("ab"), np.arange(3), np.float64(1), b"bytes", 1 + 2j, Path("x")])
def test_values_of_other_classes_are_refused(read, value):
    with pytest.raises(DataError, match="visil never unpickles"):
        read(pickle.dumps(value))


@pytest.mark.parametrize(
    "content",
    [b"", b"no pickle", b".", b"a.", b"K\x01K\x02.", b"g7\n.", b"e.", b"(K\x01d.", b"\x80\x04\x95", b"\xff" * 20],
)
def test_damage_is_one_clear_line(read, content):
    with pytest.raises(DataError, match="is no complete pickle of plain values"):
        read(content)


@settings(deadline=None)
@given(st.data())
def test_a_cut_pickle_is_never_half_read(tmp_path_factory, data):
    whole = pickle.dumps({"queries": ["a", "b"], "positives": {"a": {"b"}}}, data.draw(st.sampled_from(PROTOCOLS)))
    path = tmp_path_factory.mktemp("pickles") / "cut.pickle"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(DataError):
        read_pickle(path)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_data_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("pickles") / "any.pickle"
    path.write_bytes(content)
    try:
        read_pickle(path)
    except DataError as error:
        assert "\n" not in str(error)


class TestBombs:
    def test_shared_lists_that_unfold_without_end(self, read):
        value: list[object] = ["x"] * 10
        for _ in range(9):
            value = [value] * 10
        with pytest.raises(DataError, match="unfolds to more than"):
            read(pickle.dumps(value))

    def test_a_list_that_holds_itself(self, read):
        value: list[object] = []
        value.append(value)
        with pytest.raises(DataError, match="nested more than"):
            read(pickle.dumps(value))

    @pytest.mark.parametrize("deep", [b")" + b"\x85" * 300_000 + b".", b"(" * 100_000 + b"l" * 100_000 + b"."])
    def test_more_levels_than_a_stack_has(self, read, deep):
        with pytest.raises(DataError, match="nested more than"):
            read(deep)

    def test_a_deep_tuple_as_a_key(self, read):
        with pytest.raises(DataError, match="it has a tuple in a set or as a key"):
            read(b"\x80\x02})" + b"\x85" * 300_000 + b"K\x01s.")

    def test_lengths_and_places_far_beyond_the_file(self, read):
        for content in (
            b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
            b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"1.",
            b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b".",
        ):
            with pytest.raises(DataError, match="no complete pickle"):
                read(content)
        assert read(b"\x80\x02]r" + struct.pack("<I", 2**32 - 1) + b".") == []

    def test_a_large_file_is_not_even_opened(self, read, monkeypatch):
        monkeypatch.setattr(safe_pickle, "MAX_BYTES", 10**6)
        with pytest.raises(DataError, match="more than 1 MB is not read"):
            read(b"x" * (10**6 + 1))

    def test_more_instructions_than_an_annotation_needs(self, read, monkeypatch):
        monkeypatch.setattr(safe_pickle, "MAX_INSTRUCTIONS", 100)
        with pytest.raises(DataError, match="more than 100 instructions"):
            read(pickle.dumps([1, 2] * 100))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.pickle: cannot be read"):
        read_pickle(tmp_path / "none.pickle")

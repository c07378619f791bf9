"""Similarity files: what is written is read, one query at a time, and what is wrong gets one clear line."""

from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visil.errors import DataError
from visil.evaluation import score_files
from visil.evaluation.score_files import read_scores

Mapping = dict[str, dict[str, float]]

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
NUMBERS = st.one_of(st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False))


def scores_of(path: Path) -> Mapping:
    return {q.query: dict(zip(q.videos, q.scores.tolist(), strict=True)) for q in read_scores(path)}


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def npz(folder: Path, **arrays: object) -> Path:
    path = folder / "scores.npz"
    given = {"queries": np.array(["a", "b"]), "videos": np.array(["x", "y", "z"]), "scores": np.eye(2, 3)} | arrays
    np.savez(path, **{name: value for name, value in given.items() if value is not None})
    return path


def test_every_kind_of_file_gives_the_same_scores_in_the_order_of_the_file(tmp_path: Path) -> None:
    expected = {"b": {"x": 0.5, "y": -1.0}, "a": {"x": 2.0, "y": 0.0}}
    files = [
        written(tmp_path, "s.json", json.dumps(expected)),
        written(tmp_path, "s.csv", "query,video,score\nb,x,.5\nb,y,-1\na,x,2\na,y,0\n"),
        npz(tmp_path, queries=np.array(["b", "a"]), videos=np.array(["x", "y"]), scores=np.array([[0.5, -1], [2, 0]])),
    ]
    for path in files:
        found = list(read_scores(path))
        assert scores_of(path) == expected
        assert [q.query for q in found] == ["b", "a"]
        assert found[0].scores.dtype == np.float64
        assert found[0].videos is found[1].videos  # equal lists are one object
        assert read_scores(path).available is None


@given(st.dictionaries(IDS, st.dictionaries(IDS, NUMBERS, max_size=4), min_size=1, max_size=4), st.data())
def test_any_json_is_read_as_python_reads_it_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, mapping: Mapping, data: st.DataObject
) -> None:
    text = json.dumps(mapping, indent=data.draw(st.sampled_from([None, 1])), ensure_ascii=data.draw(st.booleans()))
    path = written(tmp_path_factory.getbasetemp(), "any.json", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score_files, "READ_BYTES", data.draw(st.integers(1, 50)))
        found = {q.query: dict(zip(q.videos, q.scores.tolist(), strict=True)) for q in read_scores(path)}
    assert found == {q: {v: float(s) for v, s in scores.items()} for q, scores in mapping.items()}


@given(st.integers(0, 45), st.integers(1, 30))
def test_a_json_that_is_cut_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, length: int, read_bytes: int
) -> None:
    whole = '{"a \\" b": {"x{": 0.25, "ü": 1e-3}, "c": {}} '.encode()
    path = written(tmp_path_factory.getbasetemp(), "cut.json", whole[: min(length, len(whole) - 3)])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(DataError, match=r"cut\.json: .+") as raised:
        patch.setattr(score_files, "READ_BYTES", read_bytes)
        list(read_scores(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file must hold .* got the end of the file"),
        ("{}", "no query in it"),
        ("[1, 2]", "the file must hold"),
        ('{"a": [0.1, 0.2]}', r"query 'a': expected \{video: score\}, got '\["),
        ('{"a": 0.1}', "query 'a': expected"),
        ('{"a": {"x": {"y": 1}}}', r"query 'a': expected .* with numbers, got '\{' in it"),
        ('{"a": {"x": [1]}}', "query 'a': expected .* with numbers"),
        ('{"a": {"x": NaN}}', "query 'a', video 'x': nan is not a finite number"),
        ('{"a": {"y": 0, "x": -Infinity}}', "query 'a', video 'x': -inf is not a finite number"),
        ('{"a": {"x": 1e999}}', "query 'a', video 'x': inf is not a finite number"),
        ('{"a": {"x": 1' + "0" * 400 + "}}", "query 'a': a score is beyond the range of numbers"),
        ('{"a": {"x": 1' + "0" * 5000 + "}}", "query 'a': not valid JSON"),
        ('{"a": {"x": true}}', "query 'a', video 'x': true is not a number"),
        ('{"a": {"x": ' + "9" * 5000 + "}}", r"not valid JSON \(Exceeds the limit .* 5000 digits\)$"),
        ('{"a": {"x": null}}', "query 'a', video 'x': null is not a number"),
        ('{"a": {"x": "0.5"}}', "query 'a', video 'x': \"0.5\" is not a number"),
        ('{"a": {"x": 0.1, "x": 0.2}}', "query 'a': video 'x' comes twice"),
        ('{"a": {"x": 0.1}, "a": {"x": 0.2}}', "query 'a' comes twice"),
        ('{"a": {"x": 0.1}, "\\u0061": {}}', "query 'a' comes twice"),
        ('{"a": {"x": 0.1}} {"b": {}}', "there is more behind the end"),
        ('{"a": {"x": 0.1},}', "expected the name of a query"),
        ('{"a": {"x": 0.1 "y": 1}}', "query 'a': not valid JSON"),
        ('{"a": {"x": 01}}', "query 'a': not valid JSON"),
        ("{'a': {}}", "expected the name of a query"),
        ('{"a" {}}', "no `:` after query 'a'"),
        ('{"a": {} "b": {}}', "neither `,` nor `}` after query 'a'"),
        ('{"a": {"\\ud800": 1}}', r"the id '\\ud800' is not valid Unicode"),
        ('{"\\udc00": {}}', r"the id '\\udc00' is not valid Unicode"),
        ('{"a\\q": {}}', "the name of a query is not valid JSON"),
    ],
)
def test_wrong_json_gets_one_line_that_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, "bad.json", text)
    with pytest.raises(DataError, match=message) as raised:
        list(read_scores(path))
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_json_that_is_not_utf_8_is_refused_and_a_byte_order_mark_is_not(tmp_path: Path) -> None:
    text = '{"a": {"ü": 0.5}}'
    assert scores_of(written(tmp_path, "mark.json", text.encode("utf-8-sig"))) == {"a": {"ü": 0.5}}
    for name, encoding in (("wide.json", "utf-16"), ("old.json", "latin-1")):
        with pytest.raises(DataError, match=f"{name}: .*it is not text in UTF-8; save it as that"):
            list(read_scores(written(tmp_path, name, text.encode(encoding))))


def test_a_large_json_is_never_in_memory_whole(tmp_path: Path) -> None:
    one = json.dumps({f"video_{number}": number / 7 for number in range(20_000)})
    path = tmp_path / "large.json"
    with path.open("w") as file:
        file.write("{" + ",".join(f'"query_{number}": {one}' for number in range(30)) + "}")
    tracemalloc.start()
    num_scores = sum(len(query.scores) for query in read_scores(path))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_scores == 600_000
    assert peak_bytes < path.stat().st_size < 25 * len(one) * 2


def test_one_text_of_the_size_of_the_file_takes_no_square_of_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block that is read doubles, so the text is looked at a few times, not once a block."""
    reads = []
    real_match = score_files._end_of
    monkeypatch.setattr(score_files, "READ_BYTES", 16)
    monkeypatch.setattr(score_files, "_end_of", lambda *given: (reads.append(len(given[1])), real_match(*given))[1])
    with pytest.raises(DataError, match="has over 1,000 characters"):
        scores_of(written(tmp_path, "long.json", json.dumps({"a": {"v" * 100_000: 1}})))
    assert sum(reads) < 10 * 100_000


@given(st.dictionaries(IDS, st.dictionaries(IDS, NUMBERS, min_size=1, max_size=4), min_size=1, max_size=4), st.data())
def test_rows_of_a_csv_may_come_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, mapping: Mapping, data: st.DataObject
) -> None:
    rows = [
        {"query_id": query, "other": "x", "score": score, "ref_id": video}
        for query, scores in mapping.items()
        for video, score in scores.items()
        if not set("\r\n\0") & set(query + video)  # no id has line breaks
    ]
    if not rows:
        return
    path = tmp_path_factory.getbasetemp() / "any.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, data.draw(st.permutations(list(rows[0]))))
        writer.writeheader()
        writer.writerows(data.draw(st.permutations(rows)))
    expected: Mapping = {}
    for row in rows:
        expected.setdefault(str(row["query_id"]), {})[str(row["ref_id"])] = float(row["score"])
    assert scores_of(path) == expected


def test_ids_of_a_csv_are_text_and_stand_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "s.csv", '\ufeffscore,query,video\r\n1,007,null\r\n2,NA,1e3\r\n3,007,"a,b"\r\n0,007,2\r\n')
    assert [(q.query, list(q.videos)) for q in read_scores(path)] == [("007", ["null", "a,b", "2"]), ("NA", ["1e3"])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first line must name query, video, score once each, got ''"),
        ("a,b,0.5\n", "its first line must name query, video, score once each, got 'a, b, 0.5'"),
        ("query,query_id,video,score\n", "its first line must name"),
        ("query,video,score\n", "no row in it"),
        ("query,video,score\na,x,0.5\na,x,0.6\n", "query 'a': video 'x' comes twice"),
        ("query,video,score\na,x,0.5\nb,x,1\na,x,0.6\n", "query 'a': video 'x' comes twice"),
        ("query,video,score\na,x,0.5\na,y,nan\n", "query 'a', video 'y': nan is not a finite number"),
        ("query,video,score\na,x,inf\n", "query 'a', video 'x': inf is not a finite number"),
        ("query,video,score\na,x,high\n", "query 'a', video 'x': 'high' is not a number"),
        ("query,video,score\na,x,\n", "query 'a', video 'x': '' is not a number"),
        ("query,video,score\na,x\n", "line 2: a row without all columns; is it cut off, or a quote not closed"),
        ('query,video,score\n"a,x,1\nb,y,1\n', "a row without all columns; is it cut off, or a quote not closed"),
        ("query,video,score\na,x,1\na,y,1_0\n", "line 3, query 'a', video 'y': '1_0' is not a number"),
        ("query, video, score\na, x, 1\n", "its first line has spaces beside names of columns"),
        ("query,video,score\na,x,1,2\n", "Expected 3 columns, got 4"),
        ("query,video,score\n,x,1\n", "a row has no query"),
        ("query,video,score\na,,1\n", "a row has no video"),
        ("query,video,score\n\ud800", "not text in UTF-8|invalid UTF8"),
    ],
)
def test_a_wrong_csv_gets_one_line_that_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, "bad.csv", text.encode(errors="surrogatepass"))
    with pytest.raises(DataError, match=message) as raised:
        list(read_scores(path))
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scores": None}, "no array scores in it"),
        ({"scores": np.eye(3, 2)}, r"scores must be numbers \[2, 3\], a row a query, got float64 \[3, 2\]"),
        ({"scores": np.eye(2, 3) > 0}, "scores must be numbers .* got bool"),
        ({"scores": np.full((2, 3), "1")}, "scores must be numbers"),
        ({"scores": np.eye(2, 3).astype(complex)}, "scores must be numbers .* got complex128"),
        ({"scores": np.eye(2, 3).astype(object)}, "holds Python objects, which are not read"),
        ({"queries": np.array(["a", "b"], object)}, "holds Python objects, which are not read"),
        ({"queries": np.array(["a", "a"])}, "queries: 'a' comes twice"),
        ({"videos": np.array(["x", "y", "x"])}, "videos: 'x' comes twice"),
        ({"videos": np.array([1, 2, 3])}, r"videos must be a list of text, got int64 \[3\]"),
        ({"queries": np.array([["a", "b"]])}, "queries must be a list of text"),
        ({"queries": np.zeros(0, "U1"), "scores": np.zeros((0, 3))}, "queries must be a list of text"),
        ({"scores": np.array([[0, 1, 2], [0, np.nan, 1]])}, "query 'b', video 'y': nan is not a finite number"),
        ({"scores": np.array([[0, 1, np.inf], [0, 0, 1]])}, "query 'a', video 'z': inf is not a finite number"),
    ],
)
def test_a_wrong_npz_gets_one_line(tmp_path: Path, arrays: dict[str, np.ndarray | None], message: str) -> None:
    path = npz(tmp_path, **arrays)
    with pytest.raises(DataError, match=message) as raised:
        list(read_scores(path))
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_a_damaged_npz_is_refused(tmp_path: Path) -> None:
    """Cut anywhere, or a byte turned over in an array: zip files have a sum for that."""
    whole = npz(tmp_path).read_bytes()
    for length in range(0, len(whole), 97):
        with pytest.raises(DataError, match=r"cut\.npz: .+"):
            list(read_scores(written(tmp_path, "cut.npz", whole[:length])))
    middle = whole.index(np.float64(1).tobytes())
    turned = whole[:middle] + bytes(8) + whole[middle + 8 :]
    with pytest.raises(DataError, match=r"turned\.npz: cannot be read as npz: Bad CRC"):
        list(read_scores(written(tmp_path, "turned.npz", turned)))


def test_an_npz_keeps_its_numbers_as_small_as_they_are(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((2, 3)).astype(np.float32)
    path = npz(tmp_path, scores=np.asfortranarray(values))
    assert [q.scores.tolist() for q in read_scores(path)] == values.astype(np.float64).tolist()


def test_a_name_without_end_is_cut_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        list(read_scores(written(tmp_path, "long.json", json.dumps({"q" * 10_000: {"v" * 10_000: None}}))))
    assert len(str(raised.value)) < len(str(tmp_path)) + 250


def test_other_files_are_refused_by_their_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"scores\.pkl: scores are read from \.json, \.csv, \.npz"):
        read_scores(written(tmp_path, "scores.pkl", b"cos\nsystem\n"))
    with pytest.raises(DataError, match=r"missing\.json: no such file"):
        read_scores(tmp_path / "missing.json")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"folder\.csv: not a regular file"):
        read_scores(tmp_path / "folder.csv")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps({"a" * 1001: {"b": 1}})),
        ("a.json", json.dumps({"b": {"a" * 1001: 1}})),
        ("a.csv", f"query,video,score\n{'a' * 1001},b,1\n"),
        ("a.csv", f"query,video,score\nb,{'a' * 1001},1\n"),
    ],
)
def test_an_id_that_no_message_could_show_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(DataError, match=r"the id 'a+\.\.\. has 1,001 characters, over 1,000$"):
        list(read_scores(written(tmp_path, name, text.encode())))

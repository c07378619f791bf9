import pytest

from visil.errors import DataError
from visil.evaluation.tables import csv_rows, read_json


@pytest.fixture
def file(tmp_path):
    def write(content: bytes):
        path = tmp_path / "table"
        path.write_bytes(content)
        return path

    return write


class TestCsvRows:
    @pytest.mark.parametrize(
        "content",
        [
            b"b,a\n2,1\n",
            b"\xef\xbb\xbfb,a\n2,1\n",
            b"b,a\r\n2,1\r\n",
            b" b , a\n\n2,1",
        ],
    )
    def test_columns_come_in_any_order_with_any_line_ends_and_a_byte_order_mark(self, file, content):
        ((_, row),) = csv_rows(file(content), ["a"])
        assert row == {"a": "1", "b": "2"}

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "has no first line; needs the columns a, b"),
            (b"a,c\n", "no column b"),
            (b"a,b,b\n", "column 'b' is there twice"),
            (b"a,b\n1\n", "line 2: 1 cells for 2 columns"),
            (b"a,b\n1,2,3\n", "line 2: 3 cells for 2 columns"),
            (b"a,b\n1,2\0\n", "line 2: holds a NUL byte"),
            (b"a,b\n1,\xff\n", "is no CSV in UTF-8"),
            (b"a,b\n1," + b"x" * 200_000 + b"\n", r"is no CSV in UTF-8 \(field larger"),
            (b'a,b\n1,"2\n', r"is no CSV in UTF-8 \(unexpected end of data\)"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, file, content, message):
        with pytest.raises(DataError, match=message) as caught:
            list(csv_rows(file(content), ["a", "b"]))
        assert "\n" not in str(caught.value)

    def test_spaces_behind_commas_do_not_count(self, file):
        assert list(csv_rows(file(b'a, b\nx, "y, z"\n'), ["a", "b"])) == [(2, {"a": "x", "b": "y, z"})]

    def test_a_folder_and_a_missing_file_cannot_be_read(self, tmp_path):
        for path in (tmp_path, tmp_path / "none.csv"):
            with pytest.raises(DataError, match="cannot be read"):
                list(csv_rows(path, ["a"]))


class TestReadJson:
    def test_a_byte_order_mark_is_no_matter(self, file):
        assert read_json(file(b'\xef\xbb\xbf{"a": [1]}\r\n')) == {"a": [1]}

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is no JSON"),
            (b'{"a": 1', "is no JSON"),
            (b'{"a": 1, "a": 2}', "key 'a' comes twice"),
            (b'{"a": NaN}', "NaN is no number"),
            (b'{"a": "\xff"}', "is no JSON in UTF-8"),
            (b"[" * 100_000, "nested too deeply"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, file, content, message):
        with pytest.raises(DataError, match=message) as caught:
            read_json(file(content))
        assert "\n" not in str(caught.value)

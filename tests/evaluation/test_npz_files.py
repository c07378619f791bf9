"""Arrays that a stranger wrote: read, or refused in one line that names the file and asks for nothing unsafe."""

import io
import zipfile

import numpy as np
import pytest

from visil.errors import DataError
from visil.evaluation.npz_files import read_npz


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.npz"


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def with_header(header):
    """An array of 0 items that says this of itself."""
    return b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header


def write(path, member):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", member)
    return path


def test_arrays_come_in_the_order_asked_for(path):
    np.savez(path, a=np.arange(2), b=np.array(["x"]), c=1)
    b, a = read_npz(path, ("b", "a"))
    assert (b.tolist(), a.tolist()) == (["x"], [0, 1])


def test_a_missing_array_is_named_with_those_that_are_needed(path):
    np.savez(path, a=np.arange(2))
    with pytest.raises(DataError, match=r"a\.npz: cannot be read as npz: no array b, c in it, it needs a, b, c"):
        read_npz(path, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (npy(np.array(["x"])).replace("x".encode("utf-32-le"), b"\xff\xff\xff\x7f"), "maximum character"),
        (with_header(b"(" * 9000), ""),
        (with_header(b"{'descr': '<f4', 'fortran_order': False, 'shape': ("), ""),
        (with_header(b"\x80" * 40), ""),
        (with_header(b"{'descr': [1], 'fortran_order': 3, 'shape': 'x'}"), ""),
        (with_header(b"1" * 20_000), "has a damaged header"),
        (b"no array", "a is no array"),
        (b"", "a is no array"),
    ],
)
def test_a_damaged_array_is_one_line(path, member, reason):
    with pytest.raises(DataError, match=rf"a\.npz: cannot be read as npz: .*{reason}") as failure:
        read_npz(write(path, member), ("a",))[0].tolist()
    assert "\n" not in str(failure.value) and "allow_pickle" not in str(failure.value)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x04K\x01.", npy(np.arange(3))])
def test_what_is_no_archive_is_called_so(path, content):
    path.write_bytes(content)
    with pytest.raises(DataError, match="it is not several arrays by name"):
        read_npz(path, ("a",))


def test_python_objects_are_not_unpickled(path):
    np.savez(path, a=np.array([None, "x"], dtype=object))
    with pytest.raises(DataError, match=r"holds Python objects, which are not read$"):
        read_npz(path, ("a",))

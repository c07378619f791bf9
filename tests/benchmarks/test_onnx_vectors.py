"""Pictures described by a network in an ONNX file."""

import numpy as np
import pytest

from tests.benchmarks.onnx_file import write_mean_colours
from visil.benchmarks.onnx_vectors import BATCH, OnnxVectors
from visil.errors import ModelError

pytestmark = pytest.mark.usefixtures("onnxruntime")


def pictures(count):
    """uint8 [count, 6, 8, 3]: the first red, the others ever more green."""
    found = np.zeros((count, 6, 8, 3), dtype=np.uint8)
    found[..., 0] = 200
    found[..., 1] = np.arange(count)[:, None, None]
    return found


def test_every_picture_has_a_vector_in_half_precision(network_file):
    found = OnnxVectors(network_file)(pictures(2 * BATCH + 1))  # batches, the last one short
    means = np.stack([[200, green, 0] for green in range(2 * BATCH + 1)])
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_no_picture_has_none(network_file):
    assert OnnxVectors(network_file)(pictures(0)).shape == (0, 3)


@pytest.mark.parametrize("content", [b"", b"no network", b"cut short"])
def test_a_file_that_is_no_network_is_named_in_one_line(network_file, content):
    network_file.write_bytes(network_file.read_bytes()[:90] if content == b"cut short" else content)
    with pytest.raises(ModelError, match=r"network\.onnx: not a readable ONNX network \(") as caught:
        OnnxVectors(network_file)
    assert "\n" not in str(caught.value)


def test_a_network_of_other_pictures_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"n\.onnx: its network does not make one vector of a picture uint8"):
        OnnxVectors(write_mean_colours(tmp_path / "n.onnx", channels=4))

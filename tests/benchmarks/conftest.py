"""A network of pictures in an ONNX file, and who runs it."""

import importlib.machinery
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from tests.benchmarks.onnx_file import write_mean_colours


class FakeSession:
    """What `onnxruntime.InferenceSession` does with the network of `onnx_file`."""

    def __init__(self, path: Path, options: object, *, providers: list[str]) -> None:
        if b"LpNormalization" not in path.read_bytes():
            raise RuntimeError(f"INVALID_PROTOBUF : Load model from {path} failed\nmore lines")
        self._channels = 4 if b"\x08\x04" in path.read_bytes()[-60:] else 3

    def get_inputs(self) -> list[SimpleNamespace]:
        shape = ["batch", "height", "width", self._channels]
        return [SimpleNamespace(name="image", type="tensor(uint8)", shape=shape)]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="embedding", type="tensor(float)", shape=["batch", self._channels])]

    def run(self, names: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert len(inputs["image"]) > 0, "networks need not take no picture"
        means = inputs["image"].astype(np.float32).mean(axis=(1, 2))
        return [means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)]


@pytest.fixture(params=["fake", "real"])
def onnxruntime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in of the package, which is in the extra `bench` only, and the package where it is installed."""
    if request.param == "real":
        pytest.importorskip("onnxruntime")
        return
    fake = ModuleType("onnxruntime")
    fake.__spec__ = importlib.machinery.ModuleSpec("onnxruntime", None)
    fake.SessionOptions, fake.InferenceSession = SimpleNamespace, FakeSession  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)


@pytest.fixture
def network_file(tmp_path: Path) -> Path:
    return write_mean_colours(tmp_path / "network.onnx")

"""Which frame descriptors there are, which can be made here, and what they are made of."""

import shutil

import numpy as np
import pytest

from tests.benchmarks.onnx_file import write_mean_colours
from visil.benchmarks.benchmark_search import kept_descriptors
from visil.benchmarks.colour_histogram import intersection
from visil.benchmarks.frame_descriptors import (
    KINDS,
    OF_FILES,
    OF_PICTURES,
    FrameDescriptor,
    colour_histograms,
    describe_files,
    frame_descriptors,
    missing_package,
    of_windows,
    why_not_run,
)
from visil.benchmarks.hash_voting import HashVoting
from visil.errors import MediaError, ModelError
from visil.synth.textures import procedural_pictures
from visil.synth.video_file import write_video

HISTOGRAM = FrameDescriptor("colour histogram", colour_histograms)


@pytest.mark.parametrize("kind", OF_PICTURES)
def test_every_kind_knows_a_picture_after_small_changes_from_another_one(kind):
    if missing_package(kind):
        pytest.skip(f"{missing_package(kind)} is not installed")
    describe = OF_PICTURES[kind]
    pictures = np.stack(procedural_pictures(np.random.default_rng(0), count=6, size_px=(224, 224)))
    changed = np.clip(pictures.astype(int) + np.random.default_rng(1).normal(0, 3, pictures.shape), 0, 255)
    originals, copies = describe(pictures), describe(changed.astype(np.uint8))
    assert len(originals) == 6
    if kind == "colour histogram":
        found = [int(intersection(copy, originals).argmax()) for copy in copies]
    else:
        library = HashVoting([original[None] for original in originals])
        found = [int(library.scores(copy[None]).argmax()) for copy in copies]
    assert found == list(range(6))
    assert len(describe(pictures[:0])) == 0


def test_windows_of_pictures_are_described_one_by_one():
    def mean_colours(images):
        return images.mean(axis=(1, 2))

    pictures = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3), dtype=np.uint8)
    pictures[:, :6, :6] = (200, 100, 50)  # the first window of 1/2 of the sides
    found = of_windows(mean_colours)(pictures)
    assert found.shape == (3, 14, 3)
    assert found[:, 5] == pytest.approx(np.tile((200, 100, 50), (3, 1)), abs=1)
    assert found[:, 0] == pytest.approx(mean_colours(pictures), abs=1)
    assert of_windows(mean_colours)(pictures[:0]).shape == (0, 14, 3)


def test_files_are_described_by_their_samples_with_content_and_broken_ones_say_why(tmp_path):
    pictures = procedural_pictures(np.random.default_rng(0), count=4, size_px=(64, 48))
    black = [np.zeros((48, 64, 3), dtype=np.uint8)] * 4
    write_video(tmp_path / "good.mp4", [*pictures, *black], 1)
    (tmp_path / "bad.mp4").write_text("no video")
    paths = [tmp_path / "good.mp4", tmp_path / "bad.mp4"]
    found = dict(describe_files(paths, [HISTOGRAM], workers=1))
    assert found[paths[0]]["colour histogram"].shape == (4, 512)
    assert isinstance(found[paths[1]], MediaError)


class TestWhatCanBeMadeHere:
    def test_without_its_package_a_kind_says_so(self, monkeypatch, network_file):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert why_not_run({"SSCD": network_file}) == {
            "pHash": "imagehash is not installed (extra bench)",
            "PDQ": "pdqhash is not installed (extra bench)",
            "SSCD": "onnxruntime is not installed (extra bench)",
            "SSCD distilled": "no file of it (--sscd-distilled FILE)",
        }
        assert [kind.name for kind in frame_descriptors({})] == ["colour histogram"]

    @pytest.mark.usefixtures("onnxruntime")
    def test_without_its_file_a_kind_says_so(self, tmp_path):
        reasons = why_not_run({"SSCD": None, "SSCD distilled": tmp_path / "absent.onnx"})
        assert reasons["SSCD"] == "no file of it (--sscd FILE)"
        assert reasons["SSCD distilled"] == f"{tmp_path / 'absent.onnx'}: no such file"

    @pytest.mark.usefixtures("onnxruntime")
    def test_with_its_file_a_kind_describes_pictures(self, network_file):
        files = dict.fromkeys(OF_FILES, network_file)
        found = {kind.name: kind for kind in frame_descriptors(files)}
        assert set(found) | set(why_not_run(files)) == set(KINDS)
        red = np.zeros((2, 8, 8, 3), dtype=np.uint8)
        red[..., 0] = 255
        assert found["SSCD"].describe(red).tolist() == [[1, 0, 0]] * 2

    @pytest.mark.usefixtures("onnxruntime")
    def test_a_file_that_is_no_network_ends_in_one_line(self, tmp_path):
        (tmp_path / "text.onnx").write_text("no network")
        with pytest.raises(ModelError, match=r"text\.onnx: not a readable ONNX network"):
            frame_descriptors({"SSCD": tmp_path / "text.onnx"})


@pytest.mark.usefixtures("onnxruntime")
def test_rows_are_kept_for_the_weights_that_made_them(clips, network_file, tmp_path):
    def described(path):
        (kind,) = (kind for kind in frame_descriptors({"SSCD": path}) if kind.name == "SSCD")
        return kept_descriptors(tmp_path / "kept", [clips / "clip_0.mp4"], [kind], workers=1)["SSCD"]

    first = described(network_file)
    assert first[0].shape == (len(first[0]), 3)
    shutil.copy(network_file, tmp_path / "copy.onnx")
    assert (described(tmp_path / "copy.onnx")[0] == first[0]).all()
    assert len(list((tmp_path / "kept").iterdir())) == 1
    other = write_mean_colours(tmp_path / "other.onnx", name="another network")
    described(other)
    assert len(list((tmp_path / "kept").iterdir())) == 2

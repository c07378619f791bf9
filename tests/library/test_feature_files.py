"""Feature files in the authors' layout: what is in them is searched, what is wrong with them is said."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.library.made import encoded_video, file_facts, unit
from visil.errors import DataError
from visil.evaluation.evaluate import evaluate
from visil.evaluation.ground_truth import GroundTruth, Task
from visil.evaluation.library_scores import LibraryScores
from visil.evaluation.score_files import read_scores
from visil.evaluation.scores import Scores
from visil.library import feature_files
from visil.library.library import TABLE, Library
from visil.library.reindexing import UnfinishedReindexError
from visil.library.repairing import repair_library
from visil.library.store import FAILED, NO_CONTENT, Store, StoredVideo
from visil.model.bundle import Bundle
from visil.model.model import Model
from visil.model.network import NetworkSettings, SimilarityNetwork
from visil.values import RegionVectors

h5py = pytest.importorskip("h5py")

DIM, NUM_REGIONS = 128, 9


@pytest.fixture
def library(tmp_path: Path, quick_model: Model) -> Library:
    return Library.create(tmp_path / "library", quick_model)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "features.hdf5"


def vectors(num_frames: int, *, seed: int = 0, num_regions: int = NUM_REGIONS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return unit(rng.normal(size=(num_frames, num_regions, DIM))).astype(np.float32)


def write(path: Path, **data_sets: object) -> Path:
    """Add data sets to a file; `__` in a name stands for a slash."""
    with h5py.File(path, "a") as file:
        for name, values in data_sets.items():
            file[name.replace("__", "/")] = values
    return path


def reasons(library: Library) -> dict[str, str]:
    return {record.id: record.reason for record in library.list() if record.status == FAILED}


class TestWhatIsRead:
    def test_a_data_set_is_a_video_and_its_name_the_id_groups_included(self, library, path):
        write(path, v1=vectors(5, seed=1), _1__1_1_Y=vectors(2, seed=2))
        report = library.add_features(path)
        assert report.added == ["_1/1_1_Y", "v1"]
        assert (report.num_samples, report.failed) == (7, [])
        stored = library.encoded("v1").region_vectors
        np.testing.assert_allclose(stored.vectors, vectors(5, seed=1), atol=1e-3)
        assert stored.times_s.tolist() == [0, 1, 2, 3, 4]
        record = library.record("_1/1_1_Y")
        assert (record.duration_s, record.num_samples) == (2.0, 2)
        assert record.file.path == f"hdf5:{path}#_1/1_1_Y"
        assert library.verify() == []

    def test_such_videos_are_found_like_any_others(self, library, path):
        library.add_features(write(path, a=vectors(6, seed=1), b=vectors(6, seed=2), clip=vectors(6, seed=1)[2:5]))
        best = library.search("id:clip")[0]
        assert best.video == "a"
        assert best.stages["fine"] == pytest.approx(1, abs=1e-3)

    @pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
    def test_any_float_is_read(self, library, path, dtype):
        library.add_features(write(path, v=vectors(3).astype(dtype)))
        np.testing.assert_allclose(library.encoded("v").region_vectors.vectors, vectors(3), atol=1e-3)

    def test_a_data_set_of_rank_two_has_one_region(self, library, path):
        library.add_features(write(path, v=vectors(3, num_regions=1)[:, 0]))
        assert library.encoded("v").region_vectors.vectors.shape == (3, 1, DIM)

    @pytest.mark.parametrize("read_bytes", [1, 3 * 4 * NUM_REGIONS * DIM, 1 << 25])
    @pytest.mark.parametrize("chunks", [None, (2, 4, 100), (50, NUM_REGIONS, DIM)])
    def test_neither_blocks_nor_chunks_change_what_is_read(self, library, path, monkeypatch, read_bytes, chunks):
        monkeypatch.setattr(feature_files, "READ_BYTES", read_bytes)
        with h5py.File(path, "w") as file:
            options = {} if chunks is None else {"chunks": chunks, "compression": "gzip", "maxshape": (None,) * 3}
            file.create_dataset("v", data=vectors(10), **options)
        library.add_features(path)
        np.testing.assert_allclose(library.encoded("v").region_vectors.vectors, vectors(10), atol=1e-3)
        assert len(library.encoded("v").descriptors) == 1

    def test_frames_of_zeros_have_no_content(self, library, path):
        some = vectors(4)
        some[1] = 0
        library.add_features(write(path, some=some, none=np.zeros_like(some)))
        assert library.encoded("some").region_vectors.times_s.tolist() == [0, 2, 3]
        assert library.record("none").status == NO_CONTENT
        assert library.verify() == []

    def test_only_the_wanted_ids_are_taken(self, library, path):
        write(path, a=vectors(2), b=vectors(2))
        assert library.add_features(path, only={"b", "c"}).added == ["b"]
        with pytest.raises(DataError, match=r"features\.hdf5: no video to add; its data sets are 'a', 'b' \.\.\."):
            library.add_features(path, only={"c"})

    @pytest.mark.parametrize("network", [NetworkSettings(attention="sigmoid", comparator_padding="zeros"),
                                         NetworkSettings(bits=64, comparator_padding="replicate")])  # fmt: skip
    @pytest.mark.parametrize("num_frames", [1, 3, 9])
    def test_scores_are_those_of_the_network_attention_binarization_and_repeating_included(
        self, tmp_path, path, quick_model, network, num_frames
    ):
        torch.manual_seed(0)
        parts = SimilarityNetwork(network, DIM).state_dict()
        settings = replace(quick_model.settings, network=network)
        learned = Model(Bundle(settings, {**quick_model.bundle.tensors, **parts}), device="cpu")
        library = Library.create(tmp_path / "learned", learned)
        a, b = vectors(num_frames, seed=1), vectors(7, seed=2)
        library.add_features(write(path, a=a, b=b))
        (result,) = library.score_many(["a"])
        with torch.no_grad():
            indexed = [learned.network.repeat_short(learned.network.index(torch.from_numpy(v))) for v in (a, b)]
            alone = float(learned.network.score(*indexed))
        assert result.scores[0] == pytest.approx(alone / 2 + 0.5, abs=5e-4)  # stored in half precision


class TestAgain:
    def test_nothing_is_read_twice(self, library, path, monkeypatch):
        write(path, a=vectors(2), bad=np.zeros(3))
        library.add_features(path)
        version = library.version
        monkeypatch.setattr(feature_files.FeatureFile, "vectors", None)
        report = library.add_features(path)
        assert (report.unchanged, len(report.failed_before), report.added) == (1, 1, [])
        assert library.version == version

    def test_a_touched_file_is_read_but_only_what_changed_is_stored(self, library, path):
        write(path, same=vectors(2), other=vectors(2, seed=1), bad=np.zeros(3))
        library.add_features(path)
        with h5py.File(path, "a") as file:
            file["other"][0] = vectors(1, seed=2)[0]
            del file["bad"]
            file["bad"] = vectors(1, seed=3)
            file["new"] = vectors(1, seed=4)
        report = library.add_features(path)
        assert (report.unchanged, sorted(report.replaced), report.added) == (1, ["bad", "other"], ["new"])
        np.testing.assert_allclose(library.encoded("other").region_vectors.vectors[0], vectors(1, seed=2)[0], atol=1e-3)
        assert library.verify() == []
        assert library.add_features(path).unchanged == 4

    def test_failures_are_tried_again_when_asked_for(self, library, path):
        write(path, a=vectors(2), bad=np.zeros(3))
        library.add_features(path)
        assert len(library.add_features(path, retry_failed=True).failed) == 1

    def test_what_was_read_before_an_interrupt_is_kept_and_the_rest_follows(self, library, path, monkeypatch):
        write(path, **{f"v{i}": vectors(2, seed=i) for i in range(6)})

        def stop(done: int, total: int) -> None:
            if done == 4:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            library.add_features(path, progress=stop)
        assert len(library.list()) == 4
        told: list[tuple[int, int]] = []
        report = library.add_features(path, progress=lambda *counts: told.append(counts))
        assert (report.unchanged, report.added) == (4, ["v4", "v5"])
        assert told == [(i, 6) for i in range(7)]

    def test_a_moved_file_is_recognised_by_what_is_in_it(self, library, path, tmp_path):
        library.add_features(write(path, a=vectors(2)))
        path.rename(tmp_path / "moved.hdf5")
        assert library.add_features(tmp_path / "moved.hdf5").unchanged == 1
        assert library.record("a").file.path == f"hdf5:{tmp_path}/moved.hdf5#a"


class TestBesideVideoFiles:
    def test_an_id_that_a_video_file_has_is_not_overwritten(self, library, path, quick_model):
        own = encoded_video(3, seed=0, dim=DIM, num_regions=NUM_REGIONS)
        Store(library.path / TABLE, DIM).put([StoredVideo("a", file_facts("/videos/a"), own)])
        write(path, a=vectors(2), b=vectors(2))
        with pytest.raises(DataError, match="the library has a video 'a' already, indexed from /videos/a; take"):
            library.add_features(path)
        assert [record.id for record in library.list()] == ["a"]
        assert library.add_features(path, only={"b"}).added == ["b"]
        assert library.record("a").file.path == "/videos/a"

    def test_indexing_the_folder_of_the_file_leaves_its_videos_alone(self, library, path, clips):
        features = write(clips / "features.hdf5", a=vectors(2), **{"clip_1.mp4": vectors(2)})
        library.add_features(features)
        features.unlink()
        report = library.add([clips / "clip_0.mp4", clips / "clip_1.mp4"], workers=1)
        assert sorted(report.added) == ["clip_0.mp4", "clips/clip_1.mp4"]
        report = library.add(clips, workers=1, include=["clip_0*"])
        assert (report.vanished, report.moved, report.unmounted) == ([], [], [])
        assert library.record("a").num_samples == 2

    def test_verify_looks_for_the_feature_file(self, library, path):
        library.add_features(write(path, a=vectors(2)))
        write(path, b=vectors(1))  # another time, but the values of a are what they were
        assert library.verify() == []
        with h5py.File(path, "a") as file:
            file["a"][0] = vectors(1, seed=1)[0]
        (finding,) = library.verify()
        assert (finding.damage, "its feature file has changed" in finding.problem) == (False, True)
        with h5py.File(path, "a") as file:
            del file["a"]
        assert ["its feature file has changed" in finding.problem for finding in library.verify()] == [True]
        path.write_bytes(path.read_bytes()[:100])
        (finding,) = library.verify()
        assert finding.problem.startswith(f"its feature file cannot be read: {path}")
        path.unlink()
        (finding,) = library.verify()
        assert finding.problem == f"its feature file is gone: {path}"

    def test_a_damaged_row_is_restored_by_adding_the_file_again(self, library, path):
        library.add_features(write(path, a=vectors(2)))
        stored = Store(library.path / TABLE, DIM).read("a")
        too_long = RegionVectors(stored.encoded.region_vectors.vectors * np.float16(2), np.arange(2.0))
        damaged = replace(stored, encoded=replace(stored.encoded, region_vectors=too_long))
        Store(library.path / TABLE, DIM).put([damaged])
        assert any(
            f"adding its feature file again restores hdf5:{path}#a" in line for line in repair_library(library.path)
        )
        again = Library.open(library.path, device="cpu")
        assert again.add_features(path).replaced == ["a"]
        assert again.verify() == []

    def test_they_cannot_be_encoded_anew_and_that_is_said(self, library, path, model):
        library.add_features(write(path, a=vectors(2)))
        bundle = library.path.parent / "other.safetensors"
        model.bundle.save(bundle)
        with pytest.raises(UnfinishedReindexError, match="came from a feature file: it cannot be encoded anew"):
            library.reindex(bundle, workers=1)
        assert library.record("a").num_samples == 2


class TestWrongDataSets:
    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            (np.zeros((3, NUM_REGIONS, DIM), np.int32), "expected float [T,R,D] or [T,D], got int32 [3, 9, 128]"),
            (np.zeros((2, 3, 4, 5), np.float32), "expected float [T,R,D] or [T,D], got float32 [2, 3, 4, 5]"),
            (np.float32(1), "expected float [T,R,D] or [T,D], got float32 []"),
            (np.array(["text"], object), "expected float [T,R,D] or [T,D], got object [1]"),
            (np.zeros((0, NUM_REGIONS, DIM), np.float32), "it holds no frame: [0, 9, 128]"),
            (vectors(3, num_regions=4), "4 regions of 128 dimensions, expected 9 of 128"),
            (vectors(3)[..., :64], "9 regions of 64 dimensions, expected 9 of 128"),
            (2 * vectors(3), "its vectors must be of length 1, as they are before attention, got one of 2"),
            (vectors(3) / 2, "its vectors must be of length 1, as they are before attention, got one of 0.5"),
            (vectors(3) * np.where(np.arange(DIM) == 5, np.nan, 1), "its values are not all finite numbers"),
            (vectors(3) * np.where(np.arange(DIM) == 5, np.inf, 1), "its values are not all finite numbers"),
            (vectors(3).astype(np.float64) * 1e300, "its values are not all finite numbers"),
        ],
    )
    def test_fail_with_their_reason_and_the_others_are_stored(self, library, path, values, reason):
        report = library.add_features(write(path, a=vectors(2), bad=values))
        assert report.added == ["a"]
        assert report.failed == [(f"hdf5:{path}#bad", reason)]
        assert reasons(library) == {"bad": reason}

    def test_most_data_sets_say_which_shape_is_right_not_the_first(self, library, path):
        of_other_shapes = {"a": vectors(3, num_regions=4), "b": vectors(3)[..., :64]}
        report = library.add_features(write(path, **of_other_shapes, **{f"v{i}": vectors(3, seed=i) for i in range(3)}))
        assert (report.added, len(report.failed)) == (["v0", "v1", "v2"], 2)
        assert reasons(library)["a"] == "4 regions of 128 dimensions, expected 9 of 128"

    def test_what_claims_to_be_huge_takes_no_memory(self, library, path):
        write(path, a=vectors(2))
        with h5py.File(path, "a") as file:
            file.create_dataset("long", (10**9, NUM_REGIONS, DIM), "f4", chunks=(1, NUM_REGIONS, DIM))
            file.create_dataset("empty", (1000, NUM_REGIONS, DIM), "f4", chunks=(1, NUM_REGIONS, DIM))
        library.add_features(path)
        assert reasons(library) == {
            "long": f"it is too large: [1000000000, {NUM_REGIONS}, {DIM}]",
            "empty": "its values were never written",
        }

    def test_nothing_that_lies_in_another_file_is_read(self, library, path, tmp_path):
        secret = write(tmp_path / "secret.hdf5", v=vectors(3))
        raw = tmp_path / "raw.bin"
        raw.write_bytes(vectors(3).tobytes())
        layout = h5py.VirtualLayout((3, NUM_REGIONS, DIM), "f4")
        layout[:] = h5py.VirtualSource(str(secret), "v", (3, NUM_REGIONS, DIM))
        write(path, a=vectors(2), soft=h5py.SoftLink("/a"), outside=h5py.ExternalLink(str(secret), "/v"))
        with h5py.File(path, "a") as file:
            file.create_virtual_dataset("virtual", layout)
            file.create_dataset(
                "stored_outside", (3, NUM_REGIONS, DIM), "f4", external=[(str(raw), 0, raw.stat().st_size)]
            )
        report = library.add_features(path)
        assert report.added == ["a"]
        linked, elsewhere = "a link, which is not followed", "its values lie in other files, which are not read"
        assert {place.split("#")[1]: reason for place, reason in report.failed} == {
            "soft": linked,
            "outside": linked,
            "virtual": elsewhere,
            "stored_outside": elsewhere,
        }

    def test_links_to_what_nobody_asks_for_are_no_failures(self, library, path):
        write(path, a=vectors(2), soft=h5py.SoftLink("/a"), g__h=h5py.SoftLink("/a"))
        assert library.add_features(path, only={"a"}).failed == []
        report = library.add_features(path, only={"a", "g/h/video"})  # the link could be its group
        assert [place.split("#")[1] for place, _ in report.failed] == ["g/h"]

    def test_groups_in_a_circle_and_named_types_do_not_stop_it(self, library, path):
        with h5py.File(write(path, g__a=vectors(2)), "a") as file:
            file["g/again"] = file["g"]
            file["type"] = np.dtype("f4")
        report = library.add_features(path)
        assert report.added == ["g/a"]
        assert {reason for _, reason in report.failed} == {
            "a group that was found before under another name",
            "not a data set",
        }


class TestWrongFiles:
    def test_vectors_of_another_bundle_are_one_clear_error(self, library, path):
        write(path, a=np.ones((2, NUM_REGIONS, 512), np.float32))
        with pytest.raises(DataError, match=r"its vectors have 512 dimensions, those of bundle 'quick' have 128; use"):
            library.add_features(path)
        assert library.list() == ()

    def test_a_file_without_data_sets_is_an_error(self, library, path):
        with h5py.File(path, "w") as file:
            file.create_group("g")
        with pytest.raises(DataError, match="no video to add; no data set in it"):
            library.add_features(path)

    def test_a_file_that_is_cut_anywhere_gives_one_line_or_loses_some_videos(self, tmp_path, quick_model, path):
        content = write(path, **{f"v{i}": vectors(2, seed=i) for i in range(3)}).read_bytes()
        for length in range(0, len(content) - 1, len(content) // 12):
            path.write_bytes(content[:length])
            library = Library.create(tmp_path / f"library_{length}", quick_model)
            with pytest.raises(DataError, match=r"features\.hdf5: (cannot be read as HDF5|damaged|no video)") as raised:
                library.add_features(path)
            assert "\n" not in str(raised.value)

    def test_damaged_bytes_fail_a_video_or_the_file_and_nothing_else(self, tmp_path, quick_model, path):
        """Every 211th byte turned over, one at a time, beside the vectors themselves."""
        with h5py.File(path, "w") as file:
            for i in range(2):
                file.create_dataset(f"g/v{i}", data=vectors(1, seed=i), compression="gzip", fletcher32=True)
        content = path.read_bytes()
        library = Library.create(tmp_path / "damaged", quick_model)
        for at in range(0, len(content), 211):
            path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
            try:
                report = library.add_features(path)
            except DataError as error:
                assert "\n" not in str(error)
            else:
                assert all("\n" not in reason for _, reason in report.failed)

    def test_a_name_that_is_no_text_is_one_clear_error(self, library, path):
        with h5py.File(write(path, a=vectors(1)), "a") as file:
            file[b"\xff\xfe"] = vectors(1)
        with pytest.raises(DataError, match=r"damaged \(the name b'\\xff\\xfe' is not valid UTF-8\)"):
            library.add_features(path)

    @pytest.mark.parametrize("kind", ["missing", "folder", "text"])
    def test_what_is_no_feature_file_is_an_error(self, library, path, kind):
        if kind == "folder":
            path.mkdir()
        elif kind == "text":
            path.write_text("no HDF5")
        with pytest.raises(DataError, match=r"no such file|not a regular file|cannot be read as HDF5"):
            library.add_features(path)

    def test_without_h5py_the_extra_is_named(self, library, path, monkeypatch):
        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(DataError, match=r"feature files need h5py: pip install 'visil\[evaluate\]'"):
            library.add_features(path)


def test_features_evaluate_to_the_same_numbers_as_their_scores_in_a_file(tmp_path: Path, quick_model: Model) -> None:
    """200 videos: 20 queries, each with nine copies that are less and less alike."""
    rng = np.random.default_rng(0)
    videos: dict[str, np.ndarray] = {}
    relevant: dict[str, frozenset[str]] = {}
    for group in range(20):
        source = vectors(int(rng.integers(1, 7)), seed=1000 + group)
        ids = [f"{group}/{group}_{number}_Y" for number in range(10)]
        for number, id in enumerate(ids):
            noise = rng.normal(size=source.shape) * number / 12
            videos[id] = unit(source + noise).astype(np.float32)
        relevant[ids[0]] = frozenset(ids[1:])
    path = tmp_path / "features.hdf5"
    with h5py.File(path, "w") as file:
        for id, values in videos.items():
            file.create_dataset(id, data=values, compression="gzip")
    truth = GroundTruth("made", tuple(relevant), tuple(videos), (Task("COPY", relevant),))

    library = Library.create(tmp_path / "library", quick_model)
    report = library.add_features(path)
    assert (len(report.added), report.failed) == (200, [])
    of_library = LibraryScores(library, truth)
    from_features = evaluate(truth, of_library)

    same = {query.query: dict(zip(query.videos, query.scores.tolist(), strict=True)) for query in of_library}
    from_same = evaluate(truth, written_scores(tmp_path / "same.json", same))
    ours, theirs = from_features.tasks[0], from_same.tasks[0]
    assert ours.average_precision == theirs.average_precision
    assert ours.mean_average_precision.value == theirs.mean_average_precision.value
    assert ours.micro_average_precision.value == theirs.micro_average_precision.value
    assert replace(from_features.coverage, knows_available=False) == from_same.coverage

    exact = {query: {id: chamfer(videos[query], values) for id, values in videos.items()} for query in relevant}
    from_exact = evaluate(truth, written_scores(tmp_path / "exact.json", exact)).tasks[0]
    assert 0.5 < from_exact.mean_average_precision.value.value < 0.99, "neither trivial nor chance"
    for query, precision in ours.average_precision.items():  # half precision may exchange neighbours
        assert precision == pytest.approx(from_exact.average_precision[query], abs=1e-3)


def written_scores(path: Path, scores: dict[str, dict[str, float]]) -> Scores:
    path.write_text(json.dumps(scores))
    return read_scores(path)


def chamfer(query: np.ndarray, target: np.ndarray) -> float:
    """The score of ViSiL_f, one frame after the other."""
    best = []
    for frame in query.astype(np.float64):
        best.append(max(float((frame @ other.T).max(axis=1).mean()) for other in target.astype(np.float64)))
    return float(np.mean(best))

"""Scores of all pairs of a small benchmark, by networks and by baselines; features are kept."""

import hashlib
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from visil.benchmarks.benchmark_data import DISTRACTOR, EDIT, Benchmark, BenchmarkSettings, LibraryVideo, Query
from visil.benchmarks.benchmark_search import (
    NO_SCORE,
    baseline_scores,
    check_models,
    kept_descriptors,
    load_models,
    model_scores,
    system_scores,
)
from visil.benchmarks.frame_descriptors import OF_PICTURES, FrameDescriptor, frame_descriptors
from visil.errors import DataError, VisilError
from visil.library.library import Library

PHASH, HISTOGRAM = (FrameDescriptor(name, OF_PICTURES[name]) for name in ("pHash", "colour histogram"))
NOTHING = frozenset[str]()
VIDEOS, QUERIES = (0, 1, 2, 3), (2, 0, 5)  # clips that are searched, and copies of clips that are searched for


@pytest.fixture
def benchmark_of_clips(clips, tmp_path) -> Benchmark:
    """Every query has an exact copy in the library but the last; one video and one query cannot be read."""
    (tmp_path / "queries").mkdir()
    videos = [clips / f"clip_{i}.mp4" for i in VIDEOS]
    queries = [tmp_path / "queries" / f"query_{i}.mp4" for i in QUERIES]
    for number, query in zip(QUERIES, queries, strict=True):
        shutil.copy(clips / f"clip_{number}.mp4", query)
    videos.append(clips / "broken.mp4")
    queries.append(tmp_path / "queries" / "broken_query.mp4")
    for broken in (videos[-1], queries[-1]):
        broken.write_bytes(b"no video")
    is_relevant = np.array([[q == v for v in (*VIDEOS, None)] for q in (*QUERIES, 9)])
    return Benchmark(
        BenchmarkSettings("val"),
        tmp_path / "benchmark",
        tuple(LibraryVideo(path, DISTRACTOR, NOTHING, 3.0) for path in videos),
        tuple(Query(path, EDIT, NOTHING, "unit") for path in queries),
        is_relevant,
        ~is_relevant,
    )


def check_pairs(scores: np.ndarray) -> None:
    assert scores.shape == (4, 5)
    assert scores[0].argmax() == 2
    assert scores[1].argmax() == 0
    assert (scores[:, 4] == NO_SCORE).all()
    assert (scores[3] == NO_SCORE).all()
    assert (scores[:3, :4] >= 0).all()


def test_a_network_scores_every_pair_that_can_be_read(benchmark_of_clips, quick_model):
    system = model_scores(benchmark_of_clips, quick_model, workers=1)
    check_pairs(system.scores)
    assert system.scores[0, 2] == pytest.approx(1.0, abs=1e-3)
    assert (system.name, system.bundle) == ("quick", quick_model.bundle.hash)
    assert (system.num_queries, system.num_videos) == (3, 4)
    assert system.bytes_a_video > 1000
    assert system.ms_a_pair > 0


@pytest.mark.parametrize(("rerank", "num_pairs"), [("all", 12), (1, 3), (0, 12)])
def test_the_time_of_a_pair_is_that_of_comparing_alone_among_the_pairs_that_are_compared(
    benchmark_of_clips, quick_model, monkeypatch, rerank, num_pairs
):
    import visil.benchmarks.benchmark_search as searching

    class Clock:
        """Reading a video takes an hour, scoring a block of queries a second."""

        now_s = 0.0

        def monotonic(self) -> float:
            return self.now_s

    clock, encoded, score_many = Clock(), Library.encoded, Library.score_many

    def slow_read(library, id):
        clock.now_s += 3600
        return encoded(library, id)

    def score(library, queries, **options):
        found = list(score_many(library, queries, **options))
        clock.now_s += 1
        return found

    model_scores(benchmark_of_clips, quick_model, workers=1)  # makes the features
    monkeypatch.setattr(searching, "time", clock)
    monkeypatch.setattr(searching, "SCORED_QUERY_COUNT", 2)  # of three queries
    monkeypatch.setattr(Library, "encoded", slow_read)
    monkeypatch.setattr(Library, "score_many", score)
    system = model_scores(benchmark_of_clips, quick_model, workers=1, rerank=rerank)
    assert system.ms_a_pair == pytest.approx(1000 * 2 / num_pairs)
    if rerank == "all":
        check_pairs(system.scores)


def test_videos_beyond_the_reranked_ones_lie_below_them(benchmark_of_clips, quick_model):
    scores = model_scores(benchmark_of_clips, quick_model, workers=1, rerank=1).scores
    assert (np.sort(scores[:3, :4])[:, :3] <= 0).all()
    assert scores[0].argmax() == 2


@pytest.mark.parametrize(("asked", "by_moments"), [({}, True), ({"by_moments": False}, False)])
def test_scores_are_those_of_a_search_unless_the_papers_are_asked_for(
    benchmark_of_clips, quick_model, monkeypatch, asked, by_moments
):
    told = []
    score_many = Library.score_many

    def spy(library, queries, **options):
        told.append(options["by_moments"])
        return score_many(library, queries, **options)

    monkeypatch.setattr(Library, "score_many", spy)
    model_scores(benchmark_of_clips, quick_model, workers=1, **asked)
    assert told == [by_moments]


def test_features_are_kept_and_only_those_of_changed_files_are_made_again(benchmark_of_clips, quick_model):
    before = model_scores(benchmark_of_clips, quick_model, workers=1).scores
    videos, queries = benchmark_of_clips.videos, benchmark_of_clips.queries
    shutil.copy(videos[1].path, queries[2].path)
    after = model_scores(benchmark_of_clips, quick_model, workers=1).scores
    assert (after[:2] == before[:2]).all()
    assert after[2].argmax() == 1


@pytest.mark.parametrize("kind", [PHASH, HISTOGRAM], ids=lambda kind: kind.name)
def test_a_baseline_scores_every_pair_that_can_be_read(benchmark_of_clips, kind):
    pytest.importorskip("imagehash")
    (system,) = baseline_scores(benchmark_of_clips, [kind], workers=1)
    check_pairs(system.scores)
    assert (system.name, system.bundle, system.num_queries, system.num_videos) == (kind.name, None, 3, 4)


@pytest.mark.usefixtures("onnxruntime")
def test_sscd_scores_every_pair_that_can_be_read_and_says_by_which_weights(benchmark_of_clips, network_file):
    (kind,) = (kind for kind in frame_descriptors({"SSCD": network_file}) if kind.name == "SSCD")
    (system,) = baseline_scores(benchmark_of_clips, [kind], workers=1)
    check_pairs(system.scores)
    assert system.scores[0, 2] == pytest.approx(1, abs=1e-5)
    weights = hashlib.sha256(network_file.read_bytes()).hexdigest()
    assert (system.name, system.bundle, system.num_queries, system.num_videos) == ("SSCD", weights, 3, 4)
    num_frames = system.bytes_a_video * 5 / (2 * 3)  # five videos, float16 [T, 3]
    assert num_frames == int(num_frames) >= 4


def test_videos_left_out_for_a_query_take_no_votes(benchmark_of_clips):
    pytest.importorskip("imagehash")
    shutil.copy(benchmark_of_clips.videos[2].path, benchmark_of_clips.videos[3].path)  # two copies share the votes
    (shared,) = baseline_scores(benchmark_of_clips, [PHASH], workers=1)
    benchmark_of_clips.is_unrelated[0, 3] = False
    (alone,) = baseline_scores(benchmark_of_clips, [PHASH], workers=1)
    assert (shared.scores[0, 2], alone.scores[0, 2]) == (0.5, 1.0)
    assert (alone.scores[1:] == shared.scores[1:]).all()


@dataclass(frozen=True)
class AmongThemselves:
    """Files that are searched for in each other."""

    folder: Path
    paths: list[Path]

    @property
    def video_paths(self) -> list[Path]:
        return self.paths

    query_paths = video_paths

    @property
    def takes_no_votes(self) -> np.ndarray:
        return np.eye(len(self.paths), dtype=bool)


def test_videos_that_are_searched_for_in_each_other_are_read_once(clips, quick_model, tmp_path, caplog):
    pytest.importorskip("imagehash")
    videos = AmongThemselves(tmp_path, [clips / f"clip_{i}.mp4" for i in VIDEOS])
    system = model_scores(videos, quick_model, workers=1)
    assert system.scores.shape == (4, 4)
    assert np.diag(system.scores) == pytest.approx(1.0, abs=1e-3)
    with caplog.at_level("INFO"):
        (hashes,) = baseline_scores(videos, [PHASH], workers=1)
    assert (np.diag(hashes.scores) == 0).all()
    assert caplog.text.count("describing the frames of 4 files") == 1
    assert sorted(folder.name for folder in tmp_path.glob("features/*/*") if folder.is_dir()) == ["videos"]
    assert not (tmp_path / "features" / "frames-queries").exists()


def test_without_baselines_the_models_alone_are_measured(clips, quick_model, tmp_path):
    videos = AmongThemselves(tmp_path, [clips / "clip_0.mp4", clips / "clip_1.mp4"])
    bundle = tmp_path / "quick.safetensors"
    quick_model.bundle.save(bundle)
    systems = system_scores(videos, [], [str(bundle)], untrained=None, device="cpu", workers=1)
    assert [system.name for system in systems] == ["quick"]


def test_descriptors_of_files_that_did_not_change_are_not_made_again(clips, tmp_path, monkeypatch):
    import visil.benchmarks.benchmark_search as searching

    paths, described = [clips / "clip_0.mp4", clips / "clip_1.mp4"], []
    plain = searching.describe_files

    def seen(paths, kinds, *, workers):
        described.extend(path.name for path in paths)
        return plain(paths, kinds, workers=workers)

    monkeypatch.setattr(searching, "describe_files", seen)
    first = kept_descriptors(tmp_path / "kept", paths, [HISTOGRAM], workers=1)
    os.utime(paths[1], ns=(1, 1))
    again = kept_descriptors(tmp_path / "kept", paths, [HISTOGRAM], workers=1)
    assert described == ["clip_0.mp4", "clip_1.mp4", "clip_1.mp4"]
    assert all((a == b).all() for a, b in zip(first[HISTOGRAM.name], again[HISTOGRAM.name], strict=True))


def test_two_bundles_of_one_name_are_an_error(quick_model, tmp_path):
    quick_model.bundle.save(tmp_path / "a.safetensors")
    replace(quick_model.bundle).save(tmp_path / "b.safetensors")
    with pytest.raises(DataError, match="another bundle is called 'quick' too"):
        list(load_models([str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")], device="cpu"))


def test_a_device_that_is_not_there_is_said_before_the_work_even_of_the_built_in_network():
    with pytest.raises(VisilError, match="nonsense"):
        check_models([], device="nonsense")

"""Searching: who is found, in which order, for every way to ask."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import visil.library.file_state as file_state_module
import visil.library.fine as fine_module
import visil.library.library as library_module
import visil.library.search as search_module
import visil.library.store as store_module
from tests.library.made import VIDEO, encoded_video, facts_of, failed_video, file_facts, unit
from visil.errors import DataError, LibraryError, MediaError
from visil.library.file_state import OwnFile, file_state
from visil.library.files import content_hash
from visil.library.fine import _RowMaxima
from visil.library.library import TABLE, Library
from visil.library.search import SearchProgress, SearchResult, rerank_count
from visil.library.store import FileFacts, Store, StoredVideo
from visil.media.reader import RULES
from visil.model import moments
from visil.model.bundle import Bundle
from visil.model.model import Model
from visil.model.moments import MIN_SAMPLES
from visil.model.network import NetworkSettings, SimilarityNetwork
from visil.synth.video_file import write_video
from visil.values import EncodedVideo, Match, RegionVectors

SEEDS = st.integers(0, 2**16)
SAME = 2e-6  # batch shapes round differently in float32


@pytest.fixture
def library(tmp_path: Path, quick_model: Model) -> Library:
    return Library.create(tmp_path / "library", quick_model)


def encoded(model: Model, num_frames: int, *, seed: int, num_parts: int = 1) -> EncodedVideo:
    """A random video that fits the model."""
    return encoded_video(num_frames, seed=seed, dim=model.dim, num_regions=9, num_parts=num_parts)


def fill(library: Library, videos: dict[str, EncodedVideo]) -> None:
    """Store encoded videos without any file behind them."""
    rows = [StoredVideo(id, file_facts(f"/videos/{id}"), video) for id, video in videos.items()]
    Store(library.path / TABLE, library.model.dim).put(rows)
    library.refresh()


def put(library: Library, *videos: StoredVideo) -> None:
    """Store rows as they are."""
    Store(library.path / TABLE, library.model.dim).put(videos)
    library.refresh()


def fill_at_random(library: Library, count: int, *, lengths: Sequence[int] = (1, 3, 12)) -> None:
    fill(
        library,
        {f"v{i:02}": encoded(library.model, lengths[i % len(lengths)], seed=100 + i) for i in range(count)},
    )


def order(matches: Sequence[Match]) -> list[str]:
    return [match.video for match in matches]


def assert_same_matches(ours: Sequence[Match], theirs: Sequence[Match]) -> None:
    """Equal in everything; scores to the rounding of batches."""
    assert order(ours) == order(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.stages == pytest.approx(other.stages, abs=SAME)
        assert replace(one, score=0, stages={}) == replace(other, score=0, stages={})


class TestRerankCount:
    @pytest.mark.parametrize(
        ("rerank", "num_videos", "count"),
        [
            (0, 100, 0),
            (3, 100, 3),
            ("3", 100, 3),
            (200, 100, 100),
            ("5%", 100, 5),
            ("5%", 101, 6),
            ("0.1%", 100, 1),
            ("0%", 100, 0),
            ("100%", 7, 7),
            ("all", 7, 7),
            ("all", 0, 0),
        ],
    )
    def test_is_a_number_a_share_rounded_up_or_all(self, rerank, num_videos, count):
        assert rerank_count(rerank, num_videos) == count

    @pytest.mark.parametrize("rerank", ["", "some", "-1", -1, "101%", "-5%", "nan%", "inf%", "%", "5.5", 2.5, None])
    def test_anything_else_is_an_error_that_names_the_forms(self, rerank):
        with pytest.raises(DataError, match="rerank must be a number, a share such as 5%, or all"):
            rerank_count(rerank, 100)


class TestRanking:
    def test_scores_are_those_of_the_model_for_each_pair(self, library):
        fill_at_random(library, 7)
        query = encoded(library.model, 5, seed=1)
        matches = library.search(query, rerank="all")
        for match in matches:
            alone = library.model.compare(query, library.encoded(match.video))
            assert match.score == pytest.approx(alone.score, abs=SAME)
            assert match.score == pytest.approx(match.stages["fine"] / 2 + 0.5)
        assert [m.score for m in matches] == sorted((m.score for m in matches), reverse=True)
        assert len(matches) == 7

    def test_a_video_finds_its_own_frames_first(self, library):
        fill_at_random(library, 9)
        query = library.encoded("v05")
        assert order(library.search(query))[0] == "v05"

    def test_a_clip_finds_the_video_that_contains_it(self, library):
        fill_at_random(library, 9)
        whole = library.encoded("v05").region_vectors
        clip = replace(library.encoded("v05"), region_vectors=RegionVectors(whole.vectors[4:7], whole.times_s[4:7] - 4))
        best = library.search(clip, rerank="all")[0]
        assert best.video == "v05"
        assert best.stages["fine"] == pytest.approx(1, abs=1e-3)

    def test_ties_rank_by_id_wherever_they_lie_in_the_table(self, library, monkeypatch):
        twin = encoded(library.model, 6, seed=1)
        others = {f"x{i}": encoded(library.model, 3 + i, seed=50 + i) for i in range(6)}
        fill(library, {"t3": twin} | dict(list(others.items())[:3]))
        fill(library, {"t1": twin, "t2": twin} | dict(list(others.items())[3:]))
        query = encoded(library.model, 5, seed=2)
        for block_bytes in (1, 30_000, 1 << 26):
            monkeypatch.setattr(fine_module, "BLOCK_BYTES", block_bytes)
            for rerank in ("all", 0):
                ranked = order(library.search(query, rerank=rerank))
                assert [id for id in ranked if id.startswith("t")] == ["t1", "t2", "t3"]

    def test_top_bounds_the_matches(self, library):
        fill_at_random(library, 9)
        query = encoded(library.model, 5, seed=1)
        assert order(library.search(query, top=4)) == order(library.search(query))[:4]
        with pytest.raises(DataError, match="top must be at least 1, got 0"):
            library.search(query, top=0)

    def test_failed_and_blank_videos_are_never_found(self, library):
        fill(library, {"good": encoded(library.model, 3, seed=0), "blank": encoded_video(0, dim=library.model.dim)})
        Store(library.path / TABLE, library.model.dim).put([failed_video("failed")])
        assert order(library.search(encoded(library.model, 3, seed=1))) == ["good"]

    def test_an_empty_library_has_no_match(self, library):
        assert list(library.search(encoded(library.model, 3, seed=1))) == []


class TestStages:
    def test_only_the_best_candidates_get_a_fine_score_and_only_they_are_matches(self, library):
        fill_at_random(library, 9)
        query = encoded(library.model, 5, seed=1)
        coarse = library.search(query, rerank=0)
        fine = library.search(query, rerank=3, top=3)
        assert all(set(match.stages) == {"coarse"} for match in coarse)
        assert all(set(match.stages) == {"coarse", "fine"} for match in fine)
        assert set(order(fine)) == set(order(coarse)[:3])

    def test_a_coarse_score_is_shown_between_0_and_1(self, library):
        fill_at_random(library, 3)
        for match in library.search(encoded(library.model, 5, seed=1), rerank=0):
            assert match.score == pytest.approx(match.stages["coarse"] / 2 + 0.5)
            assert 0 <= match.score <= 1

    @pytest.mark.parametrize(
        ("rerank", "top", "num_fine"), [(1, 4, 4), (6, 4, 6), ("5%", 4, 4), ("50%", 2, 5), ("all", 2, 9), (0, 4, 0)]
    )
    def test_as_many_are_scored_as_asked_for_and_at_least_as_many_as_shown(self, library, rerank, top, num_fine):
        fill_at_random(library, 10)
        (result,) = library.search_many(["id:v00"], rerank=rerank, top=top)
        assert result.num_fine == num_fine
        assert len(result.matches) == top

    def test_a_wrong_rerank_is_an_error_before_any_query_is_read(self, library):
        with pytest.raises(DataError, match="rerank must be a number"):
            list(library.search_many(["nowhere.mp4"], rerank="most"))


class TestEqualContent:
    def test_comes_first_whatever_it_scores(self, library, clips):
        fill_at_random(library, 5)
        twin = clips / "twin.mp4"
        shutil.copy(clips / "clip_0.mp4", twin)
        put(library, StoredVideo("twin", facts_of(twin), encoded(library.model, 4, seed=9)))
        for rerank in (0, 1, "all"):
            matches = library.search(clips / "clip_0.mp4", rerank=rerank, top=1)
            assert [(match.video, match.identical) for match in matches] == [("twin", True)]
        assert matches[0].stages["fine"] < 0.9, "the raw score stays what it is"

    def test_has_a_fine_score_whatever_the_coarse_one_if_any_video_has(self, library, clips):
        query = encoded(library.model, 4, seed=1)
        opposite = replace(encoded(library.model, 4, seed=9), descriptors=-query.descriptors)
        shutil.copy(clips / "clip_0.mp4", clips / "twin.mp4")
        fill_at_random(library, 5)
        put(library, StoredVideo("query", facts_of(clips / "clip_0.mp4"), query))
        put(library, StoredVideo("twin", facts_of(clips / "twin.mp4"), opposite))
        for rerank, stages in [(0, {"coarse"}), (1, {"coarse", "fine"})]:
            (twin,) = library.search("id:query", rerank=rerank, top=1)
            assert (twin.video, twin.identical, set(twin.stages)) == ("twin", True, stages)

    def test_an_id_query_leaves_itself_out_but_not_its_twin(self, library, clips):
        fill_at_random(library, 5)
        shutil.copy(clips / "clip_0.mp4", clips / "twin.mp4")
        for id in ("clip_0.mp4", "twin.mp4"):
            put(library, StoredVideo(id, facts_of(clips / id), encoded(library.model, 4, seed=9)))
        for rerank in (0, 3, "all"):
            matches = library.search("id:clip_0.mp4", rerank=rerank)
            assert "clip_0.mp4" not in order(matches)
            assert (matches[0].video, matches[0].identical) == ("twin.mp4", True)

    def test_the_only_video_of_a_library_finds_nothing(self, library):
        fill_at_random(library, 1)
        for rerank in (0, 1, "all"):
            assert list(library.search("id:v00", rerank=rerank)) == []

    def test_a_video_that_was_encoded_elsewhere_is_never_identical(self, library):
        fill_at_random(library, 3)
        assert not any(match.identical for match in library.search(library.encoded("v01")))


def with_network(model: Model, network: NetworkSettings) -> Model:
    """The same model with another network on top, of random weights."""
    torch.manual_seed(0)
    parts = SimilarityNetwork(network, model.dim).state_dict()
    settings = replace(model.settings, network=network)
    return Model(Bundle(settings, {**model.bundle.tensors, **parts}), device="cpu")


@pytest.fixture(scope="module")
def models(quick_model: Model) -> dict[str, Model]:
    return {
        "plain": quick_model,
        "comparator": with_network(quick_model, NetworkSettings(comparator_padding="zeros")),
        "symmetric": with_network(quick_model, NetworkSettings(symmetric=True)),
    }


class TestOnePass:
    @pytest.mark.parametrize("name", ["plain", "comparator", "symmetric"])
    @given(
        lengths=st.lists(st.integers(1, 13), min_size=1, max_size=6),
        query_length=st.integers(1, 20),
        block_bytes=st.integers(1, 80_000),
        stretch=st.integers(1, 6),
        query_frames=st.integers(1, 21),
        seed=st.integers(0, 1000),
    )
    @settings(max_examples=12)
    def test_no_block_changes_a_score(
        self, tmp_path_factory, models, name, lengths, query_length, block_bytes, stretch, query_frames, seed
    ):
        model = models[name]
        videos = {f"v{i}": encoded(model, length, seed=seed + i) for i, length in enumerate(lengths)}
        query = encoded(model, query_length, seed=seed - 1 if seed else 999_999)
        folder = tmp_path_factory.mktemp("libraries")
        whole = Library.create(folder / "whole", model)
        fill(whole, videos)
        split = Library.create(folder / "split", model)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store_module, "STRETCH_FRAMES", stretch)
            fill(split, videos)
            patch.setattr(fine_module, "BLOCK_BYTES", block_bytes)
            patch.setattr(fine_module, "QUERY_FRAMES", query_frames)
            in_pieces = split.search(query, rerank="all")
        by_id = {match.video: match for match in whole.search(query, rerank="all")}
        assert sorted(order(in_pieces)) == sorted(by_id)
        for match in in_pieces:
            assert match.stages == pytest.approx(by_id[match.video].stages, abs=SAME)
            if query_length < MIN_SAMPLES or name != "plain":
                alone = model.compare(query, videos[match.video])
                assert match.score == pytest.approx(alone.score, abs=SAME)

    @pytest.mark.parametrize("query_bytes", [1, 1 << 28], ids=["one query a pass", "all queries in one pass"])
    def test_many_queries_get_the_results_they_get_alone(self, library, monkeypatch, query_bytes):
        fill_at_random(library, 12)
        monkeypatch.setattr(library_module, "QUERY_BYTES", query_bytes)
        queries = [f"id:v{i:02}" for i in (7, 0, 3, 7, 11)]
        together = list(library.search_many(queries, rerank=5, top=3))
        assert [result.query for result in together] == queries
        for query, result in zip(queries, together, strict=True):
            assert_same_matches(result.matches, library.search(query, rerank=5, top=3))

    def test_a_bad_query_has_its_error_and_the_others_their_results(self, library):
        fill_at_random(library, 3)
        results = list(library.search_many(["id:v00", "nowhere.mp4", "id:nobody", "id:v01"]))
        assert [bool(result.matches) for result in results] == [True, False, False, True]
        assert results[1].error.endswith("nowhere.mp4: no such file")
        assert results[2].error == f"no video 'nobody' in the library; `visil list --library {library.path}` names them"


def of_vectors(vectors: np.ndarray) -> EncodedVideo:
    """A video of these region vectors, one sample a second, in one part."""
    descriptor = unit(vectors.astype(np.float32).mean(axis=(0, 1)))
    times_s = np.arange(float(len(vectors)))
    return EncodedVideo(RegionVectors(vectors, times_s), descriptor[None], len(vectors), float(len(vectors)), VIDEO)


class TestLongQueries:
    """A long query counts by its moments too."""

    @pytest.fixture
    def compilation(self, library: Library) -> EncodedVideo:
        """4 s each of v02, v05, v08 ... v29 in a library of 30 videos of 12 s."""
        videos = [encoded(library.model, 12, seed=i).region_vectors.vectors for i in range(30)]
        fill(library, {f"v{i:02}": of_vectors(vectors) for i, vectors in enumerate(videos)})
        return of_vectors(np.concatenate([vectors[4:8] for vectors in videos[2::3]]))

    def test_a_compilation_finds_its_sources_before_anything_else(self, library, compilation):
        sources = {f"v{i:02}" for i in range(2, 30, 3)}
        matches = library.search(compilation, rerank="all")
        assert set(order(matches)[:10]) == sources
        for match in matches[:10]:
            assert match.score > 0.99
            assert library.model.compare(compilation, library.encoded(match.video)).score < 0.8

    def test_its_moments_find_candidates(self, library, compilation):
        matches = library.search(compilation, rerank=10, top=10)
        assert set(order(matches)) == {f"v{i:02}" for i in range(2, 30, 3)}
        assert min(match.stages["coarse"] for match in matches) > 0.4, "three samples of twelve: the root of 1/4"

    def test_a_video_of_one_frame_does_not_match_what_holds_it(self, library, compilation):
        vectors = library.encoded("v05").region_vectors.vectors
        fill(library, {"frame": of_vectors(vectors[5:6]), "three": of_vectors(vectors[5:8])})
        scores = {match.video: match.score for match in library.search(compilation, rerank="all", top=40)}
        assert scores["frame"] == pytest.approx(
            library.model.compare(compilation, library.encoded("frame")).score, abs=SAME
        )
        assert scores["three"] > 0.99

    @pytest.mark.parametrize("query_frames", [7, 512], ids=["in pieces", "in one piece"])
    def test_frames_are_told_apart_wherever_query_and_video_are_cut(
        self, library, compilation, tmp_path, monkeypatch, query_frames
    ):
        monkeypatch.setattr(store_module, "STRETCH_FRAMES", 1)
        monkeypatch.setattr(fine_module, "BLOCK_BYTES", 1)
        cut = Library.create(tmp_path / "cut", library.model)
        fill(cut, {f"v{i:02}": library.encoded(f"v{i:02}") for i in range(2, 9)})
        whole = {match.video: match.score for match in library.search(compilation, rerank="all", top=40)}
        monkeypatch.setattr(fine_module, "QUERY_FRAMES", query_frames)
        for match in cut.search(compilation, rerank="all"):
            assert match.score == pytest.approx(whole[match.video], abs=SAME)

    @given(
        st.lists(st.integers(1, 5), min_size=1, max_size=5), st.lists(st.integers(1, 5), min_size=1, max_size=5), SEEDS
    )
    def test_row_maxima_of_pieces_are_exactly_those_of_the_whole(self, heights, widths, seed):
        generator = torch.Generator().manual_seed(seed)
        matrix = (
            torch.randint(0, 4, (sum(heights), sum(widths)), generator=generator) / 4
        )  # of many ties the first wins
        joined: _RowMaxima | None = None
        for columns in matrix.split(widths, dim=1):
            maxima = _RowMaxima.below_each_other([_RowMaxima.of(rows) for rows in columns.split(heights)])
            joined = maxima if joined is None else joined.then(maxima)
        assert joined.num_columns == sum(widths)
        assert torch.equal(joined.best, matrix.amax(dim=1))
        first = (matrix == joined.best[:, None]).int().argmax(dim=1)
        assert torch.equal(joined.where, first)

    def test_of_many_videos_that_end_at_once_few_are_looked_at_together(self, library, compilation, monkeypatch):
        whole = {match.video: match.score for match in library.search(compilation, rerank="all", top=40)}
        seen: list[tuple[int, ...]] = []

        def best_moment(best: torch.Tensor, where: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(best.shape))
            return moments.best_moment(best, where, starts)

        monkeypatch.setattr(fine_module, "best_moment", best_moment)
        monkeypatch.setattr(fine_module, "MAXIMA_AT_ONCE", 300)
        found = {match.video: match.score for match in library.search(compilation, rerank="all", top=40)}
        assert found == pytest.approx(whole, abs=SAME)
        assert seen == [(7, 40)] * 4 + [(2, 40)]

    def test_an_evaluation_keeps_the_papers_direction_unless_it_asks(self, library, compilation):
        found = {match.video: match.score for match in library.search(compilation, rerank="all", top=40)}
        (papers,) = library.score_many([compilation])
        (searched,) = library.score_many([compilation], by_moments=True)
        for id, whole, by_moments in zip(papers.ids, papers.scores, searched.scores, strict=True):
            assert whole == pytest.approx(library.model.compare(compilation, library.encoded(id)).score, abs=SAME)
            assert by_moments == pytest.approx(found[id], abs=SAME)

    def test_networks_that_are_not_plain_compare_the_whole_only(self, models, tmp_path):
        library = Library.create(tmp_path / "other", models["comparator"])
        fill_at_random(library, 3, lengths=(12,))
        vectors = [library.encoded(f"v{i:02}").region_vectors.vectors for i in range(3)]
        query = of_vectors(np.concatenate([of_one[2:8] for of_one in vectors]))
        for match in library.search(query):
            assert match.score == pytest.approx(
                library.model.compare(query, library.encoded(match.video)).score, abs=SAME
            )

    def test_tells_how_far_it_is_from_0_to_1(self, library, compilation, monkeypatch):
        monkeypatch.setattr(fine_module, "QUERY_FRAMES", 8)
        monkeypatch.setattr(fine_module, "BLOCK_BYTES", 100_000)
        fill(library, {"film": compilation})
        told: list[SearchProgress] = []
        list(library.search_many(["id:film", "id:v00"], progress=told.append))
        shares = [step.share for step in told]
        assert len(shares) > 10 and shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0, pytest.approx(1))
        assert {step.num_compared for step in told} == {2}

    def test_tells_what_it_reads(self, library, clips):
        told: list[SearchProgress] = []
        list(library.search_many([clips / "clip_0.mp4"], progress=told.append))
        assert told[0] == SearchProgress(reading=str(clips / "clip_0.mp4"), read_s=3.0)


class TestQueries:
    @pytest.fixture
    def searched(self, library, clips, monkeypatch):
        """The names of the queries that a search comes down to; nothing is decoded."""
        fill_at_random(library, 3)
        monkeypatch.setattr(library.model, "encode", lambda path, **options: encoded(library.model, 2, seed=0))
        monkeypatch.chdir(clips)

        def names(*queries: str | Path) -> list[str]:
            results: list[SearchResult] = list(library.search_many(queries))
            assert [result.error for result in results] == [None] * len(results)
            return [result.query for result in results]

        return names

    def test_a_folder_stands_for_its_videos(self, searched, clips):
        (clips / "notes.txt").write_text("no video")
        assert searched(clips) == [str(clips / f"clip_{i}.mp4") for i in range(6)]

    def test_a_list_stands_for_its_lines(self, searched, clips):
        (clips / "list.txt").write_text("clip_1.mp4\n\n# a comment\n  id:v00  \nclip_0.mp4\n")
        assert searched("@list.txt", "clip_2.mp4") == ["clip_1.mp4", "id:v00", "clip_0.mp4", "clip_2.mp4"]

    @pytest.mark.parametrize("name", ["id:v00", "@list.txt"])
    def test_an_existing_file_wins_over_any_other_reading(self, searched, clips, name):
        (clips / "list.txt").write_text("clip_1.mp4\n")
        shutil.copy(clips / "clip_0.mp4", clips / name)
        assert searched(name) == [name]

    def test_an_existing_folder_wins_over_any_other_reading(self, searched, clips):
        (clips / "@folder").mkdir()
        shutil.copy(clips / "clip_0.mp4", clips / "@folder/a.mp4")
        assert searched("@folder") == ["@folder/a.mp4"]

    def test_a_list_that_is_missing_or_empty_is_an_error(self, library, clips):
        (clips / "empty.txt").write_text("# nothing\n")
        with pytest.raises(DataError, match=r"nowhere\.txt: the list cannot be read"):
            library.search(f"@{clips}/nowhere.txt")
        with pytest.raises(DataError, match=r"empty\.txt: the list names no query"):
            library.search(f"@{clips}/empty.txt")

    def test_a_folder_without_a_video_is_an_error(self, library, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="empty: no video in this folder"):
            library.search(tmp_path / "empty")

    def test_a_bad_list_does_not_keep_the_other_queries_from_their_results(self, library):
        fill_at_random(library, 3)
        bad, good = library.search_many(["@nowhere.txt", "id:v00"])
        assert "the list cannot be read" in bad.error
        assert good.error is None and len(good.matches) == 2

    def test_a_list_in_a_list_is_an_error_of_its_own_line(self, library, clips):
        fill_at_random(library, 3)
        (clips / "inner.txt").write_text("id:v01\n")
        (clips / "list.txt").write_text("@inner.txt\nid:v00\n")
        nested, good = library.search_many([f"@{clips}/list.txt"])
        assert nested.error == "@inner.txt: no such file, and lists do not nest: write its lines into the list itself"
        assert good.error is None and len(good.matches) == 2

    def test_an_error_names_the_file_as_it_was_given(self, library, clips, monkeypatch):
        monkeypatch.chdir(clips)
        Path("broken.mp4").write_text("no video")
        for name, said in (("none.mp4", "no such file"), ("broken.mp4", "not a video, or its headers are damaged")):
            (result,) = library.search_many([name])
            assert result.error == f"{name}: {said}"

    def test_several_videos_at_once_are_for_search_many(self, library, clips):
        fill_at_random(library, 3)
        (clips / "list.txt").write_text("id:v00\nid:v01\n")
        with pytest.raises(DataError, match=r"list\.txt: stands for 2 queries; `search_many` takes them"):
            library.search(f"@{clips}/list.txt")

    @pytest.mark.parametrize("name", ["x" * 300, "a\0b.mp4", "@" + "x" * 300], ids=["too long", "null", "list"])
    def test_a_name_that_no_file_can_have_is_a_clear_error(self, library, name):
        fill_at_random(library, 1)
        with pytest.raises(DataError, match=r"no such file|cannot be (read|opened)"):
            library.search(name)


class TestQueriesWithoutAScore:
    BLANK = "every frame is blank, so it has no score"

    def test_a_blank_file(self, library, tmp_path):
        fill_at_random(library, 1)
        write_video(tmp_path / "black.mp4", [np.zeros((48, 64, 3), np.uint8)] * 8, 8)
        with pytest.raises(DataError, match=rf"black\.mp4: {self.BLANK}"):
            library.search(tmp_path / "black.mp4")

    def test_a_blank_video_of_the_library(self, library):
        fill(library, {"blank": encoded_video(0, dim=library.model.dim)})
        with pytest.raises(DataError, match=f"id:blank: {self.BLANK}"):
            library.search("id:blank")

    def test_a_blank_encoded_video(self, library):
        fill_at_random(library, 1)
        with pytest.raises(DataError, match=self.BLANK):
            library.search(encoded_video(0, dim=library.model.dim))

    def test_a_failed_video_of_the_library(self, library):
        Store(library.path / TABLE, library.model.dim).put([failed_video("failed", "no video stream")])
        with pytest.raises(DataError, match="'failed' could not be read when it was indexed: no video stream"):
            library.search("id:failed")
        with pytest.raises(LibraryError, match="'failed' could not be read when it was indexed: no video stream"):
            library.encoded("failed")

    @pytest.mark.parametrize("vectors", [np.float16, np.uint8])
    def test_an_encoded_video_of_another_bundle(self, library, vectors):
        fill_at_random(library, 1)
        rng = np.random.default_rng(0)
        foreign = EncodedVideo(
            RegionVectors(rng.normal(size=(4, 9, 16)).astype(vectors), np.arange(4.0)),
            unit(rng.normal(size=(1, 16))).astype(np.float32),
            4,
            4.0,
            VIDEO,
        )
        with pytest.raises(DataError, match=r"\[4, 9, 16\] .*library\.model\.encode"):
            library.search(foreign)


class TestARealSearch:
    def test_finds_each_clip_in_the_folder_it_was_copied_from(self, library, clips, tmp_path):
        library.add([clips], workers=2)
        shutil.copy(clips / "clip_0.mp4", tmp_path / "copy.mp4")
        for result in library.search_many([tmp_path / "copy.mp4", "id:clip_3.mp4"]):
            if result.query.endswith("copy.mp4"):
                assert (result.matches[0].video, result.matches[0].identical) == ("clip_0.mp4", True)
                assert result.matches[0].stages["fine"] == pytest.approx(1, abs=1e-3)
            else:
                assert len(result.matches) == 5
                assert not any(match.identical for match in result.matches)


@pytest.fixture
def decoded(library: Library, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that the library decodes from here on."""
    names: list[str] = []
    encode = library.model.encode

    def encode_and_tell(path: Path, **options: object) -> EncodedVideo:
        names.append(Path(path).name)
        return encode(path, **options)

    monkeypatch.setattr(library.model, "encode", encode_and_tell)
    return names


class TestAQueryOfTheLibraryItself:
    @pytest.fixture(autouse=True)
    def indexed(self, library: Library, clips: Path) -> None:
        library.add([clips], workers=2)

    def test_a_folder_of_indexed_files_is_answered_without_decoding_and_no_file_answers_for_itself(
        self, library, clips, decoded
    ):
        results = list(library.search_many([clips]))
        assert [Path(result.query).name for result in results] == [f"clip_{i}.mp4" for i in range(6)]
        for i, result in enumerate(results):
            assert sorted(order(result.matches)) == [f"clip_{k}.mp4" for k in range(6) if k != i]
        assert decoded == []

    def test_stored_vectors_give_the_scores_of_decoded_ones(self, library, clips, tmp_path, decoded):
        shutil.copy(clips / "clip_2.mp4", tmp_path / "copy.mp4")
        (stored, from_file) = library.search_many([clips / "clip_2.mp4", tmp_path / "copy.mp4"], rerank="all")
        assert decoded == ["copy.mp4"]
        of_others = [match for match in from_file.matches if match.video != "clip_2.mp4"]
        for one, other in zip(stored.matches, of_others, strict=True):
            assert (one.video, one.score) == (other.video, pytest.approx(other.score, abs=SAME))

    def test_a_relative_path_is_the_same_video(self, library, clips, decoded, monkeypatch):
        monkeypatch.chdir(clips)
        assert "clip_1.mp4" not in order(library.search("clip_1.mp4"))
        assert decoded == []

    def test_a_changed_file_is_decoded_and_its_old_row_does_not_answer(self, library, clips, decoded):
        shutil.copyfile(clips / "clip_4.mp4", clips / "clip_1.mp4")
        matches = library.search(clips / "clip_1.mp4")
        assert decoded == ["clip_1.mp4"]
        assert "clip_1.mp4" not in order(matches)
        assert (matches[0].video, matches[0].identical) == ("clip_4.mp4", True)

    def test_a_part_is_decoded_and_its_own_file_does_not_answer(self, library, clips, decoded):
        matches = library.search(f"{clips / 'clip_1.mp4'}@0-2")
        assert decoded == ["clip_1.mp4"]
        assert len(matches) == 5 and "clip_1.mp4" not in order(matches)

    @pytest.mark.parametrize(("reason_class", "how"), [("stalled", "in part"), ("", "with a warning")])
    def test_a_video_kept_in_part_is_not_waited_for_again_and_its_reason_is_told(
        self, library, clips, decoded, reason_class, how
    ):
        row = Store(library.path / TABLE, library.model.dim).read("clip_1.mp4")
        put(library, replace(row, reason="no progress for 60 s", reason_class=reason_class))
        for query in (str(clips / "clip_1.mp4"), "id:clip_1.mp4"):
            (result,) = library.search_many([query])
            assert len(result.matches) == 5
            assert result.warning == f"{query}: searched as it was indexed, {how}: no progress for 60 s"
        assert decoded == []

    def test_a_row_read_by_older_rules_is_decoded_again(self, library, clips, decoded):
        Store(library.path / TABLE, library.model.dim).update_rules({"clip_1.mp4": RULES - 1})
        for name in ("clip_1.mp4", "clip_2.mp4"):
            library.search(clips / name)
        assert decoded == ["clip_1.mp4"]

    def test_other_sampling_than_the_bundle_s_is_not_that_of_a_query(self, clips, tmp_path, quick_model, monkeypatch):
        library = Library.create(tmp_path / "other", quick_model, sampling="keyframes")
        library.add([clips / "clip_0.mp4"], workers=1)
        seen: list[Path] = []
        monkeypatch.setattr(
            library.model, "encode", lambda path, **_: seen.append(path) or encoded(quick_model, 3, seed=1)
        )
        assert list(library.search(clips / "clip_0.mp4")) == []
        assert seen == [clips / "clip_0.mp4"]


class TestQueriesThatChangeWhileTheyAreRead:
    """What was decoded may not be what is there now: the score counts, equal bytes do not, and it is said."""

    @pytest.fixture(params=["in its place", "over it"])
    def query(self, request, library: Library, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A copy of clip_0.mp4 that clip_1.mp4 replaces while it is decoded, with its size and time."""
        both = [clips / "clip_0.mp4", clips / "clip_1.mp4"]
        size = max(path.stat().st_size for path in both)
        for path in both:
            os.truncate(path, size)  # of one size: zeros behind the last packet
        library.add([clips], workers=2)
        query = Path(shutil.copy(clips / "clip_0.mp4", tmp_path / "query.mp4"))
        new = Path(shutil.copy(clips / "clip_1.mp4", tmp_path / "new.mp4"))
        encode = library.model.encode

        def replaced_meanwhile(path: Path, **options: object) -> EncodedVideo:
            shutil.copystat(path, new)
            video = encode(path, **options)
            if request.param == "in its place":
                new.replace(path)
            else:
                shutil.copy2(new, path)
            return video

        monkeypatch.setattr(library.model, "encode", replaced_meanwhile)
        return query

    @pytest.mark.parametrize("part", ["", "@0-2"])
    def test_are_identical_to_nothing_and_it_is_said(self, library, query, part):
        (result,) = library.search_many([f"{query}{part}"])
        assert result.matches[0].video == "clip_0.mp4"
        assert not any(match.identical for match in result.matches)
        assert result.warning == f"{query}{part}: searched with a warning: its file changed while it was read"

    def test_are_not_answered_by_bytes_where_they_cannot_be_decoded(self, library, query, monkeypatch):
        encode = library.model.encode

        def fails(path: Path, **options: object) -> EncodedVideo:
            encode(path, **options)
            raise MediaError(f"{path}: damaged")

        monkeypatch.setattr(library.model, "encode", fails)
        (result,) = library.search_many([query])
        assert result.error == f"{query}: damaged; its file changed while it was read"


class TestFilesAreLookedAt:
    """Who deletes by what a search says must not lose the only copy."""

    @pytest.fixture
    def states(self, library: Library):
        def of(query: str | Path) -> dict[str, tuple[str, bool]]:
            return {match.video: (match.file, match.identical) for match in library.search(query)}

        return of

    def test_a_copy_is_identical_while_it_is_there_as_it_was(self, library, clips, tmp_path, states):
        shutil.copy(clips / "clip_0.mp4", tmp_path / "copy.mp4")
        library.add([clips], workers=2)
        assert states(tmp_path / "copy.mp4")["clip_0.mp4"] == ("", True)
        (clips / "clip_0.mp4").touch()
        assert states(tmp_path / "copy.mp4")["clip_0.mp4"] == ("changed", False)
        (clips / "clip_0.mp4").unlink()
        assert states(tmp_path / "copy.mp4")["clip_0.mp4"] == ("gone", False)

    def test_a_link_to_itself_in_its_place_is_no_file(self, library, clips, states):
        library.add([clips], workers=2)
        (clips / "clip_0.mp4").unlink()
        (clips / "clip_0.mp4").symlink_to("clip_0.mp4")
        assert states("id:clip_1.mp4")["clip_0.mp4"] == ("gone", False)

    def test_a_vanished_folder_is_gone_too(self, library, clips, states):
        library.add([clips], workers=2)
        clips.rename(clips.with_name("elsewhere"))
        assert set(states("id:clip_0.mp4").values()) == {("gone", False)}

    @pytest.mark.parametrize("link", ["hardlink_to", "symlink_to"])
    def test_a_link_to_the_query_is_the_same_file_and_no_copy(self, library, clips, states, link):
        getattr(clips / "linked.mp4", link)(clips / "clip_0.mp4")
        library.add([clips], workers=2)
        for query in ("id:clip_0.mp4", clips / "clip_0.mp4"):
            assert states(query)["linked.mp4"] == ("same file", False)
        assert states(f"{clips / 'clip_0.mp4'}@0-2")["linked.mp4"] == ("same file", False)
        assert states("id:clip_1.mp4")["linked.mp4"] == ("", False)

    def test_a_link_that_is_not_indexed_is_still_the_same_file(self, library, clips, tmp_path, states):
        library.add([clips], workers=2)
        (tmp_path / "elsewhere.mp4").symlink_to(clips / "clip_0.mp4")
        assert states(tmp_path / "elsewhere.mp4")["clip_0.mp4"] == ("same file", False)

    def test_equal_content_under_one_inode_is_the_same_file_on_another_device(self, clips, monkeypatch):
        """As with a folder that two mounts show; other content under that number is another file."""
        stored, real = facts_of(clips / "clip_0.mp4"), (clips / "clip_0.mp4").stat()
        own = OwnFile(clips / "clip_0.mp4")
        assert file_state(stored, own, is_equal=False) == "same file"
        other_device = os.stat_result((real.st_mode, real.st_ino, real.st_dev + 1, *real[3:]))
        monkeypatch.setattr(own, "_status", other_device, raising=False)
        assert file_state(stored, own, is_equal=True) == "same file"
        assert file_state(stored, own, is_equal=False) == ""

    def test_a_disk_that_numbers_no_files_tells_no_two_apart(self, clips, monkeypatch):
        """FAT on some systems, some network drives: 0 is the number of every file."""
        stat = Path.stat

        def without_number(path: Path, **options: bool) -> os.stat_result:
            real = stat(path, **options)
            return os.stat_result((*real[:1], 0, *real[2:10]), {"st_mtime_ns": real.st_mtime_ns})

        stored = facts_of(clips / "clip_1.mp4")
        monkeypatch.setattr(Path, "stat", without_number)
        assert file_state(stored, OwnFile(clips / "clip_0.mp4"), is_equal=True) == ""

    def test_only_what_is_shown_is_looked_at(self, library, monkeypatch):
        fill_at_random(library, 9)
        looked_at: list[str] = []
        monkeypatch.setattr(search_module, "file_state", lambda stored, *_, **__: looked_at.append(stored.path) or "")
        matches = library.search("id:v00", top=3)
        assert looked_at == ["/videos/v00", *(match.path for match in matches)]

    def test_copies_that_are_gone_keep_no_place_from_one_that_is_there(self, library, clips, tmp_path):
        for name in ("a_gone.mp4", "b_gone.mp4", "c_live.mp4"):
            shutil.copy(clips / "clip_0.mp4", clips / name)
        (clips / "clip_0.mp4").rename(tmp_path / "query.mp4")
        library.add([clips], workers=2)
        for name in ("a_gone.mp4", "b_gone.mp4"):
            (clips / name).unlink()
        (best,) = library.search(tmp_path / "query.mp4", top=1)
        assert (best.video, best.file, best.identical) == ("c_live.mp4", "", True)

    def test_a_copy_that_is_gone_has_the_place_of_its_score(self, library, clips):
        query = encoded(library.model, 4, seed=1)
        stored = facts_of(clips / "clip_0.mp4")
        put(library, StoredVideo("own", stored, query))
        put(
            library, StoredVideo("gone", replace(stored, path=str(clips / "no.mp4")), encoded(library.model, 4, seed=9))
        )
        put(library, StoredVideo("alike", facts_of(clips / "clip_1.mp4"), query))
        assert order(library.search("id:own", top=1)) == ["alike"]

    def test_a_data_set_of_a_feature_file_is_no_file(self):
        assert file_state(FileFacts("hdf5:/data/evve.hdf5#a", 1, 1, "hash")) == ""


def changed_in_secret(path: Path) -> None:
    """Another byte, and size and time as they were: what a failing disk or a careful tool leaves."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


class TestCopiesAreReadBeforeTheyAreCalledIdentical:
    """The word makes people delete files."""

    @pytest.fixture(autouse=True)
    def indexed(self, library: Library, clips: Path) -> None:
        """clip_0.mp4 has three copies."""
        for name in ("a.mp4", "b.mp4", "c.mp4"):
            shutil.copy(clips / "clip_0.mp4", clips / name)
        library.add([clips], workers=2)

    @pytest.fixture
    def read(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The names of the files that are read to their ends from here on."""
        names: list[str] = []

        def hash_and_tell(path: Path, **options: object) -> str:
            names.append(path.name)
            return content_hash(path, **options)

        monkeypatch.setattr(file_state_module, "content_hash", hash_and_tell)
        return names

    def copies(self, result: SearchResult) -> list[str]:
        return [match.video for match in result.matches if match.identical]

    def test_a_copy_with_another_byte_has_changed(self, library, clips):
        changed_in_secret(clips / "b.mp4")
        for query in ("id:clip_0.mp4", clips / "clip_0.mp4"):
            (result,) = library.search_many([query])
            assert self.copies(result) == ["a.mp4", "c.mp4"]
            assert [m.file for m in result.matches if m.video == "b.mp4"] == ["changed"]
            assert result.warning == ""

    @pytest.mark.parametrize("query", ["id:clip_0.mp4", "path"])
    def test_nothing_is_identical_to_a_query_with_another_byte(self, library, clips, query):
        changed_in_secret(clips / "clip_0.mp4")
        name = str(clips / "clip_0.mp4") if query == "path" else query
        (result,) = library.search_many([name])
        assert (self.copies(result), len(result.matches)) == ([], 8)
        assert result.warning == f"{name}: its file has changed since it was read: no match is called identical"

    @pytest.mark.parametrize(("write", "said"), [(None, "is gone"), (b"new", "has changed since it was read")])
    def test_nothing_is_identical_to_a_query_that_is_gone_or_replaced(self, library, clips, read, write, said):
        (clips / "clip_0.mp4").unlink()
        if write is not None:
            (clips / "clip_0.mp4").write_bytes(write)
        (clips / "clip_1.mp4").unlink()
        of_copies, alone = library.search_many(["id:clip_0.mp4", "id:clip_1.mp4"])
        assert [m.video for m in of_copies.matches[:3]] == ["a.mp4", "b.mp4", "c.mp4"], "the stored vectors answer"
        assert (self.copies(of_copies), read) == ([], [])
        assert of_copies.warning == f"id:clip_0.mp4: its file {said}: no match is called identical"
        assert alone.warning == "id:clip_1.mp4: its file is gone: no match is called identical"

    def test_two_warnings_about_a_query_are_one_line(self, library, clips):
        row = Store(library.path / TABLE, library.model.dim).read("clip_0.mp4")
        put(library, replace(row, reason="no progress for 60 s", reason_class="stalled"))
        (clips / "clip_0.mp4").unlink()
        (result,) = library.search_many(["id:clip_0.mp4"])
        assert result.warning == (
            "id:clip_0.mp4: searched as it was indexed, in part: no progress for 60 s; its file is gone: no match is "
            "called identical"
        )

    def test_a_copy_that_cannot_be_read_is_not_vouched_for(self, library, clips, monkeypatch):
        def refused(path: Path, **options: object) -> str:
            if path.name == "a.mp4":
                raise PermissionError(13, "Permission denied", str(path))
            return content_hash(path, **options)

        monkeypatch.setattr(file_state_module, "content_hash", refused)
        (of_copy, of_itself) = library.search_many(["id:clip_0.mp4", "id:a.mp4"])
        assert self.copies(of_copy) == ["b.mp4", "c.mp4"]
        assert [m.file for m in of_copy.matches if m.video == "a.mp4"] == [""]
        assert self.copies(of_itself) == []
        assert of_itself.warning.endswith("its file cannot be read (Permission denied): no match is called identical")

    def test_only_copies_that_are_shown_are_read_and_another_takes_the_place_of_one_that_has_changed(
        self, library, clips, read
    ):
        changed_in_secret(clips / "a.mp4")
        (result,) = library.search_many(["id:clip_0.mp4"], top=1)
        assert (self.copies(result), read) == (["b.mp4"], ["clip_0.mp4", "a.mp4", "b.mp4"])

    def test_a_file_is_read_once_a_search_and_one_without_copies_never(self, library, clips, read, tmp_path):
        shutil.copy(clips / "clip_0.mp4", tmp_path / "query.mp4")
        results = list(library.search_many([tmp_path / "query.mp4", clips]))
        assert [self.copies(result) for result in results[:2]] == [
            ["a.mp4", "b.mp4", "c.mp4", "clip_0.mp4"],
            ["b.mp4", "c.mp4", "clip_0.mp4"],
        ]
        assert sorted(read) == ["a.mp4", "b.mp4", "c.mp4", "clip_0.mp4", "query.mp4"]

    def test_the_next_search_reads_again(self, library, clips):
        assert len(self.copies(next(library.search_many(["id:clip_0.mp4"])))) == 3
        changed_in_secret(clips / "a.mp4")
        assert [m.video for m in library.search("id:clip_0.mp4") if m.identical] == ["b.mp4", "c.mp4"]

    def test_that_is_told_as_progress(self, library, clips):
        told: list[SearchProgress] = []
        list(library.search_many(["id:clip_0.mp4"], top=1, progress=told.append))
        assert [(Path(step.hashing).name, step.share) for step in told if step.hashing] == [
            ("clip_0.mp4", 1.0),
            ("a.mp4", 1.0),
        ]

    def test_equal_data_sets_of_feature_files_are_no_files_of_equal_content(self, library, clips):
        for id in ("one", "two"):
            facts = FileFacts(f"hdf5:{clips}/features.hdf5#{id}", 1, 1, "hash of both")
            put(library, StoredVideo(id, facts, encoded(library.model, 4, seed=3)))
        (result,) = library.search_many(["id:one"])
        assert (result.matches[0].video, self.copies(result), result.warning) == ("two", [], "")


class TestWithoutAScore:
    """What cannot be compared is answered by its bytes."""

    @pytest.fixture
    def black(self, clips: Path) -> Path:
        """Two equal files that show nothing, black.mp4 and black_copy.mp4, among the clips."""
        write_video(clips / "black.mp4", [np.zeros((48, 64, 3), np.uint8)] * 8, 8)
        shutil.copy(clips / "black.mp4", clips / "black_copy.mp4")
        return clips / "black.mp4"

    @pytest.fixture
    def broken(self, clips: Path) -> Path:
        """Two equal files that cannot be decoded, broken.mp4 and broken_copy.mp4."""
        (clips / "broken.mp4").write_bytes(b"no video" * 100)
        shutil.copy(clips / "broken.mp4", clips / "broken_copy.mp4")
        return clips / "broken.mp4"

    def test_a_blank_query_finds_its_copy(self, library, clips, black, tmp_path):
        library.add([clips], workers=2)
        shutil.copy(black, tmp_path / "query.mp4")
        for query, found in [
            (black, ["black_copy.mp4"]),
            ("id:black.mp4", ["black_copy.mp4"]),
            (tmp_path / "query.mp4", ["black.mp4", "black_copy.mp4"]),
        ]:
            (result,) = library.search_many([query])
            assert [(m.video, m.score, m.identical, m.stages) for m in result.matches] == [
                (id, None, True, {}) for id in found
            ]
            assert result.error is None
            assert "every frame is blank, so it has no score; only files of equal bytes are found" in result.warning

    def test_a_query_that_cannot_be_decoded_finds_its_copy(self, library, clips, broken, tmp_path):
        library.add([clips], workers=2)
        shutil.copy(broken, tmp_path / "query.mp4")
        for query, found in [
            (broken, ["broken_copy.mp4"]),
            ("id:broken.mp4", ["broken_copy.mp4"]),
            (tmp_path / "query.mp4", ["broken.mp4", "broken_copy.mp4"]),
        ]:
            (result,) = library.search_many([query])
            assert (result.error, order(result.matches)) == (None, found)
            assert "only files of equal bytes are found" in result.warning

    def test_a_query_with_a_score_lists_its_unreadable_copy_too(self, library, clips):
        fill_at_random(library, 3)
        shutil.copy(clips / "clip_0.mp4", clips / "twin.mp4")
        put(library, StoredVideo("twin", facts_of(clips / "twin.mp4"), None, "the decoder crashed"))
        matches = library.search(clips / "clip_0.mp4")
        assert [(match.video, match.score, match.identical) for match in matches[:1]] == [("twin", None, True)]
        assert len(matches) == 4

    def test_a_library_without_any_score_answers_too(self, library, clips, black):
        library.add([black, clips / "black_copy.mp4"], workers=1)
        assert order(library.search(black)) == ["black_copy.mp4"]
        assert order(library.search(clips / "clip_0.mp4")) == []

    def test_scored_and_unscored_queries_share_a_pass(self, library, clips, black):
        library.add([clips], workers=2)
        results = list(library.search_many([clips / "clip_0.mp4", black, clips / "clip_1.mp4"]))
        assert [len(result.matches) for result in results] == [5, 1, 5]

    def test_rows_whose_hash_is_unknown_equal_nothing(self, library, clips):
        put(library, StoredVideo("unknown", FileFacts("/a", 1, 1, ""), None, "not a video"))
        put(library, StoredVideo("too", FileFacts("/b", 1, 1, ""), None, "not a video"))
        with pytest.raises(DataError, match="'unknown' could not be read when it was indexed: not a video"):
            library.search("id:unknown")


class TestWhatASearchLogs:
    """`Library.search` gives matches alone: what else there is to say about them is logged as warnings."""

    def test_that_only_equal_bytes_answer(self, library, clips, tmp_path, caplog):
        write_video(clips / "black.mp4", [np.zeros((48, 64, 3), np.uint8)] * 8, 8)
        library.add([clips / "black.mp4"], workers=1)
        shutil.copy(clips / "black.mp4", tmp_path / "query.mp4")
        assert order(library.search(tmp_path / "query.mp4")) == ["black.mp4"]
        (said,) = caplog.messages
        assert said.endswith("query.mp4: every frame is blank, so it has no score; only files of equal bytes are found")

    def test_that_the_query_was_read_in_part(self, library, caplog):
        fill_at_random(library, 1)
        query = replace(encoded(library.model, 3, seed=1), warning="the decoder crashed", cut_short="crashed")
        library.search(query)
        assert caplog.messages == ["the encoded video: searched in part: the decoder crashed"]

    def test_nothing_of_a_search_in_which_all_was_well(self, library, clips, caplog):
        fill_at_random(library, 2)
        put(library, StoredVideo("clip", facts_of(clips / "clip_0.mp4"), encoded(library.model, 3, seed=1)))
        library.search("id:clip")
        assert caplog.messages == []

    def test_that_the_file_of_the_query_is_gone(self, library, caplog):
        fill_at_random(library, 2)
        library.search("id:v00")
        assert caplog.messages == ["id:v00: its file is gone: no match is called identical"]

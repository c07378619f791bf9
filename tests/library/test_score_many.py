"""Scores for evaluations: the numbers of a search without its matches, for many queries at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import visil.library.fine as fine_module
import visil.library.library as library_module
import visil.library.store as store_module
from tests.library.made import encoded_video, failed_video, file_facts
from visil.errors import DataError, LibraryError
from visil.library.library import TABLE, Library
from visil.library.search import VideoScores
from visil.library.store import Store, StoredVideo
from visil.model.bundle import Bundle
from visil.model.model import Model
from visil.model.network import NetworkSettings
from visil.values import EncodedVideo

SAME = 2e-6  # batch shapes round differently in float32
LENGTHS = (1, 3, 12)


def encoded(model: Model, seed: int) -> EncodedVideo:
    return encoded_video(LENGTHS[seed % 3], seed=seed, dim=model.dim, num_regions=9)


@pytest.fixture
def library(tmp_path: Path, quick_model: Model) -> Library:
    """v00 ... v09, one without content and one that failed."""
    library = Library.create(tmp_path / "library", quick_model)
    videos = {f"v{i:02}": encoded(quick_model, i) for i in range(10)} | {"blank": encoded_video(0, dim=quick_model.dim)}
    rows = [StoredVideo(id, file_facts(f"/videos/{id}"), video) for id, video in videos.items()]
    Store(library.path / TABLE, quick_model.dim).put([*rows, failed_video("failed")])
    library.refresh()
    return library


def by_id(result: VideoScores) -> dict[str, float]:
    return dict(zip(result.ids, result.scores.tolist(), strict=True))


IDS = [f"v{i:02}" for i in range(10)]


class TestScores:
    def test_are_those_of_the_model_for_each_pair_with_all_that_have_content(self, library):
        query = encoded(library.model, 77)
        (result,) = library.score_many([query])
        assert sorted(result.ids) == IDS
        assert result.scores.dtype == np.float64
        assert result.num_fine == 10 and result.is_fine.all()
        for id, score in by_id(result).items():
            assert score == pytest.approx(library.model.compare(query, library.encoded(id)).score, abs=SAME)

    @pytest.mark.parametrize("rerank", [0, 3, "30%", "all"])
    def test_rank_as_a_search_does_and_those_without_a_fine_score_stand_behind_in_a_band_of_their_own(
        self, library, rerank
    ):
        query = encoded(library.model, 77)
        (result,) = library.score_many([query], rerank=rerank)
        assert result.num_fine == {0: 0, 3: 3, "30%": 3, "all": 10}[rerank]
        fine = {match.video: match for match in library.search(query, rerank="all")}
        coarse = {match.video: match for match in library.search(query, rerank=0)}
        for id, score, is_fine in zip(result.ids, result.scores, result.is_fine, strict=True):
            expected = fine[id].score if is_fine else coarse[id].score - 1
            assert score == pytest.approx(expected, abs=SAME)
        assert (result.scores[result.is_fine] >= 0).all() and (result.scores[~result.is_fine] <= 0).all()
        best = sorted(coarse, key=lambda id: -coarse[id].score)[: result.num_fine]
        assert {id for id, is_fine in zip(result.ids, result.is_fine, strict=True) if is_fine} == set(best)

    @pytest.mark.parametrize("block_bytes", [1, 2**20])
    def test_bursts_count_over_whole_videos_whatever_the_blocks(self, tmp_path, quick_model, monkeypatch, block_bytes):
        bundle = quick_model.bundle
        settings = replace(bundle.settings, network=NetworkSettings(burstiness=0.5))
        model = Model(Bundle(settings, bundle.tensors), device="cpu")
        monkeypatch.setattr(fine_module, "BLOCK_BYTES", block_bytes)
        monkeypatch.setattr(fine_module, "QUERY_FRAMES", 5)
        library = Library.create(tmp_path / "bursts", model)
        videos = [StoredVideo(id, file_facts(f"/videos/{id}"), encoded(model, i)) for i, id in enumerate(IDS)]
        Store(library.path / TABLE, model.dim).put(videos)
        query = encoded(model, 80)
        (result,) = library.score_many([query])
        plain = quick_model.network
        for id, score in by_id(result).items():
            sides = [torch.from_numpy(v.region_vectors.vectors) for v in (query, library.encoded(id))]
            best, where = plain.frame_similarity(*sides).max(dim=1)
            expected = (best / (where[:, None] == where).sum(dim=1) ** 0.5).mean().item() / 2 + 0.5
            assert score == pytest.approx(expected, abs=SAME)
            assert score == pytest.approx(model.compare(query, library.encoded(id)).score, abs=SAME)

    def test_a_share_is_one_of_the_videos_that_are_scored(self, library):
        (result,) = library.score_many([encoded(library.model, 77)], rerank="50%", among=IDS[:4])
        assert (sorted(result.ids), result.num_fine) == (IDS[:4], 2)

    def test_ids_that_are_not_there_or_have_no_content_are_not_scored(self, library):
        (result,) = library.score_many(["v00"], among={"v01", "blank", "failed", "nobody"})
        assert list(result.ids) == ["v01"]
        (result,) = library.score_many(["v00"], among=set())
        assert list(result.ids) == [] and len(result.scores) == 0


class TestTheQueryItself:
    def test_is_left_out_unless_it_is_to_be_kept(self, library):
        (without,) = library.score_many(["v03"])
        assert sorted(without.ids) == [id for id in IDS if id != "v03"]
        (kept,) = library.score_many(["v03"], keep_query=True)
        assert sorted(kept.ids) == IDS
        assert by_id(kept)["v03"] == pytest.approx(1, abs=1e-3)
        assert {id: by_id(kept)[id] for id in without.ids} == pytest.approx(by_id(without), abs=SAME)

    def test_is_not_scored_where_it_is_not_among_the_videos(self, library):
        (kept,) = library.score_many(["v03"], keep_query=True, among=["v04"])
        assert list(kept.ids) == ["v04"]

    def test_takes_no_place_among_those_with_a_fine_score(self, library):
        (result,) = library.score_many(["v03"], rerank=4)
        assert result.num_fine == 4


class TestManyQueries:
    def test_that_score_the_same_videos_get_one_list_of_their_ids(self, library):
        first, second, other = library.score_many(["v07", "v08", "v00"], among=["v00", "v01", "v02"])
        assert first.ids is second.ids
        assert sorted(first.ids) == ["v00", "v01", "v02"] and sorted(other.ids) == ["v01", "v02"]

    def test_get_what_they_get_alone_in_their_order(self, library, monkeypatch):
        queries = ["v07", encoded(library.model, 77), "v00", "v07"]
        alone = [next(iter(library.score_many([query], rerank=5))) for query in queries]
        for count, block_bytes, stretch in [(1, 1, 2048), (2, 30_000, 5), (128, 1 << 20, 2048)]:
            monkeypatch.setattr(library_module, "SCORED_QUERY_COUNT", count)
            monkeypatch.setattr(fine_module, "BLOCK_BYTES", block_bytes)
            monkeypatch.setattr(store_module, "STRETCH_FRAMES", stretch)
            together = list(library.score_many(queries, rerank=5))
            for one, other in zip(together, alone, strict=True):
                assert by_id(one) == pytest.approx(by_id(other), abs=SAME)
                np.testing.assert_array_equal(one.is_fine, other.is_fine)

    def test_share_the_list_of_ids(self, library):
        first, second = library.score_many(["v07", "v00"], keep_query=True)
        assert first.ids is second.ids

    def test_are_taken_as_they_are_needed(self, library, monkeypatch):
        monkeypatch.setattr(library_module, "SCORED_QUERY_COUNT", 2)
        given = iter(IDS)
        results = library.score_many(given)
        next(results)
        assert next(given) == "v02"

    def test_may_come_from_another_library(self, library, tmp_path, quick_model):
        other = Library.create(tmp_path / "queries", quick_model)
        video = StoredVideo("v00", file_facts("/elsewhere"), encoded(quick_model, 3))
        Store(other.path / TABLE, quick_model.dim).put([video])
        other.refresh()
        (result,) = library.score_many(other.encoded(id) for id in ["v00"])
        assert by_id(result)["v03"] == pytest.approx(1, abs=1e-3)
        assert sorted(result.ids) == IDS


class TestWrongQueries:
    def test_are_errors_that_say_which(self, library, model):
        with pytest.raises(LibraryError, match="no video 'nobody' in the library"):
            list(library.score_many(["v00", "nobody"]))
        with pytest.raises(LibraryError, match="'failed' could not be read"):
            list(library.score_many(["failed"]))
        with pytest.raises(DataError, match="blank: every frame is blank, so it has no score"):
            list(library.score_many(["blank"]))
        with pytest.raises(DataError, match="rerank must be a number"):
            list(library.score_many(["v00"], rerank="most"))

    def test_of_another_bundle_are_refused(self, library):
        other = encoded_video(3, seed=0, dim=library.model.dim // 2, num_regions=9)
        with pytest.raises(DataError, match="encode it with"):
            list(library.score_many([other]))

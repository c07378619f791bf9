"""A library as a source of scores: who is scored with whom, what is said about the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")  # a library loads the network of its bundle

from tests.library.made import encoded_video, failed_video, file_facts
from visil.errors import DataError
from visil.evaluation.ground_truth import GroundTruth, Task
from visil.evaluation.library_scores import LibraryScores
from visil.library.library import TABLE, Library
from visil.library.store import Store, StoredVideo
from visil.model.model import Model


def truth(queries: Sequence[str], database: Sequence[str], *, ranks_query: bool = False, **more: object) -> GroundTruth:
    tasks = (Task("T", {queries[0]: frozenset(database[:1])}, ranks_query=ranks_query),)
    return GroundTruth("a data set", tuple(queries), tuple(database), tasks, **more)


@pytest.fixture
def library(tmp_path: Path, quick_model: Model) -> Library:
    """q, 1/1_1_Y, a, b of 3 samples each, one video of nothing but blank frames and one that failed."""
    library = Library.create(tmp_path / "library", quick_model)
    videos = {
        id: encoded_video(3, seed=seed, dim=quick_model.dim, num_regions=9)
        for seed, id in enumerate(["q", "1/1_1_Y", "a", "b"])
    } | {"blank": encoded_video(0, dim=quick_model.dim)}
    rows = [StoredVideo(id, file_facts(f"/videos/{id}"), video) for id, video in videos.items()]
    Store(library.path / TABLE, quick_model.dim).put([*rows, failed_video("failed", "cut off")])
    library.refresh()
    return library


def scored(scores: LibraryScores) -> dict[str, list[str]]:
    return {query.query: sorted(query.videos) for query in scores}


def test_the_queries_that_are_there_are_scored_with_the_database(library: Library) -> None:
    scores = LibraryScores(library, truth(["gone", "q", "a", "blank"], ["a", "b", "1/1_1_Y", "missing", "failed"]))
    assert scored(scores) == {"q": ["1/1_1_Y", "a", "b"], "a": ["1/1_1_Y", "b"]}
    assert scores.available == {"q", "1/1_1_Y", "a", "b"}


def test_scores_are_those_of_the_model(library: Library) -> None:
    (query,) = LibraryScores(library, truth(["q"], ["a", "b"]))
    for video, score in zip(query.videos, query.scores, strict=True):
        alone = library.model.compare(library.encoded("q"), library.encoded(video)).score
        assert score == pytest.approx(alone, abs=2e-6)


def test_a_query_is_scored_with_itself_where_a_task_ranks_it_and_it_is_searched_for(library: Library) -> None:
    assert scored(LibraryScores(library, truth(["q", "a"], ["a", "b"], ranks_query=True))) == {
        "q": ["a", "b"],
        "a": ["a", "b"],
    }
    only_b = truth(["a"], ["a", "b"], ranks_query=True, searched=("b",))
    assert scored(LibraryScores(library, only_b)) == {"a": ["b"]}


def test_an_open_data_set_is_scored_with_the_whole_library(library: Library) -> None:
    assert scored(LibraryScores(library, truth(["q"], ["a"], is_open=True))) == {"q": ["1/1_1_Y", "a", "b"]}


def test_what_could_not_be_read_is_named_with_its_reason(library: Library) -> None:
    scores = LibraryScores(library, truth(["q", "blank"], ["a", "failed", "missing"]))
    assert list(scores.unreadable) == [("blank", "every frame is blank, so it has no score"), ("failed", "cut off")]
    assert not LibraryScores(library, truth(["q"], ["a"])).unreadable


def test_a_share_gets_fine_scores_and_the_facts_count_them(library: Library) -> None:
    told: list[tuple[int, int]] = []
    scores = LibraryScores(
        library,
        truth(["q", "a"], ["q", "a", "b", "1/1_1_Y"]),
        rerank="50%",
        progress=lambda done, total: told.append((done, total)),
    )
    assert scores.facts().query_s is None
    for query in scores:
        assert (query.scores >= 0).sum() == 2
    facts = scores.facts()
    assert (facts.num_queries, facts.num_fine, facts.rerank, facts.num_videos) == (2, 4, "50%", 4)
    assert facts.query_s is not None and facts.query_s > 0
    assert facts.bytes_per_video == 3 * 9 * library.model.dim * 2 + library.model.dim * 4  # float16, float32
    assert (facts.bundle_name, facts.bundle_hash) == ("quick", library.model.bundle.hash)
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_it_can_be_gone_through_again(library: Library) -> None:
    scores = LibraryScores(library, truth(["q"], ["a", "b"]))
    first, again = list(scores), list(scores)
    np.testing.assert_array_equal(first[0].scores, again[0].scores)
    assert scores.facts().num_queries == 1


@pytest.mark.parametrize(
    ("queries", "database", "what"), [(["x.mp4"], ["a"], "query"), (["q"], ["a.mp4", "b.mp4"], "database video")]
)
def test_other_ids_than_those_of_the_data_set_are_an_error_that_shows_both(
    library: Library, queries: list[str], database: list[str], what: str
) -> None:
    wrong = rf"holds no {what} of a data set: its ids are '1/1_1_Y', 'a', 'b', \.\.\., those of the data set '.\.mp4'"
    with pytest.raises(DataError, match=f"{wrong}.*--pattern"):
        LibraryScores(library, truth(queries, database))


def test_an_empty_library_is_an_error(tmp_path: Path, quick_model: Model) -> None:
    empty = Library.create(tmp_path / "empty", quick_model)
    with pytest.raises(DataError, match="holds no query of a data set: its ids are none"):
        LibraryScores(empty, truth(["q"], ["a"]))


def test_a_wrong_rerank_is_an_error_at_once(library: Library) -> None:
    with pytest.raises(DataError, match="rerank must be"):
        LibraryScores(library, truth(["q"], ["a"]), rerank="most")

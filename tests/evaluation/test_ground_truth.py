"""What a ground truth says of itself."""

from dataclasses import replace

import pytest

from visil.evaluation.ground_truth import GroundTruth, Task

TASK = Task("T", {"q": frozenset("a")})


def test_what_is_searched_is_the_database_unless_the_data_set_names_less():
    assert GroundTruth("Toys", ("q",), ("q", "a", "b"), (TASK,)).searched_videos == ("q", "a", "b")
    assert GroundTruth("Toys", ("q",), ("q", "a", "b"), (TASK,), searched=("b", "a")).searched_videos == ("b", "a")


def test_queries_and_searched_videos_are_wanted_and_everything_where_the_database_is_open():
    assert GroundTruth("Toys", ("q",), ("a", "b"), (TASK,)).wanted == {"q", "a", "b"}
    assert GroundTruth("Toys", ("q",), ("a", "b", "c"), (TASK,), searched=("a",)).wanted == {"q", "a"}
    assert GroundTruth("Toys", ("q",), ("a",), (TASK,), is_open=True).wanted is None


class TestContentHash:
    TRUTH = GroundTruth("Toys", ("q", "p"), ("a", "b"), (TASK,))

    def test_is_that_of_the_same_annotation_wherever_it_lies_and_in_whatever_order(self):
        moved = replace(
            self.TRUTH, name="Games", source="elsewhere", warnings=("odd",), queries=("p", "q"), database=("b", "a")
        )
        assert moved.content_hash == self.TRUTH.content_hash

    @pytest.mark.parametrize(
        "change",
        [
            {"queries": ("q",)},
            {"database": ("a",)},
            {"tasks": (replace(TASK, relevant={"q": frozenset("b")}),)},
            {"tasks": (replace(TASK, left_out={"q": frozenset("b")}),)},
            {"tasks": (replace(TASK, form="trapezoid"),)},
            {"components": {"q": "p"}},
            {"is_open": True},
        ],
    )
    def test_is_another_where_anything_is_relevant_or_ranked_in_another_way(self, change):
        assert replace(self.TRUTH, **change).content_hash != self.TRUTH.content_hash

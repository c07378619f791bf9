"""What a ground truth says of itself."""

from visil.evaluation.ground_truth import GroundTruth, Task

TASK = Task("T", {"q": frozenset("a")})


def test_what_is_searched_is_the_database_unless_the_data_set_names_less():
    assert GroundTruth("Toys", ("q",), ("q", "a", "b"), (TASK,)).searched_videos == ("q", "a", "b")
    assert GroundTruth("Toys", ("q",), ("q", "a", "b"), (TASK,), searched=("b", "a")).searched_videos == ("b", "a")


def test_queries_and_searched_videos_are_wanted_and_everything_where_the_database_is_open():
    assert GroundTruth("Toys", ("q",), ("a", "b"), (TASK,)).wanted == {"q", "a", "b"}
    assert GroundTruth("Toys", ("q",), ("a", "b", "c"), (TASK,), searched=("a",)).wanted == {"q", "a"}
    assert GroundTruth("Toys", ("q",), ("a",), (TASK,), is_open=True).wanted is None

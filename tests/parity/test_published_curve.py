"""The defects of the published curve, one by one."""

import pytest

from tests.evaluation.test_metrics import ranking
from tests.parity.published_curve import published_curve


def test_the_level_of_15_percent_lies_above_3_of_20():
    curve = published_curve(ranking([1, 1, 1, 0] + [1] * 17), 21)
    assert curve[3] == pytest.approx(20 / 21)
    assert curve[2] == 1


def test_what_was_not_retrieved_beats_negative_scores_and_the_first_precision_is_one():
    curve = published_curve(ranking([0, 1, 0], 2, [0.9, 0.3, -0.5]), 4)
    # .9 wrong, .3 right, 0 right (not retrieved), -.5 wrong
    assert curve.tolist() == pytest.approx([1] + [2 / 3] * 20)


def test_irrelevant_videos_that_were_not_retrieved_tie_with_relevant_ones():
    curve = published_curve(ranking([1, 0], 2, [0.9, -0.5]), 5)
    # .9 right, then one right and two wrong of score 0
    assert curve.tolist() == pytest.approx([1] * 11 + [2 / 4] * 10)

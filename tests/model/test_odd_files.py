"""Scores of files that are more, or other, than one plain stream of pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from visil.model.model import Model
from visil.values import Comparison


@pytest.fixture
def compared(model: Model, shared_data: Path):
    """The comparison of two reported files."""

    def compare(query: str, target: str) -> Comparison:
        folder = shared_data / "field_reports"
        return model.compare(model.encode(folder / query), model.encode(folder / target))

    return compare


@pytest.mark.parametrize("name", ["thumbnail_first.mp4", "thumbnail_first.mov", "menu_then_film.ts"])
def test_a_film_behind_something_else_is_the_film(compared, name):
    assert compared(name, "the_film.mp4").score >= 0.95


def test_one_of_two_cameras_is_searched(compared):
    assert max(compared("front_and_rear.mp4", name).score for name in ("front.mp4", "rear.mp4")) >= 0.95


def test_what_alpha_hides_is_not_compared(compared):
    assert compared("hidden_under_alpha.mov", "what_alpha_hides.mp4").score < 0.75
    assert compared("what_alpha_hides.mp4", "hidden_under_alpha.mov").score < 0.75


def test_a_display_matrix_that_is_no_quarter_turn_changes_nothing(compared):
    assert compared("odd_rotation.mp4", "the_film.mp4").score >= 0.85

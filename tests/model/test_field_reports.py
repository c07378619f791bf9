"""Reports about tools of this field, each as small files: what the default bundle makes of bars and of the night."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from visil.model.model import Model
from visil.values import EncodedVideo


@pytest.fixture(scope="module")
def videos(model: Model, shared_data: Path) -> dict[str, EncodedVideo]:
    """Four vertical videos between bars and without: `bars_0`, `without_bars_0` ..."""
    names = [f"{form}_{number}" for form in ("bars", "without_bars") for number in range(4)]
    return {name: model.encode(shared_data / "field_reports" / f"{name}.mp4") for name in names}


def test_no_unrelated_pair_gains_by_its_bars(model, videos):
    for one, other in permutations(range(4), 2):
        with_bars = model.compare(videos[f"bars_{one}"], videos[f"bars_{other}"]).score
        without = model.compare(videos[f"without_bars_{one}"], videos[f"without_bars_{other}"]).score
        assert with_bars - without < 0.03


@pytest.mark.parametrize("form", ["bars", "without_bars"])
def test_every_video_finds_its_other_form_first(model, videos, form):
    for number in range(4):
        query = f"{form}_{number}"
        scores = {name: model.compare(videos[query], videos[name]).score for name in videos if name != query}
        assert max(scores, key=lambda name: scores[name]).endswith(f"bars_{number}")


@pytest.mark.parametrize(
    ("name", "shows"),
    [("lights_at_night", True), ("lights_at_night_copy", True), ("other_lights", True), ("nothing_but_black", False)],
)
def test_lamps_at_night_are_content_and_black_is_not(model, shared_data, name, shows):
    assert model.encode(shared_data / "field_reports" / f"{name}.mp4").has_content == shows

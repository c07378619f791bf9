"""The demonstration holds what it promises, whatever the seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from visil.demo import Finding, run_demo
from visil.model.model import Model


@pytest.mark.parametrize("seed", range(5))
def test_every_edit_is_found_before_everything_else_and_scores_above_every_look_alike(
    model: Model, tmp_path: Path, seed: int
) -> None:
    findings = run_demo(tmp_path, model, seed=seed)
    assert len(findings) == 7
    assert [found.query for found in findings if found.margin <= 0] == []
    look_alikes = [found.look_alike for found in findings if found.look_alike is not None]
    assert len(look_alikes) == 3
    assert max(look_alikes) < min(found.worst_related for found in findings)


@pytest.mark.parametrize(("look_alike", "margin"), [(None, 0.3), (0.4, 0.3), (0.8, -0.1)])
def test_a_look_alike_counts_as_any_other_video_does(look_alike: float | None, margin: float) -> None:
    found = Finding(
        query="q.mp4",
        first="a.mp4",
        score=0.9,
        relation="related",
        times="0.0-1.0 s",
        worst_related=0.7,
        best_unrelated=0.4,
        look_alike=look_alike,
    )
    assert found.margin == pytest.approx(margin)

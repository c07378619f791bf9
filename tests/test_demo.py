"""The demonstration holds what it promises, whatever the seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from visil.demo import run_demo
from visil.model.model import Model


@pytest.mark.parametrize("seed", range(5))
def test_every_edit_ranks_above_every_unrelated_scene(model: Model, tmp_path: Path, seed: int) -> None:
    findings = run_demo(tmp_path, model, seed=seed)
    assert len(findings) == 7
    assert [found.query for found in findings if found.margin <= 0] == []


def test_look_alikes_are_there_and_labelled(model: Model, tmp_path: Path) -> None:
    """Three pairs; they are left out of the margin until a trained bundle can tell them apart."""
    findings = run_demo(tmp_path, model)
    assert sum(found.look_alike is not None for found in findings) == 3

"""Bundles with other levels, shares or fewer dimensions, of the same weights."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from visil.errors import DataError
from visil.model.bundle import Bundle, load_bundle
from visil.model.catalogue import find_bundle
from visil.model.model import Model
from visil.model.network import NetworkSettings
from visil.s2vs.backbone.pictures import FORMAT

NUM_PICTURES, SIDE = 24, 32


@pytest.fixture(scope="module")
def vary():
    """The command, given its arguments."""
    spec = importlib.util.spec_from_file_location("vary_bundle", Path(__file__).parents[3] / "scripts/vary_bundle.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["vary_bundle", *map(str, arguments)])
            assert module.main() == 0

    return run


@pytest.fixture(scope="module")
def pictures():
    coarse = torch.rand(NUM_PICTURES, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, size=SIDE, mode="bicubic").clamp(0, 1).mul(255).byte().movedim(1, -1).contiguous()


def vectors(path, pictures):
    return Model(load_bundle(path), device="cpu").region_vectors(np.asarray(pictures))


def test_regions_of_fewer_levels_are_those_of_the_whole(vary, pictures, tmp_path):
    vary("--model", "mini", "--levels", 1, 2, "--shares", 0.6, 0.4, "--output", tmp_path / "two.safetensors")
    made = load_bundle(tmp_path / "two.safetensors")
    assert (made.settings.name, made.settings.regions.shares) == ("two", (0.6, 0.4))
    whole = vectors(find_bundle("mini"), pictures)
    torch.testing.assert_close(vectors(tmp_path / "two.safetensors", pictures), whole[:, :5])


def test_fewer_dimensions_keep_the_cosines_as_far_as_they_go(vary, pictures, tmp_path):
    stickers = {name: torch.zeros(0, 8, 8, 4, dtype=torch.uint8) for name in ("captions", "logos", "emoji")}
    facts = {"format": FORMAT, "rule": "all", "stills": NUM_PICTURES, "sources": []}
    tensors = {"pictures": pictures, "groups": torch.arange(NUM_PICTURES), **stickers}
    save_file(tensors, tmp_path / "pictures.safetensors", {"visil": json.dumps(facts)})
    packed = ("--pictures", tmp_path / "pictures.safetensors")
    vary("--model", "mini", "--dim", 64, *packed, "--output", tmp_path / "small.safetensors")
    small, whole = (
        vectors(path, pictures[::4]).flatten(0, 1) for path in (tmp_path / "small.safetensors", find_bundle("mini"))
    )
    assert small.shape[1] == 64
    assert (small @ small.T - whole @ whole.T).abs().mean() < 0.05


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--dim", "385"], "--dim: expected 1 to 384, and --pictures FILE"),
        (["--dim", "64"], "--dim: expected 1 to 384, and --pictures FILE"),
        (["--shares", "0.5", "0.4"], "expected a share for each of the levels"),
        (["--levels", "2", "1"], "levels must ascend"),
    ],
)
def test_what_cannot_be(vary, tmp_path, arguments, reason):
    with pytest.raises(DataError, match=reason):
        vary("--model", "mini", *arguments, "--output", tmp_path / "b.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_network_with_more_parts_is_refused(vary, tmp_path):
    mini = load_bundle(find_bundle("mini"))
    settings = replace(mini.settings, network=NetworkSettings(symmetric=True))
    Bundle(settings, mini.tensors).save(tmp_path / "more.safetensors")
    with pytest.raises(DataError, match="expected regions of a pyramid, a whitening and no network after it"):
        vary("--model", tmp_path / "more.safetensors", "--output", tmp_path / "b.safetensors")

"""The baseline that has learned nothing is made from its seed, once a folder."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import visil.benchmarks.untrained as untrained_module
from visil.benchmarks.untrained import kept_untrained_bundle, untrained_bundle
from visil.model.bundle import load_bundle
from visil.model.model import CHECK_TOLERANCE, Model


@pytest.fixture(scope="module")
def small():
    return untrained_bundle(size_px=32, num_pictures=30)


def test_it_is_made_from_a_seed_of_its_own(small):
    state = torch.get_rng_state()
    again = untrained_bundle(size_px=32, num_pictures=30)
    assert again.hash == small.hash
    assert torch.equal(torch.get_rng_state(), state)


def test_it_is_a_whole_bundle(small, tmp_path):
    small.save(tmp_path / "small.safetensors")
    model = Model(load_bundle(tmp_path / "small.safetensors"), device="cpu")
    assert model.check() < CHECK_TOLERANCE
    assert (model.settings.name, model.dim) == ("untrained", 128)
    vectors = model.region_vectors(np.zeros((1, 32, 32, 3), np.uint8))
    assert vectors.shape == (1, 9, 128)


def test_a_folder_keeps_it_and_threads_are_as_before(small, tmp_path, monkeypatch):
    threads = []

    def made():
        threads.append(torch.get_num_threads())
        return replace(small)

    monkeypatch.setattr(untrained_module, "untrained_bundle", made)
    before = torch.get_num_threads()
    first = kept_untrained_bundle(tmp_path)
    assert kept_untrained_bundle(tmp_path) == first
    assert threads == [4]
    assert torch.get_num_threads() == before
    assert load_bundle(first).hash == small.hash

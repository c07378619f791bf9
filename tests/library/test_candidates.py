"""The coarse stage: a pair of videos scores as its best pair of parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import visil.library.candidates as candidates_module
from tests.library.made import unit
from visil.library.candidates import Candidates


def test_a_video_scores_as_its_best_pair_of_parts():
    candidates = Candidates(
        ids=["a", "b"],
        descriptors=np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32),
        owners=np.array([0, 0, 1]),
    )
    query = np.array([[0, 1], [0.8, 0.6]], dtype=np.float32)
    assert candidates.scores(query) == pytest.approx([1.0, 0.96])


def test_an_empty_library_has_no_scores():
    candidates = Candidates([], np.zeros((0, 2), np.float32), np.zeros(0, int))
    assert candidates.scores(np.ones((3, 2), np.float32)).shape == (0,)


@given(
    num_parts=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    query_parts=st.integers(1, 4),
    block=st.integers(1, 7),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_block_size_never_changes_a_score(num_parts, query_parts, block, seed):
    rng = np.random.default_rng(seed)
    descriptors = unit(rng.normal(size=(sum(num_parts), 4))).astype(np.float32)
    owners = np.repeat(np.arange(len(num_parts)), num_parts)
    query = unit(rng.normal(size=(query_parts, 4))).astype(np.float32)
    candidates = Candidates([str(i) for i in range(len(num_parts))], descriptors, owners)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates_module, "BLOCK_PRODUCTS", block)
        scores = candidates.scores(query)
    by_hand = [max(q @ d for q in query for d in descriptors[owners == i]) for i in range(len(num_parts))]
    np.testing.assert_allclose(scores, by_hand, atol=2e-6)

"""Candidates: the pairs of videos that own the most similar pairs of frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visil.align.candidate_pairs import CandidatePair, candidate_pairs
from visil.errors import DataError

lengths = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def videos(lengths, *, name, seed):
    rng = np.random.default_rng(seed)
    return {f"{name}{number}": rng.normal(size=(length, 4)) for number, length in enumerate(lengths)}


@given(lengths, lengths, st.integers(1, 80), st.integers(0, 2**16))
def test_equal_all_products_sorted_and_cut(query_lengths, target_lengths, global_k, seed):
    queries, targets = videos(query_lengths, name="Q", seed=seed), videos(target_lengths, name="R", seed=seed + 1)
    products = sorted(
        (
            (float(value), query, target)
            for query, q in queries.items()
            for target, r in targets.items()
            for value in (q @ r.T).ravel()
        ),
        reverse=True,
    )
    best: dict[tuple[str, str], float] = {}
    for value, query, target in products[:global_k]:
        best.setdefault((query, target), value)
    found = candidate_pairs(queries, targets, global_k=global_k)
    assert [(pair.query, pair.target) for pair in found] == list(best)
    assert [pair.score for pair in found] == pytest.approx(list(best.values()))


def test_equal_pairs_come_in_the_order_of_the_videos():
    one = np.ones((1, 2))
    found = candidate_pairs({"b": one, "a": one}, {"z": one, "y": one}, global_k=10)
    assert found == [CandidatePair(query, target, 2.0) for query in "ba" for target in "zy"]


def test_without_videos_there_are_no_candidates():
    with pytest.raises(DataError, match="got 0 and 1 videos"):
        candidate_pairs({}, {"R": np.ones((1, 2))}, global_k=1)
    with pytest.raises(ValueError, match="at least 1"):
        candidate_pairs({"Q": np.ones((1, 2))}, {"R": np.ones((1, 2))}, global_k=0)

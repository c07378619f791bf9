"""Score normalisation: what is alike everywhere counts for nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visil.align.score_normalisation import (
    ScoreNormalisation,
    least_varying_dim,
    normalised_descriptors,
    with_background,
    without_background,
)
from visil.errors import DataError

seeds = st.integers(0, 2**16)
PLAIN = ScoreNormalisation(beta=1.2, l2_normalises=False, replaces_dim=False)


def descriptors(*lengths: int, seed: int, dim: int = 6, name: str = "Q") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"{name}{number}": rng.normal(size=(length, dim)) for number, length in enumerate(lengths)}


class TestNormalisedDescriptors:
    @given(seeds)
    def test_products_are_those_of_the_vectors_less_the_nearest_noise(self, seed):
        queries, targets = descriptors(3, 4, seed=seed), descriptors(5, seed=seed + 1, name="R")
        noise = descriptors(7, 2, seed=seed + 2, name="N")
        new_queries, new_targets = normalised_descriptors(queries, targets, noise, PLAIN)
        for id, rows in queries.items():
            nearest = (rows @ np.concatenate(list(noise.values())).T).max(axis=1, keepdims=True)
            expected = rows @ targets["R0"].T - 1.2 * nearest
            np.testing.assert_allclose(new_queries[id] @ new_targets["R0"].T, expected)
            np.testing.assert_allclose(without_background(rows @ targets["R0"].T, nearest[:, 0], beta=1.2), expected)

    def test_vectors_keep_their_width_where_the_dimension_that_varies_least_makes_room(self):
        noise = {"N": np.array([[1.0, 5.0, 0.0], [2.0, 5.0, 0.0], [4.0, 5.0, 1.0]])}
        assert least_varying_dim(noise["N"]) == 1
        queries, targets = normalised_descriptors({"Q": np.ones((1, 3))}, {"R": np.ones((2, 3))}, noise)
        assert queries["Q"].shape == (1, 3) and targets["R"].shape == (2, 3)
        np.testing.assert_allclose(targets["R"], [[0.5**0.5, 0.5**0.5, 1]] * 2)

    def test_a_zero_vector_stays_one(self):
        queries, _ = normalised_descriptors({"Q": np.zeros((1, 3))}, {}, {"N": np.eye(3)})
        assert queries["Q"].tolist() == [[0, 0, 0]]

    def test_inputs_stay_as_they_are(self):
        sides = [descriptors(4, seed=number, name=name) for number, name in enumerate("QRN")]
        before = [{id: rows.copy() for id, rows in side.items()} for side in sides]
        normalised_descriptors(*sides)
        for side, old in zip(sides, before, strict=True):
            assert all(np.array_equal(side[id], old[id]) for id in old)

    def test_noise_must_not_be_among_the_targets(self):
        videos = descriptors(3, seed=0)
        with pytest.raises(DataError, match="Q0 is in the noise and among the targets"):
            normalised_descriptors({}, videos, videos)

    def test_there_must_be_noise(self):
        with pytest.raises(DataError, match="needs descriptors of noise"):
            normalised_descriptors(descriptors(3, seed=0), {}, {})

    def test_widths_must_agree(self):
        with pytest.raises(DataError, match=r"got widths \[5, 6\]"):
            normalised_descriptors(descriptors(3, seed=0), {}, descriptors(3, seed=0, dim=5, name="N"))

    def test_a_descriptor_that_lost_its_axis_is_named(self):
        with pytest.raises(DataError, match="Q0: descriptors must be finite"):
            normalised_descriptors({"Q0": np.ones(6)}, {}, descriptors(3, seed=0, name="N"))


class TestBackground:
    def test_is_a_dimension_more(self):
        assert with_background(np.eye(2), np.array([0.5, 0.25]), beta=2).tolist() == [[1, 0, -1], [0, 1, -0.5]]

    def test_of_a_matrix_is_taken_off_its_rows_in_a_new_one(self):
        matrix = np.array([[0.9, 0.4], [0.5, 0.3]])
        np.testing.assert_allclose(without_background(matrix, [0.4, 0.1]), [[0.5, 0.0], [0.4, 0.2]])
        assert matrix[0, 0] == 0.9

    def test_is_one_number_a_query_frame(self):
        with pytest.raises(DataError, match="for each of 2 query frames"):
            without_background(np.eye(2), [0.1])

"""PCA whitening, and learning one from a stream of vectors."""

import doctest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.model import whitening
from visil.model.whitening import Whitening, WhiteningFit

few = settings(deadline=None, max_examples=20)


def correlated(count: int, dim: int, *, rank: int | None = None, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, rank or dim, generator=generator)
    return hidden @ torch.randn(rank or dim, dim, generator=generator) + 3.0


def fitted(vectors: torch.Tensor, dim: int, *, batch: int = 1000) -> Whitening:
    fit = WhiteningFit()
    for rows in vectors.split(batch):
        fit.update(rows)
    return fit.finish(dim)


class TestWhitening:
    def test_values_by_hand(self):
        # Centred: (3, 4). Directions: y with variance 4, x with variance 1, in this order.
        whitening = Whitening.from_eigen(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 4.0]), torch.eye(2), dim=2)
        projected = torch.tensor([4 / 2, 3 / 1])
        torch.testing.assert_close(whitening(torch.tensor([4.0, 5.0])), projected / projected.norm())

    def test_a_bias_is_added_before_the_norm(self):
        whitening = Whitening(
            torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0.0, 1.0])
        )
        torch.testing.assert_close(whitening(torch.tensor([4.0, 1.5])), torch.tensor([3.0, 4.0]) / 5)

    def test_the_input_is_left_as_it_is(self):
        vectors = correlated(5, 4)
        before = vectors.clone()
        fitted(correlated(50, 4), 3)(vectors)
        torch.testing.assert_close(vectors, before, rtol=0, atol=0)

    def test_results_have_unit_length_whatever_leads_the_axis(self):
        whitened = fitted(correlated(50, 8), 3)(correlated(24, 8).reshape(4, 6, 8))
        assert whitened.shape == (4, 6, 3)
        torch.testing.assert_close(whitened.norm(dim=-1), torch.ones(4, 6))

    def test_a_mean_may_come_as_a_row(self):
        whitening = Whitening.from_eigen(torch.zeros(1, 3), torch.ones(3), torch.eye(3), dim=2)
        assert whitening.mean.shape == (3,)

    def test_an_impossible_dim_is_refused(self):
        with pytest.raises(ValueError, match="dim must lie between 1 and 3, got 4"):
            Whitening.from_eigen(torch.zeros(3), torch.ones(3), torch.eye(3), dim=4)

    def test_shapes_that_do_not_fit_are_refused(self):
        with pytest.raises(ValueError, match=r"got \[3\] and \[4, 2\]"):
            Whitening(torch.zeros(3), torch.zeros(4, 2))
        with pytest.raises(ValueError, match=r"a whitening to 2 dimensions has shape \[3\]"):
            Whitening(torch.zeros(4), torch.zeros(4, 2), torch.zeros(3))


class TestWhiteningFit:
    def test_its_example_runs(self):
        assert doctest.testmod(whitening).failed == 0

    def test_fitted_vectors_come_out_uncorrelated_with_unit_variance(self):
        vectors = correlated(2000, 6)
        whitening = fitted(vectors, 6)
        projected = (vectors.double() - whitening.mean.double()) @ whitening.projection.double()
        # 1e-4: the published floor of 1e-7 under eigenvalues that start at 0.003 here
        torch.testing.assert_close(projected.T.cov(), torch.eye(6).double(), rtol=0, atol=1e-4)

    def test_equals_the_eigenvectors_of_the_covariance(self):
        vectors = correlated(300, 5)
        values, directions = torch.linalg.eigh(vectors.double().T.cov())
        twin = Whitening.from_eigen(vectors.double().mean(dim=0), values, directions, dim=3)
        ours = fitted(vectors, 3)
        signs = torch.sign((ours.projection * twin.projection).sum(dim=0))
        torch.testing.assert_close(ours.projection.double() * signs, twin.projection, rtol=1e-5, atol=1e-7)

    @given(st.integers(1, 100), st.integers(0, 2**16))
    @few
    def test_batches_do_not_change_the_result(self, batch, seed):
        vectors = correlated(100, 6, seed=seed)
        whole, parts = fitted(vectors, 4), fitted(vectors, 4, batch=batch)
        torch.testing.assert_close(parts.projection, whole.projection, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(parts.mean, whole.mean)

    @given(st.integers(0, 2**16))
    @few
    def test_signs_are_decided_by_the_largest_entry(self, seed):
        projection = fitted(correlated(60, 5, seed=seed), 5).projection
        largest = projection.gather(0, projection.abs().argmax(dim=0, keepdim=True))
        assert (largest > 0).all()

    def test_statistics_far_from_the_origin_do_not_cancel(self):
        vectors = correlated(500, 4).double()
        near, far = fitted(vectors, 4), fitted(vectors + 1e6, 4, batch=100)
        torch.testing.assert_close(far.projection, near.projection, rtol=1e-4, atol=1e-5)

    def test_more_vectors_may_follow_a_result(self):
        vectors = correlated(200, 4)
        fit = WhiteningFit()
        fit.update(vectors[:100])
        fit.finish(2)
        fit.update(vectors[100:])
        torch.testing.assert_close(fit.finish(2).projection, fitted(vectors, 2).projection)

    def test_an_empty_batch_adds_nothing(self):
        fit = WhiteningFit()
        fit.update(torch.zeros(0, 9, 4))
        assert fit.count == 0

    def test_too_few_vectors_are_refused(self):
        with pytest.raises(ValueError, match="whiten to 4 dimensions: got 4 vectors, more than 4 are needed"):
            fitted(correlated(4, 8), 4)
        with pytest.raises(ValueError, match="got 0 vectors"):
            WhiteningFit().finish(1)

    def test_vectors_that_span_too_few_directions_are_refused(self):
        with pytest.raises(ValueError, match=r"the 100 vectors span only 3; .* ask for at most 3"):
            fitted(correlated(100, 8, rank=3), 4)

    def test_equal_vectors_span_nothing(self):
        with pytest.raises(ValueError, match="span only 0"):
            fitted(torch.ones(10, 4), 1)

    def test_a_batch_of_another_dimension_is_refused(self):
        fit = WhiteningFit()
        fit.update(torch.randn(5, 4))
        with pytest.raises(ValueError, match="vectors of 3 dimensions after vectors of 4"):
            fit.update(torch.randn(5, 3))

    def test_nan_is_refused(self):
        with pytest.raises(ValueError, match="NaN or infinite"):
            WhiteningFit().update(torch.tensor([[1.0, float("nan")]]))

"""Losses on scores of the similarity network."""

import pytest
import torch

from visil.s2vs.losses import similarity_regularisation, triplet_loss


class TestSimilarityRegularisation:
    RAW = torch.tensor([[-3.0, -1.0, 0.5], [1.0, 1.25, 2.0]])  # beyond [-1, 1] by 2, 0, 0 and 0, 0.25, 1

    def test_adds_up_what_the_clipping_would_cut_off(self):
        assert similarity_regularisation(self.RAW).item() == pytest.approx(3.25)

    def test_the_mean_counts_every_element(self):
        assert similarity_regularisation(self.RAW, "mean").item() == pytest.approx(3.25 / 6)

    def test_only_what_lies_beyond_the_range_has_a_gradient(self):
        raw = self.RAW.clone().requires_grad_()
        similarity_regularisation(raw).backward()
        assert raw.grad.tolist() == [[-1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]

    def test_an_unknown_reduction_is_refused(self):
        with pytest.raises(ValueError, match="sum or mean, got 'none'"):
            similarity_regularisation(self.RAW, "none")


class TestTripletLoss:
    def test_averages_what_is_missing_to_the_margin(self):
        positive, negative = torch.tensor([0.9, 0.2, 0.5]), torch.tensor([0.1, 0.4, 0.5])
        assert triplet_loss(positive, negative, 0.5).item() == pytest.approx((0.0 + 0.7 + 0.5) / 3)

    def test_well_separated_triplets_cost_nothing(self):
        assert triplet_loss(torch.ones(4, 1), -torch.ones(4, 1), 1.0).item() == 0.0

    def test_scores_that_do_not_pair_up_are_refused(self):
        with pytest.raises(ValueError, match=r"got \[4\] and \[4, 1\]"):
            triplet_loss(torch.ones(4), torch.ones(4, 1), 1.0)

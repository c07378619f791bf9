"""Which pairs get a fine score, and ITQ, labels, augmentation in time. Published cases: tests/parity."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visil.dns.funnel import merged_scores, num_fine, selector_order
from visil.dns.itq import fit_itq, itq_rotation, quantisation_loss
from visil.dns.losses import distillation_loss, selector_labels, selector_loss
from visil.dns.temporal_augmentation import LONGEST, augmented_frames

COARSE = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
FINE = np.array([[0.9, 0.8, 0.7, 0.6], [0.5, 0.6, 0.7, 0.8]])
CHANCES = np.array([[0.2, 0.9, 0.1, 0.5], [0.5, 0.5, 0.5, 0.9]])


class TestFunnel:
    def test_by_falling_chance_and_equal_ones_as_they_come(self):
        assert selector_order(CHANCES).tolist() == [[1, 3, 0, 2], [3, 0, 1, 2]]

    def test_the_first_share_of_each_query_gets_fine_scores(self):
        merged = merged_scores(COARSE, FINE, selector_order(CHANCES), 0.5)
        assert merged.tolist() == [[0.1, 0.8, 0.3, 0.6], [0.5, 0.3, 0.2, 0.8]]

    @pytest.mark.parametrize(("share", "expected"), [(0.0, COARSE), (1.0, FINE)])
    def test_nothing_and_everything(self, share, expected):
        assert merged_scores(COARSE, FINE, selector_order(CHANCES), share).tolist() == expected.tolist()

    def test_what_is_given_stays_as_it_was(self):
        before = COARSE.copy()
        merged_scores(COARSE, FINE, selector_order(CHANCES), 0.5)
        assert (before == COARSE).all()

    def test_shares_round_as_published(self):
        assert num_fine(0.7, 90) == 62  # 0.7 · 90 is a little below 63 in floating point

    @pytest.mark.parametrize("share", [-0.1, 1.1, 5.0, float("nan")])
    def test_a_share_is_a_share(self, share):
        """Published: 5 means all."""
        with pytest.raises(ValueError, match="between 0 and 1"):
            num_fine(share, 10)


class TestITQ:
    VECTORS = torch.randn(200, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def test_no_update_makes_the_loss_larger(self):
        rotation, losses = torch.eye(12, dtype=torch.float64), []
        for _ in range(20):
            losses.append(quantisation_loss(self.VECTORS, rotation).item())
            rotation = itq_rotation(self.VECTORS, rotation, 1)
        assert losses == sorted(losses, reverse=True)
        assert losses[-1] < 0.97 * losses[0]

    @given(st.integers(1, 12), st.integers(0, 1000))
    def test_a_projection_has_orthonormal_columns(self, bits, seed):
        projection = fit_itq(self.VECTORS.float(), bits, iterations=5, seed=seed)
        assert projection.shape == (12, bits)
        torch.testing.assert_close(projection.T @ projection, torch.eye(bits), atol=1e-5, rtol=0)

    def test_more_bits_than_dimensions_are_refused(self):
        with pytest.raises(ValueError, match="between 1 and the 12 dimensions"):
            fit_itq(self.VECTORS, 13)


class TestLosses:
    def test_distillation_is_the_mean_distance(self):
        student, teacher = torch.tensor([[0.1, 0.9]]), torch.tensor([[0.4, 0.8]])
        assert distillation_loss(student, teacher).item() == pytest.approx(0.2)

    def test_similarities_that_do_not_pair_up_are_refused(self):
        with pytest.raises(ValueError, match=r"\[2\] pairs, got \[2, 1\]"):
            distillation_loss(torch.zeros(2), torch.zeros(2, 1))

    def test_pairs_that_the_coarse_student_is_wrong_about(self):
        fine, coarse = torch.tensor([1.0, -1.0, 0.0]), torch.tensor([0.79, 0.21, 0.35])  # as 1, 0 and 0.5
        assert selector_labels(fine, coarse).tolist() == [1.0, 1.0, 0.0]

    def test_cross_entropy(self):
        loss = selector_loss(torch.tensor([0.8, 0.4]), torch.tensor([1.0, 0.0]))
        assert loss.item() == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)


class TestTemporalAugmentation:
    @given(st.integers(1, 700), st.integers(0, 2**31))
    def test_frames_of_the_video_and_not_too_many(self, num_frames, seed):
        frames = augmented_frames(num_frames, np.random.RandomState(seed))
        assert 1 <= len(frames) <= LONGEST
        assert 0 <= frames.min() <= frames.max() < num_frames
        if num_frames <= 8:
            assert frames.tolist() == list(range(num_frames))

    def test_half_of_the_videos_stay_as_they_are(self):
        unchanged = [
            augmented_frames(20, np.random.RandomState(seed)).tolist() == list(range(20)) for seed in range(1000)
        ]
        assert sum(unchanged) / 1000 == pytest.approx(0.5, abs=0.06)

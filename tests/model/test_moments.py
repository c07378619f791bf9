"""A long query counts by its best moment too: what a moment is, what it is worth, and that one frame is none."""

from math import log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from visil.model.moments import (
    MIN_SAMPLES,
    MOMENT_SAMPLES,
    best_moment,
    moment_descriptors,
    moment_starts,
    score_by_moments,
)

seeds = st.integers(0, 2**16)


class TestStarts:
    def test_every_three_samples_in_a_row_are_a_moment(self):
        assert moment_starts(np.arange(16.0)).tolist() == list(range(14))

    @pytest.mark.parametrize("num_samples", [0, 1, 2, 15])
    def test_a_short_query_has_none(self, num_samples):
        assert len(moment_starts(np.arange(float(num_samples)))) == 0

    @pytest.mark.parametrize("step_s", [0.04, 1.0, 30.0])
    def test_the_step_is_that_of_the_query(self, step_s):
        assert len(moment_starts(step_s * np.arange(20.0))) == 18

    def test_one_sample_may_be_missing_in_a_moment_but_not_two(self):
        times_s = np.array([*range(8), *range(9, 20)])  # 8 is blank
        assert moment_starts(times_s).tolist() == list(range(17))
        times_s = np.array([*range(8), *range(10, 20)])  # 8 and 9 are
        assert moment_starts(times_s).tolist() == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15]


class TestBestMoment:
    BEST = torch.tensor([0.1, 0.9, 0.8, 0.7, 0.2])
    STARTS = torch.arange(3)

    def test_is_the_highest_mean_of_three_rows(self):
        assert best_moment(self.BEST, torch.arange(5), self.STARTS).item() == pytest.approx(0.8)

    def test_one_frame_that_answers_for_all_is_no_evidence(self):
        where = torch.tensor([0, 4, 4, 4, 5])
        assert best_moment(self.BEST, where, self.STARTS).item() == pytest.approx((0.1 + 0.9 + 0.8) / 3)
        assert best_moment(self.BEST, torch.zeros(5), self.STARTS).item() == -torch.inf

    def test_only_the_moments_there_are_count(self):
        assert best_moment(self.BEST, torch.arange(5), torch.tensor([0, 2])).item() == pytest.approx(0.6)

    @given(st.integers(3, 20), st.integers(1, 4), seeds)
    def test_many_videos_get_what_each_gets_alone(self, num_rows, num_videos, seed):
        generator = torch.Generator().manual_seed(seed)
        best = torch.rand(num_videos, num_rows, generator=generator)
        where = torch.randint(0, 3, (num_videos, num_rows), generator=generator)
        starts = torch.arange(num_rows - 2)
        alone = [best_moment(b, w, starts) for b, w in zip(best, where, strict=True)]
        torch.testing.assert_close(best_moment(best, where, starts), torch.stack(alone))

    def test_makes_nothing_larger_than_it_is_given(self):
        """A query of 8 hours has 28,800 samples, and hundreds of short videos end in one block."""
        best, where = torch.rand(20, 1000), torch.randint(0, 9, (20, 1000))
        given = {tensor.untyped_storage().data_ptr() for tensor in (best, where)}

        class Made(TorchDispatchMode):
            largest = 0

            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                made = function(*args, **(kwargs or {}))
                if made.untyped_storage().data_ptr() not in given:
                    self.largest = max(self.largest, made.nbytes)
                return made

        with Made() as made:
            best_moment(best, where, torch.arange(998))
        assert 0 < made.largest <= best.nbytes


class TestScore:
    def score(self, whole: float, moment: float, num_moments: int) -> float:
        return score_by_moments(torch.tensor(whole), torch.tensor(moment), num_moments).item()

    def test_a_perfect_moment_is_perfect_among_any_number(self):
        assert self.score(0.1, 1.0, 5000) == pytest.approx(1.0)

    def test_what_a_moment_lacks_counts_more_the_more_there_are(self):
        assert self.score(0.0, 0.9, 1) == pytest.approx(0.9)
        assert self.score(0.0, 0.9, 14) == pytest.approx(1 - 0.1 * (1 + 2 * log(14)))
        assert self.score(0.0, 0.9, 58) < self.score(0.0, 0.9, 14)

    def test_edited_sources_rank_above_strangers_however_many_moments_there_are(self):
        stranger = self.score(0.15, 0.4, 5000)
        assert stranger < self.score(0.1, 0.7, 5000) < self.score(0.1, 0.71, 5000)

    def test_only_chance_lifts_a_moment_above_a_quarter(self):
        """The lowest threshold of mini, 1e-3 on val, is .292 raw."""
        assert self.score(0.0, 0.9, 58) == pytest.approx((1 - 0.1**2) / 4)
        assert self.score(0.0, 0.9, 58) < 0.292 < self.score(0.0, 0.93, 58)

    def test_a_moment_worse_than_chance_counts_less_than_nothing(self):
        assert self.score(-0.2, -0.1, 58) == pytest.approx((1 - 1.1**2) / 4)
        assert self.score(-0.9, -1.0, 58) == pytest.approx(-0.75)

    def test_the_weight_of_chance_may_be_another(self):
        assert score_by_moments(torch.tensor(0.0), torch.tensor(0.9), 14, chance_weight=1.0).item() == pytest.approx(
            1 - 0.1 * (1 + log(14))
        )

    def test_the_whole_counts_where_it_is_better(self):
        assert self.score(0.8, 0.9, 58) == pytest.approx(0.8)
        assert self.score(-0.5, -torch.inf, 58) == pytest.approx(-0.5)


class TestDescriptors:
    def test_are_means_of_every_second_moment_of_length_1(self):
        vectors = np.random.default_rng(0).normal(size=(MIN_SAMPLES, 2, 5)).astype(np.float16)
        descriptors = moment_descriptors(vectors)
        assert descriptors.shape == (7, 5)
        mean = vectors[4 : 4 + MOMENT_SAMPLES].astype(np.float32).mean(axis=(0, 1))
        np.testing.assert_allclose(descriptors[2], mean / np.linalg.norm(mean), atol=1e-5)

    @pytest.mark.parametrize(("num_samples", "step"), [(5400, 2), (8002, 2), (8003, 3), (28_800, 8)])
    def test_of_a_film_they_lie_further_apart_so_that_there_are_4000_at_most(self, num_samples, step):
        vectors = np.random.default_rng(0).normal(size=(num_samples, 1, 5)).astype(np.float32)
        descriptors = moment_descriptors(vectors)
        assert len(descriptors) == -(-(num_samples - 2) // step) <= 4000
        second = vectors[step : step + 3].mean(axis=(0, 1))
        np.testing.assert_allclose(descriptors[1], second / np.linalg.norm(second), rtol=1e-5)

    def test_a_short_query_has_none(self):
        assert moment_descriptors(np.ones((MIN_SAMPLES - 1, 2, 5), np.float16)).shape == (0, 5)

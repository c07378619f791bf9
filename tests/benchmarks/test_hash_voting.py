"""Perceptual hashes and their votes, by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.benchmarks.colour_histogram import intersection, mean_histogram
from visil.benchmarks.frame_descriptors import colour_histograms
from visil.benchmarks.hash_voting import HashVoting


def hashes(*first_bytes: int) -> np.ndarray:
    """64-bit hashes whose first byte is given."""
    found = np.zeros((len(first_bytes), 8), dtype=np.uint8)
    found[:, 0] = first_bytes
    return found


class TestVoting:
    LIBRARY = HashVoting([hashes(0b00000000, 0b00001111), hashes(0b11110000), hashes()])

    def test_every_sample_votes_for_the_video_with_the_closest_hash(self):
        assert self.LIBRARY.scores(hashes(0b00000001, 0b00000111, 0b11110000)).tolist() == [2 / 3, 1 / 3, 0]

    def test_videos_at_the_same_distance_share_a_vote(self):
        assert self.LIBRARY.scores(hashes(0b00110000)).tolist() == [0.5, 0.5, 0]

    def test_a_video_that_holds_the_closest_hash_twice_gets_one_vote(self):
        library = HashVoting([hashes(1, 1, 1), hashes(1)])
        assert library.scores(hashes(1)).tolist() == [0.5, 0.5]

    def test_nobody_votes_for_videos_that_are_left_out(self):
        left_out = np.array([False, True, False])
        assert self.LIBRARY.scores(hashes(0b11110000), left_out).tolist() == [1, 0, 0]
        assert self.LIBRARY.scores(hashes(1), np.array([True, True, True])).tolist() == [0, 0, 0]

    def test_without_samples_there_are_no_votes(self):
        assert self.LIBRARY.scores(hashes()).tolist() == [0, 0, 0]
        assert HashVoting([hashes(), hashes()]).scores(hashes(1)).tolist() == [0, 0]

    @given(st.integers(0, 2**32 - 1), st.integers(1, 6))
    @settings(deadline=None, max_examples=30)
    def test_agrees_with_counting_bits_one_by_one(self, seed, num_videos):
        rng = np.random.default_rng(seed)
        library = [rng.integers(0, 4, (rng.integers(0, 4), 2), dtype=np.uint8) for _ in range(num_videos)]
        query = rng.integers(0, 4, (3, 2), dtype=np.uint8)
        expected = np.zeros(num_videos)
        for sample in query:
            nearest = [
                min((sum(int(b).bit_count() for b in sample ^ other) for other in video), default=99)
                for video in library
            ]
            if min(nearest) < 99:
                winners = [i for i, distance in enumerate(nearest) if distance == min(nearest)]
                expected[winners] += 1 / len(winners) / len(query)
        assert HashVoting(library).scores(query) == pytest.approx(expected)


class TestColourHistogram:
    def test_counts_the_shares_of_boxes_of_colours(self):
        picture = np.zeros((2, 2, 3), dtype=np.uint8)
        picture[0, 0] = (255, 0, 0)
        (histogram,) = colour_histograms(picture[None])
        assert histogram[7 * 64] == 0.25
        assert histogram[0] == 0.75
        assert histogram.sum() == 1

    def test_of_a_video_is_the_mean_of_its_samples(self):
        assert mean_histogram(np.array([[1, 0], [0.5, 0.5]])).tolist() == [0.75, 0.25]
        assert mean_histogram(np.zeros((0, 2))).tolist() == [0, 0]

    def test_intersects_with_every_video(self):
        library = np.array([[0.5, 0.5, 0], [0, 0.2, 0.8]])
        assert intersection(np.array([0.5, 0.5, 0]), library) == pytest.approx([1, 0.2])

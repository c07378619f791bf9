"""Localisation of the VSC2022 baseline: boxes become seconds and scores."""

import numpy as np
import pytest

from visil.align.localisation import timed_matches
from visil.align.temporal_network import TemporalNetwork
from visil.errors import DataError

NETWORK = TemporalNetwork(max_step=5, min_length=4, top_k=2)
COPY = np.full((12, 14), -0.9)
COPY[np.arange(10), np.arange(10) + 3] = np.linspace(0.1, 0.3, 10)  # the last frame is the most alike


def test_instants_end_when_the_last_frame_starts_and_intervals_when_it_ends():
    instants, intervals = np.arange(14) / 2, np.stack([np.arange(14), np.arange(1, 15)], axis=1) / 2
    (match,) = timed_matches(COPY, instants[:12], intervals, network=NETWORK)
    assert (match.query_start_s, match.query_end_s) == (0, 4.5)
    assert (match.target_start_s, match.target_end_s) == (1.5, 6.5)


def test_the_published_score_does_not_look_at_the_last_frame():
    times_s = np.arange(12), np.arange(14)
    (published,) = timed_matches(COPY, *times_s, network=NETWORK)
    (whole,) = timed_matches(COPY, *times_s, network=NETWORK, has_inclusive_ends=True)
    assert published.score == pytest.approx(np.linspace(0.1, 0.3, 10)[-2])
    assert whole.score == pytest.approx(0.3)


def test_without_the_bias_scores_below_the_networks_threshold_are_not_found():
    assert timed_matches(COPY - 0.2, np.arange(12), np.arange(14), bias=0, network=NETWORK) == []


def test_times_belong_to_frames():
    with pytest.raises(DataError, match="target has 14 frames but times of shape"):
        timed_matches(COPY, np.arange(12), np.arange(12))

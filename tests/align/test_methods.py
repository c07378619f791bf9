"""One interface for every method."""

import numpy as np
import pytest

from tests.align.planted import background, plant
from visil.align import METHODS, AlignedSegment, align
from visil.align.temporal_network import TemporalNetwork
from visil.errors import DataError

COPY = background(60, 80) - 0.4
plant(COPY, 10, 30, 30)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_a_plain_copy_as_half_open_intervals(method):
    """Hough voting gives its whole diagonal, most others begin and end a few samples off."""
    best = align(COPY, method)[0]
    assert best.query_start <= 10 and best.query_end >= 40
    assert best.target_start - best.query_start == pytest.approx(20, abs=5)
    assert best.speed == pytest.approx(1, abs=0.2) and not best.is_reversed
    if method not in ("hv", "dtw"):  # time warping goes on to the corner
        assert abs(best.query_start - 10) <= 9 and abs(best.query_end - 40) <= 9


def test_inclusive_boxes_become_a_sample_longer_and_score_their_highest_similarity():
    perfect = 2 * np.eye(12) - 1
    assert align(perfect, "tn") == [AlignedSegment(0, 12, 0, 12, 1.0)]
    assert align(perfect, TemporalNetwork(top_k=1)) == [AlignedSegment(0, 11, 0, 11, 1.0)]


def test_an_unknown_method_names_those_there_are():
    with pytest.raises(DataError, match="no method 'spd' of alignment, use one of chain, tn,"):
        align(COPY, "spd")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_refuses_a_squeezed_video(method):
    with pytest.raises(DataError, match="keeps its axis"):
        align(np.ones(7), method)


class TestAlignedSegment:
    def test_speed_is_the_ratio_of_the_lengths_negative_backwards(self):
        assert AlignedSegment(0, 10, 5, 25, 1.0).speed == 2
        assert AlignedSegment(0, 10, 5, 10, 1.0, is_reversed=True).speed == -0.5

    def test_segments_overlap_where_both_videos_do(self):
        segment = AlignedSegment(0, 10, 20, 30, 1.0)
        assert segment.overlaps(AlignedSegment(9, 12, 29, 40, 1.0))
        assert not segment.overlaps(AlignedSegment(9, 12, 30, 40, 1.0))
        assert not segment.overlaps(AlignedSegment(10, 12, 20, 30, 1.0))

    def test_an_empty_interval_is_no_segment(self):
        with pytest.raises(ValueError, match="interval of both videos"):
            AlignedSegment(3, 3, 0, 1, 1.0)

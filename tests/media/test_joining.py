"""Samples of one file become chunks, whatever ends it and however often it was begun."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

import visil.media.joining as joining_module
from visil.media.joining import Joining, Sample
from visil.media.reader import CHUNK_SAMPLES
from visil.values import Frames, VideoInfo

VIDEO = VideoInfo((2, 1), (2, 1), (2, 1), 0, "h264", 0.0)


def sample(number: int, *, time_s: float | None = None, grey: int | None = None, width: int = 2) -> Sample:
    """Sample k is shown at k seconds, of a video that was decoded to k + 1, and k is its grey level."""
    pixels = bytes([number if grey is None else grey]) * (3 * width)
    return Sample(number if time_s is None else time_s, number + 1, (1, width, 3), pixels, None if number else VIDEO)


def joined(numbers: Iterable[int], joining: Joining | None = None) -> tuple[Joining, list[Frames]]:
    """What has taken these samples, and the chunks that came out."""
    joining = joining or Joining()
    chunks = [joining.add(number, sample(number)) for number in numbers]
    return joining, [chunk for chunk in chunks if chunk is not None]


def levels(chunk: Frames) -> list[int]:
    assert (chunk.images == chunk.images[:, :1, :1, :1]).all()
    return chunk.images[:, 0, 0, 0].tolist()


class TestChunks:
    def test_are_given_out_with_the_sample_behind_them(self):
        assert joined(range(CHUNK_SAMPLES))[1] == []
        joining, chunks = joined(range(2 * CHUNK_SAMPLES + 1))
        assert [levels(chunk) for chunk in chunks] == [[*range(32)], [*range(32, 64)]]
        assert [chunk.duration_s for chunk in chunks] == [33, 65]
        last = joining.ended(duration_s=65.5, warning="w", cut_short="stalled")
        assert (levels(last), last.duration_s, last.warning, last.cut_short) == ([64], 65.5, "w", "stalled")

    def test_hold_the_samples_as_they_were_sent(self):
        _, (chunk,) = joined(range(CHUNK_SAMPLES + 1))
        assert chunk.images.shape == (CHUNK_SAMPLES, 1, 2, 3)
        np.testing.assert_array_equal(chunk.times_s, range(CHUNK_SAMPLES))
        assert (chunk.video, chunk.warning, chunk.cut_short) == (VIDEO, "", "")


class TestSeveralReadings:
    def test_give_nothing_out_twice(self):
        joining, _ = joined(range(2 * CHUNK_SAMPLES + 8))
        _, chunks = joined(range(3 * CHUNK_SAMPLES + 2), joining)
        assert [levels(chunk) for chunk in chunks] == [[*range(64, 96)]]
        assert levels(joining.broken_off("killed", "crashed")) == [96, 97]  # fewer than waited in the first reading

    @pytest.mark.parametrize(("counts", "num_kept"), [((5, 2, 1), 5), ((2, 5, 1), 5), ((1, 2, 5), 5)])
    def test_keep_what_came_furthest_of_a_file_that_is_broken_off(self, counts, num_kept):
        joining = Joining()
        for count in counts:
            joined(range(count), joining)
        last = joining.broken_off("given up", "stalled")
        assert levels(last) == [*range(num_kept)]
        assert (last.duration_s, last.cut_short) == (num_kept, "stalled")
        assert last.warning == f"given up; kept up to {num_kept - 1}.0 s"

    def test_keep_the_newer_of_two_that_came_equally_far(self):
        joining = Joining()
        for number, grey in [(0, 100), (1, 100), (0, 200), (1, 200), (0, 50)]:
            joining.add(number, sample(number, grey=grey))
        assert levels(joining.broken_off("given up", "stalled")) == [200, 200]

    def test_end_with_the_last_one_however_short_it_is(self):
        joining, _ = joined([0, 1, 2, 0])
        assert levels(joining.ended(duration_s=1, warning="", cut_short="")) == [0]

    def test_have_samples_if_one_of_them_has(self):
        assert not Joining().has_samples
        for numbers in ([0], [*range(CHUNK_SAMPLES + 2), 0]):
            joining, _ = joined(numbers)
            assert joining.has_samples


class TestWhatNoReaderSends:
    @pytest.mark.parametrize("numbers", [[1], [0, 2], [0, 1, 1], [0, 1, 0, 2]])
    def test_is_refused_if_a_sample_is_missing(self, numbers):
        with pytest.raises(ValueError, match="a sample is missing"):
            joined(numbers)

    def test_is_refused_if_there_are_too_many_samples(self, monkeypatch):
        monkeypatch.setattr(joining_module, "MAX_SAMPLES", 3)
        joining, _ = joined(range(3))
        with pytest.raises(ValueError, match="more than any reader yields"):
            joining.add(3, sample(3))

    def test_is_refused_without_the_facts_about_the_video(self):
        joining, _ = joined([0, 1])
        with pytest.raises(ValueError, match="a sample is missing"):
            joining.add(0, Sample(0, 1, (1, 2, 3), bytes(6), None))

    @pytest.mark.parametrize("before", [[0, 1, 2], [*range(CHUNK_SAMPLES + 1), *range(CHUNK_SAMPLES)]])
    @pytest.mark.parametrize(("step_s", "width"), [(-0.1, 2), (1, 3)])
    def test_is_refused_if_it_does_not_follow_the_sample_before(self, before, step_s, width):
        """That may have been given out, in an earlier reading."""
        joining, _ = joined(before)
        number = before[-1] + 1
        with pytest.raises(ValueError, match="samples of several sizes, or not in order"):
            joining.add(number, sample(number, time_s=before[-1] + step_s, width=width))

    def test_is_not_two_samples_of_one_time(self):
        joining, _ = joined([0, 1])
        joining.add(2, sample(2, time_s=1))
        assert joining.ended(duration_s=2, warning="", cut_short="").times_s.tolist() == [0, 1, 1]

    @pytest.mark.parametrize("numbers", [[], [*range(CHUNK_SAMPLES + 1), *range(CHUNK_SAMPLES)]])
    def test_is_refused_if_a_video_ends_without_another_sample(self, numbers):
        joining, _ = joined(numbers)
        with pytest.raises(ValueError, match="a video without samples"):
            joining.ended(duration_s=1, warning="", cut_short="")

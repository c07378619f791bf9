"""Which frame answers which sample: exact, by presentation time."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visil.media.sampling import (
    MAX_HELD_SAMPLES,
    ShownFrame,
    key_frames,
    opencv_step,
    sample_as_ffmpeg,
    sample_as_opencv,
    sample_by_time,
    within,
)


def shown(times_s: Iterable[Fraction | int | str], last_s: Fraction | int | str = 1) -> list[ShownFrame[int]]:
    """Frames 0, 1, 2 ... at these times, each shown until the next, the last one for `last_s` seconds."""
    starts = [Fraction(t) for t in times_s]
    ends = [*starts[1:], starts[-1] + Fraction(last_s)] if starts else []
    return [ShownFrame(a, b - a, k) for k, (a, b) in enumerate(zip(starts, ends, strict=True))]


def constant(count: int, fps: Fraction | int) -> list[ShownFrame[int]]:
    """`count` frames at a constant rate."""
    return shown([k / Fraction(fps) for k in range(count)], 1 / Fraction(fps))


def taken(samples: Iterable[tuple[Fraction, ShownFrame[int]]]) -> list[int]:
    return [frame.picture for _, frame in samples]


gaps = st.lists(st.fractions(Fraction(1, 1000), 3, max_denominator=1000), min_size=1, max_size=30)
rates = st.fractions(Fraction(1, 10), 10, max_denominator=100)


class TestTimeSampler:
    def test_takes_the_frame_shown_at_every_whole_second(self):
        assert taken(sample_by_time(constant(130, 25), Fraction(1))) == [0, 25, 50, 75, 100, 125]

    def test_a_sample_exists_only_before_the_end(self):
        assert taken(sample_by_time(constant(125, 25), Fraction(1))) == [0, 25, 50, 75, 100]
        assert taken(sample_by_time(constant(126, 25), Fraction(1))) == [0, 25, 50, 75, 100, 125]

    def test_slow_video_shows_the_same_frame_in_several_samples(self):
        assert taken(sample_by_time(constant(3, Fraction(1, 5)), Fraction(1))) == [0] * 5 + [1] * 5 + [2] * 5

    def test_variable_rate_goes_by_times_not_by_counts(self):
        frames = shown([0, "0.2", "0.4", "3.5", "3.6", 4], "0.5")
        assert taken(sample_by_time(frames, Fraction(1))) == [0, 2, 2, 2, 5]

    def test_a_frame_that_appears_exactly_at_the_sample_is_taken(self):
        assert taken(sample_by_time(shown([0, "0.999", 1, "1.001"]), Fraction(1))) == [0, 2, 3]

    def test_ntsc_rates_do_not_drift_in_ten_hours(self):
        fps = Fraction(30000, 1001)
        at_s = 36_000
        frames = shown([0, *(k / fps for k in range(int(at_s * fps) - 2, int(at_s * fps) + 3))], 1 / fps)
        *_, (time_s, frame) = sample_by_time(frames, Fraction(1))
        assert time_s == at_s
        assert frame.time_s <= at_s < frame.time_s + frame.duration_s

    def test_a_single_frame_gives_one_sample(self):
        assert taken(sample_by_time(constant(1, 25), Fraction(1))) == [0]

    def test_a_frame_that_is_shown_for_no_time_still_gives_one_sample(self):
        assert taken(sample_by_time(shown([0], 0), Fraction(1))) == [0]

    def test_no_frame_gives_no_sample(self):
        assert taken(sample_by_time([], Fraction(1))) == []

    @given(gaps=gaps, rate=rates)
    def test_sample_k_is_the_frame_shown_at_k_over_rate_and_exists_iff_that_is_before_the_end(self, gaps, rate):
        starts = [sum(gaps[:k], Fraction(0)) for k in range(len(gaps))]
        frames = shown(starts, gaps[-1])
        end_s = sum(gaps, Fraction(0))
        samples = list(sample_by_time(frames, rate))
        assert [time_s for time_s, _ in samples] == [k / rate for k in range(len(samples))]
        assert (len(samples) - 1) / rate < end_s <= len(samples) / rate
        for time_s, frame in samples:
            assert frame.time_s <= time_s < frame.time_s + frame.duration_s

    @pytest.mark.parametrize("rate", [Fraction(1, 7), Fraction(1), Fraction(25)])
    def test_one_frame_answers_no_more_than_a_minute_at_one_a_second_and_the_grid_goes_on_behind_it(self, rate):
        frames = shown([0, "2.5", 100_000, "100_000.75"], 50_000)
        samples = list(sample_by_time(frames, rate))
        assert all((time_s * rate).denominator == 1 for time_s, _ in samples)
        assert all(frame.time_s <= time_s < frame.time_s + frame.duration_s for time_s, frame in samples)
        assert [taken(samples).count(k) for k in (1, 3)] == [MAX_HELD_SAMPLES] * 2
        first_s = [min(time_s for time_s, frame in samples if frame.picture == k) for k in (1, 3)]
        assert all(0 <= time_s - frames[k].time_s < 1 / rate for k, time_s in zip((1, 3), first_s, strict=True))

    def test_the_published_samplers_repeat_a_frame_for_as_long_as_it_is_shown(self):
        assert len(taken(sample_as_ffmpeg(shown([0, 1000]), Fraction(1), Fraction(0)))) == 1001

    def test_frames_are_asked_for_one_at_a_time(self):
        asked = []

        def frames():
            for frame in constant(100, 25):
                asked.append(frame.picture)
                yield frame

        samples = sample_by_time(frames(), Fraction(1))
        next(samples)
        assert asked == [0, 1]


class TestKeyFrames:
    def test_the_first_of_every_slot_is_taken_at_its_own_time(self):
        frames = shown([0, "0.4", "1.2", "1.9", 2, "4.5", "4.9"])
        found = list(key_frames(frames, lambda picture: True, Fraction(1)))
        assert [(float(frame.time_s), frame.picture) for frame in found] == [(0, 0), (1.2, 2), (2, 4), (4.5, 5)]

    def test_each_is_shown_until_the_next_and_the_first_frame_counts_as_one(self):
        found = list(key_frames(constant(10, 1), lambda number: number % 4 == 3, Fraction(1)))
        assert [(frame.picture, frame.time_s, frame.duration_s) for frame in found] == [(0, 0, 3), (3, 3, 4), (7, 7, 3)]

    def test_no_frame_gives_none(self):
        assert list(key_frames([], lambda picture: True, Fraction(1))) == []

    @given(gaps=gaps, rate=rates)
    def test_there_are_never_more_than_the_rate_allows(self, gaps, rate):
        frames = shown([sum(gaps[:k], Fraction(0)) for k in range(len(gaps))])
        times_s = [frame.time_s for frame in key_frames(frames, lambda picture: True, rate)]
        assert times_s[0] == 0
        assert len({int(time_s * rate) for time_s in times_s}) == len(times_s)


class TestWithin:
    def test_the_first_and_the_last_frame_are_cut(self):
        frames = within(constant(10, 1), Fraction("2.5"), Fraction("4.25"))
        assert [(f.time_s, f.duration_s, f.picture) for f in frames] == [
            (Fraction("2.5"), Fraction("0.5"), 2),
            (3, 1, 3),
            (4, Fraction("0.25"), 4),
        ]

    def test_a_frame_that_ends_where_the_range_begins_is_not_in_it(self):
        assert [frame.picture for frame in within(constant(4, 1), Fraction(2), None)] == [2, 3]

    def test_no_frame_is_asked_for_beyond_the_end(self):
        frames = iter(constant(10, 1))
        assert [frame.picture for frame in within(frames, Fraction(0), Fraction(3))] == [0, 1, 2]
        assert next(frames).picture == 3

    @given(gaps=gaps, rate=rates, start_s=st.fractions(0, 20, max_denominator=100))
    def test_samples_of_a_range_are_the_frames_shown_from_its_start_on(self, gaps, rate, start_s):
        frames = shown([sum(gaps[:k], Fraction(0)) for k in range(len(gaps))], gaps[-1])
        for k, (time_s, frame) in enumerate(sample_by_time(within(frames, start_s, None), rate)):
            assert time_s == start_s + k / rate
            assert frames[frame.picture].time_s <= time_s < sum(gaps[: frame.picture + 1], Fraction(0))


class TestOpenCVSampler:
    @pytest.mark.parametrize(
        ("reported_fps", "fps", "step"),
        [
            (25.0, 1.0, 25),
            (29.97, 1.0, 30),
            (23.976, 1.0, 24),
            (24.5, 1.0, 24),  # half to even
            (25.5, 1.0, 26),
            (144.0, 1.0, 144),
            (144.1, 1.0, 25),  # not believed
            (1000.0, 1.0, 25),
            (float("inf"), 1.0, 25),
            (None, 1.0, 25),
            (None, 2.0, 12),  # 12.5, half to even
            (0.6, 1.0, 1),
            (30.0, 4.0, 8),  # 7.5, half to even
        ],
    )
    def test_the_step_is_the_rounded_ratio_of_the_reported_rate(self, reported_fps, fps, step):
        assert opencv_step(reported_fps, fps) == step

    @pytest.mark.parametrize("reported_fps", [0.5, 0.2])
    def test_a_video_slower_than_half_the_wanted_rate_is_refused(self, reported_fps):
        with pytest.raises(ValueError, match="too few for the `opencv` sampler at 1 fps"):
            opencv_step(reported_fps, 1.0)

    @pytest.mark.parametrize("reported_fps", [0.0, -25.0, float("nan")])
    def test_a_rate_that_the_published_code_divides_by_zero_on_is_refused(self, reported_fps):
        with pytest.raises(ValueError, match="the `opencv` sampler has no step for it"):
            opencv_step(reported_fps, 1.0)

    def test_takes_every_step_th_frame_whatever_its_time(self):
        frames = shown([0, "0.1", 7, 8, "8.1"])
        assert taken(sample_as_opencv(frames, 2)) == [0, 2, 4]
        assert [time_s for time_s, _ in sample_as_opencv(frames, 2)] == [0, 7, Fraction("8.1")]


class TestFfmpegSampler:
    def picks(self, frames: list[ShownFrame[int]], start_s: Fraction | int | str = 0) -> list[int]:
        return taken(sample_as_ffmpeg(frames, Fraction(1), Fraction(start_s)))

    def test_takes_the_middle_of_every_second(self):
        assert self.picks(constant(130, 25)) == [12, 37, 62, 87, 112]

    def test_a_late_picture_shifts_the_picks(self):
        assert self.picks(constant(130, 25), "0.3")[:3] == [4, 29, 54]

    @pytest.mark.parametrize(("num_frames", "picked"), [(12, []), (13, [12]), (37, [12]), (38, [12, 37])])
    def test_a_video_shorter_than_half_a_slot_gives_nothing(self, num_frames, picked):
        assert self.picks(constant(num_frames, 25)) == picked

    def test_slow_video_repeats_its_frames(self):
        assert self.picks(constant(3, Fraction(1, 2))) == [0, 0, 1, 1, 2, 2]

    def test_no_frame_gives_nothing(self):
        assert self.picks([]) == []

    def test_times_are_those_of_the_slots_and_never_negative(self):
        times = [t for t, _ in sample_as_ffmpeg(constant(130, 25), Fraction(1), Fraction("0.3"))]
        assert times == [0, *(k - Fraction("0.3") for k in range(1, 6))][: len(times)]

    @given(num_frames=st.integers(1, 400), fps=st.sampled_from([5, 12, 24, 25, Fraction(30000, 1001), 60]))
    def test_gives_as_many_frames_as_the_duration_rounds_to(self, num_frames, fps):
        duration_s = num_frames / Fraction(fps)
        assert len(self.picks(constant(num_frames, fps))) == int(duration_s + Fraction(1, 2))

    @given(gaps=gaps, rate=rates)
    def test_slot_k_is_the_last_frame_that_begins_before_the_middle_of_the_slot_after(self, gaps, rate):
        starts = [sum(gaps[:k], Fraction(0)) for k in range(len(gaps))]
        frames = shown(starts, gaps[-1])
        for slot, picked in enumerate(taken(sample_as_ffmpeg(frames, rate, Fraction(0)))):
            assert picked == max(k for k, start_s in enumerate(starts) if start_s * rate < slot + Fraction(1, 2))

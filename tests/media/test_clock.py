"""Which timestamps are believed: lone outliers are ignored, restarts go on, gaps are kept."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visil.media.clock import LASTING, MPEG_PERIOD_S, Clock, PacketTimes, Timed, unwrapped

TWO_DAYS_S = 48 * 3600
HOUR_S = 3600
HALF_HOUR_S = 1800

Time = Fraction | int | str | None


def timed(times_s: Sequence[Time], own_s: Fraction | int | str = "0.1") -> list[Timed[int]]:
    """Frames 0, 1, 2 ... that come out of a decoder with these times."""
    return [Timed(None if t is None else Fraction(t), Fraction(own_s), k) for k, t in enumerate(times_s)]


def believed(
    times_s: Sequence[Time], own_s: Fraction | int | str = "0.1", longest_s: int = TWO_DAYS_S
) -> tuple[list[int], list[float], str]:
    """Which frames are believed, when they are shown, and what is told about it."""
    clock = Clock(longest_s)
    found = list(clock.believed(timed(times_s, own_s)))
    return [f.picture for f in found], [float(f.time_s) for f in found if f.time_s is not None], clock.warning


def regular(count: int, step_s: Fraction | str = "0.1", start_s: Fraction | int = 0) -> list[Fraction]:
    return [start_s + k * Fraction(step_s) for k in range(count)]


ONE = "1 frame's time was not believed"
ONCE = "its clock restarts once"


class TestOutliers:
    @pytest.mark.parametrize("late_s", [3 * HOUR_S, 5, -3 * HOUR_S, -2])
    @pytest.mark.parametrize("at", [1, 2, 15, 28])
    def test_a_frame_whose_time_no_other_agrees_with_is_ignored(self, at, late_s):
        times_s = regular(30)
        times_s[at] += late_s
        pictures, found_s, warning = believed(times_s)
        assert pictures == [k for k in range(30) if k != at]
        assert found_s == pytest.approx([k / 10 for k in pictures])
        assert warning == ONE

    @pytest.mark.parametrize("step_s", ["0.1", "1"])
    @pytest.mark.parametrize("at_s", [-HOUR_S, -HALF_HOUR_S - 1, 2, HOUR_S, 60 * HOUR_S])
    def test_a_first_frame_that_stands_alone_is_ignored(self, at_s, step_s):
        pictures, found_s, warning = believed([at_s, *regular(20, step_s)])
        assert (pictures, found_s[0], warning) == (list(range(1, 21)), 0, ONE)

    def test_a_first_frame_that_is_a_second_too_late_is_none(self):
        assert believed([1, *regular(20)])[::2] == ([0, *range(12, 21)], "")

    @pytest.mark.parametrize("following_s", [[0], [0, 1], [0, 1, 1, 2], [0, 1, 5, 6]])
    def test_a_first_frame_is_none_unless_three_regular_ones_follow(self, following_s):
        assert believed([2 * HOUR_S, *following_s])[0][0] == 0

    @pytest.mark.parametrize("held_s", [61, 600, HALF_HOUR_S])
    def test_a_first_frame_that_is_held_for_half_an_hour_is_no_outlier(self, held_s):
        assert believed([-held_s, *regular(20)]) == (list(range(21)), [-held_s, *(k / 10 for k in range(20))], "")

    @pytest.mark.parametrize("at_s", [-HOUR_S, 0, HALF_HOUR_S + 2, HOUR_S, 60 * HOUR_S])
    def test_last_frames_that_stand_alone_are_ignored(self, at_s):
        pictures, _, warning = believed([*regular(20), at_s])
        assert (pictures, warning) == (list(range(20)), ONE)
        pictures, _, warning = believed([*regular(20), at_s, at_s + Fraction(1, 10)])
        assert (pictures, warning) == (list(range(20)), "the times of 2 frames were not believed")

    @pytest.mark.parametrize("at_s", [62, 600, HALF_HOUR_S + 1, HALF_HOUR_S + Fraction(19, 10)])
    def test_a_last_frame_after_a_pause_of_half_an_hour_is_no_outlier(self, at_s):
        assert believed([*regular(20), at_s])[1:] == ([*(k / 10 for k in range(20)), float(at_s)], "")

    def test_a_last_frame_is_one_after_as_few_as_three(self):
        assert believed([*regular(3), HOUR_S])[::2] == ([0, 1, 2], ONE)
        assert believed([*regular(2), HOUR_S])[::2] == ([0, 1, 2], "")

    def test_a_last_frame_is_one_in_a_video_of_one_frame_a_second(self):
        assert believed([*range(20), 2 * HOUR_S])[::2] == (list(range(20)), ONE)

    def test_a_frame_behind_which_the_others_step_back_by_a_second_is_none(self):
        pictures, times_s, warning = believed([*regular(10), 5, *regular(20, start_s=4)])
        assert (pictures, times_s[10], warning) == ([*range(11), *range(22, 31)], 5, "")

    def test_a_last_frame_of_a_video_that_has_long_gaps_is_no_outlier(self):
        assert believed([*regular(20), *regular(20, start_s=100), 9000])[1][-1] == 9000

    def test_two_of_them_beside_each_other_are_ignored(self):
        late = [*regular(10), 3000, Fraction(30001, 10), *regular(10, start_s=Fraction(6, 5))]
        assert believed(late)[0] == [*range(10), *range(12, 22)]
        early = [*regular(10, start_s=50), 3, Fraction(31, 10), *regular(10, start_s=Fraction(256, 5))]
        assert believed(early)[0] == [*range(10), *range(12, 22)]

    def test_one_from_which_the_clock_returns_to_a_second_before_is_ignored(self):
        times_s = [*regular(10, start_s=50), 3, Fraction(499, 10), *regular(10, start_s=51)]
        assert believed(times_s)[::2] == ([*range(10), *range(12, 22)], ONE)

    def test_one_before_a_restart_is_ignored_too(self):
        pictures, times_s, warning = believed([*regular(40, start_s=50), 30, *regular(20)])
        assert (pictures, warning) == ([*range(40), *range(41, 61)], f"{ONE}; {ONCE}")
        assert times_s[-1] == pytest.approx(55.9)

    def test_one_of_every_two_is_counted(self):
        times_s = [t + HOUR_S * (k % 2) for k, t in enumerate(regular(20))]
        pictures, _, warning = believed(times_s)
        assert pictures == [*range(0, 20, 2)]
        assert warning == "the times of 10 frames were not believed"

    @given(st.data())
    def test_one_anywhere_in_a_regular_video_changes_nothing_but_its_own_frame(self, data):
        step_s = data.draw(st.fractions(Fraction(1, 120), 1, max_denominator=1000))
        times_s = regular(data.draw(st.integers(2 * LASTING, 40)), step_s)
        at = data.draw(st.integers(0, len(times_s)))
        off_s = data.draw(st.fractions(Fraction(201, 100), 30 * HOUR_S, max_denominator=100))
        is_at_end = at in (0, len(times_s))
        # The first and last one have a neighbour on one side only, and slides are held for minutes.
        off_s += HALF_HOUR_S + 1 if is_at_end else 0
        late = data.draw(st.booleans())
        odd_s = at * step_s + (off_s if late else -off_s)
        expected = timed(times_s)
        frames = [*expected[:at], Timed(odd_s, Fraction(1), -1), *expected[at:]]
        clock = Clock(TWO_DAYS_S)
        assert list(clock.believed(frames)) == expected
        assert clock.warning == ONE


class TestRestarts:
    def test_a_clock_that_begins_again_goes_on_from_the_last_frame(self):
        pictures, times_s, warning = believed([*regular(40), *regular(40)])
        assert pictures == list(range(80))
        assert times_s == pytest.approx([k / 10 for k in range(80)])
        assert warning == ONCE

    def test_every_time_it_does(self):
        _, times_s, warning = believed([*regular(40, start_s=70), *regular(20), *regular(30, start_s=-9)])
        assert times_s == pytest.approx([70 + k / 10 for k in range(90)])
        assert warning == "its clock restarts 2 times"

    @pytest.mark.parametrize("back_s", ["0.5", "1", "1.1"])
    def test_frames_that_step_back_by_at_most_a_second_are_dropped_until_it_has_caught_up(self, back_s):
        times_s = [*regular(40), *regular(40, start_s=4 - Fraction(back_s))]
        num_dropped = int(10 * Fraction(back_s))
        pictures, _, warning = believed(times_s)
        assert pictures == [*range(40), *range(40 + num_dropped, 80)]
        assert warning == ""

    def test_a_step_back_of_more_than_a_second_loses_nothing(self):
        pictures, times_s, warning = believed([*regular(40), *regular(40, start_s=Fraction(5, 2))])
        assert (pictures, warning) == (list(range(80)), ONCE)
        assert times_s == pytest.approx([k / 10 for k in range(80)])

    def test_a_step_back_of_two_frames_of_a_second_loses_nothing(self):
        assert believed([*range(11), *range(8, 20)], own_s=1) == (list(range(23)), [*range(23)], ONCE)

    def test_a_new_clock_may_begin_with_frames_out_of_order(self):
        pictures, _, warning = believed(
            [*regular(40, start_s=9), 0, "0.2", "0.1", *regular(10, start_s=Fraction(3, 10))]
        )
        assert (pictures, warning) == ([*range(42), *range(43, 53)], ONCE)

    def test_a_new_clock_of_less_frames_than_it_must_have_is_ignored(self):
        assert believed([*regular(40), *regular(LASTING - 1)])[0] == list(range(40))
        assert believed([*regular(40), *regular(LASTING)])[0] == list(range(40 + LASTING))

    def test_a_frame_without_a_time_follows_the_one_before(self):
        assert believed([5, None, None, 6, None, 3, None, None, None]) == (
            list(range(9)),
            [5, 5.1, 5.2, 6, 6.1, 6.2, pytest.approx(6.3), pytest.approx(6.4), 6.5],
            ONCE,
        )
        assert believed([None, None, "0.2"]) == ([0, 1, 2], [0, 0.1, 0.2], "")

    def test_frames_without_a_time_before_the_start_of_the_clock_are_no_clock(self):
        pictures, times_s, warning = believed([*[None] * 30, *regular(20)])
        assert (pictures, warning) == (list(range(50)), "")
        assert times_s == pytest.approx([k / 10 for k in range(50)])

    def test_a_frame_without_a_time_behind_an_outlier_follows_the_last_believed_one(self):
        assert believed([*regular(10), 5000, None, *regular(10, start_s=Fraction(6, 5))])[0] == [
            *range(10),
            *range(11, 22),
        ]

    def test_the_last_frame_of_the_old_clock_is_held_for_a_minute_at_most(self):
        assert believed([*regular(40), *regular(40)], own_s=10_000)[1][39:41] == [3.9, 63.9]

    def test_slides_restart_too(self):
        assert believed([0, 5, 10, 15, 5, 10, 15, 20], own_s=5) == (list(range(8)), [*range(0, 40, 5)], ONCE)
        slides = [0, 300, 640, 1000]
        assert believed([*slides, *slides], own_s=20)[:2] == (list(range(8)), [*slides, *(1020 + t for t in slides)])

    @given(st.data())
    def test_two_regular_clocks_are_as_long_as_both_together(self, data):
        steps_s = [data.draw(st.fractions(Fraction(1, 120), 1, max_denominator=1000)) for _ in range(2)]
        counts = [data.draw(st.integers(LASTING, 40)) for _ in range(2)]
        counts[0] += int(Fraction(1) / steps_s[0]) + 2  # else it steps back by less than a second
        starts_s = [data.draw(st.fractions(-HOUR_S, HOUR_S, max_denominator=10))]
        starts_s.append(starts_s[0] - data.draw(st.fractions(0, HOUR_S, max_denominator=10)))
        frames = [
            frame
            for count, step_s, start_s in zip(counts, steps_s, starts_s, strict=True)
            for frame in timed(regular(count, step_s, start_s), step_s)
        ]
        clock = Clock(TWO_DAYS_S)
        found = list(clock.believed(frames))
        assert [f.picture for f in found] == [f.picture for f in frames]
        assert found[-1].time_s + found[-1].own_s - found[0].time_s == sum(
            count * step_s for count, step_s in zip(counts, steps_s, strict=True)
        )
        assert clock.warning == ONCE


class TestGaps:
    @pytest.mark.parametrize("gap_s", [2, 90, 5 * HOUR_S, 47 * HOUR_S])
    def test_a_lasting_jump_forward_keeps_its_times(self, gap_s):
        times_s = [*regular(20), *regular(20, start_s=gap_s + 2)]
        assert believed(times_s) == (list(range(40)), [float(t) for t in times_s], "")

    def test_one_beyond_what_a_video_may_last_is_none(self):
        pictures, times_s, warning = believed([*regular(20), *regular(20, start_s=60 * HOUR_S)])
        assert times_s == pytest.approx([k / 10 for k in range(40)])
        assert (pictures, warning) == (list(range(40)), "1 jump of its clock was not believed")

    @pytest.mark.parametrize(("gap_s", "warning"), [(60, ""), ("60.1", "1 jump of its clock was not believed")])
    def test_one_to_there_by_a_minute_is_a_gap(self, gap_s, warning):
        times_s = [*regular(20), *regular(20, start_s=Fraction(19, 10) + Fraction(gap_s))]
        assert believed(times_s, longest_s=30)[2] == warning

    def test_one_that_is_not_believed_is_no_gap(self):
        times_s = [*regular(20), *regular(20, start_s=60 * HOUR_S), 62 * HOUR_S]
        assert believed(times_s)[0] == list(range(40))

    def test_slides_of_minutes_are_believed(self):
        times_s = [0, 300, 1000, 1900, 1960, 8000]
        assert believed(times_s, own_s=1) == (list(range(6)), times_s, "")

    @given(st.lists(st.fractions(Fraction(1, 10), 900, max_denominator=100), min_size=1, max_size=30))
    def test_whatever_only_rises_by_minutes_is_believed(self, gaps_s):
        # Not so regular that the first or the last frame alone could stand out.
        times_s = [Fraction(0), Fraction(30), *(30 + sum(gaps_s[:k], Fraction(30)) for k in range(len(gaps_s)))]
        frames = timed(times_s, "0.1")
        clock = Clock(TWO_DAYS_S)
        assert list(clock.believed(frames)) == frames
        assert clock.warning == ""


odd_times = st.lists(
    st.one_of(st.none(), st.fractions(-100, 100, max_denominator=20), st.fractions(-(10**6), 10**6, max_denominator=5)),
    max_size=40,
)


class TestEveryClock:
    @given(odd_times, st.fractions(Fraction(1, 100), 100, max_denominator=100))
    def test_gives_strictly_increasing_times_and_no_frame_twice(self, times_s, own_s):
        clock = Clock(TWO_DAYS_S)
        found = list(clock.believed(timed(times_s, own_s)))
        assert all(a.time_s < b.time_s for a, b in pairwise(found))
        pictures = [f.picture for f in found]
        assert pictures == sorted(set(pictures))
        assert bool(pictures) == bool(times_s)

    @given(odd_times, st.fractions(-1000, 1000, max_denominator=100))
    def test_counts_from_anywhere(self, times_s, start_s):
        times_s = [Fraction(0), *times_s]
        clock, moved = Clock(TWO_DAYS_S), Clock(TWO_DAYS_S)
        found = list(clock.believed(timed(times_s)))
        also = list(moved.believed(timed([None if t is None else t + start_s for t in times_s])))
        assert [(f.time_s + start_s, f.picture) for f in found] == [(f.time_s, f.picture) for f in also]
        assert clock.warning == moved.warning

    @given(st.integers(0, 50), st.fractions(Fraction(1, 240), 1, max_denominator=1000))
    def test_passes_on_the_very_frames_of_a_regular_one(self, count, step_s):
        frames = timed(regular(count, step_s))
        assert all(a is b for a, b in zip(Clock(TWO_DAYS_S).believed(frames), frames, strict=True))

    def test_asks_for_no_more_frames_than_it_must(self):
        asked = []

        def frames(times_s):
            for frame in timed(times_s):
                asked.append(frame.picture)
                yield frame

        ahead = {}
        for frame in Clock(TWO_DAYS_S).believed(frames([*regular(10), *regular(10, start_s=50)])):
            ahead[frame.picture] = len(asked) - 1 - frame.picture
        assert [ahead[k] for k in (0, 1, 9, 10, 11, 12, 13)] == [1, 0, 0, LASTING - 1, 1, 0, 0]


class TestPeriods:
    def times_s(self, times_s: Sequence[Time], period_s: Fraction | int = 100) -> list[Fraction | None]:
        return [frame.time_s for frame in unwrapped(timed(times_s), Fraction(period_s))]

    def test_a_clock_that_begins_anew_goes_on(self):
        assert self.times_s([97, 98, 99, 0, None, 2, 45, 90, 1]) == [97, 98, 99, 100, None, 102, 145, 190, 201]

    def test_what_was_taken_for_the_next_period_is_a_step_back(self):
        assert self.times_s([60, 61, 120, 121]) == [60, 61, 20, 21]

    def test_an_ordinary_one_is_left_alone(self):
        frames = timed(regular(50))
        assert all(a is b for a, b in zip(unwrapped(frames, MPEG_PERIOD_S), frames, strict=True))

    @given(st.lists(st.fractions(-(10**4), 10**4, max_denominator=7), min_size=1, max_size=20))
    def test_no_step_is_longer_than_half_a_period(self, times_s):
        found = self.times_s(times_s)
        assert all(abs(b - a) <= 50 for a, b in pairwise(found))
        assert all((a - b) % 100 == 0 for a, b in zip(found, times_s, strict=True))


class TestPacketTimes:
    def agree(self, times: Sequence[int]) -> bool:
        packets = PacketTimes(Fraction(1, 10))
        return all(packets.agree(time) for time in times)

    def test_frames_are_shown_in_another_order_than_they_are_decoded_in(self):
        assert self.agree([0, 4, 2, 1, 3, 8, 6, 5, 7, 9])

    def test_a_minute_without_a_frame_is_common(self):
        assert self.agree([5, 4, 605, 604, 606])

    def test_a_frame_is_decoded_by_a_second_before_it_is_shown(self):
        assert self.agree([0, 10, 0, 11])

    @pytest.mark.parametrize(
        "times", [[0, 1, 2, 30, 3, 4, 5], [0, 1, 2, 30, 31, 32, 19, 33], [0, 601, 602, 603], [1000, 0, 1, 2, 3]]
    )
    def test_what_the_clock_might_change_is_noticed(self, times):
        assert not self.agree(times)

    @given(st.lists(st.integers(-12, 620), min_size=1, max_size=12))
    def test_they_agree_only_where_the_clock_passes_on_all_frames(self, steps):
        times = [*accumulate(steps)]
        frames = timed([Fraction(time, 10) for time in dict.fromkeys(times)])
        if self.agree([int(10 * frame.time_s) for frame in frames]):
            in_order = sorted(frames)
            assert list(Clock(TWO_DAYS_S).believed(in_order)) == in_order

"""Temporal transformations: which frames a view shows, in which order. Published cases: tests/parity."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visil.s2vs.temporal import (
    BLACK,
    NOISE,
    SHOWN,
    FastForward,
    OneOf,
    Pause,
    Reverse,
    ShuffleDropout,
    SlowMotion,
    Timeline,
    Unchanged,
    crop,
    draw_crop,
    draw_noise,
    num_offsets,
    pause,
    repeated,
    show,
    shuffle_dropout,
)

lengths = st.integers(1, 80)
seeds = st.integers(0, 2**31)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class TestCrop:
    @given(lengths, st.integers(1, 40), seeds)
    def test_has_its_length_and_follows_the_view(self, num_frames, length, seed):
        found = draw_crop(Timeline.of(torch.arange(num_frames)), length, seeded(seed)).frames
        assert len(found) == length
        steps = (found[1:] - found[:-1]) % num_frames
        assert (steps == 1 % num_frames).all()

    def test_a_short_view_is_doubled_as_a_whole(self):
        assert repeated(3, 7).tolist() == [0, 1, 2] * 4

    def test_the_last_place_is_never_drawn_if_there_is_another(self):
        """Published: a range without its end."""
        assert [num_offsets(num_frames, 32) for num_frames in (32, 33, 34, 64)] == [1, 1, 2, 32]
        whole = Timeline.of(torch.arange(34))
        ends = {int(draw_crop(whole, 32, seeded(seed)).frames[-1]) for seed in range(50)}
        assert ends == {31, 32}

    def test_what_is_filled_stays_filled(self):
        view = Timeline(torch.arange(4), torch.tensor([SHOWN, BLACK, NOISE, SHOWN], dtype=torch.uint8))
        assert crop(view, 2, 1).fills.tolist() == [BLACK, NOISE]

    def test_a_clip_without_frames_is_refused(self):
        with pytest.raises(ValueError, match="without frames"):
            repeated(0, 4)


class TestShuffleDropout:
    def timeline(self, dropped, filled, num_frames=12, window=3, order=None):
        order = torch.arange(4) if order is None else torch.tensor(order)
        marks = [torch.tensor([place in places for place in range(4)]) for places in (dropped, filled)]
        return shuffle_dropout(num_frames, window=window, order=order, is_dropped=marks[0], is_filled=marks[1])

    def test_a_removed_segment_is_gone(self):
        assert self.timeline(dropped=[1], filled=[]).frames.tolist() == [0, 1, 2, 6, 7, 8, 9, 10, 11]

    def test_an_overwritten_segment_keeps_its_place(self):
        view = self.timeline(dropped=[1], filled=[1, 2])
        assert view.frames.tolist() == list(range(12))
        assert view.fills.tolist() == [SHOWN] * 3 + [BLACK] * 3 + [SHOWN] * 6

    def test_places_are_dropped_and_not_segments(self):
        assert self.timeline(dropped=[0], filled=[], order=[3, 0, 1, 2]).frames.tolist() == list(range(9))

    def test_what_is_left_over_behind_the_last_segment_is_lost(self):
        assert self.timeline(dropped=[], filled=[], num_frames=14).frames.tolist() == list(range(12))

    def test_nothing_is_dropped_where_too_much_would_be(self):
        """Overwritten segments count twice: two of four are too many (published)."""
        view = self.timeline(dropped=[0, 1], filled=[0, 1])
        assert view.frames.tolist() == list(range(12))
        assert not view.fills.any()

    @given(lengths, seeds)
    def test_of_any_clip_something_is_left(self, num_frames, seed):
        view = ShuffleDropout().draw(num_frames, seeded(seed))
        assert 1 <= len(view) <= num_frames
        assert len(set(view.frames.tolist())) == len(view)
        assert set(view.fills.tolist()) <= {SHOWN, BLACK, NOISE}

    def test_as_often_as_published(self):
        views = [ShuffleDropout().draw(64, seeded(seed)) for seed in range(2000)]
        is_moved = [bool((view.frames[1:] < view.frames[:-1]).any()) for view in views]
        assert sum(is_moved) / len(views) == pytest.approx(0.5, abs=0.04)
        assert sum(len(view) for view in views) / len(views) == pytest.approx(51.6, abs=0.5)  # spec, section 4.3
        fills = torch.cat([view.fills for view in views])
        assert float((fills == NOISE).sum() / (fills != SHOWN).sum()) == pytest.approx(0.5, abs=0.03)


class TestTheOthers:
    def test_fast_forward_takes_every_second_or_third(self):
        steps = Counter(int(FastForward().draw(10, seeded(seed)).frames[1]) for seed in range(100))
        assert steps.keys() == {2, 3}

    def test_slow_motion_doubles_every_frame(self):
        assert SlowMotion().draw(3, seeded()).frames.tolist() == [0, 0, 1, 1, 2, 2]

    def test_reverse(self):
        assert Reverse().draw(4, seeded()).frames.tolist() == [3, 2, 1, 0]

    def test_a_pause_shows_one_frame_so_many_times_more(self):
        assert pause(4, start=2, duration=3).frames.tolist() == [0, 1, 2, 2, 2, 2, 3]

    @given(lengths, seeds)
    def test_a_pause_is_shorter_than_a_quarter_and_not_at_the_end(self, num_frames, seed):
        frames = Pause().draw(num_frames, seeded(seed)).frames
        assert num_frames <= len(frames) <= num_frames + 7
        if num_frames > 1:
            assert (frames == num_frames - 1).sum() == 1

    def test_exactly_one_is_drawn_as_often_as_published(self):
        kinds = Counter()
        for seed in range(3000):
            frames = OneOf({Reverse(): 0.5, SlowMotion(): 0.3}).draw(4, seeded(seed)).frames.tolist()
            kinds[{3: "reverse"}.get(frames[0], "slow" if len(frames) == 8 else "none")] += 1
        shares = {kind: count / 3000 for kind, count in kinds.items()}
        assert shares == pytest.approx({"reverse": 0.5, "slow": 0.3, "none": 0.2}, abs=0.03)

    def test_the_published_chances_leave_a_tenth_unchanged(self):
        assert sum(OneOf().chances.values()) == pytest.approx(0.9)
        assert OneOf().chances[ShuffleDropout()] == 0.5

    @given(lengths, seeds)
    def test_a_seed_says_everything(self, num_frames, seed):
        one, other = (OneOf().draw(num_frames, seeded(seed)) for _ in range(2))
        assert one.frames.equal(other.frames)
        assert one.fills.equal(other.fills)


class TestShow:
    CLIP = torch.arange(1, 5, dtype=torch.uint8)[:, None, None, None].expand(4, 2, 2, 3)

    def test_black_and_noise_lie_in_the_places_of_frames(self):
        view = Timeline(torch.tensor([3, 0, 1, 2]), torch.tensor([SHOWN, BLACK, NOISE, SHOWN], dtype=torch.uint8))
        noise = draw_noise(view, self.CLIP, seeded())
        assert noise.shape == (1, 2, 2, 3)
        shown = show(view, self.CLIP, noise)
        assert shown[0].unique().tolist() == [4]
        assert shown[1].unique().tolist() == [0]
        assert shown[2].equal(noise[0])
        assert shown[3].unique().tolist() == [3]

    def test_the_clip_stays_as_it_was(self):
        view = Timeline(torch.tensor([0]), torch.tensor([BLACK], dtype=torch.uint8))
        show(view, self.CLIP, draw_noise(view, self.CLIP, seeded()))
        assert int(self.CLIP[0, 0, 0, 0]) == 1

    def test_unchanged_shows_all(self):
        view = Unchanged().draw(4, seeded())
        assert show(view, self.CLIP, draw_noise(view, self.CLIP, seeded())).equal(self.CLIP)

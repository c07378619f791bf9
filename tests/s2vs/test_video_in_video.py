"""Video in video, and the labels of a batch that has it. Published cases: tests/parity."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visil.s2vs.labels import label, same_video, video_shares
from visil.s2vs.video_in_video import NO_HOST, Mixture, VideoInVideo, donor_box, mix

sides = st.integers(4, 300)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class TestBox:
    def test_in_the_middle_it_covers_what_the_host_does_not_keep(self):
        box = donor_box(200, 100, 0.75, (100, 50))  # half of the sides
        assert (box.top, box.bottom, box.left, box.right) == (50, 150, 25, 75)

    def test_at_the_border_it_is_cut_and_not_moved(self):
        box = donor_box(200, 100, 0.75, (0, 99))
        assert (box.top, box.bottom, box.left, box.right) == (0, 50, 74, 100)

    def test_an_odd_side_loses_a_pixel(self):
        box = donor_box(10, 10, 0.5, (5, 5))  # 7 of 10 pixels
        assert (box.bottom - box.top, box.right - box.left) == (6, 6)

    @given(sides, sides, st.floats(0.3, 0.7), st.data())
    def test_it_lies_in_the_host(self, height, width, share, data):
        centre = (data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1)))
        box = donor_box(height, width, share, centre)
        assert 0 <= box.top <= box.bottom <= height
        assert 0 <= box.left <= box.right <= width


class TestDraw:
    @given(st.integers(1, 40), st.integers(0, 2**31))
    def test_no_clip_is_its_own_host(self, count, seed):
        mixture = VideoInVideo(chance=1.0).draw(count, (24, 32), seeded(seed))
        assert (mixture.hosts != torch.arange(count)).all()
        assert (mixture.hosts < count).all()
        assert (mixture.hosts == NO_HOST).all() == (count == 1)

    def test_as_often_as_published_and_every_other_as_a_host(self):
        mixture = VideoInVideo().draw(20_000, (24, 32), seeded())
        is_mixed = mixture.hosts != NO_HOST
        assert is_mixed.float().mean().item() == pytest.approx(0.3, abs=0.01)
        assert 0.3 <= mixture.shares.min() < 0.31
        assert 0.69 < mixture.shares.max() <= 0.7
        assert mixture.centres.amax(dim=0).tolist() == [23, 31]
        few = torch.cat([VideoInVideo(chance=1.0).draw(4, (24, 32), seeded(seed)).hosts for seed in range(500)])
        counts = few.bincount(minlength=4)
        assert counts.min() > 0.8 * counts.max()


class TestMix:
    CLIPS = torch.tensor([10, 100, 200], dtype=torch.uint8)[:, None, None, None, None].expand(3, 2, 16, 20, 3)

    def mixed(self, hosts, centres=((8, 10),) * 3, shares=(0.5,) * 3):
        return mix(self.CLIPS, Mixture(torch.tensor(hosts), torch.tensor(shares), torch.tensor(centres)))

    def test_the_donor_lies_small_in_its_host_in_all_frames(self):
        mixed = self.mixed([1, NO_HOST, NO_HOST])
        assert mixed[0, :, 8, 10].unique().tolist() == [10]
        assert mixed[0, :, 0, 0].unique().tolist() == [100]
        assert mixed[0, 0].equal(mixed[0, 1])
        assert mixed[1:].equal(self.CLIPS[1:])

    def test_hosts_are_clips_as_they_were(self):
        """0 lies in 1, and 1 in 2: around 0 there is 1 alone."""
        assert sorted(self.mixed([1, 2, NO_HOST])[0].unique().tolist()) == [10, 100]

    def test_what_was_given_stays_as_it_was(self):
        before = self.CLIPS.clone()
        self.mixed([1, 2, 0])
        assert self.CLIPS.equal(before)


class TestLabels:
    def of(self, hosts, is_related=None):
        return label(video_shares(torch.tensor(hosts), torch.full((len(hosts),), 0.4)), is_related)

    def test_without_mixing_weak_and_strong_of_a_video_are_positive(self):
        labels = self.of([-1, -1, -1])
        assert labels.is_positive.nonzero().tolist() == [[0, 3], [1, 4], [2, 5], [3, 0], [4, 1], [5, 2]]
        assert labels.is_negative.equal(~(labels.is_positive | torch.eye(6, dtype=torch.bool)))

    def test_a_strong_clip_in_a_host_is_positive_with_both_videos(self):
        labels = self.of([1, -1, -1])
        assert labels.is_positive[3].nonzero()[:, 0].tolist() == [0, 1, 4]
        assert not labels.is_positive[0, 1]  # the two videos themselves stay apart
        assert labels.is_negative[0, 1]

    @given(st.lists(st.integers(-1, 5), min_size=6, max_size=6))
    def test_labels_are_symmetric_and_never_both(self, hosts):
        hosts = [NO_HOST if host == number else host for number, host in enumerate(hosts)]
        labels = self.of(hosts)
        for marks in (labels.is_positive, labels.is_negative):
            assert marks.equal(marks.T)
            assert not marks.diagonal().any()
        assert not (labels.is_positive & labels.is_negative).any()
        own = torch.eye(12, dtype=torch.bool)
        assert (labels.is_positive | labels.is_negative | own).all()

    def test_related_videos_are_neither(self):
        is_related = torch.zeros(3, 3, dtype=torch.bool)
        is_related[0, 1] = True  # said once is enough
        labels = self.of([-1, -1, -1], is_related)
        for clip, other in [(0, 1), (0, 4), (3, 1), (3, 4)]:
            assert not labels.is_negative[clip, other]
            assert not labels.is_negative[other, clip]
            assert not labels.is_positive[clip, other]
        assert labels.is_negative[0, 2]

    def test_what_is_around_a_strong_clip_has_relatives_too(self):
        is_related = torch.zeros(4, 4, dtype=torch.bool)
        is_related[1, 2] = True
        labels = self.of([1, -1, -1, -1], is_related)  # strong 0 lies in 1, which is related to 2
        assert not labels.is_negative[4, 2]
        assert not labels.is_negative[4, 6]
        assert labels.is_negative[4, 3]
        assert labels.is_negative[0, 2]

    def test_shares_say_who_is_in_whom(self):
        shares = video_shares(torch.tensor([2, -1, -1]), torch.tensor([0.3, 0.4, 0.5]))
        assert shares.tolist() == [[1, 0, pytest.approx(0.3)], [0, 1, 0], [0, 0, 1]]
        assert same_video(shares)[3, 2]

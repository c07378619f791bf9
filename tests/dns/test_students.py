"""The coarse student, NetVLAD and the selector: padding, order, what adds up to what. Published cases: tests/parity."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from visil.dns.coarse_student import CoarseSettings, CoarseStudent
from visil.dns.netvlad import NetVLAD
from visil.dns.selector import Selector, SelectorSettings

DIM = 8
STUDENTS = {
    "paper": CoarseSettings(heads=2, feedforward=16, centres=3, out_dim=5),
    "mean": CoarseSettings(heads=2, feedforward=16, layers=2, centres=0),
    "NetVLAD alone": CoarseSettings(attention=False, layers=0, centres=3, out_dim=5),
}


def student(name):
    torch.manual_seed(0)
    return CoarseStudent(STUDENTS[name], DIM).eval()


def videos(count=3, num_frames=6, num_regions=4, seed=1):
    vectors = torch.randn(count, num_frames, num_regions, DIM, generator=torch.Generator().manual_seed(seed))
    return F.normalize(vectors, dim=-1)


class TestCoarseStudent:
    @pytest.mark.parametrize("name", STUDENTS)
    def test_a_unit_vector_a_video(self, name):
        found = student(name)(videos())
        assert found.shape == (3, DIM if name == "mean" else 5)
        torch.testing.assert_close(found.norm(dim=1), torch.ones(3))

    @pytest.mark.parametrize("name", STUDENTS)
    def test_the_order_of_frames_does_not_matter(self, name):
        network, clip = student(name), videos()
        order = torch.randperm(6, generator=torch.Generator().manual_seed(2))
        torch.testing.assert_close(network(clip[:, order]), network(clip), atol=1e-6, rtol=0)

    @pytest.mark.parametrize("name", STUDENTS)
    @given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 3))
    def test_padding_never_changes_a_vector(self, name, lengths, more):
        network, clips = student(name), videos(len(lengths))
        padded = F.pad(clips, (0, 0, 0, 0, 0, more), value=7.0)
        mask = torch.arange(6 + more) < torch.tensor(lengths)[:, None]
        found = network(padded, mask)
        for row, clip, length in zip(found, clips, lengths, strict=True):
            torch.testing.assert_close(row, network(clip[None, :length])[0], atol=2e-6, rtol=0)

    def test_the_paper_s_has_37_million_parameters(self):
        assert sum(p.numel() for p in CoarseStudent(CoarseSettings(), 512).parameters()) == 37_038_592

    def test_settings_that_do_not_do(self):
        with pytest.raises(ValueError, match="heads must divide the 8 dimensions"):
            CoarseStudent(CoarseSettings(heads=3), DIM)
        with pytest.raises(ValueError, match="at least"):
            CoarseSettings(centres=-1)


class TestNetVLAD:
    def test_residuals_are_to_the_centres_and_weighed_by_the_assignment(self):
        torch.manual_seed(0)
        network = NetVLAD(2, 2)
        with torch.no_grad():
            network.centres.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
            network.assignment.copy_(100 * network.centres)  # each vector to its nearest centre alone
        vectors = torch.tensor([[[1.0, 0.2], [1.0, 0.4], [0.3, 1.0]]])
        flat = torch.tensor([[0.0, 1.0, 1.0, 0.0]]) / 2**0.5  # residuals (0, 0.6) and (0.3, 0), each unit
        torch.testing.assert_close(network(vectors), network.norm(flat))

    def test_assignment_starts_at_the_centres(self):
        network = NetVLAD(4, 3, 2)
        assert network.assignment.equal(network.centres)
        assert network.assignment.data_ptr() != network.centres.data_ptr()


class TestSelector:
    def selector(self):
        torch.manual_seed(0)
        return Selector(SelectorSettings(hidden=10), DIM).eval()

    def test_the_mean_over_region_pairs_is_the_product_of_the_means(self):
        selector, clips = self.selector(), videos()
        weighted = selector.attention(clips)
        pairs = torch.einsum("biod,bjpd->bijop", weighted, weighted).mean(dim=(3, 4))
        torch.testing.assert_close(selector.frame_similarity(clips), pairs)

    @given(st.lists(st.integers(4, 12), min_size=1, max_size=4))
    def test_padding_never_changes_a_value(self, lengths):
        selector, clips = self.selector(), videos(len(lengths), num_frames=12)
        found = selector.video_values(clips, torch.tensor(lengths))
        for value, clip, length in zip(found, clips, lengths, strict=True):
            torch.testing.assert_close(value, selector.video_values(clip[None, :length])[0], atol=2e-6, rtol=0)

    def test_scores_are_chances(self):
        scores = self.selector()(torch.randn(7), torch.randn(7), torch.rand(7))
        assert scores.shape == (7,)
        assert ((scores > 0) & (scores < 1)).all()

    def test_the_paper_s_has_366_770_parameters(self):
        assert sum(p.numel() for p in Selector(SelectorSettings(), 512).parameters()) == 366_770

    def test_settings_that_do_not_do(self):
        with pytest.raises(ValueError, match="expected hidden"):
            SelectorSettings(dropout=1.0)

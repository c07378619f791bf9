"""Which clips share a cell: every clip once, related ones apart, those that look alike together."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.s2vs.clips import find_clips
from visil.s2vs.dealing import Dealer, describe_clips


def relation(count, *pairs):
    is_related = np.eye(count, dtype=bool)
    for a, b in pairs:
        is_related[a, b] = is_related[b, a] = True
    return is_related


def circle(count):
    """Unit vectors of which neighbours are alike."""
    angles = torch.arange(count) * (2 * torch.pi / count)
    return torch.stack([angles.cos(), angles.sin()], dim=1)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(1, 6),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30),
)
def test_every_clip_is_dealt_once_whatever_is_asked_for(count, size, round, takes_all, hard_share, pairs):
    is_related = relation(count, *((a % count, b % count) for a, b in pairs))
    dealer = Dealer(
        count,
        size,
        seed=1,
        is_related=is_related,
        takes_all=takes_all,
        hard_share=hard_share,
        descriptors=lambda: circle(count),
    )
    cells = dealer.cells(round)
    assert len(cells) == len(dealer)
    dealt = torch.cat(cells).tolist()
    assert len(set(dealt)) == len(dealt)
    whole = min(size, count)
    assert len(dealt) == count if takes_all else all(len(cell) == whole for cell in cells)
    assert count - len(dealt) < whole


def test_a_round_is_the_same_whenever_it_is_asked_for_and_rounds_differ():
    one, other = Dealer(12, 4, seed=3), Dealer(12, 4, seed=3)
    first = [cell.tolist() for cell in one.cells(0)]
    assert first != [cell.tolist() for cell in one.cells(1)]
    other.cells(7)
    assert [cell.tolist() for cell in other.cells(0)] == first
    assert [cell.tolist() for cell in Dealer(12, 4, seed=4).cells(0)] != first


def test_related_clips_share_a_cell_only_where_nothing_else_is_left():
    is_related = relation(12, *((a, b) for a in range(4) for b in range(a)))
    for round in range(10):
        cells = Dealer(12, 3, seed=0, is_related=is_related).cells(round)
        assert all(len({0, 1, 2, 3} & set(cell.tolist())) <= 1 for cell in cells)
    groups = np.arange(30) % 3
    for cell in Dealer(30, 3, seed=0, is_related=groups[:, None] == groups).cells(0):
        assert sorted(groups[cell.numpy()]) == [0, 1, 2]
    everyone = np.ones((6, 6), dtype=bool)
    assert [len(cell) for cell in Dealer(6, 3, seed=0, is_related=everyone).cells(0)] == [3, 3]


def test_hard_negatives_are_the_clips_most_like_the_first_of_a_cell_but_related_ones():
    is_related = relation(40, *((a, (a + 1) % 40) for a in range(40)))
    dealer = Dealer(40, 3, seed=0, is_related=is_related, hard_share=1.0, descriptors=lambda: circle(40))
    first = dealer.cells(0)[0].tolist()
    apart = [min((member - first[0]) % 40, (first[0] - member) % 40) for member in first[1:]]
    assert apart[0] == 2  # the nearest that is not related
    assert max(apart) <= 4


def test_a_share_of_the_places_stays_random():
    dealer = Dealer(400, 5, seed=0, hard_share=0.5, descriptors=lambda: circle(400))
    first = dealer.cells(0)[0].tolist()
    near = [member for member in first[1:] if min((member - first[0]) % 400, (first[0] - member) % 400) <= 2]
    assert len(near) == 2


def test_descriptors_are_asked_for_only_where_hard_negatives_are_wanted():
    def fails():
        raise AssertionError

    Dealer(8, 4, seed=0, descriptors=fails).cells(0)
    with pytest.raises(AssertionError):
        Dealer(8, 4, seed=0, hard_share=0.5, descriptors=fails).cells(0)


def test_clips_are_described_by_some_of_their_frames(tmp_path, frames_folder):
    clips = find_clips([frames_folder])
    shown = []

    def encode(pictures):
        shown.append(pictures.shape)
        return torch.from_numpy(pictures).float().mean(dim=(1, 2))[:, None, :]

    vectors = describe_clips(clips, encode, 24)
    assert shown == [(min(4, len(clip.frames)), 24, 24, 3) for clip in clips]
    assert vectors.norm(dim=1).numpy() == pytest.approx(1)


def test_a_clip_that_cannot_be_read_is_like_no_other(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "00000.jpg").write_bytes(b"damaged")
    assert not describe_clips(find_clips([tmp_path]), lambda pictures: None, 24).any()

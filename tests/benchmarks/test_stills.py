"""Pictures of the benchmarks: what repeats, and that each has one use."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.benchmarks.stills import SAME_PICTURE_BITS, Still, assign_roles, join_repeats
from visil.errors import DataError

BITS = 64


def hashes(*numbers_of_ones: int) -> np.ndarray:
    """One hash for each number: its first so many bits are set."""
    return np.array([[bit < ones for bit in range(BITS)] for ones in numbers_of_ones])


def stills(count: int) -> list[Still]:
    return [Still(Path(f"{i}.jpg"), "", f"{i}.jpg") for i in range(count)]


def test_pictures_whose_hashes_differ_in_few_bits_are_one_component():
    near, far = SAME_PICTURE_BITS, SAME_PICTURE_BITS + 1
    unlike = 1 - hashes(0, 0, 0)  # no picture is like a mirror image
    found = join_repeats(["a", "b", "c"], hashes(0, near, near + far), unlike.astype(bool))
    assert found == {"a": "a", "b": "a", "c": "c"}


def test_repeats_of_repeats_are_one_component_whatever_their_order():
    steps = hashes(0, 2 * SAME_PICTURE_BITS, SAME_PICTURE_BITS)
    unlike = np.ones((3, BITS), dtype=bool)
    assert set(join_repeats(["a", "b", "c"], steps, unlike).values()) == {"a"}


def test_a_mirror_image_of_a_picture_is_of_its_component():
    pictures, mirrored = hashes(0, 40), hashes(39, 20)  # b is near the mirror image of a
    assert join_repeats(["a", "b"], pictures, mirrored) == {"a": "a", "b": "a"}


def test_repeats_that_were_seen_are_of_one_component_whatever_their_hashes():
    unlike = np.ones((3, BITS), dtype=bool)
    seen = [("c", "a"), ("a", "of another split")]
    assert join_repeats(["a", "b", "c"], hashes(0, 20, 40), unlike, seen) == {"a": "a", "b": "b", "c": "a"}


@settings(deadline=None)
@given(pans=st.integers(0, 5), hosts=st.integers(0, 5), queries=st.integers(0, 5), seed=st.integers(0, 100))
def test_every_still_has_one_role(pans, hosts, queries, seed):
    roles = assign_roles(stills(16), np.random.default_rng(seed), num_pans=pans, num_hosts=hosts, num_queries=queries)
    groups = [roles.pans, roles.hosts, roles.queries, roles.library]
    assert [len(group) for group in groups] == [pans, hosts, queries, 16 - pans - hosts - queries]
    assert all(set(a).isdisjoint(b) for a, b in combinations(groups, 2))
    assert {still for group in groups for still in group} == set(stills(16))


def test_a_library_without_pictures_is_an_error():
    with pytest.raises(DataError, match="4 pictures are too few for 4"):
        assign_roles(stills(4), np.random.default_rng(0), num_pans=2, num_hosts=1, num_queries=1)

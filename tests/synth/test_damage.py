"""Damage is seeded, of the kind it says, and leaves the source alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.media.made_files import write_grey
from visil.synth.damage import DAMAGES, cut, flip_bits, splice_header, swap_boxes

CONTENT = bytes(range(256)) * 40
OTHERS = [b"other " * 30_000]
seeds = st.integers(0, 2**32 - 1)


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", DAMAGES)
class TestEveryKind:
    def test_depends_on_the_seed_alone(self, kind):
        first, again, other = (DAMAGES[kind](CONTENT, OTHERS, generator(seed)) for seed in (1, 1, 2))
        assert first == again != other

    @given(content=st.binary(min_size=1, max_size=50), seed=seeds)
    def test_takes_files_of_any_size(self, kind, content, seed):
        assert isinstance(DAMAGES[kind](content, [content], generator(seed)), bytes)


class TestKinds:
    @given(seed=seeds)
    def test_bit_flips_keep_the_length(self, seed):
        assert len(flip_bits(CONTENT, OTHERS, generator(seed))) == len(CONTENT)

    @given(seed=seeds)
    def test_cuts_make_nothing_longer(self, seed):
        assert len(cut(CONTENT, OTHERS, generator(seed))) <= len(CONTENT)

    @given(seed=seeds)
    def test_spliced_headers_begin_with_another_file(self, seed):
        assert splice_header(CONTENT, OTHERS, generator(seed)).startswith(OTHERS[0][:16])

    @given(seed=seeds)
    def test_swapped_boxes_keep_every_byte(self, seed):
        assert sorted(swap_boxes(CONTENT, OTHERS, generator(seed))) == sorted(CONTENT)

    def test_boxes_are_swapped_whole(self, tmp_path):
        content = write_grey(tmp_path / "a.mp4", 3, codec="mpeg4").read_bytes()
        swapped = {swap_boxes(content, OTHERS, generator(seed)) for seed in range(300)}
        for name in (b"moov", b"mdat", b"mdhd", b"stts", b"stsz"):
            start = content.index(name) - 4
            whole = content[start : start + int.from_bytes(content[start : start + 4])]
            moved = [other for other in swapped if other.find(whole) not in (-1, start)]
            assert moved, name

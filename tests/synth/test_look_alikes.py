"""Look-alikes are of one style, of two components, and each is used once."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visil.errors import DataError
from visil.synth.look_alikes import look_alike_pairs
from visil.synth.montage import Source


def stills_of(**sizes: int) -> tuple[list[Source], dict[Path, str]]:
    """So many stills of every style, each of a component of its own."""
    styles = {Path(f"{style}_{i}.jpg"): style for style, size in sizes.items() for i in range(size)}
    return [Source(path, f"still:{path.name}") for path in styles], styles


@given(st.integers(0, 2**32 - 1))
def test_a_pair_is_of_one_style_and_no_still_is_used_twice(seed):
    stills, styles = stills_of(barrel=7, crab=4, chart=2, alone=1)
    pairs = look_alike_pairs(np.random.default_rng(seed), stills, styles, count=5)
    assert pairs == look_alike_pairs(np.random.default_rng(seed), stills, styles, count=5)
    used = [still.path for pair in pairs for still in pair]
    assert len(set(used)) == 10
    assert all(styles[a.path] == styles[b.path] for a, b in pairs)
    assert {styles[a.path] for a, _ in pairs[:3]} == {"barrel", "crab", "chart"}  # in turn


def test_equal_pictures_are_no_look_alikes():
    styles = {Path(f"{i}.jpg"): "barrel" for i in range(4)}
    stills = [Source(path, "twin" if path.stem in "01" else path.stem) for path in styles]
    for seed in range(20):
        pairs = look_alike_pairs(np.random.default_rng(seed), stills, styles, count=1)
        assert all(a.component != b.component for a, b in pairs)
    with pytest.raises(DataError, match="2 stills of 1 styles hold 0 pairs of look-alikes, not 1; give more"):
        look_alike_pairs(np.random.default_rng(0), stills[:2], styles, count=1)

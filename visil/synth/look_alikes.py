"""Look-alikes: unrelated videos of one style that a person tells apart.

    stills, the style of each ─► [look_alike_pairs] ─► pans over two pictures of one style

Two pictures of one class or series (two barrels, two exercises in one gym, two charts of one book) look alike as
a whole and show different things. Made-up scenes have look-alikes of their own: `scenes.look_alike`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from visil.errors import DataError
from visil.synth.montage import Source


def look_alike_pairs(
    rng: np.random.Generator, stills: Sequence[Source], styles: Mapping[Path, str], *, count: int
) -> list[tuple[Source, Source]]:
    """Pairs of stills of one style and two components; no still twice, the styles in turn.

    Pans with the same seed over both move alike, too.

    Args:
        styles: path of a still -> name of its style, such as its class in a collection.

    Raises:
        DataError: there are fewer pairs.
    """
    by_style: dict[str, list[Source]] = {}
    for i in rng.permutation(len(stills)):
        by_style.setdefault(styles[stills[i].path], []).append(stills[i])
    queues = [_pairs(by_style[style]) for style in rng.permutation(sorted(by_style))]
    rounds = max(map(len, queues), default=0)
    pairs = [queue[turn] for turn in range(rounds) for queue in queues if turn < len(queue)]
    if len(pairs) < count:
        raise DataError(
            f"{len(stills)} stills of {len(by_style)} styles hold {len(pairs)} pairs of look-alikes, not {count}; "
            "give more stills of the same styles"
        )
    return pairs[:count]


def _pairs(stills: Sequence[Source]) -> list[tuple[Source, Source]]:
    """Neighbours of a shuffled list, each still once; those of one component do not pair."""
    pairs, waiting = [], list[Source]()
    for still in stills:
        partner = next((other for other in waiting if other.component != still.component), None)
        if partner is None:
            waiting.append(still)
        else:
            waiting.remove(partner)
            pairs.append((partner, still))
    return pairs

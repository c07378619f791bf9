"""The baseline every network must beat: perceptual hashes and best-match voting.

    files ─► decode_files (the same samples as ours) ─► [hashes ─► votes] ─► scores

Each sample of the query gives one vote to the video that holds the closest hash (Hamming distance of 64-bit
DCT hashes of `imagehash`); videos at the same distance share the vote equally. The score of a video is its
share of the votes, hence 0 for most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from visil.media.blank import has_content
from visil.media.decoding import decode_files
from visil.media.preprocessing import PRESETS
from visil.values import Frames

HASH_BITS = 64


def hash_videos(paths: Sequence[Path], *, workers: int) -> dict[str, np.ndarray]:
    """Hashes of the samples with content, bool [T, 64], by name of file; unreadable files are missing."""
    import imagehash
    from PIL import Image

    found: dict[str, list[np.ndarray]] = {}
    for index, event in decode_files(paths, PRESETS["whole-frame"], workers=workers):
        if isinstance(event, Frames):
            pictures = event.images[has_content(event.images)]
            hashes = [imagehash.phash(Image.fromarray(picture)).hash.ravel() for picture in pictures]
            found.setdefault(paths[index].name, []).extend(hashes)
    return {name: np.array(hashes, dtype=bool).reshape(-1, HASH_BITS) for name, hashes in found.items()}


def vote(query: np.ndarray, library: Mapping[str, np.ndarray], left_out: Set[str] = frozenset()) -> dict[str, float]:
    """Share of the votes of the query's hashes bool [T, 64] for every video that is not left out.

    A query without a sample scores nothing.
    """
    names = [name for name, hashes in library.items() if name not in left_out and len(hashes)]
    if not len(query) or not names:
        return {}
    hashes = np.concatenate([library[name] for name in names])  # [N, 64]
    owner = np.repeat(np.arange(len(names)), [len(library[name]) for name in names])
    equal_minus_different = (2.0 * query - 1) @ (2.0 * hashes - 1).T  # [T, N]
    closest = equal_minus_different == equal_minus_different.max(axis=1, keepdims=True)
    votes = np.zeros((len(query), len(names)))
    for sample, candidates in enumerate(closest):
        winners = np.unique(owner[candidates])
        votes[sample, winners] = 1 / len(winners)
    return dict(zip(names, votes.mean(axis=0).tolist(), strict=True))

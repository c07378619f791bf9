"""A long query compared by its moments: the sources of a compilation are found, though each is little of it.

    similarity matrix ─► row maxima ─► their mean: the score of the whole (similarity.py)
                                    └► [the best moment, three in a row, less what chance explains] ─► the higher
                                        this module

The mean over a compilation hides each of its sources. The other direction, how well the frames of the video are found
in the query, does not; but by it a video of one frame matches whatever is long enough. A moment is the query's own
side: a few samples in a row, which find two frames of the video at least. Pure functions, no weights.
How the numbers were chosen: docs/method.md, "Long queries", and decision 70.
"""

from __future__ import annotations

from math import ceil, log

import numpy as np
import torch
from torch import Tensor

MOMENT_SAMPLES = 3  # the shortest clip that a compilation is expected to hold, 3 s at one sample a second
MIN_SAMPLES = 16  # of a long query: in a shorter one such a clip is a fifth, and the whole tells
DESCRIPTOR_STEP = 2  # samples between the moments that candidates are looked for by: no clip lies between two
MOST_DESCRIPTORS = 4000  # 2.2 hours at one sample a second; each costs a product with every part of the library
CHANCE_WEIGHT = 2.0  # of ln N, the moments to choose from
RANKING_CAP = 0.25  # raw, of what ranks a moment that chance explains: below the thresholds of `mini` (docs/method.md)


def moment_starts(times_s: np.ndarray) -> np.ndarray:
    """First sample of every moment of a query, int [N]; none for a query that is not long.

    A moment lasts at most as many steps of the query's own sampling as it has samples: where frames without content
    are left out, what lies before them and behind them is no moment.

    Args:
        times_s: [T], ascending.
    """
    if len(times_s) < MIN_SAMPLES:
        return np.zeros(0, dtype=np.int64)
    step_s = float(np.median(np.diff(times_s)))
    lasts_s = times_s[MOMENT_SAMPLES - 1 :] - times_s[: 1 - MOMENT_SAMPLES]
    return np.flatnonzero(lasts_s <= (MOMENT_SAMPLES + 1e-6) * step_s)


def best_moment(best: Tensor, where: Tensor, starts: Tensor) -> Tensor:
    """The highest mean over a moment of the row maxima.

    Args:
        best: [..., Tq], the best match of every query sample in the video.
        where: int [..., Tq], the frames of the video that they are.
        starts: int [N], see `moment_starts`; at least one.

    Returns:
        [...]; -inf where every moment finds one frame only: a video of one frame, or a frame that is like many, is no
        evidence of a moment.
    """
    first, *others = (slice(i, best.shape[-1] - MOMENT_SAMPLES + 1 + i) for i in range(MOMENT_SAMPLES))
    sums = best[..., first].clone()  # [..., samples that a moment could start at]
    no_evidence = torch.ones_like(sums, dtype=torch.bool)
    for other in others:
        sums += best[..., other]
        no_evidence &= where[..., other] == where[..., first]
    is_start = torch.zeros(sums.shape[-1], dtype=torch.bool, device=starts.device)
    is_start[starts] = True
    no_evidence |= ~is_start
    return sums.masked_fill_(no_evidence, -torch.inf).amax(dim=-1) / MOMENT_SAMPLES


def score_by_moments(
    whole: Tensor, moment: Tensor, num_moments: int, *, chance_weight: float = CHANCE_WEIGHT
) -> Tensor:
    """Raw score of a long query: of the whole or of its best moment, whichever is higher.

        max(whole, (1 - (1 - r)²) / 4, 1 - (1 + 2 ln N) · (1 - r))        r = best moment, N = moments to choose from

    The more moments there are to choose from, the more the best one finds by chance: what it lacks of 1 is multiplied
    by 1 + 2 ln N; a single one counts as it is. The middle term rises with r to a quarter: too little to pass for a
    match, enough to rank sources that were edited above strangers.

    Args:
        chance_weight: factor of ln N; others only to choose it (scripts/bench_moments.py).
    """
    by_chance = 1 + chance_weight * log(num_moments)
    least = RANKING_CAP * (1 - (1 - moment) ** 2)  # -inf stays what it is
    return torch.maximum(whole, torch.maximum(least, 1 - by_chance * (1 - moment)))


def moment_descriptors(vectors: np.ndarray) -> np.ndarray:
    """Mean of the region vectors of every second moment, L2-normalised, to look for candidates by.

    Of more than 8,002 samples it is every third, fourth ..., so that there are 4,000 at most.

    Args:
        vectors: float [T, R, D].

    Returns:
        float32 [N, D]; none for a query that is not long.
    """
    if len(vectors) < MIN_SAMPLES:
        return np.zeros((0, vectors.shape[-1]), dtype=np.float32)
    sums = vectors.sum(axis=1, dtype=np.float32)  # [T, D]
    windows = np.lib.stride_tricks.sliding_window_view(sums, MOMENT_SAMPLES, axis=0)  # [starts, D, samples]
    step = max(DESCRIPTOR_STEP, ceil(len(windows) / MOST_DESCRIPTORS))
    sums = windows[::step].sum(axis=-1)  # [N, D]
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)

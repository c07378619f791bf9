"""The precision-recall curve as the script published with FIVR-200K draws it, with its defects, to compare with it."""

import numpy as np

from visil.evaluation.metrics import NUM_LEVELS, RankedQuery


def published_curve(query: RankedQuery, num_videos: int) -> np.ndarray:
    """Highest precision at a recall of i/20 or more, i = 0 ... 20, of one ranking; float64 [21].

    Relevant videos that were not retrieved get the score 0, and so do irrelevant ones until there are `num_videos`, so
    that they beat retrieved videos of negative score; the precision at recall 0 is always 1; and the levels of recall
    are floats, so that 3 of 20 is less than the level of 0.15. Equal scores are one group.
    """
    num_missing = query.num_relevant - len(query.positions)
    num_added = num_missing + max(0, num_videos - len(query.scores) - num_missing)
    is_relevant = np.zeros(len(query.scores) + num_added, dtype=bool)
    is_relevant[query.positions] = True
    is_relevant[len(query.scores) : len(query.scores) + num_missing] = True
    padded = RankedQuery.sort(np.append(query.scores, np.zeros(num_added)), is_relevant, query.num_relevant)
    rank = np.searchsorted(-padded.scores, -padded.scores[padded.positions], side="right")
    found = np.searchsorted(padded.positions, rank)
    highest = np.maximum.accumulate(np.append(found / rank, 0.0)[::-1])[::-1]
    curve = highest[np.searchsorted(found / query.num_relevant, np.arange(NUM_LEVELS + 1) * 0.05)]
    curve[0] = 1.0
    return curve

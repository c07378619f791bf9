"""What training on stored features changes in time: positives and negatives, half of them.

    frames of a video ─► [one of: windows dropped, windows shuffled, skipped, doubled, reversed; or none] ─► at most 300

Source: DnS (IJCV 2022), its code (case `temporal_augmentation`); draws are those of numpy's legacy generator, in its
order, so that the published training can be repeated.
"""

from __future__ import annotations

import numpy as np

SHORTEST = 8  # frames; what has no more is left as it is
LONGEST = 300  # frames that are kept of any video
WINDOWS = (4, 16)  # frames; the end is left out
DROPPED = 0.3  # chance of a window
LONGEST_DOUBLED = 150


def augmented_frames(num_frames: int, draws: np.random.RandomState) -> np.ndarray:
    """Numbers of the frames of the augmented video, int64 [T]."""
    frames = np.arange(num_frames)
    if num_frames > SHORTEST:
        kind = draws.uniform()
        if kind < 0.2:
            windows = _windows(frames, int(draws.randint(*WINDOWS)))
            frames = _some(windows, draws) if kind < 0.1 else _shuffled(windows, draws)
        elif kind < 0.3:
            frames = frames[::2]
        elif kind < 0.4:
            frames = frames.repeat(2) if num_frames < LONGEST_DOUBLED else frames
        elif kind < 0.5:
            frames = frames[::-1]
    return frames[:LONGEST]


def _windows(frames: np.ndarray, length: int) -> np.ndarray:
    """[W, length], the last one filled up from the start of the video."""
    missing = -len(frames) % length
    return np.concatenate([frames, frames[:missing]]).reshape(-1, length)


def _some(windows: np.ndarray, draws: np.random.RandomState) -> np.ndarray:
    kept = draws.rand(len(windows)) > DROPPED
    return (windows[kept] if kept.any() else windows).ravel()


def _shuffled(windows: np.ndarray, draws: np.random.RandomState) -> np.ndarray:
    windows = windows.copy()
    draws.shuffle(windows)
    return windows.ravel()

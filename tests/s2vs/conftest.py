"""Small clips as folders of frames."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


def write_clip(folder, num_frames, seed, size_px=(320, 256)):
    """Frames of one coarse pattern that moves; numbers from 0."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size_px, Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse)
    for number in range(num_frames):
        Image.fromarray(np.roll(pixels, 8 * number, axis=1)).save(folder / f"{number:05d}.jpg", quality=90)


@pytest.fixture(scope="session")
def frames_folder(tmp_path_factory):
    """Eight clips of 3 to 10 frames."""
    root = tmp_path_factory.mktemp("frames")
    for number in range(8):
        write_clip(root / f"clip{number}", 3 + number, seed=number)
    return root

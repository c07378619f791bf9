"""What all tests share: a reproducible hypothesis, the bundled model, small videos, the shared data if it is there.

No network is loaded before a test asks for one: most tests also run where there is no torch.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")  # before torch is imported, here and in every child process

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from visil.synth.scenes import distinct_scenes, scene_pictures
from visil.synth.video_file import write_video

if TYPE_CHECKING:
    from visil.model.model import Model

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

settings.register_profile("visil", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("visil")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real videos and annotations beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"{SHARED_DATA} is not here: real videos and annotations are not part of the repository")
    return SHARED_DATA


@pytest.fixture(scope="session")
def model() -> Model:
    """The bundle that every installation has."""
    from visil.model.model import load_model

    return load_model(device="cpu")


@pytest.fixture(scope="session")
def quick_model() -> Model:
    """A small network of random weights on pictures of 64 x 64, three samples a short video: ten times faster.

    It does not change when the bundle of the package does.
    """
    from visil.benchmarks.untrained import untrained_bundle
    from visil.model.bundle import Bundle
    from visil.model.model import Model

    bundle = untrained_bundle(size_px=64, num_pictures=60)
    preprocessing = replace(bundle.settings.preprocessing, min_samples=3)
    settings = replace(bundle.settings, name="quick", preprocessing=preprocessing)
    return Model(Bundle(settings, bundle.tensors), device="cpu")


@pytest.fixture(scope="session")
def made_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of different scenes, clip_0.mp4 ... clip_5.mp4: 96 x 64, 8 fps, 3 s. Copy them, leave them."""
    folder = tmp_path_factory.mktemp("made_clips")
    for i, scene in enumerate(distinct_scenes(np.random.default_rng(0), 6)):
        pictures = scene_pictures(scene, duration_s=3, fps=8, size_px=(96, 64))
        write_video(folder / f"clip_{i}.mp4", pictures, 8)
    return folder


@pytest.fixture
def clips(made_clips: Path, tmp_path: Path) -> Path:
    """A copy of the made clips that a test may change, with the times of the originals."""
    return Path(shutil.copytree(made_clips, tmp_path / "clips"))

"""A network that has learned nothing: what every trained one is compared with.

seed ─► random small ResNet, procedural pictures ─► [whitening fitted ─► bundle `untrained`] ─► benchmarks, tests
                                                    this module
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from visil.media.preprocessing import PRESETS
from visil.model.backbone import BackboneSettings, build_network
from visil.model.bundle import Bundle, BundleSettings, RegionSettings
from visil.model.making import make_bundle
from visil.model.network import NetworkSettings
from visil.synth.textures import procedural_pictures

SEED = 0
NUM_PICTURES = 600
BATCH = 30
DIM = 128
NUM_THREADS = 4  # that docs/benchmarks.md was made with


def untrained_bundle(*, size_px: int = PRESETS["whole-frame"].size_px, num_pictures: int = NUM_PICTURES) -> Bundle:
    """Random weights, whitened on procedural pictures: 20 s, fewer and smaller pictures take less."""
    preprocessing = replace(PRESETS["whole-frame"], size_px=size_px)
    settings = BundleSettings(
        name="untrained",
        preprocessing=preprocessing,
        backbone=BackboneSettings("resnet18", stages=(1, 2)),
        regions=RegionSettings("adaptive", grid=3),
        network=NetworkSettings(),
        licence="Apache-2.0",
        training_data=f"none: random weights, seed {SEED}; whitening on {num_pictures} procedural pictures",
    )
    rng = np.random.default_rng(SEED)
    sides = (size_px, size_px)
    batches = (np.stack(procedural_pictures(rng, count=BATCH, size_px=sides)) for _ in range(num_pictures // BATCH))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        weights = build_network(settings.backbone).state_dict()
        halved = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in weights.items()}
        return make_bundle(settings, halved, batches, dim=DIM)


def kept_untrained_bundle(folder: Path) -> Path:
    """The file of that bundle in a folder, made unless it is there.

    Features and thresholds are kept by its hash, which is the same on machines of one kind: its last bits depend on
    the order in which numbers are added.
    """
    path = folder / f"untrained-seed{SEED}.safetensors"
    if path.exists():
        return path
    threads = torch.get_num_threads()
    torch.set_num_threads(NUM_THREADS)
    try:
        untrained_bundle().save(path)
    finally:
        torch.set_num_threads(threads)
    return path

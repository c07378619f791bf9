"""Makes the default bundle `untrained`: a random small ResNet whose whitening is fitted on procedural pictures.

It stands in until a trained bundle ships in the package, and is what every benchmark is compared with.
    python scripts/make_untrained_bundle.py --output visil/model/bundles/untrained.safetensors
Seeds are fixed; about 10 s on 4 cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from visil.media.preprocessing import PRESETS
from visil.model.backbone import BackboneSettings, build_network
from visil.model.bundle import BundleSettings, RegionSettings
from visil.model.making import make_bundle
from visil.model.network import NetworkSettings
from visil.synth.textures import procedural_pictures

SEED = 0
NUM_PICTURES = 600
BATCH = 30
DIM = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    output = parser.parse_args().output
    preprocessing = PRESETS["whole-frame"]
    settings = BundleSettings(
        name="untrained",
        preprocessing=preprocessing,
        backbone=BackboneSettings("resnet18", stages=(1, 2)),
        regions=RegionSettings("adaptive", grid=3),
        network=NetworkSettings(),
        licence="Apache-2.0",
        training_data=f"none: random weights, seed {SEED}; whitening on {NUM_PICTURES} procedural pictures",
    )
    torch.manual_seed(SEED)
    weights = {n: t.half() if t.ndim > 1 else t for n, t in build_network(settings.backbone).state_dict().items()}
    rng = np.random.default_rng(SEED)
    size_px = (preprocessing.size_px, preprocessing.size_px)
    batches = (np.stack(procedural_pictures(rng, count=BATCH, size_px=size_px)) for _ in range(NUM_PICTURES // BATCH))
    bundle = make_bundle(settings, weights, batches, dim=DIM)
    bundle.save(output)
    print(f"{output}: {bundle.hash[:12]}, {output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

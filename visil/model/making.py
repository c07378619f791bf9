"""A bundle from a backbone and a whitening; from a backbone and pictures that the whitening is fitted on.

pictures ─► backbone ─► regions ─► [WhiteningFit ─► bundle]
                                   this module
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from visil.errors import DataError, ModelError
from visil.model.backbone import Backbone
from visil.model.bundle import Bundle, BundleSettings, check_picture
from visil.model.model import load_strictly
from visil.model.regions import region_vectors
from visil.model.whitening import Whitening, WhiteningFit


def make_bundle(
    settings: BundleSettings, weights: Mapping[str, Tensor], pictures: Iterable[np.ndarray], *, dim: int
) -> Bundle:
    """Fit a whitening to `dim` dimensions and put everything into a bundle.

    Args:
        weights: of the backbone, names as timm's; stored as they are (half precision stays half).
        pictures: batches uint8 [B, H, W, 3] at the input size, of other footage than will be searched.

    Raises:
        ModelError: the weights do not fit the backbone.
        DataError: too few pictures for `dim`.
    """
    backbone, kept = _backbone(settings, weights)
    fit = WhiteningFit()
    with torch.inference_mode():
        for batch in pictures:
            fit.update(_regions(settings, backbone, batch))
    try:
        whitening = fit.finish(dim)
    except ValueError as error:
        raise DataError(str(error)) from error
    return _bundle(settings, backbone, kept, whitening)


def bundle_of(settings: BundleSettings, weights: Mapping[str, Tensor], whitening: Whitening) -> Bundle:
    """Put a backbone and a whitening that is there already into a bundle.

    Args:
        weights: as of `make_bundle`.
        whitening: of what the regions of the backbone's maps are; stored as it is.

    Raises:
        ModelError: the weights do not fit the backbone.
    """
    return _bundle(settings, *_backbone(settings, weights), whitening)


def _backbone(settings: BundleSettings, weights: Mapping[str, Tensor]) -> tuple[Backbone, dict[str, Tensor]]:
    """The network with its weights, and those of them that it has a place for."""
    preprocessing = settings.preprocessing
    backbone = Backbone(settings.backbone, mean=preprocessing.mean, std=preprocessing.std)
    names = {name for name in backbone.network.state_dict() if not name.endswith("num_batches_tracked")}
    lacking = sorted(names - set(weights))
    if lacking:
        raise ModelError(
            f"the weights lack {lacking[0]!r} of {settings.backbone.name} (stages {settings.backbone.stages})"
        )
    kept = {name: weights[name].contiguous() for name in sorted(names)}  # without heads that no stage needs
    load_strictly(backbone.network, {n: t.float() for n, t in kept.items()}, settings.backbone.name)
    return backbone, kept


def _bundle(settings: BundleSettings, backbone: Backbone, kept: Mapping[str, Tensor], whitening: Whitening) -> Bundle:
    with torch.inference_mode():
        check = whitening(_regions(settings, backbone, check_picture(settings.preprocessing)))
    tensors = {
        **{f"backbone.{name}": tensor for name, tensor in kept.items()},
        **{f"whitening.{name}": tensor for name, tensor in whitening.state_dict().items()},
        "check.region_vectors": check,
    }
    return Bundle(settings, tensors)


def _regions(settings: BundleSettings, backbone: Backbone, images: np.ndarray) -> Tensor:
    maps, regions = backbone(torch.tensor(images)), settings.regions
    return region_vectors(maps, regions.scheme, strides=backbone.strides, grid=regions.grid, levels=regions.levels)

"""A frozen timm network from pictures to stage maps.

    Frames ─► [backbone] ─► stage maps ─► regions ─► whitening ─► RegionVectors
              this module

timm is imported here and nowhere else, when a picture is to be encoded: it costs seconds.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from visil.errors import ModelError
from visil.media.preprocessing import MAX_SIDE_PX

# What a bundle may pass to timm: names that change the architecture, none that loads a file or a web page.
ALLOWED_OPTIONS = frozenset({"pad_type", "output_stride", "img_size", "dynamic_img_size", "patch_size"})


@dataclass(frozen=True)
class BackboneSettings:
    """Which network, and which of its maps.

    Attributes:
        name: architecture of timm, such as `resnet50` or `vit_small_patch16_224`.
        stages: indices of `features_only`; a transformer's stages are its blocks, their maps its patch tokens.
        options: further arguments of timm's constructor (ALLOWED_OPTIONS).
        stride_in_first_conv: the stride of a bottleneck stage sits in its first 1x1 convolution (ResNet "v1" as
            published by its authors), not in the 3x3 as timm builds it. Wrong here means silently wrong vectors.
    """

    name: str
    stages: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    stride_in_first_conv: bool = False

    def __post_init__(self) -> None:
        unknown = set(self.options) - ALLOWED_OPTIONS
        if unknown:
            raise ModelError(f"backbone option {sorted(unknown)[0]!r} is not allowed; known: {sorted(ALLOWED_OPTIONS)}")
        for option, value in self.options.items():
            kinds = (str,) if option == "pad_type" else (bool,) if option == "dynamic_img_size" else (int,)
            if type(value) not in kinds or (kinds == (int,) and not 1 <= value <= MAX_SIDE_PX):
                raise ModelError(f"backbone option {option} cannot be {value!r}")
        if not self.stages or list(self.stages) != sorted(set(self.stages)) or self.stages[0] < 0:
            raise ModelError(f"stages must be ascending indices, at least one; got {list(self.stages)}")


class Backbone(nn.Module):
    """Normalised pictures -> maps of the chosen stages; always in evaluation mode.

    Attributes:
        strides: input pixels a cell of each stage map.
        dim: sum of the channels of the stages.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, settings: BackboneSettings, *, mean: tuple[float, float, float], std: tuple[float, float, float]
    ) -> None:
        super().__init__()
        self.network = build_network(settings)
        for parameter in self.network.parameters():  # convolutions in the layout that pictures come in
            if parameter.ndim == 4:
                parameter.data = parameter.data.to(memory_format=torch.channels_last)
        stages: Any = self.network.feature_info
        self.strides: tuple[int, ...] = tuple(stages.reduction())
        self.dim = sum(stages.channels())
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Backbone:
        return super().train(False)  # frozen: batch-norm statistics stay as they are

    def forward(self, images: Tensor) -> list[Tensor]:
        """uint8 RGB [B, H, W, 3] -> one map [B, C, H', W'] a stage."""
        pixels = images.movedim(-1, 1).to(self.mean.dtype).div(255)  # [B, 3, H, W]
        return list(self.network((pixels - self.mean) / self.std))


def build_network(settings: BackboneSettings, *, pretrained: bool = False) -> nn.Module:
    """timm's feature extractor for these settings.

    Raises:
        ModelError: timm does not know the name or refuses the options, or pretrained weights cannot be had.
    """
    timm = import_timm()
    if not timm.is_model(settings.name):
        raise ModelError(f"timm has no architecture {settings.name!r}; `timm.list_models()` names them")
    weights: dict[str, Any] = {}
    if pretrained:
        weights = {"pretrained": True, "pretrained_cfg_overlay": {"file": _downloaded_weights(settings.name)}}
    try:
        network = timm.create_model(
            settings.name, features_only=True, out_indices=settings.stages, **settings.options, **weights
        )
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError, KeyError) as error:
        raise ModelError(f"timm cannot build {settings.name!r} with stages {settings.stages}: {error}") from error
    if settings.stride_in_first_conv:
        _move_strides_to_first_conv(network, settings.name)
    return network


def _move_strides_to_first_conv(network: nn.Module, name: str) -> None:
    moved = 0
    for block in network.modules():
        conv1, conv2 = getattr(block, "conv1", None), getattr(block, "conv2", None)
        if hasattr(block, "conv3") and isinstance(conv1, nn.Conv2d) and isinstance(conv2, nn.Conv2d):
            conv1.stride, conv2.stride = conv2.stride, conv1.stride
            moved += 1
    if not moved:
        raise ModelError(f"{name} has no bottleneck blocks: stride_in_first_conv does not apply")


def _downloaded_weights(name: str) -> str:
    """Path of timm's published weights, from the hub's cache or, with a network, from the hub."""
    from huggingface_hub import constants, hf_hub_download

    repository = import_timm().models.get_pretrained_cfg(name).hf_hub_id
    if not repository:
        raise ModelError(f"timm publishes no weights for {name!r}; pass a weight file")
    try:
        return hf_hub_download(repository, "model.safetensors", local_files_only=True)
    except OSError:
        pass
    offline = ModelError(
        f"weights of {name!r} are not on this machine and {constants.ENDPOINT} cannot be reached: "
        "connect once, or pass a weight file"
    )
    if not _resolves(constants.ENDPOINT):  # the hub's client would retry for a minute
        raise offline
    try:
        return hf_hub_download(repository, "model.safetensors")
    except OSError as error:
        raise offline from error


def _resolves(url: str) -> bool:
    import socket
    from urllib.parse import urlsplit

    try:
        socket.getaddrinfo(urlsplit(url).hostname, 443)
    except OSError:
        return False
    return True


def import_timm() -> ModuleType:
    """timm, also beside a torchvision that was built for another torch.

    The CPU build of torch has no matching torchvision in some registries; the general one then fails on import
    because its compiled operators are absent (`operator torchvision::nms does not exist`). timm needs torchvision
    for image transforms only, so the two missing schemas are declared and never called.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declare_missing_operators()
    import timm

    return timm


def _declare_missing_operators() -> None:
    for name in ("nms", "qnms"):
        schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{schema.split('(')[0]}", schema.removeprefix(name))

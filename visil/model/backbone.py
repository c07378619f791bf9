"""A frozen timm network from pictures to stage maps.

    Frames ─► [backbone] ─► stage maps ─► regions ─► whitening ─► RegionVectors
              this module

timm is imported when a picture is to be encoded, and only in part where that is enough (lean_timm.py): it costs
seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from visil.errors import ModelError
from visil.media.preprocessing import MAX_SIDE_PX
from visil.model.lean_timm import create_lean

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

    Args:
        mean, std: of pixels in [0, 1], per channel.
        initialise: see `build_network`.

    Attributes:
        strides: input pixels a cell of each stage map.
        dim: sum of the channels of the stages.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        settings: BackboneSettings,
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        initialise: bool = True,
    ) -> None:
        super().__init__()
        self.network = build_network(settings, initialise=initialise)
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


def build_network(settings: BackboneSettings, *, pretrained: bool = False, initialise: bool = True) -> nn.Module:
    """timm's feature extractor for these settings.

    Args:
        pretrained: with the weights that timm publishes.
        initialise: draw random weights; without, they are whatever the memory held, for a caller that loads them all.

    Raises:
        ModelError: timm does not know the name or refuses the options, or pretrained weights cannot be had.
    """
    options = {"features_only": True, "out_indices": settings.stages, **settings.options}
    with nullcontext() if initialise else _Unfilled():
        network = None if pretrained else create_lean(settings.name, **options)
        if network is None:
            network = _create_with_whole_timm(settings.name, pretrained, options)
    if settings.stride_in_first_conv:
        _move_strides_to_first_conv(network, settings.name)
    return network


def _create_with_whole_timm(name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    timm = import_timm()
    if not timm.is_model(name):
        raise ModelError(f"timm has no architecture {name!r}; `timm.list_models()` names them")
    if pretrained:
        options = {**options, "pretrained": True, "pretrained_cfg_overlay": {"file": _downloaded_weights(name)}}
    try:
        network: nn.Module = timm.create_model(name, **options)
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError, KeyError) as error:
        raise ModelError(f"timm cannot build {name!r} with stages {options['out_indices']}: {error}") from error
    return network


class _Unfilled(TorchFunctionMode):
    """Leaves the memory of parameters as it is: they are loaded next, and random numbers take up to half a second."""

    SKIPPED = frozenset(  # what `torch.nn.init` and timm's truncated normal are made of
        "normal_ uniform_ kaiming_normal_ kaiming_uniform_ erfinv_ mul_ add_ clamp_ constant_ fill_ zero_".split()
    )

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        target = args[0] if args else named.get("tensor")
        if isinstance(target, nn.Parameter) and getattr(function, "__name__", "") in self.SKIPPED:
            return target
        return function(*args, **named)


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

"""Bundles: everything a model is, in one safetensors file.

    bundle file ─► [Bundle: settings + tensors] ─► Model
                   this module

Tensors lie under `backbone.`, `whitening.`, `attention.`, `binarization.`, `comparator.`, `check.`; the metadata entry
`visil` is JSON (docs/formats.md). No pickle ever runs, and the content hash is checked on every load.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from visil.errors import ModelError
from visil.media.preprocessing import Preprocessing
from visil.model.backbone import BackboneSettings
from visil.model.network import NetworkSettings

FORMAT_VERSION = 1
PART_SAMPLES = 30  # samples a descriptor stands for


@dataclass(frozen=True)
class RegionSettings:
    """How stage maps become region vectors; see `visil.model.regions.region_vectors`."""

    scheme: str = "adaptive"
    grid: int = 3


@dataclass(frozen=True)
class BundleSettings:
    """The JSON of a bundle.

    Attributes:
        part_samples: samples of a part, each part has one descriptor; None: one descriptor a video (the papers).
        licence, training_data: of the weights, for a person to read.
    """

    name: str
    preprocessing: Preprocessing
    backbone: BackboneSettings
    regions: RegionSettings
    network: NetworkSettings
    part_samples: int | None = PART_SAMPLES
    licence: str = ""
    training_data: str = ""


@dataclass(frozen=True)
class Bundle:
    """Settings and tensors; float16 tensors are stored so and computed in float32."""

    settings: BundleSettings
    tensors: Mapping[str, Tensor] = field(repr=False)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of settings and tensors: two bundles of equal hash give equal vectors and scores."""
        digest = hashlib.sha256(json.dumps(asdict(self.settings), sort_keys=True).encode())
        for name in sorted(self.tensors):
            tensor = self.tensors[name].contiguous()
            digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy().data if tensor.numel() else b"")
        return digest.hexdigest()

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below `prefix.`, as float32, without it."""
        start = f"{prefix}."
        return {n.removeprefix(start): t.float() for n, t in self.tensors.items() if n.startswith(start)}

    def save(self, path: Path) -> None:
        """Write the bundle; an existing file is replaced at once or not at all."""
        header = {"format_version": FORMAT_VERSION, "hash": self.hash, **asdict(self.settings)}
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({n: t.contiguous() for n, t in self.tensors.items()}, partial, {"visil": json.dumps(header)})
            partial.replace(path)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: cannot be written ({error})") from error
        finally:
            with suppress(OSError):
                partial.unlink()


def load_bundle(path: Path) -> Bundle:
    """Read a bundle and check its hash.

    Raises:
        ModelError: no such file, not a bundle, made by a newer visil, or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["visil"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such bundle") from error
    except KeyError as error:
        raise ModelError(
            f"{path}: a safetensors file, but not a bundle of visil; `scripts/make_bundle.py` makes one"
        ) from error
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{path}: not a readable bundle ({error})") from error
    bundle = Bundle(_settings(path, header), tensors)
    if bundle.hash != header.get("hash"):
        raise ModelError(f"{path}: the bundle is damaged: its content does not match its hash; get it again")
    return bundle


def _settings(path: Path, header: Any) -> BundleSettings:
    try:
        version = header["format_version"]
        if version != FORMAT_VERSION:
            raise ModelError(f"{path}: bundle format {version}, this visil reads format {FORMAT_VERSION}; update one")
        given = {k: v for k, v in header.items() if k not in ("format_version", "hash")}
        parts = {
            "preprocessing": Preprocessing,
            "backbone": BackboneSettings,
            "regions": RegionSettings,
            "network": NetworkSettings,
        }
        for name, kind in parts.items():
            given[name] = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in given[name].items()})
        return BundleSettings(**given)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ModelError(f"{path}: the settings of the bundle are not valid ({error})") from error


def check_picture(preprocessing: Preprocessing) -> np.ndarray:
    """The fixed picture whose region vectors a bundle carries, uint8 [1, S, S, 3].

    Integer arithmetic only, so that it is the same on every machine: ramps, stripes and a checkerboard.
    """
    side = preprocessing.crop_px or preprocessing.size_px
    y, x = np.mgrid[:side, :side]
    red, green = 255 * x // side, 255 * y // side
    blue = 64 * ((x // 8 + y // 8) % 2) + 96 * ((x + 2 * y) // 16 % 2)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)[None]

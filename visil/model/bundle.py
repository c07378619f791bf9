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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from visil.errors import ModelError
from visil.media.preprocessing import Preprocessing
from visil.model.backbone import BackboneSettings
from visil.model.network import NetworkSettings
from visil.model.pyramid import region_weights
from visil.model.regions import LEVELS, SCHEMES
from visil.model.threads import one_thread

# 2: with `levels`, of the regions `pyramid`; 3: with `blank` and `bars`; 4: the regions `whole`, the bias after them;
# 5: with `shares` of the levels; 6: with `burstiness` of the network
FORMAT_VERSIONS = (1, 2, 3, 4, 5, 6)
SHARES_OFF = 1e-6  # that shares may miss 1 by
PARTS = ("backbone", "whitening", "attention", "binarization", "comparator", "check")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
PART_SAMPLES = 30  # samples a descriptor stands for
MAX_PART_SAMPLES = 100_000
MAX_GRID = 16  # regions a side of the `adaptive` scheme
MAX_LEVEL = 8  # of the `pyramid` scheme: regions a side


@dataclass(frozen=True)
class RegionSettings:
    """How stage maps become region vectors (see `visil.model.regions.region_vectors`), and what each counts.

    Attributes:
        shares: of the levels of `pyramid` in the score of a frame, adding up to 1; the windows of a level count
            alike. Empty: all windows of all levels do.
    """

    scheme: str = "adaptive"
    grid: int = 3
    levels: tuple[int, ...] = LEVELS
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ValueError(f"region scheme must be one of {', '.join(SCHEMES)}, got {self.scheme!r}")
        if not 1 <= self.grid <= MAX_GRID:
            raise ValueError(f"grid must lie between 1 and {MAX_GRID} regions a side, got {self.grid}")
        if self.levels != LEVELS and self.scheme != "pyramid":
            raise ValueError(f"levels are of the region scheme pyramid, not of {self.scheme}")
        ascending = list(self.levels) == sorted(set(self.levels))
        if not (self.levels and ascending and self.levels[0] >= 1 and self.levels[-1] <= MAX_LEVEL):
            raise ValueError(f"levels must ascend and lie between 1 and {MAX_LEVEL}, got {self.levels}")
        if self.shares and self.scheme != "pyramid":
            raise ValueError(f"shares are of the region scheme pyramid, not of {self.scheme}")
        is_one = abs(sum(self.shares) - 1) <= SHARES_OFF and all(share >= 0 for share in self.shares)
        if self.shares and not (len(self.shares) == len(self.levels) and is_one):
            raise ValueError(f"expected a share for each of the levels {self.levels}, 1 together, got {self.shares}")

    @property
    def weights(self) -> tuple[float, ...] | None:
        """Of every region of a frame in its score; None: all alike."""
        if not self.shares:
            return None
        return region_weights(self.levels, self.shares)


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

    def __post_init__(self) -> None:
        if self.preprocessing.sampling == "keyframes":
            raise ValueError("a bundle cannot say keyframes: it is a setting of a library, queries are sampled by time")
        if self.part_samples is not None and not 1 <= self.part_samples <= MAX_PART_SAMPLES:
            raise ValueError(f"part_samples must lie between 1 and {MAX_PART_SAMPLES}, got {self.part_samples}")

    @property
    def format_version(self) -> int:
        """The first format that can say this: an older visil refuses only what it does not know."""
        if self.network.burstiness:
            return 6
        if self.regions.shares:
            return 5
        if self.regions.scheme == "whole":
            return 4
        if self.preprocessing.blank == "flat-spots" or self.preprocessing.bars != "keep":
            return 3
        return 2 if self.regions.scheme == "pyramid" else 1

    def as_json(self) -> dict[str, Any]:
        """The settings as they are hashed, written and shown."""
        entries = asdict(self)
        if self.regions.scheme != "pyramid":
            del entries["regions"]["levels"]
        if not self.regions.shares:
            del entries["regions"]["shares"]
        if not self.network.burstiness:
            del entries["network"]["burstiness"]
        if self.format_version < 3:
            preprocessing = entries["preprocessing"]
            del preprocessing["bars"]
            preprocessing["skip_blank"] = preprocessing.pop("blank") != "keep"
        return entries


@dataclass(frozen=True)
class Bundle:
    """Settings and tensors; float16 tensors are stored so and computed in float32."""

    settings: BundleSettings
    tensors: Mapping[str, Tensor] = field(repr=False)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of settings and tensors: two bundles of equal hash give equal vectors and scores."""
        digest = hashlib.sha256(json.dumps(self.settings.as_json(), sort_keys=True).encode())
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
        settings = self.settings
        header = {"format_version": settings.format_version, "hash": self.hash, **settings.as_json()}
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({n: t.contiguous() for n, t in self.tensors.items()}, partial, {"visil": json.dumps(header)})
            with partial.open("rb+") as written:  # a rename may reach the disk before the content does
                os.fsync(written.fileno())
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
    with _opened(path) as file:
        header = _header(path, file)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    bundle = Bundle(_settings(path, header), tensors)
    if bundle.hash != header.get("hash"):
        raise ModelError(f"{path}: the bundle is damaged: its content does not match its hash; get it again")
    scheme = bundle.settings.regions.scheme
    if "whitening.bias" in tensors and scheme != "whole":  # of format 4, as those are
        raise ModelError(f"{path}: a bias after the regions {scheme}; only those of the scheme whole have one")
    check, bits = tensors.get("check.region_vectors"), bundle.settings.network.bits
    if check is None or check.ndim != 3 or len(check) != 1:
        raise ModelError(f"{path}: it lacks the region vectors of the check picture; get the bundle again")
    if bits is not None and bits % 8:
        raise ModelError(f"{path}: {bits} bits are no whole number of bytes")
    with one_thread():
        for name, tensor in tensors.items():
            if name.split(".")[0] not in PARTS:
                raise ModelError(f"{path}: unknown tensor {name!r}; known parts: {', '.join(PARTS)}")
            if tensor.is_floating_point() and tensor.dtype not in FLOATS:
                kind = str(tensor.dtype).removeprefix("torch.")
                raise ModelError(
                    f"{path}: tensor {name!r} is of {kind}, which visil does not read; convert it to float16"
                )
            if not (tensor.is_floating_point() and tensor.isfinite().all()):
                raise ModelError(f"{path}: tensor {name!r} holds NaN, infinite or whole numbers; get the bundle again")
    return bundle


def read_settings(path: Path) -> BundleSettings:
    """The settings of a bundle, without reading its tensors; raises as `load_bundle`, but for damaged tensors."""
    with _opened(path) as file:
        return _settings(path, _header(path, file))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such bundle") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{path}: not a readable bundle ({error})") from error


def _header(path: Path, file: Any) -> Any:
    text = (file.metadata() or {}).get("visil")
    if text is None:
        raise ModelError(f"{path}: a safetensors file, but not a bundle of visil; `scripts/make_bundle.py` makes one")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ModelError(f"{path}: the settings of the bundle are not valid (nested too deeply)") from error


def _settings(path: Path, header: Any) -> BundleSettings:
    try:
        version = header["format_version"]
        if version not in FORMAT_VERSIONS:
            known = f"{FORMAT_VERSIONS[0]} to {FORMAT_VERSIONS[-1]}"
            raise ModelError(f"{path}: bundle format {version}, this visil reads formats {known}; update one")
        given = {name: value for name, value in header.items() if name not in ("format_version", "hash")}
        if version < 3:
            given["preprocessing"] = _rules_named(given["preprocessing"])
        settings: BundleSettings = _typed(BundleSettings, given)
        if version != settings.format_version:
            raise ValueError(f"they are of format {settings.format_version}, not {version}")
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError) as error:
        raise ModelError(f"{path}: the settings of the bundle are not valid ({error})") from error
    return settings


def _rules_named(preprocessing: dict[str, Any]) -> dict[str, Any]:
    """Settings of formats 1 and 2, which had one rule for blank frames and kept all bars, in the terms of format 3."""
    if {"blank", "bars"} & set(preprocessing):
        raise TypeError("blank and bars are of format 3")
    others = {name: value for name, value in preprocessing.items() if name != "skip_blank"}
    skips_blank = _typed(bool, preprocessing.get("skip_blank", True))
    return {**others, "blank": "flat" if skips_blank else "keep", "bars": "keep"}


def _typed(kind: Any, value: Any) -> Any:
    """A value of JSON as the annotation says, or TypeError; lists become tuples, objects dataclasses."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        kinds = get_type_hints(kind)
        if not isinstance(value, dict) or set(value) - set(kinds):
            raise TypeError(f"{cast(Any, kind).__name__} does not know {sorted(set(value) - set(kinds))}")
        return cast(Any, kind)(**{name: _typed(kinds[name], entry) for name, entry in value.items()})
    if origin in (Union, UnionType):
        return None if value is None else _typed(next(a for a in arguments if a is not NoneType), value)
    if origin is tuple:
        many = arguments[1:] == (Ellipsis,)
        if not isinstance(value, list) or not (many or len(value) == len(arguments)):
            raise TypeError(f"{value!r} is no list of {'numbers' if many else len(arguments)}")
        return tuple(_typed(arguments[0], entry) for entry in value)
    plain = origin or kind
    if plain is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
        raise TypeError(f"{value!r} is no {plain.__name__}")
    if isinstance(value, str):
        value.encode()  # half of a surrogate pair fits into no file
    if isinstance(value, float) and not isfinite(value):
        raise TypeError(f"{value!r} is not finite")
    return value


def check_picture(preprocessing: Preprocessing) -> np.ndarray:
    """The fixed picture whose region vectors a bundle carries, uint8 [1, S, S, 3].

    Integer arithmetic only, so that it is the same on every machine: ramps, stripes and a checkerboard.
    """
    side = preprocessing.crop_px or preprocessing.size_px
    y, x = np.mgrid[:side, :side]
    red, green = 255 * x // side, 255 * y // side
    blue = 64 * ((x // 8 + y // 8) % 2) + 96 * ((x + 2 * y) // 16 % 2)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)[None]

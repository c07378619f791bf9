"""A network of timm without `import timm`.

    name of an architecture ─► [its family's module, alone] ─► network

`import timm` takes 1.5 to 2.7 s beyond `import torch`: it imports every family of networks, torchvision (and with it
torch's compiler) and the hub's client. A network needs none of these, only `timm.models.FAMILY` and `timm.layers`. So
they are imported here by their own names beside placeholders for the rest:

    timm, timm.models      the packages, without what their `__init__` imports
    timm.data              the constants (mean, std ...) that families take from it
    torchvision            `FrozenBatchNorm2d`, which timm only compares with and which cannot be made here
    huggingface_hub        absent, as timm allows: nothing is downloaded here

Afterwards all of this is taken out of `sys.modules` again: an `import timm` anywhere else is the ordinary, whole one.
Nothing but the imports differs: the code that builds the network is timm's own, so it is the same network. What the
private copy costs: its classes are not those of a later `import timm`, so the network cannot be pickled by reference.

Whatever is not as expected (another layout of timm, a network that needs more) is no error but None, and the caller
imports timm whole.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from torch import nn

REPLACED = ("timm", "torchvision")
_lock = threading.Lock()  # one at a time changes `sys.modules`


def create_lean(name: str, **options: Any) -> nn.Module | None:
    """`timm.create_model(name, **options)` from a private copy of the few modules it takes.

    Returns:
        The network, or None where only the whole timm can make it or tell what is wrong; also where timm or torchvision
        is imported already. An import of timm that another thread begins in these 0.1 s may see the placeholders.
    """
    with _lock:
        if any(_is_of(REPLACED, module) for module in sys.modules):
            return None
        try:
            with _placeholders():
                import_module(f"timm.models.{_family(name)}")
                network: nn.Module = import_module("timm.models._factory").create_model(name, **options)
        except Exception:  # the whole timm does it, or says why not
            return None
        return network


@contextmanager
def _placeholders() -> Iterator[None]:
    has_hub = "huggingface_hub" in sys.modules
    try:
        for package in ("timm", "timm.models", "timm.data"):
            _unexecuted(package)
        vars(sys.modules["timm"])["__version__"] = import_module("timm.version").__version__
        vars(sys.modules["timm.data"]).update(vars(import_module("timm.data.constants")))
        for package in ("torchvision", "torchvision.ops", "torchvision.ops.misc"):
            sys.modules[package] = ModuleType(package)
            sys.modules[package].__path__ = []  # whatever else is asked of it cannot be found
        vars(sys.modules["torchvision.ops.misc"])["FrozenBatchNorm2d"] = _FrozenBatchNorm2d
        modules: dict[str, ModuleType | None] = cast(Any, sys.modules)
        modules.setdefault("huggingface_hub", None)  # Python's way to say that there is none
        yield
    finally:
        for module in [name for name in sys.modules if _is_of(REPLACED, name)]:
            del sys.modules[module]
        if not has_hub:
            del sys.modules["huggingface_hub"]


def _is_of(packages: tuple[str, ...], module: str) -> bool:
    return module.split(".")[0] in packages


def _unexecuted(package: str) -> None:
    """A package whose submodules can be imported, without the code of its own `__init__`."""
    spec = find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(package)
    sys.modules[package] = module_from_spec(spec)


def _family(name: str) -> str:
    """The one module of `timm.models` that registers this architecture."""
    entry = f"\n@register_model\ndef {name}(".encode()
    (folder,) = sys.modules["timm.models"].__path__
    (family,) = (path.stem for path in Path(folder).glob("*.py") if entry in path.read_bytes())
    return family


class _FrozenBatchNorm2d(nn.Module):
    """No layer is one of these."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("frozen batch norms need torchvision")

"""visil: video near-duplicate and incident retrieval.

>>> import visil
>>> visil.__version__
'0.1.0'

Names load what they need when they are first used: `import visil` costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from visil.errors import DataError, LibraryError, MediaError, ModelError, VisilError

if TYPE_CHECKING:
    from visil.library.library import Library
    from visil.model.model import Model, load_model
    from visil.values import Comparison, EncodedVideo, Frames, Match, RegionVectors, VideoInfo

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "DataError",
    "EncodedVideo",
    "Frames",
    "Library",
    "LibraryError",
    "Match",
    "MediaError",
    "Model",
    "ModelError",
    "RegionVectors",
    "VideoInfo",
    "VisilError",
    "load_model",
]

_HOMES = {
    "Library": "visil.library.library",
    "Model": "visil.model.model",
    "load_model": "visil.model.model",
    **dict.fromkeys(("Comparison", "EncodedVideo", "Frames", "Match", "RegionVectors", "VideoInfo"), "visil.values"),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'visil' has no attribute {name!r}")

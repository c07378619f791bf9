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
from visil.values import EncodedVideo, Frames, Match, RegionVectors, VideoInfo

if TYPE_CHECKING:
    from visil.library.library import Library
    from visil.model.model import Model, load_model

__version__ = "0.1.0"

__all__ = [
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

_HEAVY = {"Library": "visil.library.library", "Model": "visil.model.model", "load_model": "visil.model.model"}


def __getattr__(name: str) -> Any:
    if name in _HEAVY:
        return getattr(import_module(_HEAVY[name]), name)
    raise AttributeError(f"module 'visil' has no attribute {name!r}")

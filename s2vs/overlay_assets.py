"""Fonts and emoji for the strong view, out of the package AugLy 1.0, as published.

Its code is MIT. Of its 364 fonts only families under the SIL Open Font License are taken: Noto, IBM Plex, Montserrat;
others in it, such as Impact, have licences of their own. The emoji are Twemoji, CC BY 4.0. Nothing of it is in this
repository, nor in what is trained: `pip install "visil[train]"` brings it.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from visil.errors import DataError

FONT_FAMILIES = ("Noto", "IBMPlex", "Montserrat")


@dataclass(frozen=True)
class OverlayAssets:
    """Files of fonts (TrueType) and of emoji (PNG, 72 px)."""

    fonts: tuple[Path, ...]
    emoji: tuple[Path, ...]


@cache
def augly_assets() -> OverlayAssets:
    """What the installed AugLy holds of it.

    Raises:
        DataError: it is not installed, or another version without these files.
    """
    package = importlib.util.find_spec("augly")
    folders = package.submodule_search_locations if package else None
    if not folders:
        raise DataError('the overlays of the strong view need the package augly: pip install "visil[train]"')
    assets = Path(folders[0], "assets")
    fonts = [file for file in sorted(assets.glob("fonts/*.ttf")) if file.name.startswith(FONT_FAMILIES)]
    emoji = sorted(assets.glob("twemojis/*/*.png"))
    if not fonts or not emoji:
        raise DataError(f'{assets}: holds no fonts or no emoji; pip install "augly==1.0.*"')
    return OverlayAssets(tuple(fonts), tuple(emoji))

"""Bundles by name: those inside the package and those in the platform's cache folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import platformdirs

from visil.errors import ModelError
from visil.model.bundle import load_bundle

SUFFIX = ".safetensors"


def bundle_folders() -> list[Path]:
    """Where names are looked up, in this order."""
    return [Path(__file__).parent / "bundles", Path(platformdirs.user_cache_dir("visil")) / "bundles"]


def named_bundles() -> dict[str, Path]:
    """Every bundle that can be loaded by name."""
    found: dict[str, Path] = {}
    for folder in reversed(bundle_folders()):
        found.update({path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))})
    return dict(sorted(found.items()))


def find_bundle(name: str | Path) -> Path:
    """The file of a bundle; an existing path wins over a name.

    Raises:
        ModelError: neither a file nor a known name.
    """
    if Path(name).is_file():
        return Path(name)
    bundles = named_bundles()
    if str(name) in bundles:
        return bundles[str(name)]
    raise ModelError(f"{name}: neither a bundle file nor a known name (known: {', '.join(bundles) or 'none'})")


def bundle_of_hash(hash: str) -> str | None:
    """The name of a bundle that has this hash, if there is one."""
    for name, path in named_bundles().items():
        with suppress(ModelError):
            if load_bundle(path).hash == hash:
                return name
    return None

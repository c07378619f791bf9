"""Gives back the space that a library does not need: older versions of its table, generations it has left behind."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from visil.library.disk import is_left_by_a_trial
from visil.library.reindexing import PENDING
from visil.library.second import SECOND
from visil.library.settings import LibrarySettings, read_settings
from visil.library.store import Store

# What a library makes in its folder, besides its settings and its lock: bundles, tables, half-written files.
_OURS = re.compile(r"model(-\d+)?\.safetensors|videos(-\d+)?\.lance|\.(model|library|reindex).*\.partial")


def compact_library(path: Path, settings: LibrarySettings, store: Store) -> int:
    """Remove what nothing refers to, then compact the table; the caller holds the writer lock.

    A move to another bundle that is not finished is kept.

    Returns:
        Bytes given back.
    """
    before = folder_bytes(path)
    in_use = {settings.bundle_file, settings.table_file}
    if (path / PENDING).exists():
        begun = read_settings(path, name=PENDING)
        in_use |= {begun.bundle_file, begun.table_file}
    for entry in (*path.iterdir(), *(path / SECOND).glob("*")):
        is_ours = _OURS.fullmatch(entry.name) or is_left_by_a_trial(entry.name)
        if is_ours and entry.name not in in_use:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    store.compact()
    return max(0, before - folder_bytes(path))


def folder_bytes(path: Path) -> int:
    """Size of all files below a folder."""
    return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())

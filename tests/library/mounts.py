"""Mounts for tests, where mounting is allowed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(arguments: list[str], place: Path) -> Iterator[Path]:
    """Mount something at a new folder, or skip the test where that is not allowed."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command here")
    place.mkdir()
    ended = subprocess.run(["mount", *arguments, str(place)], capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.skip(f"mounting needs root: {ended.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)

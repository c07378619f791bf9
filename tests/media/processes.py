"""Child processes, without anything that has to be installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def running_workers() -> list[int]:
    """Process ids of the decoding workers that this process has started and that still run."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("children are looked up in /proc, which this system does not have")
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        if parent == os.getpid() and b"visil.media.worker" in command:
            found.append(int(stat.parent.name))
    return found

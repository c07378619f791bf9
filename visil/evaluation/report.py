"""What a benchmark prints and saves: a table for people, JSON with all that is needed to run it again."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("visil", "torch", "timm", "av", "numpy", "pylance", "imagehash")


def format_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned text: the first column to the left, the others to the right; floats with four digits."""
    cells = [[f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
        ).rstrip()
        for line in (columns, *cells)
    )


def run_facts(repository: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Commit, versions, machine and threads of this run beside its settings (the seed is one of them)."""
    import torch  # only benchmarks ask

    return {
        "commit": _commit(repository),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "machine": platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "settings": {
            name: str(value) if isinstance(value, Path) else value for name, value in settings.items()
        },
    }


def write_json(path: Path, facts: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """One object: the facts of the run and its results."""
    path.write_text(json.dumps({**facts, "results": results}, indent=1) + "\n", encoding="utf-8")


def _commit(repository: Path) -> str | None:
    """Hash of the checked-out commit, with `-dirty` if files were changed; None outside a checkout."""
    try:
        git = subprocess.run(
            ["git", "-C", str(repository), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return git.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

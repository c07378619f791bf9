"""Fixtures that all tests of the commands share."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.commands import Ended, Run
from visil.cli.main import main

if TYPE_CHECKING:
    from visil.model.model import Model


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `visil ...` in this process, with a home and a terminal that nobody else uses."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VISIL_LIBRARY", raising=False)

    def run_command(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["visil", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run_command


@pytest.fixture(scope="session")
def bundle_file(quick_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "quick.safetensors"
    quick_model.bundle.save(path)
    return path


@pytest.fixture(scope="session")
def indexed(quick_model: Model, made_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of the six clips, which nobody changes."""
    from visil.library.library import Library

    path = tmp_path_factory.mktemp("cli") / "library"
    Library.create(path, quick_model).add([made_clips], workers=2)
    return path


@pytest.fixture
def library(indexed: Path, tmp_path: Path) -> Path:
    """A copy of that library that a test may change."""
    return Path(shutil.copytree(indexed, tmp_path / "library"))

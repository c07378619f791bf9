"""The training of a backbone needs torch, timm, numpy and safetensors alone: it must run where only these are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import visil

ROOM = Path(visil.__file__).parent / "s2vs"
SHARED = ("checkpoints", "claims", "loop", "losses")  # by all trainings
MODULES = [f"visil.s2vs.{name}" for name in SHARED]
MODULES += sorted(f"visil.s2vs.backbone.{path.stem}" for path in (ROOM / "backbone").glob("*.py"))
# What torch and timm import themselves is theirs; no module of visil that is loaded here may name anything else.
GUARD = """
import builtins, sys
ALLOWED = {*sys.stdlib_module_names, "torch", "timm", "numpy", "safetensors", "visil"}
unguarded = builtins.__import__

def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "")
    if level == 0 and importer.split(".")[0] == "visil" and name.split(".")[0] not in ALLOWED:
        raise ImportError(f"{importer} imports {name}")
    return unguarded(name, globals, locals, fromlist, level)

builtins.__import__ = guarded
"""
LOADED = """
loaded = {name.split(".")[0] for name in sys.modules}
assert loaded.isdisjoint({"av", "faiss", "einops", "lance", "pyarrow", "click", "rich", "imagehash"}), loaded
rooms = {".".join(name.split(".")[:2]) for name in sys.modules if name.count(".") >= 2 and name.startswith("visil.")}
assert rooms <= {"visil.s2vs", "visil.model", "visil.media"}, rooms
"""
TWO_STEPS = """
from pathlib import Path
import torch
from visil.s2vs.backbone.overlays import Stickers
from visil.s2vs.backbone.pictures import PackedPictures
from visil.s2vs.backbone.teacher import TeacherVectors
from visil.s2vs.backbone.training import Training
from visil.s2vs.backbone.training_settings import TrainingSettings

stickers = Stickers(*torch.zeros(3, 1, 8, 8, 4, dtype=torch.uint8))
pictures = PackedPictures(torch.randint(256, (8, 32, 32, 3)).to(torch.uint8), torch.arange(8), stickers, 8, (), "")
teacher = TeacherVectors(torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(8, 2, 4), torch.randn(8, 2, 12).half())
settings = TrainingSettings(backbone="test_resnet", dim=8, sides_px=((0.0, 32),), steps=2, batch_size=6, num_friends=2)
Training(settings, pictures, teacher, Path(sys.argv[1]), device="cpu").run()
"""


def run(program, *arguments):
    return subprocess.run([sys.executable, "-P", "-c", program, *arguments], capture_output=True, text=True, cwd="/")


def test_there_are_modules():
    assert "visil.s2vs.backbone.student" in MODULES
    assert all((ROOM / f"{name}.py").exists() for name in SHARED)


def test_every_module_is_imported_where_nothing_else_may_be():
    ended = run(GUARD + "".join(f"import {module}\n" for module in MODULES) + LOADED)
    assert not ended.returncode, ended.stderr


@pytest.mark.parametrize("module", ["visil.media.pictures", "visil.library.library"])
def test_the_guard_holds(module):
    ended = run(GUARD + f"import {module}\n")
    assert "ImportError: visil." in ended.stderr


def test_a_run_needs_nothing_else(tmp_path):
    ended = run(GUARD + TWO_STEPS + LOADED, str(tmp_path))
    assert not ended.returncode, ended.stderr
    assert (tmp_path / "step-0000002" / "index.json").exists()

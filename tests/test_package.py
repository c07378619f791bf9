"""The package as a whole: what an import costs, what it leaves alone, what it offers."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import visil
from visil.defaults import DEFAULT_BUNDLE
from visil.model.bundle import load_bundle
from visil.model.catalogue import find_bundle

ROOT = Path(__file__).resolve().parents[1]


def modules_after(statement: str) -> set[str]:
    """Names of all modules that a fresh interpreter has loaded after a statement, run outside the checkout."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    ended = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True, cwd="/")
    return set(json.loads(ended.stdout.splitlines()[-1]))


def packages(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


HEAVY = {"torch", "timm", "torchvision", "lance", "pyarrow", "av", "faiss", "einops", "safetensors"}


class TestImports:
    def test_the_command_line_loads_no_other_room_and_nothing_heavy(self):
        loaded = modules_after("import visil.cli.main")
        assert not {
            name for name in loaded if name.startswith(("visil.s2vs", "visil.dns", "visil.library", "visil.model"))
        }
        assert packages(loaded).isdisjoint(HEAVY)

    def test_the_package_alone_loads_nothing_heavy(self):
        assert packages(modules_after("import visil")).isdisjoint(HEAVY)

    def test_a_model_is_loaded_without_timm(self):
        loaded = packages(modules_after("import visil\nvisil.load_model(device='cpu')"))
        assert "torch" in loaded
        assert loaded.isdisjoint({"timm", "torchvision", "lance", "av"})

    def test_encoding_and_comparing_load_little_beside_torch(self, made_clips):
        clip = str(made_clips / "clip_0.mp4")
        loaded = modules_after(f"import visil\nvisil.load_model(device='cpu').compare({clip!r}, {clip!r})")
        assert "torch" in loaded
        assert packages(loaded).isdisjoint({"timm", "torchvision", "huggingface_hub", "sympy", "lance", "av"})
        assert "torch._dynamo" not in loaded  # its compiler: a second

    def test_a_library_never_loads_the_training_rooms(self):
        loaded = modules_after("import visil.library.library, visil.evaluation.metrics, visil.synth.scenes")
        assert not {name for name in loaded if name.startswith(("visil.s2vs", "visil.dns"))}
        assert "timm" not in packages(loaded)

    def test_our_dns_and_dnspython_live_side_by_side(self):
        loaded = modules_after("import dns.resolver\nimport visil.s2vs.losses, visil.dns\nassert dns.resolver.Resolver")
        assert {"dns.resolver", "visil.s2vs.losses", "visil.dns"} <= loaded
        assert "s2vs" not in packages(loaded)

    @pytest.mark.parametrize("name", ["s2vs", "dns"])
    def test_a_linked_room_is_no_package_of_its_own_even_beside_the_checkout(self, name):
        program = f"import {name}; print({name}.__file__)"  # a folder that is no package has no file
        ended = subprocess.run(
            [sys.executable, "-P", "-c", program],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert ended.stdout.strip() != str(ROOT / name / "__init__.py")
        assert ended.returncode == 0, ended.stderr


# Each imports earlier ones.
ROOMS = ("align", "synth", "media", "model", "library", "report", "evaluation", "benchmarks", "cli")


def rooms_imported_by(room: str) -> set[str]:
    """Rooms that any module of a room names in an import, inside functions too."""
    folder = Path(visil.__file__).parent
    names = set()
    for module in (folder / room).glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
    return {name.split(".")[1] for name in names if name.startswith("visil.")} & set(ROOMS)


class TestRooms:
    # startup.py times the import of the command line, which it has to name
    ALLOWED = frozenset({("benchmarks", "cli")})

    @pytest.mark.parametrize("room", ROOMS)
    def test_a_room_imports_only_rooms_before_it(self, room):
        above = set(ROOMS[ROOMS.index(room) + 1 :])
        assert {(room, other) for other in rooms_imported_by(room) & above} <= self.ALLOWED

    def test_the_product_does_not_import_its_benchmarks(self):
        assert "benchmarks" not in rooms_imported_by("cli")


class TestSurface:
    def test_every_public_name_resolves(self):
        for name in visil.__all__:
            assert getattr(visil, name).__module__.startswith("visil.")

    def test_an_unknown_name_is_an_attribute_error(self):
        with pytest.raises(AttributeError, match="module 'visil' has no attribute 'serach'"):
            visil.serach  # noqa: B018

    def test_every_error_is_a_visil_error(self):
        for name in ("MediaError", "ModelError", "LibraryError", "DataError"):
            assert issubclass(getattr(visil, name), visil.VisilError)

    def test_the_version_is_that_of_the_distribution(self):
        assert metadata.version("visil") == visil.__version__

    def test_one_small_bundle_is_shipped_in_half_precision(self):
        (path,) = (Path(visil.__file__).parent / "model" / "bundles").iterdir()
        assert path.stem == DEFAULT_BUNDLE
        assert path.stat().st_size < 10e6
        assert path == find_bundle(DEFAULT_BUNDLE)
        maps = {n: t for n, t in load_bundle(path).tensors.items() if n.startswith("backbone.") and t.ndim > 1}
        assert {str(tensor.dtype) for tensor in maps.values()} == {"torch.float16"}

    def test_types_are_shipped(self):
        assert (Path(visil.__file__).parent / "py.typed").is_file()

    def test_the_console_command_is_ours(self):
        (entry,) = (e for e in metadata.distribution("visil").entry_points if e.group == "console_scripts")
        assert (entry.name, entry.value) == ("visil", "visil.cli.main:main")

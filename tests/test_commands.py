"""Suggested commands can be pasted into a shell, whatever a library is called; no message holds one that cannot."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from visil.cli.main import COMMANDS
from visil.commands import repair_command, visil_command

VISIL = Path(__file__).resolve().parents[1] / "visil"
NEEDS_NO_LIBRARY = {"visil doctor", "visil evaluate"}


@pytest.mark.parametrize("name", ["library", "my videos", "a'b", "$HOME", "-x"])
def test_a_shell_reads_them_as_they_were_meant(name):
    command = visil_command("remove", "a b.mp4", library=Path("/mnt") / name)
    assert shlex.split(command) == ["visil", "remove", "a b.mp4", "--library", f"/mnt/{name}"]


def test_a_name_that_looks_like_an_option_stands_behind_all_options():
    assert visil_command("remove", library="/a", id="-x.mp4") == "visil remove --library /a -- -x.mp4"
    assert visil_command("remove", library="/a", id="x.mp4") == "visil remove x.mp4 --library /a"


def test_a_repair_has_its_options_before_the_library():
    assert repair_command("/a", "--to-version", 3) == "visil verify --repair --to-version 3 --library /a"


def test_every_command_in_a_message_is_made_by_them():
    """Texts in backticks, but for docstrings, that name a command that works on a library."""
    suggested = re.compile(rf"visil (?:{'|'.join(COMMANDS)})\b")
    found = {}
    for module in VISIL.rglob("*.py"):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, DOCUMENTED)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in docstrings:
                names = set(suggested.findall(node.value)) - NEEDS_NO_LIBRARY
                if names:
                    found[f"{module.relative_to(VISIL)}:{node.lineno}"] = names
    assert found == {}


DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

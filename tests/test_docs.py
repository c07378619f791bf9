"""The pages that people write by hand keep up with the code, and the scripts with the package."""

from __future__ import annotations

import ast
import re
from collections import Counter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST_DECISION = 10  # lines


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "room",
    ["visil/media", "visil/library", "visil/model", "visil/align", "visil/evaluation", "s2vs", "s2vs/backbone", "dns"],
)
def test_the_modules_of_a_room_are_those_of_its_table(room):
    heading = re.escape(f"`{room}/`, ")
    (table,) = re.findall(rf"(?m)^{heading}[^\n]*:\n\n((?:\|[^\n]*\n)+)", page("docs/architecture.md"))
    named = Counter(name for row in table.splitlines() for name in re.findall(r"`(\w+\.py)`", row.split("|")[1]))
    assert named == Counter(path.name for path in (ROOT / room).glob("*.py") if path.name != "__init__.py")


def test_decisions_are_numbered_in_order_and_short():
    _, *decisions = re.split(r"(?m)^## ", page("docs/decisions.md"))
    assert [int(decision.split(".")[0]) for decision in decisions] == list(range(1, len(decisions) + 1))
    for decision in decisions:
        lines = decision.splitlines()[1:]
        assert "" not in lines[:-1] and len(lines) - (lines[-1] == "") <= LONGEST_DECISION, decision
        assert decision is decisions[-1] or lines[-1] == ""


def test_a_release_has_every_heading_once_and_says_nothing_twice():
    _, *releases = re.split(r"(?m)^## ", page("CHANGELOG.md"))
    for release in releases:
        lines = [line for line in release.splitlines()[1:] if line]
        assert [line for line, count in Counter(lines).items() if count > 1] == []
        assert not re.search(r"\n\n(?!### )", release.split("\n", 2)[2].rstrip())


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_a_script_imports_what_there_is(script):
    """Nothing else of most scripts is run by a test."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("visil"):
            module = import_module(str(node.module))
            unknown = [name.name for name in node.names if not hasattr(module, name.name)]
            assert [name for name in unknown if find_spec(f"{node.module}.{name}") is None] == []

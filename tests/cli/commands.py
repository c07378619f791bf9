"""How tests of the commands run them, and what they saw."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    def rows(self) -> list[dict[str, Any]]:
        """The lines of a jsonl answer."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ended]


def run_fresh(*arguments: str | Path, **options: Any) -> Ended:
    """Run `visil ...` in a fresh interpreter."""
    command = [sys.executable, "-m", "visil.cli.main", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def loaded_by(*arguments: str | Path, home: Path) -> set[str]:
    """Packages that a command imports, in a fresh interpreter, and it must end well."""
    program = (
        "import json, sys\n"
        "from visil.cli.main import main\n"
        f"sys.argv = {['visil', *map(str, arguments)]!r}\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as ended:\n"
        "    print(json.dumps([ended.code, sorted({name.split('.')[0] for name in sys.modules})]))\n"
    )
    environment = {**os.environ, "XDG_DATA_HOME": str(home)}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    status, packages = json.loads(ended.stdout.splitlines()[-1])
    assert not status, ended.stderr
    return set(packages)


def assert_one_line_error(ended: Ended, message: str) -> None:
    """Status 2, nothing on standard output, one line on standard error that says this."""
    assert (ended.status, ended.out) == (2, "")
    lines = [line for line in ended.err.splitlines() if line]
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("visil: ")
    assert re.search(message, lines[0]), lines[0]

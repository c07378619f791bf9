"""Runs the tests that need no network under every supported Python on this machine, with the newest packages.

For each Python an environment is made with the newest release of every dependency, PyAV among them, from wheels alone.
torch and timm are left out, since a build of torch is large and not to be had everywhere; tests that want them are
skipped. --torch installs them too, in the versions of constraints.txt. Run are all of tests/media and
tests/evaluation, and the tests of the command line's help.
    python scripts/check_pythons.py
    python scripts/check_pythons.py --python /opt/python3.13/bin/python3 --work ~/environments
Pythons are looked for where --python says, on the PATH and among those of pyenv, the first of each version counts.
Printed is how many tests passed, failed and were skipped under each. Exit status: 0 none failed; 1 a test failed or an
environment could not be made (a package without a wheel for that Python, by pip's words); 2 there is no Python.
About 3 minutes a Python on 2 cores, and 1 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
TESTS = ("tests/media", "tests/evaluation", "tests/cli/test_help.py")
HEAVY = ("torch", "timm")
COLUMNS = ("Python", "PyAV", "numpy", "passed", "failed", "skipped")
TELL_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"
TELL_VERSIONS = (
    "from importlib.metadata import version; import platform; "
    "print(platform.python_version(), version('av'), version('numpy'))"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, action="append", default=[], help="an interpreter; may be repeated")
    parser.add_argument("--torch", action="store_true", help="install torch and timm too")
    parser.add_argument("--work", type=Path, help="where environments are made and kept (default: a temporary folder)")
    options = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pythons = find_pythons(supported_versions(project), options.python)
    if not pythons:
        print(f"no Python of {', '.join(supported_versions(project))} is here; name one with --python", file=sys.stderr)
        raise SystemExit(2)
    rows = []
    with tempfile.TemporaryDirectory(prefix="visil-pythons-") as temporary:
        for version, python in pythons.items():
            environment = (options.work or Path(temporary)) / version
            print(f"{version}: {python}", flush=True)
            try:
                own_python = make_environment(python, environment, requirements(project, with_torch=options.torch))
                rows.append([*run([own_python, "-c", TELL_VERSIONS]).split(), *counts(own_python, environment)])
            except subprocess.CalledProcessError as error:
                print(error.stdout, f"{version}: {' '.join(map(str, error.cmd))} failed", sep="\n", flush=True)
                rows.append([version, "", "", 0, 1, 0])
    for row in [COLUMNS, *rows]:
        print("".join(f"{cell!s:<9}" for cell in row).rstrip())
    raise SystemExit(any(failed for *_, failed, _ in rows))


def supported_versions(project: dict) -> list[str]:
    """Those that the package's classifiers name."""
    versions = (re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", name) for name in project["classifiers"])
    return [version[1] for version in versions if version]


def find_pythons(versions: Sequence[str], named: Sequence[Path]) -> dict[str, Path]:
    """Version -> interpreter, for those of the versions that are here."""
    found: dict[str, Path] = {}
    for python in [*named, *candidates(versions)]:
        try:
            version = run([python, "-c", TELL_VERSION]).strip()
        except (OSError, subprocess.CalledProcessError):  # a shim of pyenv that leads nowhere
            continue
        found.setdefault(version, python)
    return {version: found[version] for version in versions if version in found}


def candidates(versions: Sequence[str]) -> Iterator[Path]:
    """What may be an interpreter of one of these versions."""
    yield from (Path(path) for version in versions if (path := shutil.which(f"python{version}")))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for version in versions:
        yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
    yield Path(sys.executable)


def requirements(project: dict, *, with_torch: bool) -> list[str]:
    """What visil and its tests need."""
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return [line for line in wanted if with_torch or not re.match(rf"({'|'.join(HEAVY)})\b", line)]


def make_environment(python: Path, folder: Path, wanted: Sequence[str]) -> Path:
    """An environment with the newest of what is wanted and this checkout's visil; its interpreter.

    Raises:
        CalledProcessError: it cannot be made.
    """
    run([python, "-m", "venv", folder])
    own_python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [own_python, "-m", "pip", "install", "--quiet"]
    constraints = ["-c", ROOT / "scripts" / "constraints.txt"]
    run([*install, "--upgrade", "--upgrade-strategy", "eager", "--only-binary", ":all:", *constraints, *wanted])
    run([*install, "--no-deps", "--editable", ROOT])
    return own_python


def counts(python: Path, folder: Path) -> tuple[int, int, int]:
    """How many tests passed, failed and were skipped; what failed is printed.

    Raises:
        CalledProcessError: the tests could not be run.
    """
    report = folder / "tests.xml"
    report.unlink(missing_ok=True)
    command = [python, "-m", "pytest", "--quiet", "--numprocesses=auto", f"--junitxml={report}", *TESTS]
    done = subprocess.run(command, cwd=ROOT, env=variables(), stdout=subprocess.PIPE, text=True, check=False)
    if not report.exists():
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout)
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    total, failures, errors, skipped = (int(suite.attrib[n]) for n in ("tests", "failures", "errors", "skipped"))
    if failures or errors:
        print(done.stdout, flush=True)
    return total - failures - errors - skipped, failures + errors, skipped


def run(command: Sequence[str | Path]) -> str:
    """What a command prints.

    Raises:
        CalledProcessError: it failed.
    """
    output = subprocess.run(
        command, env=variables(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    return output.stdout


def variables() -> dict[str, str]:
    """The environment without the one that this script runs in; one thread a process, as in scripts/test."""
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {"OMP_NUM_THREADS": "1", **own}


if __name__ == "__main__":
    main()

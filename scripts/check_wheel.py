"""Builds the wheel, installs it into an empty environment and runs it there with the network off.

What is packed: the files that git knows, as they are in the checkout. Checked: the wheel has exactly the bundle `mini`
and is below 25 MB; `visil models show mini --check` and `visil demo` end well, in a home folder that is empty. The
network is off in a namespace without any interface (Linux, `unshare`); where that is not allowed, addresses of proxies
lead nowhere, which stops well-behaved programs only. The output says which it was.
    python scripts/check_wheel.py
About 3 minutes; pip fetches the dependencies (0.2 GB for the CPU build of torch) before the network goes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_BYTES = 25_000_000
BUNDLES = ["visil/model/bundles/mini.safetensors"]
NOWHERE = "http://127.0.0.1:9"  # the port of `discard`: nobody listens
CONNECT = "import socket; socket.create_connection(('1.1.1.1', 53), timeout=3)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--constraints", type=Path, default=ROOT / "scripts" / "constraints.txt", help="for pip")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="visil-wheel-") as temporary:
        folder = Path(temporary)
        wheel = build(folder)
        look_into(wheel)
        run([sys.executable, "-m", "venv", str(folder / "environment")])
        python = folder / "environment" / ("Scripts" if os.name == "nt" else "bin") / "python"
        run([str(python), "-m", "pip", "install", "--quiet", "-c", str(options.constraints.resolve()), str(wheel)])
        prefix, variables = without_network(python)
        home = folder / "home"
        home.mkdir()
        variables |= {"HOME": str(home), "XDG_CACHE_HOME": str(home), "XDG_DATA_HOME": str(home)}
        for arguments in (["models", "show", "mini", "--check"], ["demo"]):
            run([*prefix, str(python), "-m", "visil.cli.main", *arguments], cwd=home, variables=variables)
    print("the wheel works with the network off")


def build(folder: Path) -> Path:
    """The wheel of the files that git knows: a build in the checkout would also pack what older builds left there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    for name in filter(None, os.fsdecode(listed).split("\0")):
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "source" / name, follow_symlinks=False)
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(folder / "source")])
    (wheel,) = folder.glob("*.whl")
    return wheel


def look_into(wheel: Path) -> None:
    """Size and bundles are as promised, or SystemExit."""
    size = wheel.stat().st_size
    bundles = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".safetensors")]
    print(f"{wheel.name}: {size / 1e6:.1f} MB, bundles {', '.join(bundles)}")
    if size >= MAX_BYTES or bundles != BUNDLES:
        raise SystemExit(f"expected less than {MAX_BYTES / 1e6:.0f} MB and {', '.join(BUNDLES)}")


def without_network(python: Path) -> tuple[list[str], dict[str, str]]:
    """Words before a command and variables for it that keep it from the network."""
    prefix = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") and subprocess.run([*prefix, "true"], check=False).returncode == 0:
        tried = subprocess.run([*prefix, str(python), "-c", CONNECT], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            raise SystemExit("the namespace has a network")
        print("network off: a namespace without interfaces:", tried.stderr.strip().splitlines()[-1])
        return prefix, {}
    print("network off: by variables only")
    names = ("http_proxy", "https_proxy", "all_proxy")
    return [], {"HF_HUB_OFFLINE": "1", **{v: NOWHERE for name in names for v in (name, name.upper())}}


def run(command: Sequence[str], *, cwd: Path | None = None, variables: dict[str, str] | None = None) -> None:
    """With this checkout out of sight; SystemExit if it fails."""
    print("$", *command, flush=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env={**environment, **(variables or {})}, check=False)
    if done.returncode:
        raise SystemExit(f"that ended with {done.returncode}")


if __name__ == "__main__":
    main()

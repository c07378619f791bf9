"""What benchmark scripts share at both ends: their options, the table they print, the JSON they save."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from visil.benchmarks.frame_descriptors import OF_FILES
from visil.errors import DataError
from visil.evaluation.evaluation_report import package_versions
from visil.evaluation.metrics import Interval

MIN_UNITS = 10  # of an interval: fewer sources say nothing of others


def benchmark_parser(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has; progress goes to stderr."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=new_file, metavar="FILE", help="save settings, versions and results here")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME_OR_PATH",
        help="a bundle to measure; may be given several times",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N  [default: auto]")
    parser.add_argument("--seed", type=natural, default=0, help="[default: 0]")
    parser.add_argument(
        "--work",
        type=folder,
        metavar="DIR",
        default=Path(platformdirs.user_cache_dir("visil")) / "benchmarks",
        help="made files and libraries are kept here  [default: the platform's cache folder]",
    )
    parser.add_argument("--workers", type=positive, default=os.cpu_count() or 1, help="processes  [default: all cores]")
    return parser


def folder(text: str) -> Path:
    """A folder that is there or can be made; absolute and without `..`, as paths in libraries are."""
    path = Path(os.path.abspath(text))
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"{there} is a file; name a folder")
    return path


def new_file(text: str) -> Path:
    """A file that can be written, as far as can be told before hours of work."""
    path = Path(os.path.abspath(text))
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; name a file")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path.parent} is no folder that can be written to; name a file in another")
    return path


def positive(text: str) -> int:
    """A number from 1 on."""
    return _at_least(1, text)


def natural(text: str) -> int:
    """A number from 0 on."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"expected {least} or more, got {text}")
    return number


def add_baseline_options(parser: argparse.ArgumentParser) -> None:
    """The files of baselines that need one; `baseline_files` reads them."""
    for kind, option in OF_FILES.items():
        parser.add_argument(
            option,
            type=Path,
            metavar="FILE",
            dest=kind,
            help=f"ONNX network of the baseline {kind} (docs/benchmarks.md)",
        )


def baseline_files(options: argparse.Namespace) -> dict[str, Path | None]:
    """The files that `add_baseline_options` asked for, by kind."""
    return {kind: getattr(options, kind) for kind in OF_FILES}


def add_system_options(parser: argparse.ArgumentParser, data: Path) -> None:
    """What benchmarks that compare systems (`system_scores`) have besides; `data` is the default folder of videos."""
    parser.add_argument("--data", type=folder, default=data)
    parser.add_argument("--direction", choices=("search", "papers"), default="search", help="papers: no moments")
    add_baseline_options(parser)
    parser.add_argument("--alone", action="store_true", help="every --model, no baselines: to compare two bundles")


def format_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned text: the first column to the left, the others to the right; floats with four digits.

    A row may be shorter than the columns.
    """
    cells = [[f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    cells = [[*row, *[""] * (len(columns) - len(row))] for row in cells]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
        ).rstrip()
        for line in (columns, *cells)
    )


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """`format_table`, and an empty line."""
    print(format_table(columns, rows), end="\n\n")


def print_costs(results: Mapping[str, Mapping[str, Any]], not_run: Sequence[Sequence[object]]) -> None:
    """What of each system could be read, and what it costs: of JSON results that have it, by name."""
    rows = [
        (
            name,
            *("{} of {}".format(*result[key]) for key in ("queries_read", "videos_read")),
            round(result["bytes_a_video"]),
            result["ms_a_pair"],
        )
        for name, result in results.items()
    ]
    print_table(("system", "queries read", "videos read", "bytes a video", "ms a pair"), [*rows, *not_run])


def interval_text(interval: Interval, num_units: int) -> str:
    """A value with its interval, where there are units enough for one."""
    value = f"{interval.value:.3f}"
    return value if num_units < MIN_UNITS else f"{value} [{interval.low:.3f}, {interval.high:.3f}]"


def gain_text(interval: Interval) -> str:
    """A difference with its sign, and its interval."""
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def run_facts(repository: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Commit, versions, machine and threads of this run beside its settings (the seed is one of them)."""
    import torch  # only benchmarks ask

    return {
        "commit": _commit(repository),
        "python": platform.python_version(),
        "versions": package_versions(),
        "machine": platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "settings": dict(settings),
    }


def write_json(path: Path, facts: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """One object: the facts of the run and its results; what JSON does not know (paths) is text.

    Raises:
        DataError: it cannot be written; a file of that name stays as it was.
    """
    text = json.dumps({**facts, "results": results}, indent=1, default=str) + "\n"
    is_device = path.exists() and not path.is_file()  # such as /dev/stdout: written to, not replaced
    place = path.resolve()  # a link stays one
    partial = place.with_name(f".{place.name}.partial")
    try:
        (path if is_device else partial).write_text(text, encoding="utf-8")
        if not is_device:
            partial.replace(place)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise DataError(f"{path}: the results cannot be written ({error.strerror})") from error


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

"""Options that several commands share, and the defaults they have in common."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from visil.defaults import PRECISIONS, READERS
from visil.errors import DataError
from visil.media.limits import LEAST_MEMORY_BYTES, DecodeLimits

Command = TypeVar("Command", bound=Callable[..., Any])

GB = 1_000_000_000
MOST_MEMORY_GB = 1000


class Folder(click.Path):
    """A folder, there or not; an empty text (a variable that is not set) does not stand for the current one."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "" and param is not None:
            raise DataError(f"{param.opts[0]} needs a folder")
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A number in a range; `nan`, which Python reads as one, compares with nothing and is in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number", param, ctx)
        return number


def default_library() -> Path:
    """The user's own library, in the platform's folder for data."""
    import platformdirs

    return Path(platformdirs.user_data_dir("visil")) / "library"


def library_option(command: Command) -> Command:
    """--library DIR, or VISIL_LIBRARY, or the user's own."""
    return click.option(
        "--library",
        metavar="DIR",
        envvar="VISIL_LIBRARY",
        show_envvar=True,
        type=Folder(),
        default=default_library,
        show_default="the user's own",
        help="Folder of the library.",
    )(command)


def compute_options(command: Command) -> Command:
    """--device and --precision."""
    command = click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default=PRECISIONS[0],
        show_default=True,
        help="Arithmetic of the networks; half precision is faster on some machines and less exact.",
    )(command)
    return click.option(
        "--device",
        metavar="auto|cpu|cuda[:N]",
        default="auto",
        show_default=True,
        help="Where the networks run; auto takes a GPU if there is one.",
    )(command)


def format_option(command: Command) -> Command:
    """--format; without it a table on a terminal, else JSON lines."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(["table", "json", "jsonl", "csv"]),
        show_default="table on a terminal, else jsonl",
        help="How results are printed.",
    )(command)


def quiet_option(command: Command) -> Command:
    """--quiet."""
    return click.option("-q", "--quiet", is_flag=True, help="No progress and no notices.")(command)


def workers_option(command: Command) -> Command:
    """--workers N."""
    return click.option(
        "--workers",
        metavar="N",
        type=click.IntRange(1, 256),
        default=lambda: os.cpu_count() or 1,
        show_default="one a core",
        help="Decoding processes.",
    )(command)


def _installed_reader(context: click.Context, parameter: click.Parameter, name: str) -> str:
    """A reader that is not installed is refused before a library is made."""
    from visil.media.readers import check_reader

    check_reader(name)
    return name


def _bytes_of_gb(context: click.Context, parameter: click.Parameter, gb: float) -> int:
    return round(gb * GB)


def limit_options(command: Command) -> Command:
    """--stall-seconds and --decode-memory (a whole number of bytes as `memory_bytes`)."""
    command = click.option(
        "--decode-memory",
        "memory_bytes",
        metavar="GB",
        type=Number(min=LEAST_MEMORY_BYTES / GB, max=MOST_MEMORY_GB),
        default=DecodeLimits.memory_bytes / GB,
        show_default=True,
        callback=_bytes_of_gb,
        help="Memory that each decoding process may take; a file that needs more fails.  [Linux only]",
    )(command)
    return click.option(
        "--stall-seconds",
        metavar="S",
        type=Number(min=1),
        default=DecodeLimits.stall_s,
        show_default=True,
        help="Give a file up after this long without progress; altogether it may take ten times its length besides.",
    )(command)


def decoding_options(command: Command) -> Command:
    """--workers, --reader and those of `limit_options`."""
    command = click.option(
        "--reader",
        type=click.Choice(READERS),
        default=READERS[0],
        show_default=True,
        callback=_installed_reader,
        help="What decodes; all but the first are extras, for regular files.",
    )(limit_options(command))
    return workers_option(command)

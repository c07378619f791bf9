"""Entry point of `visil`.

A command's module is imported when the command is named, and imports what is heavy inside its function: help and
errors answer at once.
"""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import sys
from importlib import import_module
from typing import Any

import click

import visil
from visil.cli.output import notice, printable, say, silence
from visil.errors import VisilError

COMMANDS = (
    "demo", "index", "search", "compare", "evaluate", "list", "info", "verify", "remove", "compact", "models", "doctor",
    "s2vs",
)  # fmt: skip


STANDARD_OUTPUT = "standard output"


class _StandardOutput(io.FileIO):
    """Its errors name it, as those of other files do."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, STANDARD_OUTPUT) from None


class LazyGroup(click.Group):
    """Finds `visil NAME` in `visil.cli.NAME`, as its function `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"visil.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from difflib import get_close_matches

            meant = get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean {meant[0]!r}?" if meant else ""
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(visil.__version__, prog_name="visil")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def group(debug: bool) -> None:
    """Find videos that show the same footage, moment or incident as a clip.

    \b
    First steps:
      visil demo                 see it work on videos it makes itself
      visil index ~/Videos       make them searchable
      visil search clip.mp4      which of them match this clip

    Results go to standard output, as a table on a terminal and as JSON lines in a pipe (see --format), everything else
    to standard error.

    Exit status: 0 done (also when nothing matches); 1 done, but some inputs failed; 2 the command could not run, or
    every input failed; 130 interrupted.
    """


def main() -> None:
    """Run the command line; every expected error is one line."""
    if sys.stderr is None:  # closed by the caller
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115  open as long as the process
    if sys.stdout is None:  # results would be lost: nothing can be written to this, and it is told
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w", closefd=False)  # noqa: SIM115
    if isinstance(getattr(sys.stdout.buffer, "raw", sys.stdout.buffer), io.FileIO):  # no console of Windows
        eager = bool(sys.stdout.line_buffering or getattr(sys.stdout, "write_through", False))  # the latter: python -u
        out = io.BufferedWriter(_StandardOutput(sys.stdout.fileno(), "wb", closefd=False))
        sys.stdout = io.TextIOWrapper(out, sys.stdout.encoding, line_buffering=eager)
    for name in ("stdout", "stderr"):  # unable to show a file name
        getattr(sys, name).reconfigure(errors="backslashreplace")
    atexit.register(gc.freeze)  # looking through all of torch for garbage at the end would take up to 0.5 s
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit status of `visil ARGUMENTS`.

    Click's own handling of errors is left aside: it ends with 1 where we promise 2.
    """
    debug = arguments[:1] == ["--debug"]
    try:
        with group.make_context("visil", list(arguments)) as context:
            status = group.invoke(context)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.exceptions.Exit as done:  # help, version
        return done.exit_code
    except click.UsageError as error:
        usage = f"{error.ctx.get_usage()}\n" if error.ctx is not None else ""
        say(f"{usage}Error: {printable(error.format_message())}")
        return 2
    except (KeyboardInterrupt, click.Abort):
        return _ended("interrupted", 130)
    except VisilError as error:
        if debug:
            raise
        return _ended(str(error), 2)
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of our output has left, `visil list | head`
            silence(sys.stdout)
            return 0
        if error.filename == STANDARD_OUTPUT:
            silence(sys.stdout)
            if error.errno == errno.EBADF:
                return _ended("standard output is closed: results have nowhere to go", 2)
        if debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _ended(f"{where}{error.strerror or error}", 2)


def _ended(message: str, status: int) -> int:
    notice(message)
    return status


if __name__ == "__main__":
    main()

"""Entry point of `visil`.

A command's module is imported when the command is named, and imports what is heavy inside its function: help and
errors answer at once.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

import visil
from visil.errors import VisilError

COMMANDS = ("demo", "index", "search", "compare", "list", "info", "verify", "remove", "models")


class LazyGroup(click.Group):
    """Finds `visil NAME` in `visil.cli.NAME`, as its function `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"visil.cli.{cmd_name}").command
        return command


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

    Results go to standard output, everything else to standard error.

    Exit status: 0 done (also when nothing matches); 1 done, but some inputs failed; 2 the command could not run, or
    every input failed; 130 interrupted.
    """


def main() -> None:
    """Run the command line; every expected error is one line."""
    debug = "--debug" in sys.argv[1:2]
    try:
        status = group.main(prog_name="visil", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except VisilError as error:
        if debug:
            raise
        _end(f"visil: {error}", 2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _end("visil: interrupted; what was finished is kept, the same command goes on from there", 130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has left
        sys.exit(0)


def _end(message: str, status: int) -> None:
    print(" ".join(message.splitlines()), file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()

"""`visil remove`: forget videos."""

from __future__ import annotations

from pathlib import Path

import click

from visil.cli.options import library_option, quiet_option
from visil.cli.output import notice


@click.command("remove")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@library_option
@quiet_option
def command(ids: tuple[str, ...], library: Path, quiet: bool) -> int:
    """Forget videos of a library by id. Their files stay where they are.

    \b
    Example:
      visil remove news/0412.mp4

    Exit status: 0 removed; 2 an id is unknown (nothing is removed then).
    """
    from visil.library.library import Library

    opened = Library.open(library, device="cpu")
    opened.remove(ids)
    notice(f"{len(set(ids))} removed; {len(opened.list())} videos in {library}", quiet=quiet)
    return 0

"""`visil compact`: give back disk space."""

from __future__ import annotations

from pathlib import Path

import click

from visil.cli.options import library_option, quiet_option
from visil.cli.output import counted, notice
from visil.cli.upgrading import bring_up_to_date


@click.command("compact")
@library_option
@quiet_option
def command(library: Path, quiet: bool) -> int:
    """Give back the space of vectors that were replaced, removed, or left behind by a move to another bundle.

    Searches may go on meanwhile. Worth it after many videos were replaced or removed, and after `visil index
    --reindex`. It needs free space for at most a second copy of the table while it works.

    \b
    Example:
      visil compact --library news

    Exit status: 0 done; 2 it could not be.
    """
    from visil.library.library import Library

    opened = Library.open(library, device="cpu")
    bring_up_to_date(opened, quiet=quiet)
    freed_mb = opened.compact() / 1e6
    notice(f"{freed_mb:,.1f} MB given back; {counted(len(opened.list()), 'videos')} in {library}", quiet=quiet)
    return 0

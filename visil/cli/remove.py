"""`visil remove`: forget videos."""

from __future__ import annotations

import os
from pathlib import Path

import click

from visil.cli.options import Folder, library_option, quiet_option
from visil.cli.output import counted, notice
from visil.cli.upgrading import bring_up_to_date
from visil.commands import visil_command
from visil.errors import DataError


@click.command("remove")
@click.argument("ids", nargs=-1, metavar="ID...")
@click.option(
    "--below",
    metavar="DIR",
    type=Folder(),
    multiple=True,
    help="Forget all videos whose files lie, or lay, in this folder.",
)
@library_option
@quiet_option
def command(ids: tuple[str, ...], below: tuple[Path, ...], library: Path, quiet: bool) -> int:
    """Forget videos of a library by id, or all of a folder. Their files stay where they are.

    \b
    Examples:
      visil remove news/0412.mp4
      visil remove --below /mnt/old-drive

    Exit status: 0 removed; 2 an id is unknown, or nothing is known of a folder (nothing is removed then).
    """
    from visil.library.library import Library

    if not ids and not below:
        raise click.UsageError("Missing argument 'ID...' or option '--below'.")
    opened = Library.open(library, device="cpu")
    chosen = set(ids)
    for folder in below:
        lying = {video.id for video in opened.list() if Path(video.file.path).is_relative_to(os.path.abspath(folder))}
        if not lying:
            names = visil_command("list", library=library)
            raise DataError(f"{folder}: no video of the library lies there; `{names}` names them")
        chosen |= lying
    bring_up_to_date(opened, quiet=quiet)
    opened.remove(sorted(chosen))
    notice(f"{len(chosen)} removed; {counted(len(opened.list()), 'videos')} in {library}", quiet=quiet)
    return 0

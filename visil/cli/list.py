"""`visil list`: the videos of a library."""

from __future__ import annotations

from pathlib import Path

import click

from visil.cli.options import format_option, library_option
from visil.cli.output import chosen_format, print_rows, tell_of_damage

COLUMNS = ["id", "status", "duration_s", "num_samples", "reason", "path"]


@click.command("list")
@library_option
@click.option("--failed", is_flag=True, help="Only files that could not be read, with the reason.")
@format_option
def command(library: Path, failed: bool, output_format: str | None) -> int:
    """List the videos of a library with their ids.

    status is ok, no_content (every frame is blank: it has no score) or failed.

    \b
    Examples:
      visil list
      visil list --failed --format csv > failures.csv

    Exit status: 0; 1 what is stored of some is damaged (listed on stderr); 2 there is no library.
    """
    from visil.library.library import Library
    from visil.library.store import FAILED

    opened = Library.open(library, device="cpu")
    rows = [
        {
            "id": record.id,
            "status": record.status,
            "duration_s": round(record.duration_s, 3),
            "num_samples": record.num_samples,
            "reason": record.reason,
            "path": record.file.path,
        }
        for record in opened.list()
        if not failed or record.status == FAILED
    ]
    print_rows(rows, chosen_format(output_format), COLUMNS)
    tell_of_damage(opened.damaged)
    return 1 if opened.damaged else 0

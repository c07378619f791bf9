"""`visil verify`: does a library keep its promises."""

from __future__ import annotations

from pathlib import Path

import click

from visil.cli.options import format_option, library_option, quiet_option
from visil.cli.output import chosen_format, notice, print_rows, progress


@click.command("verify")
@library_option
@format_option
@quiet_option
def command(library: Path, output_format: str | None, quiet: bool) -> int:
    """Check everything a library promises: its bundle, every row, every file it was made from.

    Every file is read once, to compare its content with what was indexed. Files that are gone or have changed are
    listed too; `visil index` and `visil remove` deal with them.

    \b
    Example:
      visil verify --library news

    Exit status: 0 all holds; 1 files are gone or have changed; 2 the library is damaged.
    """
    from visil.library.library import Library

    opened = Library.open(library, device="cpu")
    with progress("verify", "files", quiet=quiet) as report:
        findings = opened.verify(progress=report)
    rows = [{"id": f.id, "problem": f.problem, "damage": f.damage} for f in findings]
    print_rows(rows, chosen_format(output_format), ["id", "problem", "damage"])
    damaged = sum(f.damage for f in findings)
    notice(
        f"{len(opened.list())} videos checked: {damaged} damaged, {len(findings) - damaged} changed or gone",
        quiet=quiet,
    )
    return 2 if damaged else 1 if findings else 0

"""`visil verify`: does a library keep its promises, and what can be mended."""

from __future__ import annotations

from pathlib import Path

import click

from visil.cli.options import format_option, library_option, quiet_option
from visil.cli.output import chosen_format, counted, notice, print_rows, progress


@click.command("verify")
@library_option
@click.option("--repair", is_flag=True, help="Mend first what can be mended; says what it did.")
@click.option("--model", metavar="NAME|FILE", help="With --repair: a copy of the library's bundle, if that is lost.")
@click.option(
    "--to-version",
    metavar="N",
    type=click.IntRange(1),
    help="With --repair: go back to this version of the table, if the newest one cannot be opened.",
)
@click.option(
    "--drop-rows",
    metavar="N",
    type=click.IntRange(1),
    help="With --repair: give up N rows of the table, if so many cannot be saved.",
)
@format_option
@quiet_option
def command(
    library: Path,
    repair: bool,
    model: str | None,
    to_version: int | None,
    drop_rows: int | None,
    output_format: str | None,
    quiet: bool,
) -> int:
    """Check everything a library promises: its own files, every row, every file it was made from.

    Every file is read once, to compare its content with what was written or indexed. Files that are gone or have
    changed are listed too; `visil index` and `visil remove` deal with them. So are files of the library that have no
    sum or no second copy yet, because a write goes on or was interrupted: the next write brings them in.

    --repair puts back the second copies of damaged files, restores a lost bundle, brings older formats up to date,
    saves what can be read of a damaged table and turns videos with damaged rows into failures that the next `visil
    index` encodes again. It never goes back to an older version of the table, nor gives up rows, unless it is told
    to; it says what to tell it.

    \b
    Examples:
      visil verify --library news
      visil verify --library news --repair --model mobile.safetensors

    Exit status: 0 all holds; 1 files are gone, have changed, or have no sum or copy yet; 2 the library is damaged.
    """
    from visil.library.library import Library
    from visil.library.repairing import repair_library

    if repair:
        with progress("repair", "steps", quiet=quiet) as report:
            done = repair_library(library, model, to_version=to_version, drop_rows=drop_rows, upgrading=report)
        for line in done:
            notice(line)
    elif (model, to_version, drop_rows) != (None, None, None):
        raise click.UsageError("--model, --to-version and --drop-rows go with --repair.")
    opened = Library.open(library, device="cpu")
    with progress("verify", "files", quiet=quiet) as report:
        findings = opened.verify(progress=report)
    rows = [{"id": f.id, "problem": f.problem, "damage": f.damage} for f in findings]
    print_rows(rows, chosen_format(output_format), ["id", "problem", "damage"])
    damaged = {f.id for f in findings if f.damage}
    others = {f.id for f in findings} - damaged
    videos = {record.id for record in opened.list()}
    of_the_library = len(damaged - videos) + len(others - videos)
    notice(
        f"{counted(len(videos), 'videos')} checked: {len(damaged & videos)} damaged, "
        f"{len(others & videos)} changed, gone or to index again"
        + (f"; {counted(of_the_library, 'files')} of the library itself not in order" if of_the_library else ""),
        quiet=quiet,
    )
    return 2 if damaged else 1 if findings else 0

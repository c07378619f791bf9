"""A library of an older format is read and written once before its first change: say so, and how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visil.cli.output import human_bytes, notice, progress

if TYPE_CHECKING:
    from visil.library.library import Library


def bring_up_to_date(opened: Library, *, quiet: bool) -> None:
    """Nothing, for a library of today."""
    num_bytes = opened.bytes_to_rewrite
    if not num_bytes:
        return
    notice(
        f"library of format 2 is brought up to date: {human_bytes(num_bytes)} are read and written once", quiet=quiet
    )
    with progress("bring up to date", "steps", quiet=quiet) as report:
        opened.bring_up_to_date(progress=report)

"""`visil doctor`: what is installed, what runs, what is wrong."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from visil.cli.options import format_option, library_option
from visil.cli.output import Rows, chosen_format, notice


@click.command("doctor")
@library_option
@format_option
def command(library: Path, output_format: str | None) -> int:
    """Check what is installed, which decoders and devices run, the library and the disk.

    A made video is decoded with every installed reader, the built-in bundle encodes a picture on every device. state
    is ok, absent (optional, or not made yet) or wrong; a remedy stands beside what is not ok.

    \b
    Examples:
      visil doctor
      visil doctor --library news --format json

    Exit status: 0 nothing is wrong; 1 something is.
    """
    from visil.diagnosis import WRONG, diagnose

    rows = Rows(chosen_format(output_format), ["check", "state", "found", "remedy"])
    num_wrong = 0
    for finding in diagnose(library):
        rows.add(asdict(finding))
        num_wrong += finding.state == WRONG
    rows.close()
    notice(f"{num_wrong} of the checks found something wrong" if num_wrong else "nothing is wrong")
    return 1 if num_wrong else 0

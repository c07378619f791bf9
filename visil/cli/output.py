"""How results, notices and progress are printed."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import click

PLAIN_PROGRESS_SECONDS = 5.0


def notice(text: str, *, quiet: bool = False) -> None:
    """A line on standard error."""
    if not quiet:
        click.echo(f"visil: {printable(text)}", err=True)


def printable(text: str) -> str:
    """File names are data: control characters of strangers must not reach a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def chosen_format(output_format: str | None) -> str:
    """The format asked for, or the one that suits standard output."""
    return output_format or ("table" if sys.stdout.isatty() else "jsonl")


def print_rows(rows: Sequence[dict[str, Any]], output_format: str, *, header: dict[str, Any] | None = None) -> None:
    """Rows of equal keys in one of the four formats.

    `header` (a manifest) is the first line of jsonl and stands beside the rows in json; tables and csv leave it out.
    """
    if output_format == "json":
        click.echo(json.dumps({**(header or {}), "rows": rows}, indent=1))
    elif output_format == "jsonl":
        for row in ([header] if header else []) + list(rows):
            click.echo(json.dumps(row))
    elif output_format == "csv":
        if rows:
            writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    elif rows:
        print_table([list(rows[0])] + [[_cell(value) for value in row.values()] for row in rows])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "" if value is None else str(value)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output, the first row its headings; wide when it is not a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in rows[0]:
        table.add_column(title, overflow="fold")
    for row in rows[1:]:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(table)


class Report(Protocol):
    """Tells how far a job is."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


@contextmanager
def progress(title: str, unit: str, *, quiet: bool) -> Iterator[Report]:
    """Progress with rate, remaining time and a note: a bar on a terminal, a line every few seconds elsewhere."""
    if quiet:
        yield lambda done, total, note="": None
    elif sys.stderr.isatty():
        with _bar(title, unit) as report:
            yield report
    else:
        yield _Lines(title, unit)


@contextmanager
def _bar(title: str, unit: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(title),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    started_s = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, rate="", note="")

        def report(done: int, total: int, note: str = "") -> None:
            rate = f"{done / max(1e-9, time.monotonic() - started_s):.1f} {unit}/s" if done else ""
            bar.update(task, completed=done, total=total, rate=rate, note=note)

        yield report


class _Lines:
    def __init__(self, title: str, unit: str) -> None:
        self._title = title
        self._unit = unit
        self._started_s = self._told_s = time.monotonic()

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now_s = time.monotonic()
        if now_s - self._told_s < PLAIN_PROGRESS_SECONDS or not done:
            return
        self._told_s = now_s
        rate = done / (now_s - self._started_s)
        left_s = (total - done) / rate
        notice(f"{self._title}: {done}/{total} {self._unit}, {rate:.1f}/s, {left_s:.0f} s left {note}".rstrip())

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

from visil.defaults import DEFAULT_BUNDLE

PLAIN_PROGRESS_SECONDS = 5.0
UNTRAINED_NOTICE = (
    "the untrained default bundle is in use: fine for a demo, weak on strong edits; for real work make a library with "
    "`visil index --model BUNDLE` (the README says how to get one)"
)


def notice(text: str, *, quiet: bool = False) -> None:
    """A line on standard error."""
    if not quiet:
        click.echo(f"visil: {printable(text)}", err=True)


def warn_if_untrained(bundle_name: str, *, quiet: bool) -> None:
    """The untrained default bundle says so wherever it is used."""
    if bundle_name == DEFAULT_BUNDLE:
        notice(UNTRAINED_NOTICE, quiet=quiet)


def printable(text: str) -> str:
    """File names are data: control characters of strangers must not reach a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def chosen_format(output_format: str | None) -> str:
    """The format asked for, or the one that suits standard output."""
    return output_format or ("table" if sys.stdout.isatty() else "jsonl")


class Rows:
    """Prints rows in one of the four formats: jsonl and csv as they come, tables and json when closed.

    Args:
        columns: names of the values of every row, in order; a csv without rows still has them as its first line.
        header: a manifest: the first line of jsonl, beside `rows` in json; tables and csv leave it out.
    """

    def __init__(self, output_format: str, columns: Sequence[str], *, header: dict[str, Any] | None = None) -> None:
        self._format = output_format
        self._columns = columns
        self._header = header or {}
        self._rows: list[dict[str, Any]] = []
        self._failed: list[dict[str, str]] = []
        if output_format == "jsonl" and header:
            click.echo(json.dumps(header))
        elif output_format == "csv":
            self._csv(columns)

    def add(self, row: dict[str, Any]) -> None:
        """One row."""
        if self._format == "jsonl":
            click.echo(json.dumps(row))
        elif self._format == "csv":
            self._csv([row[name] for name in self._columns])
        else:
            self._rows.append(row)

    def add_failure(self, failure: dict[str, str]) -> None:
        """An input that has no row: a line of its own in jsonl, an entry of `failed` in json."""
        if self._format == "jsonl":
            click.echo(json.dumps(failure))
        else:
            self._failed.append(failure)

    def close(self) -> None:
        """Print what had to wait."""
        if self._format == "json":
            failed = {"failed": self._failed} if self._failed else {}
            click.echo(json.dumps({**self._header, "rows": self._rows, **failed}, indent=1))
        elif self._format == "table" and self._rows:
            print_table([self._columns] + [[_cell(row[name]) for name in self._columns] for row in self._rows])

    @staticmethod
    def _csv(values: Sequence[Any]) -> None:
        csv.writer(sys.stdout, lineterminator="\n").writerow(values)


def print_rows(rows: Sequence[dict[str, Any]], output_format: str, columns: Sequence[str]) -> None:
    """Rows that are all there."""
    out = Rows(output_format, columns)
    for row in rows:
        out.add(row)
    out.close()


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

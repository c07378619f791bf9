"""How results, notices and progress are printed."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

import click

from visil.commands import shell_word

PLAIN_PROGRESS_SECONDS = 5.0
NAMES = ("query", "id", "video", "path", "library")  # columns of tables that people paste from


def notice(text: str, *, quiet: bool = False) -> None:
    """A line on standard error."""
    if not quiet:
        say(f"visil: {printable(text)}")


def tell_of_damage(damaged: Mapping[str, str]) -> None:
    """A line for each damaged video, or file of rows, of a library."""
    for id, reason in damaged.items():
        notice(f"{id}: {reason}")


def say(text: str) -> None:
    """Write to standard error; when it cannot be written (any more), the work goes on in silence."""
    try:
        click.echo(text, err=True)
    except OSError:  # its reader has left, its disk is full
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Send to nowhere what is still written to a stream that cannot be written any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def printable(text: str) -> str:
    """File names are data: control characters of strangers must not reach a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def counted(number: int, plural: str) -> str:
    """1 file, 2 files, 1 query, 2 queries."""
    return f"{number} {_noun(number, plural)}"


def _noun(number: int, plural: str) -> str:
    if number != 1:
        return plural
    return f"{plural.removesuffix('ies')}y" if plural.endswith("ies") else plural.removesuffix("s")


def export_as_utf8() -> None:
    """What programs will read leaves standard output as UTF-8, whatever the terminal shows."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


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
        if output_format != "table":
            export_as_utf8()
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

    titles, *cells = rows
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in cells:
        shown = (
            name_to_paste(cell) if title in NAMES else printable(cell) for title, cell in zip(titles, row, strict=True)
        )
        table.add_row(*map(Text, shown))

    class PlainlyBroken(Console):
        def on_broken_pipe(self) -> None:
            raise  # within the handler of the error; Rich's own ends with a status of its own

    PlainlyBroken(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)


def name_to_paste(text: str) -> str:
    """A name as it is, or as it can be pasted."""
    return text if text.isprintable() else shell_word(text)


def human_bytes(num_bytes: float) -> str:
    """1.2 GB: decimal units, two digits."""
    unit, *larger = ("B", "kB", "MB", "GB", "TB")
    while num_bytes >= 999.5 and larger:
        num_bytes, unit, *larger = (num_bytes / 1000, *larger)
    return f"{num_bytes:.1f} {unit}" if num_bytes < 9.95 and unit != "B" else f"{num_bytes:.0f} {unit}"


def human_seconds(seconds: float) -> str:
    """45 s, 12 min, 3 h 05 min, 2 d 4 h: what a person plans with."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    return f"{minutes // 60} h {minutes % 60:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


class Report(Protocol):
    """Tells how far a job is.

    Args:
        share: of the work that is done, in [0, 1], where steps differ in size; None: done / total.
    """

    def __call__(self, done: int, total: int, note: str = "", *, share: float | None = None) -> None: ...


@contextmanager
def progress(title: str, unit: str, *, quiet: bool) -> Iterator[Report]:
    """Progress with rate, remaining time and a note: a bar on a terminal, a line every few seconds elsewhere."""
    if quiet:
        yield lambda done, total, note="", *, share=None: None
    elif sys.stderr.isatty():
        with _bar(title, unit) as report:
            yield report
    else:
        yield _Lines(title, unit)


@contextmanager
def _bar(title: str, unit: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn(title), BarColumn(), TextColumn("{task.fields[text]}"))
    pace = _Pace(unit)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, text="")

        def report(done: int, total: int, note: str = "", *, share: float | None = None) -> None:
            share = _share(done, total, share)
            bar.update(task, completed=share, total=1.0, text=pace.text(done, total, note, share))

        yield report


class _Lines:
    def __init__(self, title: str, unit: str) -> None:
        self._title = title
        self._pace = _Pace(unit)
        self._told_s = time.monotonic()

    def __call__(self, done: int, total: int, note: str = "", *, share: float | None = None) -> None:
        text = self._pace.text(done, total, note, _share(done, total, share))
        now_s = time.monotonic()
        if now_s - self._told_s < PLAIN_PROGRESS_SECONDS or not (done or note):
            return
        self._told_s = now_s
        notice(f"{self._title}: {text}")


class _Pace:
    """How far, how fast, how long still; the clock starts when it is made, and anew when less is done than before."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._done = 0
        self._started_s = time.monotonic()

    def text(self, done: int, total: int, note: str, share: float) -> str:
        if done < self._done:  # another part of the work
            self._started_s = time.monotonic()
        self._done = done
        passed_s = max(1e-9, time.monotonic() - self._started_s)
        parts = [f"{done}/{total} {_noun(total, self._unit)}"]
        if done:
            parts.append(f"{done / passed_s:.1f}/s")
        if share:
            parts.append(f"{human_seconds(passed_s * (1 - share) / share)} left")
        return ", ".join([*parts, *filter(None, [note])])


def _share(done: int, total: int, share: float | None) -> float:
    return share if share is not None else done / max(1, total)

"""`visil search`: queries -> ranked matches."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from visil.cli.options import compute_options, format_option, library_option, limit_options, quiet_option
from visil.cli.output import Report, Rows, chosen_format, counted, human_seconds, notice, progress, tell_of_damage
from visil.defaults import DEFAULT_RERANK, DEFAULT_TOP
from visil.media.limits import DecodeLimits

if TYPE_CHECKING:
    from visil.library.library import Library
    from visil.library.search import SearchProgress, SearchResult

TEXT_COLUMNS = ("rank", "query", "video", "score", "identical", "file", "coarse", "fine")
COLUMNS = {
    "table": TEXT_COLUMNS,
    "csv": (*TEXT_COLUMNS[:3], "path", "score", "probability", *TEXT_COLUMNS[4:]),
    "json": (),
    "jsonl": (),
}
MEASURED_S = 1.0  # of comparing, before it is said how long the rest takes
LONG_S = 30.0  # of which nobody wants to be surprised


@click.command("search")
@click.argument("queries", nargs=-1, required=True, metavar="QUERY...")
@library_option
@click.option(
    "--rerank",
    metavar="N|P%|all",
    default=str(DEFAULT_RERANK),
    show_default=True,
    help="How many candidates the fine stage scores; more is slower and finds more. 0: coarse order only.",
)
@click.option(
    "--top", metavar="N", type=click.IntRange(1), default=DEFAULT_TOP, show_default=True, help="Matches a query."
)
@format_option
@limit_options
@compute_options
@quiet_option
def command(
    queries: tuple[str, ...],
    library: Path,
    rerank: str,
    top: int,
    output_format: str | None,
    stall_seconds: float,
    memory_bytes: int,
    device: str,
    precision: str,
    quiet: bool,
) -> int:
    """Rank the videos of a library by similarity to each QUERY.

    QUERY is a video file, a part of one (clip.mp4@1:20-1:40, either end may be left out), a still picture, a folder, a
    list (@list.txt, one query a line, paths from the current folder) or id:ID of a video already in the library. A file
    or folder of that name wins over any other reading.

    score lies in [0, 1]: how well the frames of the query are found in the video, so that a clip finds the film it is
    from; `visil compare` shows the other direction too. A long query (16 samples, or seconds, and more) also counts by
    its moments: the score is that of the whole or that of its best 3 samples in a row, reduced the more such
    moments there are. So a compilation ranks its sources first; one whose moment could be chance scores .625 at most,
    and its rank says more. Networks with a comparator, and symmetric ones, have no moments. No score (-, null): nothing
    could be compared, and only the bytes are equal.

    identical means that both are files of equal content now: before it is said, both are read to the end. A part or a
    picture never is. file says what became of the video's file: gone, changed since it was indexed, or the same file as
    the query's (a link, another mount); none of these is ever called identical, and nothing is if the query's own file
    is gone or has changed. A video of the library that is the query itself, by its path or id, or that the query is a
    part of, is left out.

    Results are a table on a terminal, and JSON lines in a pipe or file, unless --format says otherwise. jsonl and json
    carry a manifest (versions, bundle, command) so that two results can be compared: the first line of jsonl, the entry
    `manifest` of json. A query that failed is a line with `error`.

    \b
    Examples:
      visil search clip.mp4
      visil search film.mp4@1:20-1:40 poster.jpg
      visil search @suspects.txt --top 5 --format jsonl > matches.jsonl
      visil search id:news/0412.mp4 --rerank all

    Exit status: 0 all queries searched; 1 some could not be read, or videos of the library are damaged (listed on
    stderr); 2 none; 130 interrupted.
    """
    limits = DecodeLimits(stall_s=stall_seconds, memory_bytes=memory_bytes)
    if not all(query.startswith("id:") for query in queries):
        from visil.media.worker_process import worker_ahead

        click.get_current_context().with_resource(worker_ahead(limits=limits))  # before torch: its import takes 1 s
    from visil.library.file_state import GONE
    from visil.library.library import Library
    from visil.library.search import rerank_count

    opened = Library.open(library, device=device, precision=precision)
    asked = rerank_count(rerank, opened.num_searchable)
    if 0 < asked < min(top, opened.num_searchable):
        notice(
            f"--rerank {rerank} ({counted(asked, 'videos')}) raised to {top}, the number of matches asked for",
            quiet=quiet,
        )
    style = chosen_format(output_format)
    out = Rows(style, COLUMNS[style], header={"manifest": _manifest(opened, rerank, top, precision)})
    num_queries = num_failed = num_fine = 0
    gone: set[str] = set()
    damaged: dict[str, str] = {}
    with progress("search", "queries", quiet=quiet) as report:
        teller = _Teller(report, len(queries), quiet=quiet)
        for result in opened.search_many(queries, rerank=rerank, top=top, limits=limits, progress=teller):
            num_queries += 1
            num_fine += result.num_fine
            damaged.update(result.damaged)
            num_failed += result.error is not None
            gone |= {match.video for match in result.matches if match.file == GONE}
            _print(result, out, style)
            teller.num_done = num_queries
            report(num_queries, max(num_queries, len(queries)))
    out.close()
    _tell_of_lost_folders(opened, gone)
    tell_of_damage(damaged)
    num_searched = num_queries - num_failed
    searched = f"{num_searched} of {counted(num_queries, 'queries')} searched"
    notice(f"{searched}, {counted(num_fine, 'fine scores')}", quiet=quiet)
    return 2 if num_failed == num_queries else 1 if num_failed or damaged else 0


def _print(result: SearchResult, out: Rows, style: str) -> None:
    if result.error is not None:
        notice(f"{result.error}; skipped")
        out.add_failure({"query": result.query, "error": result.error})
    if result.warning:
        notice(result.warning)
    for rank, match in enumerate(result.matches, start=1):
        row = {"rank": rank, **asdict(match)}
        out.add(row if style in ("json", "jsonl") else _flat(row, style))


class _Teller:
    """Says what is done between two results, and before a long comparison how long it takes.

    Attributes:
        num_done: queries that have their result.
    """

    def __init__(self, report: Report, num_queries: int, *, quiet: bool) -> None:
        self.num_done = 0
        self._report = report
        self._num_queries = num_queries
        self._quiet = quiet
        self._began_s: float | None = None  # comparing, while no estimate was given

    def __call__(self, told: SearchProgress) -> None:
        total = max(self.num_done + max(1, told.num_compared), self._num_queries)
        if told.reading:
            self._report(self.num_done, total, f"reading {told.reading}: {human_seconds(told.read_s)} of it")
            return
        if told.hashing:
            self._report(self.num_done, total, f"is it a copy? reading {told.hashing}: {told.share:.0%}")
            return
        if not told.share:
            self._began_s = time.monotonic()
        self._estimate(told)
        share = (self.num_done + told.num_compared * told.share) / total
        self._report(self.num_done, total, f"comparing {told.num_compared}: {told.share:.0%}", share=share)

    def _estimate(self, told: SearchProgress) -> None:
        """By the rate of the first products."""
        passed_s = 0.0 if self._began_s is None else time.monotonic() - self._began_s
        if told.share and passed_s >= MEASURED_S:
            self._began_s = None
            needed_s = passed_s / told.share
            if needed_s >= LONG_S:
                queries = "a query" if told.num_compared == 1 else f"{told.num_compared} queries"
                notice(f"comparing {queries} takes about {human_seconds(needed_s)}", quiet=self._quiet)


def _flat(row: dict[str, Any], style: str) -> dict[str, Any]:
    """A row of a text format: a column for each stage."""
    score = "-" if row["score"] is None and style == "table" else row["score"]
    return {**row, "score": score, "coarse": None, "fine": None, **row["stages"]}


def _tell_of_lost_folders(opened: Library, gone: set[str]) -> None:
    """A file that is gone may be on a drive that is not mounted."""
    from visil.library.planning import is_lost

    for root in sorted({opened.record(id).file.root for id in gone} - {""}):
        if is_lost(root):
            notice(f"{root}: missing or empty, as an unmounted drive is; what lies below it is marked gone")


def _manifest(library: Any, rerank: str, top: int, precision: str) -> dict[str, Any]:
    """What two results must share to be comparable."""
    import torch

    import visil

    settings = library.model.settings
    return {
        "visil": visil.__version__,
        "torch": torch.__version__,
        "bundle": {"name": settings.name, "hash": library.model.bundle.hash},
        "preprocessing": asdict(settings.preprocessing),
        "library": {
            "path": str(library.path),
            "version": library.version,
            "sampling": library.preprocessing.sampling,
        },
        "rerank": rerank,
        "top": top,
        "device": str(library.model.device),
        "precision": precision,
        "command": sys.argv[1:],
    }

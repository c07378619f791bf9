"""`visil search`: queries -> ranked matches."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from visil.cli.options import compute_options, format_option, library_option, quiet_option
from visil.cli.output import Rows, chosen_format, notice, progress
from visil.defaults import DEFAULT_RERANK, DEFAULT_TOP

TEXT_COLUMNS = ("rank", "query", "video", "score", "identical", "coarse", "fine")
COLUMNS = {
    "table": TEXT_COLUMNS,
    "csv": (*TEXT_COLUMNS[:3], "path", "score", "probability", *TEXT_COLUMNS[4:]),
    "json": (),
    "jsonl": (),
}


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
@compute_options
@quiet_option
def command(
    queries: tuple[str, ...],
    library: Path,
    rerank: str,
    top: int,
    output_format: str | None,
    device: str,
    precision: str,
    quiet: bool,
) -> int:
    """Rank the videos of a library by similarity to each QUERY.

    QUERY is a video file, a part of one (clip.mp4@1:20-1:40, either end may be left out), a still picture, a folder, a
    list (@list.txt, one query a line, paths from the current folder) or id:ID of a video already in the library. A file
    or folder of that name wins over any other reading.

    score lies in [0, 1]: how well the frames of the query are found in the video. identical means that both files
    have equal content; a part or a picture never is. jsonl and json carry a manifest (versions, bundle, command) so
    that two results can be compared: the first line of jsonl, the entry `manifest` of json. A query that failed is a
    line with `error`.

    \b
    Examples:
      visil search clip.mp4
      visil search film.mp4@1:20-1:40 poster.jpg
      visil search @suspects.txt --top 5 --format jsonl > matches.jsonl
      visil search id:news/0412.mp4 --rerank all

    Exit status: 0 all queries searched; 1 some could not be read, or videos of the library are damaged (listed on
    stderr); 2 none.
    """
    if not all(query.startswith("id:") for query in queries):
        from visil.media.worker_process import worker_ahead

        click.get_current_context().with_resource(worker_ahead())  # before torch, whose import takes a second
    from visil.library.library import Library
    from visil.library.search import rerank_count

    opened = Library.open(library, device=device, precision=precision)
    asked = rerank_count(rerank, opened.num_searchable)
    if 0 < asked < min(top, opened.num_searchable):
        notice(f"--rerank {rerank} ({asked} videos) raised to {top}, the number of matches asked for", quiet=quiet)
    style = chosen_format(output_format)
    out = Rows(style, COLUMNS[style], header={"manifest": _manifest(opened, rerank, top, precision)})
    num_queries = num_failed = num_fine = 0
    damaged: dict[str, str] = {}
    with progress("search", "queries", quiet=quiet) as report:
        for result in opened.search_many(queries, rerank=rerank, top=top):
            num_queries += 1
            num_fine += result.num_fine
            damaged.update(result.damaged)
            if result.error is not None:
                num_failed += 1
                notice(f"{result.error}; skipped")
                out.add_failure({"query": result.query, "error": result.error})
            if result.warning:
                notice(result.warning)
            for rank, match in enumerate(result.matches, start=1):
                row = {"rank": rank, **asdict(match)}
                out.add(row if style in ("json", "jsonl") else {**row, "fine": None, **row["stages"]})
            report(num_queries, max(num_queries, len(queries)))
    out.close()
    for id, reason in damaged.items():
        notice(f"{id}: {reason}")
    notice(f"{num_queries - num_failed} of {num_queries} queries searched, {num_fine} fine scores", quiet=quiet)
    return 2 if num_failed == num_queries else 1 if num_failed or damaged else 0


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

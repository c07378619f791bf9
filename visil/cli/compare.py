"""`visil compare`: two videos -> both scores."""

from __future__ import annotations

import click

from visil.cli.options import compute_options, format_option, limit_options, quiet_option
from visil.cli.output import chosen_format, notice, print_rows
from visil.defaults import DEFAULT_BUNDLE
from visil.errors import DataError
from visil.media.limits import DecodeLimits


@click.command("compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--model", metavar="NAME|FILE", help="Bundle to compare with.  [default: the built-in one]")
@format_option
@limit_options
@compute_options
@quiet_option
def command(
    a: str,
    b: str,
    model: str | None,
    output_format: str | None,
    stall_seconds: float,
    memory_bytes: int,
    device: str,
    precision: str,
    quiet: bool,
) -> int:
    """Score two videos against each other, in both directions.

    A and B are video files, parts of them (clip.mp4@1:20-1:40, either end may be left out) or still pictures. A clip
    scores high against a film that contains it, the film against the clip does not. Each score is of the whole: how
    well all frames of the query are found in the video, as in the papers. (`visil search` scores query to video only,
    and long queries by their moments too.)

    \b
    Examples:
      visil compare clip.mp4 film.mp4
      visil compare poster.jpg film.mp4@1:20-1:40

    Exit status: 0 compared; 2 a file could not be read or shows nothing.
    """
    from visil.library.files import is_there
    from visil.library.queries import video_query
    from visil.model.model import load_model

    limits = DecodeLimits(stall_s=stall_seconds, memory_bytes=memory_bytes)
    loaded = load_model(model or DEFAULT_BUNDLE, device=device, precision=precision)
    sides = []
    for name in (a, b):
        if name.startswith("id:") and not is_there(name):
            raise DataError(f"{name}: an id is for a search; compare takes files")
        source = video_query(name)
        encoded = loaded.encode(source.path, span_s=source.span_s, stills=True, limits=limits)
        if not encoded.has_content:
            raise DataError(f"{name}: every frame is blank, so it has no score")
        if encoded.warning:
            part = "in part" if encoded.cut_short else "with a warning"
            notice(f"{name}: compared {part}: {encoded.warning}")
        sides.append(encoded)
    result = loaded.compare(*sides)
    rows = [
        {"query": a, "video": b, "score": result.score},
        {"query": b, "video": a, "score": result.reverse_score},
    ]
    print_rows(rows, chosen_format(output_format), ["query", "video", "score"])
    return 0

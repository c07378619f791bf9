"""`visil index`: files and folders -> library."""

from __future__ import annotations

from pathlib import Path

import click

from visil.cli.options import compute_options, library_option, quiet_option, workers_option
from visil.cli.output import notice, progress, warn_if_untrained
from visil.errors import DataError


@click.command("index")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@library_option
@click.option("--model", metavar="NAME|FILE", help="Bundle of a new library; an existing one keeps its own.")
@click.option("--pattern", metavar="P", help="Where videos lie below a folder and what their ids are: '{id}/video.*'.")
@workers_option
@click.option("--retry-failed", is_flag=True, help="Try files again that could not be read before.")
@compute_options
@quiet_option
def command(
    paths: tuple[str, ...],
    library: Path,
    model: str | None,
    pattern: str | None,
    workers: int,
    retry_failed: bool,
    device: str,
    precision: str,
    quiet: bool,
) -> int:
    """Make the videos of files and folders searchable.

    PATH is a video file, tried whatever its name, or a folder, searched for names that videos usually have (hidden
    ones are passed over). Run it again at any time: unchanged files are skipped, moved ones recognised, changed ones
    replaced, vanished ones reported, and an interrupted run goes on where it stopped.

    \b
    Examples:
      visil index ~/Videos
      visil index archive --library news --model mobile.safetensors
      visil index fivr --pattern '{id}/video.*'

    Exit status: 0 all files indexed; 1 some failed (listed); 2 nothing could be indexed; 130 interrupted.
    """
    from visil.library.files import is_there
    from visil.library.library import Library

    if not any(is_there(path) for path in paths):  # a mistyped path must not leave an empty library behind
        raise DataError(f"{', '.join(paths)}: no such file or folder")
    opened = Library.open_or_create(library, model, device=device, precision=precision)
    warn_if_untrained(opened.model.settings.name, quiet=quiet)
    try:
        with progress("index", "videos", quiet=quiet) as report:
            done = opened.add(
                paths,
                pattern=pattern,
                workers=workers,
                retry_failed=retry_failed,
                progress=lambda p: report(p.done, p.total, f"{p.failures} failed" if p.failures else ""),
            )
    except KeyboardInterrupt:
        notice("videos finished so far are kept; the same command goes on from there")
        raise
    for old_path in done.vanished:
        notice(f"{old_path}: gone; still in the library, `visil remove` forgets it")
    for path, reason in done.warnings:
        notice(f"{path}: indexed in part: {reason}")
    for path, reason in done.failed:
        notice(f"{path}: {reason}")
    if done.failed_before:
        notice(f"{len(done.failed_before)} file(s) failed before and were not tried again; --retry-failed tries them")
    summary = (
        f"{len(done.added)} added, {len(done.replaced)} replaced, {len(done.moved)} moved, {done.unchanged} unchanged, "
        f"{len(done.vanished)} vanished, {len(done.failed)} failed; {len(opened.list())} videos in {library}"
    )
    notice(summary, quiet=quiet)
    failures = len(done.failed) + len(done.failed_before)
    if not done.num_inputs and not done.vanished:
        notice("no video found below these paths")
        return 2
    return 0 if not failures else 2 if failures == done.num_inputs else 1

"""`visil index`: files and folders -> library."""

from __future__ import annotations

from pathlib import Path

import click

from visil.cli.options import compute_options, library_option, quiet_option, workers_option
from visil.cli.output import notice, progress


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
    from visil.library.files import find_files
    from visil.library.library import SETTINGS, Library
    from visil.model.catalogue import DEFAULT_BUNDLE, DEFAULT_NOTICE
    from visil.model.model import load_model

    find_files(paths, pattern=pattern)  # a wrong path must not leave an empty library behind
    if (library / SETTINGS).exists():
        opened = Library.open(library, device=device, precision=precision)
        wanted = load_model(model, device=device).bundle.hash if model is not None else None
        if wanted not in (None, opened.model.bundle.hash):
            raise click.UsageError(
                f"library {library} was made with bundle {opened.model.settings.name!r}, not with {model}; "
                "leave --model out, or choose another --library"
            )
    else:
        opened = Library.create(library, load_model(model or DEFAULT_BUNDLE, device=device, precision=precision))
    if opened.model.settings.name == DEFAULT_BUNDLE:
        notice(DEFAULT_NOTICE, quiet=quiet)
    with progress("index", "videos", quiet=quiet) as report:
        done = opened.add(
            paths,
            pattern=pattern,
            workers=workers,
            retry_failed=retry_failed,
            progress=lambda p: report(p.done, p.total, f"{p.failures} failed" if p.failures else ""),
        )
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
    if not done.num_inputs:
        notice("no video found below these paths")
    return 0 if not failures else 2 if failures == done.num_inputs else 1

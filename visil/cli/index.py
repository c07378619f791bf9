"""`visil index`: files and folders -> library."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Set
from pathlib import Path
from typing import TYPE_CHECKING

import click

from visil.cli.options import compute_options, decoding_options, library_option, quiet_option
from visil.cli.output import Report, counted, export_as_utf8, human_bytes, notice, printable, progress
from visil.cli.upgrading import bring_up_to_date
from visil.commands import shell_word, visil_command
from visil.defaults import BUILT_IN_BUNDLES, DEFAULT_BUNDLE
from visil.errors import DataError
from visil.media.limits import DecodeLimits

if TYPE_CHECKING:
    from visil.library.files import PassedOver
    from visil.library.ingest import IngestReport, Progress
    from visil.library.library import Library


MOST_KINDS = 5  # of files passed over, that a line names


@click.command("index")
@click.argument("paths", nargs=-1, metavar="PATH...")
@library_option
@click.option("--model", metavar="NAME|FILE", help="Bundle of a new library, or the one to move to with --reindex.")
@click.option("--reindex", is_flag=True, help="Move the library to the bundle of --model (else the default) first.")
@click.option("--pattern", metavar="P", help="Where videos lie below a folder and what their ids are: '{id}/video.*'.")
@click.option("--include", metavar="P", multiple=True, help="Only these, below a folder: '*.mov', 'news/2024-*'.")
@click.option("--exclude", metavar="P", multiple=True, help="Not these, nor anything in such a folder: 'cache'.")
@click.option(
    "--sampling",
    type=click.Choice(["time", "keyframes"]),
    help="Of a new library, or of one that is moved: keyframes is faster and coarser.  [default: as the bundle says]",
)
@click.option("--retry-failed", is_flag=True, help="Try files again that could not be read before, or only in part.")
@click.option(
    "--list-passed-over",
    is_flag=True,
    help="Print what was passed over, other media and links to nothing, a line each.",
)
@decoding_options
@compute_options
@quiet_option
def command(
    paths: tuple[str, ...],
    library: Path,
    model: str | None,
    reindex: bool,
    pattern: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    sampling: str | None,
    retry_failed: bool,
    list_passed_over: bool,
    workers: int,
    reader: str,
    stall_seconds: float,
    memory_bytes: int,
    device: str,
    precision: str,
    quiet: bool,
) -> int:
    """Make the videos of files and folders searchable.

    PATH is a video file, tried whatever its name, or a folder, searched for names that videos usually have. Passed
    over, unless PATH lies in them or --include names them, are hidden folders and trash ($RECYCLE.BIN, #recycle,
    @Recycle, System Volume Information); always hidden files and TypeScript called .ts, without a word. Pictures, rare
    kinds of video, empty .ts files and links to nothing are passed over and counted.

    Run it again at any time: unchanged files are skipped, moved ones recognised, changed ones replaced, vanished ones
    reported, and an interrupted run goes on where it stopped. A folder that is missing or empty and was not before is
    taken for an unmounted drive: its videos stay as they are. What an earlier visil may have read wrongly is read
    again.

    --include and --exclude may be repeated. A pattern without a slash is for the names of files and folders at any
    depth, one with a slash for paths below PATH; * and ? match within a name, ** across folders, upper and lower case
    are alike.

    --reindex encodes every video of the library with another bundle or sampling; searches get the old one until the
    new one is complete. It needs no PATH.

    \b
    Examples:
      visil index ~/Videos
      visil index archive --library news --model mobile.safetensors --exclude cache --exclude '*.tmp.mp4'
      visil index fivr --pattern '{id}/video.*'
      visil index --reindex --model better.safetensors --library news

    Exit status: 0 all files indexed; 1 some failed (listed); 2 nothing could be indexed; 130 interrupted.
    """
    from visil.library.library import Library

    if not paths and not reindex:
        raise click.UsageError("Missing argument 'PATH...'.")
    limits = DecodeLimits(stall_s=stall_seconds, memory_bytes=memory_bytes)
    if reindex:
        opened = Library.open(library, device=device, precision=precision)
    else:
        _check_there_is_a_video(paths, library, pattern=pattern, include=include, exclude=exclude)
        opened = Library.open_or_create(library, model, sampling=sampling, device=device, precision=precision)
        if model is None:
            _tell_of_the_built_in_bundle(opened, quiet=quiet)

    bring_up_to_date(opened, quiet=quiet)

    def moved(tell: Callable[[Progress], None]) -> IngestReport:
        return opened.reindex(model, sampling=sampling, workers=workers, reader=reader, limits=limits, progress=tell)

    def added(tell: Teller) -> IngestReport:
        report = opened.add(
            paths,
            pattern=pattern,
            include=include,
            exclude=exclude,
            workers=workers,
            retry_failed=retry_failed,
            reader=reader,
            limits=limits,
            progress=tell,
            looked_back=tell.looked_back,
        )
        if list_passed_over:
            _list_passed_over(report)
        if not report.num_inputs and not report.vanished:
            raise DataError(f"{', '.join(paths)}: no video found{_instead(report.passed_over)}")
        return report

    statuses = []
    if reindex:
        before = opened.model.bundle.hash, opened.preprocessing
        statuses.append(run_ingest("reindex", moved, opened, quiet=quiet))
        if before != (opened.model.bundle.hash, opened.preprocessing):
            gives_back = visil_command("compact", library=library)
            notice(f"the old vectors are still on the disk; `{gives_back}` gives their space back", quiet=quiet)
    if paths:
        statuses.append(run_ingest("index", added, opened, quiet=quiet))
    return max(statuses)


def _list_passed_over(report: IngestReport) -> None:
    export_as_utf8()
    for path in sorted(report.passed_over.media | report.passed_over.links):
        click.echo(printable(path))


def _tell_of_the_built_in_bundle(opened: Library, *, quiet: bool) -> None:
    """A library of another visil's built-in bundle goes on with its own copy of it; moving it is the user's choice."""
    from visil.model.bundle import load_bundle
    from visil.model.catalogue import find_bundle

    own = opened.model
    name, hash = own.settings.name, own.bundle.hash
    if name in BUILT_IN_BUNDLES and hash != load_bundle(find_bundle(DEFAULT_BUNDLE)).hash:
        move = visil_command("index", "--reindex", library=opened.path)
        notice(
            f"{opened.path} goes on with its own bundle {name!r} ({hash[:12]}); `{move}` moves it to the "
            "built-in one of this visil",
            quiet=quiet,
        )


def _check_there_is_a_video(
    paths: tuple[str, ...], library: Path, *, pattern: str | None, include: tuple[str, ...], exclude: tuple[str, ...]
) -> None:
    """A mistyped path or an empty folder must not leave an empty library behind."""
    from visil.library.files import find_files
    from visil.library.settings import is_library

    if is_library(library):
        return
    found = find_files(paths, pattern=pattern, include=include, exclude=exclude)
    if not found.files:
        reasons = [f"{path}: {reason}" for path, reason in found.unreadable]
        nothing = f"{', '.join(paths)}: no video found, so no library is made{_instead(found.passed_over)}"
        raise DataError("; ".join(reasons) or nothing)


def _instead(passed_over: PassedOver) -> str:
    """What there is instead of videos, and what can be done about it."""
    names = "these are no names of videos, a file is only tried if you name it itself"
    media = f"; {_media(passed_over.media)}: {names}" if passed_over.media else ""
    links = f"; {_links(passed_over.links)}" if passed_over.links else ""
    return media + links + passed_over.how_to_enter


def _media(paths: Set[str]) -> str:
    """How many media files of which kinds were passed over, most of one kind first."""
    kinds = Counter(Path(path).suffix.lower() for path in sorted(paths)).most_common()
    named = ", ".join(f"{number} {suffix}" for suffix, number in kinds[:MOST_KINDS])
    more = ", ..." if len(kinds) > MOST_KINDS else ""
    return f"{counted(len(paths), 'media files')} passed over ({named}{more})"


def _links(paths: Set[str]) -> str:
    return f"{counted(len(paths), 'links')} to nothing passed over"


def run_ingest(title: str, work: Callable[[Teller], IngestReport], opened: Library, *, quiet: bool) -> int:
    """Do it, tell what there is to do, how far it is and what came of it; the exit status."""
    from visil.library.reindexing import UnfinishedReindexError

    try:
        with progress(title, "videos", quiet=quiet) as report:
            done = work(Teller(report, quiet=quiet))
    except UnfinishedReindexError as refused:
        for path, reason in refused.report.failed:
            notice(f"{path}: {reason}")
        raise
    except KeyboardInterrupt:
        tell_how_to_go_on()
        raise
    return tell_what_was_done(done, opened, quiet=quiet)


def tell_how_to_go_on() -> None:
    """What an interrupt ends with."""
    notice(f"what was finished is in the library; go on with: {' '.join(map(shell_word, ['visil', *sys.argv[1:]]))}")


def tell_what_was_done(done: IngestReport, opened: Library, *, quiet: bool) -> int:
    """Notices of what came of it; the exit status."""
    from visil.library.store import FAILED, FEATURE_SET, NO_CONTENT

    stored = opened.list()
    ids = {record.file.path: record.id for record in stored}
    retries = f"`{visil_command('index', '--retry-failed', 'PATH...', library=opened.path)}`"
    for old_path in done.vanished:
        forgets = visil_command("remove", id=ids.get(old_path, "ID"), library=opened.path)
        notice(f"{old_path}: gone; still in the library, `{forgets}` forgets it")
    for root, count in done.unmounted:
        notice(
            f"{root}: missing or empty, as an unmounted drive is; the library keeps {counted(count, 'videos')} of it: "
            f"mount it and run this again, or forget it with "
            f"`{visil_command('remove', '--below', root, library=opened.path)}`"
        )
    for path, reason in done.warnings:
        notice(f"{path}: indexed with a warning: {reason}")
    if done.num_cut_short:
        notice(f"{counted(done.num_cut_short, 'files')} cut short: {retries} tries again")
    for path, reason in done.kept:
        notice(f"{path}: stays indexed as it was, because the new try gave less: {reason}")
    if done.num_again:
        notice(
            f"{counted(done.num_again, 'videos')} {_were(done.num_again)} read again, because an earlier visil may "
            f"have read {'it' if done.num_again == 1 else 'them'} wrongly",
            quiet=quiet,
        )
    if done.unreachable:
        path, reason = done.unreachable[0]
        notice(
            f"{counted(len(done.unreachable), 'videos')} read by older rules cannot be looked at: what is stored stays "
            f"(first: {path}: {reason})"
        )
    for path, reason in done.failed:
        notice(f"{path}: {reason}")
    if done.failed_before:
        is_of_features = all(path.startswith(FEATURE_SET) for path, _ in done.failed_before)
        remedy = "a file that has changed is" if is_of_features else f"{retries} does it"
        notice(f"{counted(len(done.failed_before), 'files')} failed before, not tried again; {remedy}", quiet=quiet)
    if done.passed_over.media:
        notice(f"{_media(done.passed_over.media)}; --list-passed-over lists them", quiet=quiet)
    if done.passed_over.links:
        notice(f"{_links(done.passed_over.links)}; --list-passed-over lists them", quiet=quiet)
    for path in done.forgotten:
        notice(f"{path}: source code, no video: forgotten", quiet=quiet)
    num_blank = sum(record.status == NO_CONTENT for record in stored)
    if num_blank:
        notice(
            f"{counted(num_blank, 'videos')} without content (every frame is blank): found by equal bytes alone",
            quiet=quiet,
        )
    num_failed = sum(record.status == FAILED for record in stored)
    without = f", {counted(num_failed, 'failures')}" if num_failed else ""
    summary = (
        f"{len(done.added)} added, {len(done.replaced)} replaced, {len(done.moved)} moved, {done.unchanged} unchanged, "
        f"{len(done.vanished)} vanished, {len(done.failed)} failed; "
        f"{counted(len(stored) - num_failed, 'videos')}{without} in {opened.path}"
    )
    notice(summary, quiet=quiet)
    return 0 if not done.num_failures else 2 if done.num_failures == done.num_inputs else 1


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


class Teller:
    """Says once what there is to do, then how far it is."""

    def __init__(self, report: Report, *, quiet: bool) -> None:
        self._report = report
        self._quiet = quiet
        self._has_begun = False

    def looked_back(self, done: int, total: int) -> None:
        """So many of the videos of an earlier visil have been looked at."""
        if not done:
            notice(
                f"{counted(total, 'videos')} {_were(total)} read by older rules: headers and packet times are looked "
                "at once",
                quiet=self._quiet,
            )
        self._report(done, total, "looking back")

    def __call__(self, told: Progress) -> None:
        work = told.workload
        if not self._has_begun and work.num_files:
            grows = work.library_bytes
            estimate = "" if grows is None else f"; the library will grow by about {human_bytes(grows)}"
            notice(
                f"{counted(work.num_files, 'files')} to decode, {human_bytes(work.num_bytes)}{estimate}, "
                f"{human_bytes(work.free_bytes)} are free",
                quiet=self._quiet,
            )
            if grows is not None and grows > work.free_bytes:
                notice("that does not fit: free some space, or choose another --library, before the disk is full")
        self._has_begun = True
        failures = f"{told.failures} failed" if told.failures else ""
        self._report(told.done, told.total, failures, share=told.num_bytes / max(1, work.num_bytes))

"""`visil evaluate`: a data set and the scores of a system -> how good they are."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from visil.cli.options import Folder, compute_options, format_option, quiet_option
from visil.cli.output import chosen_format, notice, progress
from visil.cli.upgrading import bring_up_to_date
from visil.defaults import TIES
from visil.errors import DataError

if TYPE_CHECKING:
    from visil.evaluation.results import Evaluation
    from visil.evaluation.sources import FeatureSource, Held, VideoSource
    from visil.library.ingest import IngestReport, Progress
    from visil.library.library import Library

File = click.Path(path_type=Path)

OF_LIBRARIES = ("library", "model", "pattern", "rerank", "device", "precision")
OF_RANKINGS = ("ties", "per_query", "against", "seed")
REFUSED = {
    "videos": (),
    "features": ("pattern",),
    "library": ("model", "pattern"),
    "similarities": OF_LIBRARIES,
    "segments": OF_LIBRARIES + OF_RANKINGS,
}  # source -> options that would do nothing with it


@click.command("evaluate")
@click.argument("data_set", metavar="DATASET")
@click.option(
    "--videos", metavar="DIR", type=Folder(), help="Index the data set's videos below this folder, then go on."
)
@click.option("--pattern", metavar="P", help="Where they lie and what their ids are: '{id}/video.*', '{id}.mp4'.")
@click.option("--features", metavar="FILE", type=File, help="Region vectors in the HDF5 layout of the authors.")
@click.option("--similarities", metavar="FILE", type=File, help="Scores of any system: JSON, CSV or npz.")
@click.option("--segments", metavar="FILE", type=File, help="Predicted segments of any system (VSC2022, VCSL).")
@click.option(
    "--library",
    metavar="DIR",
    type=Folder(),
    help="A library of the videos; with --videos or --features the one they go to.  [default: in the cache folder]",
)
@click.option("--model", metavar="NAME|FILE", help="Bundle for --videos or --features.  [default: the built-in one]")
@click.option("--annotations", metavar="DIR", type=Folder(), help="Where annotations lie that visil does not bring.")
@click.option("--split", metavar="NAME", help="A part of the data set, such as test.")
@click.option(
    "--rerank",
    metavar="N|P%|all",
    default="all",
    show_default=True,
    help="How many candidates the fine stage scores; the others follow below them in coarse order.",
)
@click.option(
    "--ties",
    type=click.Choice(TIES),
    default=TIES[0],
    show_default=True,
    help="How equal scores rank.",
)
@click.option("--per-query", is_flag=True, help="Average precision of every query too; json and jsonl always hold it.")
@click.option("--plot", metavar="FILE", type=File, help="Draw precision-recall curves: .png, .svg or .pdf.")
@click.option("--against", metavar="FILE", type=File, help="Show the difference from another run, its JSON report.")
@click.option("--seed", metavar="N", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap.")
@format_option
@compute_options
@quiet_option
def command(
    data_set: str,
    videos: Path | None,
    pattern: str | None,
    features: Path | None,
    similarities: Path | None,
    segments: Path | None,
    library: Path | None,
    model: str | None,
    annotations: Path | None,
    split: str | None,
    rerank: str,
    ties: str,
    per_query: bool,
    plot: Path | None,
    against: Path | None,
    seed: int,
    output_format: str | None,
    device: str,
    precision: str,
    quiet: bool,
) -> int:
    """Measure a system on a data set: mAP and micro-AP of every task, with intervals and coverage.

    DATASET is fivr-200k, fivr-5k, evve, cc_web_video, vcdb, vcdb-dist, svd, vsc2022, vcsl, or your own: a folder with
    manifest.csv and pairs.csv, a CSV of pairs, or a JSON {query: {label: [video]}}. Exactly one option says what to
    measure: --videos, --features, --similarities, --segments, or a --library that holds the videos under the data
    set's ids.

    value is counted as in the papers, over what could be read; strict counts what is missing as not found. relevant
    pairs says how many of the annotated ones value counts. Intervals are of a bootstrap over queries. Equal scores
    rank as one group, whatever their order; --ties stable ranks them in file order, as the published evaluators do.

    json and jsonl hold everything, and --against reads them: the difference of two runs over the same queries has an
    interval too.

    \b
    Examples:
      visil evaluate fivr-5k --videos fivr --pattern '{id}/video.*' --model visil.safetensors
      visil evaluate fivr-200k --similarities scores.json --plot curves.png --format json > run.json
      visil evaluate my_videos --videos my_videos --split test --rerank 5% --against run.json
      visil evaluate vsc2022 --annotations vsc --segments predictions.csv

    Exit status: 0 evaluated; 1 evaluated, but some queries or videos could not be read (listed on stderr); 2 not
    evaluated; 130 interrupted.
    """
    _check_options(click.get_current_context())
    if plot is not None:
        from visil.report.precision_recall import check_picture

        check_picture(plot)
    if segments is not None:
        return _evaluate_segments(data_set, segments, annotations, split, plot, output_format, quiet=quiet)

    from visil.evaluation.data_sets import load
    from visil.evaluation.evaluate import evaluate
    from visil.evaluation.evaluation_report import check_same_data_set, read_report

    truth = load(data_set, annotations=annotations, split=split)
    other = None
    if against is not None:
        other = read_report(against)
        check_same_data_set(truth.name, truth.content_hash, other)
    facts: dict[str, Any] = {}
    unreadable: list[tuple[str, str]] = []
    told: Set[str] = frozenset()
    if similarities is not None:
        from visil.evaluation.score_files import read_scores

        evaluation = evaluate(truth, read_scores(similarities), ties=ties, seed=seed)
        facts["similarities"] = str(similarities)
    else:
        from visil.evaluation.library_scores import LibraryScores
        from visil.evaluation.sources import FeatureSource, VideoSource, cached_library
        from visil.library.library import Library
        from visil.library.search import rerank_count

        rerank_count(rerank, 0)  # refused before hours of encoding
        if library is None:
            origin = videos or features
            assert origin is not None  # see _check_options
            library = cached_library(data_set, origin, bundle=model, pattern=pattern)
        source: VideoSource | FeatureSource | None = None
        if videos is not None:
            source = VideoSource.of(truth, videos, pattern=pattern)
        elif features is not None:
            source = FeatureSource.of(truth, features)
        held = encoding = None
        if source is not None:
            held, encoding = _bring_up_to_date(library, model, source, device, precision, quiet=quiet)
        opened = Library.open(library, device=device, precision=precision)
        with progress("evaluate", "queries", quiet=quiet) as report:
            scores = LibraryScores(opened, truth, rerank=rerank, only=held.ids if held else None, progress=report)
            evaluation = evaluate(truth, scores, ties=ties, seed=seed)
        facts["library"] = {"path": str(opened.path), "version": opened.version, **asdict(scores.facts())}
        facts["encoding"] = encoding
        unreadable += scores.unreadable
        if held:
            told = held.failed_now
            unreadable += held.unreadable
            evaluation = replace(evaluation, warnings=(*evaluation.warnings, *held.warnings))
    _report(
        evaluation,
        other,
        facts,
        unreadable,
        told=told,
        against=against,
        plot=plot,
        style=chosen_format(output_format),
        per_query=per_query,
        quiet=quiet,
    )
    return 1 if unreadable else 0


def _check_options(context: click.Context) -> None:
    """Exactly one source, and nothing that does nothing with it."""
    option_of = {option.name: option.opts[0] for option in context.command.params}
    given = {name for name in option_of if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
    sources = [name for name in REFUSED if name in given and name != "library"] or [*given & {"library"}]
    if len(sources) > 1:
        raise click.UsageError(f"{option_of[sources[0]]} and {option_of[sources[1]]}: give one of them.")
    if not sources:
        names = ", ".join(option_of[name] for name in REFUSED if name != "library")
        raise click.UsageError(f"Say what to measure: one of {names} or --library.")
    for name in REFUSED[sources[0]]:
        if name in given:
            raise click.UsageError(f"{option_of[name]} does not go with {option_of[sources[0]]}.")


def _bring_up_to_date(
    place: Path, model: str | None, source: VideoSource | FeatureSource, device: str, precision: str, *, quiet: bool
) -> tuple[Held, Mapping[str, float] | None]:
    """What the library, made if there is none, holds of the source; and how fast videos were encoded, if any were."""
    from visil.evaluation.sources import FeatureSource
    from visil.library.library import Library
    from visil.library.settings import is_library

    is_new = not is_library(place)
    library = Library.open_or_create(place, model, device=device, precision=precision)
    notice(f"the library is kept in {library.path}", quiet=quiet)
    bring_up_to_date(library, quiet=quiet)
    began_s = time.monotonic()
    try:
        done = _add(source, library, quiet=quiet)
    except DataError:
        if is_new and not library.list():  # of the wrong bundle, perhaps: it would be in the way of the next try
            shutil.rmtree(library.path)
        raise
    seconds = time.monotonic() - began_s
    held = source.held_by(library, done)
    if isinstance(source, FeatureSource) or not done.num_samples:
        return held, None
    return held, {"num_samples": done.num_samples, "samples_per_s": done.num_samples / seconds}


def _add(source: VideoSource | FeatureSource, library: Library, *, quiet: bool) -> IngestReport:
    """Add what is new, and tell."""
    from visil.cli.index import run_ingest, tell_how_to_go_on, tell_what_was_done
    from visil.evaluation.sources import FeatureSource

    if isinstance(source, FeatureSource):
        try:
            with progress("features", "videos", quiet=quiet) as report:
                done = source.add_to(library, progress=report)
        except KeyboardInterrupt:
            tell_how_to_go_on()
            raise
        tell_what_was_done(done, library, quiet=quiet)
        return done

    def add(tell: Callable[[Progress], None]) -> IngestReport:
        nonlocal done
        done = source.add_to(library, progress=tell)
        return done

    run_ingest("index", add, library, quiet=quiet)
    return done


def _evaluate_segments(
    data_set: str,
    segments: Path,
    annotations: Path | None,
    split: str | None,
    plot: Path | None,
    output_format: str | None,
    *,
    quiet: bool,
) -> int:
    from visil.cli.evaluation_output import draw_segments, print_segments
    from visil.evaluation.data_sets import load_segments
    from visil.evaluation.published_results import published_results
    from visil.evaluation.segment_files import read_predictions
    from visil.evaluation.segments import evaluate_segments

    truth = load_segments(data_set, annotations=annotations, split=split)
    evaluation = evaluate_segments(truth, read_predictions(segments, truth))
    if plot is not None:
        draw_segments(plot, evaluation)
    for warning in evaluation.warnings:
        notice(warning, quiet=quiet)
    print_segments(
        evaluation,
        chosen_format(output_format),
        facts={"segments": str(segments), **_run_facts()},
        published=published_results(evaluation.data_set),
    )
    return 0


def _report(
    evaluation: Evaluation,
    other: Evaluation | None,
    facts: Mapping[str, Any],
    unreadable: Sequence[tuple[str, str]],
    *,
    told: Set[str],
    against: Path | None,
    plot: Path | None,
    style: str,
    per_query: bool,
    quiet: bool,
) -> None:
    """Notices, then the picture, then what goes to standard output.

    Args:
        told: ids of the unreadable that stand on standard error already.
    """
    from visil.cli.evaluation_output import draw_evaluation, print_evaluation, tell_what_matters
    from visil.evaluation.evaluation_report import differences
    from visil.evaluation.published_results import published_results

    compared, notes = ([], []) if other is None else differences(evaluation, other)
    for id, reason in unreadable:
        if id not in told:
            notice(f"{id}: {reason}")
    tell_what_matters(evaluation, quiet=quiet)
    for note in notes:
        notice(f"{against}: {note}", quiet=quiet)
    if plot is not None:
        draw_evaluation(plot, evaluation, other)
    more: dict[str, Any] = {"unreadable": [{"id": id, "reason": reason} for id, reason in unreadable]}
    if other is not None:
        rows = [{**asdict(row), "difference": row.difference} for row in compared]
        more["against"] = {"file": str(against), "notes": notes, "differences": rows}
    print_evaluation(
        evaluation,
        style,
        facts={**facts, **_run_facts()},
        published=published_results(evaluation.data_set),
        compared=compared,
        more=more,
        per_query=per_query,
    )


def _run_facts() -> dict[str, Any]:
    """What a second run needs to be the same."""
    import platform

    from visil.evaluation.evaluation_report import package_versions

    return {"python": platform.python_version(), "versions": package_versions(), "command": sys.argv[1:]}

"""`visil evaluate`: a data set and the scores of a system -> how good they are."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from visil.cli.options import Folder, compute_options, format_option, quiet_option
from visil.cli.output import chosen_format, notice, progress, warn_if_untrained
from visil.defaults import DEFAULT_BUNDLE, TIES
from visil.errors import DataError

if TYPE_CHECKING:
    from visil.evaluation.ground_truth import GroundTruth
    from visil.evaluation.results import Evaluation
    from visil.library.files import FoundFile
    from visil.library.ingest import IngestReport
    from visil.library.library import Library
    from visil.library.store import VideoRecord

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
        from visil.library.library import Library
        from visil.library.search import rerank_count

        rerank_count(rerank, 0)  # refused before hours of encoding
        place = library or _cached_library(data_set, model, videos or features, pattern)
        added = None
        if videos is not None:
            added = _index(place, model, videos, pattern, truth, device, precision, quiet=quiet)
        elif features is not None:
            added = _add_features(place, model, features, truth, device, precision, quiet=quiet)
        opened = Library.open(place, device=device, precision=precision)
        warn_if_untrained(opened.model.settings.name, quiet=quiet)
        with progress("evaluate", "queries", quiet=quiet) as report:
            scores = LibraryScores(opened, truth, rerank=rerank, only=added.ids if added else None, progress=report)
            evaluation = evaluate(truth, scores, ties=ties, seed=seed)
        facts["library"] = {"path": str(opened.path), "version": opened.version, **asdict(scores.facts())}
        facts["encoding"] = added.encoding if added else None
        unreadable += scores.unreadable
        if added:
            told = added.told
            unreadable += added.failed
            evaluation = replace(evaluation, warnings=(*evaluation.warnings, *added.warnings))
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


def _cached_library(data_set: str, model: str | None, source: Path | None, pattern: str | None) -> Path:
    """Where the library of a source is kept: named after data set and bundle, and after what the videos are."""
    import platformdirs

    from visil.model.bundle import load_bundle
    from visil.model.catalogue import find_bundle

    bundle = load_bundle(find_bundle(model or DEFAULT_BUNDLE))
    origin = hashlib.sha256(f"{os.path.abspath(source or '')}\0{pattern}".encode(errors="surrogateescape"))
    words = (Path(data_set).stem.lower(), bundle.settings.name, bundle.hash[:8], origin.hexdigest()[:8])
    name = "-".join(re.sub(r"[^\w.]+", "_", word) for word in words)
    return Path(platformdirs.user_cache_dir("visil")) / "evaluate" / name


@dataclass(frozen=True)
class _Added:
    """What bringing a library up to date came to.

    Attributes:
        ids: of the videos that the source holds, in the library.
        told: of these, what could not be read now: it stands on standard error already.
        failed: (id or path, reason) of what could not be read and has no row in the library.
        encoding: how fast, None if nothing was encoded.
        warnings: for the report.
    """

    ids: Set[str]
    told: Set[str]
    failed: Sequence[tuple[str, str]]
    encoding: Mapping[str, float] | None
    warnings: Sequence[str]

    @classmethod
    def of(
        cls,
        done: IngestReport,
        source: Path,
        wanted: Set[str] | None,
        records: Sequence[VideoRecord],
        *,
        ids: Set[str],
        id_of: Callable[[str], str],
        encoding: Mapping[str, float] | None = None,
    ) -> _Added:
        """From what was done, the ids that the source holds, and what its paths are called."""
        from visil.library.store import FAILED

        with_row = {record.file.path for record in records if record.status == FAILED}
        told = {id_of(path) for path, _ in done.failed}
        failed = [(id_of(path), reason) for path, reason in done.failed if path not in with_row]
        earlier = sorted({record.id for record in records if wanted is None or record.id in wanted} - ids)
        warnings = []
        if earlier:
            warnings.append(
                f"{len(earlier)} videos in the library, such as {earlier[0]!r}, are not in {source} (any more): they "
                "count as missing"
            )
        return cls(ids, told, failed, encoding, warnings)


def _index(
    place: Path,
    model: str | None,
    videos: Path,
    pattern: str | None,
    truth: GroundTruth,
    device: str,
    precision: str,
    *,
    quiet: bool,
) -> _Added:
    """Bring the library up to date with the videos of the data set."""
    from visil.cli.index import run_ingest
    from visil.library.files import find_files
    from visil.library.ingest import IngestReport, Progress
    from visil.library.library import Library

    wanted = truth.wanted
    files = find_files([videos], pattern=pattern, only=wanted).files
    if not files:
        found = find_files([videos], pattern=pattern)
        if found.unreadable:
            raise DataError("; ".join(f"{path}: {reason}" for path, reason in found.unreadable))
        ids = f"its videos are called {found.files[0].name!r} and so on" if found.files else "it has no videos"
        raise DataError(
            f"{videos}: no video of {truth.name} in it: {ids}, those of the data set {truth.queries[0]!r}; --pattern "
            "says where the ids are: '{id}.mp4', '{id}/video.*'"
        )
    opened = Library.open_or_create(place, model, device=device, precision=precision)
    notice(f"the library is kept in {opened.path}", quiet=quiet)
    _check_ids(opened, files)
    report = IngestReport()

    def add(tell: Callable[[Progress], None]) -> IngestReport:
        nonlocal report
        report = opened.add([videos], pattern=pattern, only=wanted, progress=tell)
        return report

    began_s = time.monotonic()
    run_ingest("index", add, opened, quiet=quiet)
    seconds = time.monotonic() - began_s
    _check_ids(opened, files)  # again: a file that took the place of another one has got an id of its own
    encoding = {"num_samples": report.num_samples, "samples_per_s": report.num_samples / seconds}
    names = {str(file.path): file.name for file in files}
    records = opened.list()
    return _Added.of(
        report,
        videos,
        wanted,
        records,
        ids={record.id for record in records if record.file.path in names},
        id_of=lambda path: names.get(path, path),
        encoding=encoding if report.num_samples else None,
    )


def _check_ids(opened: Library, files: Sequence[FoundFile]) -> None:
    """Raises DataError where the vectors of another file would be measured under the id of a file."""
    records = opened.list()
    by_id = {record.id: record.file for record in records}
    id_of = {record.file.path: record.id for record in records}
    path_of: dict[str, str] = {}
    for file in files:
        path = str(file.path)
        if path_of.setdefault(file.name, path) != path:
            raise DataError(
                f"{path}: has the id {file.name!r}, as {path_of[file.name]} has; --pattern says which to take"
            )
        other = by_id.get(file.name)
        if id_of.get(path, file.name) != file.name or (
            other is not None and other.path != path and (other.is_feature_set or Path(other.path).exists())
        ):
            taken = f"{file.name!r} is {other.path}" if other is not None else f"it is called {id_of[path]!r}"
            raise DataError(f"{path}: in library {opened.path} {taken}; take another --library")


def _add_features(
    place: Path, model: str | None, features: Path, truth: GroundTruth, device: str, precision: str, *, quiet: bool
) -> _Added:
    """Bring the library up to date with the features of the data set."""
    from visil.cli.index import tell_how_to_go_on, tell_what_was_done
    from visil.library.feature_files import feature_set_path
    from visil.library.library import Library

    if not features.is_file():
        raise DataError(f"{features}: {'not a regular file' if features.exists() else 'no such file'}")
    opened = Library.open_or_create(place, model, device=device, precision=precision)
    notice(f"the library is kept in {opened.path}", quiet=quiet)
    mtime_ns = features.stat().st_mtime_ns
    wanted = truth.wanted
    try:
        with progress("features", "videos", quiet=quiet) as report:
            done = opened.add_features(features, only=wanted, progress=report)
    except KeyboardInterrupt:
        tell_how_to_go_on()
        raise
    tell_what_was_done(done, opened, quiet=quiet)
    records = opened.list()
    prefix = feature_set_path(features, "")
    return _Added.of(
        done,
        features,
        wanted,
        records,
        # What an earlier state of the file held has an earlier time.
        ids={r.id for r in records if r.file.path.startswith(prefix) and r.file.mtime_ns == mtime_ns},
        id_of=lambda path: path.removeprefix(prefix),
    )


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
    from visil.cli.evaluation_output import print_segments
    from visil.evaluation.data_sets import load_segments
    from visil.evaluation.published_results import published_results
    from visil.evaluation.segment_files import read_predictions
    from visil.evaluation.segments import evaluate_segments

    truth = load_segments(data_set, annotations=annotations, split=split)
    evaluation = evaluate_segments(truth, read_predictions(segments, truth))
    if plot is not None:
        from visil.report.precision_recall import Curve, draw_precision_recall

        if not len(evaluation.recall):
            raise DataError(f"--plot {plot}: {evaluation.data_set} is measured without a curve")
        draw_precision_recall(
            plot, evaluation.data_set, [Curve("", "segment AP", evaluation.recall, evaluation.precision)]
        )
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
    from visil.cli.evaluation_output import print_evaluation, tell_what_matters
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
        _draw(plot, evaluation, other)
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


def _draw(path: Path, evaluation: Evaluation, other: Evaluation | None) -> None:
    from visil.report.precision_recall import Curve, draw_precision_recall

    curves = []
    for run in (evaluation, *([other] if other is not None else [])):
        for task in run.tasks:
            if task.mean_average_precision is not None:
                value = task.mean_average_precision.value.value
                label = f"{task.name}{'' if run is evaluation else ', other run'} (mAP {value:.3f})"
                curves.append(Curve(task.name, label, task.recall, task.precision, is_other=run is not evaluation))
    queries = evaluation.coverage.queries
    draw_precision_recall(path, f"{evaluation.data_set}, {queries.found} of {queries.total} queries", curves)


def _run_facts() -> dict[str, Any]:
    """What a second run needs to be the same."""
    import platform

    from visil.evaluation.evaluation_report import package_versions

    return {"python": platform.python_version(), "versions": package_versions(), "command": sys.argv[1:]}

"""How `visil evaluate` prints what was found: tables that fit 80 columns, JSON, CSV, notices, pictures."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from visil.cli.output import Rows, counted, human_bytes, notice, print_table, printable
from visil.errors import DataError
from visil.evaluation.evaluation_report import (
    CSV_COLUMNS,
    MICRO_AP,
    Difference,
    csv_rows,
    header,
    measures,
    task_row,
    ties_that_matter,
)
from visil.evaluation.published_results import PublishedResult
from visil.evaluation.results import Evaluation, SegmentEvaluation

Table = list[Sequence[str]]  # the first row holds the headings
Ours = Mapping[tuple[str, str], float]  # task and metric -> value


def print_evaluation(
    evaluation: Evaluation,
    style: str,
    *,
    facts: Mapping[str, Any],
    published: Sequence[PublishedResult],
    compared: Sequence[Difference],
    more: Mapping[str, Any],
    per_query: bool,
) -> None:
    """Print the evaluation of a ranking.

    Args:
        facts: of the run: what becomes the manifest.
        more: what JSON holds beside manifest, coverage, warnings and published results.
    """
    about = header(evaluation, facts)
    if style == "table":
        for table in _tables(evaluation, compared, per_query=per_query):
            _print_table(table)
        _print_published(published, _our_values(evaluation), by_task=True)
        _print_facts(about)
        return
    rows = Rows(style, CSV_COLUMNS, header={**about, "published": list(map(asdict, published)), **more})
    found = csv_rows(evaluation, compared=compared, per_query=per_query) if style == "csv" else evaluation.tasks
    for row in found:
        rows.add(row if isinstance(row, dict) else task_row(row))
    rows.close()


def print_segments(
    evaluation: SegmentEvaluation, style: str, *, facts: Mapping[str, Any], published: Sequence[PublishedResult]
) -> None:
    """Print the figures of a data set of segments."""
    about = header(evaluation, facts)
    if style == "table":
        _print_table([("figure", "value"), *((name, f"{value:.4f}") for name, value in evaluation.figures.items())])
        ours = {(result.task, name): value for result in published for name, value in evaluation.figures.items()}
        _print_published(published, ours, by_task=False)
        _print_facts(about)
        return
    columns = ("data_set", "figure", "value", "num_pairs", "num_predicted")
    curve = {"recall": evaluation.recall.tolist(), "precision": evaluation.precision.tolist()}
    rows = Rows(style, columns, header={**about, "published": list(map(asdict, published)), "curve": curve})
    shared = {"num_pairs": evaluation.num_pairs, "num_predicted": evaluation.num_predicted}
    for name, value in evaluation.figures.items():
        rows.add({"data_set": evaluation.data_set, "figure": name, "value": value, **shared})
    rows.close()


def tell_what_matters(evaluation: Evaluation, *, quiet: bool) -> None:
    """Notices: what was ignored or is missing, and how much the order of equal scores decides."""
    for warning in evaluation.warnings:
        notice(warning, quiet=quiet)
    unsure = ties_that_matter(evaluation)
    if unsure:
        name, metric, measure = unsure[0]
        more = f", {counted(len(unsure) - 1, 'more metrics')} too" if len(unsure) > 1 else ""
        notice(
            f"equal scores matter: by their order {name} {metric} is {measure.worst:.4f} to {measure.best:.4f}{more} "
            "(worst and best in json and csv)",
            quiet=quiet,
        )


def draw_evaluation(path: Path, evaluation: Evaluation, other: Evaluation | None) -> None:
    """Draw the curve of every task, those of the other run dashed.

    Raises:
        DataError: the file cannot be written.
    """
    from visil.report.precision_recall import Curve, draw_precision_recall

    curves = []
    for run in (evaluation, *([other] if other is not None else [])):
        for task in run.tasks:
            if task.mean_average_precision is not None:
                value = task.mean_average_precision.value.value
                label = f"{task.name}{'' if run is evaluation else ', other run'} (mAP {value:.3f})"
                curves.append(Curve(task.name, label, task.recall, task.precision, is_other=run is not evaluation))
    queries = evaluation.coverage.queries
    draw_precision_recall(
        path, f"{evaluation.data_set}, {queries.found} of {counted(queries.total, 'queries')}", curves
    )


def draw_segments(path: Path, evaluation: SegmentEvaluation) -> None:
    """Draw the curve of segment AP.

    Raises:
        DataError: the data set is measured without one, or the file cannot be written.
    """
    from visil.report.precision_recall import Curve, draw_precision_recall

    if not len(evaluation.recall):
        raise DataError(f"--plot {path}: {evaluation.data_set} is measured without a curve")
    draw_precision_recall(path, evaluation.data_set, [Curve("", "segment AP", evaluation.recall, evaluation.precision)])


def _tables(
    evaluation: Evaluation,
    compared: Sequence[Difference],
    *,
    per_query: bool,
) -> Iterator[Table]:
    """Queries if asked for, events where a data set has them, metrics, the other run."""
    if per_query:
        yield _query_table(evaluation)
    for task in evaluation.tasks:
        if task.group_means:
            means = ((event, f"{value:.4f}") for event, value in task.group_means.items())
            yield [("event", f"{task.name} mAP"), *means]
    yield _metric_table(evaluation)
    if compared:
        yield _difference_table(compared)


def _metric_table(evaluation: Evaluation) -> Table:
    rows: Table = [("task", "metric", "value", "95% interval", "strict", "queries", "missing", "relevant")]
    for task in evaluation.tasks:
        pairs = f"{task.num_relevant}/{task.num_relevant_strict}"
        counts = (str(task.num_queries), str(task.num_missing), pairs)
        found = list(measures(task))
        for name, metric, measure in found:
            value = measure.value
            interval = f"{value.low:.3f}-{value.high:.3f}"
            rows.append((name, metric, f"{value.value:.4f}", interval, f"{measure.strict:.4f}", *counts))
        if not found:
            rows.append((task.name, "", "", "", "", *counts))
    return rows


def _difference_table(compared: Sequence[Difference]) -> Table:
    rows: Table = [("task", "metric", "here", "other", "difference", "95% interval", "strict")]
    for row in compared:
        interval = "" if row.low is None or row.high is None else f"{row.low:+.4f} {row.high:+.4f}"
        strict = "" if row.strict is None else f"{row.strict:+.4f}"
        values = (f"{row.value:.4f}", f"{row.other:.4f}", f"{row.difference:+.4f}")
        rows.append((row.task, row.metric, *values, interval, strict))
    return rows


def _query_table(evaluation: Evaluation) -> Table:
    """Average precision of every query that has one in any task."""
    queries = dict.fromkeys(query for task in evaluation.tasks for query in task.average_precision)
    rows: Table = [("query", *(task.name for task in evaluation.tasks))]
    for query in queries:
        values = (task.average_precision.get(query) for task in evaluation.tasks)
        rows.append((query, *("" if value is None else f"{value:.3f}" for value in values)))
    return rows


def _our_values(evaluation: Evaluation) -> dict[tuple[str, str], float]:
    """(task, metric) -> value; a detection without a name of its own goes by both names."""
    values = {}
    for task in evaluation.tasks:
        for name, metric, measure in measures(task):
            values[name, metric] = measure.value.value
            if metric == MICRO_AP:
                values[task.detection_name, metric] = measure.value.value
    return values


def _published_table(
    title: str, results: Sequence[PublishedResult], columns: Mapping[str, tuple[str, str]], ours: Ours
) -> tuple[Table, list[str]]:
    """What papers report beside what was found here: a row for each system, and notes below.

    Args:
        columns: heading -> (task, metric).
    """
    digits = 3 if all(round(result.value, 3) == result.value for result in results) else 4
    sources = list(dict.fromkeys(result.source for result in results))
    found: dict[tuple[str, str], dict[tuple[str, str], str]] = {}  # system and source -> task and metric -> value
    for result in results:
        mark = "" if result.is_confirmed else "?"
        of_system = found.setdefault((result.system, result.source), {})
        of_system[result.task, result.metric] = f"{result.value:.{digits}f}{mark}"
    rows: Table = [(title, *columns, "source")]
    rows.append(("here", *(f"{ours[key]:.4f}" for key in columns.values()), ""))
    for (system, source), values in found.items():
        cells = (values.get(key, "") for key in columns.values())
        rows.append((system, *cells, f"[{sources.index(source) + 1}]"))
    notes = [f"[{number}] {source}" for number, source in enumerate(sources, start=1)]
    if not all(result.is_confirmed for result in results):
        notes.append("?   could not be checked in the source")
    return rows, notes


def _print_table(table: Table) -> None:
    print_table(table)
    click.echo()


def _print_published(published: Sequence[PublishedResult], ours: Ours, *, by_task: bool) -> None:
    """Print a table for each metric with the tasks as columns, or one with the metrics as columns."""
    known = [result for result in published if (result.task, result.metric) in ours]
    for metric in dict.fromkeys(result.metric for result in known) if by_task else [""]:
        results = [result for result in known if metric in ("", result.metric)]
        columns = {(r.task if by_task else r.metric): (r.task, r.metric) for r in results}
        if results:
            table, notes = _published_table(f"published {metric}".rstrip(), results, columns, ours)
            print_table(table)
            click.echo("\n".join([*notes, ""]))


def _print_facts(about: Mapping[str, Any]) -> None:
    for title, text in _facts(about):
        click.echo(f"{title:<13}{printable(text)}")


def _facts(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(title, text) of what the numbers rest on."""
    manifest, coverage = about["manifest"], about["coverage"]
    yield "data set", f"{manifest['data_set']}: {manifest['annotation']}"
    if "queries" in coverage:
        videos = "database videos" if coverage["knows_available"] else "database videos scored for any query"
        parts = {"queries": "queries", "database": videos, "relevant_pairs": "relevant pairs"}
        shares = (
            f"{coverage[part]['found']} of {counted(coverage[part]['total'], name)}" for part, name in parts.items()
        )
        yield "coverage", ", ".join(shares)
        if not coverage["knows_available"]:
            yield "available", "not known of a file of scores: strict differs from value by missing queries alone"
        yield "ties", manifest["ties"]
        yield (
            "intervals",
            f"{manifest['num_resamples']} bootstrap samples of queries, related ones together, seed {manifest['seed']}",
        )
    else:
        yield "coverage", f"{coverage['num_predicted']} of {counted(coverage['num_pairs'], 'pairs')} predicted"
    for kind in ("similarities", "segments"):
        if kind in manifest:
            yield "scores", manifest[kind]
    if "library" in manifest:
        yield from _library_facts(manifest["library"], manifest["encoding"])
    versions = (f"{name} {version}" for name, version in manifest["versions"].items() if version is not None)
    yield "versions", ", ".join(versions)
    yield "command", shlex.join(["visil", *manifest["command"]])


def _library_facts(library: Mapping[str, Any], encoding: Mapping[str, float] | None) -> Iterator[tuple[str, str]]:
    yield "library", f"{library['path']}, {counted(library['num_videos'], 'database videos')}"
    system = f"{library['bundle_name']} ({library['bundle_hash'][:12]}), sampling {library['sampling']}"
    yield "bundle", f"{system}, {library['precision']} on {library['device']}"
    yield "fine scores", f"{library['num_fine']} (--rerank {library['rerank']})"
    costs = [f"{human_bytes(library['bytes_per_video'])} a video"]
    if library["query_s"] is not None:
        costs.append(f"{library['query_s']:.3g} s a query, without encoding it")
    if encoding is not None:
        costs.append(f"{encoding['samples_per_s']:.3g} samples a second decoded and encoded")
    yield "cost", ", ".join(costs)

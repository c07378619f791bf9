"""An evaluation as a report: JSON that can be read again, flat rows for CSV, and the difference of two runs.

Evaluation ─► [header and rows] ─► table, JSON, CSV, picture
              this module ▲
                          └─ [JSON report of another run ─► differences]
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from visil.errors import DataError
from visil.evaluation.metrics import Interval
from visil.evaluation.results import Coverage, Evaluation, Measure, SegmentEvaluation, Share, TaskResult
from visil.evaluation.tables import check_regular, one_line

MAP, MICRO_AP = "mAP", "micro-AP"
DECIMALS = 6  # of resampled values and curves: beyond the width of any interval
PACKAGES = ("visil", "torch", "timm", "av", "numpy", "pylance", "imagehash", "pdqhash", "onnxruntime")
TIES_MATTER = 1e-4  # difference between best and worst order of equal scores that is told

COVERAGE_COLUMNS = ("queries", "database", "relevant_pairs")
CSV_COLUMNS = (
    "data_set", "task", "metric", "query", "event", "value", "low", "high", "strict", "best", "worst", "ties",
    "queries", "skipped_queries", "missing_queries", "relevant_pairs", "strict_relevant_pairs",
    *(f"coverage_{name}_{end}" for name in COVERAGE_COLUMNS for end in ("found", "total")),
    "other", "difference", "difference_low", "difference_high", "strict_difference",
)  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """A metric of two runs.

    Attributes:
        value, other: of this run and of the other one, over the queries that both have.
        low, high: bootstrap interval of `value - other`; None where the runs did not see the same samples.
        strict: difference of the strict values; None where the runs have different queries.
    """

    task: str
    metric: str
    value: float
    other: float
    low: float | None
    high: float | None
    strict: float | None

    @property
    def difference(self) -> float:
        return self.value - self.other


def measures(task: TaskResult) -> Iterator[tuple[str, str, Measure]]:
    """(name of the task, metric, measure) of what could be measured; the detection has a name of its own in FIVR."""
    if task.mean_average_precision is not None:
        yield task.name, MAP, task.mean_average_precision
    if task.micro_average_precision is not None:
        name = task.name if task.detection_name == MICRO_AP else task.detection_name
        yield name, MICRO_AP, task.micro_average_precision


def ties_that_matter(evaluation: Evaluation) -> list[tuple[str, str, Measure]]:
    """What `measures` names where the order of equal scores changes it by more than TIES_MATTER, the widest first."""
    found = [
        (name, metric, measure)
        for task in evaluation.tasks
        for name, metric, measure in measures(task)
        if measure.best - measure.worst > TIES_MATTER
    ]
    return sorted(found, key=lambda row: row[2].worst - row[2].best)


# --- JSON --------------------------------------------------------------------------------------------------------


def header(evaluation: Evaluation | SegmentEvaluation, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What is said once of a run: the manifest with the settings of the evaluation, coverage, warnings."""
    settings: dict[str, Any] = {"data_set": evaluation.data_set, "annotation": evaluation.source}
    if isinstance(evaluation, SegmentEvaluation):
        coverage = {"num_pairs": evaluation.num_pairs, "num_predicted": evaluation.num_predicted}
    else:
        settings |= {"truth_hash": evaluation.truth_hash, "ties": evaluation.ties}
        settings |= {"seed": evaluation.seed, "num_resamples": evaluation.num_resamples}
        coverage = asdict(evaluation.coverage)
    return {"manifest": {**manifest, **settings}, "coverage": coverage, "warnings": list(evaluation.warnings)}


def task_row(task: TaskResult) -> dict[str, Any]:
    """Everything that was found for a task; `read_report` reads it back."""
    return {
        "task": task.name,
        "detection": task.detection_name,
        MAP: _measure_row(task.mean_average_precision),
        MICRO_AP: _measure_row(task.micro_average_precision),
        "queries": task.num_queries,
        "skipped_queries": task.num_skipped,
        "missing_queries": task.num_missing,
        "relevant_pairs": task.num_relevant,
        "strict_relevant_pairs": task.num_relevant_strict,
        "pool": task.pool,
        "recall": _rounded(task.recall),
        "precision": _rounded(task.precision),
        "event_means": dict(task.group_means),
        "average_precision": dict(task.average_precision),
        "resampled": {metric: _samples_row(measure) for _, metric, measure in measures(task)},
    }


def _measure_row(measure: Measure | None) -> dict[str, Any] | None:
    if measure is None:
        return None
    return {**asdict(measure.value), "strict": measure.strict, "best": measure.best, "worst": measure.worst}


def _samples_row(measure: Measure) -> list[float | None]:
    """Values of the bootstrap samples; null where a sample has none."""
    return [None if math.isnan(value) else value for value in _rounded(measure.resampled)]


def _rounded(values: np.ndarray) -> list[float]:
    rounded: list[float] = np.round(values, DECIMALS).tolist()
    return rounded


def read_report(path: Path) -> Evaluation:
    """The evaluation in a report that `visil evaluate --format json` or `jsonl` printed.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    check_regular(path)
    try:
        return _evaluation(*_header_and_rows(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else one_line(error)
        raise DataError(f"{path}: not a report of `visil evaluate --format json` on a ranking ({found})") from error


def _header_and_rows(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Both of a JSON report; JSON lines have one of them in every line."""
    try:
        report = json.loads(text, parse_constant=_refuse)
        return report, report["rows"]
    except json.JSONDecodeError:
        first, *rows = (json.loads(line, parse_constant=_refuse) for line in text.splitlines() or ["{}"])
        return first, rows


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no value of a metric")


def _evaluation(header: dict[str, Any], rows: list[dict[str, Any]]) -> Evaluation:
    manifest = header["manifest"]
    return Evaluation(
        data_set=str(manifest["data_set"]),
        source=str(manifest["annotation"]),
        ties=str(manifest["ties"]),
        seed=int(manifest["seed"]),
        num_resamples=int(manifest["num_resamples"]),
        tasks=tuple(map(_task, rows)),
        coverage=_coverage(header["coverage"]),
        warnings=tuple(map(str, header["warnings"])),
        truth_hash=str(manifest["truth_hash"]),
    )


def _coverage(table: dict[str, Any]) -> Coverage:
    queries, database, pairs = (Share(int(table[n]["found"]), int(table[n]["total"])) for n in COVERAGE_COLUMNS)
    missing_queries, missing_videos = (tuple(map(str, table[name])) for name in ("missing_queries", "missing_videos"))
    return Coverage(queries, database, pairs, missing_queries, missing_videos, bool(table["knows_available"]))


def _task(row: dict[str, Any]) -> TaskResult:
    recall, precision = (np.array(row[name], dtype=np.float64) for name in ("recall", "precision"))
    if recall.ndim != 1 or recall.shape != precision.shape or not np.isfinite([*recall, *precision]).all():
        raise ValueError("recall and precision are no curve")
    return TaskResult(
        name=str(row["task"]),
        detection_name=str(row["detection"]),
        mean_average_precision=_measure(row, MAP),
        micro_average_precision=_measure(row, MICRO_AP),
        average_precision={query: float(value) for query, value in row["average_precision"].items()},
        group_means={event: float(value) for event, value in row["event_means"].items()},
        num_skipped=int(row["skipped_queries"]),
        num_missing=int(row["missing_queries"]),
        num_relevant=int(row["relevant_pairs"]),
        num_relevant_strict=int(row["strict_relevant_pairs"]),
        pool=str(row["pool"]),
        recall=recall,
        precision=precision,
    )


def _measure(row: dict[str, Any], metric: str) -> Measure | None:
    if row[metric] is None:
        return None
    names = ("value", "low", "high", "strict", "best", "worst")
    value, low, high, strict, best, worst = (float(row[metric][name]) for name in names)
    resampled = np.array(row["resampled"][metric], dtype=np.float64)  # null becomes nan
    is_number = np.isfinite([value, low, high, strict, best, worst]).all() and not np.isinf(resampled).any()
    if resampled.ndim != 1 or not is_number:
        raise ValueError("a value of a metric is not a finite number")
    return Measure(Interval(value, low, high), strict, best, worst, resampled)


# --- against another run -----------------------------------------------------------------------------------------


def check_same_data_set(data_set: str, truth_hash: str, other: Evaluation) -> None:
    """Say before the work begins that the other run cannot be compared.

    Raises:
        DataError: it is of a data set with another name and another annotation.
    """
    if other.data_set != data_set and other.truth_hash != truth_hash:
        raise DataError(f"the other run is of {other.data_set}, this one of {data_set}: no comparison")


def differences(evaluation: Evaluation, other: Evaluation) -> tuple[list[Difference], list[str]]:
    """How two runs differ, task by task, and what keeps them from being compared as they stand.

    The interval is paired: both runs drew the same queries in every bootstrap sample, so what a hard query costs both
    cancels; samples in which one of them has no value are dropped. It needs the same queries, seed and number of
    samples. With other queries the mAP is that of the queries
    both have, without interval, and the micro-AP, which is one ranking of all, cannot be compared. Of two annotations
    of one data set, such as before and after a correction, nothing has an interval.

    Raises:
        DataError: the other run is of another data set, or has no task of this one.
    """
    check_same_data_set(evaluation.data_set, evaluation.truth_hash, other)
    theirs = {task.name: task for task in other.tasks}
    shared = [(task, theirs[task.name]) for task in evaluation.tasks if task.name in theirs]
    if not shared:
        raise DataError(f"the other run has no task of this one ({', '.join(theirs) or 'none at all'})")
    notes = []
    if evaluation.ties != other.ties:
        notes.append(f"equal scores rank by {evaluation.ties!r} here and by {other.ties!r} in the other run")
    sampling, their_sampling = ((run.num_resamples, run.seed) for run in (evaluation, other))
    same_samples, same_truth = sampling == their_sampling, evaluation.truth_hash == other.truth_hash
    if not same_truth:
        notes.append(
            f"the annotation of {evaluation.data_set} was another one in the other run: differences are also those of "
            "what is relevant, and have no interval"
        )
    if not same_samples:
        notes.append(
            f"{sampling[0]} bootstrap samples of seed {sampling[1]} here, {their_sampling[0]} of seed "
            f"{their_sampling[1]} in the other run: differences have no interval"
        )
    found = []
    for task, their_task in shared:
        rows, of_task = _task_differences(task, their_task, paired=same_samples and same_truth)
        found += rows
        notes += of_task
    return found, notes


def _task_differences(task: TaskResult, other: TaskResult, *, paired: bool) -> tuple[list[Difference], list[str]]:
    """Rows and notes of one task; see `differences`."""
    if list(task.average_precision) != list(other.average_precision):
        common = [query for query in task.average_precision if query in other.average_precision]
        note = (
            f"{task.name}: {task.num_queries} queries here, {other.num_queries} in the other run; the difference is "
            f"over the {len(common)} of both, without interval and without micro-AP"
        )
        if not common:
            return [], [note]
        here, there = (float(np.mean([t.average_precision[q] for q in common])) for t in (task, other))
        return [Difference(task.name, MAP, here, there, low=None, high=None, strict=None)], [note]
    notes = []
    if task.num_relevant != other.num_relevant:
        notes.append(
            f"{task.name}: {task.num_relevant} relevant pairs were counted here, {other.num_relevant} in the other "
            "run, which read other videos: compare the strict values"
        )
    same_pool = task.pool == other.pool  # the micro-AP also ranks the videos of queries without anything relevant
    if paired and not same_pool:
        notes.append(f"{task.name}: the micro-AP ranks the videos of other queries here, so it has no interval")
    theirs = {metric: measure for _, metric, measure in measures(other)}
    rows = [
        _difference(name, metric, measure, theirs[metric], paired=paired and (same_pool or metric == MAP))
        for name, metric, measure in measures(task)
        if metric in theirs
    ]
    return rows, notes


def _difference(task: str, metric: str, measure: Measure, other: Measure, *, paired: bool) -> Difference:
    value, their_value = measure.value.value, other.value.value
    low = high = None
    if paired and len(measure.resampled) == len(other.resampled) > 0:
        samples = np.round(measure.resampled, DECIMALS) - np.round(other.resampled, DECIMALS)  # as reports keep them
        interval = Interval.of(value - their_value, samples)
        low, high = interval.low, interval.high
    return Difference(task, metric, value, their_value, low, high, measure.strict - other.strict)


# --- rows --------------------------------------------------------------------------------------------------------


def csv_rows(
    evaluation: Evaluation, *, compared: Sequence[Difference] = (), per_query: bool = False
) -> Iterator[dict[str, Any]]:
    """Rows of CSV_COLUMNS: one for every metric, event and, if asked for, query; what does not apply is None."""
    difference_of = {(row.task, row.metric): row for row in compared}
    shared: dict[str, Any] = {"data_set": evaluation.data_set, "ties": evaluation.ties}
    for name in COVERAGE_COLUMNS:
        share = getattr(evaluation.coverage, name)
        shared |= {f"coverage_{name}_found": share.found, f"coverage_{name}_total": share.total}
    for task in evaluation.tasks:
        for name, metric, measure in measures(task):
            row = dict.fromkeys(CSV_COLUMNS) | shared | {"task": name, "metric": metric} | asdict(measure.value)
            row |= {"strict": measure.strict, "best": measure.best, "worst": measure.worst}
            row |= {name: value for name, value in task_row(task).items() if name in CSV_COLUMNS and name != "task"}
            if (difference := difference_of.get((name, metric))) is not None:
                row |= {"other": difference.other, "difference": difference.difference}
                row |= {"difference_low": difference.low, "difference_high": difference.high}
                row |= {"strict_difference": difference.strict}
            yield row
        of_task = dict.fromkeys(CSV_COLUMNS) | shared | {"task": task.name}
        for event, value in task.group_means.items():
            yield of_task | {"metric": MAP, "event": event, "value": value}
        for query, value in task.average_precision.items() if per_query else ():
            yield of_task | {"metric": "AP", "query": query, "value": value}


def package_versions() -> dict[str, str | None]:
    """Versions of what numbers depend on, None for what is not installed; imports none of it."""
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

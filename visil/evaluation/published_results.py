"""Published results of other systems, to stand beside ours: `published_results.csv`, with the source of each.

    published_results.csv ─► [published_results] ─► evaluation_report

A figure that is known from memory of the paper only, and was not seen in any source that could be opened, is marked as
unconfirmed: a target to check, never a test.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class PublishedResult:
    """One figure of a paper.

    Attributes:
        data_set: name as of the ground truth.
        task: name of the `Task` (mAP), or its detection name (micro-AP).
        metric: `mAP`, `micro-AP`, or a figure of segments: `segment AP`, `precision`, `recall`, `F1`.
        value: in [0, 1].
        source: where the figure was published or is quoted.
        is_confirmed: seen in that source; else recalled only.
    """

    data_set: str
    task: str
    metric: str
    system: str
    value: float
    source: str
    is_confirmed: bool


def published_results(data_set: str) -> Sequence[PublishedResult]:
    """All figures of a data set, in the order of the file; none for a data set that is not known."""
    return [result for result in _all_results() if result.data_set == data_set]


@cache
def _all_results() -> tuple[PublishedResult, ...]:
    text = resources.files("visil.evaluation").joinpath("published_results.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedResult(
            data_set=row["data_set"],
            task=row["task"],
            metric=row["metric"],
            system=row["system"],
            value=float(row["value"]),
            source=row["source"],
            is_confirmed=row["is_confirmed"] == "yes",
        )
        for row in csv.DictReader(io.StringIO(text))
    )

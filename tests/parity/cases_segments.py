"""The cases of copied segments: the matching and descriptor tracks of VSC2022, the copy overlap of VCSL."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.harness import Case, case
from visil.evaluation.annotation_files import VSC_FILE
from visil.evaluation.copy_sets import vsc2022
from visil.evaluation.evaluate import evaluate
from visil.evaluation.metrics import GROUP, STABLE
from visil.evaluation.scores import MappedScores
from visil.evaluation.segments import (
    PairBoxes,
    copy_overlap,
    error_rates,
    overall,
    pairwise_micro_ap,
    per_query_set,
    segment_curve,
)

SEGMENT_CASES = ("calibration", "cross", "negative_scores", "perfect", "random", "random_ties", "split")
DESCRIPTOR_CASES = ("vsc_descriptor_uap", "vsc_descriptor_uap_negative", "vsc_descriptor_uap_ties")
COLUMNS = ("query_start", "ref_start", "query_end", "ref_end")


@case("evaluation", *(f"vsc_segment_{name}" for name in SEGMENT_CASES))
def vsc_segments(case: Case) -> Mapping[str, Any]:
    truth, predictions = (_from_rows(case.inputs[name]) for name in ("ground_truth", "predictions"))
    curve = segment_curve(truth, predictions)
    points = np.stack([curve.rising.scores, curve.rising.recall, curve.rising.precision], axis=1)
    return {
        "segment_ap": curve.average_precision,
        "curve_score_recall_precision": points.tolist(),
        "pairwise_micro_ap": pairwise_micro_ap(truth, predictions),
    }


@case("evaluation", *DESCRIPTOR_CASES)
def vsc_descriptor(case: Case) -> Mapping[str, Any]:
    """Through the files of the data set: a ground truth in segments, of which the track uses the pairs."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [[query, reference, 0, 1, 0, 1] for query, reference in case.inputs["ground_truth"]]
        with (Path(folder) / VSC_FILE.format(split="test")).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(
                [["query_id", "ref_id", "query_start", "query_end", "ref_start", "ref_end"], *rows]
            )
        truth = vsc2022(Path(folder), "test")
    scores: dict[str, dict[str, float]] = {}
    for query, reference, score in case.inputs["predictions"]:
        scores.setdefault(query, {})[reference] = score
    produced = {}
    for name, ties in (("uAP", GROUP), ("uAP_stable", STABLE)):
        (task,) = evaluate(truth, MappedScores(scores), ties=ties, num_resamples=1).tasks
        assert task.micro_average_precision is not None
        produced[name] = task.micro_average_precision.value.value
    return produced


@case("evaluation", "vcsl_segments")
def vcsl_segments(case: Case) -> Mapping[str, Any]:
    keys = list(case.inputs["predictions"])  # every pair of the split
    truth = PairBoxes.of({(key, ""): case.inputs["ground_truth"].get(key, []) for key in keys})
    predictions = PairBoxes.of({(key, ""): boxes for key, boxes in case.inputs["predictions"].items()})
    overlap = copy_overlap(truth, predictions)
    sets = [np.array([keys.index(key) for key in members]) for members in case.inputs["query_sets"].values()]
    micro, macro = overall(overlap), per_query_set(overlap, sets)
    produced: dict[str, Any] = {
        "pairs": dict(zip(keys, np.stack([overlap.precision, overlap.recall], axis=1).tolist(), strict=True)),
        "per_query_set": {
            "recall": macro.recall,
            "precision": macro.precision,
            "f1": macro.f1,
            "sets": len(sets),
        },
    }
    for ratio in case.params["ratio"]:
        misses, alarms = error_rates(overlap, ratio)
        produced[f"overall_ratio_{ratio:g}"] = {
            "recall": micro.recall,
            "precision": micro.precision,
            "f1": micro.f1,
            "frr": misses,
            "far": alarms,
        }
    return produced


@case("evaluation", "vcsl_pairs_by_hand")
def vcsl_pairs_by_hand(case: Case) -> Mapping[str, Any]:
    """Every row is one pair of videos; only what this module computes takes the place of the published value."""
    rows = json.loads((case.folder / "expected.json").read_text(encoding="utf-8"))["rows"]
    truth, predictions = (
        PairBoxes.of({(str(i), ""): row[name] for i, row in enumerate(rows)}) for name in ("gt", "pred")
    )
    overlap = copy_overlap(truth, predictions)
    return {
        "rows": [
            {**row, "expected": [precision, recall]}
            for row, precision, recall in zip(rows, overlap.precision, overlap.recall, strict=True)
        ]
    }


def _from_rows(rows: Sequence[Mapping[str, Any]]) -> PairBoxes:
    pairs = {(row["query_id"], row["ref_id"]): None for row in rows}
    number = {pair: i for i, pair in enumerate(pairs)}
    return PairBoxes(
        tuple(pairs),
        np.array([number[row["query_id"], row["ref_id"]] for row in rows], dtype=np.int64),
        np.array([[row[name] for name in COLUMNS] for row in rows], dtype=np.float64).reshape(len(rows), 4),
        np.array([row.get("score", 0.0) for row in rows], dtype=np.float64),
    )

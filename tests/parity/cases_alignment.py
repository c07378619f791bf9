"""The kinds of cases of temporal alignment: the published methods, their parts, and the pipeline of VSC2022.

Each function gives what its case's expected file holds from the case's inputs, by the code of visil.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tests.parity.harness import Arrays, Case, case
from visil.align.boxes import inclusive_iou
from visil.align.candidate_pairs import candidate_pairs
from visil.align.dynamic_programming import DynamicProgramming, chain_sums, dynamic_programming, trace
from visil.align.hough_voting import HoughVoting, hough_voting
from visil.align.localisation import TimedMatch, timed_matches
from visil.align.path_cutting import cut_path
from visil.align.score_normalisation import ScoreNormalisation, normalised_descriptors
from visil.align.temporal_network import TemporalNetwork, temporal_network
from visil.align.time_warping import TimeWarping, time_warping, warping_path

# Published names of parameters: ours.
RENAMED = {
    "tn_max_step": "max_step",
    "tn_top_k": "top_k",
    "l2_normalize": "l2_normalises",
    "replace_dim": "replaces_dim",
}
METHODS = {
    "TN": (TemporalNetwork, temporal_network),
    "HV": (HoughVoting, hough_voting),
    "DP": (DynamicProgramming, dynamic_programming),
    "DTW": (TimeWarping, time_warping),
}
SPEEDS = ("0_5", "0_75", "1", "1_5", "2")
MATRICES = (
    *(f"diag_speed_{speed}" for speed in SPEEDS),
    *("reversed", "repeated_in_reference", "two_segments", "two_segments_swapped", "gappy", "short_segment"),
    *("noise", "negative_background", "tall", "wide", "tiny"),
)


def expected(case: Case) -> Any:
    """What expected.json holds: these cases list their parameters there, and some their inputs."""
    return json.loads((case.folder / "expected.json").read_text(encoding="utf-8"))


def ours(params: Mapping[str, Any]) -> dict[str, Any]:
    """Published parameters by our names."""
    return {RENAMED.get(name, name): value for name, value in params.items()}


@case("alignment", *MATRICES)
def boxes(case: Case) -> Arrays:
    results = []
    for row in expected(case)["results"]:
        settings, method = METHODS[row["method"]]
        found: np.ndarray = method(case.inputs["sim"], settings(**ours(row["params"])))  # type: ignore[operator]
        results.append({**row, "boxes": found.tolist()})
    return {"results": results}


@case("alignment", "dp_internals")
def dp_internals(case: Case) -> Arrays:
    settings = DynamicProgramming(discontinue=case.params["discontinue"], min_sim=case.params["min_sim"])
    chains = chain_sums(case.inputs["sim"] + case.inputs["sim"].dtype.type(case.params["shift"]), settings)
    row, column = divmod(int(chains.sums.argmax()), chains.sums.shape[1])
    path = trace(chains.sums, chains.back, (row, column))
    return {"dp": chains.sums, "unmatched": chains.unmatched, "back": chains.back, "path": path}


@case("alignment", "dtw_internals")
def dtw_internals(case: Case) -> Arrays:
    path, cost = warping_path(case.inputs["sim"])
    return {"path": path, "cost": cost}


@case("alignment", "cut_path")
def path_ranges(case: Case) -> Arrays:
    rows = expected(case)["rows"]
    return {"rows": [{**row, "ranges": cut_path(np.array(row["path"]), row["threshold"])} for row in rows]}


@case("alignment", "iou")
def iou(case: Case) -> Arrays:
    rows = expected(case)["rows"]
    return {"rows": [{**row, "iou": inclusive_iou(np.array(row["a"]), np.array([row["b"]]))[0]} for row in rows]}


@case("alignment", "vsc_score_normalization")
def score_normalisation(case: Case) -> Arrays:
    sides = [descriptors(case, side) for side in ("query", "ref", "noise")]
    produced = {}
    for variant, params in case.params.items():
        queries, targets = normalised_descriptors(*sides, ScoreNormalisation(**ours(params)))
        produced |= {f"{variant}/{id}": vectors for id, vectors in (queries | targets).items()}
    return produced


@case("alignment", "vsc_candidates")
def candidates(case: Case) -> Arrays:
    sides = [descriptors(case, side) for side in ("query", "ref")]
    return {
        str(global_k): [[pair.query, pair.target, pair.score] for pair in candidate_pairs(*sides, global_k=global_k)]
        for global_k in case.params["global_k"]
    }


@case("alignment", "vsc_localization")
def localisation(case: Case) -> Arrays:
    published = expected(case)
    variants = {
        name: {
            "params": variant["params"],
            "matches": localised(case, published["candidates"], name, variant["params"], has_inclusive_ends=False),
            "scores_with_inclusive_ends": [
                row["score"]
                for row in localised(case, published["candidates"], name, variant["params"], has_inclusive_ends=True)
            ],
        }
        for name, variant in published["variants"].items()
    }
    return {**published, "variants": variants}


def localised(
    case: Case, pairs: list[Any], variant: str, params: Mapping[str, Any], *, has_inclusive_ends: bool
) -> list[dict[str, Any]]:
    """The matches of a variant of the baseline; in one of them they have the score of their candidate."""
    network = TemporalNetwork(max_step=params["tn_max_step"], min_length=params["min_length"])
    rows = []
    for query, target, score in pairs:
        similarity = case.inputs[f"query/{query}/feature"] @ case.inputs[f"ref/{target}/feature"].T
        times_s = (case.inputs[f"{name}/timestamps"] for name in (f"query/{query}", f"ref/{target}"))
        found = timed_matches(
            similarity, *times_s, bias=params["similarity_bias"], network=network, has_inclusive_ends=has_inclusive_ends
        )
        if variant == "candidate_score":
            found = [replace(match, score=score) for match in found]
        rows += [published_row(query, target, match) for match in found]
    return rows


def published_row(query: str, target: str, match: TimedMatch) -> dict[str, Any]:
    return {
        "query_id": query,
        "ref_id": target,
        "score": match.score,
        "query_start": match.query_start_s,
        "query_end": match.query_end_s,
        "ref_start": match.target_start_s,
        "ref_end": match.target_end_s,
    }


def descriptors(case: Case, side: str) -> dict[str, np.ndarray]:
    """Descriptors of the videos of a side by id."""
    return {id: case.inputs[f"{side}/{id}/feature"] for id in case.inputs[f"{side}_ids"].tolist()}

"""The kinds of cases of the evaluation specification that rank whole videos: every published data set, by `evaluate`.

Each function gives what it finds in the layout of the cases' expected.json. Segments have `cases_segments.py`.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.harness import Case, case
from tests.parity.published_curve import published_curve
from visil.evaluation import metrics, published_sets
from visil.evaluation.copy_sets import vcdb_ground_truth
from visil.evaluation.evaluate import evaluate
from visil.evaluation.ground_truth import GroundTruth
from visil.evaluation.metrics import RankedQuery
from visil.evaluation.published_sets import (
    cc_web_video_ground_truth,
    evve_ground_truth,
    fivr_ground_truth,
    svd_ground_truth,
)
from visil.evaluation.results import TaskResult
from visil.evaluation.scores import MappedScores

ANNOTATIONS = Path(published_sets.__file__).parent / "annotations"  # scores by formula ask for the labels
NUM_RESAMPLES = 2  # no case holds intervals
FIVR_BONUS = {"ND": 0.6, "DS": 0.45, "CS": 0.25, "IS": 0.1}
CC_WEB_PROTOCOLS = {"all": "cc_web", "all_star": "cc_web*", "clean": "cc_web_c", "clean_star": "cc_web_c*"}

Found = dict[str, Any]


def results(truth: GroundTruth, scores: MappedScores, ties: str) -> dict[str, TaskResult]:
    """Every task by its name."""
    found = evaluate(truth, scores, ties=ties, num_resamples=NUM_RESAMPLES)
    return {task.name: task for task in found.tasks}


def figures(task: TaskResult) -> Found:
    """What cases ask of a task."""
    mean, micro = task.mean_average_precision, task.micro_average_precision
    return {
        "mAP": mean.value.value if mean else None,
        "uAP": micro.value.value if micro else None,
        "positives": task.num_relevant,
        "queries": task.num_queries,
        "AP": task.average_precision,
        "per_event": task.group_means,
    }


def by_rule(truth: GroundTruth, scores: MappedScores, name: str, rules: Sequence[str] = metrics.TIES) -> Found:
    """The figures of one task by rules for ties."""
    return {ties: figures(results(truth, scores, ties)[name]) for ties in rules}


@case("evaluation", "ap_forms")
def ap_forms(case: Case) -> Found:
    rows = json.loads((case.folder / "expected.json").read_text(encoding="utf-8"))["rows"]
    return {"rows": [{**row, "expected": forms_of(row)} for row in rows]}


def forms_of(row: Mapping[str, Any]) -> Found:
    """Every form of a single list; `reverse` is the stable rule on the reversed file."""
    scores, is_relevant = np.array(row["scores"], dtype=np.float64), np.array(row["relevance"], dtype=bool)
    query = RankedQuery.sort(scores, is_relevant, row["positives"])
    backwards = RankedQuery.sort(scores[::-1], is_relevant[::-1], row["positives"])
    return {
        f"{form}_{ties}": metrics.average_precision(query, form, ties)
        for form in metrics.FORMS
        for ties in metrics.TIES
    } | {"rectangle_reverse": metrics.average_precision(backwards, ties=metrics.STABLE)}


# --- FIVR ---


@case("evaluation", "fivr_small", "fivr_ties")
def fivr(case: Case) -> Found:
    given = case.inputs
    truth = fivr_ground_truth(
        "FIVR", given["annotation"], given["queries"], given["database"], given["easy_duplicates"]
    )
    available, database = set(given["available"]), set(given["database"])
    return fivr_by_rule(truth, MappedScores(given["scores"], available)) | {
        "official_database": official(truth, given["scores"], database),
        "official_available": official(truth, given["scores"], database & available),
    }


def fivr_by_rule(truth: GroundTruth, scores: MappedScores, rules: Sequence[str] = metrics.TIES) -> Found:
    return {
        ties: {name.replace(" ", "_"): figures(task) for name, task in results(truth, scores, ties).items()}
        for ties in rules
    }


def official(truth: GroundTruth, scores: Mapping[str, Mapping[str, float]], database: set[str]) -> Found:
    """The script published with FIVR-200K: queries must be in the database, and may count as relevant to themselves."""
    queries = tuple(query for query in truth.queries if query in database)
    tasks = tuple(
        replace(task, relevant={q: task.relevant[q] for q in queries if q in task.relevant}, counts_query=True)
        for task in truth.tasks
        if not task.removed
    )
    truth = replace(truth, queries=queries, database=tuple(v for v in truth.database if v in database), tasks=tasks)
    found = results(truth, MappedScores({q: dict(scores[q]) for q in queries if q in scores}), metrics.STABLE)
    answer = {}
    for task in tasks:
        rankings = [
            RankedQuery.of(
                {video: score for video, score in scores[query].items() if video in database and video != query},
                task.relevant[query] & database,
            )
            for query in found[task.name].average_precision
        ]
        curves = [published_curve(ranking, len(database)) for ranking in rankings]
        answer[task.name] = figures(found[task.name]) | {"pr_curve": np.mean(curves, axis=0)}
    return answer


@case("evaluation", "fivr_real_5k", "fivr_real_200k")
def fivr_real(case: Case) -> Found:
    annotation = json.loads(gzip.decompress((ANNOTATIONS / "fivr" / "annotation.json.gz").read_bytes()))
    truth = published_sets.fivr_5k() if case.name.endswith("5k") else published_sets.fivr_200k()
    queries = case.params["queries"]
    candidates = [video for video in sorted(truth.database) if zlib.crc32(video.encode()) % case.params["drop"]]
    scores = {}
    for query in queries:
        bonus = {v: b for label, b in reversed(FIVR_BONUS.items()) for v in annotation[query].get(label, ())}
        scores[query] = {
            video: 0.7 * pseudo_random(case.params["seed"], query, video) + bonus.get(video, 0.0)
            for video in candidates
        }
    available = {v for v in {*truth.database, *queries} if zlib.crc32(v.encode()) % case.params["drop"]}
    return fivr_by_rule(truth, MappedScores(scores, available), [metrics.STABLE])


def pseudo_random(seed: int, query: str, video: str) -> float:
    """In [0, 1)."""
    return zlib.crc32(f"{seed}|{query}|{video}".encode()) / 2**32


# --- EVVE ---


@case("evaluation", "evve_small", "evve_ties")
def evve(case: Case) -> Found:
    truth = evve_ground_truth(case.inputs)
    scores = case.inputs["scores"]
    default = results(truth, MappedScores(scores), metrics.STABLE)["EVVE"]
    found = by_rule(truth, MappedScores(scores, set(case.inputs["available"])), "EVVE")
    return found | {"default_available": figures(default)}


@case("evaluation", "evve_real")
def evve_real(case: Case) -> Found:
    truth = published_sets.evve()
    candidates = [video for video in sorted(truth.searched) if zlib.crc32(video.encode()) % 13]
    relevant = truth.tasks[0].relevant
    scores = {
        query: {
            video: 0.8 * pseudo_random(case.params["seed"], query, video) + 0.4 * (video in relevant[query])
            for video in candidates
        }
        for query in truth.queries
    }
    return by_rule(truth, MappedScores(scores, {*candidates, *truth.queries}), "EVVE", [metrics.STABLE])


# --- CC_WEB_VIDEO ---


@case("evaluation", "cc_web_small", "cc_web_ties")
def cc_web_video(case: Case) -> Found:
    return protocols(cc_web_video_ground_truth(case.inputs), case.inputs["scores"])


@case("evaluation", "cc_web_real")
def cc_web_video_real(case: Case) -> Found:
    truth = published_sets.cc_web_video()
    candidates = [video for video in sorted(truth.database) if zlib.crc32(video.encode()) % 29]
    relevant = truth.tasks[0].relevant
    scores = {
        query: {
            video: 0.8 * pseudo_random(case.params["seed"], query, video) + 0.35 * (video in relevant[query])
            for video in candidates
        }
        for query in truth.queries
    }
    return protocols(truth, scores)


def protocols(truth: GroundTruth, scores: dict[str, dict[str, float]]) -> Found:
    answer = {}
    for ties in metrics.TIES:
        found = results(truth, MappedScores(scores), ties)
        answer[ties] = {name: figures(found[task]) for name, task in CC_WEB_PROTOCOLS.items()}
    return answer


# --- SVD, VCDB ---


@case("evaluation", "svd_labeled", "svd_labeled_ties", "svd_unlabeled", "svd_unlabeled_ties")
def svd(case: Case) -> Found:
    truth = svd_ground_truth(case.inputs["groundtruth_lines"], case.inputs["unlabeled"])
    name = "SVD labelled" if case.params["version"] == "labeled" else "SVD unlabelled"
    scores = MappedScores(case.inputs["scores"], set(case.inputs["available"]))
    return figures(results(truth, scores, metrics.STABLE)[name])


@case("evaluation", "vcdb", "vcdb_ties", "vcdb_distractors", "vcdb_distractors_ties")
def vcdb(case: Case) -> Found:
    given = case.inputs
    positives = {query: set(videos) for query, videos in given["positives"].items()}
    truth = vcdb_ground_truth(given["queries"], positives, given["dataset"])
    name = "VCDB-DIST" if case.params["distractors"] else "VCDB"
    return by_rule(truth, MappedScores(given["scores"], set(given["available"])), name)

"""Time and memory of a full evaluation: the 100 queries of FIVR-200K against its 225,960 videos, random scores.

The scores (float64, uniform, seeded) are written to WORK as npz. A fresh process reads them and evaluates every task:
mAP and micro-AP, both ways of counting, bounds of ties, curves, and 1,000 bootstrap samples. Its seconds are from its
start to the result, imports included, its memory is the peak of the process. So does one whose scores come as a library
gives them: every query is left out of its own list, so that no two lists are the same.
Another runs plain Python loops, as published evaluators do, over some of the queries: a sorted list of (video, score)
for every task and query, and one of all pairs. They must give the same mAP and micro-AP, and have no bootstrap. Their
time is given for as many queries, and scaled to 100.
    taskset -c 0,1 python scripts/bench_evaluate.py --json evaluate.json
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from visil.benchmarks.report import format_table, run_facts, write_json
from visil.evaluation import published_sets
from visil.evaluation.evaluate import evaluate
from visil.evaluation.ground_truth import GroundTruth, Task
from visil.evaluation.score_files import read_scores
from visil.evaluation.scores import MappedScores, QueryScores, Scores

ROOT = Path(__file__).resolve().parents[1]
MAX_DIFFERENCE = 1e-9
BYTES_PER_MAXRSS = 1 if sys.platform == "darwin" else 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="save settings, versions and results here")
    parser.add_argument("--seed", type=int, default=0, help="[default: 0]")
    parser.add_argument("--loop-queries", type=int, default=20, help="of the plain loops  [default: 20]")
    parser.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        default=Path(platformdirs.user_cache_dir("visil")) / "benchmarks",
        help="the scores are kept here  [default: the platform's cache folder]",
    )
    options = parser.parse_args()

    path = options.work / f"fivr_200k_random_{options.seed}.npz"
    if not path.exists():
        in_fresh_process(write_scores, path, options.seed)
    full = in_fresh_process(timed_evaluation, path)
    as_library = in_fresh_process(timed_evaluation, path, True)
    loops = in_fresh_process(timed_loops, path, options.loop_queries)
    num_queries = full["queries"]
    scaled_s = loops["seconds"] * num_queries / options.loop_queries
    results = {
        "evaluation": full,
        "evaluation, a list a query": as_library,
        "loops": loops,
        "loops scaled to all queries, seconds": scaled_s,
        "ratio": scaled_s / full["seconds"],
    }

    rows = [
        (f"visil, {num_queries} queries", full["seconds"], full["peak_bytes"] / 1e9),
        (f"visil, {num_queries} queries, a list a query", as_library["seconds"], as_library["peak_bytes"] / 1e9),
        (f"loops, {options.loop_queries} queries", loops["seconds"], loops["peak_bytes"] / 1e9),
        (f"loops, scaled to {num_queries} queries", scaled_s, ""),
    ]
    print(format_table(("", "seconds", "peak GB"), rows), end="\n\n")
    print(f"{full['tasks']} tasks; loops take {results['ratio']:.1f} times as long, without bootstrap")
    print(f"largest relative difference of a mAP or micro-AP on the queries of the loops: {loops['difference']:.1e}")
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)), results)
    if loops["difference"] > MAX_DIFFERENCE:
        sys.exit(f"the loops give other numbers: difference {loops['difference']:.1e}")


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns; a dictionary gets the seconds since before the start, and the peak memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, function, arguments, time.time()).result()


def _measured(function: Callable[..., Any], arguments: tuple[Any, ...], started_s: float) -> Any:
    found = function(*arguments)
    if isinstance(found, dict):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_MAXRSS
        return {"seconds": time.time() - started_s, "peak_bytes": peak} | found
    return found


def write_scores(path: Path, seed: int) -> None:
    truth = published_sets.fivr_200k()
    scores = np.random.default_rng(seed).random((len(truth.queries), len(truth.database)))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, queries=np.array(truth.queries), videos=np.array(truth.database), scores=scores)
    part.replace(path)


@dataclass(frozen=True)
class WithoutThemselves:
    """Scores in which no query is scored with itself, as those of a library."""

    scores: Scores
    available = None

    def __iter__(self) -> Iterator[QueryScores]:
        for query in self.scores:
            kept = np.array([video != query.query for video in query.videos])
            yield QueryScores(query.query, list(compress(query.videos, kept.tolist())), query.scores[kept])


def timed_evaluation(path: Path, as_library: bool = False) -> dict[str, Any]:
    truth = published_sets.fivr_200k()
    scores = read_scores(path)
    found = evaluate(truth, WithoutThemselves(scores) if as_library else scores)
    intervals = {task.name: vars(task.mean_average_precision.value) for task in found.tasks}
    return {"queries": len(truth.queries), "tasks": len(found.tasks), "mAP": intervals}


def timed_loops(path: Path, num_queries: int) -> dict[str, Any]:
    """Seconds of the loops alone, and how far their values are from ours on the same queries."""
    truth = published_sets.fivr_200k()
    queries = truth.queries[:num_queries]
    scores = {
        s.query: dict(zip(s.videos, s.scores.tolist(), strict=True)) for s in read_scores(path) if s.query in queries
    }
    started_s = time.perf_counter()
    slow = {task.name: loop(truth, task, scores) for task in truth.tasks}
    seconds = time.perf_counter() - started_s
    tasks = tuple(replace(t, relevant={q: v for q, v in t.relevant.items() if q in queries}) for t in truth.tasks)
    found = evaluate(replace(truth, queries=queries, tasks=tasks), MappedScores(scores), num_resamples=1)
    fast = {t.name: (t.mean_average_precision.value.value, t.micro_average_precision.value.value) for t in found.tasks}
    return {
        "seconds": seconds,
        "difference": max(abs(a / b - 1) for name in slow for a, b in zip(slow[name], fast[name], strict=True)),
    }


def loop(truth: GroundTruth, task: Task, scores: dict[str, dict[str, float]]) -> tuple[float, float]:
    """mAP and micro-AP of a task of FIVR-200K."""
    database = set(truth.database) - task.removed
    values, pool, num_relevant = [], [], 0
    for query, found in scores.items():
        if query not in task.relevant:
            continue
        relevant = (task.relevant[query] & database) - {query}
        ranked = sorted(
            ((video, score) for video, score in found.items() if video in database and video != query),
            key=lambda pair: pair[1],
            reverse=True,
        )
        pool += [(score, video in relevant) for video, score in ranked]
        num_relevant += len(relevant)
        if relevant:
            values.append(average_precision((video in relevant for video, _ in ranked), len(relevant)))
    pool.sort(key=lambda pair: pair[0], reverse=True)
    return sum(values) / len(values), average_precision((is_relevant for _, is_relevant in pool), num_relevant)


def average_precision(ranking: Any, num_relevant: int) -> float:
    total, found = 0.0, 0
    for rank, is_relevant in enumerate(ranking, start=1):
        if is_relevant:
            found += 1
            total += found / rank
    return total / num_relevant


if __name__ == "__main__":
    main()

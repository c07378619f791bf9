"""What the best moment of a long query may count: the weight in `visil/model/moments.py`, chosen on val.

Queries: those of the yardstick (bench_edits.py) that have moments: compilations of 6 and 12 files, and 100 of 60 s that
have no match. Every one is compared with every video. Printed:
- the highest moments of the pairs of `no match, 60 s`, and the moment that one pair in a million is expected to reach:
  above the highest 50, 100, 200 of them an exponential tail with their mean excess, with a 95 % interval by bootstrap
  over videos, which it is wide by: a few videos hold most of what is high;
- for several weights of ln N, and for the whole alone: which moment of a query of 60 s passes the lowest threshold, how
  many sources of a compilation are among the first N, how many of them and of the unrelated pairs pass the thresholds.

The smallest weight is taken whose moment that passes lies above that of one pair in a million (highest 100).
    python scripts/bench_edits.py --split val --alone --json val.json
    python scripts/bench_moments.py --thresholds val.json
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from math import log
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from visil.benchmarks.benchmark_data import EDIT, LONG_NO_MATCH, Benchmark, BenchmarkSettings, digest_of_tables, prepare
from visil.benchmarks.benchmark_search import benchmark_library, check_models, features_folder, ids_of
from visil.benchmarks.report import benchmark_parser, folder, print_table, run_facts, write_json
from visil.benchmarks.yardstick import read_thresholds, unrelated_pairs
from visil.defaults import DEFAULT_BUNDLE
from visil.errors import DataError, VisilError
from visil.library.library import Library
from visil.model.model import Model, load_model
from visil.model.moments import RANKING_CAP, best_moment, moment_starts, score_by_moments

ROOT = Path(__file__).resolve().parents[1]
COMPILATION = "compilation"  # a family of edits
WEIGHTS = (0.5, 1.0, 1.5, 2.0, 3.0)  # of ln N
NUMS_TAIL = (50, 100, 200)  # highest moments, whose mean excess is the tail's
RARE = 1e-6  # of the unrelated pairs
NUM_SAMPLES = 1000  # of the bootstrap
VIDEOS_AT_ONCE = 200


class Compared(NamedTuple):
    """A long query against all videos.

    Attributes:
        number: of the query.
        num_moments: N.
        columns: numbers of the videos that have vectors, [V].
        whole, moment: raw scores [V] of the whole and of the best moment.
    """

    number: int
    num_moments: int
    columns: np.ndarray
    whole: torch.Tensor
    moment: torch.Tensor


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", type=folder, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--thresholds", type=Path, metavar="FILE", required=True, help="JSON of bench_edits on val")
    options = parser.parse_args()

    tables = digest_of_tables(options.data)
    known = read_thresholds(options.thresholds, tables)
    check_models(options.model, device=options.device)
    benchmark = prepare(
        options.data, options.work, BenchmarkSettings("val", seed=options.seed), workers=options.workers
    )
    results: dict[str, Any] = {}
    for name in options.model or [DEFAULT_BUNDLE]:
        model = load_model(name, device=options.device)
        if not model.network.is_plain:
            raise DataError(f"{name}: a network with a comparator, or a symmetric one, has no moments; choose another")
        above = known.get((model.settings.name, model.bundle.hash))
        if above is None:
            raise DataError(
                f"{options.thresholds}: has no thresholds of {name} (hash {model.bundle.hash[:12]}); run "
                f"bench_edits.py --split val --model {name} --json FILE"
            )
        if 2 * above[0] - 1 <= RANKING_CAP:
            logging.warning("%s: what ranks a moment passes the lowest threshold by itself: lower RANKING_CAP", name)
        found = list(compared(benchmark, model, workers=options.workers))
        results[model.settings.name] = {
            "bundle": model.bundle.hash,
            "tail": tail(benchmark, found, seed=options.seed),
            "weights": [weighed(benchmark, found, weight, above) for weight in (None, *WEIGHTS)],
        }
    _print(results)
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options) | {"tables": tables}), results)


def compared(benchmark: Benchmark, model: Model, *, workers: int) -> Iterator[Compared]:
    """The long queries that decide, one after the other."""
    place = features_folder(benchmark, model)
    wanted = [query.path for query in benchmark.queries if query.kind == LONG_NO_MATCH or query.family == COMPILATION]
    library = benchmark_library(place / "videos", model, benchmark.video_paths, workers=workers)
    queries = benchmark_library(place / "queries", model, wanted, workers=workers)
    columns = ids_of(library, benchmark.video_paths)
    videos = [_vectors(library, id) for id in columns]
    position = {path: number for number, path in enumerate(benchmark.query_paths)}
    for id, number in ids_of(queries, wanted).items():
        region_vectors = queries.encoded(id).region_vectors
        starts = torch.from_numpy(moment_starts(region_vectors.times_s))
        if not len(starts):
            continue
        query = model.on_device(region_vectors.vectors)
        pairs = list(_maxima(model, query, videos))
        whole = torch.stack([best.mean() for best, _ in pairs])
        moment = torch.stack([best_moment(best, where, starts) for best, where in pairs])
        yield Compared(position[wanted[number]], len(starts), np.array([*columns.values()]), whole, moment)


def _vectors(library: Library, id: str) -> np.ndarray:
    return np.asarray(library.encoded(id).region_vectors.vectors)


def _maxima(
    model: Model, query: torch.Tensor, videos: Sequence[np.ndarray]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """For every video the best match of every query frame, and where it lies, [Tq] each."""
    for start in range(0, len(videos), VIDEOS_AT_ONCE):
        some = videos[start : start + VIDEOS_AT_ONCE]
        with torch.inference_mode():
            similarity = model.frame_similarity(query, model.on_device(np.concatenate(some))).cpu()
        for columns in similarity.split([len(video) for video in some], dim=1):
            best, where = columns.max(dim=1)
            yield best, where


def tail(benchmark: Benchmark, found: Sequence[Compared], *, seed: int) -> dict[str, Any]:
    """How high the best moments of unrelated pairs come.

    Raises:
        DataError: there are too few pairs.
    """
    counts = unrelated_pairs(benchmark)[LONG_NO_MATCH]
    moments = np.full(counts.shape, -np.inf)
    for pair in found:
        moments[pair.number, pair.columns] = pair.moment
    moments = np.where(counts, moments, -np.inf)[counts.any(axis=1)]
    num_pairs = int(np.isfinite(moments).sum())
    if num_pairs <= max(NUMS_TAIL):
        raise DataError(f"{benchmark.folder}: {num_pairs} pairs have moments, more than {max(NUMS_TAIL)} are needed")
    num_videos = len(benchmark.videos)
    videos = np.random.default_rng(seed).integers(num_videos, size=(NUM_SAMPLES, num_videos))
    samples = [_rare(moments[:, sample], NUMS_TAIL[1]) for sample in videos]
    return {
        "num_pairs": num_pairs,
        "highest": [float(moment) for moment in np.sort(moments, axis=None)[:-6:-1]],
        "rare": {str(count): _rare(moments, count) for count in NUMS_TAIL},
        "interval": [float(bound) for bound in np.quantile(samples, (0.025, 0.975))],
    }


def _rare(moments: np.ndarray, count: int) -> float:
    """What one in 1 / RARE reaches by the tail above the highest `count`."""
    found = moments[np.isfinite(moments)]
    highest = -np.sort(-np.partition(found, -count - 1)[-count - 1 :])
    excess = float((highest[:count] - highest[count]).mean())
    return float(highest[count]) + excess * log(count / len(found) / RARE)


def weighed(
    benchmark: Benchmark, found: Sequence[Compared], weight: float | None, above: Sequence[float]
) -> dict[str, Any]:
    """What comes of a weight of ln N; None: of the whole alone."""
    counts = unrelated_pairs(benchmark)[LONG_NO_MATCH]
    sources, shares, strangers, nums_moments = [], [], [], []
    for pair in found:
        raw = pair.whole
        if weight is not None:
            raw = score_by_moments(pair.whole, pair.moment, pair.num_moments, chance_weight=weight)
        scores = ((1 + raw) / 2).numpy()
        if benchmark.queries[pair.number].kind == EDIT:
            is_source = benchmark.is_relevant[pair.number, pair.columns]
            is_ranked = is_source | benchmark.is_unrelated[pair.number, pair.columns]
            first = np.argsort(-np.where(is_ranked, scores, -1.0), kind="stable")[: is_source.sum()]
            shares.append(is_source[first].mean())
            sources.append(scores[is_source])
        else:
            nums_moments.append(pair.num_moments)
            strangers.append(scores[counts[pair.number, pair.columns]])
    return {
        "weight": weight,
        "passes": None if weight is None else 1 - (2 - 2 * above[0]) / (1 + weight * log(max(nums_moments))),
        "share_of_sources": float(np.mean(shares)),
        "sources_above": [float((np.concatenate(sources) > threshold).mean()) for threshold in above],
        "unrelated_above": [int((np.concatenate(strangers) > threshold).sum()) for threshold in above],
    }


def _print(results: dict[str, Any]) -> None:
    tails = {name: result["tail"] for name, result in results.items()}
    columns = ("best moments of unrelated pairs", "pairs", "the five highest", f"one in {1 / RARE:,.0f} by the highest")
    print_table(
        (*columns, "interval"),
        [
            (
                name,
                of_one["num_pairs"],
                " ".join(f"{moment:.3f}" for moment in of_one["highest"]),
                ", ".join(f"{count}: {rare:.3f}" for count, rare in of_one["rare"].items()),
                "[{:.3f}, {:.3f}]".format(*of_one["interval"]),
            )
            for name, of_one in tails.items()
        ],
    )
    weights = ("weight of ln N", "", "moment that passes", "sources among the first N", "of them above thresholds")
    print_table(
        (*weights, "unrelated above"),
        [
            (
                name,
                "whole alone" if row["weight"] is None else f"{row['weight']:g}",
                "" if row["passes"] is None else row["passes"],
                row["share_of_sources"],
                " / ".join(f"{share:.3f}" for share in row["sources_above"]),
                " / ".join(map(str, row["unrelated_above"])),
            )
            for name, result in results.items()
            for row in result["weights"]
        ],
    )


if __name__ == "__main__":
    try:
        main()
    except (VisilError, OSError) as error:
        raise SystemExit(f"bench_moments: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("bench_moments: interrupted; what was made stays, and the same command goes on") from None

"""What the best moment of a long query may count: the number in `visil/model/moments.py`, chosen on val.

Queries: those of the yardstick (bench_edits.py) that have moments: compilations of 6 and 12 files, and 100 of 60 s that
have no match. Every one is compared with every video. Printed:
- the highest moments of pairs that have nothing in common, and the moment that one pair in a million is expected to
  reach: above the 100 highest an exponential tail with their mean excess (val has fewer pairs than collections have);
- for several weights of ln N: which moment of a query of 60 s passes the lowest threshold, how many sources of a
  compilation are among the first N, how many of them and of the unrelated pairs pass the thresholds.

A weight does when the moment that passes lies above that of one pair in a million.
    python scripts/bench_edits.py --split val --alone --json val.json
    python scripts/bench_moments.py --thresholds val.json
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from visil.benchmarks.benchmark_data import EDIT, LONG_NO_MATCH, Benchmark, BenchmarkSettings, digest_of_tables, prepare
from visil.benchmarks.benchmark_search import benchmark_library, features_folder, ids_of
from visil.benchmarks.report import benchmark_parser, print_table, run_facts, write_json
from visil.benchmarks.yardstick import read_thresholds
from visil.defaults import DEFAULT_BUNDLE
from visil.errors import DataError, VisilError
from visil.library.library import Library
from visil.model.model import Model, load_model
from visil.model.moments import CHANCE_WEIGHT, best_moment, moment_starts, score_by_moments

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = (0.5, 1.0, 1.5, 2.0, 3.0)  # of ln N
NUM_TAIL = 100  # highest moments, whose mean excess is the tail's
RARE = 1e-6  # of the unrelated pairs
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
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--thresholds", type=Path, metavar="FILE", required=True, help="JSON of bench_edits on val")
    options = parser.parse_args()

    known = read_thresholds(options.thresholds, digest_of_tables(options.data))
    benchmark = prepare(
        options.data, options.work, BenchmarkSettings("val", seed=options.seed), workers=options.workers
    )
    results: dict[str, Any] = {}
    for name in options.model or [DEFAULT_BUNDLE]:
        model = load_model(name, device=options.device)
        above = known.get((model.settings.name, model.bundle.hash))
        if above is None:
            raise DataError(f"{options.thresholds}: has no thresholds of {name} (hash {model.bundle.hash[:12]})")
        found = list(compared(benchmark, model, workers=options.workers))
        results[model.settings.name] = {
            "bundle": model.bundle.hash,
            "tail": tail(benchmark, found),
            "weights": [weighed(benchmark, found, weight, above) for weight in WEIGHTS],
        }
    _print(results)
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)), results)


def compared(benchmark: Benchmark, model: Model, *, workers: int) -> Iterator[Compared]:
    """The long queries that decide, one after the other."""
    place = features_folder(benchmark, model)
    wanted = [
        path
        for path, query in zip(benchmark.query_paths, benchmark.queries, strict=True)
        if query.kind == LONG_NO_MATCH or query.family == "compilation"
    ]
    library = benchmark_library(place / "videos", model, benchmark.video_paths, workers=workers)
    queries = benchmark_library(place / "queries", model, wanted, workers=workers)
    columns = ids_of(library, benchmark.video_paths)
    videos = [_vectors(library, id) for id in columns]
    rows = ids_of(queries, benchmark.query_paths)
    for id, number in rows.items():
        if benchmark.query_paths[number] not in wanted:
            continue
        region_vectors = queries.encoded(id).region_vectors
        starts = torch.from_numpy(moment_starts(region_vectors.times_s))
        if not len(starts):
            continue
        query = model.on_device(region_vectors.vectors)
        pairs = list(_maxima(model, query, videos))
        whole = torch.stack([best.mean() for best, _ in pairs])
        moment = torch.stack([best_moment(best, where, starts) for best, where in pairs])
        yield Compared(number, len(starts), np.array([*columns.values()]), whole, moment)


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


def tail(benchmark: Benchmark, found: Sequence[Compared]) -> dict[str, Any]:
    """How high the best moments of unrelated pairs come."""
    moments = torch.cat(
        [
            pair.moment[torch.from_numpy(benchmark.is_unrelated[pair.number, pair.columns])]
            for pair in found
            if benchmark.queries[pair.number].kind == LONG_NO_MATCH
        ]
    )
    moments = moments[moments.isfinite()].sort(descending=True).values
    threshold = float(moments[NUM_TAIL])
    excess = float((moments[:NUM_TAIL] - threshold).mean())
    return {
        "num_pairs": len(moments),
        "highest": [round(float(moment), 4) for moment in moments[:5]],
        "rare": threshold + excess * log(NUM_TAIL / len(moments) / RARE),
    }


def weighed(benchmark: Benchmark, found: Sequence[Compared], weight: float, above: Sequence[float]) -> dict[str, Any]:
    """What comes of a weight of ln N."""
    sources, shares, strangers = [], [], []
    for pair in found:
        raw = score_by_moments(pair.whole, pair.moment, pair.num_moments, chance_weight=weight)
        scores = ((1 + raw) / 2).numpy()
        if benchmark.queries[pair.number].kind == EDIT:
            is_source = benchmark.is_relevant[pair.number, pair.columns]
            counts = is_source | benchmark.is_unrelated[pair.number, pair.columns]
            first = np.argsort(-np.where(counts, scores, -1.0), kind="stable")[: is_source.sum()]
            shares.append(is_source[first].mean())
            sources.append(scores[is_source])
        else:
            strangers.append(scores[benchmark.is_unrelated[pair.number, pair.columns]])
    num_moments = max(pair.num_moments for pair in found if benchmark.queries[pair.number].kind == LONG_NO_MATCH)
    return {
        "weight": weight,
        "passes": 1 - (2 - 2 * above[0]) / (1 + weight * log(num_moments)),
        "share_of_sources": float(np.mean(shares)),
        "sources_above": [float((np.concatenate(sources) > threshold).mean()) for threshold in above],
        "unrelated_above": [int((np.concatenate(strangers) > threshold).sum()) for threshold in above],
    }


def _print(results: dict[str, Any]) -> None:
    rows = [
        (name, result["tail"]["num_pairs"], *result["tail"]["highest"], result["tail"]["rare"])
        for name, result in results.items()
    ]
    highest = [""] * (len(rows[0]) - 4)
    print_table(("best moments of unrelated pairs", "pairs", "highest", *highest, f"one in {1 / RARE:,.0f}"), rows)
    columns = ("weight of ln N", "", "moment that passes", "sources among the first N", "of them above")
    print_table(
        (*columns, "unrelated above"),
        [
            (
                name,
                f"{row['weight']:g}{' (now)' if row['weight'] == CHANCE_WEIGHT else ''}",
                row["passes"],
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
    except VisilError as error:
        raise SystemExit(f"bench_moments: {error}") from error

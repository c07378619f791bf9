"""How well real near-duplicates are found: mAP over the labelled pairs of a folder of videos.

Every test file that has a positive at a level is a query; every other test file is ranked, with the fine
score.
Levels: ND, ND+PART, ND+PART+SI. AMBIGUOUS pairs and positives of a higher level only are left out of a
ranking; REL pairs and pairs that are not listed are negative. Test files are those of split `test` in
`split.csv`, or all files if there is no such table.
Measured: mAP over queries, and over groups (the mean of the groups' means), each with its 95 % interval
(bootstrap over components). Pairs with `hard` in their note are in the levels; they are also measured
apart, against the other ND pairs. Coverage: how many queries and positives could be read; an unreadable
query is left out, an unreadable positive counts as missed.
    python scripts/bench_real.py --videos ../shared/data/videos --model BUNDLE.safetensors --json real.json
About 40 to 90 seconds on 4 cores for 108 files and the untrained default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from visil.defaults import DEFAULT_BUNDLE
from visil.evaluation.benchmark_search import benchmark_library, library_folder, load_models, scores_of, searchable
from visil.evaluation.metrics import RankedQuery, average_precision, bootstrap_interval, weighted_mean
from visil.evaluation.real_videos import LEVELS, ND, REL, Pair, RealVideos, read_real_videos
from visil.evaluation.report import benchmark_parser, format_table, run_facts, write_json

ROOT = Path(__file__).resolve().parents[1]
POSITIVE: dict[str, Callable[[Pair], bool]] = {
    **{name: lambda pair, labels=labels: pair.label in labels for name, labels in LEVELS.items()},
    "ND, hard pairs": lambda pair: pair.label == ND and pair.is_hard,
    "ND, other pairs": lambda pair: pair.label == ND and not pair.is_hard,
}
COLUMNS = ("mAP of", "over queries", "low", "high", "over groups", "low", "high", "queries", "positives read")


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--videos", type=Path, default=ROOT.parent / "shared" / "data" / "videos")
    options = parser.parse_args()

    real = read_real_videos(options.videos)
    tests = {video.file for video in real.of_split("test")}
    place = options.work / f"real-{hashlib.sha256(' '.join(sorted(tests)).encode()).hexdigest()[:8]}"
    results = {}
    for model in load_models(options.model or [DEFAULT_BUNDLE], device=options.device):
        library = benchmark_library(
            library_folder(place, model),
            model,
            [real.folder / file for file in tests],
            workers=options.workers,
        )
        read = sorted(tests & searchable(library))
        found = scores_of(library, [f"id:{file}" for file in read], rerank="all")
        scores = dict(zip(read, found, strict=True))
        figures = {level: _figures(real, tests, scores, POSITIVE[level], options.seed) for level in POSITIVE}
        results[model.settings.name] = figures
        print(f"{model.settings.name}: {len(read)} of {len(tests)} test files could be read")
        rows = [(level, *values.values()) for level, values in figures.items() if values]
        print(format_table(COLUMNS, rows), end="\n\n")
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)), results)


def _figures(
    real: RealVideos,
    tests: set[str],
    scores: Mapping[str, Mapping[str, float]],
    is_positive: Callable[[Pair], bool],
    seed: int,
) -> dict[str, object]:
    """The row of one level; empty if no test file has such a pair."""
    values: dict[str, float] = {}
    num_queries = num_positives = num_read = 0
    for file in sorted(tests):
        pairs = {other: pair for other, pair in real.pairs.get(file, {}).items() if other in tests}
        positives = {other for other, pair in pairs.items() if is_positive(pair)}
        left_out = {other for other, pair in pairs.items() if pair.label != REL} - positives
        num_queries += bool(positives)
        num_positives += len(positives)
        num_read += len(positives & scores.keys())
        if positives and file in scores:
            values[file] = average_precision(RankedQuery.of(scores[file], positives, left_out))
    if not values:
        return {}
    groups: dict[str, list[float]] = {}
    component_of_group = {}
    for file, value in values.items():
        groups.setdefault(real.videos[file].group, []).append(value)
        component_of_group[real.videos[file].group] = real.videos[file].component
    over_queries = (list(values.values()), [real.videos[file].component for file in values])
    over_groups = (
        [float(np.mean(members)) for members in groups.values()],
        list(component_of_group.values()),
    )
    row: dict[str, object] = {}
    for name, (numbers, components) in {"queries": over_queries, "groups": over_groups}.items():
        interval = bootstrap_interval(
            lambda weights, numbers=numbers: weighted_mean(np.array(numbers), weights),
            components,
            np.random.default_rng(seed),
        )
        row |= {
            f"map_over_{name}": interval.value,
            f"{name}_low": interval.low,
            f"{name}_high": interval.high,
        }
    return row | {
        "queries_read": f"{len(values)} of {num_queries}",
        "positives_read": f"{num_read} of {num_positives}",
    }


if __name__ == "__main__":
    main()

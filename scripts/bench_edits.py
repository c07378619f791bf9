"""How well edited copies of real videos are found, among all real videos and distractors.

Queries: 20 a family of edits, each of another footage, made from a test video of at least 10 s. Library:
all files of DATA/videos and 1,000 distractors: moving crops over test pictures of DATA/images, one picture
each. The host of a picture-in-picture is such a crop over a picture that is no distractor. Relevant are the
source and its ND and PART files; its SI and AMBIGUOUS files are left out of the ranking.
Measured: recall@1, mAP and micro-AP, by family and pooled, of the untrained default, of every --model, and
of best-match voting of pHash on the same samples; and pooled micro-AP minus that of the untrained default
with its 95 % interval (paired bootstrap over components). Equal scores count as one group.
    python scripts/bench_edits.py --model BUNDLE.safetensors --json edits.json
    python scripts/bench_edits.py --sampling keyframes --json keyframes.json
    python scripts/bench_edits.py --precision bf16 --model BUNDLE.safetensors --json bf16.json
The second indexes key frames alone, to compare with the first; pHash voting keeps the samples of the first. The third
searches the same libraries, which stay encoded in float32, once more with queries encoded and compared in bf16, and
counts the queries whose ranking changed.
Made files and libraries are kept in --work; the first run takes about 15 minutes on 4 busy cores with
the untrained default alone (3 of them to make the files), more with larger backbones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visil.defaults import DEFAULT_BUNDLE, PRECISIONS
from visil.evaluation.benchmark_data import EDIT_FAMILIES, BenchmarkData, edited_queries, prepare
from visil.evaluation.benchmark_search import benchmark_library, library_folder, load_models, scores_of, searchable
from visil.evaluation.metrics import (
    MicroAveragePrecision,
    RankedQuery,
    bootstrap_interval,
    mean_average_precision,
    recall_at_k,
)
from visil.evaluation.phash_voting import hash_videos, vote
from visil.evaluation.real_videos import AMBIGUOUS, ND, PART, SI
from visil.evaluation.report import benchmark_parser, format_table, run_facts, write_json
from visil.library.library import Library
from visil.synth.truth import EditTruth

ROOT = Path(__file__).resolve().parents[1]
CHANGES = ("largest score difference", "queries with another first", "queries with another order of the first ten")


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--queries", type=int, default=20, help="queries a family  [default: 20]")
    parser.add_argument("--distractors", type=int, default=1000, help="[default: 1000]")
    parser.add_argument("--rerank", default="all", help="candidates with a fine score  [default: all]")
    parser.add_argument(
        "--sampling",
        choices=("time", "keyframes"),
        help="of the library, not of queries  [default: as the bundle says]",
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp32", help="arithmetic of a second search  [default: none]"
    )
    options = parser.parse_args()

    data = prepare(
        options.data,
        options.work,
        seed=options.seed,
        num_distractors=options.distractors,
        workers=options.workers,
    )
    queries = edited_queries(data, per_family=options.queries, workers=options.workers)
    systems, coverage, changes = {}, {}, []
    for model in load_models(dict.fromkeys([DEFAULT_BUNDLE, *options.model]), device=options.device):
        folder = library_folder(data.folder / "libraries", model, options.sampling)
        library = benchmark_library(
            folder, model, data.library_folders, workers=options.workers, sampling=options.sampling
        )
        scores = scores_of(library, queries, rerank=options.rerank)
        name = model.settings.name
        systems[name] = _ranked(data, queries, scores)
        coverage[name] = f"{len(searchable(library))} of {len(library.list())} videos"
        if options.precision != "fp32":
            less_exact = Library.open(folder, device=options.device, precision=options.precision)
            rounded = scores_of(less_exact, queries, rerank=options.rerank)
            systems[f"{name} {options.precision}"] = _ranked(data, queries, rounded)
            changes.append((f"{name} {options.precision}", *_changes(scores, rounded)))
    systems["pHash voting"] = _ranked(data, queries, _phash_scores(data, queries, options.workers))

    truths = list(queries.values())
    components = [data.real.videos[truth.source].component for truth in truths]
    rows, results = [], {}
    baseline = MicroAveragePrecision(systems[DEFAULT_BUNDLE])
    for name, ranked in systems.items():
        families = {
            family: [query for query, truth in zip(ranked, truths, strict=True) if truth.family == family]
            for family in EDIT_FAMILIES
        } | {"pooled": ranked}
        figures = {family: _figures(members) for family, members in families.items()}
        rows += [(name, family, *values.values()) for family, values in figures.items()]
        micro = MicroAveragePrecision(ranked)
        gain = bootstrap_interval(
            lambda weights, micro=micro: micro.resampled(weights) - baseline.resampled(weights),
            components,
            np.random.default_rng(options.seed),
        )
        results[name] = {
            "families": figures,
            "micro_ap_minus_untrained": vars(gain),
            "coverage": coverage.get(name),
        }

    print(format_table(("system", "family", "recall@1", "mAP", "micro-AP"), rows), end="\n\n")
    gains = [(name, *found["micro_ap_minus_untrained"].values()) for name, found in results.items()]
    print(format_table(("pooled micro-AP minus untrained", "value", "low", "high"), gains), end="\n\n")
    if changes:
        print(format_table(("against fp32", *CHANGES), changes), end="\n\n")
    print(f"{len(queries)} queries of {len(set(components))} components; read: {coverage}")
    if options.json:
        changed = {name: dict(zip(CHANGES, values, strict=True)) for name, *values in changes}
        write_json(options.json, run_facts(ROOT, vars(options)), results | {"against fp32": changed})


def _ranked(
    data: BenchmarkData, queries: dict[Path, EditTruth], scores: Sequence[dict[str, float]]
) -> list[RankedQuery]:
    return [
        RankedQuery.of(
            found,
            relevant={truth.source} | data.real.partners(truth.source, {ND, PART}),
            left_out=data.real.partners(truth.source, {SI, AMBIGUOUS}),
        )
        for truth, found in zip(queries.values(), scores, strict=True)
    ]


def _changes(exact: Sequence[dict[str, float]], rounded: Sequence[dict[str, float]]) -> tuple[float, int, int]:
    """The values of CHANGES."""
    tops = [[sorted(found, key=lambda v, f=found: (-f[v], v))[:10] for found in side] for side in (exact, rounded)]
    return (
        max(abs(a[video] - b[video]) for a, b in zip(exact, rounded, strict=True) for video in a),
        sum(a[:1] != b[:1] for a, b in zip(*tops, strict=True)),
        sum(a != b for a, b in zip(*tops, strict=True)),
    )


def _figures(ranked: Sequence[RankedQuery]) -> dict[str, float]:
    return {
        "recall_at_1": float(np.mean([recall_at_k(query, 1) for query in ranked])),
        "map": mean_average_precision(ranked),
        "micro_ap": MicroAveragePrecision(ranked)(),
    }


def _phash_scores(data: BenchmarkData, queries: dict[Path, EditTruth], workers: int) -> list[dict[str, float]]:
    files = [data.real.folder / file for file in data.real.videos]
    distractors = sorted(data.library_folders[1].glob("*.mp4"))
    library = hash_videos([*files, *distractors], workers=workers)
    hashes = hash_videos(list(queries), workers=workers)
    return [
        vote(hashes[path.name], library, left_out=data.real.partners(truth.source, {SI, AMBIGUOUS}))
        for path, truth in queries.items()
    ]


if __name__ == "__main__":
    main()

"""At which rank a long montage is found by a clip that it holds.

Ten clips of 10 s, of different components of test videos of at least 10 s, each placed at a random time
inside its own 20-minute montage of other footage: cuts of test videos of none of the ten components and
pans over test pictures that are neither distractors nor hosts (half and half, 3 to 9 s each). Library: that
of bench_edits.py and the ten montages. Query: the clip as a file of its own; both it and the montage are
encoded anew.
The clip's own source and the files labelled ND, PART, SI or AMBIGUOUS to it are in the library too: the
rank is counted without them, the raw rank with them. Default settings of `visil search` (200 fine scores).
    python scripts/bench_montage.py --model BUNDLE.safetensors --json montage.json
Made files and libraries are kept in --work; making the montages takes about 3 minutes on 4 cores and
indexing them 5 a bundle. They are 16:9: a clip of another shape lies between black bars.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from visil.defaults import DEFAULT_BUNDLE, DEFAULT_RERANK
from visil.evaluation.benchmark_data import BenchmarkData, MontageQuery, montage_queries, prepare
from visil.evaluation.benchmark_search import benchmark_library, library_folder, load_models, scores_of
from visil.evaluation.real_videos import AMBIGUOUS, ND, PART, SI
from visil.evaluation.report import benchmark_parser, format_table, run_facts, write_json

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--montages", type=int, default=10, help="[default: 10]")
    parser.add_argument("--seconds", type=float, default=1200.0, help="length of a montage  [default: 1200]")
    parser.add_argument("--distractors", type=int, default=1000, help="[default: 1000]")
    options = parser.parse_args()

    data = prepare(
        options.data,
        options.work,
        seed=options.seed,
        num_distractors=options.distractors,
        workers=options.workers,
    )
    queries = montage_queries(data, num_montages=options.montages, montage_s=options.seconds, workers=options.workers)
    results = {}
    for model in load_models(options.model or [DEFAULT_BUNDLE], device=options.device):
        without = library_folder(data.folder / "libraries", model)
        benchmark_library(without, model, data.library_folders, workers=options.workers)
        folder = library_folder(queries[0].montage.parents[1] / "libraries", model)
        if not folder.exists():  # the montages must not lie in the library of bench_edits.py
            shutil.copytree(without, folder.with_suffix(".partial"), dirs_exist_ok=True)
            folder.with_suffix(".partial").replace(folder)
        everything = [*data.library_folders, queries[0].montage.parent]
        library = benchmark_library(folder, model, everything, workers=options.workers)
        found = scores_of(library, [query.clip for query in queries], rerank=DEFAULT_RERANK, top=DEFAULT_RERANK)
        ranks = [_ranks(data, query, scores) for query, scores in zip(queries, found, strict=True)]
        results[model.settings.name] = ranks
        columns = ("clip", "of", "at", "rank", "raw rank", "score", "best other")
        print(f"{model.settings.name}: {sum(rank['rank'] == 1 for rank in ranks)} of {len(ranks)} found first")
        print(format_table(columns, [list(rank.values()) for rank in ranks]), end="\n\n")
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)), results)


def _ranks(data: BenchmarkData, query: MontageQuery, scores: dict[str, float]) -> dict[str, object]:
    """Rank of the montage among the videos with a fine score; None if it is not one of them."""
    montage = query.montage.name
    own = {query.source} | data.real.partners(query.source, {ND, PART, SI, AMBIGUOUS})
    raw = list(scores)  # best first
    ranked = [video for video in raw if video not in own]
    return {
        "clip": query.clip.name,
        "source": query.source,
        "at_s": query.truth.start_s,
        "rank": ranked.index(montage) + 1 if montage in ranked else None,
        "raw_rank": raw.index(montage) + 1 if montage in raw else None,
        "score": scores.get(montage),
        "best_other": next((scores[video] for video in ranked if video != montage), None),
    }


if __name__ == "__main__":
    main()

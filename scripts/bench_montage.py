"""At which rank a long montage is found by a clip that it holds.

Ten clips of 10 s, of different components of test videos of at least 10 s, each placed at a random time inside its own
20-minute montage of other footage: cuts of test videos of none of the ten components while they last, and pans over
test pictures (2 to 8 s each); no piece twice in one montage. Library: that of bench_edits.py on test and the ten
montages. Query: the clip as a file of its own; both it and the montage are encoded anew.
Other videos of the clip's component, and montages of bench_edits.py that show some of it, are in the library too: the
rank is counted without them, the raw rank with them. Candidates for the fine score: as many as in `visil search`; what
is no candidate ranks below by its coarse score.
    python scripts/bench_montage.py --model BUNDLE.safetensors --json montage.json
Made files and features are kept in --work. Montages are 16:9: a clip of another shape lies between black bars.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from visil.benchmarks.benchmark_data import BenchmarkSettings, LibraryVideo, prepare
from visil.benchmarks.benchmark_search import benchmark_library, features_folder, ids_of, load_models
from visil.benchmarks.montage_queries import MontageQuery, montage_queries
from visil.benchmarks.report import benchmark_parser, format_table, run_facts, write_json
from visil.benchmarks.stills import read_stills
from visil.defaults import DEFAULT_BUNDLE, DEFAULT_RERANK
from visil.errors import VisilError
from visil.evaluation.real_videos import read_real_videos
from visil.synth.montage import Source
from visil.synth.montage_truth import related

ROOT = Path(__file__).resolve().parents[1]
SPLIT = "test"


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--montages", type=int, default=10, help="[default: 10]")
    parser.add_argument("--seconds", type=float, default=1200.0, help="length of a montage  [default: 1200]")
    options = parser.parse_args()

    settings = BenchmarkSettings(SPLIT, seed=options.seed, families=("clip",))  # its library is that of all families
    benchmark = prepare(options.data, options.work, settings, workers=options.workers)
    stills = read_stills(options.data / "images", SPLIT, benchmark.folder / "stills")
    folder = benchmark.folder / f"montages-{options.montages}x{options.seconds:g}s"
    queries = montage_queries(
        read_real_videos(options.data / "videos"),
        [Source(still.path, f"still:{still.component}", footage=still.component) for still in stills],
        folder,
        split=SPLIT,
        seed=options.seed,
        num_montages=options.montages,
        montage_s=options.seconds,
        workers=options.workers,
    )
    videos = [video.path for video in benchmark.videos]
    clips = [query.clip for query in queries]
    everything = [*videos, *(query.montage for query in queries)]
    results = {}
    for model in load_models(options.model or [DEFAULT_BUNDLE], device=options.device):
        without = features_folder(benchmark, model) / "videos"
        benchmark_library(without, model, videos, workers=options.workers)
        place = folder / "features" / without.parent.name
        if not (place / "videos").exists():  # the montages must not lie in the library of bench_edits.py
            shutil.copytree(without, place / "videos.partial", dirs_exist_ok=True)
            (place / "videos.partial").replace(place / "videos")
        library = benchmark_library(place / "videos", model, everything, workers=options.workers)
        encoded = benchmark_library(place / "queries", model, clips, workers=options.workers)
        number_of, rows = ids_of(library, everything), ids_of(encoded, clips)
        found = library.score_many(
            map(encoded.encoded, rows), rerank=DEFAULT_RERANK, among=number_of.keys(), by_moments=True
        )
        ranks = []
        for row, result in zip(rows.values(), found, strict=True):
            scores = {everything[number_of[id]]: float(s) for id, s in zip(result.ids, result.scores, strict=True)}
            ranks.append(_rank(queries[row], benchmark.videos, scores))
        results[model.settings.name] = ranks
        columns = ("clip", "of", "at s", "rank", "raw rank", "score", "best other")
        print(f"{model.settings.name}: {sum(rank['rank'] == 1 for rank in ranks)} of {len(queries)} found first")
        print(format_table(columns, [list(rank.values()) for rank in ranks]), end="\n\n")
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)), results)


def _rank(query: MontageQuery, videos: Sequence[LibraryVideo], scores: dict[Path, float]) -> dict[str, object]:
    """Rank of the montage among all videos with a score; None if it has none itself."""
    own = {video.path for video in videos if related(video, query)}
    raw = sorted(scores, key=scores.__getitem__, reverse=True)
    ranked = [path for path in raw if path not in own]
    return {
        "clip": query.clip.name,
        "source": query.source,
        "at_s": query.at_s,
        "rank": ranked.index(query.montage) + 1 if query.montage in ranked else None,
        "raw_rank": raw.index(query.montage) + 1 if query.montage in raw else None,
        "score": scores.get(query.montage),
        "best_other": next((scores[path] for path in ranked if path != query.montage), None),
    }


if __name__ == "__main__":
    try:
        main()
    except VisilError as error:
        raise SystemExit(f"bench_montage: {error}") from error

"""The yardstick: how well edited copies are found, and how often unrelated videos are taken for copies.

Queries: 60 for each family of edits (`visil.synth.edits`) at each strength: an edit of at most 10 s of every footage of
DATA/videos of the split that is at least 5 s long (10 s for edits of time) and of three of each component of
DATA/footage, filled up with edits of montages; and negatives: pans over pictures under furniture (a title card, a logo
...) that unrelated videos of the library have too, of the same subject as videos of the library, neither, and 100 of
60 s (20 pictures each, which several of them show). Library: the real videos and the footage of the split, the
montages, and a pan over every picture of DATA/images of the split that has no other use. Relevant are the source and
the files labelled ND or PART to it, as far as they must share what the query shows; whatever else is related is left
out.

Measured, for PDQ and pHash with best-match voting, a colour histogram, SSCD and its distilled form (one vector a frame,
Chamfer; files by --sscd and --sscd-distilled; --sscd-regions: of fourteen windows, for samples), an untrained network
and every --model [default: the built-in one]:
recall@1, mAP and micro-AP by family and strength, and pooled, with 95 % intervals by bootstrap over related sources,
where there are at least 10 of them; of compilations the share of their N sources among the first N videos; false
matches among unrelated pairs at thresholds that let 1e-3, 1e-4 and 1e-5 of them through on val; bytes a video;
milliseconds of comparing a pair, its features made.
Families that are not pooled (`Family.is_pooled`) have rows of their own and count nowhere else, neither for thresholds.
Every pair gets the fine score unless --rerank says otherwise. A baseline whose package or file is missing is a row
that says so. Networks are also compared with every other system over the same samples.

A threshold for 1e-5 rests on about 16 pairs of val, and edits of one source are often above for one reason: distinct
pairs of a source and a video are counted beside them. Videos under one design of furniture, look-alikes and queries
without a match are rows of their own with far fewer pairs: rates as low as 1e-5 cannot be seen in them.
    python scripts/bench_edits.py --split val --model BUNDLE.safetensors --json val.json
    python scripts/bench_edits.py --split test --model BUNDLE.safetensors --thresholds val.json --json test.json
Thresholds count for the bundle that they were chosen for, by its hash, and over the same data. Made files and features
are kept in --work. On 4 cores the files of val took 6 minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from visil.benchmarks.benchmark_data import SPLITS, BenchmarkSettings, digest_of_tables, prepare
from visil.benchmarks.benchmark_search import check_models, system_scores
from visil.benchmarks.frame_descriptors import KINDS, frame_descriptors, why_not_run
from visil.benchmarks.report import (
    add_system_options,
    baseline_files,
    benchmark_parser,
    format_table,
    gain_text,
    interval_text,
    positive,
    print_costs,
    print_table,
    run_facts,
    write_json,
)
from visil.benchmarks.yardstick import (
    POOLED,
    RATES,
    Figures,
    false_matches,
    figures,
    found_matches,
    gains,
    read_thresholds,
    sources_found,
    thresholds,
)
from visil.defaults import PRECISIONS
from visil.errors import VisilError
from visil.evaluation.metrics import Interval
from visil.synth.edits import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
HASHES = ("PDQ", "pHash")
GAIN_PARTS = ("strong", "all")  # of the queries, over which systems are compared
LAGS_BY = 0.05  # of recall@1 below the best baseline: such families are listed
MAX_FOUND = 0.6  # of strong edits by the best perceptual hash, or the family says why


def main() -> None:
    parser = benchmark_parser(__doc__)
    add_system_options(parser, ROOT.parent / "shared" / "data")
    parser.add_argument("--split", choices=SPLITS, default="val", help="[default: val]")
    parser.add_argument(
        "--thresholds",
        type=Path,
        metavar="FILE",
        help="JSON of a run on val over the same data  [default: of this run]",
    )
    parser.add_argument("--queries", type=positive, default=60, help="for a family at a strength  [default: 60]")
    parser.add_argument("--rerank", default="all", help="candidates with a fine score  [default: all]")
    parser.add_argument(
        "--sampling", choices=("time", "keyframes"), help="of the library  [default: as the bundle says]"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of comparing  [default: fp32]")
    options = parser.parse_args()

    check_models(options.model, device=options.device)
    files = baseline_files(options)
    not_run = {} if options.alone else why_not_run(files)
    for kind, reason in not_run.items():
        logging.info("%s is not run: %s", kind, reason)
    baselines = [] if options.alone else frame_descriptors(files)
    tables = digest_of_tables(options.data)
    known = read_thresholds(options.thresholds, tables) if options.thresholds else None
    settings = BenchmarkSettings(options.split, seed=options.seed, num_queries=options.queries)
    benchmark = prepare(options.data, options.work, settings, workers=options.workers)
    systems = list(
        system_scores(
            benchmark,
            baselines,
            options.model,
            untrained=None if options.alone else options.work,
            device=options.device,
            workers=options.workers,
            rerank=options.rerank,
            sampling=options.sampling,
            precision=options.precision,
            by_moments=options.direction == "search",
        )
    )
    networks = [system.name for system in systems if system.name not in KINDS]
    scores = {system.name: system.scores for system in systems}
    gained = {part: gains(benchmark, scores, networks, part=part) for part in GAIN_PARTS}
    found = {system.name: figures(benchmark, system.scores) for system in systems}
    results: dict[str, dict[str, Any]] = {}
    for system in systems:
        above = thresholds(benchmark, system.scores) if known is None else known.get((system.name, system.bundle))
        if above is None:
            print(
                f"{system.name}: no thresholds of this bundle in {options.thresholds}: pairs above them are not counted"
            )
        results[system.name] = {
            "bundle": system.bundle,
            "figures": [asdict(cell) for cell in found[system.name]],
            "sources_found": [asdict(row) for row in sources_found(benchmark, system.scores)],
            "micro_ap_minus": {
                other: {part: asdict(gained[part][system.name, other]) for part in GAIN_PARTS}
                for other in scores
                if (system.name, other) in gained[GAIN_PARTS[0]]
            },
            "thresholds": above,
            "false_matches": [asdict(row) for row in false_matches(benchmark, system.scores, above)] if above else [],
            "found_matches": [asdict(row) for row in found_matches(benchmark, system.scores, above)] if above else [],
            "queries_read": [system.num_queries, len(benchmark.queries)],
            "videos_read": [system.num_videos, len(benchmark.videos)],
            "bytes_a_video": system.bytes_a_video,
            "ms_a_pair": system.ms_a_pair,
        }
    results |= {kind: {"not_run": reason} for kind, reason in not_run.items()}
    _print(results, found)
    if options.json:
        strengths = {
            name: {level: family.strength(level) for level in family.levels} for name, family in FAMILIES.items()
        }
        write_json(options.json, run_facts(ROOT, vars(options) | {"strengths": strengths, "tables": tables}), results)


def _print(results: Mapping[str, dict[str, Any]], found: Mapping[str, Sequence[Figures]]) -> None:
    cells = {name: {(cell.family, cell.part): cell for cell in of_system} for name, of_system in found.items()}
    rows = next(iter(cells.values()))
    run = {name: result for name, result in results.items() if name in found}
    not_run = [(name, result["not_run"]) for name, result in results.items() if name not in found]
    print("recall@1 / mAP / micro-AP")
    table: list[Sequence[object]] = [
        [*row, *(_short(cells[name][row]) for name in run), *("not run" for _ in not_run)]
        for row in rows
        if row[0] != POOLED
    ]
    print_table(("family", "level", *results), table)
    table = [
        (
            name,
            part,
            cell.num_queries,
            cell.num_units,
            *(interval_text(interval, cell.num_units) for interval in _values(cell)),
        )
        for name in run
        for (family, part), cell in cells[name].items()
        if family == POOLED
    ]
    columns: tuple[str, ...] = ("sources among the first N", "family", "level", "queries", "N", "share")
    print_table(columns, [(name, *row.values()) for name in run for row in run[name]["sources_found"]])
    print_table(("pooled", "queries", "number", "units", "recall@1", "mAP", "micro-AP"), [*table, *not_run])
    table = [
        (name, other, *(gain_text(Interval(**parts[part])) for part in GAIN_PARTS))
        for name, result in run.items()
        for other, parts in result["micro_ap_minus"].items()
    ]
    print_table(("pooled micro-AP of", "minus that of", *GAIN_PARTS), table)
    columns = (
        f"recall@1 more than {LAGS_BY} below a baseline",
        "family",
        "level",
        "its own",
        "baseline's",
    )
    print_table((*columns, "baseline"), _lagging({name: cells[name] for name in run}))

    of_rates = (f"at {rate:g}: pairs, of sources, queries" for rate in RATES)
    columns = ("pairs above thresholds", "which", "designs", "queries", "pairs", "of sources", *of_rates)
    table = [
        (
            name,
            *(row[key] for key in ("name", "num_designs", "num_queries", "num_pairs", "num_source_pairs")),
            *_counts(row),
        )
        for name, result in run.items()
        for row in (*result["false_matches"], *result["found_matches"])
    ]
    without = [(name, "no thresholds of this bundle") for name, result in run.items() if not result["thresholds"]]
    print_table(columns, [*table, *without, *not_run])
    print_costs(run, not_run)
    hashes = [cells[name] for name in HASHES if name in cells]
    easy = [
        (family, max(cell[family, "strong"].recall_at_1.value for cell in hashes), FAMILIES[family].why_easy or "?")
        for family, level in rows
        if level == "strong" and hashes and family != POOLED
    ]
    table = [row for row in easy if row[1] > MAX_FOUND]
    print(format_table((f"strong edits of which a hash finds over {MAX_FOUND:.0%} first", "recall@1", "why"), table))


def _lagging(cells: Mapping[str, Mapping[tuple[str, str], Figures]]) -> list[tuple[str, str, str, float, float, str]]:
    """Where networks find fewer first than the best baseline does."""
    rows = []
    for name in cells:
        for row, cell in cells[name].items():
            others = {kind: cells[kind][row].recall_at_1.value for kind in KINDS if kind in cells}
            if not others or name in KINDS or row[0] == POOLED:
                continue
            best = max(others, key=others.__getitem__)
            if others[best] - cell.recall_at_1.value > LAGS_BY:
                rows.append((name, *row, cell.recall_at_1.value, others[best], best))
    return rows


def _values(cell: Figures) -> tuple[Interval, Interval, Interval]:
    return cell.recall_at_1, cell.mean_average_precision, cell.micro_average_precision


def _short(cell: Figures) -> str:
    return " / ".join(f"{interval.value:.2f}" for interval in _values(cell))


def _counts(row: Mapping[str, Any]) -> list[str]:
    return [
        ", ".join(map(str, counts)) for counts in zip(row["pairs"], row["source_pairs"], row["queries"], strict=True)
    ]


if __name__ == "__main__":
    try:
        main()
    except (VisilError, OSError) as error:
        raise SystemExit(f"bench_edits: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("bench_edits: interrupted; what was made stays, and the same command goes on") from None

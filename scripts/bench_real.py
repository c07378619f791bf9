"""Real near-duplicates among real footage: how well they are told from unrelated videos at one threshold.

Library: DATA/videos and DATA/footage of a split. Every file is searched for in all; queries of the figures are those of
DATA/videos, whose related pairs are labelled (ND, PART, SI, REL). Measured, for the systems of bench_edits:
- micro-AP of ND and of ND+PART, against unrelated pairs alone, and with REL counted as wrong;
- recall of ND, PART and SI at the thresholds that let 1e-2, 1e-3 and 1e-4 of the unrelated pairs of this run through;
- pairs above these thresholds, also of footage among itself, and of those that have no label though both files are of
  one group or component: they are neither right nor wrong;
- the 20 highest unrelated pairs and the 20 highest without a label, with contact sheets to look at.
All with 95 % intervals by bootstrap over components, those of differences over the same samples.

test decides. val chooses: it also holds the rows of train that no weights that ship are fitted on (ship_ok = no); of
some of them a copy is fitted, and bundles that do not ship may be fitted on them. all holds what is fitted too, and
says how much. 1e-4 of the pairs is two or three: it is stated, and decides nothing.
    python scripts/bench_real.py --split test --model BUNDLE.safetensors --json real.json
Features and contact sheets are kept in --work. test took 5 minutes of CPU time for all systems.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from visil.benchmarks.benchmark_search import check_models, system_scores
from visil.benchmarks.contact_sheet import captioned_row, moments, write_png
from visil.benchmarks.frame_descriptors import KINDS, frame_descriptors, why_not_run
from visil.benchmarks.real_figures import (
    RATES,
    Figure,
    ScoredPair,
    figures,
    gains,
    highest_pairs,
    kinds,
    pairs_above,
    sample_weights,
    thresholds,
)
from visil.benchmarks.real_pairs import NO_LABEL, REAL_SPLITS, UNRELATED, RealPairs, read_real_pairs
from visil.benchmarks.report import (
    add_system_options,
    baseline_files,
    benchmark_parser,
    format_table,
    gain_text,
    interval_text,
    print_costs,
    print_table,
    run_facts,
    write_json,
)
from visil.errors import VisilError
from visil.evaluation.metrics import Interval

ROOT = Path(__file__).resolve().parents[1]
NUM_LISTED = 20
LISTED = (UNRELATED, NO_LABEL)  # kinds of pairs of which the highest are listed and drawn


def main() -> None:
    parser = benchmark_parser(__doc__)
    add_system_options(parser, ROOT.parent / "shared" / "data")
    parser.add_argument("--split", choices=REAL_SPLITS, default="val", help="[default: val]")
    options = parser.parse_args()

    check_models(options.model, device=options.device)
    files = baseline_files(options)
    not_run = {} if options.alone else why_not_run(files)
    for kind, reason in not_run.items():
        logging.info("%s is not run: %s", kind, reason)
    baselines = [] if options.alone else frame_descriptors(files)
    real = read_real_pairs(options.data, options.work, options.split)
    _print_files(real)
    weights = sample_weights(real, options.seed)
    results: dict[str, dict[str, Any]] = {}
    found: dict[str, dict[str, Figure]] = {}
    for system in system_scores(
        real,
        baselines,
        options.model,
        untrained=None if options.alone else options.work,
        device=options.device,
        workers=options.workers,
        by_moments=options.direction == "search",
    ):
        above = thresholds(real, system.scores)
        found[system.name] = figures(real, system.scores, weights)
        name = system.name if system.bundle is None else f"{system.name}-{system.bundle[:12]}"
        results[system.name] = {
            "bundle": system.bundle,
            "figures": {key: _of_figure(figure) for key, figure in found[system.name].items()},
            "thresholds": above,
            "pairs_above": [asdict(row) for row in pairs_above(real, system.scores, above)],
            "highest": {kind: _highest(real, system.scores, kind, name) for kind in LISTED},
            "queries_read": [system.num_queries, len(real.paths)],
            "videos_read": [system.num_videos, len(real.paths)],
            "bytes_a_video": system.bytes_a_video,
            "ms_a_pair": system.ms_a_pair,
        }
    for name, result in results.items():
        others = [other for other in found if other != name and name not in KINDS]
        result["minus"] = {
            other: {key: asdict(gain) for key, gain in gains(found[name], found[other]).items()} for other in others
        }
    results |= {kind: {"not_run": reason} for kind, reason in not_run.items()}
    _print(results, found)
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)), results)


def _of_figure(figure: Figure) -> dict[str, Any]:
    return {"num_pairs": figure.num_pairs, "num_units": figure.num_units, **asdict(figure.interval)}


def _highest(real: RealPairs, scores: np.ndarray, kind: str, name: str) -> dict[str, Any]:
    """The highest pairs of a kind, and the file in which they are drawn, a row each: query, then video."""
    pairs = highest_pairs(scores, kinds(real)[kind], NUM_LISTED)
    sheet = real.folder / "sheets" / f"{name}-{kind}.png".replace(" ", "_")
    if pairs:
        write_png(sheet, np.concatenate([_drawn(real, pair) for pair in pairs]))
    rows = [[pair.score, *(real.paths[number].name for number in (pair.query, pair.video))] for pair in pairs]
    return {"pairs": rows, "sheet": sheet if pairs else None}


def _drawn(real: RealPairs, pair: ScoredPair) -> np.ndarray:
    query, video = real.paths[pair.query], real.paths[pair.video]
    text = f"{1000 * pair.score:.0f}  {query.stem}  {video.stem}"  # there are no letters for points
    return captioned_row(text, [*moments(query), *moments(video)])


def _print_files(real: RealPairs) -> None:
    """Rows by split, and how many of them weights that ship are fitted on: those of train that may ship."""
    labelled, footage, fitted = Counter[str](), Counter[str](), Counter[str]()
    for row, is_labelled in zip(real.rows, real.is_labelled, strict=True):
        (labelled if is_labelled else footage)[row.split] += 1
        fitted[row.split] += row.split == "train" and row.ship_ok is not False
    rows = [(split, labelled[split], footage[split], fitted[split]) for split in sorted({*labelled, *footage})]
    print_table(("files of", "labelled", "footage", "of them fitted"), rows)


def _print(results: Mapping[str, dict[str, Any]], found: Mapping[str, Mapping[str, Figure]]) -> None:
    run = {name: result for name, result in results.items() if name in found}
    not_run = [(name, result["not_run"]) for name, result in results.items() if name not in found]
    names = list(next(iter(found.values())))
    table: list[Sequence[object]] = []
    for key in names:
        cells = [of_system[key] for of_system in found.values()]
        texts = [interval_text(cell.interval, cell.num_units) for cell in cells]
        table.append((key, cells[0].num_pairs, cells[0].num_units, *texts))
    print_table(("one threshold for all queries", "pairs", "units", *run), table)
    for measure in ("micro-AP", "recall"):
        of_measure = [key for key in names if key.startswith(measure)]
        table = [
            (name, other, *(gain_text(Interval(**minus[key])) for key in of_measure))
            for name, result in run.items()
            for other, minus in result["minus"].items()
        ]
        if table:
            print_table((f"{measure} of", "minus that of", *of_measure), table)
    table = [
        (name, row["kind"], row["num_pairs"], *row["above"])
        for name, result in run.items()
        for row in result["pairs_above"]
    ]
    print_table(("pairs above thresholds", "which", "pairs", *(f"at {rate:g}" for rate in RATES)), table)
    for name, result in run.items():
        for kind, highest in result["highest"].items():
            if highest["pairs"]:
                print(
                    format_table(
                        (f"highest pairs of {name}: {kind}", "", ""),
                        [(f"{score:.3f}", *files) for score, *files in highest["pairs"]],
                    )
                )
                print(f"drawn in {highest['sheet']}", end="\n\n")
    print_costs(run, not_run)


if __name__ == "__main__":
    try:
        main()
    except (VisilError, OSError) as error:
        raise SystemExit(f"bench_real: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("bench_real: interrupted; what was made stays, and the same command goes on") from None

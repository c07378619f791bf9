"""A contact sheet of every family of edits at both strengths: look at it whenever what they make changes.

    python scripts/draw_edits.py ../shared/data/videos --host-stills FOLDER --seed 0 --out edits.png

A row is a family, each with another video of the folder (of at least 5 s): three moments of the source, of a mild
copy and of a strong one. A compilation shows as many of the folder's videos as it joins, the row's own one first.
Nothing is timed; the copies are made in a temporary folder, as the benchmark makes them.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visil.benchmarks.contact_sheet import GROUND, MOMENTS, captioned_row, moments, write_png
from visil.errors import MediaError
from visil.synth.edits import FAMILIES, LEVELS, apply_edit
from visil.synth.montage import Source, plan_compilation, write_montage
from visil.synth.video_file import video_facts

MIN_S, MAX_S = 5.0, 10.0
FPS, COMPILATION_SIZE_PX = 15, (426, 240)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="videos to edit")
    parser.add_argument("--host-stills", type=Path, required=True, help="folder of pictures for the footage around")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), help="default: all")
    parser.add_argument("--out", type=Path, default=Path("edits.png"))
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    sources = [path for path in sorted(args.folder.iterdir()) if _is_long_enough(path)]
    stills = sorted(args.host_stills.glob("*.jpg"))
    order = rng.permutation(len(sources))
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for i, family in enumerate(args.families):
            source = sources[order[i % len(sources)]]
            hosts = [stills[k] for k in rng.integers(len(stills), size=6)] if FAMILIES[family].has_host else []
            cells = moments(source)
            for level in LEVELS:
                if level in FAMILIES[family].levels:
                    copy = Path(work) / f"{family}_{level}.mp4"
                    if FAMILIES[family].joins_sources:
                        others = [sources[order[(i + k) % len(sources)]] for k in range(len(sources))]
                        _write_compilation(others[: int(FAMILIES[family].strength(level))], copy, rng)
                    else:
                        span_s = (0.0, min(MAX_S, video_facts(source).duration_s))
                        apply_edit(source, family, level, copy, rng, span_s=span_s, host_stills=hosts, max_fps=FPS)
                    cells += moments(copy)
                else:
                    cells += [np.full_like(cells[0], GROUND)] * len(MOMENTS)
            rows.append(captioned_row(family, cells))
    write_png(args.out, np.concatenate(rows))
    print(f"{args.out}: {len(rows)} families; columns: source, mild, strong")


def _write_compilation(videos: Sequence[Path], out: Path, rng: np.random.Generator) -> None:
    sources = [Source(path, path.name, video_facts(path).duration_s) for path in videos]
    write_montage(out, plan_compilation(rng, sources, fps=FPS), fps=FPS, size_px=COMPILATION_SIZE_PX)


def _is_long_enough(path: Path) -> bool:
    try:
        return video_facts(path).duration_s >= MIN_S
    except MediaError:
        return False  # tables and notes lie beside the videos


if __name__ == "__main__":
    main()

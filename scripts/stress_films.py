"""What a film costs as a query: long films as library and as queries, every one against every other.

The films are pans over drawn stills, made once in --work. Measured: peak memory of the process tree (PSS, Linux only,
visil/benchmarks/memory.py) and CPU seconds of `visil index` and of `visil search` as a user runs them; a pair is one
film as a query and one in the library. Lines of progress come through on standard error.
    python scripts/stress_films.py --films 10 --minutes 90 --json films.json
    python scripts/stress_films.py --films 3 --minutes 10
Aim: ten films of 90 minutes within 2 GB. A pair of n x m samples is n * m * 75,264 multiplications and additions with
the bundle `mini` (14 x 14 regions of 384 dimensions), which no way of computing the same scores avoids: 90 minutes
against 90 are 4.4e12 operations, 44 CPU seconds at 100 GFLOPS.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from visil.benchmarks.memory import MemoryWatch
from visil.benchmarks.report import benchmark_parser, format_table, run_facts, write_json
from visil.defaults import DEFAULT_BUNDLE
from visil.synth.camera import moving_crop
from visil.synth.textures import TEXTURES, draw_palette, draw_still
from visil.synth.video_file import write_video

ROOT = Path(__file__).resolve().parents[1]
FPS, SIZE_PX, STILL_PX = 2, (192, 144), (320, 240)
SHOT_S = 6


@dataclass(frozen=True)
class Cost:
    """Of one command."""

    command: str
    seconds: float
    cpu_seconds: float
    peak_mb: float


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--films", type=int, default=10, help="how many  [default: 10]")
    parser.add_argument("--minutes", type=float, default=90.0, help="length of each  [default: 90]")
    options = parser.parse_args()
    bundle = (options.model or [DEFAULT_BUNDLE])[-1]
    folder = options.work / f"films-{options.films}x{options.minutes:g}min-seed{options.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    films = [folder / f"film_{number:02}.mp4" for number in range(options.films)]
    for number, film in enumerate(films):
        if not film.exists():
            pictures = film_pictures(np.random.default_rng((options.seed, number)), round(60 * options.minutes))
            write_video(film, pictures, FPS)

    library = folder / "library"
    shutil.rmtree(library, ignore_errors=True)  # films are kept for the next run, but indexing them is measured
    index = ["index", *films, "--library", library, "--model", bundle, "--workers", options.workers]
    search = ["search", *films, "--library", library, "--format", "csv"]
    costs = [run(*(str(word) for word in words), "--device", options.device) for words in (index, search)]
    print(format_table(("command", "wall s", "CPU s", "peak MB"), [astuple(cost) for cost in costs]))
    num_pairs = options.films * (options.films - 1)
    print(
        f"{costs[1].cpu_seconds / num_pairs:.1f} CPU seconds a pair of {options.minutes:g} minutes, {num_pairs} pairs"
    )
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)), {cost.command: cost.__dict__ for cost in costs})


def film_pictures(rng: np.random.Generator, seconds: int) -> Iterator[np.ndarray]:
    """One shot after another, each over a still of its own."""
    textures = list(TEXTURES)
    for _ in range(-(-seconds // SHOT_S)):
        texture = textures[rng.integers(len(textures))]
        still = draw_still(rng, texture, draw_palette(rng, rng.random()), STILL_PX)
        yield from moving_crop(still, rng, num_pictures=SHOT_S * FPS, size_px=SIZE_PX)


def run(*arguments: str) -> Cost:
    """A command as a user runs it, its results thrown away."""
    started_s, cpu_s = time.monotonic(), cpu_seconds_of_children()
    process = subprocess.Popen([sys.executable, "-m", "visil.cli.main", *arguments], stdout=subprocess.DEVNULL)
    with MemoryWatch(process.pid) as memory:
        status = process.wait()
    if status:
        sys.exit(f"visil {arguments[0]} ended with {status}")
    return Cost(arguments[0], time.monotonic() - started_s, cpu_seconds_of_children() - cpu_s, memory.peak_bytes / 1e6)


def cpu_seconds_of_children() -> float:
    """Of those that have ended, and theirs."""
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    main()

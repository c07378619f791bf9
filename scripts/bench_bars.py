"""What measuring black bars costs beside reading and encoding.

Files: every fifth of DATA/videos and of DATA/footage, and four made ones of --minutes in 720p, as they are and between
bars (H.264 in MP4 and in MPEG-TS, which has no index). A video of a minute or more is measured on its key frames, a
shorter one, or one without an index, on its first samples; see visil/media/bar_pictures.py.
Timed, in seconds of CPU, on one core: reading with bars kept (decoding, resizing), encoding, measuring. Not timed:
starting a worker, passing frames on, writing. Every file --rounds times, the fastest round of each counts.
    python scripts/bench_bars.py --json bars.json
Aim: measuring takes at most 5 % of reading and encoding. Takes about 5 minutes on one core.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

from visil.benchmarks.report import benchmark_parser, format_table, run_facts, write_json
from visil.defaults import DEFAULT_BUNDLE
from visil.media.bar_pictures import MOST_WAITING, bars_and_samples
from visil.media.bars import Bars
from visil.media.one_pass import Asked, Decoding
from visil.media.pyav_reader import PyAVReader
from visil.model.model import Model, VideoEncoder, load_model
from visil.synth.repeating import repeat_video
from visil.synth.scenes import distinct_scenes, scene_pictures
from visil.synth.video_file import write_video

ROOT = Path(__file__).resolve().parents[1]
CLIP_S, FPS, SIZE_PX = 20, 25, (1280, 720)
BAR_PX = 92  # cinema in 16:9
COLUMNS = ("files", "number", "with bars", "read s", "encode s", "measure s", "share", "largest share")


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each made file  [default: 10]")
    parser.add_argument("--rounds", type=int, default=3, help="[default: 3]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model((options.model or [DEFAULT_BUNDLE])[0], device="cpu")
    folder = options.work / "bars"
    folder.mkdir(parents=True, exist_ok=True)

    real = [p for part in ("videos", "footage") for p in sorted((options.data / part).iterdir())[::5]]
    sets = {"real videos": [path for path in real if path.suffix not in (".csv", ".md")]}
    for name, bar_px in (("as it is", 0), ("between bars", BAR_PX)):
        for container in ("mp4", "ts"):
            path = made(folder / f"{bar_px}_{options.minutes:g}.{container}", bar_px, options.minutes * 60)
            sets[f"{options.minutes:g} min of 720p, {container}, {name}"] = [path]
    rows, results = [], {}
    for name, paths in sets.items():
        costs = [measure(path, model, options.rounds) for path in paths]
        read_s, encode_s, bars_s = (sum(cost[part] for cost in costs) for part in ("read_s", "encode_s", "measure_s"))
        largest = max(cost["measure_s"] / (cost["read_s"] + cost["encode_s"]) for cost in costs)
        num_with_bars = sum(cost["has_bars"] for cost in costs)
        share = f"{bars_s / (read_s + encode_s):.1%}"
        rows.append((name, len(paths), num_with_bars, read_s, encode_s, bars_s, share, f"{largest:.1%}"))
        results[name] = {str(path.name): cost for path, cost in zip(paths, costs, strict=True)}
    print(format_table(COLUMNS, rows))
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)), results)


def made(path: Path, bar_px: int, duration_s: float) -> Path:
    """A made scene between bars of this height, repeated to this length; made once."""
    if not path.exists():
        scene = distinct_scenes(np.random.default_rng(0), 1)[0]
        size_px = (SIZE_PX[0], SIZE_PX[1] - 2 * bar_px)
        pictures = scene_pictures(scene, duration_s=CLIP_S, fps=FPS, size_px=size_px)
        clip = path.with_name(f"clip_{bar_px}.mp4")
        if not clip.exists():
            write_video(clip, (np.pad(p, ((bar_px, bar_px), (0, 0), (0, 0))) for p in pictures), FPS)
        repeat_video(clip, path, times=round(duration_s / CLIP_S))
    return path


def measure(path: Path, model: Model, rounds: int) -> dict[str, Any]:
    """Seconds of CPU of the three parts, the fastest of several rounds each."""
    kept = replace(model.settings.preprocessing, bars="keep")
    chunks = list(PyAVReader().read(path, kept))

    def encode() -> None:
        encoder = VideoEncoder(model)
        for frames in chunks:
            encoder.add(frames)
        encoder.finish()

    bars = Bars()

    def measure_bars() -> None:
        nonlocal bars
        bars, _ = bars_and_samples(asked, decoding, iter(waiting))

    asked = Asked(path, kept, None, False, lambda: None)
    with Decoding(asked, Fraction(kept.fps), thinly=False) as decoding:
        waiting = list(islice(decoding.samples()[1], MOST_WAITING))  # as many as a reader may hold to measure them
    return {
        "read_s": fastest(lambda: list(PyAVReader().read(path, kept)), rounds),
        "encode_s": fastest(encode, rounds),
        "measure_s": fastest(measure_bars, rounds),
        "has_bars": bool(bars),
    }


def fastest(work: Callable[[], object], rounds: int) -> float:
    """Seconds of CPU of the fastest round."""
    took_s = []
    for _ in range(rounds):
        start_s = process_time()
        work()
        took_s.append(process_time() - start_s)
    return min(took_s)


if __name__ == "__main__":
    main()

"""Makes montages to train similarity networks on: frames of a second each, and their truths.

    images, videos, footage: rows of train that may ship ─► [cuts and pans of a few of them, one after the other]
                                                            └► OUT/frames/<name>/00000.jpg ..., OUT/truths/<name>.json

    python scripts/make_montages.py --data ../shared/data --out WORK/montages --count 3000 --workers 2

A montage lasts 4 to 64 seconds, most of them less than half a minute. It takes its shots from a few sources drawn for
it, so that most pairs of montages have nothing in common. The truths say which have: a still, or a video of one group
or with a label between them; other videos of one component are as unrelated as any. What is there already stays, and
montage k is the same however many are made. About 0.7 s of one core a montage. `--of stills` and `--of videos` leave
the others out, to see what each is worth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visil.benchmarks.stills import read_stills
from visil.errors import DataError, VisilError
from visil.evaluation.real_videos import read_footage, read_real_videos
from visil.s2vs.claims import claim
from visil.s2vs.clips import SHORT_SIDE_PX, write_frames
from visil.synth.montage import Source, montage_truth, pictures_of, plan_host
from visil.synth.montage_truth import write_montage_truth

FPS = 1.0
SIZE_PX = (SHORT_SIDE_PX * 4 // 3, SHORT_SIDE_PX)
SHORTEST_S, LONGEST_S = 4, 64
SHOT_S = (2.0, 8.0)
NUM_STILLS, NUM_VIDEOS = 30, 8  # that a montage takes its shots from
NUM_VIDEOS_ALONE = 4  # where there are no stills: of few components, or all montages would be related
SHOWN_SHARE = 0.5  # of such videos, that a montage lasts at most: pieces of 2 s and more leave gaps
VERSION = 2  # raised when the same arguments give other montages or truths
KINDS = ("both", "stills", "videos")
PURPOSE = 22  # of the seed: other scripts draw from (seed, purpose) too


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="holds images/, videos/ and footage/")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets frames/, truths/ and stills/")
    parser.add_argument("--count", type=int, default=3000, help="[default: 3000]")
    parser.add_argument("--of", choices=KINDS, default="both", help="what montages show  [default: both]")
    parser.add_argument("--seed", type=int, default=0, help="[default: 0]")
    parser.add_argument("--workers", type=int, default=1, help="processes  [default: 1]")
    options = parser.parse_args()
    if options.count < 1 or options.workers < 1 or options.seed < 0:
        parser.error("--count and --workers must be at least 1, --seed at least 0")
    claim(options.out, {"of": options.of, "seed": options.seed, "version": VERSION}, {})
    shown = read_sources(options.data, options.out / "stills", options.of)
    (options.out / "truths").mkdir(parents=True, exist_ok=True)
    wanted = [number for number in range(options.count) if not _is_there(options.out, number)]
    num_videos = sum(map(len, shown.videos))
    print(
        f"{len(shown.stills)} stills, {num_videos} videos; {len(wanted)} of {options.count} montages to make",
        flush=True,
    )
    with ProcessPoolExecutor(options.workers) as pool:
        jobs = [pool.submit(make, options.out, number, options.seed, shown) for number in wanted]
        for done, job in enumerate(jobs, start=1):
            job.result()
            if done % 100 == 0:
                print(f"{done} of {len(wanted)}", flush=True)
    return 0


@dataclass(frozen=True)
class Sources:
    """What montages are made of; videos by the components that they are drawn by."""

    stills: Sequence[Source]
    videos: Sequence[Sequence[Source]]


def read_sources(data: Path, folder: Path, kind: str) -> Sources:
    """Stills and videos of `train` that weights that ship may be fitted on; stills are unpacked into the folder."""
    stills: list[Source] = []
    if kind != "videos":
        stills = [
            Source(still.path, f"still:{still.component}", footage=still.component)
            for still in read_stills(data / "images", "train", folder, may_ship=True)
        ]
    videos: dict[str, list[Source]] = {}
    if kind != "stills":
        for real in (read_real_videos(data / "videos"), read_footage(data / "footage")):
            families = real.families()
            for row in real.of_split("train"):
                if row.ship_ok and row.duration_s >= SHOT_S[0]:
                    source = Source(real.folder / row.file, f"video:{families[row.file]}", row.duration_s, row.footage)
                    videos.setdefault(row.component, []).append(source)
    if not (stills or videos) or (kind == "both" and not (stills and videos)):
        raise DataError(f"{data}: no still or no video of train may ship")
    return Sources(stills, [videos[component] for component in sorted(videos)])


def make(out: Path, number: int, seed: int, shown: Sources) -> None:
    """Write one montage: its truth first, its folder of frames when it is whole."""
    rng = np.random.default_rng((seed, PURPOSE, number))
    duration_s = float(np.exp(rng.uniform(np.log(SHORTEST_S), np.log(LONGEST_S))).round())
    drawn = rng.choice(len(shown.stills), min(NUM_STILLS, len(shown.stills)), replace=False) if shown.stills else []
    chosen = [*(shown.stills[i] for i in drawn), *_one_a_component(rng, shown)]
    if not shown.stills:
        duration_s = max(SHORTEST_S, min(duration_s, int(SHOWN_SHARE * sum(video.duration_s or 0 for video in chosen))))
    shots = plan_host(rng, chosen, fps=FPS, duration_s=duration_s, shot_s=SHOT_S)
    name = _name(number)
    write_montage_truth(out / "truths" / f"{name}.json", montage_truth(name, shots, fps=FPS))
    write_frames(pictures_of(shots, fps=FPS, size_px=SIZE_PX), out / "frames" / name)


def _one_a_component(rng: np.random.Generator, shown: Sources) -> list[Source]:
    """A video of each of some components: sixty clips of one sky weigh as much as one of a street."""
    if not shown.videos:
        return []
    count = min(NUM_VIDEOS if shown.stills else NUM_VIDEOS_ALONE, len(shown.videos))
    drawn = (shown.videos[i] for i in rng.choice(len(shown.videos), count, replace=False))
    return [videos[int(rng.integers(len(videos)))] for videos in drawn]


def _is_there(out: Path, number: int) -> bool:
    return (out / "frames" / _name(number)).exists() and (out / "truths" / f"{_name(number)}.json").exists()


def _name(number: int) -> str:
    return f"montage-{number:05d}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (VisilError, OSError) as error:
        raise SystemExit(f"make_montages: {error}") from error
    except KeyboardInterrupt:
        print("make_montages: interrupted; what is made stays", file=sys.stderr)
        sys.exit(130)

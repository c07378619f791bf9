"""Draws where a bundle goes wrong, for its model card: made-up footage, and the scores it gets.

    python scripts/draw_limits.py --model mini --out docs/models/limits.png

A row is a query and three videos: what it shows, what else it is taken for, and the best of many unrelated ones. Prints
the score of the query against each. Everything is drawn by visil.synth; nothing is timed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visil.benchmarks.contact_sheet import write_png
from visil.model.model import Model, load_model
from visil.synth.furniture import furnish
from visil.synth.lettering import lettering
from visil.synth.scenes import Scene, distinct_scenes, look_alike, scene_pictures
from visil.synth.video_file import resized
from visil.values import EncodedVideo, Frames, VideoInfo

SIZE_PX = (480, 270)
FPS, SECONDS = 1, 6
NUM_UNRELATED = 40
INSET = 0.4  # of the sides, as strong picture-in-picture of the yardstick
CELL_PX = (160, 90)
LABEL_PX = 7
GREY_STEP = 16  # of the drawing: it is to be small


@dataclass(frozen=True)
class Row:
    """Videos as pictures [H, W, 3]; `shown` is the moment that is drawn of the query and of what it is taken for."""

    title: str
    query: list[np.ndarray]
    source: list[np.ndarray]
    other: list[np.ndarray]
    other_name: str
    shown: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini", help="a bundle's name or file  [default: mini]")
    parser.add_argument("--seed", type=int, default=0, help="[default: 0]")
    parser.add_argument("--out", type=Path, default=Path("limits.png"))
    args = parser.parse_args()
    model = load_model(args.model, device="cpu")
    rng = np.random.default_rng(args.seed)
    made = [_video(scene) for scene in distinct_scenes(rng, 8)]
    alike = distinct_scenes(rng, 1)[0]
    unrelated = [_video(scene) for scene in distinct_scenes(rng, NUM_UNRELATED)]
    rows = [
        Row("INSIDE ANOTHER", _inside(made[0], made[1]), made[0], made[1], "THE ONE AROUND", SECONDS // 2),
        Row("SAME TITLE CARD", *_furnished("title_card", made[2], made[3]), "OTHER WITH SAME CARD", 1),
        Row("SAME OUTRO", *_furnished("outro", made[4], made[5]), "OTHER WITH SAME OUTRO", -2),
        Row("SAME BORDER", *_furnished("border", made[6], made[7]), "OTHER WITH SAME BORDER", SECONDS // 2),
        Row("LOOK ALIKE", _video(alike), _video(alike), _video(look_alike(alike, rng)), "LOOK ALIKE", SECONDS // 2),
    ]
    encoded = [_encoded(model, video) for video in unrelated]
    drawn = []
    for row in rows:
        query = _encoded(model, row.query)
        scores = [model.compare(query, _encoded(model, video)).score for video in (row.source, row.other)]
        others = [model.compare(query, video).score for video in encoded]
        best = int(np.argmax(others))
        cells = [
            _cell(row.query[row.shown], row.title),
            _cell(row.source[SECONDS // 2], "WHAT IT SHOWS"),
            _cell(row.other[row.shown], row.other_name),
            _cell(unrelated[best][SECONDS // 2], "BEST UNRELATED"),
        ]
        drawn.append(np.concatenate(cells, axis=1))
        print(f"| {row.title.lower()} | {scores[0]:.3f} | {scores[1]:.3f} | {others[best]:.3f} |")
    write_png(args.out, np.concatenate(drawn))
    print(f"{args.out}: {args.out.stat().st_size / 1e3:.0f} kB, bundle {model.bundle.hash[:12]}")


def _video(scene: Scene) -> list[np.ndarray]:
    return list(scene_pictures(scene, duration_s=SECONDS, fps=FPS, size_px=SIZE_PX))


def _inside(video: list[np.ndarray], host: list[np.ndarray]) -> list[np.ndarray]:
    width, height = (round(INSET * side) for side in SIZE_PX)
    together = []
    for picture, around in zip(video, host, strict=True):
        changed = around.copy()
        changed[20 : 20 + height, 30 : 30 + width] = resized(picture, width, height)
        together.append(changed)
    return together


def _furnished(
    kind: str, video: list[np.ndarray], other: list[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """The query, its source, and another video under the same furniture."""
    return list(furnish(video, kind, 1, fps=FPS)), video, list(furnish(other, kind, 1, fps=FPS))


def _encoded(model: Model, video: list[np.ndarray]) -> EncodedVideo:
    side = model.settings.preprocessing.size_px
    images = np.stack([resized(picture, side, side) for picture in video])
    times_s = np.arange(len(images)) / FPS
    info = VideoInfo(SIZE_PX, SIZE_PX, (side, side), 0, "raw", 0.0)
    return model.encode_frames([Frames(images, times_s, info, len(images) / FPS)])


def _cell(picture: np.ndarray, text: str) -> np.ndarray:
    cell = np.full((CELL_PX[1] + LABEL_PX + 8, CELL_PX[0] + 4, 3), 255, dtype=np.uint8)
    small = resized(picture, *CELL_PX).astype(np.uint16)
    cell[2 : 2 + CELL_PX[1], 2 : 2 + CELL_PX[0]] = np.minimum(small // GREY_STEP * GREY_STEP + GREY_STEP // 2, 255)
    letters = lettering(text, LABEL_PX)
    cell[CELL_PX[1] + 4 : CELL_PX[1] + 4 + len(letters), 3 : 3 + letters.shape[1]][letters] = 0
    return cell


if __name__ == "__main__":
    main()

"""The videos of `visil demo`: made-up scenes and their look-alikes as a library, edited copies as queries.

scenes ─► [library/*.mp4 ─► edits, montage ─► queries/*.mp4] ─► DemoQuery (what a search should find)

library/   scene_1 ... scene_8; look_alike_1 ... look_alike_3 of the first three; montage_of_7_and_8
queries/   an edited copy of scenes 1 to 6, and a clip of scene 7, which the montage holds too
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visil.synth.edits import apply_edit, cut_clip
from visil.synth.montage import Shot, Source, write_montage
from visil.synth.scenes import distinct_scenes, look_alike, scene_pictures
from visil.synth.truth import EditTruth, write_truths
from visil.synth.video_file import write_video

SIZE_PX = (320, 180)
FPS = 12
DURATION_S = (7.0, 9.0)
NUM_SCENES = 8
NUM_LOOK_ALIKES = 3
EDITED_SCENES = {  # of scenes 1, 2, ...: family and strength
    "crop": "mild",
    "mirror": "strong",
    "letterbox": "mild",
    "logo": "mild",
    "speed": "mild",
    "low_144p": "mild",
}
CLIP_S = 4.0
MONTAGE = "montage_of_7_and_8.mp4"


@dataclass(frozen=True)
class DemoQuery:
    """One query of the demo and the truth about every video of its library (by name of file).

    Attributes:
        path: the edited copy.
        related: the videos that show the same, with times on both sides.
        look_alikes: other scenes in the same style; not related.
        unrelated: all other videos.
    """

    path: Path
    related: tuple[EditTruth, ...]
    look_alikes: tuple[str, ...]
    unrelated: tuple[str, ...]

    def relation(self, video: str) -> str:
        """What is true of a video of the library: `related`, `look-alike` or `unrelated`."""
        if video in {truth.source for truth in self.related}:
            return "related"
        return "look-alike" if video in self.look_alikes else "unrelated"


def make_demo(folder: Path, seed: int) -> list[DemoQuery]:
    """Write `library/`, `queries/` and `truth.json` (the related pairs) into a folder, in a few seconds."""
    rng = np.random.default_rng(seed)
    library, queries = folder / "library", folder / "queries"
    library.mkdir(parents=True, exist_ok=True)
    queries.mkdir(exist_ok=True)

    scenes = distinct_scenes(rng, NUM_SCENES)
    videos = {f"scene_{i}.mp4": scene for i, scene in enumerate(scenes, start=1)}
    videos |= {f"look_alike_{i}.mp4": look_alike(scenes[i - 1], rng) for i in range(1, NUM_LOOK_ALIKES + 1)}
    for name, scene in videos.items():
        pictures = scene_pictures(scene, duration_s=rng.uniform(*DURATION_S), fps=FPS, size_px=SIZE_PX)
        write_video(library / name, pictures, FPS)
    names = [*videos, MONTAGE]

    found = []
    for i, (family, level) in enumerate(EDITED_SCENES.items(), start=1):
        path = queries / f"{family}_of_scene_{i}.mp4"
        truth = apply_edit(library / f"scene_{i}.mp4", family, level, path, rng)
        found.append(_demo_query(path, (truth,), names, look_alike=f"look_alike_{i}.mp4"))
    clip_path = queries / "clip_of_scene_7.mp4"
    clip_truths = _write_clip_and_montage(library, clip_path, rng)
    found.append(_demo_query(clip_path, clip_truths, names))
    write_truths(folder / "truth.json", [truth for query in found for truth in query.related])
    return found


def _write_clip_and_montage(library: Path, clip_path: Path, rng: np.random.Generator) -> tuple[EditTruth, EditTruth]:
    """The same clip of scene 7 as a file of its own and between two pieces of scene 8."""
    num_pictures = round(CLIP_S * FPS)
    latest_start = round(DURATION_S[0] * FPS) - num_pictures
    clip_start_s = float(rng.integers(latest_start + 1)) / FPS
    seventh, eighth = (Source(library / f"scene_{i}.mp4", f"scene_{i}", DURATION_S[0]) for i in (7, 8))
    clip = Shot(seventh, num_pictures, clip_start_s)
    before, after = (Shot(eighth, 2 * FPS, start_s) for start_s in (0.0, 4.0))
    of_scene = cut_clip(seventh.path, clip_path, start_s=clip_start_s, duration_s=CLIP_S)
    montage = write_montage(library / MONTAGE, [before, clip, after], fps=FPS, size_px=SIZE_PX)
    in_montage = montage.pieces[1]
    of_montage = EditTruth(
        query=clip_path.name,
        source=MONTAGE,
        family="cut",
        strength=CLIP_S,
        query_start_s=0.0,
        query_end_s=CLIP_S,
        start_s=in_montage.start_s,
        end_s=in_montage.end_s,
        labels=("PART",),
    )
    return of_scene, of_montage


def _demo_query(
    path: Path, related: tuple[EditTruth, ...], names: list[str], look_alike: str | None = None
) -> DemoQuery:
    look_alikes = tuple(name for name in names if name == look_alike)
    taken = {*look_alikes, *(truth.source for truth in related)}
    return DemoQuery(path, related, look_alikes, tuple(name for name in names if name not in taken))

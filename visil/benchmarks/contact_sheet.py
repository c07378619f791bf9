"""Contact sheets: pictures of videos side by side, to be looked at.

files ─► [moments, caption ─► rows ─► write_png] ─► picture
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from visil.synth.camera import fitted
from visil.synth.lettering import LETTERS, lettering
from visil.synth.video_file import pictures_at, video_facts

CELL_PX = (176, 132)
MOMENTS = (0.15, 0.5, 0.85)  # of the time of a video
CAPTION_PX = 14
GROUND = 90  # grey, so that black bars are seen
WRITABLE = frozenset((*LETTERS, *"0123456789"))


def moments(path: Path) -> list[np.ndarray]:
    """Pictures of a video at `MOMENTS`, each uint8 RGB of `CELL_PX`."""
    duration_s = video_facts(path).duration_s
    pictures = pictures_at(path, [share * duration_s for share in MOMENTS])
    return [fitted(picture, CELL_PX, ground=(GROUND, GROUND, GROUND)) for picture in pictures]


def captioned_row(text: str, cells: Sequence[np.ndarray]) -> np.ndarray:
    """Cells of one height side by side under a line of text, in capitals; what there are no letters for is blank."""
    pictures = np.concatenate(cells, axis=1)
    caption = np.full((CAPTION_PX + 4, pictures.shape[1], 3), 40, dtype=np.uint8)
    letters = lettering("".join(letter if letter in WRITABLE else " " for letter in text.upper()), CAPTION_PX)
    letters = letters[:, : pictures.shape[1] - 4]
    caption[2 : 2 + len(letters), 4 : 4 + letters.shape[1]][letters] = 255
    return np.concatenate([caption, pictures])


def write_png(path: Path, picture: np.ndarray) -> None:
    """Save a picture, uint8 RGB [H, W, 3], as small as PNG makes it; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1, options={"compression_level": "9", "pred": "mixed"})
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())

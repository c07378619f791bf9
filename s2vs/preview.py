"""Both views of a clip as contact sheets on one page, for a person to look at before training.

CLIP ─► frames ─► weak view, strong view, strong view in another clip ─► one page of HTML, pictures inside it
"""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from visil.errors import DataError
from visil.media.preprocessing import Preprocessing
from visil.model.bundle import load_bundle
from visil.s2vs.clips import find_clips, read_video
from visil.s2vs.settings import S2VSSettings
from visil.s2vs.shared_furniture import SharedFurniture
from visil.s2vs.training import bundle_file
from visil.s2vs.video_in_video import Mixture, mix

COLUMNS = 8
NUM_STRONG = 3  # strong views that are shown, of seeds one after the other
SHARE = 0.5  # of the host, in the view that is mixed


def write_preview(clip: Path, page: Path, settings: S2VSSettings, *, base: Path = Path(), seed: int = 0) -> None:
    """Write the page.

    Args:
        clip: a video, or a folder of frames.
        base: folder that relative paths in the settings are below.

    Raises:
        DataError, MediaError: it cannot be read.
    """
    preprocessing = load_bundle(bundle_file(settings, base)).settings.preprocessing
    side_px = preprocessing.sides_px[0]
    frames = torch.from_numpy(_frames(clip, settings.views.window, preprocessing))
    weak, strong = settings.views.weak(side_px), settings.views.strong(side_px)
    sheets = [("Frames", frames[: settings.views.length]), ("Weak view", weak.draw(frames, _seeded(seed)))]
    drawn = [strong.draw(frames, _seeded(seed + number)) for number in range(NUM_STRONG)]
    sheets += [(f"Strong view, seed {seed + number}", view) for number, view in enumerate(drawn)]
    if strong.mixing is not None:
        both = [view[: min(map(len, drawn[:2]))] for view in drawn[:2]]
        centre = [side_px // 2, side_px // 2]
        mixture = Mixture(torch.tensor([1, -1]), torch.tensor([SHARE, SHARE]), torch.tensor([centre, centre]))
        sheets.append(("Video in video: the first strong view in the second", mix(torch.stack(both), mixture)[0]))
    for number in range(NUM_STRONG) if settings.views.furniture else ():
        (view,) = SharedFurniture(chance=1.0).draw(drawn[:1], _seeded(seed + number))
        sheets.append((f"Shared furniture on the first strong view, seed {seed + number}", view))
    body = "\n".join(
        f"<h2>{html.escape(title)}</h2>\n<p>{len(view)} frames, {view.shape[2]} x {view.shape[1]} px</p>\n"
        f'<img alt="{html.escape(title)}" src="{_inline(contact_sheet(view))}">'
        for title, view in sheets
    )
    name = html.escape(clip.name)
    page.write_text(
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Views of {name}</title>\n'
        "<style>body { font: 16px sans-serif; margin: 2rem auto; max-width: 68rem } img { max-width: 100% }</style>\n"
        f"<h1>Views of {name}</h1>\n{body}\n</html>\n",
        encoding="utf-8",
        errors="backslashreplace",
    )


def contact_sheet(frames: Tensor) -> np.ndarray:
    """uint8 [T, H, W, 3] -> one picture uint8 [.., .., 3] of COLUMNS a row, white where there is none."""
    count, height, width, _ = frames.shape
    rows = -(-count // COLUMNS)
    sheet = np.full((rows * height, min(count, COLUMNS) * width, 3), 255, dtype=np.uint8)
    for number, frame in enumerate(frames.numpy()):
        row, column = divmod(number, COLUMNS)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = frame
    return sheet


def _frames(clip: Path, count: int, preprocessing: Preprocessing) -> np.ndarray:
    if clip.is_dir():
        folder = clip.resolve()
        return find_clips([folder.parent], only=folder.name)[0].read(0, count)
    if not clip.exists():
        raise DataError(f"{clip}: no such file or folder")
    return read_video(clip, preprocessing, count)


def _inline(picture: np.ndarray) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)

"""Edits of the pictures of a video, one picture at a time.

    rng, size of the pictures, strength ─► [crop, rotation, text ...: what is drawn once] ─► picture ─► picture

Every maker draws its random choices (which side, where, what text) when it is called, so that an edit is steady
over its video, and leaves what can be prepared (indices, tables, stickers) out of the loop over the pictures.
Pictures are uint8 RGB [H, W, 3]; those that come in are never changed in place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from visil.synth.camera import fitted
from visil.synth.stickers import Sticker, caption, emoji, logo
from visil.synth.video_file import resized

PictureEdit = Callable[[np.ndarray], np.ndarray]
PictureEditMaker = Callable[[np.random.Generator, int, int, float], PictureEdit]
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
LINES_OF_144P = 144
CAPTION_LINE = 0.12  # share of the height of a line of text
EMOJI_HEIGHT = (0.2, 0.4)  # of one emoji, as a share of the short side
LONG_OVER_SHORT = 16 / 9  # sides of the picture that `vertical_blurred` fills
BLURRED_PX = (9, 16)  # the copy that fills its sides is enlarged from this size: nothing but colours is left
BEZEL = 0.03  # of a filmed screen, as a share of its short side
BEZEL_LEVEL, ROOM_LEVELS = 18, (15, 120)
GLARE_LEVELS = 500  # of grey in the middle of the glare, for most_inwards = 1
NOISE_SHIFTS_PX = 64  # noise is drawn once, larger than the picture, and laid over every picture from elsewhere


def unchanged(_rng: np.random.Generator, _height: int, _width: int, _strength: float) -> PictureEdit:
    """The pictures stay as they are: what changes is the time or the encoding."""
    return lambda picture: picture


def crop(rng: np.random.Generator, height: int, width: int, kept_area: float) -> PictureEdit:
    """Keep a window of the same aspect with this share of the area, somewhere in the picture."""
    rows, columns = (max(2, int(side * kept_area**0.5)) for side in (height, width))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return lambda picture: picture[top : top + rows, left : left + columns]


def mirror(_rng: np.random.Generator, _height: int, _width: int, _strength: float) -> PictureEdit:
    """Left becomes right."""
    return lambda picture: picture[:, ::-1]


def rotation(rng: np.random.Generator, height: int, width: int, degrees: float) -> PictureEdit:
    """Turned about the middle, one way or the other; the size stays, corners that come free are black."""
    angle = np.deg2rad(degrees) * rng.choice([-1, 1])
    cos, sin = np.cos(angle), np.sin(angle)
    y, x = np.mgrid[:height, :width].astype(float)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    return _warp(sin * x + cos * y + (height - 1) / 2, cos * x - sin * y + (width - 1) / 2)


def perspective(rng: np.random.Generator, height: int, width: int, most_inwards: float) -> PictureEdit:
    """Seen at a slant: every corner moves inwards by up to this share of the sides, the rest is black.

    One side (drawn) is farther away: its corners move by at least half of the most.
    """
    return _warp(*_at_a_slant(rng, height, width, most_inwards))


def turn(rng: np.random.Generator, _height: int, _width: int, degrees: float) -> PictureEdit:
    """Turned by 90 degrees, one way or the other, or by 180; sides change places with the former."""
    quarters = round(degrees / 90) * int(rng.choice([-1, 1]))
    return lambda picture: np.rot90(picture, quarters)


def vertical_blurred(_rng: np.random.Generator, height: int, width: int, kept: float) -> PictureEdit:
    """A wide picture in a vertical one of 9:16, over a blurred copy of itself that fills what is left free.

    The middle of it, this share of its width, is as wide as the new picture, whose width is the old height. With a tall
    picture it is the other way about: it lies in a wide one of 16:9.
    """
    is_wide = width >= height
    short, long = min(height, width), round(min(height, width) * LONG_OVER_SHORT)
    size_px, coarse_px = ((short, long), BLURRED_PX) if is_wide else ((long, short), BLURRED_PX[::-1])
    rows, columns = (height, round(width * kept)) if is_wide else (round(height * kept), width)
    scale = min(height / size_px[1], width / size_px[0])

    def edit(picture: np.ndarray) -> np.ndarray:
        behind = _middle(picture, round(size_px[1] * scale), round(size_px[0] * scale))
        ground = resized(resized(behind, *coarse_px), *size_px)
        return fitted(_middle(picture, rows, columns), size_px, ground=ground)

    return edit


def screen_filmed(rng: np.random.Generator, height: int, width: int, most_inwards: float) -> PictureEdit:
    """A screen that shows the picture, filmed in a dim room: at a slant, soft, with a glare and another exposure.

    Corners move inwards as in `perspective`, over a bezel and an out-of-focus room. Glare and softness grow with it.
    """
    places = _at_a_slant(rng, height, width, most_inwards)
    y, x = places
    beside = np.maximum.reduce([-y, y - (height - 1), -x, x - (width - 1)])[..., None] / min(height, width)
    room = rng.uniform(*ROOM_LEVELS, (4, 5, 1)) * rng.uniform(0.7, 1.0, 3)
    around = resized(room.astype(np.uint8), width, height)
    around = np.where(beside <= BEZEL, np.uint8(BEZEL_LEVEL), around)
    gains, gamma = rng.uniform(0.75, 1.1, 3), rng.choice([0.75, 1.35])
    levels = BEZEL_LEVEL + (255 - BEZEL_LEVEL) * gains * np.linspace(0, 1, 256)[:, None] ** gamma  # [256, channels]
    exposed = np.clip(levels, 0, 255).round().astype(np.uint8)
    middle, radii = rng.uniform(0.2, 0.8, 2), rng.uniform(0.12, 0.3, 2)
    rows, columns = np.mgrid[:height, :width]
    distance = ((rows / height - middle[0]) / radii[0]) ** 2 + ((columns / width - middle[1]) / radii[1]) ** 2
    glare = (GLARE_LEVELS * most_inwards * np.exp(-distance / 2)).astype(np.uint16)[..., None]
    coarse_px = (round(width / (1 + 4 * most_inwards)), round(height / (1 + 4 * most_inwards)))
    warp = _warp(*places)

    def edit(picture: np.ndarray) -> np.ndarray:
        soft = resized(resized(picture, *coarse_px), width, height)
        seen = np.where(beside <= 0, warp(exposed[soft, np.arange(3)]), around)
        return np.minimum(seen + glare, 255).astype(np.uint8)

    return edit


def letterbox(rng: np.random.Generator, height: int, width: int, bars: float) -> PictureEdit:
    """Two black bars fill this share of the new picture, above and below or at the sides; the old one lies whole."""
    above = rng.random() < 0.5
    bar = round((height if above else width) * bars / (1 - bars) / 2)
    padding = ((bar, bar), (0, 0), (0, 0)) if above else ((0, 0), (bar, bar), (0, 0))
    return lambda picture: np.pad(picture, padding)


def aspect(rng: np.random.Generator, height: int, width: int, factor: float) -> PictureEdit:
    """Squeezed by this factor, in height or in width."""
    if rng.random() < 0.5:
        height = max(2, round(height / factor))
    else:
        width = max(2, round(width / factor))
    return lambda picture: resized(picture, width, height)


def grayscale(_rng: np.random.Generator, _height: int, _width: int, _strength: float) -> PictureEdit:
    """Lightness only."""
    return lambda picture: (picture @ LUMA).round().astype(np.uint8)[..., None].repeat(3, axis=-1)


def brightness_contrast(rng: np.random.Generator, _height: int, _width: int, factor: float) -> PictureEdit:
    """Contrast raised or lowered by this factor, about a dark or a light grey, so that brightness changes too."""
    levels = np.arange(256)
    gain = factor if rng.random() < 0.5 else 1 / factor
    fixed_level = rng.choice([70, 185])
    table = np.clip(fixed_level + gain * (levels - fixed_level), 0, 255).round().astype(np.uint8)
    return lambda picture: table[picture]


def blur(_rng: np.random.Generator, height: int, width: int, lines: float) -> PictureEdit:
    """Detail finer than this many lines on the short side is averaged away; the size stays."""
    scale = min(1.0, lines / min(height, width))
    coarse = (max(2, round(width * scale)), max(2, round(height * scale)))
    return lambda picture: resized(resized(picture, *coarse), width, height)


def noise(rng: np.random.Generator, height: int, width: int, deviation: float) -> PictureEdit:
    """Gaussian noise of this standard deviation in grey levels, other in every picture and every channel."""
    drawn = rng.standard_normal((height + NOISE_SHIFTS_PX, width + NOISE_SHIFTS_PX, 3), dtype=np.float32)
    levels = (drawn * deviation).round().astype(np.int16)
    shifts = np.random.default_rng(rng.integers(2**63))

    def edit(picture: np.ndarray) -> np.ndarray:
        top, left = shifts.integers(NOISE_SHIFTS_PX + 1, size=2)
        return np.clip(picture + levels[top : top + height, left : left + width], 0, 255).astype(np.uint8)

    return edit


def shrink(_rng: np.random.Generator, height: int, width: int, _strength: float) -> PictureEdit:
    """Reduce to 144 lines (the short side)."""
    scale = min(1.0, LINES_OF_144P / min(height, width))
    return lambda picture: resized(picture, max(2, round(width * scale)), max(2, round(height * scale)))


def text(rng: np.random.Generator, height: int, width: int, share: float) -> PictureEdit:
    """Lines of text over this share of the height: at the lower edge, and at the upper one if they are many."""
    num_lines = max(1, round(share / CAPTION_LINE))
    above = num_lines // 2
    line_px = max(7, round(height * share / num_lines))
    stickers: list[tuple[Sticker, int, int]] = []
    for lines, top in ((num_lines - above, height - (num_lines - above) * line_px), (above, 0)):
        if lines:
            stickers.append((caption(rng, lines * line_px, width, num_lines=lines), top, 0))
    return _with_stickers(stickers)


def logo_in_corner(rng: np.random.Generator, height: int, width: int, share: float) -> PictureEdit:
    """A logo of this share of the width in one of the corners."""
    drawn = logo(rng, max(6, min(round(width * share), 3 * height)))
    margin = min(height, width) // 20
    top = int(rng.choice([margin, height - margin - len(drawn.colours)]))
    left = int(rng.choice([margin, width - margin - drawn.width]))
    return _with_stickers([(drawn, top, left)])


def emojis(rng: np.random.Generator, height: int, width: int, share: float) -> PictureEdit:
    """Emoji of different kinds and sizes, anywhere, until their squares add up to this share of the picture."""
    stickers: list[tuple[Sticker, int, int]] = []
    free_px = share * height * width
    while True:
        size = max(6, round(min(height, width) * rng.uniform(*EMOJI_HEIGHT)))
        size = min(size, round(free_px**0.5))
        if size < 6 and stickers:
            return _with_stickers(stickers)
        size = max(6, size)
        top, left = int(rng.integers(max(1, height - size))), int(rng.integers(max(1, width - size)))
        stickers.append((emoji(rng, size), top, left))
        free_px = max(0.0, free_px - size * size)


def border(rng: np.random.Generator, height: int, width: int, share: float) -> PictureEdit:
    """A frame this share of the sides wide: plain, striped, shaded, or the picture itself enlarged and blurred."""
    rows, columns = (max(2, round(side * (1 - 2 * share))) for side in (height, width))
    top, left = (height - rows) // 2, (width - columns) // 2
    first, second = rng.integers(0, 256, (2, 3))
    y, x = np.mgrid[:height, :width] / height
    kind = rng.choice(["plain", "stripes", "shade", "blurred"])
    mixture = {"plain": 0 * x, "stripes": ((x + y) * rng.uniform(6, 20)) % 1 < 0.5, "shade": (x + y) / (x + y).max()}
    ground = None
    if kind != "blurred":
        share_of_second = mixture[kind][..., None]
        ground = (first * (1 - share_of_second) + second * share_of_second).round().astype(np.uint8)

    def edit(picture: np.ndarray) -> np.ndarray:
        framed = ground.copy() if ground is not None else resized(resized(picture, 16, 9), width, height)
        framed[top : top + rows, left : left + columns] = resized(picture, columns, rows)
        return framed

    return edit


def _with_stickers(stickers: list[tuple[Sticker, int, int]]) -> PictureEdit:
    def edit(picture: np.ndarray) -> np.ndarray:
        changed = np.array(picture)
        for sticker, top, left in stickers:
            sticker.put_on(changed, top, left)
        return changed

    return edit


def _middle(picture: np.ndarray, rows: int, columns: int) -> np.ndarray:
    top, left = (picture.shape[0] - rows) // 2, (picture.shape[1] - columns) // 2
    return picture[top : top + rows, left : left + columns]


def _at_a_slant(
    rng: np.random.Generator, height: int, width: int, most_inwards: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel comes from when every corner moves inwards, those of one side by at least half of the most."""
    corners = np.array([(0, 0), (0, 1), (1, 1), (1, 0)], dtype=float)  # (top, left) as shares, clockwise
    inwards = rng.uniform(0, 0.4, (4, 2))
    far = int(rng.integers(4))
    inwards[[far, (far + 1) % 4]] = rng.uniform(0.6, 1.0, (2, 2))
    moved = corners + most_inwards * inwards * (1 - 2 * corners)
    size = np.array([height - 1, width - 1])
    return _projected(moved * size, corners * size, height, width)


def _projected(shown: np.ndarray, source: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Where in the source each pixel of the new picture comes from, given four corners [4, 2] on both sides.

    The homography with h22 = 1 from four points: eight linear equations (Hartley and Zisserman, section 4.1).
    """
    rows, values = [], []
    for (y, x), (source_y, source_x) in zip(shown, source, strict=True):
        rows += [
            [y, x, 1, 0, 0, 0, -source_y * y, -source_y * x],
            [0, 0, 0, y, x, 1, -source_x * y, -source_x * x],
        ]
        values += [source_y, source_x]
    h = np.append(np.linalg.solve(np.array(rows), np.array(values)), 1.0).reshape(3, 3)
    y, x = np.mgrid[:height, :width].astype(float)
    scale = h[2, 0] * y + h[2, 1] * x + h[2, 2]
    return (h[0, 0] * y + h[0, 1] * x + h[0, 2]) / scale, (h[1, 0] * y + h[1, 1] * x + h[1, 2]) / scale


def _warp(source_y: np.ndarray, source_x: np.ndarray) -> PictureEdit:
    """Bilinear sampling at these places [H, W] of pictures of the same size; black where they lie outside.

    In whole numbers: places are rounded to a sixteenth of a pixel, and a pixel is fetched as one 32-bit word.
    """
    height, width = source_y.shape
    inside = (source_y >= 0) & (source_y <= height - 1) & (source_x >= 0) & (source_x <= width - 1)
    y16, x16 = (np.where(inside, 16 * place, 0).round().astype(np.intp) for place in (source_y, source_x))
    y0, x0 = np.minimum(y16 // 16, height - 2), np.minimum(x16 // 16, width - 2)
    below, right = (y16 - 16 * y0), (x16 - 16 * x0)
    corners = []
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = (below if dy else 16 - below) * (right if dx else 16 - right) * inside
        corners.append((((y0 + dy) * width + x0 + dx).ravel(), weight.astype(np.uint16).ravel()[:, None]))

    def edit(picture: np.ndarray) -> np.ndarray:
        words = np.empty((height, width, 4), dtype=np.uint8)
        words[..., :3] = picture
        pixels = words.view(np.uint32).ravel()
        mixed = np.full((height * width, 4), 128, dtype=np.uint16)
        for index, weight in corners:
            mixed += pixels[index].view(np.uint8).reshape(-1, 4) * weight
        return (mixed >> 8).astype(np.uint8)[:, :3].reshape(height, width, 3)

    return edit

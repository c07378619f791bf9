"""Black bars around the picture of a whole video: found in a few pictures of it, and cut off all of them.

    a few decoded pictures ─► [BarsMeter ─► Bars ─► Cutter: pictures without bars] ─► resize, crop ─► Frames
                              this module; which pictures those are: bar_pictures.py

Two unrelated videos between equal bars look alike by their bars, and a video does not look like itself without them.
A bar is dark and flat within noise in every measured picture, and the picture beside it begins at a straight line
that stays where it is. So the night sky keeps its edges, and so does the ground around a logo, a line of text or
anything else without a straight edge. A side whose bar holds something, a subtitle or a logo, keeps it.
All this is in the pixels of the decoder, before any turn for display.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import NamedTuple

import av
import av.filter
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from visil.media.pictures import on_black
from visil.values import VideoInfo

SIDES = ("left", "right", "top", "bottom")
MOST_PICTURES = 16  # of one video
MOST_LINES = 256  # a picture is measured on so many averaged lines each way, at least two in one: little noise is left
DARK = 64  # grey levels; a brighter border is somebody's design
NOISE = 10  # grey levels, of averaged lines, by which a bar differs from itself
STRAY = 0.005  # share of a line that may differ by more, if it is more than one averaged pixel
SOFT_PX = 16  # before the edge, where codecs spread the picture into the bar: a macroblock
CLEAR = 20  # grey levels: more than they spread over much of a line
BRIGHT = 60  # grey levels: more than they spread anywhere; a subtitle
FEW, MANY = 0.25, 0.6  # shares of a line that clearly differ from the bar, before and behind a straight edge
DEEP_SHARE, DEEP_PX = 0.02, 8  # of a side: so far behind the edge the picture goes on; a letter ends before
SHARP_PX = 4  # between those two; a round thing takes longer
SAME_PX, SAME_LEVEL = 1, 6  # between two pictures of one bar
FEW_PICTURES = 3  # an edge is seen in as many, if there are; fewer that differ are little evidence
LONG, LONG_OF_FEW = 0.1, 0.5  # share of a side that an edge clearly takes; the latter if it is seen in few pictures
MOVED = 0.002  # share of a picture that has changed in one that differs
LEAST_SHARE, LEAST_PX = 0.01, 2  # of a side; thinner bars stay
LEAST_LEFT = Fraction(1, 5)  # of a side
BLOCK_LINES = 64  # are looked at together


@dataclass(frozen=True)
class Bars:
    """What is cut off each side, as share of the width or height."""

    left: Fraction = Fraction(0)
    right: Fraction = Fraction(0)
    top: Fraction = Fraction(0)
    bottom: Fraction = Fraction(0)

    def __bool__(self) -> bool:
        return any((self.left, self.right, self.top, self.bottom))

    def turned(self, degrees: int) -> Bars:
        """The bars of pictures that are turned counter-clockwise, by quarter turns."""
        bars = self
        for _ in range(round(degrees / 90) % 4):
            bars = Bars(left=bars.top, right=bars.bottom, top=bars.right, bottom=bars.left)
        return bars

    def inside(self, video: VideoInfo) -> VideoInfo:
        """The facts with the sizes of what is left, from which the size of a backbone's input follows."""
        coded = (1 - self.left - self.right, 1 - self.top - self.bottom)
        shown = coded[::-1] if video.rotation_deg % 180 else coded
        return replace(
            video,
            coded_size_px=_scaled(video.coded_size_px, coded),
            rotated_size_px=_scaled(video.rotated_size_px, shown),
            square_pixel_size_px=_scaled(video.square_pixel_size_px, shown),
        )


class Cutter:
    """Cuts bars off one picture after the other; no pixel is copied."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._graph = av.filter.Graph()
        self._kind: tuple[int, int, str] | None = None  # of the pictures that the graph takes

    def __call__(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The picture without bars; itself where there are none."""
        if not self._bars:
            return picture
        kind = (picture.width, picture.height, picture.format.name)
        if kind != self._kind:
            self._graph, self._kind = self._made(picture), kind
        self._graph.push(picture)
        cut = self._graph.pull()
        assert isinstance(cut, av.VideoFrame)
        return cut

    def _made(self, picture: av.VideoFrame) -> av.filter.Graph:
        width, height = picture.width, picture.height
        left, right = round(self._bars.left * width), round(self._bars.right * width)
        top, bottom = round(self._bars.top * height), round(self._bars.bottom * height)
        size = f"w={max(1, width - left - right)}:h={max(1, height - top - bottom)}"
        graph = av.filter.Graph()
        source = graph.add_buffer(width=width, height=height, format=picture.format, time_base=Fraction(1))
        crop = graph.add("crop", f"{size}:x={left}:y={top}:exact=1")  # odd places too, whatever the chroma's grid
        sink = graph.add("buffersink")
        source.link_to(crop)
        crop.link_to(sink)
        graph.configure()
        return graph


class BarsMeter:
    """Looks at pictures of one video, at most MOST_PICTURES, and says which bars they have in common."""

    def __init__(self) -> None:
        self._size_px = (0, 0)  # of the first picture; others are brought to it
        self._pictures: list[dict[str, _Side]] = []
        self._num_different = 0  # pictures that differ from the one before
        self._before: np.ndarray | None = None
        self._averages = _Averages(), _Averages()

    @property
    def num_pictures(self) -> int:
        """Measured pictures, but for those that show nothing."""
        return len(self._pictures)

    @property
    def is_settled(self) -> bool:
        """Whether there are no bars, whatever other pictures show."""
        if not self._pictures:
            return False
        return not any(self._is_dark(side) for side in SIDES) or not any(self._may_have_edge(side) for side in SIDES)

    def add(self, picture: av.VideoFrame) -> None:
        """Measure a picture. One that is damaged or shows nothing tells nothing."""
        if picture.is_corrupt:
            return
        picture = on_black(picture)
        self._size_px = width, height = self._size_px if any(self._size_px) else (picture.width, picture.height)
        columns = self._averages[0].of(picture, width, _num_averaged(height)).T  # [W, <= MOST_LINES]
        if int(columns.max()) - int(columns.min()) <= NOISE:
            return
        lines = {"left": columns, "right": columns[::-1]}
        if (columns[:, [0, -1]] > DARK + NOISE).mean(axis=0).min() <= STRAY:  # at the top or at the bottom may be a bar
            rows = self._averages[1].of(picture, _num_averaged(width), height)  # [H, <= MOST_LINES]
            lines |= {"top": rows, "bottom": rows[::-1]}
        grounds = {side: _ground(lines[side]) if side in lines else _Ground(0, 0) for side in SIDES}
        if any(grounds[side].thickness == len(lines[side]) for side in lines):
            return
        between_rows = _between(grounds["top"], grounds["bottom"], height, _num_averaged(height))
        between_columns = _between(grounds["left"], grounds["right"], width, _num_averaged(width))
        across = {"left": between_rows, "right": between_rows, "top": between_columns, "bottom": between_columns}
        self._pictures.append(
            {
                side: _side(lines[side], grounds[side], across[side]) if side in lines else _Side(grounds[side])
                for side in SIDES
            }
        )
        if self._num_different < FEW_PICTURES and (self._before is None or _differ(columns, self._before)):
            self._num_different, self._before = self._num_different + 1, columns

    def bars(self) -> Bars:
        """What the pictures so far have in common; no bars if none showed anything."""
        if not self._pictures or self.is_settled:
            return Bars()
        width, height = self._size_px
        left, right = self._pair("left", "right", width)
        top, bottom = self._pair("top", "bottom", height)
        return Bars(Fraction(left, width), Fraction(right, width), Fraction(top, height), Fraction(bottom, height))

    def _pair(self, side: str, opposite: str, length: int) -> tuple[int, int]:
        """Thickness in pixels of the bars on two opposite sides."""
        is_few = self._num_different < FEW_PICTURES
        one, other = (self._thickness(name, length, LONG_OF_FEW if is_few else LONG) for name in (side, opposite))
        lopsided = abs(one - other) > max(LEAST_PX, LEAST_SHARE * length)
        if one + other > (1 - LEAST_LEFT) * length or (is_few and lopsided):
            return 0, 0
        return one, other

    def _is_dark(self, side: str) -> bool:
        return all(picture[side].ground.thickness > 0 for picture in self._pictures)

    def _may_have_edge(self, side: str) -> bool:
        """Whether half of the pictures can show one, with those that are still to come."""
        return 2 * sum(picture[side].edge == 0 for picture in self._pictures) <= MOST_PICTURES

    def _thickness(self, side: str, length: int, least_reach: float) -> int:
        seen = [picture[side] for picture in self._pictures]
        straight = [s for s in seen if s.edge and s.reach >= least_reach]
        alike = [[s for s in straight if abs(s.edge - one.edge) <= SAME_PX] for one in straight]
        most = max(alike, key=len, default=[])
        if len(most) < max(ceil(len(seen) / 2), min(len(seen), FEW_PICTURES)):
            return 0
        levels = [s.ground.level for s in most]
        edge = min(s.edge for s in most)
        if (
            max(levels) - min(levels) > SAME_LEVEL
            or edge < _least_px(length)
            or any(s.ground.thickness < edge - SOFT_PX for s in seen)
        ):
            return 0
        return edge


class _Ground(NamedTuple):
    """The dark lines on one side of a picture.

    Attributes:
        level: their grey level.
        thickness: how many there are; 0 if they are too few for a bar.
    """

    level: int
    thickness: int


class _Side(NamedTuple):
    """One side of a picture.

    Attributes:
        edge: line, counted from outside, at which the picture begins; 0 if that is not a straight edge.
        reach: share of the side that clearly differs from the bar there.
    """

    ground: _Ground
    edge: int = 0
    reach: float = 0.0


class _Averages:
    """Brings pictures to one small size; kept for the next one, because a scaler takes long to make."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def of(self, picture: av.VideoFrame, width: int, height: int) -> np.ndarray:
        """The brightest channel of every averaged pixel, uint8 [H, W]."""
        small = self._scaler.reformat(picture, width, height, "gbrp", interpolation=Interpolation.AREA, threads=1)
        channels = [
            np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height, :width]
            for plane in small.planes
        ]
        return np.maximum(np.maximum(channels[0], channels[1]), channels[2])


def _least_px(length: int) -> int:
    return max(LEAST_PX, ceil(LEAST_SHARE * length))


def _deep_px(length: int) -> int:
    return max(DEEP_PX, ceil(DEEP_SHARE * length))


def _num_averaged(length: int) -> int:
    return max(1, min(MOST_LINES, length // 2))


def _ground(lines: np.ndarray) -> _Ground:
    """Of lines from outside in, uint8 [N, L]."""
    outermost = lines[: max(LEAST_PX, _least_px(len(lines)) - SOFT_PX)]
    level = round(float(outermost.mean()))
    if level > DARK:
        return _Ground(level, 0)
    stray = max(STRAY, 1 / lines.shape[1])
    for start in range(0, len(lines), BLOCK_LINES):
        has_more = _share(lines[start : start + BLOCK_LINES], level, NOISE) > stray
        if has_more.any():
            thickness = start + int(has_more.argmax())
            return _Ground(level, thickness if thickness >= len(outermost) else 0)
    return _Ground(level, len(lines))


def _share(lines: np.ndarray, level: int, step: int) -> np.ndarray:
    """The share of every line that differs from a grey level by more than a step, float [N]."""
    low = max(0, level - step)
    differs = lines - np.uint8(low) > level + step - low  # what is below wraps around to above
    num_differing = differs.view(np.uint8).sum(axis=1, dtype=np.uint32)  # count_nonzero takes twice as long
    return num_differing / max(1, lines.shape[1])


def _between(first: _Ground, last: _Ground, length: int, num_averaged: int) -> slice:
    """The averaged lines between two opposite grounds, of a side of this length."""
    start = first.thickness * num_averaged // length
    end = -(-(length - last.thickness) * num_averaged // length)
    return slice(start, end)


def _side(lines: np.ndarray, ground: _Ground, across: slice) -> _Side:
    """
    Args:
        across: the part of every line that lies between the other two grounds; an edge is no longer than that.
    """
    if ground.thickness == 0:
        return _Side(ground)
    nearest = lines[ground.thickness :][: SOFT_PX + 1 + _deep_px(len(lines))]
    clear = _share(nearest[:, across], ground.level, CLEAR)
    begins = clear[: SOFT_PX + 1] >= MANY
    if not begins.any():
        return _Side(ground)
    num_soft = int(begins.argmax())
    before, behind = slice(0, max(0, num_soft - SHARP_PX + 1)), slice(num_soft, num_soft + _deep_px(len(lines)))
    is_round = (clear[before] > FEW).any()
    is_thin = clear[behind].mean() < MANY
    is_written_on = (_share(nearest[before], ground.level, BRIGHT) > STRAY).any()
    if is_round or is_thin or is_written_on:
        return _Side(ground)
    reach = _share(nearest[num_soft : num_soft + 1], ground.level, CLEAR)[0]
    return _Side(ground, ground.thickness + num_soft, float(reach))


def _differ(picture: np.ndarray, other: np.ndarray) -> bool:
    steps = np.maximum(picture, other) - np.minimum(picture, other)
    return np.count_nonzero(steps > NOISE) > MOVED * steps.size


def _scaled(size_px: tuple[int, int], shares: tuple[Fraction, Fraction]) -> tuple[int, int]:
    return max(1, round(size_px[0] * shares[0])), max(1, round(size_px[1] * shares[1]))

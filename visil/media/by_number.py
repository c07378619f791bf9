"""What decord and torchcodec share: they fetch frames by number, so the frames are chosen before any is decoded.

    file ─► frame_table.py ─► sampling ─► [numbers ─► decord or torchcodec ─► pictures] ─► resize ─► Frames
                                          this module

Both decoders follow playlists and addresses inside a file, and misjudge some files without an error. So they are
given regular files only, which PyAV has opened first, and the number of frames and the time of every fetched one are
compared with the table. Whatever does not fit is an error that names the PyAV reader, never another frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import ClassVar, Protocol

import av
import numpy as np

from visil.errors import MediaError
from visil.media.bar_pictures import bars_of_file
from visil.media.bars import Cutter
from visil.media.chunks import chunks
from visil.media.frame_table import FrameTable, IrregularError, read_frame_table
from visil.media.one_pass import Asked
from visil.media.pictures import input_picture
from visil.media.preprocessing import Preprocessing
from visil.media.reader import Sampled, beyond_end, nobody
from visil.media.sampling import Part, Samples, ShownFrame, key_frames, part_of, sample, within
from visil.values import Frames


class NumberedPictures(Protocol):
    """An opened file whose frames are fetched by number, 0 for the first shown; numbers are asked for in order."""

    def __len__(self) -> int:
        """How many frames the decoder believes there are."""
        ...

    def fetch(self, number: int) -> tuple[float, np.ndarray]:
        """Seconds since frame 0, and the picture as shown (turned), uint8 RGB [H, W, 3]."""
        ...


class ByNumberReader(ABC):
    """A `FrameReader` around a decoder that fetches frames by number.

    Attributes:
        name: of the reader, for messages.
        failures: what the decoder raises on files that it cannot read.
    """

    name: ClassVar[str]
    failures: tuple[type[Exception], ...]

    @abstractmethod
    def open_pictures(self, path: Path, table: FrameTable) -> NumberedPictures:
        """Open the video stream that the table is of, in a local file given by its absolute path.

        Raises:
            IrregularError: the decoder is known to get such a file wrong.
        """

    def read(
        self,
        path: Path,
        preprocessing: Preprocessing,
        *,
        span_s: tuple[float, float] | None = None,
        stills: bool = False,
        alive: Callable[[], None] = lambda: None,
        sampled: Sampled = nobody,
        packet_s: float | None = None,
    ) -> Iterator[Frames]:
        """See `FrameReader.read`."""
        try:
            table = read_frame_table(path, stills=stills, alive=alive, packet_s=packet_s)
            samples, end_s = _samples(path, table, preprocessing, span_s)
            bars = bars_of_file(
                Asked(path, preprocessing, None, stills, alive, packet_s=packet_s)
            )  # PyAV measures for all readers
            cut, inside = Cutter(bars.turned(table.video.rotation_deg)), bars.inside(table.video)
            pictures = self._opened(path, table)

            def image_of(frame: ShownFrame[int]) -> np.ndarray:
                alive()
                return input_picture(cut(self._fetched(pictures, frame, table)), preprocessing, inside)

            yield from chunks(
                path,
                samples,
                preprocessing.sampling,
                image_of,
                lambda images, times_s: Frames(images, times_s, table.video, float(end_s)),
                sampled,
            )
        except IrregularError as error:
            raise MediaError(
                f"{path}: not for the {self.name} reader ({error}); the pyav reader reads it", "unsupported_format"
            ) from error

    def _opened(self, path: Path, table: FrameTable) -> NumberedPictures:
        try:
            pictures = self.open_pictures(path.absolute(), table)
        except self.failures as error:
            raise IrregularError("it cannot open it") from error
        if len(pictures) != len(table):
            raise IrregularError(f"it counts {len(pictures)} frames, the file has {len(table)}")
        return pictures

    def _fetched(self, pictures: NumberedPictures, frame: ShownFrame[int], table: FrameTable) -> av.VideoFrame:
        number, wanted_s = frame.picture, table.time_s(frame.picture)
        try:
            time_s, pixels = pictures.fetch(number)
        except self.failures as error:
            raise IrregularError(f"it cannot decode frame {number}") from error
        if not abs(time_s - wanted_s) < table.duration_s(number) / 2:
            raise IrregularError(f"it gives frame {number} the time {time_s:g} s, not {float(wanted_s):g}")
        if pixels.shape != (*reversed(table.video.rotated_size_px), 3):
            raise IrregularError(f"it gives frame {number} the shape {pixels.shape}")
        return av.VideoFrame.from_ndarray(pixels, format="rgb24")


def _samples(
    path: Path, table: FrameTable, preprocessing: Preprocessing, span_s: tuple[float, float] | None
) -> tuple[Samples[int], Fraction]:
    """The samples of a video or of a part of it, and where that ends, seconds since the first shown frame."""
    part: Part = (Fraction(0), None) if span_s is None else part_of(span_s)
    rate = Fraction(preprocessing.fps).limit_denominator(10_000)
    start_s, end_s = part[0], table.end_s if part[1] is None else min(part[1], table.end_s)
    if start_s >= end_s:
        raise beyond_end(path, part, table.end_s)

    def frames() -> Iterator[ShownFrame[int]]:
        shown = table.frames()
        if preprocessing.sampling == "keyframes":
            shown = key_frames(shown, lambda number: bool(table.is_key[number]), rate)
        return within(shown, *part)

    def samples(rate: Fraction) -> Samples[int]:
        return sample(
            frames(), preprocessing, rate, reported_fps=table.reported_fps, start_s=table.start_on_file_axis_s
        )

    try:
        if preprocessing.fills_short_videos:
            wanted = sum(1 for _ in islice(frames(), preprocessing.min_samples))
            if sum(1 for _ in islice(samples(rate), wanted)) < wanted:
                rate = wanted / (end_s - start_s)
        return samples(rate), end_s
    except ValueError as error:
        raise MediaError(f"{path}: {error}") from error

"""The seam of this room: what any reader of video files must offer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from visil.errors import MediaError
from visil.media.preprocessing import Preprocessing
from visil.media.sampling import Part
from visil.values import Frames

CHUNK_SAMPLES = 32  # 4.8 MB of 224 x 224 pictures
MAX_SAMPLES = 200_000  # of one file; two days at one a second. What comes after them is left out
MAX_SPAN_S = 48 * 3600  # what is shown later is left out
RULES = 2  # version of the rules by which files become samples; every row of a library says by which it was read

Sampled = Callable[[int, Frames], None]


def nobody(number: int, sample: Frames) -> None:
    """A `Sampled` that looks at nothing."""


class FrameReader(Protocol):
    """Reads one file as a stream of chunks, so that a ten-hour video never sits in memory."""

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
        """Yield the samples of a video in chunks of at most CHUNK_SAMPLES.

        Chunk boundaries depend on the arguments and the file alone. The last chunk carries the duration: when the
        video is over, or the part that was asked for.

        Args:
            span_s: (start, end) of the part to read, seconds since the first shown frame: sample k is the frame shown
                at start + k/fps. None: all of it.
            stills: a still picture is a video of one frame, instead of an error.
            alive: called whenever something of the file was read or decoded, so that a watcher sees progress.
            sampled: called with the number of every sample and the sample itself as soon as it is known, so that a
                watcher has it whatever happens next. Number 0 again: the samples come once more, from the beginning
                (more densely, in another way, without the bars that were found), and stand for those before.
            packet_s: seconds in which the next packet must be found; beyond them the video ends there, cut short. None:
                as long as it takes.

        Raises:
            MediaError: the file is not a readable video; frames before the error have been yielded.
            DataError: a range that no video has.
            MemoryError: the process may not allocate what the file needs.
        """
        ...


def beyond_end(path: Path, part: Part, video_end_s: Fraction) -> MediaError:
    """A part was asked for that begins where the video is over."""
    return MediaError(
        f"{path}: the range begins at {float(part[0]):g} s, the video ends at {float(video_end_s):.1f} s", "no_frames"
    )

"""The seam of this room: what any reader of video files must offer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from visil.media.preprocessing import Preprocessing
from visil.values import Frames

CHUNK_SAMPLES = 32  # 4.8 MB of 224 x 224 pictures


class FrameReader(Protocol):
    """Reads one file as a stream of chunks, so that a ten-hour video never sits in memory."""

    def read(self, path: Path, preprocessing: Preprocessing) -> Iterator[Frames]:
        """Yield the samples of a video in chunks of at most CHUNK_SAMPLES.

        Chunk boundaries depend on the file and the preprocessing alone. The last chunk carries the duration.

        Raises:
            MediaError: the file is not a readable video; frames before the error have been yielded.
        """
        ...

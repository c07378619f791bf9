"""Reads regular video files with torchcodec, an extra: `pip install "visil[torchcodec]"`.

    packets, their times ─► sampling ─► [numbers ─► torchcodec ─► pictures] ─► resize ─► Frames
                                        this module, under by_number.py

Needs FFmpeg's shared libraries, version 4 to 8 (Debian: `apt-get install ffmpeg`), and the torch it was built for.
The one reader that imports torch: a second or two, once a worker.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visil.errors import VisilError
from visil.media.by_number import ByNumberReader, NumberedPictures
from visil.media.frame_table import FrameTable

if TYPE_CHECKING:
    from torchcodec.decoders import VideoDecoder


class TorchcodecReader(ByNumberReader):
    """See `FrameReader`.

    Raises:
        VisilError: torchcodec is installed, but does not load.
    """

    name = "torchcodec"
    failures = (RuntimeError, ValueError, IndexError)

    def __init__(self) -> None:
        try:
            from torchcodec.decoders import VideoDecoder
        except (ImportError, OSError, RuntimeError) as error:
            raise VisilError(
                "torchcodec does not load: it needs FFmpeg's shared libraries (Debian: apt-get install ffmpeg) and, "
                "in version 0.13, torch 2.13"
            ) from error
        self._open = VideoDecoder

    def open_pictures(self, path: Path, table: FrameTable) -> NumberedPictures:
        return _TorchcodecPictures(
            self._open(
                str(path),
                stream_index=table.stream_index,
                dimension_order="NHWC",
                num_ffmpeg_threads=1,  # files are decoded in parallel
                device="cpu",
            )
        )


class _TorchcodecPictures:
    def __init__(self, video: VideoDecoder) -> None:
        self._video = video

    def __len__(self) -> int:
        return len(self._video)

    def fetch(self, number: int) -> tuple[float, np.ndarray]:
        frame = self._video.get_frame_at(number)
        return frame.pts_seconds - self._video.metadata.begin_stream_seconds, frame.data.numpy()

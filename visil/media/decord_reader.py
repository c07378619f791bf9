"""Reads regular video files with decord, an extra: `pip install "visil[decord]"`.

    packets, their times ─► sampling ─► [numbers ─► decord ─► pictures] ─► resize ─► Frames
                                        this module, under by_number.py

decord 0.6 is the last release (2021) and holds an FFmpeg of 2018: no AV1, no GIF, edit lists ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from visil.errors import VisilError
from visil.media.by_number import ByNumberReader, NumberedPictures
from visil.media.frame_table import FrameTable, IrregularError


class DecordReader(ByNumberReader):
    """See `FrameReader`.

    Raises:
        VisilError: decord is installed, but does not load.
    """

    name = "decord"

    def __init__(self) -> None:
        try:
            import decord
        except (ImportError, OSError, RuntimeError) as error:
            raise VisilError(f"decord does not load on this machine ({error}); use the pyav reader") from error
        self.failures = (decord.DECORDError, RuntimeError, AssertionError, IndexError, StopIteration)
        self._open = decord.VideoReader

    def open_pictures(self, path: Path, table: FrameTable) -> NumberedPictures:
        video = self._open(str(path), num_threads=1)  # decord finds the one video stream itself
        keys = np.flatnonzero(table.is_key).tolist()
        if len(video) == len(table) and video.get_key_indices() != keys:  # decord counts them in decoding order
            raise IrregularError("it seeks wrongly in open groups of pictures")
        return _DecordPictures(video)


class _DecordPictures:
    def __init__(self, video: Any) -> None:
        self._video = video
        starts_s = video.get_frame_timestamp(range(len(video)))[:, 0].astype(np.float64)
        self._times_s = starts_s - starts_s[0]  # decord's zero is the start of the stream

    def __len__(self) -> int:
        return len(self._times_s)

    def fetch(self, number: int) -> tuple[float, np.ndarray]:
        return float(self._times_s[number]), self._video[number].asnumpy()

"""Whether the rules of an earlier visil can have read a file wrongly, told by its headers and the times of its packets.

    file ─► [headers, first picture, packets] ─► a doubt, or none
            this module

Of the pictures the first alone is decoded. A doubt may be wrong: the file is read again then, for nothing. Runs in a
decoding worker (`worker.py`), because files are strangers'.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from visil.media.clock import HELD_S, SLIGHT_S, PacketTimes
from visil.media.composition import offset_spread
from visil.media.one_pass import LEAST_FULL, found_packets
from visil.media.opening import (
    OLD_X264,
    check_memory,
    full_streams,
    is_transparent_webm,
    open_video,
    reason_of,
)
from visil.media.pictures import has_alpha, turn_of
from visil.media.preprocessing import Preprocessing
from visil.media.sampling import MAX_HELD_SAMPLES
from visil.media.thinning import MAX_REORDER

# Out of order in usual streams: B-frames in a pyramid, three in a row. FFmpeg's own number grows with every outlier.
MOST_BEFORE, MOST_BACK = 2, 3  # pictures that are shown later, durations of a picture

OTHER_STREAM = "another video stream was read"
LEFT_OUT = "another video stream was left out without a word"
LAYERS = "it holds tiles or layers of a picture"
ALPHA = "its pictures may be transparent"
OLD_444 = "it is 4:4:4 by an old x264"
TURN = "its display matrix is no quarter turn"
NO_TIME = "a packet has no time"
DAMAGE = "a packet is damaged"
TIMES = "its clock may not be believed, or a picture is held for long"


def doubt(
    path: Path,
    preprocessing: Preprocessing,
    *,
    alive: Callable[[], None] = lambda: None,
    packet_s: float | None = None,
) -> str:
    """Why version 1 of the reading rules (`reader.RULES`) can have read a file otherwise; empty if it cannot have.

    Args:
        preprocessing: how the file was sampled.
        alive, packet_s: see `FrameReader.read`.

    Raises:
        MediaError: the file cannot be opened as a video.
        MemoryError: the process may not allocate what the first picture needs.
    """
    container, stream = open_video(path, packet_s=packet_s)
    with container:
        try:
            return (
                _of_headers(container, stream)
                or _Packets(path, container, stream, longest_step_s(preprocessing), alive, packet_s).doubt()
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            check_memory(error)
            return f"it cannot be read to its end ({reason_of(error)})"


def longest_step_s(preprocessing: Preprocessing) -> Fraction:
    """For how long a picture may be shown until the rules differ, seconds."""
    if preprocessing.sampling != "time":
        return Fraction(HELD_S)
    return min(Fraction(HELD_S), MAX_HELD_SAMPLES / Fraction(preprocessing.fps))


def _of_headers(container: InputContainer, stream: VideoStream) -> str:
    codec = stream.codec_context
    checks = (
        (full_streams(container)[0].index != stream.index, OTHER_STREAM),
        (any(s.disposition & Disposition.dependent for s in container.streams.video), LAYERS),
        (is_transparent_webm(stream) or (codec.pix_fmt is not None and has_alpha(codec.pix_fmt)), ALPHA),
        (codec.options.items() >= OLD_X264.items(), OLD_444),
    )
    return next((reason for is_so, reason in checks if is_so), "")


class _Packets:
    """One pass over the packets of a file, as far as its table of frames does not tell their times."""

    def __init__(
        self,
        path: Path,
        container: InputContainer,
        stream: VideoStream,
        longest_s: Fraction,
        alive: Callable[[], None],
        packet_s: float | None,
    ) -> None:
        self._container = container
        self._stream = stream
        self._time_base = Fraction(stream.time_base or 0)
        self._longest_s = longest_s
        self._alive = alive
        self._packet_s = packet_s
        self._spread = _table_spread(path, container, stream)
        self._times = PacketTimes(self._time_base or Fraction(1), longest_s)
        self._recent: deque[int] = deque(maxlen=MAX_REORDER)  # times of packets
        self._num_packets: Counter[int] = Counter()
        self._has_picture = False

    def doubt(self) -> str:
        """The first that there is."""
        if not self._time_base:
            return NO_TIME
        if self._spread is not None and (doubt := self._of_table(self._spread)):
            return doubt
        for packet in self._found():
            if doubt := self._of_picture(packet):
                return doubt
            if self._spread is not None:
                if self._has_picture:
                    break  # the table has told the rest, and is much sooner read
            elif doubt := self._of_packet(packet):
                return doubt
        return self._of_others()

    def _found(self) -> Iterator[av.Packet]:
        """Packets of the stream; those of all are counted."""
        with suppress(IndexError):
            for packet in found_packets(self._container, alive=self._alive, packet_s=self._packet_s):
                self._num_packets[packet.stream.index] += packet.size > 0
                if packet.stream.index == self._stream.index:
                    yield packet

    def _of_table(self, spread: int) -> str:
        """By the times of decoding, in order, beside which those of presentation are by at most so much."""
        entries = self._stream.index_entries
        shown = [entry.timestamp for entry in entries if not entry.is_discard]
        longest_s = self._longest_s - spread * self._time_base
        times = PacketTimes(self._time_base, longest_s)
        last_s = ((self._stream.duration or 0) - (shown[-1] - shown[0] if shown else 0)) * self._time_base
        return "" if all(map(times.agree, shown)) and last_s <= longest_s else TIMES

    def _of_packet(self, packet: av.Packet) -> str:
        if packet.size == 0 or packet.is_discard:
            return ""
        if packet.is_corrupt:
            return DAMAGE
        if packet.pts is None:
            return NO_TIME
        own_s = (packet.duration or 0) * self._time_base
        return "" if self._is_believed(packet.pts, own_s) and own_s <= self._longest_s else TIMES

    def _is_believed(self, time: int, own_s: Fraction) -> bool:
        """Slow pictures may be shown more than SLIGHT_S before others that are decoded first, but never many."""
        earlier = [other for other in self._recent if other > time]
        self._recent.append(time)
        if self._times.agree(time):
            return True
        back_s = (max(earlier, default=time) - time) * self._time_base
        return 0 < len(earlier) <= MOST_BEFORE and back_s <= MOST_BACK * own_s

    def _of_picture(self, packet: av.Packet) -> str:
        """By the first picture that comes out, with the packet that makes it do so."""
        if self._has_picture:
            return ""
        with suppress(av.InvalidDataError):
            for picture in self._stream.codec_context.decode(packet):
                self._has_picture = True
                return ALPHA if has_alpha(picture.format.name) else TURN if turn_of(picture).ignored else ""
        return ""

    def _of_others(self) -> str:
        """By the full video streams that are not read."""
        streams = full_streams(self._container)
        if self._spread is not None:
            self._num_packets = Counter({s.index: max(s.frames, len(s.index_entries)) for s in streams})
        num_ours = self._num_packets.pop(self._stream.index, 0)
        return LEFT_OUT if any(num_ours <= LEAST_FULL * num for num in self._num_packets.values()) else ""


def _table_spread(path: Path, container: InputContainer, stream: VideoStream) -> int | None:
    """By how much times of presentation differ from those in the table of frames; None: the table does not do.

    It does where it is that of all frames, its times never go back, and a frame is shown soon after it is decoded.
    """
    entries = stream.index_entries
    if not container.format.name.startswith("mov,") or not 0 < len(entries) == stream.frames or not stream.time_base:
        return None
    if any(before.timestamp > after.timestamp for before, after in pairwise(entries)):
        return None
    spread = offset_spread(path, stream.id)
    return spread if spread is not None and spread * Fraction(stream.time_base) <= SLIGHT_S else None

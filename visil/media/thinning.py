"""Which packets of a file its decoder needs for the samples that are wanted.

file ─► packets ─► [those that are needed] ─► decoded pictures ─► sampling ─► Frames
                   this module

`Thinning` changes no sample: a picture is a function of its packet and of the frames that it refers to, and these are
all kept. It drops frames that no other refers to (`syntax.py` tells them) and, behind the last wanted frame of a group
of pictures, all up to the next group. That holds for files without surprises; at the first one, before or after
decoding, `ThinningError` says that the file must be decoded in full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from math import ceil, inf
from typing import NamedTuple

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from visil.media.clock import PacketTimes
from visil.media.syntax import PacketSyntax, Syntax, packet_syntax

MAX_AHEAD = 600  # packets that are read before the first of them is decided on; 10 s at 60 a second
MAX_AHEAD_BYTES = 32 << 20
MAX_REORDER = 32  # frames; H.264 and HEVC allow 16


class ThinningError(Exception):
    """What drops packets cannot be sure of this file."""


@dataclass(frozen=True)
class Wanted:
    """The frames of a video that are to be decoded: those that answer samples, and the first few.

    Attributes:
        rate: samples a second.
        start_s, end_s: the part that is sampled, seconds since the first shown frame; None: to the end. The frame at
            the end is decoded too: it tells that the part is over.
        num_first: as many frames are decoded from the start on, so that those of a short video can be counted.
    """

    rate: Fraction
    start_s: Fraction
    end_s: Fraction | None
    num_first: int

    def has_sample(self, from_s: Fraction, until_s: Fraction) -> bool:
        """Whether a sample, or the end of the part, lies in [from_s, until_s)."""
        if self.end_s is not None and from_s > self.end_s:
            return False
        sample_s = self.start_s + max(0, ceil((from_s - self.start_s) * self.rate)) / self.rate
        return (sample_s if self.end_s is None else min(sample_s, self.end_s)) < until_s

    def overlaps(self, from_s: Fraction, until_s: Fraction) -> bool:
        """Whether a frame shown in [from_s, until_s) belongs to the part."""
        return self.start_s < until_s and (self.end_s is None or from_s < self.end_s)


def thinning_of(
    container: InputContainer, stream: VideoStream, wanted: Wanted, zero_s: Fraction | None = None
) -> Thinning | None:
    """For a stream that has just been opened; None: decode it in full.

    Args:
        zero_s: when the first frame of the file is shown, if it will not be among the packets.
    """
    syntax = packet_syntax(container, stream)
    codec = stream.codec_context
    if syntax is None or not stream.time_base:
        return None
    time_base = Fraction(stream.time_base)
    zero = None if zero_s is None else round(zero_s / time_base)
    return Thinning(wanted, syntax, time_base=time_base, reorder=codec.reorder_depth, zero=zero)


class _Held(NamedTuple):
    """A packet that waits for its decision."""

    packet: av.Packet
    time: int  # of presentation
    syntax: Syntax

    @property
    def is_shown(self) -> bool:
        return not self.packet.is_discard  # by an edit list: decoded for the sake of others


class Thinning:
    """One pass over the packets of a video stream: drops those that are not needed, and checks what comes out."""

    def __init__(
        self, wanted: Wanted, syntax: PacketSyntax, *, time_base: Fraction, reorder: int, zero: int | None = None
    ) -> None:
        """
        Args:
            syntax: tells what a packet says of itself.
            time_base: unit of presentation times, seconds.
            reorder: how many frames the decoder holds back to bring them in order of presentation.
            zero: presentation time of the first frame of the file; None: it is among the packets.
        """
        self._wanted = wanted
        self._syntax = syntax
        self._time_base = time_base
        self._reorder = reorder
        self._num_counted = 0  # frames of the part that are decoded to be counted
        self._recent: deque[int] = deque(maxlen=MAX_REORDER)  # presentation times of packets
        self._times = PacketTimes(time_base)
        self._zero = zero
        self._latest = self._latest_before_group = -inf
        self._awaited: list[int] = []  # presentation times of the frames that the decoder owes, a heap

    def needed(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """The packets to decode.

        Raises:
            ThinningError: a packet that is damaged, without a time, not understood, or out of place.
        """
        ahead: list[_Held] = []
        num_bytes = 0
        for packet in packets:
            if packet.size == 0 and packet.dts is None:  # the end of the file
                yield from self._chosen(ahead, next_group=None)
                yield packet
                return
            held = self._checked(packet)
            starts_group = held.syntax.starts_group
            if starts_group or len(ahead) == MAX_AHEAD or num_bytes > MAX_AHEAD_BYTES:
                yield from self._chosen(ahead, next_group=held if starts_group else None)
                ahead, num_bytes = [], 0
            ahead.append(held)
            num_bytes += packet.size
        raise ThinningError("the packets end without an end of the file")

    def came_out(self, picture: av.VideoFrame) -> None:
        """Compare a decoded picture with what is awaited.

        Raises:
            ThinningError: another frame was due, or it is damaged.
        """
        if picture.is_corrupt or not self._awaited or heappop(self._awaited) != picture.pts:
            raise ThinningError("another frame came out than was put in")

    def finish(self) -> None:
        """After the last picture.

        Raises:
            ThinningError: a frame did not come out.
        """
        if self._awaited or self._latest == -inf:
            raise ThinningError("a frame did not come out")

    def _checked(self, packet: av.Packet) -> _Held:
        syntax, time = self._syntax(packet), packet.pts
        is_damaged = packet.size == 0 or packet.is_corrupt
        if is_damaged or syntax is None or time is None or packet.has_sidedata("new_extradata"):
            raise ThinningError("a packet that is damaged, not understood, without a time or for other settings")
        if syntax.starts_group:
            self._latest_before_group = self._latest
        is_first = self._latest == -inf
        is_in_no_group = is_first and not (syntax.starts_group and self._is_before_part(time))
        is_too_late = sum(other > time for other in self._recent) > self._reorder  # a decoder drops such a frame
        if is_in_no_group or is_too_late or time in self._recent or time <= self._latest_before_group:
            raise ThinningError("a packet out of place")
        if not packet.is_discard and not self._times.agree(time):
            raise ThinningError("the clock may not believe a time")
        self._recent.append(time)
        self._latest = max(self._latest, time)
        return _Held(packet, time, syntax)

    def _is_before_part(self, time: int) -> bool:
        return self._zero is None or (time - self._zero) * self._time_base <= self._wanted.start_s

    def _chosen(self, ahead: list[_Held], *, next_group: _Held | None) -> Iterator[av.Packet]:
        """Of a stretch of packets, in decoding order, those that are needed.

        A frame that has not been read yet can only shorten the time for which these are shown: a frame may be
        decoded that answers no sample, never the other way round.
        """
        starts = sorted(held.time for held in ahead if held.is_shown)
        if self._zero is None:
            self._zero = min(starts, default=None)
        ends = [*starts[1:], next_group.time if next_group is not None and next_group.is_shown else None]
        wanted = {start for start, end in zip(starts, ends, strict=False) if self._is_wanted(start, end)}
        is_needed = [held.time in wanted or held.syntax.is_kept or not held.is_shown for held in ahead]
        last = len(ahead) - 1
        if next_group is not None:  # it does not refer to what comes before it
            last = max((index for index, needed in enumerate(is_needed) if needed), default=-1)
        for index, held in enumerate(ahead):
            if is_needed[index] or (index <= last and not held.syntax.is_leaf):
                if held.is_shown:
                    heappush(self._awaited, held.time)
                yield held.packet

    def _is_wanted(self, start: int, end: int | None) -> bool:
        if end is None:  # nobody knows how long it is shown
            return True
        assert self._zero is not None
        from_s, until_s = ((time - self._zero) * self._time_base for time in (start, end))
        is_counted = self._num_counted < self._wanted.num_first and self._wanted.overlaps(from_s, until_s)
        self._num_counted += is_counted
        return is_counted or start == self._zero or self._wanted.has_sample(from_s, until_s)  # the clock starts there

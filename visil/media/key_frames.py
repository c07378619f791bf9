"""Which packets hold key frames.

file ─► packets ─► [those of key frames] ─► decoded pictures ─► sampling ─► Frames
                   this module
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from math import inf

import av

from visil.media.clock import PacketTimes
from visil.media.sampling import Slots
from visil.media.thinning import ThinningError


class KeyPackets:
    """One pass over the packets of a video stream: key frames alone, those that `Slots` takes.

    Each is decoded by itself, with a decoder that holds nothing of the one before. At the first that is not what it
    says, `ThinningError` says that the file must be decoded in full.

    Attributes:
        end_s: end of the last frame among all packets, seconds since the first.
    """

    def __init__(self, rate: Fraction, *, time_base: Fraction, nominal_s: Fraction) -> None:
        """
        Args:
            time_base: unit of presentation times, seconds.
            nominal_s: duration of a frame whose packet does not tell it, seconds.
        """
        self.end_s = Fraction(0)
        self._slots = Slots(rate)
        self._time_base = time_base
        self._nominal_s = nominal_s
        self._times = PacketTimes(time_base)

    def needed(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """The packets to decode.

        Raises:
            ThinningError: a packet without a time or with one that the clock may not believe, a key frame out of place,
                or the first packet is not the key frame that is shown first.
        """
        first: int | None = None
        latest = -inf
        for packet in packets:
            if packet.size == 0 or packet.is_corrupt:
                continue
            if packet.pts is None:
                raise ThinningError("a packet without a time")
            if first is None:
                first = packet.pts
                if not packet.is_keyframe or packet.is_discard:
                    raise ThinningError("the first packet is no key frame that is shown")
            if packet.is_discard:
                continue
            if not self._times.agree(packet.pts):
                raise ThinningError("the clock may not believe a time")
            time_s = (packet.pts - first) * self._time_base
            if time_s < 0:
                raise ThinningError("a frame is shown before the first key frame")
            self.end_s = max(self.end_s, time_s + ((packet.duration or 0) * self._time_base or self._nominal_s))
            if packet.is_keyframe and packet.pts <= latest:
                raise ThinningError("a key frame is not later than what comes before it")
            latest = max(latest, packet.pts)
            if packet.is_keyframe and self._slots.takes(time_s):
                yield packet

    def came_out(self, packet: av.Packet, pictures: Sequence[av.VideoFrame]) -> None:
        """Compare what a decoder made of a packet of `needed` with what is awaited.

        Raises:
            ThinningError: anything but one whole key frame at the packet's time.
        """
        whole = [picture.pts for picture in pictures if picture.key_frame and not picture.is_corrupt]
        if len(pictures) != 1 or whole != [packet.pts]:
            raise ThinningError("a packet of a key frame did not give that frame")

"""Which packets hold key frames.

file ─► packets ─► [those of key frames] ─► decoded pictures ─► sampling ─► Frames
                   this module
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import floor

import av

from visil.media.thinning import ThinningError


class KeyPackets:
    """One pass over the packets of a video stream: key frames alone, at most one for every slot [k/rate, (k+1)/rate).

    Each is decoded by itself, with a decoder that holds nothing of the one before.

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
        self._rate = rate
        self._time_base = time_base
        self._nominal_s = nominal_s

    def needed(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """The packets to decode.

        Raises:
            ThinningError: a packet without a time; or the first is not the key frame that is shown first.
        """
        first: int | None = None
        last_slot = -1
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
            time_s = (packet.pts - first) * self._time_base
            if time_s < 0:
                raise ThinningError("a frame is shown before the first key frame")
            self.end_s = max(self.end_s, time_s + ((packet.duration or 0) * self._time_base or self._nominal_s))
            slot = floor(time_s * self._rate)
            if packet.is_keyframe and slot > last_slot:
                last_slot = slot
                yield packet

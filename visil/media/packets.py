"""Which packets of a file its decoder needs for the samples that are wanted.

file ─► packets ─► [those that are needed] ─► decoded pictures ─► sampling ─► Frames
                   this module
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from math import floor

import av


def key_packets(
    packets: Iterable[av.Packet], rate: Fraction, first_s: Callable[[], Fraction | None]
) -> Iterator[av.Packet]:
    """Packets of key frames, at most one for every slot [k/rate, (k+1)/rate).

    Args:
        first_s: when the first frame is shown, seconds on the clock of the packets; None until it has been decoded,
            and so long every packet is needed: it may be none that the container calls a key frame.
    """
    last_slot = -1
    for packet in packets:
        start_s = first_s()
        if start_s is not None and packet.size:
            if not packet.is_keyframe:
                continue
            if packet.pts is not None:
                slot = floor((packet.pts * Fraction(packet.time_base) - start_s) * rate)
                if slot <= last_slot:
                    continue
                last_slot = slot
        yield packet

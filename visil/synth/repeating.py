"""A long video out of a short one: its packets again and again, nothing is encoded.

A three-hour file takes seconds to make, and costs the decoder as much as any other of its size and codec.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av


def repeat_video(source: Path, target: Path, *, times: int, title: str = "") -> None:
    """Write the pictures of `source` `times` times after each other, without sound.

    Args:
        target: its suffix names the container.
        title: goes into the file, so that two files of the same pictures differ in their bytes.
    """
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = container.streams.video[0]
        output.metadata["title"] = title
        copied = output.add_stream_from_template(stream)
        packets = [(bytes(p), p.pts, p.dts, p.duration, p.is_keyframe) for p in container.demux(stream) if p.size]
        ticks = [(pts or 0) + (duration or 0) for _, pts, _, duration, _ in packets]
        length = max(ticks) - min(pts or 0 for _, pts, *_ in packets)  # of the source, in its own ticks
        for number in range(times):
            for content, pts, dts, duration, is_keyframe in packets:
                packet = av.Packet(content)
                packet.stream, packet.time_base = copied, Fraction(stream.time_base or 1)
                packet.pts = None if pts is None else pts + number * length
                packet.dts = None if dts is None else dts + number * length
                packet.duration, packet.is_keyframe = duration or 0, is_keyframe
                output.mux(packet)

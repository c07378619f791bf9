"""Files of whole pictures whose clock or streams are odd: what cameras, editors and joined recordings make.

    bytes of a real file ─► [its packets with other times, or between other streams] ─► bytes

The same generator state gives the same bytes. A file that cannot be remuxed stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from fractions import Fraction
from io import BytesIO
from itertools import pairwise

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream

CONTAINERS = ("mp4", "mov", "matroska", "mpegts")
TIME_BASE = Fraction(1, 90_000)
LEAST_STEP = 90  # a millisecond: muxers want times of decoding that rise, and lie before those of presentation
STREAM_KINDS = ("video", "audio")
MOST_CHANGES = 3

Change = Callable[[Sequence[Fraction]], Sequence[Fraction]]


def restamped(content: bytes, container: str, change: Change) -> bytes:
    """The first video stream of a file with other times.

    Args:
        container: FFmpeg's name of it.
        change: times of all frames in order of presentation, seconds, the first at 0 -> those to write.

    Raises:
        av.FFmpegError, ValueError: not a video whose frames have times, or not one for this container.
    """
    with _reading(content) as source:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.size and not packet.is_discard]
        if not packets or any(packet.pts is None for packet in packets):
            raise ValueError("no frames, or one without a time")
        in_order = sorted(packets, key=lambda packet: packet.pts or 0)
        first, unit_s = in_order[0].pts or 0, Fraction(stream.time_base or 0)
        times_s = change([((packet.pts or 0) - first) * unit_s for packet in in_order])
        steps_s = sorted(b - a for a, b in pairwise(times_s))
        step = max(LEAST_STEP, round(steps_s[len(steps_s) // 2] / TIME_BASE) if steps_s else 0)
        for packet, time_s in zip(in_order, times_s, strict=True):
            packet.pts = round(time_s / TIME_BASE)
            packet.duration = round((packet.duration or 0) * unit_s / TIME_BASE)
        start = max(number * step - (packet.pts or 0) for number, packet in enumerate(packets))
        output = BytesIO()
        with _writing(output, container) as written:
            copy = written.add_stream_from_template(stream)
            for number, packet in enumerate(packets):
                packet.pts = start + (packet.pts or 0)
                packet.dts, packet.time_base, packet.stream = number * step, TIME_BASE, copy
                written.mux(packet)
        return output.getvalue()


def odd_clock(content: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """Its clock steps back or forth, a few frames are stamped at another time, or several of it."""

    def change(times_s: Sequence[Fraction]) -> list[Fraction]:
        changed = list(times_s)
        for _ in range(rng.integers(1, MOST_CHANGES + 1)):
            first = int(rng.choice((0, len(changed) - 1, int(rng.integers(len(changed))))))
            num_changed = int(rng.choice((1, 2, len(changed))))
            off_s = Fraction(int(rng.choice((-1000, 1000)) * np.exp(rng.uniform(-2, 13))), 1000)  # .1 s to five days
            changed[first : first + num_changed] = [time_s + off_s for time_s in changed[first : first + num_changed]]
        return changed

    return _first_that_works(content, rng, lambda container: restamped(content, container, change))


def odd_streams(content: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """Its streams, and half of the time those of another file, in any order, and marked as anything."""
    sources = [content, others[int(rng.integers(len(others)))]][: rng.integers(1, 3)]
    return _first_that_works(content, rng, lambda container: _with_streams(sources, container, rng))


def _with_streams(sources: Sequence[bytes], container: str, rng: np.random.Generator) -> bytes:
    output = BytesIO()
    with ExitStack() as stack:
        opened = [stack.enter_context(_reading(source)) for source in sources]
        streams = [stream for source in opened for stream in source.streams if stream.type in STREAM_KINDS]
        written = stack.enter_context(_writing(output, container))
        copies: dict[Stream, Stream] = {}
        for index in rng.permutation(len(streams)):
            copies[streams[index]] = copy = written.add_stream_from_template(streams[index])
            copy.disposition = list(Disposition)[rng.integers(len(Disposition))]
        for source in opened:
            for packet in source.demux([stream for stream in streams if stream.container is source]):
                if packet.size:
                    packet.stream = copies[packet.stream]
                    written.mux(packet)
    return output.getvalue()


def _first_that_works(content: bytes, rng: np.random.Generator, make: Callable[[str], bytes]) -> bytes:
    for container in rng.permutation(CONTAINERS):
        try:
            return make(str(container))
        except (av.FFmpegError, ValueError, IndexError):
            continue
    return content


def _reading(content: bytes) -> InputContainer:
    return av.open(BytesIO(content), mode="r")


def _writing(output: BytesIO, container: str) -> OutputContainer:
    options = {"fflags": "+bitexact"}
    if container in ("mp4", "mov"):  # no edit list that would put a first frame right; 32 bits hold 24 days
        options |= {"use_editlist": "0", "video_track_timescale": "1000"}
    return av.open(output, mode="w", format=container, container_options=options)


REMUXES = {"odd clocks": odd_clock, "odd streams": odd_streams}

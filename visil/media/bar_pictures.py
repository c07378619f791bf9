"""The few pictures on which the bars of a video are measured.

    file ─► [key frames, a few by seeking] ─► bars.py ─► Bars
    samples ─► [the first few, which wait]  ─┘
               this module

Key frames from all over a video tell more than its beginning, but cost opening the file once more. So a video of less
than a minute, and one whose container does not say where its key frames are, is measured on its first samples, which
are decoded anyway. Whatever goes wrong with key frames is left to the reading that follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from visil.errors import MediaError
from visil.media.bars import MOST_PICTURES, Bars, BarsMeter
from visil.media.one_pass import Asked, Decoding
from visil.media.opening import decoder_of, open_video
from visil.media.reader import CHUNK_SAMPLES
from visil.media.sampling import Samples, ShownFrame
from visil.media.thinning import ThinningError

SECONDS_A_PICTURE = 15  # fewer pictures of a shorter video: measuring is to cost little beside reading
FEW_PICTURES = 4  # fewer key frames are no better than the first samples
LEAST_LENGTH_S = 60
MOST_PACKETS = 9  # after a seek, until a key frame comes
MOST_WAITING = CHUNK_SAMPLES  # while the first ones show nothing; of more, some would be given out before they are cut
MOST_WAITING_BYTES = 128 << 20  # of their pictures

Waits = Callable[[int, Fraction, ShownFrame[av.VideoFrame]], None]


def nobody_waits(number: int, time_s: Fraction, frame: ShownFrame[av.VideoFrame]) -> None:
    """A `Waits` that looks at nothing."""


def bars_of_file(asked: Asked) -> Bars:
    """The bars of a whole file, whatever part of it is asked for; none where they are kept.

    Raises:
        MediaError: not a readable video.
    """
    if asked.preprocessing.bars == "keep":
        return Bars()
    whole = replace(asked, part=None)
    with suppress(ThinningError):
        return _bars_of_whole(whole, thinly=True)
    return _bars_of_whole(whole, thinly=False)


def _bars_of_whole(asked: Asked, *, thinly: bool) -> Bars:
    rate = Fraction(asked.preprocessing.fps).limit_denominator(10_000)
    with Decoding(asked, rate, thinly=thinly) as decoding:
        return bars_and_samples(asked, decoding, decoding.samples()[1])[0]


def bars_and_samples(
    asked: Asked, decoding: Decoding, samples: Samples[av.VideoFrame], waits: Waits = nobody_waits
) -> tuple[Bars, Samples[av.VideoFrame]]:
    """The bars of a whole file that is being decoded, and its samples from the first on.

    Args:
        samples: those of `decoding`, none of which was taken.
        waits: see `bars_of_first`.

    Raises:
        ThinningError: as `bars_of_first`.
    """
    if (decoding.completeness.promised_s or 0) >= LEAST_LENGTH_S:
        bars = bars_of_key_frames(asked)
        if bars is not None:
            return bars, samples
    return bars_of_first(samples, waits)


def bars_of_key_frames(asked: Asked) -> Bars | None:
    """The bars of a whole video by key frames from all over it; None if these cannot be had for little."""
    meter = BarsMeter()
    num_decoded = 0
    try:
        container, stream = open_video(asked.path, packet_s=asked.packet_s)
        with container:
            codec = decoder_of(asked.path, stream)
            packets = container.demux(stream)
            next(packets, None)  # while they are asked for, PyAV heeds `packet_s` in seeking, too
            for place in _places(container, stream):
                container.seek(place, stream=stream)
                asked.alive()
                picture = _key_frame(packets, codec, asked.alive)
                if picture is None:
                    return None
                meter.add(picture)
                num_decoded += 1
                if meter.is_settled:
                    break
    except (MediaError, av.FFmpegError, OSError, ValueError, IndexError):
        return None
    finally:
        asked.alive()
    return meter.bars() if num_decoded else None


def bars_of_first(samples: Samples[av.VideoFrame], waits: Waits = nobody_waits) -> tuple[Bars, Samples[av.VideoFrame]]:
    """The bars of a video by its first samples, and the samples again, from the first on.

    Pictures that show nothing do not count among the MOST_PICTURES, so that a dark beginning does not matter.

    Args:
        waits: told of every sample behind which another is looked for: its number, time and frame.

    Raises:
        ThinningError: the samples did; whatever else they raise comes in its place among them.
    """
    meter = BarsMeter()
    held = []
    num_bytes = 0
    failure: Exception | None = None
    previous: av.VideoFrame | None = None
    try:
        for time_s, frame in samples:
            held.append((time_s, frame))
            if frame.picture is not previous:
                meter.add(frame.picture)
                num_bytes += sum(plane.buffer_size for plane in frame.picture.planes)
            previous = frame.picture
            if (
                meter.is_settled
                or meter.num_pictures == MOST_PICTURES
                or len(held) == MOST_WAITING
                or num_bytes > MOST_WAITING_BYTES
            ):
                break
            waits(len(held) - 1, time_s, frame)
    except ThinningError:
        raise
    except (MediaError, MemoryError) as error:
        failure = error

    def again() -> Samples[av.VideoFrame]:
        while held:
            yield held.pop(0)  # a picture waits no longer than it must
        if failure is not None:
            raise failure
        yield from samples

    return meter.bars(), again()


def _places(container: InputContainer, stream: VideoStream) -> Iterator[int]:
    """When some key frames come, in units of the stream, in an order that is soon all over the video.

    None if the container has no index of the whole video.
    """
    if not hasattr(stream, "index_entries") or not stream.time_base:  # PyAV before 17
        return
    container.seek(stream.start_time or 0, stream=stream)  # Matroska reads its index when it is first needed
    entries = stream.index_entries
    if len(entries) < FEW_PICTURES:
        return
    first, last = entries[0].timestamp, entries[-1].timestamp
    length_s = (last - first) * stream.time_base
    promised = container.duration or 0
    if length_s < LEAST_LENGTH_S or length_s < promised / av.time_base / 2:
        return
    num = max(FEW_PICTURES, min(MOST_PICTURES, round(length_s / SECONDS_A_PICTURE)))
    wanted = (first + (last - first) * (2 * k + 1) // (2 * num) for k in range(num))
    found = sorted({entries.search_timestamp(time) for time in wanted} - {-1})
    if len(found) < FEW_PICTURES:
        return
    order = sorted(range(len(found)), key=lambda k: f"{k:04b}"[::-1])  # bits the other way round: halves, quarters ...
    yield from (entries[found[k]].timestamp for k in order)


def _key_frame(
    packets: Iterator[av.Packet], codec: VideoCodecContext, alive: Callable[[], None]
) -> av.VideoFrame | None:
    """The key frame that comes next, from a decoder that holds no other; None if none comes soon."""
    for packet in islice(packets, MOST_PACKETS):
        alive()
        if packet.is_keyframe and packet.size:
            pictures = [*codec.decode(packet), *codec.decode(None)]
            codec.flush_buffers()
            return pictures[0] if pictures else None
    return None

"""One pass of a decoder over a file.

[packets ─► those that are needed ─► decoded pictures ─► believed times ─► shown frames ─► samples] ─► Frames
            thinning.py                                  clock.py          this module     sampling.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from math import floor
from pathlib import Path
from time import monotonic

import av
from av.container import InputContainer

from visil.errors import MediaError
from visil.media.clock import MPEG_PERIOD_S, SLIGHT_S, Clock, Timed, unwrapped
from visil.media.completeness import Completeness, falls_short
from visil.media.key_frames import KeyPackets
from visil.media.opening import (
    check_memory,
    container_duration_s,
    decoder_of,
    full_streams,
    header_duration_s,
    is_still,
    open_video,
    own_duration_s,
    reason_of,
    refuse_huge,
)
from visil.media.pictures import turn_of, video_info
from visil.media.preprocessing import Preprocessing
from visil.media.reader import MAX_SPAN_S, Sampled, beyond_end, nobody
from visil.media.sampling import FALLBACK_FPS, Part, Samples, ShownFrame, key_frames, sample, within
from visil.media.thinning import Thinning, ThinningError, Wanted, thinning_of
from visil.values import VideoInfo

LEAST_FULL = 2  # a stream is as full as ours if it has half as many packets
SEEK_MARGIN_S = 1  # containers find key frames by decoding time, which is earlier than that of presentation
MPEG = ("mpegts", "mpeg")  # containers
COUNTED_UP = ("mov", "avi")  # containers whose table of frames counts up when they are decoded


@dataclass(frozen=True)
class Asked:
    """The arguments of `PyAVReader.read`."""

    path: Path
    preprocessing: Preprocessing
    part: Part | None
    stills: bool
    alive: Callable[[], None]
    sampled: Sampled = nobody
    packet_s: float | None = None


class Decoding:
    """One pass over the shown frames of a file, or of a part of it; counts what it has seen.

    Attributes:
        num_frames: frames that came out, those of the part; key frames alone if they are asked for.
        first_s: when the first frame of the file is shown, on the file's own clock.
        end_s: end of the last frame that came out, cut to the part; seconds since the first shown frame.
        warning: what is missing or was not believed, once the end of the file has been reached.
        cut_short: reason class of a limit that ended the file, or an empty text.
    """

    def __init__(self, asked: Asked, rate: Fraction, *, thinly: bool, zero_s: Fraction | None = None) -> None:
        """
        Args:
            rate: samples a second.
            thinly: decode only what sampling needs; by time only where that is known to change no sample.
            zero_s: when the first frame of the file is shown, if that is known: then what comes long before the part
                is passed over. It goes with `thinly` only.

        Raises:
            ThinningError: nothing can be passed over in this file.
        """
        self.path = asked.path
        self.num_frames = 0
        self.first_s = Fraction(0)
        self.end_s = Fraction(0)
        self.warning = ""
        self.cut_short = ""
        self.container, self.stream = open_video(asked.path, stills=asked.stills, packet_s=asked.packet_s)
        self._preprocessing = asked.preprocessing
        self._samples_keys = asked.preprocessing.sampling == "keyframes"
        self.completeness = Completeness(header_duration_s(self.container, self.stream), keys_only=self._samples_keys)
        self.codec = decoder_of(self.path, self.stream)
        self._key_times: set[int | None] = set()  # of a decoder that does not tell key frames
        self._num_packets: Counter[int] = Counter()  # of every full video stream, by its index
        self._others_end_s = Fraction(0)  # of the packets of the other full ones, by the file's own clock
        self.nominal_s = 1 / Fraction(self.stream.guessed_rate or Fraction(FALLBACK_FPS))
        self._rate = rate
        self._part = asked.part
        self._alive = asked.alive
        self._packet_s = asked.packet_s
        self._video_end_s = Fraction(0)
        self._clock = Clock(MAX_SPAN_S)
        self._keys: KeyPackets | None = None
        self._thinning: Thinning | None = None
        if thinly and self._samples_keys and self.stream.time_base:
            time_base = Fraction(self.stream.time_base)
            self._keys = KeyPackets(rate, time_base=time_base, nominal_s=self.nominal_s)
        elif thinly and asked.preprocessing.sampling == "time":
            start_s, end_s = asked.part or (Fraction(0), None)
            wanted = Wanted(rate, start_s, end_s, num_first=asked.preprocessing.min_samples)
            self._thinning = thinning_of(self.container, self.stream, wanted, zero_s)
        self._zero_s = zero_s
        if zero_s is not None:
            try:
                self._seek(zero_s)
            except BaseException:
                self.container.close()
                raise

    def __enter__(self) -> Decoding:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def samples(self) -> tuple[VideoInfo, Samples[av.VideoFrame]]:
        """The facts about the video, and its samples as its preprocessing says."""
        frames = self.frames()
        first = next(frames)  # now the start is known
        container_start_s = Fraction(self.container.start_time or 0, av.time_base)
        try:
            samples = sample(
                chain([first], frames),
                self._preprocessing,
                self._rate,
                reported_fps=float(self.stream.guessed_rate) if self.stream.guessed_rate else None,
                start_s=self.first_s - container_start_s,
            )
        except ValueError as error:
            raise MediaError(f"{self.path}: {error}") from error
        return video_info(self.stream, first.picture, self.first_s), samples

    def frames(self) -> Iterator[ShownFrame[av.VideoFrame]]:
        """Shown frames in presentation order, those of the part; key frames alone if they are asked for."""
        if self._part is not None and is_still(self.path, self.container):
            raise MediaError(f"{self.path}: a still picture has no parts; leave the range out", "not_a_video")
        frames = self._shown_frames()
        if self._samples_keys:
            frames = key_frames(frames, self._is_key, self._rate)
        for frame in frames if self._part is None else within(frames, *self._part):
            self.num_frames += 1
            self.end_s = frame.time_s + frame.duration_s
            yield frame
        if self._part is not None and self.num_frames == 0:
            raise beyond_end(self.path, self._part, self._video_end_s)
        if self._part is not None and not self.warning:  # it may end before the file does
            self.warning = "; ".join(self._remarks(frame.picture))

    def _shown_frames(self) -> Iterator[ShownFrame[av.VideoFrame]]:
        """A frame is shown until the next one, the last for its own duration, all within MAX_SPAN_S."""
        shown: Timed[av.VideoFrame] | None = None
        for frame in self._believed():
            assert frame.time_s is not None
            if shown is None:
                self.first_s = frame.time_s if self._zero_s is None else self._zero_s
            elif frame.time_s - self.first_s >= MAX_SPAN_S:
                until_s = frame.time_s
                self._cut_short("too_large", f"only its first {MAX_SPAN_S // 3600} hours were read")
                break
            else:
                yield self._shown(shown, until_s=frame.time_s)
            shown = frame
        else:
            self.completeness.check(self.path)
            assert shown is not None and shown.time_s is not None
            until_s = shown.time_s + shown.own_s
            if self._keys is not None:
                until_s = max(until_s, self.first_s + self._keys.end_s)
                if self._keys.end_s > MAX_SPAN_S:
                    raise ThinningError("a frame that was passed over may be beyond the limit")
        until_s = min(until_s, self.first_s + MAX_SPAN_S)
        last = self._shown(shown, until_s=until_s)
        self.warning = self._warning(shown.picture)
        yield last

    def _shown(self, frame: Timed[av.VideoFrame], *, until_s: Fraction) -> ShownFrame[av.VideoFrame]:
        assert frame.time_s is not None
        self._video_end_s = until_s - self.first_s
        return ShownFrame(frame.time_s - self.first_s, until_s - frame.time_s, frame.picture)

    def _warning(self, picture: av.VideoFrame) -> str:
        """What a user should know, once the last picture is out."""
        odd_clock = self._clock.warning
        if self._is_promise_explained():
            self.completeness.promised_s = None
        missing = self.completeness.warning(self._video_end_s)
        if missing and self._zero_s is not None and not self.cut_short:
            raise ThinningError("what is missing may lie before the part")
        return "; ".join(filter(None, [odd_clock, missing, *self._remarks(picture)]))

    def _is_promise_explained(self) -> bool:
        """Whether the header promises what the video need not keep: the length of another stream, one beyond the limit,
        or one by times that were not believed."""
        clock, promised_s = self._clock, self.completeness.promised_s
        length_s = container_duration_s(self.container)
        is_of_container = promised_s is not None and own_duration_s(self.container, self.stream) is None
        if is_of_container and length_s is not None and not falls_short(self._others_end_s, length_s):
            return True
        if clock.num_restarts or clock.num_far_jumps or self._video_end_s == MAX_SPAN_S:
            return True
        if clock.ignored_s is None or promised_s is None:
            return False
        until_s = max(clock.ignored_s[1], self.first_s + self._video_end_s)
        from_s = min(clock.ignored_s[0], self.first_s), self.first_s  # a header may not know what comes before
        return any(abs(until_s - start_s - promised_s) <= SLIGHT_S for start_s in from_s)

    def _remarks(self, picture: av.VideoFrame) -> Iterator[str]:
        """What else a user should know."""
        ours = self.stream.index
        num_ours = self._num_packets[ours]
        num_full = sum(index != ours and num_ours <= LEAST_FULL * num for index, num in self._num_packets.items())
        if num_full:
            yield "another video stream is left out" if num_full == 1 else f"{num_full} video streams are left out"
        if ignored := turn_of(picture).ignored:
            yield f"its display matrix ({ignored}) is ignored"

    def _is_key(self, picture: av.VideoFrame) -> bool:
        return picture.key_frame or picture.pts in self._key_times

    def _believed(self) -> Iterator[Timed[av.VideoFrame]]:
        """Decoded pictures with strictly increasing times.

        Raises:
            ThinningError: only some were decoded, and it cannot be told whether their times are to be believed.
        """
        frames = self._timed()
        if self._thinning is None and self._keys is None:
            if self.container.format.name in MPEG:
                frames = unwrapped(frames, MPEG_PERIOD_S)
            yield from self._clock.believed(frames)
            return
        before_s = None
        for frame in frames:
            if frame.time_s is None or (before_s is not None and frame.time_s <= before_s):
                raise ThinningError("a frame is not later than the one before")
            before_s = frame.time_s
            yield frame

    def _timed(self) -> Iterator[Timed[av.VideoFrame]]:
        for picture in self._decoded():
            yield Timed(self._timestamp_s(picture), self._own_duration_s(picture), picture)

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """What the decoder gives for the packets that are needed.

        Raises:
            ThinningError: it cannot be told which are.
        """
        try:
            if self._keys is not None:
                yield from self._decoded_keys(self._keys)
            elif self._thinning is not None:
                yield from self._decoded_thinly(self._thinning)
            else:
                for packet in self._packets():
                    yield from self._pictures(packet)
        except (av.FFmpegError, OSError, ValueError) as error:
            check_memory(error, self.codec.width * self.codec.height)
            if self._thinning is not None or self._keys is not None:
                raise ThinningError(reason_of(error)) from error
            if self.completeness.num_frames == 0:
                raise MediaError(f"{self.path}: cannot be decoded ({reason_of(error)})") from error
            self.completeness.stopped = f"decoding stopped early ({reason_of(error)})"  # the frames before it count

    def _decoded_thinly(self, thinning: Thinning) -> Iterator[av.VideoFrame]:
        """Without frames that answer no sample."""
        self._refuse_damage()
        for packet in thinning.needed(self._packets()):
            pictures = self._pictures(packet)
            if self.completeness.num_refused:
                raise ThinningError("a packet is damaged")
            for picture in pictures:
                thinning.came_out(picture)
                yield picture
        thinning.finish()

    def _decoded_keys(self, keys: KeyPackets) -> Iterator[av.VideoFrame]:
        """Key frames, each from a decoder that holds no other frame."""
        self._refuse_damage()
        for packet in keys.needed(self._packets()):
            pictures = self._pictures(packet, alone=True)
            keys.came_out(packet, pictures)
            yield from pictures
            self.codec.flush_buffers()

    def _refuse_damage(self) -> None:
        """Damage that a decoder would conceal becomes an error; only before the first packet."""
        self.codec.options = {**self.codec.options, "err_detect": "explode"}

    def _seek(self, zero_s: Fraction) -> None:
        """Go to a key frame before the part, in files where no clock can restart on the way to it.

        Their tables count up the times of decoding; those of presentation stay near, at the start and at the part.
        """
        if self._thinning is None or self._part is None or not self.stream.time_base:
            raise ThinningError("it is not known which frames the part needs")
        has_table = self.container.format.name.split(",")[0] in COUNTED_UP and self.stream.frames  # none of fragments
        if not has_table:
            raise ThinningError("its clock may restart before the part")
        before_s = zero_s + self._part[0] - SEEK_MARGIN_S
        try:
            next(self._packets(), None)
            self.container.seek(floor(before_s / self.stream.time_base), stream=self.stream)
        except (av.FFmpegError, OSError, ValueError, OverflowError) as error:  # the last: beyond 64 bits
            raise ThinningError(reason_of(error)) from error

    def _check_delay(self, packet: av.Packet) -> None:
        """Of a file in which a part is sought.

        Raises:
            ThinningError: a frame is not shown soon after it is decoded.
        """
        if self._zero_s is not None and packet.pts is not None and packet.dts is not None:
            delay_s = (packet.pts - packet.dts) * Fraction(self.stream.time_base or 0)
            if not 0 <= delay_s <= SLIGHT_S:
                raise ThinningError("its clock may restart before the part")

    def _packets(self) -> Iterator[av.Packet]:
        """Those of the file; whatever they end with, the last one makes the decoder give what it holds."""
        # Behind the last packet PyAV stumbles over streams that began in the middle (MPEG-TS).
        with suppress(IndexError):
            try:
                yield from self._found_packets()
            except (av.FFmpegError, OSError) as error:
                if isinstance(error, av.ExitError | BlockingIOError):
                    found_nothing = f"no further packet found for {self._packet_s:g} s"
                    self._cut_short("stalled", f"{found_nothing}; --stall-seconds waits longer")
                self._alive()
                last = av.Packet()
                last.stream, last.time_base = self.stream, Fraction(self.stream.time_base or 1)
                yield last
                if not self.cut_short:
                    raise

    def _found_packets(self) -> Iterator[av.Packet]:
        """Those of the stream; the packets of all are counted."""
        for packet in found_packets(self.container, alive=self._alive, packet_s=self._packet_s):
            index = packet.stream.index  # the packet's own is 0 at the end of every stream
            self._num_packets[index] += packet.size > 0
            if index == self.stream.index:
                self._check_delay(packet)
                yield packet
            elif packet.pts is not None and packet.time_base:
                end_s = (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base)
                self._others_end_s = max(self._others_end_s, end_s)

    def _cut_short(self, reason_class: str, reason: str) -> None:
        """The video ends here, and what came before is kept."""
        self.cut_short = reason_class
        self.completeness.stopped = reason

    def _pictures(self, packet: av.Packet, *, alone: bool = False) -> list[av.VideoFrame]:
        """The frames that a decoder gives on a packet; with `alone` it gives what it holds back too."""
        if packet.size > 0:
            self.completeness.given(is_shown=not packet.is_discard)
        if packet.is_keyframe and self.codec is not self.stream.codec_context:
            self._key_times.add(packet.pts)  # libvpx does not tell
        try:
            pictures = self.codec.decode(packet)
            if alone:
                for picture in self.codec.decode(None):
                    picture.time_base = packet.time_base  # not that of the decoder
                    pictures.append(picture)
        except av.InvalidDataError as error:
            check_memory(error, self.codec.width * self.codec.height)
            self.completeness.refused(is_key=packet.is_keyframe)
            return []  # a damaged packet costs its own frames, not the rest of the video
        for picture in pictures:
            refuse_huge(self.path, picture.width, picture.height)
            self.completeness.decoded(is_key=self._is_key(picture), is_damaged=picture.is_corrupt)
        return pictures

    def _timestamp_s(self, frame: av.VideoFrame) -> Fraction | None:
        if frame.pts is None or not frame.time_base:
            return None
        return frame.pts * Fraction(frame.time_base)

    def _own_duration_s(self, frame: av.VideoFrame) -> Fraction:
        if frame.duration > 0 and frame.time_base:
            return frame.duration * Fraction(frame.time_base)
        return self.nominal_s


def found_packets(
    container: InputContainer, *, alive: Callable[[], None], packet_s: float | None
) -> Iterator[av.Packet]:
    """Packets of the full video streams until the end of the file, or until none was found for too long.

    Behind the last packet PyAV may stumble over streams that began in the middle, with an IndexError.
    """
    found_s = monotonic()
    while True:
        try:
            for packet in container.demux(full_streams(container)):
                alive()
                yield packet
                found_s = monotonic()
            return
        except BlockingIOError:  # MPEG-TS wants to be asked again after 64 KB in which no packet begins
            if packet_s is not None and monotonic() - found_s > packet_s:
                raise

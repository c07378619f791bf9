"""How much of what a file promises its decoder has given.

    file ─► [decoded pictures] ─► sampling ─► Frames.warning
            counted by this module

Decoders fail silently: a cut or damaged file often ends early without any error. So the promise of the headers is
compared with what came out. Facts only: error codes, counts and times, never the words of a log line.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from visil.errors import MediaError
from visil.media.structure import Headers, cut_off, headers_of

# Headers round, and where a stream does not tell its own length the container's is that of its longest sound.
LEAST_SHARE = Fraction(9, 10)
LEAST_MISSING_S = 1
# Two packets a frame are honest: interlaced pictures that come as two fields. Hidden reference frames add a few.
LEAST_FRAMES_A_PACKET = Fraction(2, 5)


def falls_short(end_s: Fraction, promised_s: Fraction) -> bool:
    """Whether a stream that ends then is clearly shorter than promised."""
    return end_s <= LEAST_SHARE * promised_s and end_s <= promised_s - LEAST_MISSING_S


@dataclass
class Completeness:
    """Counts of one pass over a file, filled while it is decoded.

    Attributes:
        promised_s: length of the video as the headers tell it; None if they do not.
        keys_only: only key pictures are samples, so damage to others does not count.
        num_packets: packets given to the decoder of which a picture is expected; those that are skipped on purpose,
            and those that the container marks as not shown, do not count.
        num_refused: packets that the decoder called invalid.
        num_frames: pictures that came out.
        num_lone: pictures that came out right after a refused packet.
        num_damaged: pictures that the decoder calls damaged, and packets that it refused, in the middle of the video.
            Those before the first key picture are not counted, because a recording may begin within a group of
            pictures; nor are those behind the last packet, in the middle of which it may end.
        stopped: why reading ended before the end of the file, or an empty text.
    """

    promised_s: Fraction | None
    keys_only: bool = False
    num_packets: int = 0
    num_refused: int = 0
    num_frames: int = 0
    num_lone: int = 0
    num_damaged: int = 0
    stopped: str = ""
    _num_reported: int = 0  # like num_damaged, with what came behind the latest packet
    _has_begun: bool = False
    _after_refusal: bool = False

    def given(self, *, is_shown: bool) -> None:
        """A packet goes to the decoder."""
        self.num_packets += is_shown
        self.num_damaged = self._num_reported

    def refused(self, *, is_key: bool) -> None:
        """The decoder called the packet invalid."""
        self.num_refused += 1
        self._num_reported += is_key or not self.keys_only
        self._after_refusal = True

    def decoded(self, *, is_key: bool, is_damaged: bool) -> None:
        """A picture came out."""
        self.num_frames += 1
        self.num_lone += self._after_refusal
        self._after_refusal = False
        if is_key and not self._has_begun:
            self._has_begun = True
            self.num_damaged = self._num_reported = 0
        self._num_reported += is_damaged and (is_key or not self.keys_only)

    def check(self, path: Path) -> None:
        """At the end of a file.

        Raises:
            MediaError: nothing that came out is to be believed: no picture at all; or most pictures stand alone
                between packets that the decoder refused, as those of encrypted or mislabelled streams do. (The
                pictures around a damaged stretch, however long, come in runs.)
        """
        if self.num_frames == 0:
            if headers_of(path) is Headers.CUT:
                raise cut_off(path)
            if self.num_packets == 0:
                raise MediaError(f"{path}: no frame could be decoded: it holds none", "no_frames")
            raise MediaError(f"{path}: no frame could be decoded (of {self.num_packets} packets)", "undecodable")
        if self.num_lone * 2 > self.num_frames and self.num_refused >= self.num_frames:
            raise MediaError(
                f"{path}: cannot be decoded ({self.num_refused} of {self.num_packets} packets are invalid, "
                "scattered over the whole file)",
                "undecodable",
            )

    def warning(self, end_s: Fraction) -> str:
        """What is missing, or an empty text.

        Args:
            end_s: end of the last frame, seconds since the first.
        """
        found = [self.stopped] if self.stopped else []
        promised_s = self.promised_s or Fraction(0)
        if falls_short(end_s, promised_s):
            found.append(f"only {float(end_s):.1f} s of the {float(promised_s):.1f} s that its header promises")
        num_lost = 0
        if (
            self.num_frames < LEAST_FRAMES_A_PACKET * self.num_packets
            or self.num_refused > (1 - LEAST_SHARE) * self.num_packets
        ):
            num_lost = max(self.num_packets - self.num_frames, self.num_refused)
            found.append(f"{num_lost} of {self.num_packets} packets gave no picture")
        if self.num_damaged > num_lost:
            num_all = self.num_frames + self.num_refused
            found.append(f"its decoder found damage in {self.num_damaged} of {num_all} frames")
        return "; ".join(found)

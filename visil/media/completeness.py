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


@dataclass
class Completeness:
    """Counts of one pass over a file, filled while it is decoded.

    Attributes:
        promised_s: length of the video as the headers tell it; None if they do not.
        num_packets: packets given to the decoder of which a picture is expected; those that are skipped on purpose,
            and those that the container marks as not shown, do not count.
        num_refused: packets that the decoder called invalid.
        num_frames: pictures that came out.
        num_lone: pictures that came out right after a refused packet.
        stopped: why reading ended before the end of the file, or an empty text.
    """

    promised_s: Fraction | None
    num_packets: int = 0
    num_refused: int = 0
    num_frames: int = 0
    num_lone: int = 0
    stopped: str = ""
    _after_refusal: bool = False

    def refused(self) -> None:
        """The decoder called a packet invalid."""
        self.num_refused += 1
        self._after_refusal = True

    def decoded(self) -> None:
        """A picture came out."""
        self.num_frames += 1
        self.num_lone += self._after_refusal
        self._after_refusal = False

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
        if end_s <= LEAST_SHARE * promised_s and end_s <= promised_s - LEAST_MISSING_S:
            found.append(f"only {float(end_s):.1f} s of the {float(promised_s):.1f} s that its header promises")
        if (
            self.num_frames < LEAST_FRAMES_A_PACKET * self.num_packets
            or self.num_refused > (1 - LEAST_SHARE) * self.num_packets
        ):
            num_lost = max(self.num_packets - self.num_frames, self.num_refused)
            found.append(f"{num_lost} of {self.num_packets} packets gave no picture")
        return "; ".join(found)

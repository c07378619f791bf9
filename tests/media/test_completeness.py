"""Far fewer frames than promised is a warning, none is a failure, noise is a failure."""

from __future__ import annotations

from fractions import Fraction

import pytest

from visil.errors import MediaError
from visil.media.completeness import Completeness


def decoded(pattern: str, promised_s: int | None = None) -> Completeness:
    """After a pass over packets: `+` gave a picture, `-` was refused, `.` gave nothing."""
    complete = Completeness(None if promised_s is None else Fraction(promised_s))
    for packet in pattern:
        complete.num_packets += 1
        if packet == "+":
            complete.decoded()
        elif packet == "-":
            complete.refused()
    return complete


class TestWarning:
    @pytest.mark.parametrize(
        ("promised_s", "end_s", "warned"),
        [(100, 100, False), (100, 91, False), (100, 90, True), (100, 0, True), (100, 200, False), (None, 1, False)],
    )
    def test_a_tenth_of_the_promised_time_is_missing(self, promised_s, end_s, warned):
        assert bool(decoded("+" * 10, promised_s).warning(Fraction(end_s))) == warned

    def test_says_how_much_there_is(self):
        assert decoded("+", 8).warning(Fraction(4)) == "only 4.0 s of the 8.0 s that its header promises"

    def test_less_than_a_second_is_not_missed(self):
        assert decoded("+", 2).warning(Fraction(101, 100)) == ""
        assert decoded("+", 2).warning(Fraction(1)) != ""

    def test_packets_that_gave_no_picture_are_missed_if_they_are_many(self):
        assert decoded("+." * 10).warning(Fraction(1)) == "", "two fields make a frame"
        assert decoded("+.." * 10).warning(Fraction(1)) == "20 of 30 packets gave no picture"

    def test_packets_that_were_refused_are_missed_if_they_are_more_than_a_tenth(self):
        assert decoded("-" + "+" * 9).warning(Fraction(1)) == ""
        assert decoded("--" + "+" * 8).warning(Fraction(1)) == "2 of 10 packets gave no picture"

    def test_an_early_end_comes_first(self):
        complete = decoded("+++", promised_s=8)
        complete.stopped = "decoding stopped early (not implemented)"
        assert complete.warning(Fraction(3)) == (
            "decoding stopped early (not implemented); only 3.0 s of the 8.0 s that its header promises"
        )


class TestCheck:
    def test_no_packet_at_all_holds_no_frames(self):
        with pytest.raises(MediaError, match=r"a\.mp4: no frame could be decoded: it holds none") as caught:
            decoded("").check("a.mp4")
        assert caught.value.reason_class == "no_frames"

    @pytest.mark.parametrize("pattern", ["---", "...", "-"])
    def test_packets_without_any_frame_cannot_be_decoded(self, pattern):
        with pytest.raises(MediaError, match="no frame could be decoded") as caught:
            decoded(pattern).check("a.mp4")
        assert caught.value.reason_class == "undecodable"

    @pytest.mark.parametrize("pattern", ["-+" * 20, "--+" * 5, "-+", "+-+-+-+-+-"])
    def test_pictures_that_stand_alone_between_refused_packets_are_noise(self, pattern):
        with pytest.raises(MediaError, match=r"packets are invalid, scattered over the whole file") as caught:
            decoded(pattern).check("a.mp4")
        assert caught.value.reason_class == "undecodable"

    @pytest.mark.parametrize(
        "pattern", ["+" * 10, "+" * 10 + "-" * 90, "-" * 90 + "+" * 10, "+" * 5 + "-" * 90 + "+" * 5, "-++" * 20, "+-"]
    )
    def test_a_damaged_stretch_however_long_leaves_a_video(self, pattern):
        decoded(pattern).check("a.mp4")

"""Far fewer frames than promised is a warning, none is a failure, noise is a failure."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.media.made_files import read, write_grey
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
    @pytest.fixture
    def path(self, tmp_path) -> Path:
        (tmp_path / "a.mp4").touch()
        return tmp_path / "a.mp4"

    def test_no_packet_at_all_holds_no_frames(self, path):
        with pytest.raises(MediaError, match=r"a\.mp4: no frame could be decoded: it holds none") as caught:
            decoded("").check(path)
        assert caught.value.reason_class == "no_frames"

    def test_no_packet_in_a_file_that_ends_in_its_headers_is_a_cut(self, path):
        path.write_bytes(b"\0\0\1\0moov")
        with pytest.raises(MediaError, match=r"a\.mp4: cut off before its headers are complete"):
            decoded("").check(path)

    @pytest.mark.parametrize("pattern", ["---", "...", "-"])
    def test_packets_without_any_frame_cannot_be_decoded(self, path, pattern):
        with pytest.raises(MediaError, match="no frame could be decoded") as caught:
            decoded(pattern).check(path)
        assert caught.value.reason_class == "undecodable"

    @pytest.mark.parametrize("pattern", ["-+" * 20, "--+" * 5, "-+", "+-+-+-+-+-"])
    def test_pictures_that_stand_alone_between_refused_packets_are_noise(self, path, pattern):
        with pytest.raises(MediaError, match=r"packets are invalid, scattered over the whole file") as caught:
            decoded(pattern).check(path)
        assert caught.value.reason_class == "undecodable"

    @pytest.mark.parametrize(
        "pattern", ["+" * 10, "+" * 10 + "-" * 90, "-" * 90 + "+" * 10, "+" * 5 + "-" * 90 + "+" * 5, "-++" * 20, "+-"]
    )
    def test_a_damaged_stretch_however_long_leaves_a_video(self, path, pattern):
        decoded(pattern).check(path)


class TestCuts:
    """A file that ends anywhere is read as far as it goes and says so, or fails: never in silence."""

    @pytest.mark.parametrize(
        ("name", "options", "expected"),
        [
            ("headers_first.mp4", {"movflags": "faststart"}, {"truncated", "warning", "silence"}),
            ("headers_last.mp4", {}, {"truncated"}),
            ("a.mkv", {}, {"truncated", "warning", "silence"}),
            ("a.avi", {}, {"truncated", "warning", "silence"}),
        ],
    )
    def test_at_64_places(self, tmp_path, name, options, expected):
        whole = write_grey(tmp_path / name, 100, fps=5, codec="mpeg4", container_options=options).read_bytes()
        cut = tmp_path / "cut"
        endings = set()
        for length in np.geomspace(40, len(whole) * 0.98, 64).round().astype(int):
            cut.write_bytes(whole[:length])
            try:
                last = read(cut)[-1]
            except MediaError as error:
                endings.add(error.reason_class)
            else:
                endings.add("warning" if last.warning else "silence")
                assert last.warning or last.duration_s > 18, "a tenth of 20 s may be missing in silence"
        assert endings - {"no_frames"} == expected

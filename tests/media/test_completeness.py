"""Far fewer frames than promised is a warning, none is a failure, noise is a failure."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.media.made_files import SMALL, read, write_frames, write_grey
from tests.media.test_thinning import moving_pictures
from visil.errors import MediaError
from visil.media.completeness import Completeness
from visil.media.pyav_reader import PyAVReader


def decoded(pattern: str, promised_s: int | None = None, *, keys_only: bool = False) -> Completeness:
    """After a pass over packets: `+` gave a picture, `~` a damaged one, `K` and `X` the same of key pictures, `-` was
    refused, `.` gave nothing; those behind `|` come out at the end of the file."""
    complete = Completeness(None if promised_s is None else Fraction(promised_s), keys_only=keys_only)
    within, _, at_end = pattern.partition("|")
    for number, packet in enumerate(within + at_end):
        if number < len(within):
            complete.given(is_shown=True)
        if packet in "+~KX":
            complete.decoded(is_key=packet in "KX", is_damaged=packet in "~X")
        elif packet == "-":
            complete.refused(is_key=False)
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
        assert decoded("-K" + "+" * 8).warning(Fraction(1)) == ""
        assert decoded("--" + "+" * 8).warning(Fraction(1)) == "2 of 10 packets gave no picture"

    def test_an_early_end_comes_first(self):
        complete = decoded("+++", promised_s=8)
        complete.stopped = "decoding stopped early (not implemented)"
        assert complete.warning(Fraction(3)) == (
            "decoding stopped early (not implemented); only 3.0 s of the 8.0 s that its header promises"
        )


class TestDamage:
    @pytest.mark.parametrize(
        ("pattern", "num_damaged"),
        [
            ("K++++++K+++", 0),
            ("K+++~~+K+++", 2),
            ("K+++-++K+++", 1),
            ("X++X++X++", 3),
            ("K+++~~~~~~~|~~", 6),  # all behind the last packet is in doubt
            ("~~~+~K+++", 0),  # a recording that begins within a group of pictures
            ("-++K+++", 0),
            ("~~~+~K+~+", 1),
            ("K+++~", 0),  # one that ends within a picture
            ("K+++-|++", 0),
            ("K+++|+~", 0),
            ("~~~~~+", 5),  # no key picture that would excuse them
        ],
    )
    def test_is_counted_between_the_first_key_picture_and_the_last_packet(self, pattern, num_damaged):
        assert decoded(pattern).num_damaged == num_damaged

    def test_is_told_with_its_count(self):
        assert decoded("K++~+K~+++").warning(Fraction(1)) == "its decoder found damage in 2 of 10 frames"

    def test_is_not_told_again_if_all_of_it_is_packets_without_a_picture(self):
        assert decoded("K--++").warning(Fraction(1)) == "2 of 5 packets gave no picture"
        assert decoded("K--~+").warning(Fraction(1)) == (
            "2 of 5 packets gave no picture; its decoder found damage in 3 of 5 frames"
        )

    def test_between_key_frames_does_not_count_where_they_alone_are_samples(self):
        assert decoded("K~-~X~+K+", keys_only=True).num_damaged == 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264 of six groups of pictures, 100 frames."""
    options = {"preset": "veryfast", "g": "20"}
    path = tmp_path_factory.mktemp("whole") / "whole.mp4"
    return write_frames(path, moving_pictures(100), codec="libx264", codec_options=options)


class TestDamagedFiles:
    def test_encrypted_in_the_middle_say_so(self, whole, tmp_path):
        packets = packets_of(whole)
        path = scrambled(whole, tmp_path / "a.mp4", packets[33], packets[40])
        assert re.fullmatch(r"its decoder found damage in [789] of \d+ frames", read(path)[-1].warning)
        path = scrambled(whole, tmp_path / "a.mp4", packets[33], packets[66])
        assert re.fullmatch(r"3\d of 100 packets gave no picture", read(path)[-1].warning)

    def test_whose_key_frames_alone_are_encrypted_say_so(self, whole, tmp_path):
        path = whole
        for packet in packets_of(whole):
            if packet.is_keyframe:
                path = scrambled(path, tmp_path / "a.mp4", packet, packet, skip=60)
        assert "its decoder found damage in" in read(path)[-1].warning

    def test_with_one_damaged_picture_say_so(self, whole, tmp_path):
        packet = next(packet for packet in packets_of(whole)[50:] if not packet.is_disposable)
        path = scrambled(whole, tmp_path / "a.mp4", packet, packet, skip=8)
        assert "its decoder found damage in" in read(path)[-1].warning

    def test_are_judged_alike_however_they_are_decoded(self, whole, tmp_path):
        packets = packets_of(whole)
        for first in range(21, 90, 7):
            path = scrambled(whole, tmp_path / "a.mp4", packets[first], packets[first + 5])
            in_full = list(PyAVReader(in_full=True).read(path, SMALL))
            assert read(path)[-1].warning == in_full[-1].warning != ""

    @pytest.mark.parametrize(("name", "codec"), [("a.ts", "libx264"), ("a.flv", "libx264"), ("a.mkv", "libx264")])
    def test_do_not_count_as_such_where_a_recording_was_cut_at_both_ends(self, tmp_path, name, codec):
        whole = write_frames(
            tmp_path / name, moving_pictures(60), codec=codec, codec_options={"preset": "veryfast", "g": "20"}
        ).read_bytes()
        cut = tmp_path / f"cut_{name}"
        for k in range(12):
            first = 188 * (len(whole) * k // (188 * 40)) if name == "a.ts" else 0
            cut.write_bytes(whole[first : len(whole) * (99 - k) // 100 - k])
            assert "damage" not in read(cut)[-1].warning

    def test_that_are_whole_but_by_an_old_x264_are_shown_as_it_meant_them(self, shared_data):
        (frames,) = read(shared_data / "hard_media" / "empty_edit_5s.mp4", SMALL)
        assert frames.warning == ""
        bottom = frames.images[:, -2:].astype(int)
        assert np.abs(bottom - frames.images[:, :1]).mean() < 90, "the test card ends as it begins, not in green"


def packets_of(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def scrambled(source: Path, target: Path, first: av.Packet, last: av.Packet, *, skip: int = 0) -> Path:
    """Random bytes from one packet to the end of another, but for the first few."""
    content = bytearray(source.read_bytes())
    start, end = first.pos + skip, last.pos + last.size
    content[start:end] = np.random.default_rng(0).bytes(end - start)
    target.write_bytes(content)
    return target


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

"""What packets say of themselves, read from their first bytes."""

from __future__ import annotations

import av
import pytest

from tests.media.made_files import write_grey
from visil.media.opening import open_video
from visil.media.syntax import STILL, Syntax, _av1, _h264, _hevc, _mjpeg, _vp9, packet_syntax

GROUP, LINK, LEAF = Syntax(True, False, False), Syntax(False, False, False), Syntax(False, True, False)


def packet(*units: bytes) -> av.Packet:
    """Units of a frame, each behind its length in four bytes, with something to fill them."""
    return av.Packet(b"".join((len(unit) + 9).to_bytes(4, "big") + unit + bytes(9) for unit in units))


def h264(kind: int, importance: int) -> bytes:
    return bytes([importance << 5 | kind, 0])


def hevc(kind: int, *, layer: int = 1, view: int = 0) -> bytes:
    return bytes([kind << 1 | view >> 5, (view & 31) << 3 | layer])


SPS, PPS, SEI, DELIMITER = h264(7, 3), h264(8, 3), h264(6, 0), h264(9, 0)


class TestH264:
    @pytest.mark.parametrize(
        ("units", "syntax"),
        [
            ([h264(5, 3)], GROUP),
            ([SEI, h264(5, 3), h264(5, 3)], GROUP),
            ([SPS, PPS, h264(5, 3)], GROUP._replace(is_kept=True)),
            ([h264(1, 2)], LINK),
            ([h264(1, 1), h264(1, 0)], LINK),  # two slices or fields, of which one is referred to
            ([PPS, h264(1, 0)], LEAF._replace(is_kept=True)),
            ([DELIMITER, SEI, h264(1, 0), h264(1, 0)], LEAF),
            ([h264(5, 3), h264(1, 2)], None),  # two pictures
            ([h264(20, 0)], None),  # another view
            ([h264(2, 1)], None),  # data partitions
            ([SEI], None),
            ([], None),
        ],
    )
    def test_a_picture_is_a_leaf_if_none_of_its_slices_is_referred_to(self, units, syntax):
        assert _h264(packet(*units), 4) == syntax

    def test_lengths_that_do_not_fit_are_not_understood(self):
        assert _h264(av.Packet(bytes(packet(h264(1, 0)))[:-1]), 4) is None
        assert _h264(packet(h264(1, 0)), 2) is None


class TestHevc:
    @pytest.mark.parametrize(
        ("units", "num_layers", "syntax"),
        [
            ([hevc(19)], 1, GROUP),
            ([hevc(32), hevc(33), hevc(34), hevc(20)], 1, GROUP._replace(is_kept=True)),
            ([hevc(21)], 1, LINK),  # the key frame of an open group
            ([hevc(1)], 1, LINK),
            ([hevc(0), hevc(40)], 1, LEAF),
            ([hevc(8)], 1, LEAF),
            ([hevc(0)], 2, LINK),  # the second layer may refer to it
            ([hevc(2, layer=2)], 2, LEAF),
            ([hevc(2, layer=3)], 2, None),  # more layers than announced
            ([hevc(0)], 0, None),  # it is not said how many there are
            ([hevc(1), hevc(1, view=1)], 1, None),
            ([hevc(17)], 1, None),
            ([hevc(1), hevc(0)], 1, None),
        ],
    )
    def test_a_picture_is_a_leaf_if_no_layer_refers_to_it(self, units, num_layers, syntax):
        assert _hevc(packet(*units), 4, num_layers=num_layers) == syntax


class TestMotionJpeg:
    def test_a_picture_with_its_own_tables_stands_alone(self):
        tables = b"\xff\xd8\xff\xdb" + bytes(60) + b"\xff\xc4" + bytes(60)
        assert _mjpeg(av.Packet(tables)) == STILL
        assert _mjpeg(av.Packet(tables.replace(b"\xff\xc4", b"\xff\xc0"))) is None


class TestVp9:
    @pytest.mark.parametrize(
        ("first_byte", "syntax"),
        [
            pytest.param(0b10_00_00_10, GROUP, id="key"),
            pytest.param(0b10_10_00_10, GROUP, id="key of profile 1"),
            pytest.param(0b10_00_01_10, LINK, id="other"),
            pytest.param(0b10_00_10_00, LINK, id="shows another"),
            pytest.param(0b10_11_00_00, None, id="profile 3"),
            pytest.param(0b01_00_00_10, None, id="no frame"),
        ],
    )
    def test_a_key_frame_starts_a_group(self, first_byte, syntax):
        assert _vp9(av.Packet(bytes([first_byte, 0, 0]))) == syntax


class TestAv1:
    def unit(self, kind: int, payload: bytes, *, extension: bool = False) -> bytes:
        return bytes([kind << 3 | extension << 2 | 2, len(payload)]) + payload

    def test_a_shown_key_frame_behind_a_sequence_header_starts_a_group(self):
        sequence, key, other = self.unit(1, bytes(10)), self.unit(6, b"\x10" * 99), self.unit(6, b"\x30" * 99)
        assert _av1(av.Packet(sequence + key)) == GROUP
        assert _av1(av.Packet(self.unit(2, b"") + sequence + key)) == GROUP  # behind a delimiter
        assert _av1(av.Packet(key)) == LINK
        assert _av1(av.Packet(sequence + other)) == LINK
        assert _av1(av.Packet(sequence + self.unit(3, b"\x00" * 9))) == LINK  # a key frame that is not shown

    def test_layers_and_what_holds_no_frame_are_not_understood(self):
        assert _av1(av.Packet(self.unit(6, b"\x10" * 9, extension=True))) is None
        assert _av1(av.Packet(self.unit(1, bytes(10)))) is None

    def test_long_units_are_passed_over(self):
        padding = bytes([15 << 3 | 2, 0x80 | 300 & 127, 300 >> 7]) + bytes(300)
        assert _av1(av.Packet(padding + self.unit(1, bytes(10)) + self.unit(6, b"\x10" * 9))) == GROUP


@pytest.mark.parametrize(
    ("name", "codec", "known"),
    [
        ("a.mp4", "libx264", True),
        ("a.mkv", "libx264", True),
        ("a.ts", "libx264", False),  # a packet may be half a picture
        ("a.avi", "mjpeg", True),
        ("a.mp4", "mpeg4", False),
        ("a.webm", "libvpx-vp9", True),
        ("a.webm", "libvpx", False),
        ("a.mkv", "ffv1", False),
    ],
)
def test_only_families_that_are_compared_with_full_decoding_are_known(tmp_path, name, codec, known):
    container, stream = open_video(write_grey(tmp_path / name, 25, codec=codec))
    with container:
        assert (packet_syntax(container, stream) is not None) == known

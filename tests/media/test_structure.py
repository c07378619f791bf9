"""What the outermost parts of a file say about its headers."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.media.made_files import write_grey
from visil.media.structure import Headers, headers_of, is_animated_webp


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Contents of real files by suffix."""
    folder = tmp_path_factory.mktemp("whole")
    options = {"codec": "mpeg4"}
    return {suffix: write_grey(folder / f"a.{suffix}", 5, **options).read_bytes() for suffix in ("mp4", "mkv", "avi")}


def state(tmp_path: Path, content: bytes) -> Headers:
    (tmp_path / "file").write_bytes(content)
    return headers_of(tmp_path / "file")


def box(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


class TestHeaders:
    @pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
    def test_of_a_whole_file_are_whole(self, tmp_path, whole, suffix):
        assert state(tmp_path, whole[suffix]) is Headers.WHOLE

    @pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
    def test_cut_off_at_any_place_are_never_unknown(self, tmp_path, whole, suffix):
        content = whole[suffix]
        states = [state(tmp_path, content[:length]) for length in range(12, len(content), 1 + len(content) // 500)]
        assert states[0] is Headers.CUT
        assert states == sorted(states, key=[Headers.CUT, Headers.WHOLE].index), "once whole, always whole"

    def test_of_mp4_are_missing_until_the_last_box(self, tmp_path):
        assert state(tmp_path, box(b"ftyp", bytes(8)) + box(b"mdat", bytes(100))) is Headers.CUT
        assert state(tmp_path, box(b"ftyp", bytes(8)) + box(b"mdat", bytes(100)) + box(b"moov")) is Headers.WHOLE

    def test_of_mp4_may_lie_behind_boxes_of_64_bit_and_open_sizes(self, tmp_path):
        large = struct.pack(">I4sQ", 1, b"mdat", 16 + 5) + bytes(5)
        assert state(tmp_path, box(b"ftyp") + large + box(b"moov")) is Headers.WHOLE
        assert state(tmp_path, box(b"ftyp") + struct.pack(">I4s", 0, b"mdat") + bytes(50)) is Headers.CUT

    @pytest.mark.parametrize(
        "content",
        [b"", b"text, text, text", b"RIFF\0\0\0\0WAVEfmt ", bytes(1000), b"\x1a\x45\xdf\xa3" + bytes(100)],
        ids=["empty", "text", "sound", "zeros", "matroska of zeros"],
    )
    def test_of_anything_else_are_unknown(self, tmp_path, content):
        assert state(tmp_path, content) is Headers.UNKNOWN

    def test_are_not_searched_for_ever(self, tmp_path):
        assert state(tmp_path, box(b"free") * 20_000) is Headers.UNKNOWN


class TestAnimatedWebP:
    def test_is_told_by_a_flag(self, tmp_path):
        def webp(flags: int) -> Path:
            path = tmp_path / f"{flags}.webp"
            path.write_bytes(b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0" + bytes([flags]) + bytes(40))
            return path

        assert is_animated_webp(webp(0b10))
        assert is_animated_webp(webp(0b10010))
        assert not is_animated_webp(webp(0b10000))

    def test_a_short_file_is_none(self, tmp_path):
        (tmp_path / "a.webp").write_bytes(b"RIFF\x40\0\0\0WEBPVP8X")
        assert not is_animated_webp(tmp_path / "a.webp")

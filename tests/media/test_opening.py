"""What is opened: the file itself and nothing that it names; videos, and stills where they are asked for."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import av
import pytest

from tests.media.made_files import SMALL, grey_frames, read, shown_frames, times_of, write_grey
from tests.media.made_pictures import box, write_avif, write_heic
from visil.errors import MediaError
from visil.media.frame_table import IrregularError, read_frame_table
from visil.media.preprocessing import Preprocessing
from visil.media.pyav_reader import PyAVReader, read_still


class TestReferences:
    """A QuickTime movie may say that its samples lie in another file."""

    @pytest.fixture
    def thief(self, tmp_path) -> Path:
        """The headers of a video beside it, with an alias of that video for a data source, and no samples."""
        secret = write_grey(tmp_path / "secret.mov", 30, fps=10, codec="mpeg4").read_bytes()
        path = tmp_path / "thief.mov"
        path.write_bytes(box_of(secret, b"ftyp") + with_alias(box_of(secret, b"moov"), "secret.mov"))
        return path

    def test_to_another_file_are_not_followed(self, thief):
        with pytest.raises(MediaError, match=r"thief\.mov: (no frame could be decoded|cannot be decoded)"):
            read(thief)

    def test_would_be_followed_by_a_demuxer_that_is_told_to(self, thief):
        with av.open(str(thief), container_options={"enable_drefs": "1"}) as container:
            assert sum(1 for _ in container.decode(video=0)) == 30, "the trap works"


CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"dinf"}


def boxes(content: bytes) -> list[tuple[bytes, bytes]]:
    """Names and contents of the boxes of ISO media, all with 32-bit sizes."""
    found, position = [], 0
    while position < len(content):
        size, name = struct.unpack_from(">I4s", content, position)
        found.append((name, content[position + 8 : position + size]))
        position += size
    return found


def box_of(content: bytes, wanted: bytes) -> bytes:
    return next(box(name, inner) for name, inner in boxes(content) if name == wanted)


def with_alias(moov: bytes, file_name: str) -> bytes:
    """The same headers, whose data reference is a Macintosh alias of a file in the same folder."""
    path = f"/{file_name}".encode()
    path += bytes(len(path) % 2)
    alias = bytes(10 + 1 + 27 + 12 + 1 + 63 + 16)  # volume and file name, unused
    alias += struct.pack(">HH16x", 1, 1)  # one level up, one down: the same folder
    alias += struct.pack(">HH", 2, len(path)) + path + struct.pack(">hH", -1, 0)
    reference = struct.pack(">II", 0, 1) + box(b"alis", bytes(4) + alias)
    return b"".join(
        box(name, reference if name == b"dref" else with_alias(inner, file_name) if name in CONTAINERS else inner)
        for name, inner in boxes(moov)
    )


class TestStills:
    """A picture is no video, unless one is asked for: then it is a video of one frame."""

    @pytest.fixture(params=["png", "mjpeg", "libwebp", "bmp", "tiff"])
    def picture(self, request, tmp_path) -> Path:
        return write_still(tmp_path / "picture.mp4", request.param)

    def test_are_not_videos(self, picture):
        with pytest.raises(MediaError, match="a still picture, not a video") as caught:
            read(picture)
        assert caught.value.reason_class == "not_a_video"

    def test_are_videos_of_one_frame_where_they_are_asked_for(self, picture):
        (chunk,) = PyAVReader().read(picture, Preprocessing(), stills=True)
        assert (shown_frames([chunk]), chunk.times_s.tolist()) == ([7], [0])
        assert chunk.video.coded_size_px == (64, 48)
        assert chunk.warning == ""

    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG", "a.bmp", "a.tif", "a.webp", "100%03d.jpg"])
    def test_are_known_by_their_content_under_any_name_of_a_picture(self, picture, name):
        renamed = picture.rename(picture.with_name(name))
        (chunk,) = PyAVReader().read(renamed, Preprocessing(), stills=True)
        assert shown_frames([chunk]) == [7]

    def test_do_not_make_a_still_of_a_video(self, tmp_path):
        path = write_grey(tmp_path / "a.mkv", 3, fps=1)
        assert shown_frames(list(PyAVReader().read(path, SMALL, stills=True))) == [0, 1, 2]


class TestPhotos:
    """HEIC and AVIF: pictures in the container of MP4."""

    @pytest.fixture(params=["HEIC", "AVIF"])
    def photo(self, request, tmp_path) -> Path:
        path = tmp_path / "photo.mp4"
        return write_heic(path, [PICTURE]) if request.param == "HEIC" else write_avif(path, [PICTURE])

    @pytest.mark.parametrize("name", ["photo.mp4", "photo.jpg", "100%03d.avif"])
    def test_are_not_videos_whatever_their_name(self, photo, name):
        renamed = photo.rename(photo.with_name(name))
        with pytest.raises(MediaError, match="a still picture, not a video") as caught:
            read(renamed)
        assert caught.value.reason_class == "not_a_video"
        assert len(read(renamed, stills=True)) == 1

    def test_are_videos_of_one_frame_where_they_are_asked_for(self, photo):
        (chunk,) = PyAVReader().read(photo, Preprocessing(), stills=True)
        assert (shown_frames([chunk]), chunk.times_s.tolist(), chunk.warning) == ([7], [0], "")
        assert chunk.video.coded_size_px == (128, 96)

    def test_are_not_for_readers_by_number(self, photo):
        with pytest.raises(IrregularError, match="it opens MP4, MOV, Matroska, WebM and AVI only"):
            read_frame_table(photo, stills=True, alive=lambda: None)

    def test_have_no_parts(self, photo):
        with pytest.raises(MediaError, match="a still picture has no parts"):
            read(photo, stills=True, span_s=(0, 1))

    @pytest.mark.parametrize(("tiles", "grid"), [(6, (2, 3)), (1, (1, 1))])
    def test_in_tiles_are_refused_not_read_by_their_first_tile(self, tmp_path, tiles, grid):
        path = write_heic(tmp_path / "photo.heic", [PICTURE] * tiles, grid)
        with pytest.raises(MediaError, match=r"photo\.heic: a picture in tiles .* convert it to JPEG or PNG") as caught:
            read(path, stills=True)
        assert caught.value.reason_class == "unsupported_format"
        with pytest.raises(MediaError, match="a still picture, not a video"):
            read(path)
        named_otherwise = path.rename(tmp_path / "photo.jpg")
        for source in (named_otherwise, BytesIO(named_otherwise.read_bytes())):
            with pytest.raises(MediaError, match="a picture in tiles"):
                read_still(source, SMALL)

    def test_cut_off_in_their_headers_are_said_to_be(self, tmp_path):
        path = write_heic(tmp_path / "photo.heic", [PICTURE])
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(MediaError, match="cut off before its headers are complete"):
            read(path, stills=True)

    @pytest.mark.parametrize("stills", [False, True])
    def test_that_move_are_videos(self, tmp_path, stills):
        path = write_avif(tmp_path / "moving.avif", [picture.repeat(2, axis=0) for picture in grey_frames(6)])
        chunks = read(path, Preprocessing(fps=4, size_px=16, min_samples=1), stills=stills)
        assert (shown_frames(chunks), times_of(chunks)) == (list(range(6)), [k / 4 for k in range(6)])

    def test_brands_alone_make_no_picture_of_a_video(self, tmp_path):
        path = write_grey(tmp_path / "a.mp4", 3, fps=1, codec="mpeg4")
        path.write_bytes(path.read_bytes().replace(b"isom", b"heic", 1))
        assert shown_frames(read(path)) == [0, 1, 2]


PICTURE = grey_frames(8, (128, 96))[7]


def write_still(path: Path, codec: str) -> Path:
    """Frame 7 in grey."""
    with av.open(str(path), "w", format="image2", container_options={"update": "1"}) as output:
        stream = output.add_stream(codec, rate=1)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = {"mjpeg": "yuvj420p", "libwebp": "yuv420p", "bmp": "bgr24"}.get(codec, "rgb24")
        output.mux(stream.encode(av.VideoFrame.from_ndarray(grey_frames(8)[7], format="rgb24")))
        output.mux(stream.encode())
    return path


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_title_in_another_encoding_than_utf_8_is_no_obstacle(tmp_path, name):
    path = write_grey(tmp_path / name, 3, fps=1, codec="mpeg4", title="Gruesse")
    content = path.read_bytes()
    assert content.count(b"Gruesse") == 1
    path.write_bytes(content.replace(b"Gruesse", "Grüße  ".encode("latin-1")))
    assert times_of(read(path)) == [0, 1, 2]

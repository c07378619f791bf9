"""What of a decoded picture is compared: what is seen on black, turned by quarters only."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

import visil.media.opening as opening_module
from tests.media.made_files import SMALL, level, read, shown_frames, times_of, write_frames, write_grey
from visil.errors import MediaError
from visil.media.frame_table import IrregularError, read_frame_table
from visil.media.pictures import has_alpha, turn_of
from visil.media.preprocessing import Preprocessing
from visil.media.pyav_reader import PyAVReader

NATIVE = Preprocessing(size_rule="short-side", size_px=48, min_samples=1)
HIDDEN = 240  # grey level of the right half, which is transparent


def half_seen(k: int, alpha: int = 0) -> np.ndarray:
    """Left half in the grey of frame k, right half brighter and transparent; uint8 RGBA [48, 64, 4]."""
    picture = np.full((48, 64, 4), 255, np.uint8)
    picture[..., :3] = level(k)
    picture[:, 32:] = (HIDDEN, HIDDEN, HIDDEN, alpha)
    return picture


def write_rgba(
    path: Path, pictures: list[np.ndarray], codec: str, pixel_format: str, options: dict[str, str] | None = None
) -> Path:
    """Pictures with transparency, ten a second."""
    with av.open(str(path), "w", format="apng" if codec == "apng" else None) as output:
        stream = output.add_stream(codec, rate=10, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format
        for k, picture in enumerate(pictures):
            frame = as_format(picture, pixel_format)
            frame.pts = k
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


VPX = {"auto-alt-ref": "0", "g": "10", "crf": "4", "b": "2M", "cpu-used": "8", "deadline": "realtime"}


class TestTransparency:
    @pytest.mark.parametrize(
        ("name", "codec", "pixel_format", "options"),
        [
            ("a.mov", "qtrle", "argb", {}),
            ("a.mov", "png", "rgba", {}),
            ("a.mov", "png", "rgba64be", {}),
            ("a.mov", "png", "ya8", {}),
            ("a.mov", "prores_ks", "yuva444p10le", {"profile": "4444"}),
            ("a.mkv", "ffv1", "bgra", {}),
            ("a.mkv", "ffv1", "yuva420p", {}),
            ("a.mkv", "ffv1", "yuva444p16le", {}),
            ("a.mkv", "ffv1", "gbrap12le", {}),
            ("a.avi", "utvideo", "gbrap", {}),
            ("a.gif", "gif", "pal8", {}),
            ("a.apng", "apng", "rgba", {}),
            ("a.webm", "libvpx", "yuva420p", VPX),
            ("a.webm", "libvpx-vp9", "yuva420p", VPX),
        ],
    )
    def test_is_black(self, tmp_path, name, codec, pixel_format, options):
        path = write_rgba(tmp_path / name, [half_seen(k) for k in range(21)], codec, pixel_format, options)
        chunks = read(path, NATIVE)
        images = np.concatenate([chunk.images for chunk in chunks]).astype(int)
        seen, hidden = images[:, 2:-2, 2:28], images[:, 2:-2, 36:-2]
        assert times_of(chunks) == [0, 1, 2]
        assert seen.mean(axis=(1, 2, 3)) == pytest.approx([level(0), level(10), level(20)], abs=3)
        assert hidden.max() <= 3

    @pytest.mark.parametrize(
        ("codec", "pixel_format"), [("png", "rgba"), ("png", "pal8"), ("libwebp", "yuva420p"), ("tiff", "rgba")]
    )
    def test_of_a_still_is_black(self, tmp_path, codec, pixel_format):
        path = tmp_path / "still.png"
        with av.open(str(path), "w", format="image2", container_options={"update": "1"}) as output:
            stream = output.add_stream(codec, rate=1)
            stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
            output.mux(stream.encode(as_format(half_seen(7), pixel_format)))
            output.mux(stream.encode())
        (chunk,) = PyAVReader().read(path, NATIVE, stills=True)
        seen, hidden = chunk.images[0, 2:-2, 2:28].astype(int), chunk.images[0, 2:-2, 36:-2]
        assert seen.mean() == pytest.approx(level(7), abs=3)
        assert hidden.max() <= 3

    @pytest.mark.parametrize(("alpha", "shown"), [(255, 240), (128, 120), (1, 1), (0, 0)])
    def test_in_part_darkens(self, tmp_path, alpha, shown):
        path = write_rgba(tmp_path / "a.mkv", [half_seen(0, alpha)], "ffv1", "bgra")
        (chunk,) = read(path, NATIVE)
        assert (chunk.images[0, :, 36:] == shown).all()

    @pytest.mark.parametrize("interpolation", ["bicubic", "opencv-cubic"])
    def test_mixes_no_hidden_colour_into_its_neighbours(self, tmp_path, interpolation):
        fine = np.full((48, 64, 4), 255, np.uint8)
        fine[..., :3] = 100
        fine[:, ::2] = (255, 255, 255, 0)
        path = write_rgba(tmp_path / "a.mkv", [fine], "ffv1", "bgra")
        asked = Preprocessing(size_rule="short-side", size_px=12, min_samples=1, interpolation=interpolation)
        (chunk,) = read(path, asked)
        assert chunk.images.max() <= 100

    def test_that_no_pixel_has_changes_nothing(self, tmp_path):
        generator = np.random.default_rng(0)
        pictures = [generator.integers(0, 256, (50, 66, 4)).astype(np.uint8) for _ in range(3)]
        for picture in pictures:
            picture[..., 3] = 255
        opaque = read(write_rgba(tmp_path / "a.mkv", pictures, "ffv1", "bgra"))
        without = read(write_rgba(tmp_path / "b.mkv", pictures, "ffv1", "bgr0"))
        assert opaque[0].images.tobytes() == without[0].images.tobytes()

    def test_is_known_by_the_pixel_format(self):
        assert all(map(has_alpha, "yuva420p ya8 rgba abgr gbrap yuva444p16le rgba64be pal8".split()))
        assert not any(map(has_alpha, "yuv420p gray rgb24 bgr0 nv12 p010le gbrp yuvj420p yuv444p10le".split()))

    @pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
    def test_of_webm_keeps_its_key_frames(self, tmp_path, codec):
        path = write_rgba(tmp_path / "a.webm", [half_seen(k) for k in range(30)], codec, "yuva420p", VPX)
        with av.open(str(path)) as container:
            keys_s = [packet.pts / 1000 for packet in container.demux(video=0) if packet.is_keyframe]
        assert len(keys_s) > 1
        chunks = read(path, Preprocessing(sampling="keyframes", size_px=16, fps=10))
        assert times_of(chunks) == pytest.approx(keys_s)
        assert chunks[-1].images[:, :, 9:].max() <= 3

    def test_of_webm_takes_a_decoder_that_knows_it(self, tmp_path, monkeypatch):
        path = write_rgba(tmp_path / "a.webm", [half_seen(0)], "libvpx-vp9", "yuva420p", VPX)
        monkeypatch.setitem(opening_module.LIBVPX, "vp9", "no-such-decoder")
        with pytest.raises(MediaError, match=r"a\.webm: transparent vp9, which takes an FFmpeg with libvpx"):
            read(path)

    @pytest.mark.parametrize(
        ("name", "codec", "pixel_format"), [("a.mkv", "ffv1", "bgra"), ("a.webm", "libvpx-vp9", "yuva420p")]
    )
    def test_is_not_for_readers_that_drop_it(self, tmp_path, name, codec, pixel_format):
        path = write_rgba(tmp_path / name, [half_seen(0)], codec, pixel_format)
        with pytest.raises(IrregularError, match="it may be transparent"):
            read_frame_table(path, stills=False, alive=lambda: None)


def as_format(picture: np.ndarray, pixel_format: str) -> av.VideoFrame:
    """RGBA as another format; with a palette, of its two colours."""
    if pixel_format != "pal8":
        return av.VideoFrame.from_ndarray(picture, format="rgba").reformat(format=pixel_format)
    colours, places = np.unique(picture.reshape(-1, 4), axis=0, return_inverse=True)
    palette = np.zeros((256, 4), np.uint8)
    palette[: len(colours)] = colours[:, [3, 0, 1, 2]]  # ARGB
    return av.VideoFrame.from_ndarray((places.reshape(picture.shape[:2]).astype(np.uint8), palette), format="pal8")


class TestOddTurns:
    @pytest.mark.parametrize(("counter_clockwise", "clockwise"), [(128, 232), (45, 315), (3, 357), (-87, 87)])
    @pytest.mark.parametrize("in_full", [False, True])
    def test_are_ignored_and_told(self, tmp_path, counter_clockwise, clockwise, in_full):
        path = write_grey(tmp_path / "a.mp4", 30, fps=10, codec="libx264", rotation_deg=counter_clockwise)
        chunks = list(PyAVReader(in_full=in_full).read(path, NATIVE))
        assert shown_frames(chunks) == [0, 10, 20]
        assert chunks[0].images.shape[1:3] == (48, 64)
        assert (chunks[0].video.rotation_deg, chunks[0].video.rotated_size_px) == (0, (64, 48))
        assert chunks[-1].warning == f"its display matrix (turn by {clockwise} degrees clockwise) is ignored"

    @pytest.mark.parametrize(("turn_deg", "quarter_deg"), [(89, 90), (91, 90), (181, 180), (-91, 270), (1, 0)])
    def test_by_a_degree_are_those_of_the_quarter(self, tmp_path, turn_deg, quarter_deg):
        path = write_grey(tmp_path / "a.mp4", 3, codec="libx264", rotation_deg=turn_deg)
        (chunk,) = read(path)
        assert (chunk.video.rotation_deg, chunk.warning) == (quarter_deg, "")

    @pytest.mark.parametrize("zeroed", [range(9), (0, 3), (1, 4)], ids=["all", "first column", "second column"])
    def test_to_nothing_are_ignored_and_told(self, tmp_path, zeroed):
        path = write_grey(tmp_path / "a.mp4", 30, fps=10, codec="libx264", rotation_deg=90)
        content = bytearray(path.read_bytes())
        start = content.index(b"tkhd") + 44  # the matrix: nine numbers of four bytes
        for place in zeroed:
            content[start + 4 * place : start + 4 * place + 4] = bytes(4)
        path.write_bytes(content)
        chunks = read(path, NATIVE)
        assert shown_frames(chunks) == [0, 10, 20]
        assert (chunks[0].video.rotation_deg, chunks[0].video.rotated_size_px) == (0, (64, 48))
        assert chunks[-1].warning == "its display matrix (which leaves no picture) is ignored"
        with pytest.raises(IrregularError, match="its display matrix is no quarter turn"):
            read_frame_table(path, stills=False, alive=lambda: None)

    @pytest.mark.parametrize(
        ("rotation", "turn"), [(0, (0, "")), (-90, (3, "")), (45, (0, "turn by 315 degrees clockwise"))]
    )
    def test_are_known_beside_data_that_pyav_cannot_list(self, rotation, turn):
        class Picture:
            @property
            def side_data(self):
                raise ValueError("31 is not a valid Type")

        picture = Picture()
        picture.rotation = rotation
        assert turn_of(picture) == turn

    def test_are_not_for_readers_that_turn_pictures_themselves(self, tmp_path):
        path = write_frames(tmp_path / "a.mp4", [half_seen(0)[..., :3]], codec="libx264", rotation_deg=45)
        with pytest.raises(IrregularError, match="its display matrix is no quarter turn"):
            read_frame_table(path, stills=False, alive=lambda: None)

    def test_of_the_reported_file_name_its_degrees(self, shared_data):
        chunks = read(shared_data / "field_reports" / "odd_rotation.mp4", SMALL)
        assert chunks[-1].warning == "its display matrix (turn by 232 degrees clockwise) is ignored"
        assert chunks[0].video.rotated_size_px == (320, 180)

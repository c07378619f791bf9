"""The contract of every reader: on regular files all return the same frames, and awkward ones are PyAV's alone.

A reader whose package is not installed is skipped by name, once a test.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from math import inf
from pathlib import Path

import av
import numpy as np
import pytest

import visil.media.chunks as chunks_module
import visil.media.readers as readers_module
from tests.media.made_files import SMALL, grey_frames, shown_frames, times_of, write_frames, write_grey
from visil.cli.main import run
from visil.defaults import READERS
from visil.errors import MediaError, VisilError
from visil.media.by_number import ByNumberReader, NumberedPictures
from visil.media.decoding import decode_files, read_frames
from visil.media.frame_table import FrameTable
from visil.media.preprocessing import PRESETS, Preprocessing
from visil.media.reader import CHUNK_SAMPLES, FrameReader
from visil.media.readers import check_reader, open_reader
from visil.synth.scenes import distinct_scenes, scene_pictures
from visil.values import Frames

EXTRAS = [name for name in READERS if name != "pyav"]
MAX_PIXEL_DIFFERENCE = 3.0  # grey levels, mean over a picture: decoders interpolate colour in different ways

# Of shared/data/hard_media, with what is special about them.
REGULAR_FILES = {
    "mp4_content.avi": "constant rate, H.264, a name that lies",
    "fps_120.mp4": "constant rate, 120 frames a second",
    "mjpeg.avi": "Motion JPEG",
    "vfr_uneven.mp4": "variable rate, H.264",
    "vfr_random.webm": "variable rate, VP8",
    "rotate_90_clockwise.mp4": "turned",
    "rotate_90_counterclockwise.mp4": "turned the other way",
    "rotate_180.mp4": "upside down",
    "percent%20d%03d.webm": "VP9, a name like a pattern",
    "sar_4_3.mp4": "pixels that are not square",
    "cover_art_before_video.mp4": "a cover picture comes first",
    "single_frame.mp4": "one frame",
    "日本語 видео é.mp4": "HEVC",
}
TORCHCODEC_FILES = {
    "hdr10_pq_hevc10.mp4": "10 bit, HEVC",
    "prores.mov": "10 bit, ProRes",
    "fragmented.mp4": "starts at 0.08 s",
    "edit_list_cut.mp4": "an edit list hides frames",
    "av1.mp4": "AV1",
}
REGULAR_VIDEOS = ("bbb_opening__mp4_30.mp4", "toy_table_crystal__webm.webm", "sign_a_help.mkv")  # of shared/data/videos


@pytest.fixture(params=EXTRAS)
def extra(request: pytest.FixtureRequest) -> str:
    """The name of each optional reader that is installed."""
    return _installed(request.param)


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> FrameReader:
    """Each reader that is installed."""
    return open_reader(_installed(request.param))


def _installed(name: str) -> str:
    if name in EXTRAS and importlib.util.find_spec(name) is None:
        pytest.skip(f'the {name} reader is not installed: pip install "visil[{name}]"')
    return name


def read_all(
    name: str, path: Path, preprocessing: Preprocessing = SMALL, span_s: tuple[float, float] | None = None
) -> list[Frames]:
    """All chunks of a file or of a part of it, decoded in this process."""
    return list(open_reader(name).read(path, preprocessing, span_s=span_s))


def assert_same_frames(found: list[Frames], expected: list[Frames]) -> None:
    """Equal chunks, times and facts; pictures that look the same."""
    assert [len(chunk) for chunk in found] == [len(chunk) for chunk in expected]
    assert times_of(found) == times_of(expected)
    assert found[-1].duration_s == expected[-1].duration_s
    assert {chunk.video for chunk in found} == {chunk.video for chunk in expected}
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.images.shape == theirs.images.shape
        difference = np.abs(ours.images.astype(int) - theirs.images).mean(axis=(1, 2, 3))
        assert difference.max() < MAX_PIXEL_DIFFERENCE


@pytest.fixture(scope="module")
def made_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of a made scene, 96 x 64: the kinds that every reader must read."""
    folder = tmp_path_factory.mktemp("readers")
    scene = distinct_scenes(np.random.default_rng(0), 1)[0]
    pictures = list(scene_pictures(scene, duration_s=4, fps=8, size_px=(96, 64)))
    uneven = [Fraction(k * k, 200) for k in range(len(pictures))]
    write_frames(folder / "constant.mp4", pictures, fps=8, codec="libx264")
    write_frames(folder / "variable.mp4", pictures, uneven, fps=8, codec="libx264")
    write_frames(folder / "turned.mp4", pictures, fps=8, codec="libx264", rotation_deg=90)
    write_frames(folder / "vp9.webm", pictures, fps=8, codec="libvpx-vp9")
    late = [3 + Fraction(k, 8) for k in range(len(pictures))]
    write_frames(folder / "late.mkv", pictures, late, fps=8, codec="libx264", sound_from_s=0)
    write_frames(folder / "ten_bit.mp4", pictures, fps=8, codec="libx264", pixel_format="yuv420p10le")
    write_frames(folder / "keys.mp4", pictures, fps=8, codec="libx264", codec_options={"g": "6"})
    open_groups = {"x264-params": "open-gop=1:keyint=8:min-keyint=8:bframes=3:b-adapt=0"}
    write_frames(folder / "open.mp4", pictures, fps=8, codec="libx264", codec_options=open_groups)
    return folder


class TestSameFrames:
    """On regular files an extra returns what PyAV returns."""

    @pytest.mark.parametrize("file", ["constant.mp4", "variable.mp4", "turned.mp4", "vp9.webm", "late.mkv"])
    def test_of_made_videos(self, extra, made_videos, file):
        assert_same_frames(read_all(extra, made_videos / file), read_all("pyav", made_videos / file))

    def test_of_ten_bits_with_torchcodec(self, made_videos):
        found = read_all(_installed("torchcodec"), made_videos / "ten_bit.mp4")
        assert_same_frames(found, read_all("pyav", made_videos / "ten_bit.mp4"))

    def test_of_open_groups_of_pictures_with_torchcodec(self, made_videos):
        every_frame = Preprocessing(fps=8, size_px=32)
        found = read_all(_installed("torchcodec"), made_videos / "open.mp4", every_frame)
        assert_same_frames(found, read_all("pyav", made_videos / "open.mp4", every_frame))

    @pytest.mark.parametrize("file", REGULAR_FILES)
    def test_of_awkward_but_regular_files(self, extra, shared_data, file):
        path = shared_data / "hard_media" / file
        whole = PRESETS["whole-frame"]
        assert_same_frames(read_all(extra, path, whole), read_all("pyav", path, whole))

    @pytest.mark.parametrize("file", TORCHCODEC_FILES)
    def test_of_files_that_decord_is_too_old_for_with_torchcodec(self, shared_data, file):
        path = shared_data / "hard_media" / file
        found = read_all(_installed("torchcodec"), path, PRESETS["whole-frame"])
        assert_same_frames(found, read_all("pyav", path, PRESETS["whole-frame"]))

    @pytest.mark.parametrize("file", REGULAR_VIDEOS)
    def test_of_real_videos(self, extra, shared_data, file):
        path = shared_data / "videos" / file
        assert_same_frames(
            read_all(extra, path, PRESETS["whole-frame"]), read_all("pyav", path, PRESETS["whole-frame"])
        )

    @pytest.mark.parametrize("preset", PRESETS)
    def test_for_every_preset(self, extra, made_videos, preset):
        path = made_videos / "turned.mp4"
        assert_same_frames(read_all(extra, path, PRESETS[preset]), read_all("pyav", path, PRESETS[preset]))

    @pytest.mark.parametrize("span_s", [(1.3, 3.0), (2.0, inf), (0.1, 0.2)])
    def test_of_a_part(self, extra, made_videos, span_s):
        path, whole = made_videos / "late.mkv", PRESETS["whole-frame"]
        assert_same_frames(read_all(extra, path, whole, span_s), read_all("pyav", path, whole, span_s))

    def test_of_key_frames(self, extra, made_videos):
        key_frames = Preprocessing(sampling="keyframes", fps=2, size_px=32)
        path = made_videos / "keys.mp4"
        found, expected = read_all(extra, path, key_frames), read_all("pyav", path, key_frames)
        assert_same_frames(found, expected)
        assert times_of(found) == [0, 0.75, 1.5, 2.25, 3, 3.75]


class TestContract:
    """What `FrameReader` promises, on frames whose picture says which one it is."""

    def test_a_sample_is_the_frame_shown_at_its_second(self, reader, tmp_path):
        chunks = list(reader.read(write_grey(tmp_path / "a.mp4", 38, fps=10, codec="libx264"), SMALL))
        assert shown_frames(chunks) == [0, 10, 20, 30]
        assert times_of(chunks) == [0, 1, 2, 3]
        assert chunks[-1].duration_s == pytest.approx(3.8)

    def test_a_long_video_comes_in_chunks(self, reader, tmp_path):
        path = write_grey(tmp_path / "a.mp4", CHUNK_SAMPLES + 3, fps=1, codec="libx264")
        chunks = list(reader.read(path, SMALL))
        assert [len(chunk) for chunk in chunks] == [CHUNK_SAMPLES, 3]
        assert shown_frames(chunks) == list(range(CHUNK_SAMPLES + 3))

    def test_a_short_video_is_sampled_more_densely(self, reader, tmp_path):
        path = write_grey(tmp_path / "a.mp4", 20, fps=10, codec="libx264")
        chunks = list(reader.read(path, Preprocessing(size_px=16, min_samples=5)))
        assert shown_frames(chunks) == [0, 4, 8, 12, 16]

    def test_a_part_that_begins_after_the_end_is_refused(self, reader, tmp_path):
        path = write_grey(tmp_path / "a.mp4", 20, fps=10, codec="libx264")
        with pytest.raises(MediaError, match=r"a\.mp4: the range begins at 2 s, the video ends at 2\.0 s"):
            list(reader.read(path, SMALL, span_s=(2, 3)))

    def test_a_video_of_which_the_sampler_takes_no_frame_is_refused(self, reader, tmp_path):
        path = write_grey(tmp_path / "a.mp4", 4, fps=10, codec="libx264")
        with pytest.raises(MediaError, match=r"a\.mp4: too short for the `ffmpeg` sampler: no frame is taken"):
            list(reader.read(path, Preprocessing(sampling="ffmpeg", size_px=16)))

    def test_of_more_samples_than_anybody_wants_the_first_are_kept(self, reader, tmp_path, monkeypatch):
        monkeypatch.setattr(chunks_module, "MAX_SAMPLES", 3)
        path = write_grey(tmp_path / "a.mp4", 40, fps=10, codec="libx264")
        (chunk,) = reader.read(path, SMALL)
        assert (shown_frames([chunk]), chunk.duration_s, chunk.cut_short) == ([0, 10, 20], 3, "too_large")
        assert chunk.warning == "it has more than 3 samples; kept up to 3.0 s"

    def test_every_sample_is_told_before_the_next_is_looked_for(self, reader, tmp_path):
        told: list[tuple[int, float, int]] = []
        path = write_grey(tmp_path / "a.mp4", 38, fps=10, codec="libx264")

        def sampled(number: int, sample: Frames) -> None:
            told.append((number, float(sample.times_s[0]), *shown_frames([sample])))

        (chunk,) = reader.read(path, replace(SMALL, bars="keep"), sampled=sampled)
        assert told == [(0, 0, 0), (1, 1, 10), (2, 2, 20), (3, 3, 30)]
        assert len(chunk) == 4

    def test_progress_is_told(self, reader, tmp_path):
        told: list[None] = []
        path = write_grey(tmp_path / "a.mp4", 20, fps=10, codec="libx264")
        list(reader.read(path, SMALL, alive=lambda: told.append(None)))
        assert told

    @pytest.mark.parametrize(
        ("content", "reason_class"), [(b"", "empty_file"), (b"no video at all, only words\n" * 99, "not_media")]
    )
    def test_what_is_no_video_is_refused_with_its_reason(self, reader, tmp_path, content, reason_class):
        path = tmp_path / "a.mp4"
        path.write_bytes(content)
        with pytest.raises(MediaError, match=r"a\.mp4: ") as refused:
            list(reader.read(path, SMALL))
        assert refused.value.reason_class == reason_class


class TestAwkwardFiles:
    """They are PyAV's alone: an extra says so instead of returning other frames."""

    @pytest.mark.parametrize(
        ("file", "reason"),
        [
            ("animated.gif", "it opens MP4, MOV, Matroska, WebM and AVI only"),
            ("late_first_timestamp.ts", "it opens MP4, MOV, Matroska, WebM and AVI only"),
            ("two_video_streams.mkv", "several video streams"),
            ("negative_first_timestamp.mkv", "a frame without a timestamp"),
            ("truncated_faststart.mp4", "damaged"),
            ("displaymatrix.mp4", "damaged"),
            ("empty_edit_5s.mp4", "an old x264 wrote it wrongly"),
            ("corrupted.mp4", "it cannot decode frame"),
        ],
    )
    def test_are_refused_and_pyav_named(self, extra, shared_data, file, reason):
        with pytest.raises(MediaError, match=rf"not for the {extra} reader \({reason}.*; the pyav reader reads it"):
            read_all(extra, shared_data / "hard_media" / file, PRESETS["whole-frame"])

    def test_decord_seeks_wrongly_in_open_groups_of_pictures(self, made_videos):
        with pytest.raises(MediaError, match="it seeks wrongly in open groups of pictures"):
            read_all(_installed("decord"), made_videos / "open.mp4")

    @pytest.mark.parametrize(
        ("file", "reason"),
        [
            ("edit_list_cut.mp4", "it counts 137 frames, the file has 77"),
            ("frag_overlap.mp4", "it counts 108 frames, the file has 96"),
            ("av1.mp4", "it cannot open it"),
            ("px_2x2.mp4", r"it gives frame 0 the shape \(2, 2, 48\)"),
        ],
    )
    def test_decord_would_get_wrong_are_refused(self, shared_data, file, reason):
        with pytest.raises(MediaError, match=reason):
            read_all(_installed("decord"), shared_data / "hard_media" / file)


class StubReader(ByNumberReader):
    """Fetches frames by number with PyAV, bends what it says as a test asks, and remembers what it opened."""

    name = "stub"
    failures = (ArithmeticError,)

    def __init__(self, *, extra_frames: int = 0, late_s: float = 0.0, crop_px: int = 0, fails: bool = False) -> None:
        self.extra_frames, self.late_s, self.crop_px, self.fails = extra_frames, late_s, crop_px, fails
        self.opened: list[Path] = []

    def open_pictures(self, path: Path, table: FrameTable) -> NumberedPictures:
        self.opened.append(path)
        return _StubPictures(self, path)


class _StubPictures:
    def __init__(self, reader: StubReader, path: Path) -> None:
        self._reader = reader
        with av.open(str(path)) as container:
            self._frames = list(container.decode(video=0))

    def __len__(self) -> int:
        return len(self._frames) + self._reader.extra_frames

    def fetch(self, number: int) -> tuple[float, np.ndarray]:
        if self._reader.fails:
            raise ZeroDivisionError
        frame = self._frames[number]
        pixels = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
        return frame.time - self._frames[0].time + self._reader.late_s, pixels[self._reader.crop_px :]


class TestByNumber:
    """The half of an extra that is ours, with a decoder that is always there."""

    @pytest.mark.parametrize("preset", PRESETS)
    @pytest.mark.parametrize("file", ["constant.mp4", "variable.mp4", "turned.mp4", "vp9.webm", "late.mkv", "open.mp4"])
    def test_gives_the_frames_of_pyav(self, made_videos, file, preset):
        path = made_videos / file
        found = list(StubReader().read(path, PRESETS[preset]))
        assert_same_frames(found, read_all("pyav", path, PRESETS[preset]))

    @pytest.mark.parametrize("span_s", [(1.3, 3.0), (2.0, inf)])
    def test_gives_the_part_of_pyav(self, made_videos, span_s):
        path = made_videos / "variable.mp4"
        found = list(StubReader().read(path, SMALL, span_s=span_s))
        assert_same_frames(found, read_all("pyav", path, SMALL, span_s))

    @pytest.mark.parametrize("span_s", [None, (1.3, 3.0)])
    def test_gives_the_key_frames_of_pyav(self, made_videos, span_s):
        path, keys = made_videos / "keys.mp4", Preprocessing(sampling="keyframes", size_px=32)
        found = list(StubReader().read(path, keys, span_s=span_s))
        assert_same_frames(found, read_all("pyav", path, keys, span_s))

    @pytest.mark.parametrize(
        ("lie", "reason"),
        [
            ({"extra_frames": 1}, "it counts 33 frames, the file has 32"),
            ({"late_s": 0.125}, r"it gives frame 0 the time 0\.125 s, not 0"),
            ({"crop_px": 2}, r"it gives frame 0 the shape \(62, 96, 3\)"),
            ({"fails": True}, "it cannot decode frame 0"),
        ],
    )
    def test_a_decoder_that_contradicts_the_packets_is_not_believed(self, made_videos, lie, reason):
        with pytest.raises(MediaError, match=rf"constant\.mp4: not for the stub reader \({reason}\); the pyav reader"):
            list(StubReader(**lie).read(made_videos / "constant.mp4", SMALL))

    def test_a_file_that_is_cut_within_its_last_frame_is_for_pyav(self, tmp_path):
        whole = write_grey(tmp_path / "a.mp4", 40, fps=10, codec="libx264", container_options={"movflags": "faststart"})
        path = tmp_path / "cut.mp4"
        path.write_bytes(whole.read_bytes()[:-10])
        with pytest.raises(MediaError, match=r"not for the stub reader \(damaged\); the pyav reader reads it"):
            list(StubReader().read(path, SMALL))

    @pytest.mark.parametrize("second_half", [b"", b"\x00\x00\x01\xba"])
    def test_a_playlist_never_reaches_the_decoder(self, made_videos, tmp_path, second_half):
        video = made_videos / "constant.mp4"
        path = tmp_path / "a.mp4"
        path.write_bytes(f"#EXTM3U\n#EXTINF:4,\n{video}\n#EXT-X-ENDLIST\n".encode() + second_half + video.read_bytes())
        reader = StubReader()
        with pytest.raises(MediaError, match=r"a\.mp4: "):
            list(reader.read(path, SMALL))
        assert not reader.opened

    def test_a_stream_that_could_hold_a_playlist_for_another_ffmpeg_never_reaches_the_decoder(self, tmp_path):
        path = write_grey(tmp_path / "a.ts", 20, fps=10, codec="libx264")
        assert read_all("pyav", path)
        reader = StubReader()
        with pytest.raises(MediaError, match="it opens MP4, MOV, Matroska, WebM and AVI only"):
            list(reader.read(path, SMALL))
        assert not reader.opened

    def test_a_still_picture_is_for_pyav(self, tmp_path):
        path = write_frames(tmp_path / "a.jpg", grey_frames(1), codec="mjpeg", container="image2")
        with pytest.raises(MediaError, match="the pyav reader reads it"):
            list(StubReader().read(path, SMALL, stills=True))


class TestReaderNames:
    def test_pyav_is_always_there_and_loads_nothing_else(self):
        program = (
            "import sys; from visil.media.readers import open_reader; open_reader('pyav')\n"
            "print({'torch', 'torchvision', 'decord', 'torchcodec'} & set(sys.modules))"
        )
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert ended.stdout == "set()\n"

    @pytest.mark.parametrize("ask", [check_reader, open_reader])
    def test_an_unknown_one_is_refused_with_those_there_are(self, ask):
        with pytest.raises(VisilError, match="no reader 'opencv'; there are: pyav, decord, torchcodec"):
            ask("opencv")

    @pytest.mark.parametrize("ask", [check_reader, open_reader])
    @pytest.mark.parametrize("name", EXTRAS)
    def test_one_that_is_not_installed_names_its_extra(self, monkeypatch, ask, name):
        monkeypatch.setattr(readers_module, "find_spec", lambda package: None)
        with pytest.raises(VisilError, match=rf'the {name} reader is not installed: pip install "visil\[{name}\]"'):
            ask(name)

    def test_a_command_that_asks_for_it_makes_no_library(self, monkeypatch, tmp_path, capsys):
        monkeypatch.setattr(readers_module, "find_spec", lambda package: None)
        video = write_grey(tmp_path / "a.mp4", 3, codec="libx264")
        assert run(["index", str(video), "--library", str(tmp_path / "library"), "--reader", "decord"]) == 2
        assert capsys.readouterr().err == 'visil: the decord reader is not installed: pip install "visil[decord]"\n'
        assert not (tmp_path / "library").exists()

    @pytest.mark.parametrize(
        ("name", "remedy"), [("decord", "use the pyav reader"), ("torchcodec", "apt-get install ffmpeg")]
    )
    def test_one_that_does_not_load_says_what_to_do(self, monkeypatch, name, remedy):
        monkeypatch.setattr(readers_module, "find_spec", lambda package: object())
        for module in (name, f"{name}.decoders"):
            monkeypatch.setitem(sys.modules, module, None)  # importing it raises ImportError
        with pytest.raises(VisilError, match=rf"{name} does not load.*{remedy}"):
            open_reader(name)


class TestInAWorker:
    def test_an_extra_decodes_there(self, extra, made_videos):
        found = list(read_frames(made_videos / "turned.mp4", SMALL, reader=extra))
        assert_same_frames(found, read_all("pyav", made_videos / "turned.mp4"))

    def test_one_that_is_not_installed_ends_the_run_and_fails_no_file(self, monkeypatch, made_videos):
        monkeypatch.setattr(readers_module, "find_spec", lambda package: None)
        with pytest.raises(VisilError, match=r"the decord reader is not installed") as refused:
            list(decode_files([made_videos / "turned.mp4"], SMALL, workers=1, reader="decord"))
        assert not isinstance(refused.value, MediaError)

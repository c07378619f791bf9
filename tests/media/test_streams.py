"""Which of several video streams is read: FFmpeg's choice, never a thumbnail; a full one that is left out is named."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from math import inf
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.stream import Disposition

import visil.media.opening as opening_module
from tests.media.made_files import SMALL, grey_frames, read, shown_frames, times_of
from visil.media.frame_table import IrregularError, read_frame_table
from visil.media.opening import open_video
from visil.media.pyav_reader import PyAVReader

FILM = grey_frames(30)
OTHER = [255 - picture for picture in grey_frames(30)]
LEFT_OUT = "another video stream is left out"


def write_streams(path: Path, streams: Sequence[tuple[str, Sequence[np.ndarray]]], *, default: int) -> Path:
    """Several streams of (codec, pictures), ten pictures a second, one of them the default."""
    with av.open(str(path), "w") as output:
        added = []
        for number, (codec, pictures) in enumerate(streams):
            stream = output.add_stream(codec, rate=10)
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if codec == "libx264":
                stream.options = {"crf": "10", "preset": "ultrafast", "g": "10"}
            stream.disposition = Disposition.default if number == default else Disposition(0)
            added.append(stream)
        for at_once in zip_longest(*(pictures for _, pictures in streams)):
            for stream, picture in zip(added, at_once, strict=True):
                if picture is not None:
                    output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream in added:
            output.mux(stream.encode())
    return path


class TestWhichIsRead:
    @pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
    @pytest.mark.parametrize("in_full", [False, True])
    def test_the_film_behind_a_thumbnail_to_its_last_frame(self, tmp_path, name, in_full):
        path = write_streams(tmp_path / name, [("mjpeg", OTHER[:1]), ("libx264", FILM)], default=1)
        chunks = list(PyAVReader(in_full=in_full).read(path, SMALL))
        assert (shown_frames(chunks), times_of(chunks)) == ([0, 10, 20], [0, 1, 2])
        assert chunks[-1].duration_s == pytest.approx(3)
        assert chunks[-1].warning == ""

    def test_the_longer_one_where_none_is_the_default(self, tmp_path):
        path = write_streams(tmp_path / "a.ts", [("libx264", OTHER[:2]), ("libx264", FILM)], default=-1)
        assert shown_frames(read(path)) == [0, 10, 20]

    def test_the_default_one_of_two_that_are_full(self, tmp_path):
        path = write_streams(tmp_path / "a.mkv", [("libx264", OTHER), ("libx264", FILM)], default=1)
        assert shown_frames(read(path)) == [0, 10, 20]

    def test_never_a_cover_picture_even_if_ffmpeg_chose_it(self, shared_data, monkeypatch):
        path = shared_data / "hard_media" / "cover_art_before_video.mp4"
        opened = opening_module._opened(path)
        film, cover = opened.streams.video
        assert cover.disposition & Disposition.attached_pic
        choosing = SimpleNamespace(video=(film, cover), best=lambda kind: cover)
        container = SimpleNamespace(streams=choosing, format=opened.format, close=opened.close)
        monkeypatch.setattr(opening_module, "_opened", lambda path, packet_s: container)
        assert open_video(path)[1].index == film.index
        opened.close()

    @pytest.mark.parametrize(
        ("name", "end_s"),
        [
            ("thumbnail_first.mp4", 8),
            ("thumbnail_first.mov", 8),
            ("menu_then_film.ts", 8),
            ("front_and_rear.mp4", 6),
        ],
    )
    def test_the_film_of_reported_files(self, shared_data, name, end_s):
        chunks = read(shared_data / "field_reports" / name)
        assert times_of(chunks) == list(range(end_s))
        assert chunks[-1].duration_s == pytest.approx(end_s, abs=0.01)
        assert chunks[-1].warning == (LEFT_OUT if name == "front_and_rear.mp4" else "")


class TestWhatIsLeftOut:
    @pytest.mark.parametrize(
        ("others", "warning"),
        [
            ([30], LEFT_OUT),
            ([15], LEFT_OUT),
            ([14], ""),
            ([1], ""),
            ([30, 20, 5], "2 video streams are left out"),
        ],
    )
    @pytest.mark.parametrize("in_full", [False, True])
    def test_is_told_if_it_has_half_as_many_pictures(self, tmp_path, others, warning, in_full):
        streams = [("libx264", FILM), *(("libx264", OTHER[:count]) for count in others)]
        path = write_streams(tmp_path / "a.mkv", streams, default=0)
        assert list(PyAVReader(in_full=in_full).read(path, SMALL))[-1].warning == warning

    @pytest.mark.parametrize(
        ("others", "warning"), [([30], LEFT_OUT), ([1], ""), ([30, 20], "2 video streams are left out")]
    )
    @pytest.mark.parametrize("in_full", [False, True])
    @pytest.mark.parametrize("span_s", [(0, 1.5), (1, 2), (1, inf)])
    def test_is_told_of_a_part_too(self, tmp_path, others, warning, in_full, span_s):
        streams = [("libx264", FILM), *(("libx264", OTHER[:count]) for count in others)]
        path = write_streams(tmp_path / "a.mkv", streams, default=0)
        assert list(PyAVReader(in_full=in_full).read(path, SMALL, span_s=span_s))[-1].warning == warning

    @pytest.mark.parametrize("in_full", [False, True])
    def test_may_be_longer_as_the_header_promises(self, tmp_path, in_full):
        path = write_streams(tmp_path / "a.mkv", [("libx264", FILM[:20]), ("libx264", [*OTHER, *OTHER])], default=0)
        assert list(PyAVReader(in_full=in_full).read(path, SMALL))[-1].warning == LEFT_OUT

    @pytest.mark.parametrize("in_full", [False, True])
    def test_excuses_no_file_that_is_cut(self, tmp_path, in_full):
        path = write_streams(tmp_path / "a.mkv", [("libx264", FILM), ("libx264", OTHER)], default=0)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        warning = list(PyAVReader(in_full=in_full).read(path, SMALL))[-1].warning
        assert "s of the 3.0 s that its header promises" in warning

    def test_is_not_for_readers_that_find_the_stream_themselves(self, tmp_path):
        path = write_streams(tmp_path / "a.mkv", [("libx264", FILM), ("libx264", OTHER)], default=0)
        with pytest.raises(IrregularError, match="several video streams"):
            read_frame_table(path, stills=False, alive=lambda: None)

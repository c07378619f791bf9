"""Whether an earlier visil can have read a file wrongly is told without decoding it; only a doubt may be wrong."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

import visil.media.probing as probing
from tests.media.made_files import SMALL, grey_frames, read, write_frames, write_grey
from visil.errors import MediaError
from visil.media.decoding import DecodeEnd, probe_files
from visil.media.probing import ALPHA, LEFT_OUT, NO_TIME, OTHER_STREAM, TIMES, TURN, doubt
from visil.synth.remuxing import odd_clock, restamped

# What an earlier visil read wrongly or without a word, and why that is told; None: any doubt will do.
FIELD_REPORTS = {
    "clock_restarts.ts": None,
    "one_frame_late.mp4": TIMES,
    "one_frame_late.ts": TIMES,
    "gap.mkv": TIMES,
    "thumbnail_first.mp4": OTHER_STREAM,
    "thumbnail_first.mov": OTHER_STREAM,
    "menu_then_film.ts": OTHER_STREAM,
    "front_and_rear.mp4": LEFT_OUT,
    "hidden_under_alpha.mov": ALPHA,
    "odd_rotation.mp4": TURN,
}
X264 = {"codec": "libx264"}
B_FRAMES = {"codec": "libx264", "codec_options": {"preset": "medium", "threads": "1"}}


def steps(*seconds: float) -> list[Fraction]:
    """Times from 0 on with these steps."""
    times_s = [Fraction(0)]
    for step_s in seconds:
        times_s.append(times_s[-1] + Fraction(str(step_s)))
    return times_s


class TestTimes:
    @pytest.mark.parametrize(
        ("suffix", "options"), [(".mp4", X264), (".mp4", B_FRAMES), (".mkv", B_FRAMES), (".ts", X264)]
    )
    def test_regular_ones_are_believed(self, tmp_path, suffix, options):
        assert doubt(write_grey(tmp_path / f"a{suffix}", 100, **options), SMALL) == ""

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    @pytest.mark.parametrize(
        ("options", "step_s", "expected"), [(X264, 50, ""), (X264, 70, TIMES), (B_FRAMES, 70, TIMES)]
    )
    def test_a_picture_that_is_held_for_more_than_a_minute_is_not(self, tmp_path, suffix, options, step_s, expected):
        times_s = steps(*[0.04] * 30, step_s, *[0.04] * 30)
        write_frames(tmp_path / f"a{suffix}", grey_frames(62), times_s, **options)
        assert doubt(tmp_path / f"a{suffix}", SMALL) == expected

    def test_nor_one_that_is_more_than_sixty_samples(self, tmp_path):
        path = write_frames(tmp_path / "a.mp4", grey_frames(12), steps(*[1] * 5, 40, *[1] * 5), **X264)
        assert doubt(path, SMALL) == ""
        assert doubt(path, replace(SMALL, fps=2)) == TIMES
        assert doubt(path, replace(SMALL, fps=2, sampling="keyframes")) == ""

    def test_nor_the_last_picture_if_it_is_held_for_so_long(self, tmp_path):
        path = tmp_path / "a.mp4"
        source = write_grey(tmp_path / "source.mp4", 10, **X264)
        with av.open(str(source)) as given, av.open(str(path), "w") as made:
            stream = made.add_stream_from_template(given.streams.video[0])
            packets = [packet for packet in given.demux() if packet.size]
            for packet in packets:
                packet.stream = stream
                if packet is packets[-1]:
                    packet.duration = round(100 / packet.time_base)
                made.mux(packet)
        assert doubt(path, SMALL) == TIMES

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    def test_pictures_of_a_second_that_are_decoded_out_of_order_are_believed(self, tmp_path, suffix):
        path = write_frames(tmp_path / f"a{suffix}", grey_frames(40), steps(*[1] * 39), fps=1, **B_FRAMES)
        assert doubt(path, SMALL) == ""

    @pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
    @pytest.mark.parametrize("options", [X264, B_FRAMES], ids=["in order", "out of order"])
    @pytest.mark.parametrize("late_s", [5, -5, 30, 3 * 3600])
    def test_one_picture_that_is_late_or_early_is_not(self, tmp_path, container, options, late_s):
        content = write_grey(tmp_path / "source.mkv", 200, **options).read_bytes()
        made = restamped(content, container, lambda times_s: [t + late_s * (k == 150) for k, t in enumerate(times_s)])
        (tmp_path / "a").write_bytes(made)
        assert doubt(tmp_path / "a", SMALL) == TIMES

    @pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
    @pytest.mark.parametrize("options", [X264, B_FRAMES], ids=["in order", "out of order"])
    def test_a_clock_that_restarts_is_not(self, tmp_path, container, options):
        content = write_grey(tmp_path / "source.mkv", 100, **options).read_bytes()
        made = restamped(content, container, lambda times_s: [t - 2 * (k >= 60) for k, t in enumerate(times_s)])
        (tmp_path / "a").write_bytes(made)
        assert doubt(tmp_path / "a", SMALL) == TIMES

    def test_where_there_is_no_doubt_the_clock_changes_nothing(self, tmp_path):
        sources = [
            write_grey(tmp_path / f"{rate}{kind}.mkv", 60, fps=rate, **options).read_bytes()
            for rate in (1, 4, 25)
            for kind, options in (("in", X264), ("out", B_FRAMES))
        ]
        num_sound = 0
        for seed in range(60):
            path = tmp_path / f"{seed}.video"
            path.write_bytes(odd_clock(sources[seed % len(sources)], sources, np.random.default_rng(seed)))
            if not doubt(path, SMALL):
                num_sound += 1
                last = read(path)[-1]
                assert "clock" not in last.warning and "believed" not in last.warning, (seed, last.warning)
        assert num_sound >= 5

    def test_packets_without_times_are_not(self, tmp_path):
        assert doubt(write_grey(tmp_path / "a.h264", 50, container="h264", **X264), SMALL) == NO_TIME


class TestHeaders:
    @pytest.mark.parametrize(("name", "expected"), FIELD_REPORTS.items())
    def test_reported_files_are_in_doubt(self, shared_data, name, expected):
        found = doubt(shared_data / "field_reports" / name, SMALL)
        assert found if expected is None else found == expected

    def test_so_is_what_may_be_transparent(self, tmp_path):
        path = write_grey(tmp_path / "a.mov", 5, codec="qtrle", pixel_format="argb")
        assert doubt(path, SMALL) == ALPHA

    @pytest.mark.parametrize(("degrees", "expected"), [(0, ""), (90, ""), (180, ""), (45, TURN)])
    def test_so_is_a_turn_that_is_no_quarter(self, tmp_path, degrees, expected):
        assert doubt(write_grey(tmp_path / "a.mp4", 30, rotation_deg=degrees, **X264), SMALL) == expected

    def test_what_is_no_video_is_an_error(self, tmp_path):
        (tmp_path / "a.mp4").write_text("no video")
        with pytest.raises(MediaError, match="not a video"):
            doubt(tmp_path / "a.mp4", SMALL)


class TestCost:
    def test_of_an_mp4_the_packets_are_not_read(self, tmp_path, monkeypatch):
        path = write_grey(tmp_path / "a.mp4", 500, **B_FRAMES)
        seen = []
        found = probing.found_packets
        monkeypatch.setattr(
            probing,
            "found_packets",
            lambda *a, **o: (seen.append(packet) or packet for packet in found(*a, **o)),
        )
        assert doubt(path, SMALL) == ""
        assert 0 < len(seen) < 50


def test_many_files_are_probed_by_workers_and_none_ends_another(tmp_path):
    write_grey(tmp_path / "sound.mp4", 30, **X264)
    write_grey(tmp_path / "alpha.mov", 5, codec="qtrle", pixel_format="argb")
    (tmp_path / "text.mp4").write_text("no video")
    paths = [tmp_path / name for name in ("sound.mp4", "alpha.mov", "text.mp4", "gone.mp4")]
    ends = dict(probe_files(paths, SMALL, workers=2))
    assert (ends[0], ends[1]) == (DecodeEnd(None), DecodeEnd(None, ALPHA))
    assert [ends[k].error.reason_class for k in (2, 3)] == ["not_media", "unreadable"]


def test_hard_files_never_end_a_worker(shared_data):
    paths = sorted(path for path in (shared_data / "hard_media").iterdir() if path.is_file())
    ends = [end for _, end in probe_files(paths, SMALL, workers=2)]
    assert len(ends) == len(paths)
    assert not {end.error.reason_class for end in ends if end.error is not None} & {"crashed", "stalled", "unreadable"}


def test_nearly_all_real_videos_are_known_to_be_sound(shared_data):
    suffixes = (".mp4", ".mkv", ".webm", ".gif", ".mov", ".m4v", ".avi")
    paths = sorted(path for path in (shared_data / "videos").iterdir() if path.suffix in suffixes)
    ends = dict(probe_files(paths, SMALL, workers=2))
    doubtful = [path.name for index, path in enumerate(paths) if ends[index] != DecodeEnd(None)]
    assert len(doubtful) <= 0.05 * len(paths), doubtful

"""Reading real files: every kind of awkwardness that strangers' videos bring along."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

import visil.media.chunks as chunks_module
import visil.media.one_pass as one_pass_module
import visil.media.opening as opening_module
import visil.media.pyav_reader as reader_module
from tests.media.made_files import (
    SMALL,
    grey_frames,
    read,
    shown_frames,
    times_of,
    write_frames,
    write_grey,
)
from visil.errors import DataError, MediaError
from visil.media.one_pass import Decoding
from visil.media.preprocessing import PRESETS, Preprocessing
from visil.media.pyav_reader import PyAVReader
from visil.media.reader import CHUNK_SAMPLES

NATIVE = Preprocessing(size_rule="short-side", size_px=48, min_samples=1)  # 64 x 48 pictures stay as they are


class TestTimes:
    @pytest.mark.parametrize(
        ("name", "codec"),
        [("a.mkv", "ffv1"), ("a.mp4", "libx264"), ("a.mov", "libx264"), ("a.avi", "mjpeg"), ("a.webm", "libvpx")],
    )
    def test_a_sample_is_the_frame_shown_at_its_second_in_every_container(self, tmp_path, name, codec):
        chunks = read(write_grey(tmp_path / name, 38, fps=10, codec=codec))
        assert shown_frames(chunks) == [0, 10, 20, 30]
        assert times_of(chunks) == [0, 1, 2, 3]
        assert chunks[-1].duration_s == pytest.approx(3.8)

    def test_b_frames_come_in_the_order_of_their_times(self, tmp_path):
        path = write_frames(tmp_path / "a.mp4", grey_frames(40), fps=10, codec="mpeg4")
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=10, options={"bf": "3", "g": "40", "crf": "5"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for picture in grey_frames(40):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(stream.encode())
        chunks = read(path, Preprocessing(fps=10, size_px=16, min_samples=1))
        assert shown_frames(chunks) == list(range(40))

    def test_the_last_frame_of_a_second_is_the_one_before_the_next_begins(self, tmp_path):
        path = write_frames(tmp_path / "a.mkv", grey_frames(4), [0, 0.999, 1.001, 2.5], fps=10)
        assert shown_frames(read(path)) == [0, 1, 2]

    def test_variable_rate_goes_by_timestamps(self, tmp_path):
        path = write_frames(tmp_path / "a.mkv", grey_frames(6), [0, 0.2, 0.4, 3.5, 3.6, 4.0], fps=10)
        chunks = read(path)
        assert shown_frames(chunks) == [0, 2, 2, 2, 5]
        assert chunks[-1].duration_s == pytest.approx(4.1)

    def test_one_frame_every_five_seconds_is_shown_in_five_samples(self, tmp_path):
        chunks = read(write_grey(tmp_path / "a.mkv", 3, fps=Fraction(1, 5)))
        assert shown_frames(chunks) == [0] * 5 + [1] * 5 + [2] * 5

    @pytest.mark.parametrize(("name", "options"), [("a.mkv", {}), ("a.ts", {"codec": "libx264"})])
    def test_a_late_first_timestamp_is_an_offset_not_a_gap(self, tmp_path, name, options):
        path = write_grey(tmp_path / name, 25, times_s=[100 + Fraction(k, 10) for k in range(25)], fps=10, **options)
        chunks = read(path)
        assert shown_frames(chunks) == [0, 10, 20]
        assert times_of(chunks) == [0, 1, 2]
        assert chunks[0].video.start_offset_s == pytest.approx(100, abs=0.2)

    def test_a_frame_that_is_not_later_than_the_one_before_is_dropped(self, tmp_path, monkeypatch):
        stamps = iter([0, 1, 1, Fraction(1, 2), 2, 3])
        monkeypatch.setattr(Decoding, "_timestamp_s", lambda self, frame: Fraction(next(stamps)))
        chunks = read(write_grey(tmp_path / "a.mkv", 6, fps=1))
        assert (shown_frames(chunks), times_of(chunks)) == ([0, 1, 4, 5], [0, 1, 2, 3])

    def test_a_frame_without_a_timestamp_follows_one_frame_later(self, tmp_path, monkeypatch):
        stamps = iter([0, None, None, 5, None])
        monkeypatch.setattr(Decoding, "_timestamp_s", lambda self, frame: next(stamps))
        chunks = read(write_grey(tmp_path / "a.mkv", 5, fps=Fraction(1, 2)))
        assert shown_frames(chunks) == [0, 0, 1, 1, 2, 3, 3, 4, 4]  # frame 2 begins at 4 s, is over at 5 s
        assert chunks[-1].duration_s == 9

    def test_a_gif_is_a_video(self, tmp_path):
        chunks = read(write_grey(tmp_path / "a.gif", 25, fps=10, codec="gif"))
        assert shown_frames(chunks) == [0, 10, 20]

    def test_a_single_frame_gives_one_sample(self, tmp_path):
        chunks = read(write_grey(tmp_path / "a.mp4", 1, codec="libx264"))
        assert (shown_frames(chunks), times_of(chunks)) == ([0], [0])

    def test_a_raw_stream_without_timestamps_counts_its_frames(self, tmp_path):
        path = write_grey(tmp_path / "a.h264", 60, fps=25, codec="libx264", container="h264")
        chunks = read(path)
        assert shown_frames(chunks) in ([0, 25, 10], [0, 25])  # frame 50 is grey level 10 again

    def test_sound_does_not_move_the_pictures(self, tmp_path):
        path = write_grey(
            tmp_path / "a.mkv", 25, times_s=[3 + Fraction(k, 10) for k in range(25)], fps=10, sound_from_s=0
        )
        chunks = read(path)
        assert shown_frames(chunks) == [0, 10, 20]
        assert chunks[0].video.start_offset_s == pytest.approx(3)


class TestPublishedSamplers:
    def test_opencv_takes_every_step_th_frame_as_published(self, tmp_path):
        path = write_grey(tmp_path / "a.avi", 130, fps=25, codec="mjpeg")
        chunks = read(path, PRESETS["paper-visil"])
        assert shown_frames(chunks) == [k % 40 for k in (0, 25, 50, 75, 100, 125)]
        assert chunks[0].images.shape[1:] == (224, 224, 3)

    def test_ffmpeg_takes_the_middle_of_every_second_as_published(self, tmp_path):
        path = write_grey(tmp_path / "a.avi", 130, fps=25, codec="mjpeg")
        assert shown_frames(read(path, PRESETS["paper-s2vs"])) == [k % 40 for k in (12, 37, 62, 87, 112)]

    def test_ffmpeg_counts_from_the_earliest_stream(self, tmp_path):
        late = [Fraction(3, 10) + Fraction(k, 25) for k in range(130)]
        path = write_grey(tmp_path / "a.mkv", 130, times_s=late, fps=25, sound_from_s=0)
        assert shown_frames(read(path, PRESETS["paper-s2vs"]))[:3] == [4, 29, 54 % 40]

    def test_ffmpeg_takes_nothing_from_less_than_half_a_second(self, tmp_path):
        path = write_grey(tmp_path / "a.avi", 12, fps=25, codec="mjpeg")
        with pytest.raises(MediaError, match=r"a\.avi: too short for the `ffmpeg` sampler: no frame is taken"):
            read(path, PRESETS["paper-s2vs"])

    def test_opencv_refuses_what_the_published_code_divides_by_zero_on(self, tmp_path):
        path = write_grey(tmp_path / "a.mkv", 3, fps=Fraction(1, 5))
        with pytest.raises(MediaError, match="too few for the `opencv` sampler"):
            read(path, PRESETS["paper-visil"])

    def test_fewest_samples_are_for_sampling_by_time_only(self, tmp_path):
        path = write_grey(tmp_path / "a.avi", 130, fps=25, codec="mjpeg")
        for sampling in ("opencv", "ffmpeg"):
            asked = Preprocessing(sampling=sampling, min_samples=32, size_px=16)
            assert times_of(read(path, asked)) == times_of(read(path, Preprocessing(sampling=sampling, min_samples=1)))


class TestFewestSamples:
    @pytest.mark.parametrize("min_samples", [4, 8, 13])
    def test_a_short_clip_is_sampled_evenly_over_its_length(self, tmp_path, min_samples):
        path = write_grey(tmp_path / "a.mkv", 30, fps=10)
        chunks = read(path, Preprocessing(size_px=16, min_samples=min_samples))
        assert times_of(chunks) == pytest.approx([3 * k / min_samples for k in range(min_samples)])
        assert shown_frames(chunks) == [int(30 * k / min_samples + 1e-9) for k in range(min_samples)]

    def test_never_more_samples_than_decoded_frames(self, tmp_path):
        path = write_grey(tmp_path / "a.mkv", 5, fps=10)
        chunks = read(path, Preprocessing(size_px=16, min_samples=8))
        assert shown_frames(chunks) == [0, 1, 2, 3, 4]

    def test_a_clip_that_is_long_enough_is_sampled_at_its_rate(self, tmp_path):
        path = write_grey(tmp_path / "a.mkv", 30, fps=10)
        assert times_of(read(path, Preprocessing(size_px=16, min_samples=3))) == [0, 1, 2]

    def test_few_frames_over_a_long_time_are_not_repeated_more_than_the_rate_asks_for(self, tmp_path):
        path = write_grey(tmp_path / "a.mkv", 2, fps=Fraction(1, 2))
        assert shown_frames(read(path, Preprocessing(size_px=16, min_samples=8))) == [0, 0, 1, 1]


class TestRanges:
    """A part of a video, in seconds since its first shown frame."""

    @pytest.mark.parametrize(
        ("span_s", "times_s", "frames", "end_s"),
        [
            ((2, 5), [2, 3, 4], [20, 30, 0], 5),
            ((1.25, 3.5), [1.25, 2.25, 3.25], [12, 22, 32], 3.5),
            ((2.95, 3), [2.95], [29], 3),
            ((4, 100), [4, 5], [0, 10], 6),
            ((4.5, float("inf")), [4.5, 5.5], [5, 15], 6),
            ((0, 2), [0, 1], [0, 10], 2),
        ],
    )
    def test_samples_follow_its_start_and_lie_before_its_end(self, tmp_path, span_s, times_s, frames, end_s):
        late = [100 + Fraction(k, 10) for k in range(60)]
        path = write_grey(tmp_path / "a.mkv", 60, times_s=late, fps=10)
        chunks = read(path, span_s=span_s)
        assert (times_of(chunks), shown_frames(chunks)) == (times_s, frames)
        assert chunks[-1].duration_s == pytest.approx(end_s)
        assert chunks[-1].video.start_offset_s == pytest.approx(100)

    def test_a_short_one_is_sampled_evenly_over_its_length(self, tmp_path):
        path = write_grey(tmp_path / "a.mkv", 60, fps=10)
        chunks = read(path, Preprocessing(size_px=16, min_samples=4), span_s=(3, 5))
        assert (times_of(chunks), shown_frames(chunks)) == ([3, 3.5, 4, 4.5], [30, 35, 0, 5])

    def test_one_of_few_frames_gives_no_more_samples_than_it_shows(self, tmp_path):
        path = write_grey(tmp_path / "a.mkv", 60, fps=10)
        assert shown_frames(read(path, Preprocessing(size_px=16), span_s=(3, 3.3))) == [30, 31, 32]

    @pytest.mark.parametrize("sampling", ["opencv", "ffmpeg"])
    def test_the_published_samplers_take_it_for_a_video_of_its_own(self, tmp_path, sampling):
        path = write_grey(tmp_path / "a.mkv", 60, fps=10)
        chunks = read(path, Preprocessing(sampling=sampling, size_px=16, min_samples=1), span_s=(1, 4))
        assert shown_frames(chunks) == {"opencv": [10, 20, 30], "ffmpeg": [14, 24, 34]}[sampling]

    def test_one_that_begins_after_the_end_is_an_error_that_says_both(self, tmp_path):
        path = write_grey(tmp_path / "a.mkv", 42, fps=10)
        with pytest.raises(MediaError, match=r"a\.mkv: the range begins at 4\.2 s, the video ends at 4\.2 s"):
            read(path, span_s=(4.2, 9))

    @pytest.mark.parametrize("span_s", [(1e12, 1e13), (1e15, 1e16), (1e300, float("inf")), (1e307, 1.7e308)])
    def test_so_is_one_that_begins_ages_after_it(self, tmp_path, span_s):
        path = write_grey(tmp_path / "a.mp4", 42, fps=10, codec="libx264")
        expected = re.escape(f"{path}: the range begins at {span_s[0]:g} s, the video ends at 4.2 s")
        with pytest.raises(MediaError, match=expected):
            read(path, span_s=span_s)

    @pytest.mark.parametrize("span_s", [(3, 3), (5, 2), (-1, 2)])
    def test_one_that_cannot_be_is_refused(self, tmp_path, span_s):
        with pytest.raises(DataError, match="a range must begin at 0 s or later and end after its beginning"):
            read(write_grey(tmp_path / "a.mkv", 5), span_s=span_s)

    def test_nothing_is_decoded_beyond_its_end(self, tmp_path, monkeypatch):
        path = write_grey(tmp_path / "a.mkv", 60, fps=10)
        give_up_after(monkeypatch, 30, av.error.PatchWelcomeError(0, "not implemented"))
        assert read(path, span_s=(0, 2))[-1].warning == ""


class TestKeyFrames:
    KEYS = Preprocessing(sampling="keyframes", size_px=16, min_samples=8)

    def test_they_alone_are_samples_at_their_own_times(self, tmp_path):
        path = write_grey(tmp_path / "a.mp4", 50, fps=10, codec="libx264", codec_options={"g": "12", "bf": "3"})
        chunks = read(path, self.KEYS)
        assert shown_frames(chunks) == [0, 12, 24, 36, 8]
        assert times_of(chunks) == pytest.approx([0, 1.2, 2.4, 3.6, 4.8])
        assert chunks[-1].duration_s == pytest.approx(5)
        assert chunks[-1].warning == ""

    @pytest.mark.parametrize("in_full", [False, True])
    def test_a_part_begins_with_the_one_before_it(self, tmp_path, in_full):
        path = write_grey(tmp_path / "a.mp4", 200, fps=10, codec="libx264", codec_options={"g": "50"})
        chunks = list(PyAVReader(in_full=in_full).read(path, self.KEYS, span_s=(7, 18)))
        assert shown_frames(chunks) == [k % 40 for k in (50, 100, 150)]
        assert times_of(chunks) == [7, 10, 15]
        assert chunks[-1].duration_s == 18

    def test_of_those_in_one_slot_the_first_is_taken(self, tmp_path):
        path = write_grey(tmp_path / "a.mkv", 35, fps=10, codec="mjpeg")  # all of them are
        assert shown_frames(read(path, self.KEYS)) == [0, 10, 20, 30]
        assert shown_frames(read(path, replace(self.KEYS, fps=0.5))) == [0, 20]

    def test_the_first_shown_frame_is_one_even_if_the_container_hides_its_key_frame(self, shared_data):
        path = shared_data / "hard_media/edit_list_cut.mp4"
        by_time, keys = read(path), read(path, self.KEYS)
        assert times_of(keys)[0] == 0
        np.testing.assert_array_equal(keys[0].images[0], by_time[0].images[0])
        assert keys[-1].duration_s == by_time[-1].duration_s


class TestChunks:
    def test_a_long_video_arrives_in_chunks_none_of_which_is_larger_than_agreed(self, tmp_path):
        path = write_grey(tmp_path / "a.mkv", 100, fps=1)
        chunks = read(path)
        assert [len(chunk) for chunk in chunks] == [CHUNK_SAMPLES, CHUNK_SAMPLES, CHUNK_SAMPLES, 4]
        assert shown_frames(chunks) == [k % 40 for k in range(100)]
        assert times_of(chunks) == list(range(100))
        assert chunks[-1].duration_s == 100

    def test_a_chunk_is_there_before_the_rest_of_the_file_is_decoded(self, tmp_path, monkeypatch):
        path = write_grey(tmp_path / "a.mkv", 100, fps=1)
        decoded = []
        picture = reader_module.input_picture
        monkeypatch.setattr(reader_module, "input_picture", lambda *args: decoded.append(0) or picture(*args))
        chunks = PyAVReader().read(path, SMALL)
        next(chunks)
        assert len(decoded) <= CHUNK_SAMPLES + 1
        chunks.close()

    def test_a_video_of_exactly_one_chunk_is_one_chunk(self, tmp_path):
        path = write_grey(tmp_path / "a.mkv", CHUNK_SAMPLES, fps=1)
        assert [len(chunk) for chunk in read(path)] == [CHUNK_SAMPLES]

    def test_timestamps_that_span_ages_are_no_flood_of_samples(self, tmp_path):
        path = write_frames(tmp_path / "a.mkv", grey_frames(2), [0, 1_000_000])
        assert shown_frames(read(path)) == [0]

    @pytest.mark.parametrize("in_full", [True, False])
    def test_a_video_that_is_longer_than_any_is_kept_up_to_the_limit(self, tmp_path, monkeypatch, in_full):
        monkeypatch.setattr(one_pass_module, "MAX_SPAN_S", 3600)
        times_s = [48.5 * k for k in range(80)]
        path = write_frames(tmp_path / "a.mp4", grey_frames(80), times_s, codec="libx264")
        seldom = replace(SMALL, fps=0.01)
        chunks = list(PyAVReader(in_full=in_full).read(path, seldom))
        assert times_of(chunks) == [100 * k for k in range(36)]
        assert shown_frames(chunks) == [int(100 * k / 48.5) % 40 for k in range(36)]
        assert (chunks[-1].duration_s, chunks[-1].cut_short) == (3600, "too_large")
        assert chunks[-1].warning == "only its first 1 hours were read"

    @pytest.mark.parametrize("in_full", [True, False])
    @pytest.mark.parametrize("preprocessing", [replace(SMALL, fps=0.01), replace(SMALL, sampling="keyframes")])
    def test_one_whose_last_frame_is_held_beyond_the_limit_is_whole(
        self, tmp_path, monkeypatch, preprocessing, in_full
    ):
        path = with_long_last_frame(write_grey(tmp_path / "a.mp4", 60, fps=1, codec="libx264"), 600)
        reader = PyAVReader(in_full=in_full)
        monkeypatch.setattr(one_pass_module, "MAX_SPAN_S", 60)
        last = list(reader.read(path, preprocessing))[-1]
        assert (last.duration_s, last.cut_short, last.warning) == (60, "", "")
        monkeypatch.setattr(one_pass_module, "MAX_SPAN_S", 59)
        last = list(reader.read(path, preprocessing))[-1]
        assert (last.duration_s, last.cut_short) == (59, "too_large")

    @pytest.mark.parametrize("in_full", [True, False])
    def test_of_more_samples_than_anybody_wants_the_first_are_kept(self, tmp_path, monkeypatch, in_full):
        monkeypatch.setattr(chunks_module, "MAX_SAMPLES", 50)
        path = write_frames(tmp_path / "a.mp4", grey_frames(40), [3.25 * k for k in range(40)], codec="libx264")
        chunks = list(PyAVReader(in_full=in_full).read(path, SMALL))
        assert times_of(chunks) == list(range(50))
        assert (chunks[-1].duration_s, chunks[-1].cut_short) == (50, "too_large")
        assert chunks[-1].warning == "it has more than 50 samples; kept up to 50.0 s"


def with_long_last_frame(path: Path, last_s: int) -> Path:
    """The file with a last frame that is held for so many seconds."""
    held = path.with_name(f"held_{path.name}")
    with av.open(str(path)) as source, av.open(str(held), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet in packets:
            packet.duration = int((last_s if packet is packets[-1] else 1) / packet.time_base)
            packet.stream = stream
            target.mux(packet)
    return held


def followed_by_zeros(path: Path, num_bytes: int) -> Path:
    """The file grown by a hole, which takes no room on the disk."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + num_bytes)
    return path


class TestNothingMoreToFind:
    """Zeros behind a whole video, as a download that was never finished leaves them."""

    EVERY_FRAME = replace(SMALL, fps=10)

    @pytest.mark.parametrize(
        ("name", "codec"), [("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mjpeg"), ("a.flv", "libx264")]
    )
    @pytest.mark.parametrize("num_frames", [3, 30])
    def test_ends_the_video_with_all_its_frames_and_a_warning(self, tmp_path, name, codec, num_frames):
        reordered = {"preset": "medium", "x264-params": "bframes=3:b-adapt=0"}  # the decoder holds frames back
        options = reordered if codec == "libx264" else {}
        path = write_grey(tmp_path / name, num_frames, fps=10, codec=codec, codec_options=options)
        whole = read(path, self.EVERY_FRAME)
        (chunk,) = read(followed_by_zeros(path, 6 << 30), self.EVERY_FRAME, packet_s=0.5)
        assert shown_frames([chunk]) == shown_frames(whole) == list(range(num_frames))
        assert chunk.duration_s == whole[-1].duration_s
        assert (chunk.warning, chunk.cut_short) == (
            "no further packet found for 0.5 s; --stall-seconds waits longer",
            "stalled",
        )

    def test_is_nothing_to_a_format_whose_headers_know_every_packet(self, tmp_path):
        path = write_grey(tmp_path / "a.mp4", 30, fps=10, codec="libx264")
        (chunk,) = read(followed_by_zeros(path, 6 << 30), self.EVERY_FRAME, packet_s=0.5)
        assert (len(chunk), chunk.warning, chunk.cut_short) == (30, "", "")

    @pytest.mark.parametrize("num_zeros", [188 * 1000, 10 << 20])
    def test_does_not_end_a_transport_stream_that_goes_on_behind_it(self, tmp_path, num_zeros):
        whole = write_grey(tmp_path / "a.ts", 30, fps=10, codec="libx264")
        content = whole.read_bytes()
        middle = len(content) // 188 // 2 * 188
        path = tmp_path / "hole.ts"
        path.write_bytes(content[:middle] + bytes(num_zeros) + content[middle:])
        (chunk,) = read(path, self.EVERY_FRAME, packet_s=60)
        assert shown_frames([chunk])[-1] == 29
        assert chunk.cut_short == ""

    def test_ends_a_transport_stream_too(self, tmp_path):
        path = write_grey(tmp_path / "a.ts", 30, fps=10, codec="libx264")
        (chunk,) = read(followed_by_zeros(path, 6 << 30), self.EVERY_FRAME, packet_s=0.5)
        assert shown_frames([chunk]) == list(range(29))  # the last packet has no end but the next one's beginning
        assert chunk.cut_short == "stalled"

    def test_holds_for_key_frames_alone_too(self, tmp_path):
        path = write_grey(tmp_path / "a.mkv", 30, fps=10, codec="libx264", codec_options={"g": "10"})
        (chunk,) = read(followed_by_zeros(path, 6 << 30), replace(SMALL, sampling="keyframes"), packet_s=0.5)
        assert (shown_frames([chunk]), chunk.duration_s, chunk.cut_short) == ([0, 10, 20], 3, "stalled")


def quadrants(top_left: int, top_right: int, bottom_left: int, bottom_right: int) -> np.ndarray:
    """A picture of 64 x 48 in four greys."""
    top = np.repeat([top_left, top_right], 32)[None].repeat(24, axis=0)
    bottom = np.repeat([bottom_left, bottom_right], 32)[None].repeat(24, axis=0)
    return np.concatenate([top, bottom])[..., None].repeat(3, axis=2).astype(np.uint8)


def corners(image: np.ndarray) -> list[int]:
    """Grey of the four corners to the nearest ten: top left, top right, bottom left, bottom right."""
    grey = image.mean(axis=2)
    return [round(grey[y, x], -1) for y in (2, -3) for x in (2, -3)]


class TestGeometry:
    UPRIGHT = quadrants(20, 80, 140, 200)

    @pytest.mark.parametrize(
        ("rotation_deg", "turned", "size_px"),
        [
            (0, [20, 80, 140, 200], (64, 48)),
            (90, [80, 200, 20, 140], (48, 64)),  # counter-clockwise
            (180, [200, 140, 80, 20], (64, 48)),
            (270, [140, 20, 200, 80], (48, 64)),
        ],
    )
    def test_pictures_are_turned_as_the_display_matrix_says(self, tmp_path, rotation_deg, turned, size_px):
        path = write_frames(tmp_path / "a.mp4", [self.UPRIGHT] * 3, codec="libx264", rotation_deg=rotation_deg)
        (chunk,) = read(path, NATIVE)
        assert corners(chunk.images[0]) == turned
        assert chunk.images.shape[1:] == (*size_px[::-1], 3)
        assert (chunk.video.coded_size_px, chunk.video.rotated_size_px) == ((64, 48), size_px)
        assert chunk.video.rotation_deg == rotation_deg

    @pytest.mark.parametrize("interpolation", ["bicubic", "opencv-cubic"])
    def test_both_resamplings_turn_alike(self, tmp_path, interpolation):
        path = write_frames(tmp_path / "a.mp4", [self.UPRIGHT], codec="libx264", rotation_deg=90)
        asked = Preprocessing(size_rule="short-side", size_px=32, min_samples=1, interpolation=interpolation)
        (chunk,) = read(path, asked)
        assert chunk.images.shape[1:] == (43, 32, 3)
        assert corners(chunk.images[0]) == [80, 200, 20, 140]

    def test_sample_aspect_widens_the_picture_when_sampling_by_time(self, tmp_path):
        path = write_frames(tmp_path / "a.mp4", [self.UPRIGHT] * 3, codec="libx264", sample_aspect=Fraction(4, 3))
        (chunk,) = read(path, NATIVE)
        assert chunk.video.square_pixel_size_px == (85, 48)
        assert chunk.images.shape[1:] == (48, 85, 3)

    def test_a_tall_sample_aspect_heightens_it(self, tmp_path):
        path = write_frames(tmp_path / "a.mp4", [self.UPRIGHT] * 3, codec="libx264", sample_aspect=Fraction(1, 2))
        assert read(path, NATIVE)[0].video.square_pixel_size_px == (64, 96)

    @pytest.mark.parametrize("aspect", [Fraction(60_000), Fraction(1, 60_000)])
    def test_a_sample_aspect_beyond_belief_is_ignored(self, tmp_path, aspect):
        path = write_frames(tmp_path / "a.mp4", [self.UPRIGHT] * 3, codec="libx264", sample_aspect=aspect)
        assert read(path, NATIVE)[0].video.square_pixel_size_px == (64, 48)

    def test_sample_aspect_turns_with_the_picture(self, tmp_path):
        path = write_frames(
            tmp_path / "a.mp4", [self.UPRIGHT] * 3, codec="libx264", sample_aspect=Fraction(4, 3), rotation_deg=90
        )
        video = read(path, NATIVE)[0].video
        assert (video.rotated_size_px, video.square_pixel_size_px) == ((48, 64), (48, 85))

    def test_the_published_modes_do_not_know_the_sample_aspect(self, tmp_path):
        path = write_frames(tmp_path / "a.mp4", [self.UPRIGHT] * 30, codec="libx264", sample_aspect=Fraction(4, 3))
        published = Preprocessing(sampling="opencv", size_rule="short-side", size_px=48, min_samples=1)
        assert read(path, published)[0].images.shape[1:] == (48, 64, 3)

    @pytest.mark.parametrize("size_px", [(171, 97), (1, 1), (2, 2), (3, 200), (200, 3)])
    def test_odd_and_tiny_sizes_are_read(self, tmp_path, size_px):
        (chunk,) = read(write_frames(tmp_path / "a.mkv", grey_frames(3, size_px)))
        assert chunk.video.coded_size_px == size_px
        assert shown_frames([chunk]) == [0]

    def test_whole_frame_keeps_every_corner(self, tmp_path):
        path = write_frames(tmp_path / "a.mkv", [self.UPRIGHT])
        (chunk,) = read(path, Preprocessing(size_px=32, min_samples=1))
        assert chunk.images.shape == (1, 32, 32, 3)
        assert corners(chunk.images[0]) == [20, 80, 140, 200]

    @pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
    def test_other_pixel_formats_give_the_same_pictures(self, tmp_path, pixel_format):
        path = write_frames(tmp_path / "a.mkv", grey_frames(3), fps=1, pixel_format=pixel_format)
        assert shown_frames(read(path)) == [0, 1, 2]


class TestWhatIsNoVideo:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", r"odd\.mp4: the file is empty"),
            (b"Dear diary,\n" * 200, r"odd\.mp4: not a video, or its headers are damaged"),
            (np.random.default_rng(0).bytes(20_000), r"odd\.mp4: not a video, or its headers are damaged"),
        ],
        ids=["empty", "text", "random"],
    )
    def test_is_named_with_the_reason(self, tmp_path, content, message):
        (tmp_path / "odd.mp4").write_bytes(content)
        with pytest.raises(MediaError, match=message):
            read(tmp_path / "odd.mp4")

    def test_a_folder(self, tmp_path):
        with pytest.raises(MediaError, match=": a folder, not a video"):
            read(tmp_path)

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(MediaError, match=r"nowhere\.mp4: no such file"):
            read(tmp_path / "nowhere.mp4")

    def test_a_pipe_or_a_device_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.mp4")
        for path in (tmp_path / "pipe.mp4", Path("/dev/zero")):
            with pytest.raises(MediaError, match=": not a regular file"):
                read(path)

    @pytest.mark.parametrize("name", ["x" * 300, "a\0b.mp4"], ids=["too long", "null"])
    def test_a_name_that_no_file_can_have(self, tmp_path, name):
        with pytest.raises(MediaError, match="cannot be opened"):
            read(tmp_path / name)

    def test_sound_alone(self, tmp_path):
        path = tmp_path / "a.mp4"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("aac", rate=8000)
            silence = av.AudioFrame(format="fltp", layout="mono", samples=8000)
            for plane in silence.planes:
                plane.update(bytes(plane.buffer_size))
            silence.sample_rate = 8000
            output.mux(stream.encode(silence))
            output.mux(stream.encode())
        with pytest.raises(MediaError, match=r"a\.mp4: no video stream \(it holds: audio\)"):
            read(path)

    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "png_under_another_name.mp4"])
    def test_a_still_picture(self, tmp_path, name):
        picture = av.VideoFrame.from_ndarray(grey_frames(1)[0], format="rgb24")
        with av.open(str(tmp_path / name), "w", format="image2") as output:
            is_jpeg = name.endswith("jpg")
            stream = output.add_stream("mjpeg" if is_jpeg else "png", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if is_jpeg else "rgb24"
            output.mux(stream.encode(picture))
            output.mux(stream.encode())
        with pytest.raises(MediaError, match="a still picture, not a video"):
            read(tmp_path / name)

    def test_pictures_larger_than_the_limit(self, tmp_path, monkeypatch):
        path = write_grey(tmp_path / "a.mkv", 3)
        monkeypatch.setattr(opening_module, "MAX_PICTURE_PX", 64 * 48 - 1)
        with pytest.raises(MediaError, match=r"64 x 48 px are larger than the limit of 3071 px"):
            read(path)
        monkeypatch.setattr(opening_module, "MAX_PICTURE_PX", 64 * 48)
        assert shown_frames(read(path)) == [0]


class TestDamage:
    def test_the_frames_before_a_cut_count(self, tmp_path):
        whole = write_grey(tmp_path / "whole.mkv", 100, fps=10).read_bytes()
        (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 6 // 10])
        chunks = read(tmp_path / "cut.mkv")
        shown = shown_frames(chunks)
        assert 4 <= len(shown) <= 6
        assert shown == [10 * k % 40 for k in range(len(shown))]
        assert chunks[-1].duration_s < 7

    def test_a_decoder_that_gives_up_ends_the_video_with_a_warning(self, tmp_path, monkeypatch):
        path = write_grey(tmp_path / "a.mkv", 100, fps=10)
        give_up_after(monkeypatch, 35, av.error.PatchWelcomeError(0, "not implemented"))
        chunks = read(path)
        assert shown_frames(chunks) == [0, 10, 20, 30]
        assert chunks[-1].warning.startswith("decoding stopped early (not implemented)")

    def test_a_decoder_that_gives_up_at_once_is_an_error(self, tmp_path, monkeypatch):
        path = write_grey(tmp_path / "a.mkv", 100, fps=10)
        give_up_after(monkeypatch, 0, av.error.PatchWelcomeError(0, "not implemented"))
        with pytest.raises(MediaError, match=r"a\.mkv: cannot be decoded \(not implemented\)"):
            read(path)

    def test_a_damaged_packet_costs_its_own_frames_only(self, tmp_path):
        path = write_grey(tmp_path / "a.avi", 40, fps=10, codec="mjpeg")
        content = bytearray(path.read_bytes())
        pictures = [k for k in range(len(content)) if content[k : k + 4] == b"00dc"][:40]
        for k in pictures[5:8]:
            content[k + 8 : k + 40] = bytes(32)  # the first bytes of the picture, behind name and length
        path.write_bytes(content)
        chunks = read(path)
        assert shown_frames(chunks) == [0, 10, 20, 30]

    def test_a_video_without_a_whole_frame_is_an_error(self, tmp_path):
        whole = write_grey(tmp_path / "whole.mp4", 25, codec="libx264").read_bytes()
        (tmp_path / "cut.mp4").write_bytes(whole[:60])
        with pytest.raises(MediaError, match=r"cut\.mp4: cut off before its headers are complete"):
            read(tmp_path / "cut.mp4")


def give_up_after(monkeypatch: pytest.MonkeyPatch, count: int, error: Exception) -> None:
    """Make every file fail after this many packets, with an error that is neither an OSError nor a ValueError."""
    av_open = av.open

    class Failing:
        def __init__(self, *args: object, **options: object) -> None:
            self._container = av_open(*args, **options)

        def __getattr__(self, name: str) -> object:
            return getattr(self._container, name)

        def demux(self, stream: object) -> Iterator[av.Packet]:
            yield from islice(self._container.demux(stream), count)
            raise error

    monkeypatch.setattr(av, "open", Failing)


class TestNames:
    NAMES = (
        "two  words.mkv",
        'it\'s "quoted" ;$(x) `y`.mkv',
        "-dash.mkv",
        "percent%20d%03d.mkv",
        "line\nbreak.mkv",
        "日本語 видео é.mkv",
        "http:x.mkv",
        "concat:a|b.mkv",
        "pipe:0",
        "file:a.mkv",
        "@list.mkv",
        "id:a.mkv",
        "a?b#c&d.mkv",
        "back\\slash.mkv",
        "[1]*{2}.mkv",
        " leading and trailing ",
        os.fsdecode(b"not utf-8 \xff.mkv"),
    )

    @pytest.mark.parametrize("name", NAMES)
    def test_are_names_and_nothing_else(self, tmp_path, monkeypatch, name):
        write_grey(tmp_path / "a.mkv", 3, fps=1).rename(tmp_path / name)
        assert shown_frames(read(tmp_path / name)) == [0, 1, 2]
        monkeypatch.chdir(tmp_path)
        assert shown_frames(read(Path(name))) == [0, 1, 2]

    def test_a_missing_file_that_looks_like_an_address_is_not_looked_for_on_the_network(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for name in ("http://localhost:1/a.mp4", "rtsp:a.mp4", "concat:a.mkv", "subfile,,start,0,end,9,,:a.mkv"):
            with pytest.raises(MediaError, match="no such file"):
                read(Path(name))


class TestPlaylists:
    """A file that only names other files would show a stranger what is on this machine."""

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{path}\n#EXT-X-ENDLIST\n"),
            ("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{path}\n#EXT-X-ENDLIST\n"),
            ("list.avi", "ffconcat version 1.0\nfile '{path}'\n"),
            ("list.mkv", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nconcat:{path}|{path}\n#EXT-X-ENDLIST\n"),
            ("list.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"),
            ("list.mpd", '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>{path}</BaseURL></Period></MPD>'),
        ],
    )
    def test_are_refused(self, tmp_path, name, text):
        secret = write_grey(tmp_path / "secret.ts", 30, codec="libx264")
        (tmp_path / name).write_text(text.format(path=secret))
        with pytest.raises(MediaError, match="not a video, or its headers are damaged"):
            read(tmp_path / name)


class TestHardMedia:
    """What awkward files of the collection give besides the right number of frames (test_hard_media.py)."""

    @pytest.mark.parametrize(
        ("name", "first_s"), [("late_first_timestamp.ts", 38.9), ("fragmented.mp4", 0.08), ("empty_edit_5s.mp4", 5)]
    )
    def test_first_timestamps_are_kept_as_offsets(self, shared_data, name, first_s):
        (chunk,) = read(shared_data / "hard_media" / name)
        assert chunk.video.start_offset_s == pytest.approx(first_s, abs=0.05)

    @pytest.mark.parametrize(
        ("name", "clockwise_turns"),
        [("rotate_90_clockwise.mp4", 1), ("rotate_180.mp4", 2), ("rotate_90_counterclockwise.mp4", 3)],
    )
    def test_rotated_files_are_shown_as_a_player_shows_them(self, shared_data, name, clockwise_turns):
        path = shared_data / "hard_media" / name
        with av.open(str(path)) as container:
            coded = next(container.decode(video=0)).to_ndarray(format="rgb24")
        upright = np.rot90(coded, -clockwise_turns).astype(int)
        asked = Preprocessing(size_rule="short-side", size_px=min(coded.shape[:2]), min_samples=1)
        shown = read(path, asked)[0].images[0].astype(int)
        assert shown.shape == upright.shape
        assert np.abs(shown - upright).mean() < 2

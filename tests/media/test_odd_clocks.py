"""Files whose timestamps go back, jump or lie: what is read of them, the same way of decoding after way."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.media.made_files import SMALL, read, shown_frames, times_of, write_grey
from visil.errors import MediaError
from visil.media import one_pass
from visil.media.frame_table import IrregularError, read_frame_table
from visil.media.one_pass import Decoding
from visil.media.preprocessing import Preprocessing
from visil.media.pyav_reader import PyAVReader
from visil.media.sampling import MAX_HELD_SAMPLES
from visil.synth.remuxing import restamped
from visil.values import Frames

HOUR_S = 3600
ALL = Preprocessing(fps=10, size_px=16, min_samples=1)  # every frame of the files here
EVEN = Preprocessing(size_px=16, min_samples=8)
KEYS = Preprocessing(sampling="keyframes", size_px=16, min_samples=1)
CONTAINERS = {"mp4": "mp4", "matroska": "mkv", "mpegts": "ts"}
ONE = "1 frame's time was not believed"
ONCE = "its clock restarts once"


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """60 frames, ten a second, with B-frames and a key frame every 1.2 s."""
    path = tmp_path_factory.mktemp("regular") / "a.mp4"
    options = {"g": "12", "bf": "2", "preset": "veryfast"}
    return write_grey(path, 60, fps=10, codec="libx264", codec_options=options).read_bytes()


@pytest.fixture(scope="module")
def in_order(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The same, decoded in the order in which they are shown: parts of it can be sought."""
    path = tmp_path_factory.mktemp("in_order") / "a.mp4"
    return write_grey(path, 60, fps=10, codec="libx264", codec_options={"g": "12", "bf": "0"}).read_bytes()


def tenths(count: int, start_s: Fraction | float = 0) -> list[Fraction]:
    return [Fraction(start_s) + Fraction(k, 10) for k in range(count)]


def at(index: int, time_s: float) -> list[Fraction]:
    """Times of 60 frames, one of them another."""
    return [*tenths(index), Fraction(time_s), *tenths(59 - index, Fraction(index + 1, 10))]


def write(folder: Path, content: bytes, container: str, times_s: Sequence[Fraction]) -> Path:
    path = folder / f"odd.{CONTAINERS[container]}"
    path.write_bytes(restamped(content, container, lambda _: times_s))
    return path


def facts(chunks: list[Frames]) -> tuple[object, ...]:
    pictures = b"".join(chunk.images.tobytes() for chunk in chunks)
    return pictures, times_of(chunks), chunks[0].video, chunks[-1].duration_s, chunks[-1].warning


def outcome(path: Path, preprocessing: Preprocessing, span_s: tuple[float, float] | None, *, in_full: bool) -> object:
    try:
        return facts(list(PyAVReader(in_full=in_full).read(path, preprocessing, span_s=span_s)))
    except MediaError as error:
        return str(error)


@pytest.mark.parametrize("container", CONTAINERS)
class TestEveryContainer:
    @pytest.mark.parametrize("index", [1, 30, 35, 58])
    @pytest.mark.parametrize("time_s", [-9, 3 * HOUR_S])
    def test_a_frame_stamped_at_another_time_is_ignored(self, tmp_path, content, container, index, time_s):
        chunks = read(write(tmp_path, content, container, at(index, time_s)), ALL)
        expected = [min(k, k if k != index else index - 1) for k in range(60)]  # the one before is held
        assert shown_frames(chunks) == [k % 40 for k in expected]
        assert times_of(chunks) == pytest.approx([k / 10 for k in range(60)])
        assert chunks[-1].warning == ONE

    @pytest.mark.parametrize("time_s", [-3 * HOUR_S, 3 * HOUR_S])
    def test_so_is_a_first_one_and_the_video_starts_behind_it(self, tmp_path, content, container, time_s):
        path = write(tmp_path, content, container, at(0, time_s))
        chunks = read(path, ALL)
        assert shown_frames(chunks) == [k % 40 for k in range(1, 60)]
        assert times_of(chunks) == pytest.approx([k / 10 for k in range(59)])
        assert chunks[-1].warning == ONE
        with av.open(str(path)) as source:
            second = list(islice(source.decode(video=0), 2))[1]
        assert chunks[0].video.start_offset_s == pytest.approx(second.time)

    def test_so_is_a_last_one(self, tmp_path, content, container):
        chunks = read(write(tmp_path, content, container, at(59, 3 * HOUR_S)))
        assert (times_of(chunks), chunks[-1].warning) == ([0, 1, 2, 3, 4, 5], ONE)
        assert chunks[-1].duration_s < 6.1

    def test_a_clock_that_restarts_goes_on(self, tmp_path, content, container):
        chunks = read(write(tmp_path, content, container, [*tenths(24), *tenths(36)]))
        assert shown_frames(chunks)[:3] == [0, 10, 20]
        assert times_of(chunks) == [0, 1, 2, 3, 4, 5]
        assert 5.8 < chunks[-1].duration_s <= 6.01
        assert chunks[-1].warning == ONCE

    def test_however_often_it_does(self, tmp_path, content, container):
        chunks = read(write(tmp_path, content, container, [*tenths(24), *tenths(24), *tenths(12)]), ALL)
        assert shown_frames(chunks)[0:60:12] == [0, 12, 24, 36, 8]
        assert chunks[-1].warning == "its clock restarts 2 times"

    def test_a_step_back_of_more_than_a_second_loses_nothing_a_shorter_one_what_overlaps(
        self, tmp_path, content, container
    ):
        longer = read(write(tmp_path, content, container, [*tenths(24), *tenths(36, 2.4 - 1.5)]))
        assert (len(times_of(longer)), longer[-1].warning) == (6, ONCE)
        shorter = read(write(tmp_path, content, container, [*tenths(24), *tenths(36, 2.4 - 0.5)]))
        assert shorter[-1].duration_s == pytest.approx(5.5, abs=0.1)
        assert shorter[-1].warning == ""


class TestGaps:
    def write(self, path: Path, times_s: Sequence[Fraction]) -> Path:
        options = {"video_track_timescale": "1000"} if path.suffix == ".mp4" else {}  # 32 bits hold 25 days of that
        return write_grey(path, len(times_s), times_s=times_s, fps=10, codec="libx264", container_options=options)

    @pytest.mark.parametrize(("name", "hours"), [("a.mp4", 47), ("a.mkv", 47), ("a.ts", 12)])
    def test_the_picture_before_one_is_repeated_for_a_minute_and_times_stay_true(self, tmp_path, name, hours):
        gap_s = hours * HOUR_S
        chunks = read(self.write(tmp_path / name, [*tenths(30), *tenths(30, gap_s)]))
        assert times_of(chunks) == [*range(3 + MAX_HELD_SAMPLES), gap_s, gap_s + 1, gap_s + 2]
        assert shown_frames(chunks) == [0, 10, 20, *[29] * MAX_HELD_SAMPLES, 30, 0, 10]
        assert chunks[-1].duration_s == pytest.approx(gap_s + 3)
        assert chunks[-1].warning == ""

    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
    def test_a_title_that_is_held_for_ten_minutes_is_kept_and_so_is_a_closing_slide(self, tmp_path, name):
        path = self.write(tmp_path / name, [Fraction(0), *tenths(30, 600), Fraction(1200)])
        held = range(MAX_HELD_SAMPLES)
        for in_full in (False, True):
            chunks = list(PyAVReader(in_full=in_full).read(path, SMALL))
            assert times_of(chunks) == [*held, 600, 601, 602, *(603 + k for k in held), 1200]
            assert shown_frames(chunks) == [*(0 for _ in held), 1, 11, 21, *(30 for _ in held), 31]
            assert chunks[-1].warning == ""

    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
    def test_one_beyond_what_a_video_may_last_is_closed(self, tmp_path, name):
        chunks = read(self.write(tmp_path / name, [*tenths(24), *tenths(36, 60 * HOUR_S)]))
        assert chunks[-1].warning == "1 jump of its clock was not believed"
        assert times_of(chunks)[-1] < 70  # a frame of an MP4 file lasts until the next, whatever its clock says


odd_times = st.one_of(
    st.builds(at, st.integers(0, 59), st.sampled_from([-HOUR_S, -3, -1.5, -0.5, 2, 7, 40, 90, HOUR_S])),
    st.builds(
        lambda place, step_s: [*tenths(place), *tenths(60 - place, Fraction(place, 10) + Fraction(step_s))],
        st.integers(1, 59),
        st.sampled_from([-HOUR_S, -5, -1.5, -0.5, 0.5, 1.5, 30, 70, 60 * HOUR_S]),
    ),
    st.builds(lambda step_s: [step_s * k for k in range(60)], st.fractions(Fraction(1, 5), 100, max_denominator=10)),
)
SLOW = [Fraction(k, 4) for k in range(60)]  # long enough for parts that are sought


class TestEveryWayOfDecoding:
    def check(self, path: Path, preprocessing: Preprocessing, span_s: tuple[float, float] | None) -> None:
        in_full = outcome(path, preprocessing, span_s, in_full=True)
        assert outcome(path, preprocessing, span_s, in_full=False) == in_full, (preprocessing.sampling, span_s)

    @given(
        times_s=odd_times,
        container=st.sampled_from(["mp4", "matroska"]),
        preprocessing=st.sampled_from([SMALL, EVEN, KEYS, replace(ALL, fps=3.7)]),
        span_s=st.sampled_from([None, (1.3, 2.9), (11.0, 13.0), (12.0, float("inf")), (80.0, 200.0)]),
    )
    def test_gives_the_same(self, tmp_path_factory, content, times_s, container, preprocessing, span_s):
        self.check(write(tmp_path_factory.mktemp("odd"), content, container, times_s), preprocessing, span_s)

    @pytest.mark.parametrize(
        "times_s",
        [
            SLOW,
            [*SLOW[:46], Fraction(9), *SLOW[47:]],
            [*SLOW[:46], Fraction(9000), *SLOW[47:]],
            [*SLOW[:58], Fraction(40), SLOW[59]],
            [*SLOW[:59], Fraction(100)],
            [*SLOW[:30], *SLOW[:30]],
            [*SLOW[:50], *SLOW[40:50]],
            [*SLOW[:30], *(time_s + 20 for time_s in SLOW[30:])],
            [*SLOW[:30], *(time_s + 1_000_000 for time_s in SLOW[30:])],
        ],
        ids=["regular", "early", "late", "late near the end", "last", "restart", "overlap", "gap", "too far"],
    )
    @pytest.mark.parametrize("container", ["mp4", "matroska"])
    def test_also_for_parts_that_are_sought_and_for_key_frames(self, tmp_path, in_order, container, times_s):
        path = write(tmp_path, in_order, container, times_s)
        for span_s in (None, (0.0, 3.0), (10.0, 12.0), (11.0, 14.0), (12.0, float("inf")), (27.0, 30.0)):
            for preprocessing in (SMALL, KEYS):
                self.check(path, preprocessing, span_s)

    def test_the_index_of_a_file_whose_clock_restarts_leads_to_the_wrong_part_and_is_not_used(self, tmp_path):
        frames = write_grey(tmp_path / "a.mp4", 240, fps=4, codec="libx264", codec_options={"g": "4"}).read_bytes()
        path = write(tmp_path, frames, "matroska", [Fraction(k, 4) for k in (*range(150), *range(90))])
        assert shown_frames(read(path, span_s=(12.6, 16.6))) == [(50 + 4 * k) % 40 for k in range(4)]

    def test_a_part_that_is_sought_says_nothing_of_a_length_that_rests_on_a_frame_before_it(
        self, tmp_path, in_order, monkeypatch
    ):
        monkeypatch.setattr(one_pass, "header_duration_s", lambda container, stream: Fraction(9000))
        path = write(tmp_path, in_order, "mp4", [*SLOW[:14], Fraction(9000), *SLOW[15:]])
        self.check(path, SMALL, (12.0, float("inf")))

    @pytest.mark.parametrize("container", ["mp4", "matroska"])
    def test_a_part_lies_on_the_clock_that_is_believed(self, tmp_path, content, container):
        path = write(tmp_path, content, container, [*tenths(24, 500), *tenths(36)])
        chunks = read(path, ALL, span_s=(2.2, 2.7))
        assert shown_frames(chunks) == [22, 23, 24, 25, 26]
        with pytest.raises(MediaError, match=r"the range begins at 20 s, the video ends at [56]\.\d s"):
            read(path, span_s=(20, 30))


class TestMPEG:
    """Joined recordings, whose clock has 33 bits."""

    @pytest.mark.parametrize("start_s", [(0, 0), (300, 0), (300, 200), (40_000, 5)])
    def test_of_joined_recordings_both_are_read(self, tmp_path, start_s):
        parts = [
            write_grey(tmp_path / f"{k}.ts", 40, times_s=tenths(40, start), fps=10, codec="libx264").read_bytes()
            for k, start in enumerate(start_s)
        ]
        (tmp_path / "joined.ts").write_bytes(b"".join(parts))
        chunks = read(tmp_path / "joined.ts", ALL)
        assert shown_frames(chunks) == [*range(40), *range(40)]
        assert chunks[-1].duration_s == pytest.approx(8, abs=0.1)
        assert chunks[-1].warning == ONCE

    def test_a_clock_that_begins_anew_in_the_middle_has_not_been_restarted(self, tmp_path):
        path = write_grey(tmp_path / "a.ts", 40, times_s=tenths(40, 95_442), fps=10, codec="libx264")
        chunks = read(path, ALL)
        assert (shown_frames(chunks), chunks[-1].warning) == (list(range(40)), "")


class TestLongest:
    def test_a_video_that_is_longer_than_any_may_be_keeps_its_first_hours(self, tmp_path, content):
        times_s = [k * Fraction(HOUR_S) for k in range(60)]
        chunks = read(write(tmp_path, content, "matroska", times_s), replace(SMALL, fps=0.01))
        assert chunks[-1].duration_s == 48 * HOUR_S
        assert times_of(chunks)[-1] < 48 * HOUR_S
        assert chunks[-1].warning == "only its first 48 hours were read"

    def test_one_of_just_as_long_is_whole(self, tmp_path, content):
        times_s = [k * Fraction(HOUR_S * 4, 5) for k in range(60)]
        chunks = read(write(tmp_path, content, "matroska", times_s), replace(SMALL, fps=0.01))
        assert (times_of(chunks)[-1] > 47 * HOUR_S - 1000, chunks[-1].warning) == (True, "")


def promising(path: Path, length_s: float) -> Path:
    """A Matroska file whose header is made to promise another length."""
    content = bytearray(path.read_bytes())
    place = content.index(b"\x44\x89\x88") + 3  # a duration of eight bytes, in milliseconds
    content[place : place + 8] = struct.pack(">d", 1000 * length_s)
    path.write_bytes(content)
    return path


class TestPromises:
    """The length in the header may rest on the same clock."""

    def test_that_a_time_which_is_not_believed_explains_are_not_held_against_a_file(self, tmp_path, content):
        path = write(tmp_path, content, "matroska", at(30, 3 * HOUR_S))  # the header says three hours
        assert read(path)[-1].warning == ONE

    def test_that_one_of_several_explains_are_not(self, tmp_path, content):
        times_s = at(30, 3 * HOUR_S)
        times_s[40], times_s[45] = Fraction(-500), Fraction(HOUR_S)
        path = write(tmp_path, content, "matroska", times_s)
        assert read(path)[-1].warning == "the times of 3 frames were not believed"

    def test_that_none_explains_are(self, tmp_path, content):
        path = write(tmp_path, content, "matroska", at(10, 1000))
        assert read(promising(path, 6))[-1].warning == ONE
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        warning = read(path)[-1].warning
        assert re.fullmatch(rf"{ONE}; only \d\.\d s of the 5\.9 s that its header promises", warning)

    def test_of_a_file_whose_clock_restarts_are_not(self, tmp_path, content):
        path = write(tmp_path, content, "matroska", [*tenths(24), *tenths(36)])
        assert read(promising(path, 60))[-1].warning == ONCE


def test_a_frame_that_claims_to_last_less_than_nothing_lasts_one_of_the_rate():
    frame = av.VideoFrame(16, 16, "gray")
    frame.time_base, frame.duration = Fraction(1, 25), -5
    assert Decoding._own_duration_s(SimpleNamespace(nominal_s=Fraction(1, 30)), frame) == Fraction(1, 30)


class TestFrameTable:
    def table(self, path: Path) -> object:
        return read_frame_table(path, stills=False, alive=lambda: None)

    @pytest.mark.parametrize(
        "times_s",
        [at(30, 3 * HOUR_S), at(0, 3 * HOUR_S), at(59, 90), [*tenths(24), *tenths(36)]],
        ids=["late", "first", "last", "restart"],
    )
    def test_files_with_an_odd_clock_are_irregular(self, tmp_path, content, times_s):
        with pytest.raises(IrregularError, match="its timestamps go back, or a frame is far from the one before"):
            self.table(write(tmp_path, content, "mp4", times_s))

    def test_files_with_a_pause_are_regular(self, tmp_path, content):
        table = self.table(write(tmp_path, content, "mp4", [*tenths(36), *tenths(24, 60)]))
        assert table.end_s > 62


class TestFieldReports:
    @pytest.fixture
    def reports(self, shared_data: Path) -> Path:
        return shared_data / "field_reports"

    @pytest.mark.parametrize("name", ["one_frame_late.mp4", "one_frame_late.ts"])
    def test_one_frame_three_hours_late(self, reports, name):
        chunks = read(reports / name)
        assert (times_of(chunks), chunks[-1].warning) == (list(range(10)), ONE)
        assert chunks[-1].duration_s == pytest.approx(10)

    def test_a_gap_of_five_hours(self, reports):
        chunks = read(reports / "gap.mkv")
        after_s = [float(t) for t in range(18_005, 18_010)]
        assert times_of(chunks) == [*range(5 + MAX_HELD_SAMPLES), *after_s]

    def test_a_recording_joined_to_another(self, reports):
        chunks = read(reports / "clock_restarts.ts")
        assert (len(times_of(chunks)), chunks[-1].warning) == (8, ONCE)
        assert chunks[-1].duration_s == pytest.approx(8)

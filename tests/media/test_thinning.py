"""Decoding only what sampling needs: never another picture than full decoding gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import visil.media.thinning as thinning_module
from tests.media.made_files import grey_frames, read, write_frames
from visil.errors import MediaError
from visil.media.key_frames import KeyPackets
from visil.media.one_pass import Decoding
from visil.media.preprocessing import Preprocessing
from visil.media.pyav_reader import PyAVReader
from visil.media.sampling import ShownFrame, sample_by_time, within
from visil.media.syntax import Syntax
from visil.media.thinning import Thinning, ThinningError, Wanted
from visil.values import Frames

ASKED = Preprocessing(size_px=32)
WAYS = (  # what is asked of every file
    (ASKED, None),
    (replace(ASKED, fps=3.7, min_samples=1), None),
    (replace(ASKED, min_samples=32), (1.3, 2.9)),
    (ASKED, (2.0, float("inf"))),
)
KEYS = replace(ASKED, sampling="keyframes")
KEY_WAYS = ((KEYS, None), (KEYS, (2.0, float("inf"))))


def read_in_full(path: Path, asked: Preprocessing, span_s: tuple[float, float] | None) -> list[Frames]:
    return list(PyAVReader(in_full=True).read(path, asked, span_s=span_s))


def content(chunks: list[Frames]) -> tuple[object, ...]:
    """All that must be equal: bytes of the pictures, times, facts; of the last chunk its end and its warning."""
    pictures = b"".join(chunk.images.tobytes() for chunk in chunks)
    times_s = [float(time_s) for chunk in chunks for time_s in chunk.times_s]
    return pictures, times_s, chunks[0].video, chunks[-1].duration_s, chunks[-1].warning


def moving_pictures(count: int) -> list[np.ndarray]:
    """A textured scene that moves, changes at frame 70, and does not shrink to nothing in a codec."""
    generator = np.random.default_rng(0)
    scenes = [generator.integers(0, 256, (16, 40, 3)).repeat(8, axis=0).repeat(8, axis=1) for _ in range(2)]
    return [np.roll(scenes[k >= 70], (k, 2 * k), axis=(0, 1))[:64, :96].astype(np.uint8) for k in range(count)]


@pytest.fixture
def num_decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[av.Packet]]:
    """The packets that go to a decoder."""
    decoded: list[av.Packet] = []
    pictures = Decoding._pictures

    def counted(self: object, packet: av.Packet, **options: bool) -> list[av.VideoFrame]:
        decoded.append(packet)
        return pictures(self, packet, **options)

    monkeypatch.setattr(Decoding, "_pictures", counted)
    return decoded


X265 = "log-level=none:pools=none:frame-threads=1"


class TestEqualsFullDecoding:
    @pytest.mark.parametrize(
        ("name", "codec", "options"),
        [
            ("default.mp4", "libx264", {"preset": "veryfast"}),
            ("short_groups.mkv", "libx264", {"preset": "veryfast", "g": "12"}),
            ("no_b_frames.mp4", "libx264", {"preset": "veryfast", "g": "25", "bf": "0"}),
            ("many_b_frames.mp4", "libx264", {"preset": "fast", "x264-params": "bframes=8:ref=6:b-pyramid=strict"}),
            ("temporal_direct.mkv", "libx264", {"preset": "fast", "x264-params": "direct=temporal:weightp=2:cabac=0"}),
            ("open_groups.mp4", "libx264", {"preset": "veryfast", "g": "20", "x264-params": "open-gop=1"}),
            ("intra_refresh.mp4", "libx264", {"preset": "veryfast", "g": "20", "x264-params": "intra-refresh=1"}),
            ("parameters_inside.mp4", "libx264", {"preset": "veryfast", "g": "20", "x264-params": "repeat-headers=1"}),
            ("interlaced.mp4", "libx264", {"preset": "veryfast", "x264-params": "tff=1:slices=2:aud=1"}),
            ("intra_only.mp4", "libx264", {"preset": "veryfast", "g": "1"}),
            ("default_hevc.mp4", "libx265", {"x265-params": X265}),
            ("closed_hevc.mkv", "libx265", {"x265-params": f"{X265}:open-gop=0:keyint=20"}),
            ("leading_hevc.mp4", "libx265", {"x265-params": f"{X265}:open-gop=0:keyint=20:radl=2"}),
            ("layered_hevc.mp4", "libx265", {"x265-params": f"{X265}:open-gop=0:keyint=30:temporal-layers=3"}),
            ("fields_hevc.mp4", "libx265", {"x265-params": f"{X265}:interlace=tff"}),
            ("vp9.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "20"}),
            ("hidden_vp9.mp4", "libvpx-vp9", {"cpu-used": "5", "g": "40", "auto-alt-ref": "6", "lag-in-frames": "16"}),
            ("av1.mp4", "libsvtav1", {"preset": "12", "g": "20", "svtav1-params": "film-grain=8"}),
            ("stills.avi", "mjpeg", {}),
            ("stills.mov", "prores_ks", {}),
        ],
    )
    def test_for_every_family_that_is_thinned(self, tmp_path, num_decoded, name, codec, options):
        pixel_format = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}.get(codec, "yuv420p")
        path = write_frames(
            tmp_path / name, moving_pictures(100), codec=codec, codec_options=options, pixel_format=pixel_format
        )
        for asked, span_s in (*WAYS, *KEY_WAYS):
            num_decoded.clear()
            found = content(read(path, asked, span_s=span_s))
            num_thin = len(num_decoded)
            assert found == content(read_in_full(path, asked, span_s))
            if asked is ASKED and (
                codec in ("libx264", "mjpeg", "prores_ks")
            ):  # the others have few leaves here, or none
                assert num_thin < 0.9 * (len(num_decoded) - num_thin)

    @pytest.mark.parametrize("codec", ["libx264", "libx265", "mjpeg"])
    def test_at_a_variable_rate(self, tmp_path, codec):
        gaps = np.random.default_rng(1).choice([20, 40, 300, 1200], 100, p=[0.4, 0.4, 0.15, 0.05])
        path = write_frames(
            tmp_path / "a.mkv",
            moving_pictures(100),
            [Fraction(int(at_ms), 1000) for at_ms in np.cumsum(gaps)],
            codec=codec,
            codec_options={"x265-params": X265} if codec == "libx265" else None,
        )
        for asked, span_s in WAYS:
            assert content(read(path, asked, span_s=span_s)) == content(read_in_full(path, asked, span_s))

    def test_for_every_awkward_file(self, shared_data):
        for path in sorted((shared_data / "hard_media").iterdir()):
            for asked, span_s in (*WAYS[::2], *KEY_WAYS):
                try:
                    in_full: object = content(read_in_full(path, asked, span_s))
                except MediaError as error:
                    in_full = str(error)
                try:
                    found: object = content(read(path, asked, span_s=span_s))
                except MediaError as error:
                    found = str(error)
                assert found == in_full, path.name

    def test_for_real_videos(self, shared_data):
        paths = [p for p in sorted((shared_data / "videos").iterdir()) if p.suffix in {".mp4", ".mkv", ".mov", ".m4v"}]
        for path in paths[::12]:
            assert content(read(path, ASKED)) == content(read_in_full(path, ASKED, None)), path.name

    @pytest.mark.parametrize("after", [0, 1, 40, 150])
    def test_if_it_turns_out_late_that_the_file_is_not_regular(self, tmp_path, monkeypatch, after):
        path = write_frames(tmp_path / "a.mp4", moving_pictures(100), fps=1, codec="libx264")  # several chunks
        came_out, count = Thinning.came_out, iter(range(1000))

        def failing(self: Thinning, picture: av.VideoFrame) -> None:
            if next(count) == after:
                raise ThinningError("another frame came out than was put in")
            came_out(self, picture)

        in_full = content(read_in_full(path, ASKED, None))
        monkeypatch.setattr(Thinning, "came_out", failing)
        assert content(read(path, ASKED)) == in_full

    def test_if_more_packets_come_than_are_read_ahead(self, tmp_path, monkeypatch):
        path = write_frames(tmp_path / "a.mp4", moving_pictures(100), codec="libx264")
        monkeypatch.setattr(thinning_module, "MAX_AHEAD", 7)
        assert content(read(path, ASKED)) == content(read_in_full(path, ASKED, None))

    def test_a_damaged_file_is_decoded_in_full(self, tmp_path, num_decoded):
        path = write_frames(tmp_path / "a.mp4", moving_pictures(100), codec="libx264")
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2 : len(damaged) // 2 + 3000] = bytes(3000)
        path.write_bytes(damaged)
        assert content(read(path, ASKED)) == content(read_in_full(path, ASKED, None))

    def test_a_damaged_key_frame_is_never_a_sample_that_full_decoding_does_not_give(self, tmp_path):
        path = write_frames(tmp_path / "a.mp4", moving_pictures(100), codec="libx264", codec_options={"g": "20"})
        with av.open(str(path)) as container:
            keys = [packet for packet in container.demux(video=0) if packet.is_keyframe]
        damaged = bytearray(path.read_bytes())
        middle = keys[2].pos + keys[2].size // 2
        damaged[middle : middle + 500] = bytes(500)
        path.write_bytes(damaged)
        assert content(read(path, KEYS)) == content(read_in_full(path, KEYS, None))

    @pytest.mark.parametrize(
        ("name", "codec", "options"),
        [
            ("a.mp4", "libx264", {"preset": "veryfast", "g": "12"}),
            ("a.mkv", "libx264", {"preset": "veryfast", "g": "12"}),
            ("open_groups.mp4", "libx264", {"preset": "veryfast", "g": "12", "x264-params": "open-gop=1"}),
            ("leading.mkv", "libx265", {"x265-params": f"{X265}:open-gop=0:keyint=12:radl=2"}),
            ("a.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "12"}),
            ("stills.avi", "mjpeg", {}),
            ("a.ts", "libx264", {"preset": "veryfast", "g": "12"}),
        ],
    )
    def test_for_a_part_far_from_the_start(self, tmp_path, name, codec, options):
        path = write_frames(
            tmp_path / name,
            moving_pictures(100),
            [5 + Fraction(k, 2) for k in range(100)],
            fps=2,
            codec=codec,
            codec_options=options,
            pixel_format="yuvj420p" if codec == "mjpeg" else "yuv420p",
        )
        for span_s in ((31.25, 36.0), (40.0, float("inf")), (48.7, 49.1)):
            assert content(read(path, ASKED, span_s=span_s)) == content(read_in_full(path, ASKED, span_s))
        with pytest.raises(MediaError, match=r"the range begins at 60 s, the video ends at 5[05]\.0 s"):
            read(path, ASKED, span_s=(60, 70))

    def test_what_comes_long_before_a_part_is_not_even_read(self, tmp_path, num_decoded):
        path = write_frames(tmp_path / "a.mp4", moving_pictures(100), fps=2, codec="libx264", codec_options={"g": "12"})
        with pytest.MonkeyPatch.context() as patch:
            read_packets: list[av.Packet] = []
            checked = Thinning._checked
            patch.setattr(
                Thinning, "_checked", lambda self, packet: read_packets.append(packet) or checked(self, packet)
            )
            read(path, replace(ASKED, min_samples=1, bars="keep"), span_s=(30, 32))
        assert len(read_packets) < 50
        assert len(num_decoded) < 25

    def test_what_follows_a_range_is_not_decoded(self, tmp_path, num_decoded):
        path = write_frames(tmp_path / "a.mp4", moving_pictures(100), codec="libx264", codec_options={"g": "25"})
        read(path, replace(ASKED, min_samples=1), span_s=(1, 2))
        assert max(packet.pts * packet.time_base for packet in num_decoded) <= Fraction(21, 10)


START, LINK, LEAF = Syntax(True, False, False), Syntax(False, False, False), Syntax(False, True, False)


@dataclass(frozen=True)
class Packet:
    """A packet that says of itself what a real one would, and which frames it refers to."""

    pts: int
    refers_to: tuple[int, ...] = ()
    syntax: Syntax | None = LINK
    is_discard: bool = False
    is_corrupt: bool = False
    size: int = 1000
    dts: int | None = 0

    def has_sidedata(self, kind: str) -> bool:
        return False


END = Packet(pts=0, size=0, dts=None)


def thinned(
    packets: list[Packet], wanted: Wanted, *, reorder: int = 2, time_base: Fraction = Fraction(1, 10)
) -> list[Packet]:
    thinning = Thinning(wanted, lambda packet: packet.syntax, time_base=time_base, reorder=reorder)
    return [packet for packet in thinning.needed([*packets, END]) if packet is not END]


@st.composite
def videos(draw: st.DrawFn) -> list[Packet]:
    """Groups of pictures: I, then anchors with up to three frames before each in time, some of which others use."""
    packets: list[Packet] = []
    time = draw(st.integers(0, 50))
    for _ in range(draw(st.integers(1, 5))):
        packets.append(Packet(time, (), START._replace(is_kept=draw(st.booleans()))))
        anchor = time
        for _ in range(draw(st.integers(0, 6))):
            between = sorted(draw(st.sets(st.integers(1, 40), max_size=3)))
            times = [anchor + gap for gap in between]
            following = (times or [anchor])[-1] + draw(st.integers(1, 60))
            packets.append(Packet(following, (anchor,), LINK))
            middle = times[len(times) // 2] if times and draw(st.booleans()) else None
            if middle is not None:
                packets.append(Packet(middle, (anchor, following), LINK))
            packets += [
                Packet(t, (anchor, following) if middle is None else (anchor, middle, following), LEAF)
                for t in times
                if t != middle
            ]
            anchor = following
        time = max(packet.pts for packet in packets) + draw(st.integers(1, 60))
    return packets


wanted_frames = st.builds(
    Wanted,
    rate=st.fractions(2, 50, max_denominator=20),
    start_s=st.one_of(st.just(Fraction(0)), st.fractions(0, 4, max_denominator=20)),
    end_s=st.just(None),
    num_first=st.integers(1, 8),
)


class TestThinning:
    ONE_A_SECOND = Wanted(rate=Fraction(1), start_s=Fraction(0), end_s=None, num_first=1)

    def test_leaves_that_answer_no_sample_are_dropped(self):
        packets = [Packet(0, (), START), Packet(6, (0,), LINK), Packet(3, (0, 6), LEAF), Packet(12, (6,), LINK)]
        packets += [Packet(9, (6, 12), LEAF)]  # shown at second 1
        assert [p.pts for p in thinned(packets, self.ONE_A_SECOND)] == [0, 6, 12, 9]

    def test_behind_the_last_wanted_frame_nothing_is_needed_until_the_next_group(self):
        packets = [Packet(t, (), START if t % 10 == 0 else LINK) for t in range(30)]
        assert [p.pts for p in thinned(packets, self.ONE_A_SECOND)] == [0, 10, *range(20, 30)]  # the last group ends it

    def test_parameters_for_later_packets_are_never_dropped(self):
        packets = [Packet(t, (), START) for t in range(0, 20, 5)]
        packets[1] = replace(packets[1], syntax=START._replace(is_kept=True))
        assert [p.pts for p in thinned(packets, self.ONE_A_SECOND)] == [0, 5, 10, 15]
        assert [p.pts for p in thinned([*packets[:1], packets[3]], self.ONE_A_SECOND)] == [0, 15]

    def test_frames_that_an_edit_list_hides_are_decoded_but_answer_nothing(self):
        packets = [Packet(-9, (), START, is_discard=True), Packet(-4, (-9,), LINK, is_discard=True)]
        packets += [Packet(2, (-4,), LEAF), Packet(4, (-4,), LEAF), Packet(13, (-4,), LEAF)]
        assert [p.pts for p in thinned(packets, self.ONE_A_SECOND)] == [-9, -4, 2, 4, 13]

    @given(packets=videos(), wanted=wanted_frames, max_ahead=st.sampled_from([1, 2, 5, 600]))
    def test_samples_are_those_of_all_frames_and_what_they_refer_to_is_there(self, packets, wanted, max_ahead):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(thinning_module, "MAX_AHEAD", max_ahead)
            kept = {packet.pts for packet in thinned(packets, wanted, time_base=Fraction(1, 100))}
        assert all(set(packet.refers_to) <= kept for packet in packets if packet.pts in kept)
        first, end = min(p.pts for p in packets), max(p.pts for p in packets) + 1
        sampled = []
        for times in (sorted(p.pts for p in packets), sorted(kept)):
            ends = [*times[1:], end]
            frames = [
                ShownFrame(Fraction(a - first, 100), Fraction(b - a, 100), a) for a, b in zip(times, ends, strict=True)
            ]
            in_part = list(within(frames, wanted.start_s, None))
            samples = [(time_s, frame.picture) for time_s, frame in sample_by_time(in_part, wanted.rate)]
            sampled.append((samples, min(len(in_part), wanted.num_first)))
        assert sampled[0] == sampled[1]

    @pytest.mark.parametrize(
        "packets",
        [
            [Packet(0, (), LINK)],
            [Packet(0, (), START), Packet(0, (), LEAF)],
            [Packet(9, (), START), Packet(8, (), START)],
            [Packet(0, (), START), Packet(3), Packet(2), Packet(4), Packet(5), Packet(1)],
            [Packet(0, (), START), Packet(1, is_corrupt=True)],
            [Packet(0, (), START), Packet(1, (), None)],
            [Packet(0, (), START), Packet(None)],
            [Packet(0, (), START), Packet(1, size=0)],
            [Packet(0, (), START), Packet(40), Packet(2), Packet(3)],
            [Packet(0, (), START), Packet(700), Packet(701), Packet(702)],
        ],
        ids=["no group", "twice", "back", "late", "corrupt", "not understood", "no time", "empty", "outlier", "alone"],
    )
    def test_a_file_with_surprises_is_decoded_in_full(self, packets):
        with pytest.raises(ThinningError):
            thinned(packets, self.ONE_A_SECOND)

    def test_a_frame_that_does_not_come_out_is_noticed(self):
        thinning = Thinning(self.ONE_A_SECOND, lambda p: p.syntax, time_base=Fraction(1, 10), reorder=2)
        assert len(list(thinning.needed([Packet(0, (), START), Packet(1, (), LINK), END]))) == 3
        picture = av.VideoFrame(16, 16, "gray")
        picture.pts = 0
        thinning.came_out(picture)
        with pytest.raises(ThinningError, match="a frame did not come out"):
            thinning.finish()
        picture.pts = 2
        with pytest.raises(ThinningError, match="another frame came out than was put in"):
            thinning.came_out(picture)


class TestKeyPackets:
    def keys_of(self, path: Path) -> KeyPackets:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            keys = KeyPackets(Fraction(1), time_base=Fraction(stream.time_base), nominal_s=Fraction(1, 25))
            list(keys.needed(container.demux(stream)))
        return keys

    def test_the_end_of_all_frames_is_known_without_decoding_them(self, tmp_path):
        path = write_frames(tmp_path / "a.mp4", grey_frames(60), fps=25, codec="libx264")
        assert self.keys_of(path).end_s == Fraction(60, 25)

    def test_a_file_without_times_is_decoded_in_full(self, tmp_path):
        path = write_frames(tmp_path / "a.h264", grey_frames(60), fps=25, codec="libx264", container="h264")
        with pytest.raises(ThinningError, match="a packet without a time"):
            self.keys_of(path)
        chunks = read(path, Preprocessing(sampling="keyframes", size_px=16))
        assert chunks[-1].duration_s == read(path)[-1].duration_s

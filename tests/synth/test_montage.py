"""The pieces of a montage lie where its truth says, none twice, whatever its length; who shares one is related."""

import time
import tracemalloc
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visil.errors import DataError
from visil.synth.edits import cut_clip
from visil.synth.montage import Shot, Source, montage_truth, plan_compilation, plan_host, plan_montage, write_montage
from visil.synth.montage_truth import (
    MontageTruth,
    Piece,
    PlainVideo,
    RelatedVideos,
    pieces_shown,
    read_montage_truth,
    related,
    related_matrix,
    write_montage_truth,
)
from visil.synth.video_file import read_pictures, video_facts, write_video

FPS = 10
SIZE_PX = (64, 48)
VIDEO_S = 6.0
seeds = st.integers(0, 2**32 - 1)


def video_colour(number: int) -> int:
    return 60 * number


def still_colour(number: int) -> int:
    return 20 + 9 * number


def picture(colour: tuple[int, int, int], height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def numbered(pixels: np.ndarray, number: int) -> np.ndarray:
    for bit in range(8):
        pixels[24:, 8 * bit : 8 * bit + 8, 1] = 255 * (number >> bit & 1)
    return pixels


def number_of(pixels: np.ndarray) -> int:
    return sum((np.median(pixels[28:44, 8 * bit + 2 : 8 * bit + 6, 1]) > 127) << bit for bit in range(8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Videos: red tells which, blue is 0; in the lower half green stripes are the number of the picture in binary.

    Stills: red tells which, blue is 255.
    """
    folder = tmp_path_factory.mktemp("sources")
    for i in range(4):
        shown = [numbered(picture((video_colour(i), 0, 0)), k) for k in range(round(VIDEO_S * FPS))]
        write_video(folder / f"video_{i}.mp4", shown, FPS, crf=8)
    for i in range(20):
        write_video(folder / f"still_{i}.mp4", [picture((still_colour(i), 0, 255), 60, 80)], FPS, crf=8)
    return folder


def some_sources(folder: Path = Path(), *, videos: int = 4, stills: int = 20, video_s: float = VIDEO_S) -> list[Source]:
    return [
        *(Source(folder / f"video_{i}.mp4", f"video:{i}", video_s) for i in range(videos)),
        *(Source(folder / f"still_{i}.mp4", f"still:{i}") for i in range(stills)),
    ]


def lengths_s(shots: list[Shot], fps: float = FPS) -> list[float]:
    return [shot.num_pictures / fps for shot in shots]


def truth_of(shots: list[Shot], name: str = "montage.mp4") -> MontageTruth:
    return montage_truth(name, shots, fps=FPS)


def assert_no_piece_twice(pieces) -> None:
    assert not any(a.shares(b) for a, b in combinations(pieces, 2))


def assert_shows(shown: np.ndarray, piece: Piece, at_s: float) -> None:
    """The picture of the montage at this time is the one of the piece's source that the truth names."""
    red, _, blue = np.median(shown[:20], axis=(0, 1))
    number = int(piece.file.split("_")[1].split(".")[0])
    if piece.kind == "pan":
        assert (red, blue) == (pytest.approx(still_colour(number), abs=4), pytest.approx(255, abs=8))
    else:
        assert (red, blue) == (pytest.approx(video_colour(number), abs=8), pytest.approx(0, abs=8))
        assert number_of(shown) == round((piece.source_start_s + at_s - piece.start_s) * FPS)


class TestFile:
    def test_every_picture_is_the_one_that_the_truth_names(self, folder, tmp_path):
        shots = plan_montage(
            np.random.default_rng(0), some_sources(folder), fps=FPS, num_shots=12, num_cuts=6, shot_s=(2, 3)
        )
        truth = write_montage(tmp_path / "montage.mp4", shots, fps=FPS, size_px=SIZE_PX)
        assert (truth.file, len(truth.pieces)) == ("montage.mp4", 12)
        shown = list(read_pictures(tmp_path / "montage.mp4"))
        assert len(shown) == round(truth.duration_s * FPS)
        for at_s, pixels in shown:
            (piece,) = [piece for piece in truth.pieces if piece.start_s - 1e-3 <= at_s < piece.end_s - 1e-3]
            assert_shows(pixels, piece, at_s)

    def test_an_edit_of_a_montage_shows_the_pieces_of_its_part(self, folder, tmp_path):
        shots = plan_montage(np.random.default_rng(1), some_sources(folder), fps=FPS, num_shots=5, num_cuts=3)
        montage = write_montage(tmp_path / "montage.mp4", shots, fps=FPS, size_px=SIZE_PX)
        second = montage.pieces[1]
        start_s, end_s = second.start_s + 0.7, montage.pieces[3].start_s + 0.4
        edit = cut_clip(tmp_path / "montage.mp4", tmp_path / "clip.mp4", start_s=start_s, duration_s=end_s - start_s)
        pieces = pieces_shown(montage, edit.start_s, edit.end_s)
        assert [piece.file for piece in pieces] == [piece.file for piece in montage.pieces[1:4]]
        assert (pieces[0].start_s, pieces[-1].end_s) == (edit.start_s, edit.end_s)
        for at_s, pixels in read_pictures(tmp_path / "clip.mp4"):
            in_montage_s = edit.start_s + at_s
            (piece,) = [piece for piece in pieces if piece.start_s - 1e-3 <= in_montage_s < piece.end_s - 1e-3]
            assert_shows(pixels, piece, in_montage_s)

    def test_the_same_plan_gives_the_same_bytes(self, folder, tmp_path):
        for name in ("a.mp4", "b.mp4"):
            shots = plan_montage(np.random.default_rng(2), some_sources(folder), fps=FPS, num_shots=4)
            write_montage(tmp_path / name, shots, fps=FPS, size_px=SIZE_PX)
        assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()

    def test_the_whole_of_a_narrow_video_is_shown_between_bars(self, tmp_path):
        write_video(tmp_path / "narrow.mp4", [picture((200, 200, 200), 96, 32)] * 5, FPS)
        shot = Shot(Source(tmp_path / "narrow.mp4", "narrow", 0.5), 5, 0.0)
        write_montage(tmp_path / "montage.mp4", [shot], fps=FPS, size_px=SIZE_PX)
        _, shown = next(read_pictures(tmp_path / "montage.mp4"))
        assert shown[:, 28:36].min() > 180
        assert shown[:, :20].max() < 40
        assert shown[:, 44:].max() < 40

    def test_a_long_montage_streams(self, folder, tmp_path):
        size_px, duration_s = (128, 96), 120.0
        sources = some_sources(folder, videos=0)
        shots = plan_host(np.random.default_rng(0), sources, fps=FPS, duration_s=duration_s, shot_s=(4, 8))
        tracemalloc.start()
        write_montage(tmp_path / "long.mp4", shots, fps=FPS, size_px=size_px)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert video_facts(tmp_path / "long.mp4").duration_s == pytest.approx(duration_s)
        assert peak_bytes < duration_s * FPS * 128 * 96 * 3 / 10  # all pictures together are 44 MB


class TestPlan:
    @given(seeds, st.sampled_from([6, 10, 12, 29.97]))
    def test_no_piece_is_shown_twice_and_every_shot_is_in_range(self, seed, fps):
        shots = plan_montage(np.random.default_rng(seed), some_sources(videos=6, video_s=14.3), fps=fps)
        truth = montage_truth("montage.mp4", shots, fps=fps)
        assert 4 <= len(shots) <= 16
        assert all(2.0 - 1e-6 <= length_s <= 8.0 + 1e-6 for length_s in lengths_s(shots, fps))
        assert_no_piece_twice(truth.pieces)
        assert all(piece.source_end_s <= 14.3 + 1e-6 for piece in truth.pieces if piece.kind == "cut")

    @given(seeds, st.floats(20.0, 90.0))
    def test_a_host_lasts_exactly_as_long_as_asked_for(self, seed, duration_s):
        shots = plan_host(np.random.default_rng(seed), some_sources(stills=60), fps=FPS, duration_s=duration_s)
        assert sum(shot.num_pictures for shot in shots) == round(duration_s * FPS)
        assert all(2.0 <= length_s <= 8.0 for length_s in lengths_s(shots))
        assert_no_piece_twice(truth_of(shots).pieces)

    @given(seeds)
    def test_every_place_of_a_short_video_can_be_cut_and_the_seed_decides(self, seed):
        sources = some_sources(stills=0, videos=3, video_s=9.0)
        first, again = (
            plan_montage(np.random.default_rng(seed), sources, fps=FPS, num_shots=4, shot_s=(2, 3)) for _ in range(2)
        )
        assert first == again
        assert_no_piece_twice(truth_of(first).pieces)

    def test_other_seeds_draw_other_plans(self):
        plans = [plan_montage(np.random.default_rng(seed), some_sources(), fps=FPS) for seed in range(20)]
        assert len({tuple(plan) for plan in plans}) == 20
        assert {len(plan) for plan in plans} <= set(range(4, 17))
        assert len({len(plan) for plan in plans}) > 5

    @pytest.mark.parametrize("num_cuts", [0, 2, 5])
    def test_so_many_shots_are_cuts_as_asked_for(self, num_cuts):
        plans = [
            plan_montage(
                np.random.default_rng(seed), some_sources(video_s=20.0), fps=FPS, num_shots=5, num_cuts=num_cuts
            )
            for seed in range(8)
        ]
        assert {sum(shot.start_s is not None for shot in plan) for plan in plans} == {num_cuts}

    def test_no_still_comes_with_its_double(self):
        doubles = [Source(Path(f"still_{i}.jpg"), "pair", footage="the same picture") for i in range(2)]
        with pytest.raises(DataError, match="run out after 1 of 2 shots"):
            plan_montage(np.random.default_rng(0), doubles, fps=FPS, num_shots=2)

    def test_two_files_of_one_footage_are_not_both_cut(self):
        files = [Source(Path(f"copy_{i}.mp4"), "0", 30.0, footage="recording") for i in range(2)]
        for seed in range(10):
            shots = plan_montage(np.random.default_rng(seed), files, fps=FPS, num_shots=3, shot_s=(2, 4))
            assert len({shot.source.path for shot in shots}) == 1
            assert_no_piece_twice(truth_of(shots).pieces)

    @given(seeds)
    def test_nothing_that_is_to_be_avoided_is_shown(self, seed):
        sources = some_sources(video_s=20.0, stills=40)
        rng = np.random.default_rng(seed)
        earlier = [
            *truth_of(plan_montage(rng, sources, fps=12, num_shots=6, num_cuts=3), "a.mp4").pieces,
            *truth_of(plan_montage(rng, sources, fps=12, num_shots=6, num_cuts=3), "b.mp4").pieces,
        ]
        shots = plan_montage(
            rng,
            sources,
            fps=FPS,
            num_shots=8,
            shot_s=(2, 3),
            avoid_components={"video:1", "still:7"},
            avoid_pieces=earlier,
        )
        pieces = truth_of(shots).pieces
        assert not any(piece.shares(old) for piece in pieces for old in earlier)
        assert not {piece.component for piece in pieces} & {"video:1", "still:7"}

    def test_a_footage_with_pieces_of_two_files_behind_it_is_avoided_whole(self):
        files = [Source(Path(f"copy_{i}.mp4"), "0", 30.0, footage="recording") for i in range(2)]
        pieces = [Piece(f"copy_{i}.mp4", "cut", "0", "recording", 0.0, 2.0, 0.0, 2.0) for i in range(2)]
        only_first = plan_montage(np.random.default_rng(0), files, fps=FPS, num_shots=4, avoid_pieces=pieces[:1])
        assert {shot.source.path.name for shot in only_first} == {"copy_0.mp4"}
        with pytest.raises(DataError, match="run out after 0 of 4 shots"):
            plan_montage(np.random.default_rng(0), files, fps=FPS, num_shots=4, avoid_pieces=pieces)

    @given(seeds)
    def test_a_compilation_shows_four_seconds_of_every_video_in_their_order(self, seed):
        sources = [Source(Path(f"{i}.mp4"), f"c{i}", 4.0 + i) for i in range(5)]
        pieces = montage_truth("m.mp4", plan_compilation(np.random.default_rng(seed), sources, fps=15), fps=15).pieces
        assert [piece.file for piece in pieces] == [source.path.name for source in sources]
        assert [piece.end_s for piece in pieces] == pytest.approx([4, 8, 12, 16, 20])
        assert all(0 <= p.source_start_s < p.source_end_s <= 4.0 + i + 1e-6 for i, p in enumerate(pieces))

    def test_a_video_shorter_than_its_clip_is_an_error(self):
        with pytest.raises(DataError, match="the pieces run out"):
            plan_compilation(np.random.default_rng(0), [Source(Path("a.mp4"), "a", 3.9)], fps=15)

    def test_when_the_pieces_run_out_the_error_says_what_is_lacking(self):
        sources = some_sources(videos=1, stills=3)
        with pytest.raises(DataError, match=r"run out after 3 of 9 shots: 3 stills hold no unused piece of 2 s"):
            plan_montage(np.random.default_rng(0), sources, fps=FPS, num_shots=9, num_cuts=0)
        with pytest.raises(DataError, match=r"1 footages hold .*give more videos"):
            plan_montage(np.random.default_rng(0), sources, fps=FPS, num_shots=9, num_cuts=9)
        with pytest.raises(DataError, match=r"s before the end of 500.0 s .*3 stills and 1 footages"):
            plan_host(np.random.default_rng(0), sources, fps=FPS, duration_s=500.0)

    def test_two_hours_are_about_1440_shots_and_planned_at_once(self):
        sources = some_sources(videos=40, video_s=20.0, stills=1600)
        started = time.perf_counter()
        shots = plan_host(np.random.default_rng(0), sources, fps=25, duration_s=7200.0)
        assert time.perf_counter() - started < 5  # well below a second on any machine that runs nothing else
        assert 1380 < len(shots) < 1500
        assert sum(shot.num_pictures for shot in shots) == 7200 * 25
        assert len({shot.source.footage for shot in shots if shot.start_s is None}) == sum(
            shot.start_s is None for shot in shots
        )

    def test_little_footage_is_spread_over_the_whole_of_a_host(self):
        sources = some_sources(videos=40, video_s=10.0, stills=900)
        clip = Shot(Source(Path("clip.mp4"), "clip", 10.0), 100, 0.0)
        shots = plan_host(np.random.default_rng(0), sources, fps=FPS, duration_s=3600.0, clip=clip, clip_at_s=1000.0)
        cuts_s = [piece.start_s for piece in truth_of(shots).pieces if piece.kind == "cut" and piece.file != "clip.mp4"]
        assert len(cuts_s) > 30
        assert np.median(cuts_s) == pytest.approx(1800, abs=400)
        assert max(np.diff([0, *cuts_s, 3600])) < 600

    @given(seeds)
    def test_a_clip_lies_once_in_its_host_and_its_component_nowhere_else(self, seed):
        sources = some_sources(stills=40)
        clip = Shot(sources[1], 35, 1.2)
        shots = plan_host(np.random.default_rng(seed), sources, fps=FPS, duration_s=60.0, clip=clip)
        assert sum(shot.num_pictures for shot in shots) == 600
        assert [shot for shot in shots if shot.source.component == "video:1"] == [clip]
        assert all(2.0 <= length_s <= 8.0 for length_s in lengths_s([shot for shot in shots if shot != clip]))

    @pytest.mark.parametrize("at_s", [0.0, 2.0, 13.7, 26.5])
    def test_a_clip_starts_where_it_is_placed(self, at_s):
        sources = some_sources()
        clip = Shot(sources[0], 35, 0.5)
        shots = plan_host(np.random.default_rng(3), sources, fps=FPS, duration_s=30.0, clip=clip, clip_at_s=at_s)
        (piece,) = [piece for piece in truth_of(shots).pieces if piece.component == "video:0"]
        assert (piece.start_s, piece.end_s) == (at_s, pytest.approx(at_s + 3.5))
        assert (piece.source_start_s, piece.source_end_s) == (0.5, 4.0)

    @pytest.mark.parametrize("at_s", [1.0, 25.5, 28.0, -3.0])
    def test_a_clip_that_leaves_no_room_for_shots_is_refused(self, at_s):
        sources = some_sources()
        with pytest.raises(ValueError, match=r"around a clip of 3.5 s at .* leave no room for shots of 2 s"):
            plan_host(
                np.random.default_rng(3),
                sources,
                fps=FPS,
                duration_s=30.0,
                clip=Shot(sources[0], 35, 0.5),
                clip_at_s=at_s,
            )

    def test_impossible_lengths_are_refused(self):
        rng = np.random.default_rng(0)
        with pytest.raises(ValueError, match="no whole number of pictures lasts"):
            plan_montage(rng, some_sources(), fps=1, shot_s=(2.2, 2.8))
        with pytest.raises(ValueError, match="double the longest"):
            plan_host(rng, some_sources(), fps=FPS, duration_s=60.0, shot_s=(4, 6))
        with pytest.raises(ValueError, match="6 of 5 shots"):
            plan_montage(rng, some_sources(), fps=FPS, num_shots=5, num_cuts=6)


def pan(still: str, component: str | None = None) -> Piece:
    return Piece(still, "pan", component or f"still:{still}", still, 0.0, 3.0)


def cut(video: str, start_s: float, end_s: float, *, footage: str | None = None, component: str | None = None) -> Piece:
    length_s = end_s - start_s
    return Piece(video, "cut", component or f"video:{video}", footage or video, 0.0, length_s, start_s, end_s)


def montage_of(name: str, *pieces: Piece) -> MontageTruth:
    placed, at_s = [], 0.0
    for piece in pieces:
        length_s = piece.end_s - piece.start_s
        placed.append(Piece(**{**vars(piece), "start_s": at_s, "end_s": at_s + length_s}))
        at_s += length_s
    return MontageTruth(name, tuple(placed))


class TestPiece:
    @pytest.mark.parametrize(
        ("a", "b", "same"),
        [
            (pan("x"), pan("x"), True),
            (pan("x"), pan("y"), False),
            (cut("v", 0, 4), cut("v", 3, 6), True),
            (cut("v", 0, 4), cut("v", 4, 6), False),
            (cut("v", 1, 2), cut("v", 0, 9), True),
            (cut("v", 0, 4), cut("w", 0, 4), False),
            (cut("v", 0, 4, footage="f"), cut("w", 20, 24, footage="f"), True),  # their times cannot be compared
        ],
    )
    def test_is_the_same_if_it_is_one_still_or_its_times_overlap(self, a, b, same):
        assert a.shares(b) is b.shares(a) is same

    def test_a_pan_has_no_time_in_its_still_and_a_cut_has(self):
        with pytest.raises(ValueError, match="a cut has times"):
            Piece("v.mp4", "cut", "0", "v", 0.0, 1.0)
        with pytest.raises(ValueError, match="a pan has none"):
            Piece("s.jpg", "pan", "0", "s", 0.0, 1.0, 0.0, 1.0)
        with pytest.raises(ValueError, match="no interval"):
            Piece("v.mp4", "cut", "0", "v", 0.0, 1.0, 3.0, 2.0)


class TestTruth:
    MONTAGE = montage_of("m.mp4", cut("v", 2.0, 6.0), pan("x"), cut("w", 10.0, 13.0))

    def test_comes_back_from_its_file(self, tmp_path):
        write_montage_truth(tmp_path / "m.json", self.MONTAGE)
        assert read_montage_truth(tmp_path / "m.json") == self.MONTAGE

    @pytest.mark.parametrize("content", ["", "[]", '{"file": "m.mp4"}', '{"file": "m.mp4", "pieces": [{"file": 1}]}'])
    def test_a_file_that_is_none_is_named(self, tmp_path, content):
        (tmp_path / "m.json").write_text(content)
        with pytest.raises(DataError, match=r"m\.json: no truth of a montage .*make the montage again"):
            read_montage_truth(tmp_path / "m.json")

    def test_has_no_gaps(self):
        with pytest.raises(ValueError, match=r"a piece ends at 3\.0, the next starts at 4.0"):
            MontageTruth("m.mp4", (pan("x"), Piece("y", "pan", "y", "y", 4.0, 5.0)))
        with pytest.raises(ValueError, match="starts at 0"):
            MontageTruth("m.mp4", ())

    def test_a_part_shows_its_pieces_clipped_on_both_sides(self):
        first, second, third = pieces_shown(self.MONTAGE, 1.0, 7.5)
        assert (first.start_s, first.end_s, first.source_start_s, first.source_end_s) == (1.0, 4.0, 3.0, 6.0)
        assert (second.file, second.start_s, second.end_s, second.source_start_s) == ("x", 4.0, 7.0, None)
        assert (third.start_s, third.end_s, third.source_start_s, third.source_end_s) == (7.0, 7.5, 10.0, 10.5)
        assert pieces_shown(self.MONTAGE, 0.0, 10.0) == self.MONTAGE.pieces

    @pytest.mark.parametrize(("start_s", "end_s"), [(3.0, 3.0), (-1.0, 2.0), (10.0, 12.0)])
    def test_a_part_outside_shows_nothing_and_is_refused(self, start_s, end_s):
        with pytest.raises(ValueError, match=r"is no part of its 10\.0 s"):
            pieces_shown(self.MONTAGE, start_s, end_s)


VIDEOS = {
    "montage": montage_of("m.mp4", cut("v", 0, 4, component="1"), pan("x"), pan("y")),
    "same still": montage_of("n.mp4", pan("x"), pan("z")),
    "double of a still": montage_of("o.mp4", pan("y2", component="still:y")),
    "other time of the video": montage_of("p.mp4", cut("v", 20, 24, component="1")),
    "same component": montage_of("q.mp4", cut("u", 0, 4, component="1")),
    "another file of the footage": montage_of("s.mp4", cut("w", 0, 4, footage="v", component="mislabelled")),
    "the video itself": PlainVideo("v", "1"),
    "a video of the component": PlainVideo("t.mp4", "1"),
    "a pan over the still": PlainVideo("x", "still:x"),
    "an edit of the montage": montage_of("m.mp4", cut("v", 0, 4, component="1"), pan("x"), pan("y")),
    "other montage": montage_of("r.mp4", pan("a"), cut("b", 0, 4, component="2")),
    "other video": PlainVideo("b2.mp4", "3"),
    "other still": PlainVideo("c", "still:c"),
}  # fmt: skip
UNRELATED = ("other montage", "other video", "other still")


class TestRelated:
    @pytest.mark.parametrize("name", VIDEOS)
    def test_who_shares_a_piece_or_a_component_with_a_montage_is_related_to_it(self, name):
        assert related(VIDEOS["montage"], VIDEOS[name]) is (name not in UNRELATED)
        assert related(VIDEOS[name], VIDEOS["montage"]) is (name not in UNRELATED)

    @given(st.data())
    def test_shared_pieces_always_relate(self, data):
        rng = np.random.default_rng(data.draw(seeds))
        a, b = (
            truth_of(plan_montage(rng, some_sources(videos=6, stills=30), fps=FPS, num_shots=4, shot_s=(2, 3)), name)
            for name in ("a.mp4", "b.mp4")
        )
        sharing = any(x.shares(y) or x.component == y.component for x in a.pieces for y in b.pieces)
        assert related(a, b) is related(b, a) is sharing

    def test_many_at_once_are_as_pair_by_pair(self):
        videos = list(VIDEOS.values())
        expected = np.array([[related(a, b) for b in videos[3:]] for a in videos])
        np.testing.assert_array_equal(related_matrix(videos, videos[3:]), expected)
        look_up = RelatedVideos(videos[3:])
        for video, row in zip(videos, expected, strict=True):
            np.testing.assert_array_equal(look_up.of(video), np.flatnonzero(row))
            assert look_up.of(video).dtype == np.int64

    def test_no_videos_have_no_pairs(self):
        assert related_matrix([], []).shape == (0, 0)

    def test_thousands_are_quick(self):
        videos = [PlainVideo(f"{i}.mp4", f"video:{i // 3}") for i in range(60_000)]
        started = time.perf_counter()
        look_up = RelatedVideos(videos)
        assert [look_up.of(video).tolist() for video in videos[:3]] == [[0, 1, 2]] * 3
        assert time.perf_counter() - started < 20  # pair by pair would be 3.6 billion comparisons

"""The made files and the truth of the yardstick, on a small data set of the same form."""

import csv
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from visil.benchmarks import benchmark_data
from visil.benchmarks.benchmark_data import (
    DISTRACTOR,
    EDIT,
    LONG_NO_MATCH,
    LOOK_ALIKE,
    MAX_QUERY_S,
    MONTAGE,
    NO_MATCH,
    NUM_DESIGNS,
    NUM_SHOTS,
    REAL,
    BenchmarkSettings,
    digest_of_tables,
    prepare,
    shown_partners,
)
from visil.benchmarks.benchmark_files import Compilation
from visil.errors import DataError
from visil.evaluation.real_videos import read_real_videos
from visil.synth.edits import LEVELS
from visil.synth.furniture import FURNITURE
from visil.synth.montage_truth import read_montage_truth
from visil.synth.truth import EditTruth, read_truths
from visil.synth.video_file import video_facts, write_video

# file -> duration, footage, component, split
VIDEOS = {
    "a.mp4": (12.0, "a", "a", "test"),
    "b.mp4": (6.0, "b", "b", "test"),
    "b_copy.mp4": (6.0, "b", "b", "test"),
    "b_part.mp4": (2.0, "b", "b", "test"),
    "b_scene.mp4": (4.5, "b2", "b", "test"),
    "c.mp4": (3.0, "c", "c", "test"),  # too short to be edited
    "d.mp4": (12.0, "d", "d", "train"),
    "e.mp4": (12.0, "e", "e", "val"),
}
PAIRS = [["b.mp4", "b_copy.mp4", "ND", ""], ["b.mp4", "b_part.mp4", "PART", ""], ["b.mp4", "b_scene.mp4", "SI", ""]]
FOOTAGE = {
    "lab_1.mp4": (6.0, "lab_1", "lab", "test"),
    "lab_2.mp4": (6.0, "lab_2", "lab", "test"),
    "lab_3.mp4": (3.0, "lab_3", "lab", "test"),
    "road.mp4": (6.0, "road", "road", "val"),
}
FAMILIES = ("crop", "mirror", "clip_inside", "compilation")  # the third is temporal and has a host
NUM_STILLS = 64
NUM_HOSTS = 14
SETTINGS = BenchmarkSettings(
    "test", num_queries=4, num_furniture=1, num_no_match=2, num_hosts=NUM_HOSTS, num_long=2, families=FAMILIES
)


def jpeg(rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="image2pipe") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 80, 60, "yuvj420p"
        blocks = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = blocks.repeat(10, axis=0).repeat(10, axis=1)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def write_table(path, columns, rows) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def write_clips(folder: Path, clips: dict[str, tuple[float, str, str, str]]) -> None:
    folder.mkdir()
    for number, (name, (duration_s, *_)) in enumerate(clips.items()):
        pictures = [np.full((48, 64, 3), 30 * number + i % 30, dtype=np.uint8) for i in range(round(4 * duration_s))]
        write_video(folder / name, pictures, 4)
    write_table(
        folder / "manifest.csv",
        ["file", "group", "footage", "duration_s"],
        [[name, component, footage, duration_s] for name, (duration_s, footage, component, _) in clips.items()],
    )
    write_table(
        folder / "split.csv",
        ["file", "component", "split"],
        [[name, component, split] for name, (*_, component, split) in clips.items()],
    )


@pytest.fixture(scope="module", autouse=True)
def one_source_of_a_component():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark_data, "MAX_SOURCES_OF_COMPONENT", 1)
        yield


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_clips(folder / "videos", VIDEOS)
    write_clips(folder / "footage", FOOTAGE)
    write_table(folder / "videos" / "pairs.csv", ["a", "b", "label", "note"], PAIRS)
    images = folder / "images"
    images.mkdir()
    kinds = ["barrel", "anchor", "camera"]
    rows = [
        ["s.tar", f"{i:06d}.jpg", "test", "caltech", f"101_ObjectCategories/{kinds[i % 3]}/image_{i}.jpg"]
        for i in range(NUM_STILLS)
    ]
    rows[0][2] = "train"
    rows[1][3] = "bower-media-samples/big-buck-bunny-480p-30s"
    write_table(images / "index.csv", ["shard", "name", "split", "source", "path"], rows)
    rng = np.random.default_rng(0)
    pictures = [jpeg(rng) for _ in rows]
    pictures[5] = pictures[4]  # a repeat
    with tarfile.open(images / "s.tar", "w") as tar:
        for (_, name, *_), content in zip(rows, pictures, strict=True):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return folder


@pytest.fixture(scope="module")
def benchmark_of_test(data_folder, tmp_path_factory):
    pytest.importorskip("imagehash")
    return prepare(data_folder, tmp_path_factory.mktemp("work"), SETTINGS, workers=2)


@pytest.fixture(scope="module")
def shown(benchmark_of_test):
    """Names of the relevant and of the left-out videos of every edited query."""
    names = np.array([video.path.name for video in benchmark_of_test.videos])
    relevant, unrelated = benchmark_of_test.is_relevant, benchmark_of_test.is_unrelated
    return {
        query.path.name: (query, set(names[relevant[i]]), set(names[~relevant[i] & ~unrelated[i]]))
        for i, query in enumerate(benchmark_of_test.queries)
    }


def pictures_of(videos) -> set[str]:
    return {token for video in videos for token in video.tokens if token.startswith("file:") and ".jpg" in token}


def test_a_picture_has_one_use_and_those_of_another_split_or_of_the_film_of_the_videos_have_none(benchmark_of_test):
    videos, queries = benchmark_of_test.videos, benchmark_of_test.queries
    sides = [
        pictures_of(video for video in videos if video.kind == MONTAGE),
        pictures_of(video for video in videos if video.kind not in (MONTAGE, REAL)),
        pictures_of(query for query in queries if query.family == "clip_inside" and not query.of_montage),
        pictures_of(query for query in queries if query.kind not in (EDIT, LONG_NO_MATCH)),
    ]
    assert all(sides)
    assert sum(map(len, sides)) == len(set().union(*sides))
    assert not {"file:000000.jpg", "file:000001.jpg"} & set().union(*sides)


def test_the_library_holds_the_real_videos_of_the_split_and_a_video_of_every_other_picture(benchmark_of_test):
    by_kind = {}
    for video in benchmark_of_test.videos:
        by_kind.setdefault(video.kind, []).append(video)
        assert video.path.exists()
    of_test = {name for name, (*_, split) in (VIDEOS | FOOTAGE).items() if split == "test"}
    assert {video.path.name for video in by_kind[REAL]} == of_test
    assert len(by_kind[MONTAGE]) == 3  # clip_inside has one footage of 10 s, and 4 queries
    assert all(len(by_kind[kind]) == 1 for kind in FURNITURE)
    unused = NUM_STILLS - 2 - 3 * NUM_SHOTS - NUM_HOSTS - len(FURNITURE) - 2 - 2  # hosts, negatives, look-alikes
    assert len(by_kind[DISTRACTOR]) + len(FURNITURE) == unused


def test_a_family_has_a_query_of_every_footage_long_enough_for_it_and_else_of_montages(benchmark_of_test):
    def sources(family: str, level: str) -> list[str]:
        of_cell = [q for q in benchmark_of_test.queries if (q.family, q.level) == (family, level)]
        return sorted("montage" if query.of_montage else query.source.name[0] for query in of_cell)

    for level in LEVELS:
        assert sources("crop", level) == ["a", "b", "l", "montage"]  # of the laboratory one
        assert sources("clip_inside", level) == ["a", "montage", "montage", "montage"]
    assert {query.level for query in benchmark_of_test.queries if query.family == "mirror"} == {"strong"}


def test_compilations_show_four_seconds_of_each_of_their_sources_and_are_relevant_to_those_alone(shown):
    compilations = [row for row in shown.values() if row[0].family == "compilation"]
    assert [query.level for query, *_ in compilations] == ["mild"] * 4 + ["strong"] * 4
    for query, relevant, left_out in compilations:
        truth = read_montage_truth(query.path.with_suffix(".json"))
        assert {piece.file for piece in truth.pieces} == relevant
        num_clips = 6  # of footages a, b and one of the laboratory, and of the montages: there are no more
        assert len(truth.pieces) == len(relevant) == num_clips
        assert [piece.end_s - piece.start_s for piece in truth.pieces] == pytest.approx([4.0] * num_clips)
        assert video_facts(query.path).duration_s == pytest.approx(4.0 * num_clips)
        assert query.tokens.issuperset(f"file:{file}" for file in relevant)
        if "b.mp4" in relevant:
            assert "b_scene.mp4" in left_out


def test_a_compilation_is_made_anew_when_a_source_is():
    job = Compilation(Path("c.mp4"), (), 15, (64, 48), source_keys=("a",))
    assert job.key != replace(job, source_keys=("b",)).key


def test_long_queries_without_a_match_show_stills_that_no_video_of_the_library_shows(benchmark_of_test):
    long = [(i, query) for i, query in enumerate(benchmark_of_test.queries) if query.kind == LONG_NO_MATCH]
    assert len(long) == 2
    for i, query in long:
        assert video_facts(query.path).duration_s == pytest.approx(60.0)
        pieces = read_montage_truth(query.path.with_suffix(".json")).pieces
        assert len({piece.file for piece in pieces}) == len(pieces) == 20
        assert not pictures_of([query]) & pictures_of(benchmark_of_test.videos)
        assert not benchmark_of_test.is_relevant[i].any()
    assert not any(query.is_pooled for _, query in long)


def test_queries_show_at_most_ten_seconds_of_their_source(benchmark_of_test):
    for query in benchmark_of_test.queries:
        if query.kind == EDIT and query.source is not None:
            (truth,) = read_truths(query.path.with_suffix(".json"))
            assert truth.end_s - truth.start_s <= MAX_QUERY_S + 0.3
            assert truth.source == query.source.name
            assert video_facts(query.path).duration_s <= MAX_QUERY_S + 0.3


def test_relevant_are_the_source_and_its_copies_and_what_is_only_related_is_left_out(shown):
    for query, relevant, left_out in shown.values():
        if query.source is not None and query.source.name == "b.mp4":
            assert relevant == {"b.mp4", "b_copy.mp4", "b_part.mp4"}
            assert "b_scene.mp4" in left_out
        if query.source is not None and query.source.name == "a.mp4":
            assert relevant == {"a.mp4"}


def test_footage_is_relevant_to_its_own_edits_alone_and_related_to_all_of_its_component(shown):
    edits = [row for row in shown.values() if row[0].source is not None and row[0].source.name.startswith("lab")]
    assert {len(relevant) for _, relevant, _ in edits} == {1}
    for query, relevant, left_out in edits:
        assert relevant == {query.source.name}
        assert left_out >= {"lab_1.mp4", "lab_2.mp4", "lab_3.mp4"} - relevant
    assert len({query.source.name for query, *_ in edits}) == 1
    assert "lab_3.mp4" not in {query.source.name for query, *_ in edits}  # too short


def test_a_name_that_is_in_both_folders_is_refused(data_folder, tmp_path):
    for name in ("videos", "images"):
        (tmp_path / name).symlink_to(data_folder / name)
    write_clips(tmp_path / "footage", {"a.mp4": (1.0, "a", "lab", "test")})
    with pytest.raises(DataError, match=r"'a.mp4' is the name of a file of .*videos too; rename one"):
        prepare(tmp_path, tmp_path / "work", SETTINGS, workers=1)


def test_an_edit_of_a_montage_is_relevant_to_it_alone_and_related_to_the_videos_it_is_cut_from(shown):
    edits = [row for row in shown.values() if row[0].of_montage]
    assert edits
    for query, relevant, left_out in edits:
        assert relevant == {query.source.name}
        pieces = read_montage_truth(query.source.with_suffix(".json")).pieces
        cut_from = {piece.file for piece in pieces if piece.kind == "cut"}
        assert len({piece.component for piece in pieces if piece.kind == "cut"}) <= 1
        assert cut_from <= left_out
        assert not {piece.file for piece in pieces if piece.kind == "pan"} & left_out


def test_montages_have_no_piece_in_common(benchmark_of_test):
    montages = [video for video in benchmark_of_test.videos if video.kind == MONTAGE]
    pieces = [p for video in montages for p in read_montage_truth(video.path.with_suffix(".json")).pieces]
    assert len(pieces) == NUM_SHOTS * len(montages)
    assert not any(a.shares(b) for i, a in enumerate(pieces) for b in pieces[:i])


def test_queries_whose_sources_are_related_are_one_unit_of_the_bootstrap(benchmark_of_test):
    unit = {}
    for query in benchmark_of_test.queries:
        if query.source is not None:
            unit.setdefault(query.source.name, set()).add(query.unit)
    assert all(len(units) == 1 for units in unit.values())
    for query in benchmark_of_test.queries:
        if query.of_montage:
            for token in query.tokens:
                if token.removeprefix("file:") in unit:
                    assert unit[token.removeprefix("file:")] == {query.unit}


def test_negatives_have_no_match_and_look_alikes_share_a_subject_with_the_library(benchmark_of_test):
    kinds_apart = (EDIT, LONG_NO_MATCH)
    negatives = [(i, query) for i, query in enumerate(benchmark_of_test.queries) if query.kind not in kinds_apart]
    kinds = [query.kind for _, query in negatives]
    assert sorted(kinds) == sorted([*FURNITURE, NO_MATCH, NO_MATCH, LOOK_ALIKE, LOOK_ALIKE])
    for i, query in negatives:
        assert not benchmark_of_test.is_relevant[i].any()
        if query.kind == LOOK_ALIKE:
            assert query.subject in {video.subject for video in benchmark_of_test.videos}


def test_every_design_of_furniture_is_on_both_sides(benchmark_of_test):
    sides = [
        {(thing.kind, thing.design) for thing in things if thing.design >= 0}
        for things in (benchmark_of_test.videos, benchmark_of_test.queries)
    ]
    assert sides[0] == sides[1]
    assert {kind for kind, _ in sides[0]} == set(FURNITURE)
    assert BenchmarkSettings("val").num_furniture % NUM_DESIGNS == 0  # both sides run through the same designs


def test_pictures_that_repeat_are_related_whatever_they_are_used_for(benchmark_of_test):
    holders = [
        {token for token in thing.tokens if token.startswith("component:still")}
        for thing in (*benchmark_of_test.videos, *benchmark_of_test.queries)
        if {"file:000004.jpg", "file:000005.jpg"} & thing.tokens
    ]
    assert all("component:still:000004.jpg" in tokens for tokens in holders)
    assert holders


def test_a_second_run_finds_what_is_there(benchmark_of_test, data_folder):
    made = {path: path.stat().st_mtime_ns for path in benchmark_of_test.folder.rglob("*.mp4")}
    again = prepare(data_folder, benchmark_of_test.folder.parent, SETTINGS, workers=2)
    assert again.queries == benchmark_of_test.queries
    assert again.videos == benchmark_of_test.videos
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_the_same_settings_make_the_same_bytes_elsewhere(benchmark_of_test, data_folder, tmp_path):
    again = prepare(data_folder, tmp_path, SETTINGS, workers=2)
    assert again.folder.name == benchmark_of_test.folder.name
    made = sorted(benchmark_of_test.folder.rglob("*.mp4"))
    assert len(made) > 30
    for path in made:
        assert path.read_bytes() == (again.folder / path.relative_to(benchmark_of_test.folder)).read_bytes(), path


def test_other_amounts_are_made_in_a_folder_of_their_own_and_fewer_families_in_the_same():
    usual = BenchmarkSettings("val")
    assert BenchmarkSettings("val", families=("crop",)).name == usual.name
    names = {usual.name, SETTINGS.name, BenchmarkSettings("test").name, BenchmarkSettings("val", seed=1).name}
    assert len(names | {BenchmarkSettings("val", num_queries=2).name}) == 5


def test_too_few_pictures_are_an_error(data_folder, tmp_path):
    pytest.importorskip("imagehash")
    with pytest.raises(DataError, match="pictures are too few"):
        prepare(data_folder, tmp_path, BenchmarkSettings("test", families=("mirror",)), workers=1)


@pytest.mark.parametrize(
    ("shown_s", "partners"),
    [(6.0, {"b_copy.mp4", "b_part.mp4"}), (4.0, {"b_copy.mp4"}), (3.0, set())],
)
def test_copies_of_the_source_count_only_if_they_must_show_what_the_query_shows(data_folder, shown_s, partners):
    real = read_real_videos(data_folder / "videos")
    truth = EditTruth("q.mp4", "b.mp4", "clip", 0.5, 0.0, shown_s, 0.0, shown_s)
    assert shown_partners(real, truth) == partners


class TestDigestOfTables:
    @pytest.fixture
    def data(self, tmp_path):
        for name in ("videos/manifest", "videos/pairs", "videos/split", "images/index"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / f"{name}.csv").write_text(name)
        return tmp_path

    @pytest.mark.parametrize("table", ["videos/pairs.csv", "images/index.csv", "footage/split.csv"])
    def test_another_table_is_another_yardstick(self, data, table):
        before = digest_of_tables(data)
        assert digest_of_tables(data) == before
        (data / table).parent.mkdir(exist_ok=True)
        (data / table).write_text("other")
        assert digest_of_tables(data) != before

    def test_a_missing_table_is_named(self, data):
        (data / "videos/pairs.csv").unlink()
        with pytest.raises(DataError, match=r"pairs\.csv: a table of the benchmarks cannot be read"):
            digest_of_tables(data)

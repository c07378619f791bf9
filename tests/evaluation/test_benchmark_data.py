"""The made files of the benchmarks on a small data set of the same form."""

import csv
import io
import tarfile

import av
import numpy as np
import pytest

from visil.errors import DataError
from visil.evaluation.benchmark_data import EDIT_FAMILIES, edited_queries, montage_queries, prepare
from visil.synth.truth import read_truths
from visil.synth.video_file import video_facts, write_video

VIDEOS = {"a.mp4": 10.5, "b.mp4": 11.0, "b_copy.mp4": 10.5, "c.mp4": 6.0, "d.mp4": 10.5}  # d is a training video


def jpeg(level: int) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="image2pipe") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 80, 60, "yuvj420p"
        picture = np.full((60, 80, 3), level, dtype=np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def write_table(path, columns, rows) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    videos, images = folder / "videos", folder / "images"
    videos.mkdir()
    images.mkdir()
    for number, (name, duration_s) in enumerate(VIDEOS.items()):
        pictures = [np.full((48, 64, 3), 40 * number + i, dtype=np.uint8) for i in range(round(4 * duration_s))]
        write_video(videos / name, pictures, 4)
    write_table(
        videos / "manifest.csv",
        ["file", "group", "footage", "duration_s"],
        [[name, name[0], name[0], duration_s] for name, duration_s in VIDEOS.items()],
    )
    write_table(videos / "pairs.csv", ["a", "b", "label", "note"], [["b.mp4", "b_copy.mp4", "ND", ""]])
    write_table(
        videos / "split.csv",
        ["file", "component", "split"],
        [[name, name[0], "train" if name == "d.mp4" else "test"] for name in VIDEOS],
    )
    rows = [["s.tar", f"{i:06d}.jpg", "train" if i == 0 else "test", "somewhere"] for i in range(12)]
    rows[1][3] = "bower-media-samples/big-buck-bunny-480p-30s"
    write_table(images / "index.csv", ["shard", "name", "split", "source"], rows)
    with tarfile.open(images / "s.tar", "w") as tar:
        for i, (_, name, *_) in enumerate(rows):
            member = tarfile.TarInfo(name)
            member.size = len(jpeg(20 * i))
            tar.addfile(member, io.BytesIO(jpeg(20 * i)))
    return folder


@pytest.fixture(scope="module")
def data(data_folder, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    return prepare(data_folder, work, seed=0, num_distractors=4, num_hosts=2, workers=2)


def test_a_test_picture_has_one_role_and_no_other_picture_has_any(data):
    distractors = sorted((data.folder / "distractors").glob("*.mp4"))
    assert len(distractors) == 4
    assert video_facts(distractors[0]).duration_s == 8.0
    assert len({*data.hosts, *data.pans}) == 2 + 4  # of 10 test pictures
    assert not {"000000.jpg", "000001.jpg"} & {path.name for path in [*data.hosts, *data.pans]}


def test_every_family_has_queries_of_different_footage(data):
    queries = edited_queries(data, per_family=2, workers=2)
    assert all(path.exists() for path in queries)
    for family in EDIT_FAMILIES:
        sources = [truth.source for truth in queries.values() if truth.family == family]
        assert sorted(source[0] for source in sources) == ["a", "b"]  # long enough test videos only


def test_too_few_footages_are_an_error(data):
    with pytest.raises(DataError, match="3 queries a family need as many footages"):
        edited_queries(data, per_family=3, workers=2)


def test_a_clip_is_in_its_montage_and_nothing_related_to_any_clip_is_in_any(data):
    queries = montage_queries(data, num_montages=2, montage_s=40, workers=2)
    assert sorted(query.source[0] for query in queries) == ["a", "b"]
    for query in queries:
        assert video_facts(query.clip).duration_s == pytest.approx(10.0)
        assert video_facts(query.montage).duration_s == pytest.approx(40.0)
        assert query.truth.end_s - query.truth.start_s == pytest.approx(10.0)
        parts = read_truths(query.montage.with_suffix(".json"))
        assert {truth.source for truth in parts} - {query.source} <= {"c.mp4"}


def test_a_second_run_finds_what_is_there_and_another_seed_makes_its_own(data, data_folder):
    made = {path: path.stat().st_mtime_ns for path in data.folder.rglob("*.mp4")}
    again = prepare(data_folder, data.folder.parent, seed=0, num_distractors=4, num_hosts=2, workers=2)
    edited_queries(again, per_family=2, workers=2)
    assert again == data
    assert {path: path.stat().st_mtime_ns for path in made} == made
    other = prepare(data_folder, data.folder.parent, seed=1, num_distractors=4, num_hosts=2, workers=2)
    assert other.folder != data.folder
    assert other.hosts != tuple(other.folder / host.relative_to(data.folder) for host in data.hosts)

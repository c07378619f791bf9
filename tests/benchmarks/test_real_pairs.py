"""Which files a split of real videos and footage holds, and what is true of every pair of them."""

from pathlib import Path

import numpy as np
import pytest

from visil.benchmarks.real_pairs import NO_LABEL, SELF, UNRELATED, read_real_pairs
from visil.errors import DataError

VIDEOS = {  # file: group, component, split, ship_ok
    "one.mp4": ("one", "0", "test", "yes"),
    "one_copy.mp4": ("one", "0", "test", "no"),
    "two.mp4": ("two", "0", "test", "no"),
    "three.mp4": ("three", "1", "test", "no"),
    "chosen_on.mp4": ("chosen_on", "2", "val", "yes"),
    "fitted.mp4": ("fitted", "3", "train", "yes"),
    "never_fitted.mp4": ("never_fitted", "4", "train", "no"),
}
FOOTAGE = {
    "room_a.mp4": ("room", "0", "test", "no"),  # its component is not that of the videos called 0
    "room_b.mp4": ("room", "0", "test", "no"),
    "hall.mp4": ("hall", "0", "test", "no"),
    "sky.mp4": ("sky", "sky", "train", "yes"),
    "lab.mp4": ("lab", "lab", "train", "no"),
}
PAIRS = [("one.mp4", "one_copy.mp4", "ND"), ("one.mp4", "three.mp4", "REL"), ("three.mp4", "fitted.mp4", "REL")]


@pytest.fixture
def data(tmp_path) -> Path:
    for folder, rows in (("videos", VIDEOS), ("footage", FOOTAGE)):
        (tmp_path / folder).mkdir()
        manifest, split = ["file,group"], ["file,component,split,ship_ok"]
        for file, (group, *rest) in rows.items():
            (tmp_path / folder / file).touch()
            manifest.append(f"{file},{group}")
            split.append(",".join((file, *rest)))
        (tmp_path / folder / "manifest.csv").write_text("\n".join(manifest))
        (tmp_path / folder / "split.csv").write_text("\n".join(split))
    pairs = ["a,b,label", *(",".join(pair) for pair in PAIRS)]
    (tmp_path / "videos" / "pairs.csv").write_text("\n".join(pairs))
    return tmp_path


def files_of(data: Path, split: str) -> list[str]:
    return [path.name for path in read_real_pairs(data, data / "work", split).paths]


def test_a_split_holds_its_videos_and_its_footage(data):
    real = read_real_pairs(data, data / "work", "test")
    assert real.paths[:4] == tuple(data / "videos" / name for name in list(VIDEOS)[:4])
    assert real.paths[4:] == tuple(data / "footage" / name for name in list(FOOTAGE)[:3])
    assert real.is_labelled.tolist() == [True] * 4 + [False] * 3
    assert real.folder == data / "work" / "real-test"


def test_val_also_holds_the_rows_of_train_that_no_weights_that_ship_are_fitted_on(data):
    assert files_of(data, "val") == ["chosen_on.mp4", "never_fitted.mp4", "lab.mp4"]


def test_a_row_of_train_of_which_the_table_does_not_say_whether_it_is_fitted_is_not_in_val(data):
    split = data / "videos" / "split.csv"
    split.write_text(split.read_text().replace("train,no", "train,"))
    assert files_of(data, "val") == ["chosen_on.mp4", "lab.mp4"]


def test_all_holds_every_row(data):
    assert files_of(data, "all") == [*VIDEOS, *FOOTAGE]


def test_a_pair_is_what_its_label_says_or_unknown_within_a_group_or_component_or_unrelated(data):
    real = read_real_pairs(data, data / "work", "test")
    expected = {
        ("one.mp4", "one_copy.mp4"): "ND",
        ("one.mp4", "two.mp4"): NO_LABEL,  # of one component
        ("one_copy.mp4", "two.mp4"): NO_LABEL,
        ("one.mp4", "three.mp4"): "REL",
        ("room_a.mp4", "room_b.mp4"): NO_LABEL,
        ("room_a.mp4", "hall.mp4"): NO_LABEL,
        ("room_b.mp4", "hall.mp4"): NO_LABEL,
    }
    number = {path.name: i for i, path in enumerate(real.paths)}
    for a, i in number.items():
        for b, j in number.items():
            known = expected.get((a, b)) or expected.get((b, a)) or (SELF if a == b else UNRELATED)
            assert real.relation[i, j] == known, (a, b)


def test_files_of_one_group_are_no_strangers_though_the_table_has_them_in_two_components(data):
    split = data / "footage" / "split.csv"
    split.write_text(split.read_text().replace("room_b.mp4,0", "room_b.mp4,elsewhere"))
    relation = read_real_pairs(data, data / "work", "test").relation[4:, 4:]
    assert relation.tolist() == [[SELF, NO_LABEL, NO_LABEL], [NO_LABEL, SELF, UNRELATED], [NO_LABEL, UNRELATED, SELF]]


def test_no_file_answers_for_itself(data):
    real = read_real_pairs(data, data / "work", "test")
    assert real.video_paths == real.query_paths == real.paths
    assert (real.takes_no_votes == np.eye(7, dtype=bool)).all()


def test_a_file_that_is_not_there_is_named(data):
    (data / "footage" / "hall.mp4").unlink()
    with pytest.raises(DataError, match=r"hall\.mp4: is not there, though manifest\.csv"):
        read_real_pairs(data, data / "work", "test")


def test_a_split_without_labelled_videos_is_an_error(data):
    split = data / "videos" / "split.csv"
    split.write_text(split.read_text().replace("test", "val"))
    with pytest.raises(DataError, match=r"no row of split\.csv is of the split 'test'"):
        read_real_pairs(data, data / "work", "test")

import subprocess
import sys

import pytest

from visil.errors import DataError
from visil.evaluation import data_sets
from visil.evaluation.data_sets import NAMES, load, load_segments


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(data_sets, "annotation_cache", lambda: folder)
    return folder


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("FIVR-5K", "FIVR-5K"),
        ("fivr5k", "FIVR-5K"),
        ("Fivr_5k", "FIVR-5K"),
        ("evve", "EVVE"),
        ("CC_WEB_VIDEO", "CC_WEB_VIDEO"),
        ("cc-web", "CC_WEB_VIDEO"),
        ("svd", "SVD"),
    ],
)
def test_names_may_be_spelt_freely(text, name):
    assert load(text).name == name


def test_a_folder_without_tables_is_told_what_it_lacks(tmp_path):
    with pytest.raises(DataError, match=r"a folder without manifest\.csv and pairs\.csv"):
        load(tmp_path)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(DataError, match="fivr: no such data set or file; data sets are FIVR-200K, ") as caught:
        load("fivr")
    assert all(name in str(caught.value) for name in NAMES)


@pytest.mark.parametrize(
    ("name", "files", "origin"),
    [
        ("VCDB", r"vcdb\.json or vcdb\.pickle or annotation/\*\.txt", "VCDB project page"),
        ("vcdb-dist", r"vcdb\.json or vcdb\.pickle or .*", "VCDB project page"),
        ("VCDB+D", r"vcdb\.json or vcdb\.pickle or .*", "VCDB project page"),
        ("VSC2022", r"test_matching_ground_truth\.csv", "facebookresearch/vsc2022"),
    ],
)
def test_a_missing_annotation_says_where_it_comes_from_and_goes(cache, tmp_path, name, files, origin):
    with pytest.raises(
        DataError, match=f"does not come with visil; get it from .*{origin}.* put {files} into"
    ) as caught:
        load(name)
    assert str(cache) in str(caught.value)
    with pytest.raises(DataError, match=f"into {tmp_path}, or name"):
        load(name, annotations=tmp_path)


@pytest.mark.parametrize("place", ["", "vcdb"])
def test_annotations_are_found_in_the_folder_or_in_the_data_sets_own_inside_it(tmp_path, place):
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / "vcdb.json").write_text('{"queries": ["a", "b"], "positives": {"a": ["b"]}}', encoding="utf-8")
    assert load("vcdb", annotations=tmp_path).queries == ("a", "b")


def test_annotations_are_found_in_the_cache(cache):
    (cache / "svd").mkdir()
    assert [task.name for task in load("SVD").tasks] == ["SVD labelled"]
    (cache / "svd" / "unlabeled-data-id").write_text("u1\nu2\n", encoding="utf-8")
    truth = load("SVD")
    assert [task.name for task in truth.tasks] == ["SVD labelled", "SVD unlabelled"]
    assert truth.database[-2:] == ("u1", "u2")


def test_a_named_folder_must_hold_what_it_is_named_for(tmp_path):
    with pytest.raises(DataError, match=r"SVD: .*svdbase.* put unlabeled-data-id into"):
        load("SVD", annotations=tmp_path)
    with pytest.raises(DataError, match="EVVE: its annotation is at hand"):
        load("EVVE", annotations=tmp_path)


def test_splits_are_those_of_the_data_set(tmp_path):
    for split in ("train", "test"):
        text = "query_id,ref_id,query_start,query_end,ref_start,ref_end\nQ1,R1,0,1,0,1\n"
        (tmp_path / f"{split}_matching_ground_truth.csv").write_text(text, encoding="utf-8")
    assert load("VSC2022", annotations=tmp_path).name == "VSC2022 test"
    assert load("vsc2022", annotations=tmp_path, split="train").name == "VSC2022 train"
    assert load_segments("vsc 2022", annotations=tmp_path).name == "VSC2022 test"
    with pytest.raises(DataError, match=r"put val_matching_ground_truth\.csv"):
        load("VSC2022", annotations=tmp_path, split="val")
    with pytest.raises(DataError, match="no split 'dev'; there are train, val, test"):
        load("VSC2022", annotations=tmp_path, split="dev")
    with pytest.raises(DataError, match="FIVR-5K: has no splits"):
        load("FIVR-5K", split="test")


def test_segments_are_for_the_data_sets_that_have_them(tmp_path):
    with pytest.raises(DataError, match="EVVE: has no true segments; VSC2022 and VCSL have"):
        load_segments("evve")
    with pytest.raises(DataError, match="VCSL: is measured on segments only"):
        load("VCSL")
    (tmp_path / "pair_file_val.csv").write_text("query_id,reference_id\na,b\n", encoding="utf-8")
    (tmp_path / "label_file_uuid_total.json").write_text('{"a-b": [[0, 0, 1, 1]]}', encoding="utf-8")
    assert load_segments("VCSL", annotations=tmp_path, split="val").boxes.pairs == (("a", "b"),)


def test_files_of_the_users_own_win_over_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evve").mkdir()
    assert load("evve").name == "EVVE"  # a folder of videos, say
    (tmp_path / "evve" / "manifest.csv").write_text("file,group\na,g\nb,g\n", encoding="utf-8")
    (tmp_path / "evve" / "pairs.csv").write_text("a,b,label\na,b,ND\n", encoding="utf-8")
    truth = load("evve")
    assert (truth.name, truth.queries) == ("evve", ("a", "b"))


def test_the_packaged_data_sets_load_without_heavy_imports():
    code = (
        "import sys; from visil.evaluation.data_sets import NAMES, load; load('FIVR-5K'); "
        "print([name for name in ('torch', 'timm', 'av', 'lance', 'numpy', 'pyarrow') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"

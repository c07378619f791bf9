from pathlib import Path

import pytest

from visil.errors import DataError
from visil.evaluation.real_videos import AMBIGUOUS, ND, PART, SI, read_footage, read_real_videos

MANIFEST = "file,group,footage,duration_s\na.mp4,g,f,10.5\nb.mp4,g,f,3\nc.mp4,h,k,8\nd.mp4,i,l,8\n"
PAIRS = "a,b,label,note\na.mp4,b.mp4,ND,hard: a collage\nb.mp4,c.mp4,SI,\nc.mp4,d.mp4,REL,\n"


def folder_with(tmp_path: Path, **tables: str) -> Path:
    for name, text in ({"manifest": MANIFEST, "pairs": PAIRS} | tables).items():
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_pair_holds_both_ways(tmp_path):
    real = read_real_videos(folder_with(tmp_path))
    assert real.partners("a.mp4", {ND, PART}) == {"b.mp4"}
    assert real.partners("b.mp4", {ND, SI}) == {"a.mp4", "c.mp4"}
    assert real.partners("d.mp4", {ND, PART, SI, AMBIGUOUS}) == set()
    assert real.pairs["b.mp4"]["a.mp4"].is_hard
    assert not real.pairs["c.mp4"]["b.mp4"].is_hard


def test_the_split_comes_from_its_table(tmp_path):
    split = "file,component,split\na.mp4,0,test\nb.mp4,0,test\nc.mp4,0,test\nd.mp4,1,train\n"
    real = read_real_videos(folder_with(tmp_path, split=split))
    assert [video.file for video in real.of_split("test")] == ["a.mp4", "b.mp4", "c.mp4"]
    assert real.videos["a.mp4"].duration_s == 10.5
    assert real.videos["d.mp4"].component == "1"


def test_the_split_also_says_what_weights_that_ship_may_be_fitted_on(tmp_path):
    split = "file,component,split,ship_ok\na.mp4,0,train,yes\nb.mp4,0,train,no\nc.mp4,0,test,\nd.mp4,1,train,perhaps\n"
    real = read_real_videos(folder_with(tmp_path, split=split))
    assert [video.ship_ok for video in real.videos.values()] == [True, False, None, None]


def test_footage_has_no_labelled_pairs(tmp_path):
    (folder_with(tmp_path) / "pairs.csv").unlink()
    real = read_footage(tmp_path)
    assert (real.videos.keys(), real.pairs) == ({"a.mp4", "b.mp4", "c.mp4", "d.mp4"}, {})
    assert real.videos["a.mp4"].component == real.videos["b.mp4"].component != real.videos["c.mp4"].component
    with pytest.raises(DataError, match=r"pairs\.csv: cannot be read"):
        read_real_videos(tmp_path)


def test_without_a_split_everything_is_test_and_components_join_what_is_more_than_related(tmp_path):
    real = read_real_videos(folder_with(tmp_path))
    component = {file: video.component for file, video in real.videos.items()}
    assert len(real.of_split("test")) == 4
    assert component["a.mp4"] == component["b.mp4"] == component["c.mp4"] != component["d.mp4"]


def test_families_join_groups_and_every_label_and_nothing_else_of_a_component(tmp_path):
    manifest = MANIFEST + "e.mp4,j,m,8\nf.mp4,j,n,8\n"
    split = "file,component,split\n" + "".join(f"{name}.mp4,0,test\n" for name in "abcdef")
    pairs = "a,b,label\na.mp4,b.mp4,ND\nc.mp4,d.mp4,REL\n"
    families = read_real_videos(folder_with(tmp_path, manifest=manifest, split=split, pairs=pairs)).families()
    assert families["a.mp4"] == families["b.mp4"]
    assert families["c.mp4"] == families["d.mp4"]
    assert families["e.mp4"] == families["f.mp4"]
    assert len(set(families.values())) == 3


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"pairs": "a,b,label\na.mp4,x.mp4,ND\n"}, "'x.mp4' is not in manifest"),
        ({"pairs": "a,b,label\na.mp4,b.mp4,SAME\n"}, "unknown label 'SAME'; known are AMBIGUOUS, ND, PART, REL, SI"),
        ({"pairs": "a,b,label\na.mp4,b.mp4,nd\n"}, "unknown label 'nd'"),
        ({"pairs": "a,b\na.mp4,b.mp4\n"}, "no column label"),
        ({"pairs": "a,b,label\na.mp4,b.mp4,ND\nb.mp4,a.mp4,SI\n"}, "line 3: 'b.mp4' and 'a.mp4' are SI here and ND"),
        ({"pairs": "a,b,label\na.mp4,a.mp4,ND\n"}, "line 2: 'a.mp4' is paired with itself"),
        ({"pairs": "a,b,label\na.mp4,,ND\n"}, "line 2: lacks a, b or label"),
        ({"split": "file,component,split\na.mp4,0,test\n"}, "list different files, such as 'b.mp4'"),
        ({"manifest": MANIFEST + "a.mp4,g,f,1\n"}, "line 6: 'a.mp4' is there twice"),
        ({"manifest": MANIFEST.replace("10.5", "long")}, "duration_s of 'a.mp4' is 'long', not seconds"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, tables, message):
    with pytest.raises(DataError, match=message):
        read_real_videos(folder_with(tmp_path, **tables))


def test_a_pair_listed_both_ways_is_one_pair(tmp_path):
    pairs = "a,b,label,note\na.mp4,b.mp4,ND,hard\nb.mp4,a.mp4,ND,\n"
    real = read_real_videos(folder_with(tmp_path, pairs=pairs))
    assert real.pairs["a.mp4"]["b.mp4"].is_hard
    assert real.pairs.keys() == {"a.mp4", "b.mp4"}


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(DataError, match=r"manifest\.csv: cannot be read"):
        read_real_videos(tmp_path)

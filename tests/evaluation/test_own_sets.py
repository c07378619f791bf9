import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visil.errors import DataError
from visil.evaluation.evaluate import evaluate
from visil.evaluation.ground_truth import GroundTruth, Task
from visil.evaluation.own_sets import is_own_set, own_set
from visil.evaluation.scores import MappedScores

VIDEOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "videos"

MANIFEST = "file,group,footage\n" + "".join(f"{name}.mp4,{name},{name}\n" for name in "abcdefg")
PAIRS = """a,b,label,note
a.mp4,b.mp4,ND,
a.mp4,c.mp4,ND,"hard: a collage, small"
a.mp4,d.mp4,PART,
b.mp4,d.mp4,SI,
a.mp4,e.mp4,AMBIGUOUS,
a.mp4,f.mp4,REL,
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "manifest.csv").write_text(MANIFEST, encoding="utf-8")
    (tmp_path / "pairs.csv").write_text(PAIRS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def read(tmp_path):
    def reader(content: object, name: str = "mine.json") -> GroundTruth:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return own_set(path)

    return reader


def by_name(truth: GroundTruth) -> dict[str, Task]:
    return {task.name: task for task in truth.tasks}


def relevant_in(task: Task) -> dict[str, set[str]]:
    """Of the queries that have any."""
    return {query: set(videos) for query, videos in task.relevant.items() if videos}


class TestFolder:
    def test_every_video_with_a_positive_is_a_query_and_all_are_ranked(self, folder):
        truth = own_set(folder)
        assert truth.queries == ("a.mp4", "b.mp4", "c.mp4", "d.mp4")
        assert truth.database == tuple(f"{name}.mp4" for name in "abcdefg")
        assert not truth.is_open

    def test_levels_add_up(self, folder):
        tasks = by_name(own_set(folder))
        assert list(tasks) == ["ND", "ND+PART", "ND+PART+SI", "ND hard"]
        assert tasks["ND"].relevant["a.mp4"] == {"b.mp4", "c.mp4"}
        assert tasks["ND+PART"].relevant["a.mp4"] == {"b.mp4", "c.mp4", "d.mp4"}
        assert tasks["ND+PART"].relevant["d.mp4"] == {"a.mp4"}
        assert tasks["ND+PART+SI"].relevant["d.mp4"] == {"a.mp4", "b.mp4"}
        assert "d.mp4" not in relevant_in(tasks["ND"])

    def test_every_query_belongs_to_every_task_so_that_what_it_finds_counts_as_false_alarm(self, folder):
        truth = own_set(folder)
        assert all(set(task.relevant) == set(truth.queries) for task in truth.tasks)
        scores = {"a.mp4": {"b.mp4": 0.8, "c.mp4": 0.7, "g.mp4": 0.1}, "d.mp4": {"a.mp4": 1.0, "g.mp4": 0.9}}
        found = evaluate(truth, MappedScores(scores), num_resamples=5).tasks[0]
        # g is found above what is relevant to a; a and d share footage, which is left out of this level
        assert found.micro_average_precision.value.value == pytest.approx((1 / 2 + 2 / 3) / 2)
        assert found.micro_average_precision.strict == pytest.approx((1 / 2 + 2 / 3) / 4)  # b and c have no scores
        assert found.average_precision == {"a.mp4": 1.0}

    def test_positives_of_other_kinds_are_no_false_alarms_of_the_hard_task(self, folder):
        scores = {"a.mp4": {"c.mp4": 0.8}, "b.mp4": {"a.mp4": 1.0, "d.mp4": 0.9}}
        found = evaluate(own_set(folder), MappedScores(scores), num_resamples=5).tasks[-1]
        assert found.micro_average_precision.value.value == 1

    def test_higher_levels_and_ambiguous_pairs_are_left_out_and_related_ones_are_negatives(self, folder):
        tasks = by_name(own_set(folder))
        assert tasks["ND"].left_out["a.mp4"] == {"d.mp4", "e.mp4"}
        assert tasks["ND+PART+SI"].left_out["a.mp4"] == {"e.mp4"}
        assert tasks["ND"].left_out["b.mp4"] == {"d.mp4"}

    def test_hard_pairs_are_a_task_that_leaves_out_the_others(self, folder):
        task = by_name(own_set(folder))["ND hard"]
        assert relevant_in(task) == {"a.mp4": {"c.mp4"}, "c.mp4": {"a.mp4"}}
        assert task.left_out["a.mp4"] == {"b.mp4", "d.mp4", "e.mp4"}

    def test_components_are_the_units_of_the_bootstrap(self, folder):
        truth = own_set(folder)
        assert {truth.component(query) for query in truth.queries} == {"a.mp4"}

    def test_a_split_takes_its_rows_only(self, folder):
        split = "".join(f"{name}.mp4,{name},{'val' if name in 'ab' else 'test'}\n" for name in "abcdefg")
        (folder / "split.csv").write_text("file,component,split\n" + split, encoding="utf-8")
        truth = own_set(folder, split="val")
        assert truth.database == ("a.mp4", "b.mp4")
        assert by_name(truth)["ND"].relevant == {"a.mp4": {"b.mp4"}, "b.mp4": {"a.mp4"}}
        assert len(own_set(folder).database) == 7
        with pytest.raises(DataError, match="no split 'train'; there are test, val"):
            own_set(folder, split="train")
        with pytest.raises(DataError, match="nothing is relevant"):
            own_set(folder, split="test")

    @pytest.mark.skipif(not VIDEOS.exists(), reason="the shared videos are not here")
    def test_the_real_pairs_have_their_46_test_queries(self):
        truth = own_set(VIDEOS, split="test")
        assert truth.name == "videos test"
        assert len(truth.database) == 108
        assert len(relevant_in(by_name(truth)["ND+PART"])) == 46
        assert list(by_name(truth)) == ["ND", "ND+PART", "ND+PART+SI", "ND hard"]


class TestPairs:
    def test_a_table_of_pairs_has_the_same_levels_and_an_open_database(self, folder):
        truth = own_set(folder / "pairs.csv")
        in_folder = by_name(own_set(folder))
        assert {name: task.relevant for name, task in by_name(truth).items()} == {
            name: task.relevant for name, task in in_folder.items()
        }
        assert truth.is_open
        assert set(truth.database) == {"a.mp4", "b.mp4", "c.mp4", "d.mp4"}

    def test_ones_and_zeros_are_relevant_and_not(self, read):
        truth = read("a,b,label\nx,y,1\nx,z,0\n", "pairs.csv")
        assert {task.name: task.relevant for task in truth.tasks} == {"relevant": {"x": {"y"}, "y": {"x"}}}

    def test_pairs_that_are_not_related_join_no_components(self, read):
        truth = read("a,b,label\nx,y,1\nv,w,1\nx,v,0\n", "pairs.csv")
        assert [truth.component(query) for query in truth.queries] == ["x", "x", "v", "v"]

    def test_what_a_person_pastes_from_a_spreadsheet_is_read(self, tmp_path):
        (tmp_path / "pairs.csv").write_bytes(b"\xef\xbb\xbflabel,b,a\r\nND,y,x\r\n\r\nND,x,y\r\n")
        assert own_set(tmp_path / "pairs.csv").queries == ("x", "y")


class TestJson:
    def test_fivr_labels_are_the_tasks_of_fivr(self, read):
        truth = read({"q": {"ND": ["a"], "DS": ["b"], "IS": ["c"]}, "r": {"DA": ["a"]}})
        assert {task.name: task.relevant for task in truth.tasks} == {
            "DSVR": {"q": {"a", "b"}},
            "CSVR": {"q": {"a", "b"}},
            "ISVR": {"q": {"a", "b", "c"}},
            "DAVR": {"r": {"a"}},
        }
        assert [task.detection_name for task in truth.tasks] == ["DSVD", "CSVD", "ISVD", "DAVD"]

    def test_fivr_tasks_are_all_there_whatever_is_relevant_in_them(self, read):
        truth = read({"q": {"DS": ["a"]}})
        found = evaluate(truth, MappedScores({"q": {"a": 0.5}}), num_resamples=5)
        assert [task.name for task in found.tasks] == ["DSVR", "CSVR", "ISVR", "DAVR"]
        assert [task.num_relevant for task in found.tasks] == [1, 1, 1, 0]

    def test_a_level_that_would_say_nothing_new_is_named(self, read):
        truth = read({"q": {"PART": ["a"]}})
        assert list(by_name(truth)) == ["ND+PART"]
        assert truth.warnings == (
            "1 tasks have the relevant videos of another, not shown: ND+PART+SI (as ND+PART)",
            "1 tasks have no relevant videos, not shown: ND",
        )

    def test_a_video_that_is_relevant_and_is_not_is_relevant_with_a_warning(self, read):
        truth = read(
            {"q": {"ND": ["a", "b"], "AMBIGUOUS": ["a"], "REL": ["a", "c"]}, "r": {"SI": ["b"], "PART": ["b"]}}
        )
        assert truth.warnings[0] == (
            "1 videos are listed as relevant and under AMBIGUOUS, REL or 0 for one query: counted as relevant"
        )
        assert by_name(truth)["ND"].relevant["q"] == {"a", "b"}
        assert "1 videos are listed as relevant" in read({"q": {"1": ["a"], "0": ["a"]}}, "other.json").warnings[0]

    def test_labels_of_pairs_are_their_levels(self, read):
        truth = read({"q": {"ND": ["a"], "PART": ["b"], "AMBIGUOUS": ["c"]}})
        assert list(by_name(truth)) == ["ND", "ND+PART"]
        assert by_name(truth)["ND"].left_out == {"q": {"b", "c"}}
        assert truth.warnings == ("1 tasks have the relevant videos of another, not shown: ND+PART+SI (as ND+PART)",)

    def test_other_labels_are_a_task_each(self, read):
        truth = read({"q": {"same logo": ["a"], "same song": ["b"]}})
        assert {task.name: task.relevant for task in truth.tasks} == {
            "same logo": {"q": {"a"}},
            "same song": {"q": {"b"}},
        }

    def test_without_a_database_every_scored_video_is_ranked(self, read):
        truth = read({"q": {"ND": ["a", "b"]}})
        assert truth.is_open
        assert truth.database == ("a", "b")

    def test_a_database_can_be_listed(self, read):
        truth = read({"queries": {"q": {"1": ["a"]}}, "database": ["a", "b", "c"]})
        assert not truth.is_open
        assert truth.queries == ("q",)
        assert truth.database == ("a", "b", "c")
        assert truth.warnings == ()

    def test_a_query_may_be_called_queries(self, read):
        assert read({"queries": {"ND": ["a"]}}).queries == ("queries",)
        assert read({"queries": {"q": {"ND": ["a"]}}}).queries == ("q",)

    def test_what_the_run_can_go_on_with_is_counted(self, read):
        truth = read(
            {
                "queries": {"q": {"1": ["a", "a", "q", "gone"]}, "r": {"1": []}, "s": {}},
                "database": ["a", "b", "b"],
            }
        )
        assert truth.warnings == (
            "1 videos of the database are listed twice: counted once",
            "1 videos are listed twice under one label: counted once",
            "1 queries are listed among their own videos: not counted",
            "2 listed videos are not in the database, such as 'gone': not counted",
            "2 queries have no relevant videos: not in the mAP",
        )
        assert truth.queries == ("q", "r", "s")
        assert relevant_in(truth.tasks[0]) == {"q": {"a", "gone"}}

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ([], "must be {query"),
            ({}, "must be {query"),
            ({"q": ["a"]}, "'q' has no {label"),
            ({"q": {"ND": "a"}}, "'q', 'ND': must be a list of ids"),
            ({"q": {"ND": [1]}}, "'q', 'ND': must be a list of ids"),
            ({"q": {"ND": [""]}}, "'q', 'ND': must be a list of ids"),
            ({"q": {"ND": ["a"], "PRAT": ["b"]}}, "labels ND, PRAT do not belong together"),
            ({"q": {"nd": ["a"]}}, r"labels nd do not belong together \(nd: write ND\)"),
            ({"q": {"1.0": ["a"], "0.0": ["b"]}}, "the label '0.0' is no name of a task; use 1"),
            ({"q": {"1": ["a"], "2": ["b"]}}, "the label '1' is no name of a task"),
            ({"q": {"": ["a"]}}, "the label '' is no name of a task"),
            ({"q": {"DS": ["a"], "SI": ["b"]}}, "labels DS, SI do not belong together"),
            ({"q": {"ND": []}}, "nothing is relevant"),
            ({"q": {"ND": ["q"]}}, "nothing is relevant"),
            ({"q": {"REL": ["a"]}}, "nothing is relevant"),
            ({"queries": {"q": {"ND": ["a"]}}, "database": {"a": 1}}, '"database" must be a list'),
            ({"queries": {"q": {"ND": ["a"]}}, "database": []}, "has no database videos"),
            ({"queries": ["q"], "database": ["a"]}, "must be {query"),
            ('{"q": {"ND": ["a"]}, "q": {}}', "key 'q' comes twice"),
            ('{"q": {"ND": ["a"]', "is no JSON"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, read, content, message):
        with pytest.raises(DataError, match=message) as caught:
            read(content)
        assert "\n" not in str(caught.value)

    @settings(deadline=None)
    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.floats(allow_nan=False)
            | st.sampled_from(["ND", "DS", "queries", "database"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["ND", "SI", "0", "queries", "database", "q"]), inner, max_size=3)
            ),
            max_leaves=8,
        )
    )
    def test_any_json_is_a_data_set_or_a_data_error(self, tmp_path_factory, value):
        path = tmp_path_factory.mktemp("own") / "any.json"
        path.write_text(json.dumps(value), encoding="utf-8")
        try:
            own_set(path)
        except DataError as error:
            assert "\n" not in str(error)


def test_other_files_and_splits_of_files_are_refused(tmp_path):
    for name in ("a.txt", "a.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.txt: a data set is a folder with manifest\.csv"):
        own_set(tmp_path / "a.txt")
    with pytest.raises(DataError, match="has no split 'test'"):
        own_set(tmp_path / "a.json", split="test")
    with pytest.raises(DataError, match="cannot be read"):
        own_set(tmp_path)


def test_a_folder_is_a_data_set_by_its_tables(folder, tmp_path_factory):
    assert is_own_set(folder)
    assert is_own_set(folder / "pairs.csv")
    assert not is_own_set(tmp_path_factory.mktemp("evve"))

"""The published annotations of VCDB, VSC2022 and VCSL are not here: made-up files of their form stand for them."""

import json
import pickle

import pytest

from visil.errors import DataError
from visil.evaluation.copy_sets import id_list, vcdb, vcsl_segments, vsc2022, vsc2022_segments

VCDB = {
    "queries": ["a", "b", "c"],
    "positives": {"a": {"a", "b"}, "b": {"a"}, "c": set()},
    "dataset": ["far1", "far2", "a"],
}
VSC = (
    "ref_id,query_id,query_start,query_end,ref_start,ref_end\n"
    "R200001,Q100001,0.0,4.5,10.0,14.5\n"
    "R200001,Q100001,6.0,8.0,1.0,3.0\n"
    "R200002,Q100003,0.0,1.0,0.0,1.0\n"
)

VCSL = {
    "pair_file_test.csv": "query_id,reference_id\naa,bb\naa,cc\ndd,bb\n",
    "label_file_uuid_total.json": {"aa-bb": [[1, 2, 3, 4], [5, 6, 7, 8]], "dd-bb": [[0, 0, 9, 9]], "x-y": []},
    "split_meta_pairs.json": {"test": {"set 1": ["aa-bb", "aa-cc"], "set 2": ["dd-bb"]}},
}


def write(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


class TestVcdb:
    @pytest.fixture(params=["pickle", "json"])
    def folder(self, request, tmp_path):
        if request.param == "pickle":
            (tmp_path / "vcdb.pickle").write_bytes(pickle.dumps(VCDB))
        else:
            plain = VCDB | {"positives": {query: sorted(videos) for query, videos in VCDB["positives"].items()}}
            (tmp_path / "vcdb.json").write_text(json.dumps(plain), encoding="utf-8")
        return tmp_path

    def test_core_videos_are_queries_and_database(self, folder):
        truth = vcdb(folder, with_distractors=False)
        (task,) = truth.tasks
        assert truth.name == task.name == "VCDB"
        assert truth.queries == truth.database == ("a", "b", "c")
        assert task.relevant == {"a": {"a", "b"}, "b": {"a"}, "c": set()}
        assert not task.counts_query

    def test_with_distractors_both_databases_are_measured(self, folder):
        truth = vcdb(folder, with_distractors=True)
        core, full = truth.tasks
        assert (core.name, full.name) == ("VCDB", "VCDB-DIST")
        assert truth.database == ("a", "b", "c", "far1", "far2")
        assert (core.removed, full.removed) == ({"far1", "far2"}, set())

    def test_the_original_files_list_copied_segments_by_group(self, tmp_path):
        write(
            tmp_path,
            **{
                "annotation__news.txt": "x.flv,y.flv,00:00:10,00:00:20,00:01:00,00:01:10\n"
                "x.flv,y.flv,00:00:30,00:00:40,00:02:00,00:02:10\n"
                "x.flv,x.flv,00:00:30,00:00:40,00:02:00,00:02:10\n",
                "annotation__sport.txt": "\ufeffu.mp4, v.mp4, 0:00:10, 0:00:20, 0:01:00, 0:01:10\r\n\r\n",
                "distractors.txt": "far.mp4\nfar.mp4\n",
            },
        )
        truth = vcdb(tmp_path, with_distractors=True)
        assert truth.queries == ("x.flv", "y.flv", "u.mp4", "v.mp4")
        assert truth.tasks[0].relevant == {
            "x.flv": {"y.flv"},
            "y.flv": {"x.flv"},
            "u.mp4": {"v.mp4"},
            "v.mp4": {"u.mp4"},
        }
        assert truth.database[4:] == ("far.mp4",)

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ([], "needs queries, positives"),
            ({"queries": ["a"]}, "needs queries, positives"),
            ({"queries": "a", "positives": {}}, "queries: must be texts"),
            ({"queries": [1], "positives": {}}, "queries: must be texts"),
            ({"queries": ["a"], "positives": ["a"]}, "positives must be {query: ids}"),
            ({"queries": ["a"], "positives": {"a": "b"}}, "positives of 'a': must be texts"),
            ({"queries": ["a"], "positives": {"b": ["a"]}}, "'b' has relevant videos but is not a query"),
            ({"queries": ["a", "a"], "positives": {}}, "an id is twice"),
            ({"queries": [], "positives": {}}, "has no queries"),
        ],
    )
    def test_another_shape_is_one_line(self, tmp_path, table, message):
        write(tmp_path, **{"vcdb.json": table})
        with pytest.raises(DataError, match=message):
            vcdb(tmp_path, with_distractors=False)

    @pytest.mark.parametrize("row", ["a,b", "a,b,1,2,3,four", "a b 1 2 3 4", "a,b,0:0:1,0:0:2,0:0:3,\0"])
    def test_another_row_is_named(self, tmp_path, row):
        write(tmp_path, **{"annotation__x.txt": "a,b,0:0:1,0:0:2,0:0:3,0:0:4\n" + row})
        with pytest.raises(DataError, match=r"x\.txt, row 2: is "):
            vcdb(tmp_path, with_distractors=False)

    def test_a_hostile_pickle_is_refused_and_not_run(self, tmp_path):
        (tmp_path / "vcdb.pickle").write_bytes(b"cos\nmkdir\n(S'" + str(tmp_path / "made").encode() + b"'\ntR.")
        with pytest.raises(DataError, match=r"vcdb\.pickle: is not read: it wants os\.mkdir"):
            vcdb(tmp_path, with_distractors=False)
        assert not (tmp_path / "made").exists()

    def test_distractors_that_are_not_listed_are_missed(self, tmp_path):
        write(tmp_path, **{"vcdb.json": {"queries": ["a"], "positives": {}}})
        with pytest.raises(DataError, match="lists no distractors"):
            vcdb(tmp_path, with_distractors=True)


class TestVsc2022:
    def test_pairs_with_a_segment_are_relevant_and_all_scored_videos_are_ranked(self, tmp_path):
        write(tmp_path, **{"val_matching_ground_truth.csv": VSC})
        truth = vsc2022(tmp_path, "val")
        (task,) = truth.tasks
        assert truth.name == "VSC2022 val"
        assert task.relevant == {"Q100001": {"R200001"}, "Q100003": {"R200002"}}
        assert task.pools_every_query
        assert truth.is_open

    def test_with_the_tables_of_videos_the_database_is_known(self, tmp_path):
        write(
            tmp_path,
            **{
                "val_matching_ground_truth.csv": VSC,
                "val_query_metadata.csv": "video_id,duration_sec\nQ100001,3\n100002,3\nQ100003,3\n",
                "val_reference_metadata.csv": "video_id,duration_sec\nR200001,3\nR200002,3\nR200009,3\n",
            },
        )
        truth = vsc2022(tmp_path, "val")
        assert truth.queries == ("Q100001", "Q100002", "Q100003")
        assert truth.database == ("R200001", "R200002", "R200009")
        assert not truth.is_open
        write(tmp_path, **{"val_reference_metadata.csv": "video_id\nR200001\n"})
        with pytest.raises(DataError, match="lacks R200002, which has a segment"):
            vsc2022(tmp_path, "val")
        write(tmp_path, **{"val_reference_metadata.csv": "video_id\nR200001\nR200002\n200001\n"})
        with pytest.raises(DataError, match=r"val_reference_metadata\.csv: R200001 is there twice"):
            vsc2022(tmp_path, "val")

    def test_segments_keep_their_times(self, tmp_path):
        write(tmp_path, **{"val_matching_ground_truth.csv": VSC})
        truth = vsc2022_segments(tmp_path, "val")
        assert truth.boxes.pairs == (("Q100001", "R200001"), ("Q100003", "R200002"))
        assert truth.boxes.boxes.tolist() == [[0, 10, 4.5, 14.5], [6, 1, 8, 3], [0, 0, 1, 1]]
        assert truth.metric == "segment AP"


class TestVcsl:
    def test_every_pair_of_the_split_is_there_negatives_without_segments(self, tmp_path):
        truth = vcsl_segments(write(tmp_path, **VCSL), "test")
        assert truth.boxes.pairs == (("aa", "bb"), ("aa", "cc"), ("dd", "bb"))
        assert truth.boxes.pair.tolist() == [0, 0, 2]
        assert truth.boxes.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [0, 0, 9, 9]]
        assert truth.query_sets == {"set 1": [("aa", "bb"), ("aa", "cc")], "set 2": [("dd", "bb")]}
        assert truth.metric == "copy overlap"

    def test_query_sets_are_optional(self, tmp_path):
        write(tmp_path, **{name: text for name, text in VCSL.items() if "meta" not in name})
        assert vcsl_segments(tmp_path, "test").query_sets == {}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"pair_file_test.csv": "query_id,reference_id\naa,bb\naa,bb\n"}, "1 pairs are there twice"),
            ({"pair_file_test.csv": "query,reference\naa,bb\n"}, "no column query_id, reference_id"),
            ({"label_file_uuid_total.json": {"aa-bb": [[1, 2, 3]]}}, "'aa-bb'"),
            ({"split_meta_pairs.json": {"val": {}}}, 'must be {"test"'),
            ({"split_meta_pairs.json": {"test": {"set": "aa-bb"}}}, 'must be {"test"'),
            ({"split_meta_pairs.json": {"test": {"set": ["aa-zz"]}}}, "'aa-zz', which is no pair of test"),
            ({"split_meta_pairs.json": {"test": {"set": [3]}}}, "'3', which is no pair of test"),
        ],
    )
    def test_another_shape_is_one_line(self, tmp_path, change, message):
        write(tmp_path, **(VCSL | change))
        with pytest.raises(DataError, match=message):
            vcsl_segments(tmp_path, "test")


class TestIdList:
    def test_ids_may_start_with_a_dash_and_come_once(self, tmp_path):
        (tmp_path / "ids").write_bytes(b"\xef\xbb\xbf-a\r\n_b\r\n\r\n-a\r\n")
        assert id_list(tmp_path / "ids") == ["-a", "_b"]

    @pytest.mark.parametrize(("content", "message"), [(b"a\0b", "NUL"), (b"\xff", "no text in UTF-8")])
    def test_other_files_are_refused(self, tmp_path, content, message):
        (tmp_path / "ids").write_bytes(content)
        with pytest.raises(DataError, match=message):
            id_list(tmp_path / "ids")

"""Files of copied segments: the CSV of VSC2022, the JSON of VCSL, and everything that can be wrong with one."""

import json

import pytest

from visil.errors import DataError
from visil.evaluation.segment_files import read_predictions, read_vcsl_boxes, read_vsc_segments
from visil.evaluation.segments import COPY_OVERLAP, SEGMENT_AP, PairBoxes, SegmentTruth, evaluate_segments

HEADER = "query_id,ref_id,query_start,query_end,ref_start,ref_end,score"
ROW = "Q000001,R000002,1,2,30,40,0.5"
A, B = ("aa", "bb"), ("aa", "cc")


@pytest.fixture
def csv_of(tmp_path):
    def write(*lines, encoding="utf-8"):
        path = tmp_path / "matches.csv"
        path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
        return path

    return write


@pytest.fixture
def json_of(tmp_path):
    def write(content):
        path = tmp_path / "boxes.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


class TestVscCsv:
    def read(self, path):
        return read_vsc_segments(path, scored=True)

    def test_rows_become_boxes_in_seconds(self, csv_of):
        boxes = self.read(csv_of(HEADER, ROW, "Q000001,R000002,5,6.5,7,8,-1e-3", "Q000003,R000002,0,0,0,0,2"))
        assert boxes.pairs == (("Q000001", "R000002"), ("Q000003", "R000002"))
        assert boxes.pair.tolist() == [0, 0, 1]
        # query start, reference start, query end, reference end
        assert boxes.boxes.tolist() == [[1, 30, 2, 40], [5, 7, 6.5, 8], [0, 0, 0, 0]]
        assert boxes.scores.tolist() == [0.5, -0.001, 2]

    def test_columns_come_in_any_order_among_others(self, csv_of):
        path = csv_of("score,ref_end,note,ref_start,query_end,query_start,ref_id,query_id", "0.5,40,x,30,2,1,2,1")
        assert self.read(path).boxes.tolist() == [[1, 30, 2, 40]]

    def test_integers_become_ids(self, csv_of):
        assert self.read(csv_of(HEADER, "1,42,1,2,30,40,0.5")).pairs == (("Q000001", "R000042"),)

    def test_a_truth_has_no_scores(self, csv_of):
        boxes = read_vsc_segments(csv_of(HEADER.removesuffix(",score"), ROW.removesuffix(",0.5")), scored=False)
        assert boxes.scores.tolist() == [0]

    def test_a_file_without_rows_predicts_nothing(self, csv_of):
        assert len(self.read(csv_of(HEADER)).boxes) == 0

    def test_byte_order_mark_blank_lines_and_spaces_do_no_harm(self, csv_of):
        path = csv_of("\ufeff" + HEADER.replace(",", ", "), "", ROW.replace(",", " , "))
        assert self.read(path).pairs == (("Q000001", "R000002"),)

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("Q000001,R000002,1,2,30,40,nan", "line 3: 'nan' is no finite number"),
            ("Q000001,R000002,1,2,30,40,", "line 3: '' is no finite number"),
            ("Q000001,R000002,1,2,30,40,high", "line 3: 'high' is no finite number"),
            ("Q000001,R000002,1,2,30,inf,1", "line 3: 'inf' is no finite number"),
            ("Q000001,R000002,1,2,30,1e400,1", "line 3: '1e400' is no finite number"),
            ("Q000001,R000002,1,2,30,1e20,1", "times must be finite and at most"),
            ("Q000001,R000002,2,1,30,40,1", "must not end before it starts"),
            ("R000001,R000002,1,2,30,40,1", "line 3: id 'R000001' must be Q and digits"),
            ("Q000001,2.0,1,2,30,40,1", "line 3: id '2.0' must be R and digits"),
            ("Q000001,,1,2,30,40,1", "line 3: id '' must be R and digits"),
            ("Q000001,R000002,1,2", "line 3: 4 cells for 7 columns; is it cut off"),
            ('Q000001,"R000002', "is no CSV|cannot be read"),
        ],
    )
    def test_a_bad_row_is_one_clear_line(self, csv_of, row, message):
        path = csv_of(HEADER, ROW, row)
        with pytest.raises(DataError, match=message) as failure:
            self.read(path)
        assert str(path) in str(failure.value) and "\n" not in str(failure.value)

    @pytest.mark.parametrize(
        ("header", "missing"),
        [("", "query_id"), (HEADER.replace("score", "confidence"), "score"), (HEADER + ",score", "score")],
        ids=["empty file", "no score", "two scores"],
    )
    def test_columns_that_are_missing_or_twice_are_named(self, csv_of, header, missing):
        with pytest.raises(DataError, match=f"{missing}"):
            self.read(csv_of(header, ROW))

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
    def test_another_encoding_is_refused(self, csv_of, encoding):
        with pytest.raises(DataError, match=r"UTF-8|no column"):
            self.read(csv_of(HEADER, ROW, encoding=encoding))

    def test_binary_content_is_refused(self, tmp_path):
        (tmp_path / "a.csv").write_bytes(bytes(range(256)) * 10)
        with pytest.raises(DataError, match="is no CSV in UTF-8"):
            self.read(tmp_path / "a.csv")

    def test_a_field_without_end_is_refused(self, csv_of):
        with pytest.raises(DataError, match=r"is no CSV|cannot be read"):
            self.read(csv_of(HEADER, "Q" + "1" * 200_000 + ",R000002,1,2,30,40,0.5"))

    def test_an_id_of_hundreds_of_digits_is_refused(self, csv_of):
        with pytest.raises(DataError, match="must be Q and digits") as failure:
            self.read(csv_of(HEADER, "7" * 500 + ",R000002,1,2,30,40,0.5"))
        assert len(str(failure.value)) < 400

    def test_no_file_and_a_folder_are_refused(self, tmp_path):
        for path in (tmp_path / "none.csv", tmp_path):
            with pytest.raises(DataError, match=r"is no CSV|cannot be read"):
                self.read(path)


class TestVcslJson:
    def test_keys_become_the_pairs_of_the_split(self, json_of):
        boxes = read_vcsl_boxes(json_of({"aa-bb": [[1, 30, 2, 40.5], [0, 0, 1, 1]], "aa-cc": []}), [A, B])
        assert boxes.pairs == (A, B)
        assert boxes.pair.tolist() == [0, 0]
        assert boxes.boxes.tolist() == [[1, 30, 2, 40.5], [0, 0, 1, 1]]

    def test_ids_may_hold_dashes(self, json_of):
        pair = ("a-b", "c-d")
        assert read_vcsl_boxes(json_of({"a-b-c-d": []}), [pair]).pairs == (pair,)

    def test_pairs_of_other_splits_are_kept_apart(self, json_of):
        boxes = read_vcsl_boxes(json_of({"x-y": [[0, 0, 1, 1]], "aa-bb": [[0, 0, 2, 2]]}), [A, B])
        assert boxes.pairs == (("x-y", ""), A)
        assert boxes.among([A, B]).boxes.tolist() == [[0, 0, 2, 2]]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ([], "must be a JSON object"),
            ("null", "must be a JSON object"),
            ({}, "holds no pair of the split; keys look like 'aa-bb'"),
            ({"aa,bb": []}, "holds no pair of the split"),
            ({"aa-bb": {}}, "'aa-bb': must be a list of"),
            ({"aa-bb": [1, 2, 3, 4]}, "'aa-bb': must be a list of"),
            ({"aa-bb": [[1, 2, 3]]}, "'aa-bb': must be a list of"),
            ({"aa-bb": [[0, 0, 1, 1]], "x-y": [[0, 0, 1, 1, 0.5]]}, "'x-y': must be a list of"),
            ({"aa-bb": [[0, 0, 1, "1"]]}, "'aa-bb': '1' is no number"),
            ({"aa-bb": [[0, 0, 1, True]]}, "'aa-bb': 'True' is no number"),
            ({"aa-bb": [[0, 0, 1, None]]}, "'aa-bb': 'None' is no number"),
            ({"aa-bb": [[0, 0, 1, [1]]]}, "is no number"),
            ({"aa-bb": [[0, 0, 1, float("nan")]]}, "NaN is no number"),
            ({"aa-bb": [[0, 0, 1, float("inf")]]}, "Infinity is no number"),
            ('{"aa-bb": [[0, 0, 1, 1e999]]}', "times must be finite"),
            ({"aa-bb": [[0, 0, 1, 10**400]]}, "too large"),
            ('{"aa-bb": [[0, 0, 1, ' + "9" * 5000 + "]]}", "is no JSON|cannot be read"),
            ({"aa-bb": [[5, 0, 1, 1]]}, "aa - bb: .*must not end before it starts"),
            ('{"aa-bb": [], "aa-bb": []}', "key 'aa-bb' comes twice"),
            ('{"aa-bb": [[0, 0, 1', "is no JSON|cannot be read"),
            ("", "is no JSON|cannot be read"),
            ('{"aa-bb": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ],
    )
    def test_a_wrong_file_is_one_clear_line(self, json_of, content, message):
        path = json_of(content)
        with pytest.raises(DataError, match=message) as failure:
            read_vcsl_boxes(path, [A, B])
        text = str(failure.value)
        assert str(path) in text and "\n" not in text and len(text) < 500

    def test_another_encoding_and_no_file_are_refused(self, tmp_path):
        (tmp_path / "a.json").write_bytes('{"aa-bb": []}'.encode("utf-16"))
        for path in (tmp_path / "a.json", tmp_path / "none.json", tmp_path):
            with pytest.raises(DataError, match=r"is no JSON|cannot be read"):
                read_vcsl_boxes(path, [A])


class TestReadPredictions:
    BOX = (1, 30, 2, 40)

    def test_vsc2022_is_evaluated_from_its_csv(self, csv_of):
        truth = SegmentTruth("VSC2022", PairBoxes.of({("Q000001", "R000002"): [self.BOX]}), SEGMENT_AP)
        figures = evaluate_segments(truth, read_predictions(csv_of(HEADER, ROW), truth)).figures
        assert figures == pytest.approx({"segment AP": 1, "pairwise micro-AP": 1})

    def test_vcsl_is_evaluated_from_its_json(self, json_of):
        truth = SegmentTruth("VCSL", PairBoxes.of({A: [self.BOX], B: []}), COPY_OVERLAP)
        evaluation = evaluate_segments(truth, read_predictions(json_of({"aa-bb": [self.BOX], "x-y": []}), truth))
        assert evaluation.figures["F1"] == pytest.approx(1, abs=1e-5)
        assert len(evaluation.warnings) == 2

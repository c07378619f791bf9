"""Whatever happens to a file that an evaluation reads, it is read or refused in one line that names it.

Every reader gets a good file and then many damaged ones: cut off, bytes changed, lost, put in or doubled, and
words put in that mean something in the format. A failure names the damage by its seed.
"""

import json
import os
import pickle
import re
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from visil.errors import DataError
from visil.evaluation.copy_sets import id_list, vcdb, vcsl_segments, vsc2022
from visil.evaluation.data_sets import load
from visil.evaluation.descriptor_track import read_descriptors
from visil.evaluation.evaluate import evaluate
from visil.evaluation.evaluation_report import differences, header, read_report, task_row
from visil.evaluation.ground_truth import GroundTruth, Task
from visil.evaluation.results import Evaluation
from visil.evaluation.safe_pickle import read_pickle
from visil.evaluation.score_files import read_scores
from visil.evaluation.scores import MappedScores
from visil.evaluation.segment_files import read_predictions, read_vcsl_boxes, read_vsc_segments
from visil.evaluation.segments import COPY_OVERLAP, PairBoxes, SegmentTruth, evaluate_segments

NUM_DAMAGES = 100
MAX_MESSAGE = 2000
WORDS = [
    *(b"NaN", b"nan", b"Infinity", b"-inf", b"1e999", b"9" * 400, b"null", b"true", b'"', b"'", b"{", b"}", b"[", b"]"),
    *(b"," * 3, b"\n", b"\r", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\\ud800", b"\\u0000", b"-", b"{}", b"[]", b":"),
    *(b"[" * 5000, b'{"a":' * 5000, "\u2028".encode(), "\U0001f3ac".encode(), b"\x80", b"\x1b[31m", b" " * 100),
]
VSC_ROWS = (
    "query_id,ref_id,query_start,query_end,ref_start,ref_end,score\nQ000001,R000002,1,2.5,30,40,0.5\n3,4,0,1,0,1,-1\n"
)
PAIR = ("aa", "bb")
VCSL_BOXES = {"aa-bb": [[1, 30, 2.5, 40], [0, 0, 1, 1]], "aa-cc": []}
SCORES = {"a": {"b": 0.5, "c": -1e-3}, "b": {"a": 1, "c": 0}}


def damaged(good: bytes, rng: np.random.Generator) -> bytes:
    """One to three damages."""
    bad = bytearray(good)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, len(bad) + 1))
        length = int(rng.integers(1, 20))
        match rng.integers(0, 6):
            case 0:
                del bad[at:]
            case 1:
                bad[at : at + 1] = bytes([rng.integers(0, 256)])
            case 2:
                del bad[at : at + length]
            case 3:
                bad[at:at] = WORDS[rng.integers(len(WORDS))]
            case 4:
                bad[at:at] = bad[at : at + length]
            case _:
                bad[at : at + length] = WORDS[rng.integers(len(WORDS))]
    return bytes(bad)


def npz_bytes(folder: Path, **arrays: np.ndarray) -> bytes:
    path = folder / "made.npz"
    np.savez(path, **arrays)
    return path.read_bytes()


def scores_of(path: Path) -> None:
    for _ in read_scores(path):
        pass


def segments_of(path: Path) -> None:
    truth = SegmentTruth("VCSL", PairBoxes.of({PAIR: [(1, 30, 2.5, 40)]}), COPY_OVERLAP)
    evaluate_segments(truth, read_predictions(path, truth))


def small_evaluation() -> Evaluation:
    task = Task("found", {query: frozenset(scores) for query, scores in SCORES.items()})
    return evaluate(GroundTruth("mine", tuple("ab"), tuple("abc"), (task,)), MappedScores(SCORES), num_resamples=3)


def report_of(evaluation: Evaluation) -> bytes:
    return text({**header(evaluation, {}), "rows": [task_row(task) for task in evaluation.tasks]})


def text(value: object) -> bytes:
    return json.dumps(value).encode()


def vcsl_folder(folder: Path) -> None:
    (folder / "pair_file_test.csv").write_text("query_id,reference_id\naa,bb\naa,cc\n")
    (folder / "label_file_uuid_total.json").write_bytes(text(VCSL_BOXES))
    (folder / "split_meta_pairs.json").write_bytes(text({"test": {"set": ["aa-bb", "aa-cc"]}}))


def vsc_folder(folder: Path) -> None:
    (folder / "test_matching_ground_truth.csv").write_text(VSC_ROWS)
    for side, ids in (("query", "Q000001\n3\n"), ("reference", "R000002\n4\n")):
        (folder / f"test_{side}_metadata.csv").write_text(f"video_id\n{ids}")


def own_folder(folder: Path) -> None:
    (folder / "manifest.csv").write_text("file,group\n" + "".join(f"{name}.mp4,{name}\n" for name in "abcd"))
    (folder / "pairs.csv").write_text("a,b,label\na.mp4,b.mp4,ND\nc.mp4,d.mp4,SI\na.mp4,c.mp4,AMBIGUOUS\n")


VCDB_TABLE = {"queries": ["a", "b"], "positives": {"a": {"b"}, "b": {"a"}}, "dataset": ["d"]}
VCDB_JSON = {**VCDB_TABLE, "positives": {"a": ["b"], "b": ["a"]}}

# name of the case -> name of the file, what makes its neighbours, its bytes (None: made by those), what reads it
READERS = {
    "scores, JSON": ("s.json", None, text(SCORES), scores_of),
    "scores, CSV": ("s.csv", None, b"query,video,score\na,b,0.5\na,c,1\nb,a,-1e-3\n", scores_of),
    "segments, VSC2022": ("p.csv", None, VSC_ROWS.encode(), lambda path: read_vsc_segments(path, scored=True)),
    "segments, VCSL": ("p.json", None, text(VCSL_BOXES), lambda path: read_vcsl_boxes(path, [PAIR])),
    "segments, evaluated": ("p.json", None, text(VCSL_BOXES), segments_of),
    "VSC2022 truth": ("test_matching_ground_truth.csv", vsc_folder, None, lambda path: vsc2022(path.parent, "test")),
    "VSC2022 videos": ("test_query_metadata.csv", vsc_folder, None, lambda path: vsc2022(path.parent, "test")),
    "VCSL pairs": ("pair_file_test.csv", vcsl_folder, None, lambda path: vcsl_segments(path.parent, "test")),
    "VCSL labels": ("label_file_uuid_total.json", vcsl_folder, None, lambda path: vcsl_segments(path.parent, "test")),
    "VCSL query sets": ("split_meta_pairs.json", vcsl_folder, None, lambda path: vcsl_segments(path.parent, "test")),
    "VCDB, JSON": ("vcdb.json", None, text(VCDB_JSON), lambda path: vcdb(path.parent, with_distractors=True)),
    "VCDB, pickle": (
        "vcdb.pickle",
        None,
        pickle.dumps(VCDB_TABLE),
        lambda path: vcdb(path.parent, with_distractors=True),
    ),
    "pickle": ("a.pickle", None, pickle.dumps(VCDB_TABLE, 0), read_pickle),
    "own set, JSON": ("set.json", None, text({"a": {"ND": ["b"], "IS": ["c"]}, "b": {"ND": ["a"]}}), load),
    "own set, pairs": ("pairs.csv", None, b"a,b,label\na,b,ND\nc,d,SI\na,c,AMBIGUOUS\n", load),
    "own set, folder": ("pairs.csv", own_folder, None, lambda path: load(path.parent)),
    "own set, manifest": ("manifest.csv", own_folder, None, lambda path: load(path.parent)),
}


class TestDamagedFiles:
    @pytest.mark.parametrize("name", READERS)
    def test_are_read_or_refused_in_one_line(self, tmp_path, name):
        file, neighbours, good, read = READERS[name]
        if neighbours:
            neighbours(tmp_path)
        path = tmp_path / file
        self.check(path, path.read_bytes() if good is None else good, read)

    def test_score_archives_are_read_or_refused_in_one_line(self, tmp_path):
        arrays = {"queries": np.array(["a", "b"]), "videos": np.array(["b", "c"]), "scores": np.eye(2)}
        self.check(tmp_path / "s.npz", npz_bytes(tmp_path, **arrays), scores_of)

    def test_descriptors_are_read_or_refused_in_one_line(self, tmp_path):
        arrays = {"video_ids": np.array(["Q1", "Q2"]), "features": np.eye(2, dtype="f"), "timestamps": np.zeros(2)}
        self.check(tmp_path / "q.npz", npz_bytes(tmp_path, **arrays), lambda path: read_descriptors(path, "Q"))

    def test_reports_of_other_runs_are_read_or_refused_in_one_line(self, tmp_path):
        evaluation = small_evaluation()

        def compare(path):
            other = read_report(path)
            with suppress(DataError):  # one that has no task in common is no damaged file
                differences(evaluation, other)

        self.check(tmp_path / "run.json", report_of(evaluation), compare)

    @pytest.mark.parametrize("number", [b"1e999", b"1" + b"0" * 400], ids=["infinite", "400 digits"])
    def test_a_report_with_a_number_beyond_all_others_is_refused(self, tmp_path, number):
        report = report_of(small_evaluation())
        (tmp_path / "run.json").write_bytes(re.sub(rb'"high": [0-9.]+', b'"high": ' + number, report))
        with pytest.raises(DataError, match=r"run\.json: not a report"):
            read_report(tmp_path / "run.json")

    @staticmethod
    def check(path, good, read):
        path.write_bytes(good)
        read(path)
        num_refused = 0
        for seed in range(NUM_DAMAGES):
            path.write_bytes(damaged(good, np.random.default_rng(seed)))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    # `pickletools` warns of odd escapes itself.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    read(path)
            except DataError as error:
                num_refused += 1
                assert "\n" not in str(error) and len(str(error)) < MAX_MESSAGE, (seed, error)
                assert str(path.parent) in str(error) or path.name in str(error), (seed, error)
            except Exception as error:
                raise AssertionError(f"damage {seed}: {path.read_bytes()[:200]!r}: {error!r}") from error
        assert num_refused > NUM_DAMAGES / 4


@pytest.mark.parametrize(
    "read",
    [
        read_report, read_pickle, read_scores, id_list, lambda path: load(path.parent),
        lambda path: read_vsc_segments(path, scored=True), lambda path: read_vcsl_boxes(path, []),
        lambda path: read_descriptors(path, "Q"), lambda path: vcdb(path.parent, with_distractors=False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_has_no_end_is_refused_before_it_is_opened(tmp_path, read, kind):
    (tmp_path / "annotation").mkdir()
    for name in ("a.json", "manifest.csv", "annotation/a.txt"):
        if kind == "pipe":
            os.mkfifo(tmp_path / name)
        else:
            (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(DataError, match="not a regular file"):
        read(tmp_path / "a.json")

import tomllib
from pathlib import Path

import pytest

from visil.errors import DataError
from visil.evaluation import published_sets
from visil.evaluation.ground_truth import GroundTruth, Task
from visil.evaluation.published_sets import (
    cc_web_video,
    cc_web_video_ground_truth,
    evve,
    fivr_5k,
    fivr_200k,
    fivr_ground_truth,
    svd,
    svd_ground_truth,
)


def task_of(truth: GroundTruth, name: str) -> Task:
    return next(task for task in truth.tasks if task.name == name)


def counts(truth: GroundTruth, name: str) -> tuple[int, int]:
    """Relevant pairs inside the database and apart from the query, and queries that have one."""
    task = task_of(truth, name)
    database = set(truth.database) - task.removed
    sizes = [len((videos & database) - {query}) for query, videos in task.relevant.items()]
    return sum(sizes), sum(size > 0 for size in sizes)


@pytest.fixture(scope="module")
def full() -> GroundTruth:
    return fivr_200k()


@pytest.fixture(scope="module")
def small() -> GroundTruth:
    return fivr_5k()


class TestFivr:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("DSVR", (7456, 100)),
            ("CSVR", (8840, 100)),
            ("ISVR", (12362, 100)),
            ("DAVR", (3397, 76)),
            ("DSVR hard", (2502, 100)),
            ("CSVR hard", (3873, 100)),
            ("ISVR hard", (7322, 100)),
            ("DAVR hard", (1107, 63)),
        ],
    )
    def test_200k_has_the_measured_number_of_relevant_pairs(self, full, name, expected):
        assert counts(full, name) == expected

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("DSVR", (1082, 50)),
            ("CSVR", (1323, 50)),
            ("ISVR", (1944, 50)),
            ("DAVR", (569, 40)),
            ("DSVR hard", (525, 49)),
            ("CSVR hard", (762, 49)),
            ("ISVR hard", (1381, 50)),
            ("DAVR hard", (279, 32)),
        ],
    )
    def test_5k_has_the_measured_number_of_relevant_pairs(self, small, name, expected):
        assert counts(small, name) == expected

    def test_sizes_are_those_of_the_papers(self, full, small):
        assert (len(full.queries), len(full.database)) == (100, 225960)
        assert (len(small.queries), len(small.database)) == (50, 5000)

    def test_5k_has_one_query_in_its_database(self, small):
        assert set(small.queries) & set(small.database) == {"eCrhXArKE24"}

    def test_4873_easy_duplicates_are_removed_595_of_them_in_5k(self, full, small):
        removed = task_of(full, "DSVR hard").removed
        assert len(removed) == 4873
        assert removed <= set(full.database)
        assert not removed & set(full.queries)
        assert len(removed & set(small.database)) == 595

    def test_one_query_lists_itself(self, full):
        task = task_of(full, "ISVR")
        assert [query for query, videos in task.relevant.items() if query in videos] == ["eCrhXArKE24"]

    def test_detection_has_names_of_its_own(self, full):
        assert [task.detection_name for task in full.tasks if "hard" not in task.name] == [
            "DSVD",
            "CSVD",
            "ISVD",
            "DAVD",
        ]
        assert task_of(full, "CSVR hard").detection_name == "CSVD hard"

    def test_a_task_takes_each_video_of_its_labels_once(self):
        truth = fivr_ground_truth("mine", {"q": {"ND": ["a"], "CS": ["a", "b"], "DA": ["c"]}}, ["q"], ["a", "b", "c"])
        assert {task.name: task.relevant["q"] for task in truth.tasks} == {
            "DSVR": {"a"},
            "CSVR": {"a", "b"},
            "ISVR": {"a", "b"},
            "DAVR": {"c"},
        }


class TestEvve:
    def test_sizes_are_those_measured(self):
        truth = evve()
        assert len(truth.queries) == 620
        assert len(truth.searched) == 2373
        assert set(truth.database) == {*truth.searched, *truth.queries}
        (task,) = truth.tasks
        assert len(set().union(*task.relevant.values())) == 1252

    def test_every_event_has_its_queries_and_positives(self):
        (task,) = evve().tasks
        found = {}
        for query, event in task.groups.items():
            number, positives = found.get(event, (0, task.relevant[query]))
            assert positives == task.relevant[query]
            found[event] = (number + 1, positives)
        assert {event: (number, len(positives)) for event, (number, positives) in found.items()} == {
            "barcelona+riots+2012": (13, 27),
            "die+toten+hosen+rock+am+ring+2012": (32, 64),
            "dsk+arrested": (9, 19),
            "egypt+Tahrir+Square+protestors": (36, 72),
            "johnny+stade+de+france+2012": (87, 174),
            "kate+william+wedding": (44, 88),
            "marrakech+bomb+attack": (4, 10),
            "mdna+rome+2012": (51, 104),
            "obama+speech+victory": (14, 29),
            "shakira+live+kiev+2011": (19, 39),
            "strokkur+geyser": (215, 431),
            "thailand+flood+2011": (73, 148),
            "universal+studios+jurassic+park+ride": (23, 47),
        }


class TestCcWebVideo:
    def test_positives_are_those_measured_before_and_after_exclusion(self):
        truth = cc_web_video()
        assert (len(truth.queries), len(truth.database)) == (24, 13115)
        plain, clean = task_of(truth, "cc_web"), task_of(truth, "cc_web_c")
        assert sum(map(len, plain.relevant.values())) == 3789
        assert sum(len(videos - clean.left_out[query]) for query, videos in clean.relevant.items()) == 3768

    def test_protocols_differ_in_candidates_and_exclusion_only(self):
        tasks = {task.name: task for task in cc_web_video().tasks}
        assert [name for name, task in tasks.items() if task.candidates is None] == ["cc_web*", "cc_web_c*"]
        assert [name for name, task in tasks.items() if task.left_out] == ["cc_web_c", "cc_web_c*"]
        candidates = tasks["cc_web"].candidates
        assert candidates is not None
        assert sum(map(len, candidates.values())) == 12876

    def test_every_query_is_relevant_to_itself(self):
        assert all(query in videos for query, videos in task_of(cc_web_video(), "cc_web").relevant.items())

    def test_one_positive_of_set_4_has_no_video(self):
        truth = cc_web_video()
        missing = {
            query: len(videos - set(truth.database)) for query, videos in task_of(truth, "cc_web").relevant.items()
        }
        assert [number for number in missing.values() if number] == [1]
        assert missing[truth.queries[3]] == 1
        assert len(task_of(truth, "cc_web").relevant[truth.queries[3]]) == 162

    def test_a_small_x_is_negative(self):
        annotation = {
            "queries": ["1/1_1_Y"],
            "index": {"1/1_1_Y": 1, "1/1_2_Y": 2, "1/1_3_Y": 5},
            "ground_truth": [{"1": "E", "2": "x", "5": "L"}],
            "excluded": [[5]],
        }
        task = task_of(cc_web_video_ground_truth(annotation), "cc_web_c")
        assert task.relevant == {"1/1_1_Y": {"1/1_1_Y", "1/1_3_Y"}}
        assert task.left_out == {"1/1_1_Y": {"1/1_3_Y"}}


class TestSvd:
    def test_counts_are_those_measured(self):
        truth = svd()
        (task,) = truth.tasks
        assert task.candidates is not None
        assert len(truth.queries) == 206
        assert sum(map(len, task.candidates.values())) == 6355
        assert sum(map(len, task.relevant.values())) == 1759
        assert len(truth.database) == 5951
        assert all(task.relevant.values())

    def test_unlabelled_videos_are_ranked_for_every_query_in_a_task_of_their_own(self):
        truth = svd_ground_truth(["q a 1", "q b 0", "r b 1"], ["u", "v"])
        labelled, unlabelled = truth.tasks
        assert truth.database == ("a", "b", "u", "v")
        assert (labelled.shared_candidates, unlabelled.shared_candidates) == (set(), {"u", "v"})
        assert unlabelled.candidates == labelled.candidates == {"q": {"a", "b"}, "r": {"b"}}
        assert labelled.relevant == {"q": {"a"}, "r": {"b"}}

    @pytest.mark.parametrize("line", ["q a", "q a 2", "q a 1 1", "\0"])
    def test_a_line_of_another_form_is_named(self, line):
        with pytest.raises(DataError, match="line 2 is"):
            svd_ground_truth(["q b 1", line])

    def test_a_pair_that_comes_twice_is_an_error(self):
        with pytest.raises(DataError, match="line 2: the pair q, a is there twice"):
            svd_ground_truth(["q a 1", "q a 0"])


def test_every_folder_of_annotations_holds_its_licence_and_source():
    folders = sorted((Path(published_sets.__file__).parent / "annotations").iterdir())
    assert [folder.name for folder in folders] == ["cc_web_video", "evve", "fivr", "svd"]
    for folder in folders:
        assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")
        assert "Changed:" in (folder / "SOURCE").read_text(encoding="utf-8")


def test_a_wheel_holds_all_annotations():
    package = Path(published_sets.__file__).parent
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["visil.evaluation"]
    shipped = {path for pattern in patterns for path in package.glob(f"{pattern}/*" if "**" in pattern else pattern)}
    files = {path for path in (package / "annotations").rglob("*") if path.is_file()}
    assert len(files) == 16
    assert files < shipped
    assert package / "published_results.csv" in shipped


@pytest.mark.parametrize("load", [fivr_200k, fivr_5k, evve, cc_web_video, svd])
def test_the_source_states_a_licence(load):
    assert "Apache-2.0" in load().source

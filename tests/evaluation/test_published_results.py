import csv
from collections import Counter
from pathlib import Path

import pytest

from visil.evaluation import published_results as module
from visil.evaluation.data_sets import load
from visil.evaluation.published_results import published_results
from visil.evaluation.published_sets import svd

SEGMENT_METRICS = {"segment AP", "precision", "recall", "F1"}


def rows():
    path = Path(module.__file__).with_suffix(".csv")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_table_is_found_by_its_data_set():
    dsvr = {result.system: result.value for result in published_results("FIVR-200K") if result.task == "DSVR"}
    assert dsvr["ViSiL_v (PyTorch weights)"] == 0.899
    assert dsvr["ViSiL_v"] == 0.892
    assert dsvr["DnS fine attention student"] == 0.921
    assert published_results("my videos") == []


def test_what_is_known_from_memory_only_is_marked():
    results = {result.system: result for result in published_results("FIVR-200K") if result.task == "DSVR"}
    assert results["DnS fine attention student"].is_confirmed
    assert not results["DnS attention, 5 % re-ranked"].is_confirmed


def test_every_figure_has_a_source_and_lies_between_0_and_1():
    for row in rows():
        assert row["source"]
        assert 0 < float(row["value"]) < 1
        assert row["is_confirmed"] in ("yes", "no")


def test_no_figure_is_there_twice():
    keys = Counter((row["data_set"], row["task"], row["metric"], row["system"]) for row in rows())
    assert max(keys.values()) == 1


@pytest.mark.parametrize("name", ["FIVR-200K", "FIVR-5K", "EVVE", "CC_WEB_VIDEO", "SVD"])
def test_every_task_is_one_of_the_data_sets(name):
    truth = svd(["unlabelled"]) if name == "SVD" else load(name)
    assert {result.task for result in published_results(name)} <= {task.name for task in truth.tasks}
    assert {result.metric for result in published_results(name)} == {"mAP"}


def test_other_data_sets_are_those_of_copied_segments():
    others = [row for row in rows() if row["data_set"].split()[0] in ("VSC2022", "VCSL")]
    assert {row["data_set"] for row in others} == {"VSC2022 train", "VSC2022 test", "VCSL test"}
    assert {row["metric"] for row in others} == SEGMENT_METRICS | {"micro-AP"}
    assert len(rows()) == len(others) + sum(
        len(published_results(name)) for name in ("FIVR-200K", "FIVR-5K", "EVVE", "CC_WEB_VIDEO", "SVD")
    )

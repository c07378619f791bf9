import json

import pytest

from visil.benchmarks.report import format_table, interval_text, run_facts, write_json
from visil.evaluation.metrics import Interval


def test_a_table_is_aligned():
    assert format_table(("system", "mAP"), [("ours", 0.5), ("pHash voting", 1.0)]) == (
        "system           mAP\nours          0.5000\npHash voting  1.0000"
    )


def test_a_row_may_be_shorter_than_the_columns():
    assert format_table(("a", "b"), [("x",)]) == "a  b\nx"


@pytest.mark.parametrize(("num_units", "text"), [(9, "0.500"), (10, "0.500 [0.400, 0.600]")])
def test_an_interval_of_fewer_than_ten_sources_is_not_printed(num_units, text):
    assert interval_text(Interval(0.5, 0.4, 0.6), num_units) == text


def test_the_json_holds_what_is_needed_to_run_again(tmp_path):
    facts = run_facts(tmp_path, {"seed": 3, "work": tmp_path, "data": [tmp_path]})
    write_json(tmp_path / "r.json", facts, {"mAP": 0.5})
    saved = json.loads((tmp_path / "r.json").read_text())
    assert saved["settings"] == {"seed": 3, "work": str(tmp_path), "data": [str(tmp_path)]}
    assert saved["results"] == {"mAP": 0.5}
    assert saved["commit"] is None  # not a checkout
    assert saved["versions"]["numpy"]
    assert saved["threads"] >= 1

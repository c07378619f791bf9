import json

from visil.benchmarks.report import format_table, run_facts, write_json


def test_a_table_is_aligned():
    assert format_table(("system", "mAP"), [("ours", 0.5), ("pHash voting", 1.0)]) == (
        "system           mAP\nours          0.5000\npHash voting  1.0000"
    )


def test_the_json_holds_what_is_needed_to_run_again(tmp_path):
    facts = run_facts(tmp_path, {"seed": 3, "work": tmp_path, "data": [tmp_path]})
    write_json(tmp_path / "r.json", facts, {"mAP": 0.5})
    saved = json.loads((tmp_path / "r.json").read_text())
    assert saved["settings"] == {"seed": 3, "work": str(tmp_path), "data": [str(tmp_path)]}
    assert saved["results"] == {"mAP": 0.5}
    assert saved["commit"] is None  # not a checkout
    assert saved["versions"]["numpy"]
    assert saved["threads"] >= 1

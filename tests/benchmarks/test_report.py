import json
import os

import pytest

from visil.benchmarks.report import benchmark_parser, format_table, interval_text, run_facts, write_json
from visil.errors import DataError
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


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--workers", "0"], "expected 1 or more, got 0"),
            (["--seed", "-1"], "expected 0 or more, got -1"),
            (["--seed", "x"], "expected 0 or more, got x"),
            (["--json", "."], ". is a folder; name a file"),
            (["--json", "absent/x.json"], "absent is no folder that can be written to"),
            (["--json", "file/x.json"], "file is no folder that can be written to"),
            (["--work", "file"], "file is a file; name a folder"),
            (["--work", "file/below"], "file is a file; name a folder"),
        ],
    )
    def test_what_cannot_work_is_said_before_any_work(self, options, message, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "file").touch()
        with pytest.raises(SystemExit):
            benchmark_parser("A benchmark.").parse_args(options)
        assert message in capsys.readouterr().err

    def test_folders_are_absolute_as_paths_in_libraries_are(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        parse = benchmark_parser("A benchmark.").parse_args
        assert parse(["--work", "new"]).work == tmp_path / "new"
        assert parse(["--work", "../up"]).work == tmp_path.parent / "up"
        assert parse(["--json", "../x.json"]).json == tmp_path.parent / "x.json"


def test_results_that_cannot_be_written_leave_what_was_there(tmp_path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(DataError, match=r"x\.json: the results cannot be written"):
        write_json(tmp_path / "x.json", {}, {})
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_a_link_stays_one_and_what_is_no_file_is_written_to(tmp_path):
    (tmp_path / "x.json").symlink_to("real.json")
    write_json(tmp_path / "x.json", {"a": 1}, {})
    assert (tmp_path / "x.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text()) == {"a": 1, "results": {}}
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_json(tmp_path / "pipe", {"a": 2}, {})
        assert json.loads(os.read(reader, 1000)) == {"a": 2, "results": {}}
    finally:
        os.close(reader)

"""What scripts/bench_edits.py prints and saves, of scores at hand."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from visil.benchmarks import frame_descriptors
from visil.benchmarks.benchmark_data import EDIT, REAL, Benchmark, BenchmarkSettings, LibraryVideo, Query
from visil.benchmarks.benchmark_search import SystemScores
from visil.benchmarks.yardstick import Figures
from visil.evaluation.metrics import Interval

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_edits.py"
NOTHING = frozenset[str]()


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("bench_edits", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def measured(script, monkeypatch, tmp_path, capsys):
    """What a run with a bundle of this hash prints and saves: three edits of a source, a compilation of it and another,
    two videos, no PDQ package."""
    benchmark = Benchmark(
        BenchmarkSettings("val"),
        tmp_path,
        tuple(LibraryVideo(Path(name), REAL, NOTHING, 9.0) for name in ("source", "other")),
        (
            *(Query(Path(f"{i}"), EDIT, NOTHING, "unit", "crop", "strong", Path("source")) for i in range(3)),
            Query(Path("c"), EDIT, NOTHING, "compilations", "compilation", "mild"),
        ),
        is_relevant=np.array([*[[True, False]] * 3, [True, True]]),
        is_unrelated=np.array([*[[False, True]] * 3, [False, False]]),
    )
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.7], [0.5, 0.4]], dtype=np.float32)

    def run(bundle: str, *options: str):
        systems = [
            SystemScores(name, hash, scores, 3, 2, bytes_a_video=10.0, ms_a_pair=0.5)
            for name, hash in (("pHash", None), ("untrained", bundle))
        ]
        monkeypatch.setattr(script, "prepare", lambda *_, **__: benchmark)
        monkeypatch.setattr(script, "check_models", lambda *_, **__: None)
        monkeypatch.setattr(script, "digest_of_tables", lambda _: "0a1b")
        monkeypatch.setattr(frame_descriptors, "missing_package", lambda kind: "pdqhash" if kind == "PDQ" else None)
        monkeypatch.setattr(script, "system_scores", lambda *_, **__: systems)
        saved = tmp_path / f"{bundle}.json"
        monkeypatch.setattr(sys, "argv", ["bench_edits.py", "--json", str(saved), *options])
        script.main()
        return capsys.readouterr().out, json.loads(saved.read_text())["results"]

    return run


def test_a_baseline_without_its_package_is_a_row_and_an_entry_that_say_so(measured):
    printed, results = measured("first")
    assert results["PDQ"] == {"not_run": "pdqhash is not installed (extra bench)"}
    rows = [line.split(maxsplit=1) for line in printed.splitlines() if line.startswith("PDQ")]
    assert rows == [["PDQ", "pdqhash is not installed (extra bench)"]] * 3  # figures, pairs, cost


def test_sscd_without_its_file_is_a_row_and_an_entry_that_say_so(measured, tmp_path):
    printed, results = measured("first", "--sscd-distilled", str(tmp_path / "absent.onnx"))
    assert results["SSCD"] == {"not_run": "no file of it (--sscd FILE)"}
    assert results["SSCD distilled"] == {"not_run": f"{tmp_path / 'absent.onnx'}: no such file"}
    assert printed.count("no file of it (--sscd FILE)") == printed.count("absent.onnx: no such file") == 3


def test_a_run_without_baselines_has_no_rows_of_them(measured):
    printed, results = measured("first", "--alone")
    assert not {"PDQ", "SSCD"} & set(results)
    assert "PDQ" not in printed and "SSCD" not in printed


def test_the_share_of_a_compilation_s_sources_is_printed_and_saved(measured):
    printed, results = measured("first")
    row = {"family": "compilation", "level": "mild", "num_queries": 1, "num_sources": 2, "share": 1.0}
    assert results["untrained"]["sources_found"] == [row]
    assert ["untrained", "compilation", "mild", "1", "2", "1.0000"] in map(str.split, printed.splitlines())


def test_thresholds_count_for_the_bundle_that_they_were_chosen_for(measured, tmp_path):
    _, first = measured("first")
    assert first["untrained"]["bundle"] == "first"
    printed, same = measured("first", "--thresholds", str(tmp_path / "first.json"))
    assert same["untrained"]["false_matches"] == first["untrained"]["false_matches"] != []
    assert "no thresholds" not in printed
    printed, other = measured("second", "--thresholds", str(tmp_path / "first.json"))
    assert other["untrained"]["thresholds"] is None
    assert other["untrained"]["false_matches"] == other["untrained"]["found_matches"] == []
    assert other["pHash"]["false_matches"] == first["pHash"]["false_matches"]
    assert f"untrained: no thresholds of this bundle in {tmp_path / 'first.json'}" in printed


def test_networks_are_compared_with_every_other_system(measured):
    printed, results = measured("first")
    assert results["pHash"]["micro_ap_minus"] == {}
    same = {"value": 0.0, "low": 0.0, "high": 0.0}
    assert results["untrained"]["micro_ap_minus"] == {"pHash": {"strong": same, "all": same}}
    assert "+0.000 [+0.000, +0.000]" in printed


def test_where_a_network_finds_fewer_first_than_a_baseline_is_listed(script):
    def cells(recall):
        values = Interval(recall, recall, recall)
        return {
            (family, "mild"): Figures(family, "mild", 9, 9, values, values, values) for family in ("crop", "pooled")
        }

    listed = script._lagging({"pHash": cells(0.9), "PDQ": cells(0.8), "good": cells(0.86), "bad": cells(0.84)})
    assert listed == [("bad", "crop", "mild", 0.84, 0.9, "pHash")]

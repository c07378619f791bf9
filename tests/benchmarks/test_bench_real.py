"""What scripts/bench_real.py prints, saves and draws, of scores at hand."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from visil.benchmarks import frame_descriptors
from visil.benchmarks.benchmark_search import SystemScores
from visil.errors import VisilError

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_real.py"
TABLES = {
    "videos/manifest.csv": "file,group\nclip_0.mp4,a\nclip_1.mp4,a\nclip_2.mp4,b\n",
    "videos/pairs.csv": "a,b,label\nclip_0.mp4,clip_1.mp4,ND\n",
    "videos/split.csv": "file,component,split\nclip_0.mp4,0,test\nclip_1.mp4,0,test\nclip_2.mp4,1,test\n",
    "footage/manifest.csv": "file,group\nclip_3.mp4,c\nclip_4.mp4,c\n",
    "footage/split.csv": "file,component,split\nclip_3.mp4,c,test\nclip_4.mp4,c,test\n",
}
HIGHEST = [["0.800", "clip_2.mp4", "clip_0.mp4"], ["0.500", "clip_1.mp4", "clip_3.mp4"]]


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("bench_real", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def measured(script, clips, monkeypatch, tmp_path, capsys):
    """What a run prints and saves: a baseline, two networks, no PDQ package."""
    for name, text in TABLES.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(text)
    for number, folder in enumerate(("videos", "videos", "videos", "footage", "footage")):
        (clips / f"clip_{number}.mp4").rename(tmp_path / "data" / folder / f"clip_{number}.mp4")
    scores = np.full((5, 5), 0.1, dtype=np.float32)
    for pair, score in (((0, 1), 0.9), ((1, 0), 0.9), ((2, 0), 0.8), ((1, 3), 0.5), ((3, 4), 0.99)):
        scores[pair] = score

    def run(*options: str):
        worse = scores.copy()
        worse[1, 0] = 0.7
        systems = [
            SystemScores(name, bundle, of_system, 5, 5, bytes_a_video=10.0, ms_a_pair=0.5)
            for name, bundle, of_system in (("pHash", None, scores), ("untrained", "ab" * 32, worse))
        ]
        monkeypatch.setattr(frame_descriptors, "missing_package", lambda kind: "pdqhash" if kind == "PDQ" else None)
        monkeypatch.setattr(script, "system_scores", lambda *_, **__: systems)
        folders = ["--data", str(tmp_path / "data"), "--work", str(tmp_path / "work")]
        saved = tmp_path / "real.json"
        monkeypatch.setattr(sys, "argv", ["bench_real.py", "--split", "test", "--json", str(saved), *folders, *options])
        monkeypatch.setattr(script, "check_models", lambda names, *, device: None)
        script.main()
        return capsys.readouterr().out, json.loads(saved.read_text())

    return run


def test_a_model_that_is_not_there_is_named_before_any_work(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "read_real_pairs", lambda *_: pytest.fail("the work has begun"))
    folders = ["--data", str(tmp_path), "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["bench_real.py", *folders, "--model", "absent"])
    with pytest.raises(VisilError, match="absent"):
        script.main()


def test_figures_and_differences_of_networks_are_printed_and_saved(measured):
    printed, saved = measured()
    results = saved["results"]
    assert saved["settings"]["split"] == "test"
    assert results["pHash"]["figures"]["micro-AP ND"] == {
        "num_pairs": 2,
        "num_units": 1,
        "value": 1.0,
        "low": 1.0,
        "high": 1.0,
    }
    assert results["untrained"]["figures"]["micro-AP ND"]["value"] == pytest.approx((1 + 2 / 3) / 2)
    assert results["pHash"]["minus"] == {}
    assert results["untrained"]["minus"]["pHash"]["micro-AP ND"]["value"] == pytest.approx(-1 / 6)
    rows = list(map(str.split, printed.splitlines()))
    assert ["test", "3", "2", "0"] in rows  # labelled, footage, fitted
    assert ["micro-AP", "ND", "2", "1", "1.000", "0.833"] in rows
    assert results["pHash"]["pairs_above"][0] == {"kind": "ND", "num_pairs": 2, "above": [2, 2, 2]}


def test_how_many_files_weights_that_ship_are_fitted_on_is_said(measured, tmp_path):
    measured()
    split = tmp_path / "data" / "footage" / "split.csv"
    split.write_text("file,component,split,ship_ok\nclip_3.mp4,c,train,yes\nclip_4.mp4,c,train,no\n")
    printed, _ = measured("--split", "all")
    rows = list(map(str.split, printed.splitlines()))
    assert rows[1:3] == [["test", "3", "0", "0"], ["train", "0", "2", "1"]]


def test_the_highest_pairs_that_are_unrelated_or_without_a_label_are_printed_saved_and_drawn(measured, tmp_path):
    printed, saved = measured()
    rows = list(map(str.split, printed.splitlines()))
    highest = saved["results"]["untrained"]["highest"]
    assert [[f"{score:.3f}", *files] for score, *files in highest["unrelated"]["pairs"]][:2] == HIGHEST
    assert [files for _, *files in highest["no label"]["pairs"]] == [["clip_3.mp4", "clip_4.mp4"]]
    assert all(row in rows for row in HIGHEST)
    sheets = tmp_path / "work" / "real-test" / "sheets"
    assert highest["unrelated"]["sheet"] == str(sheets / "untrained-abababababab-unrelated.png")
    assert {path.name for path in sheets.iterdir()} == {
        f"{system}-{kind}.png" for system in ("pHash", "untrained-abababababab") for kind in ("unrelated", "no_label")
    }


def test_a_baseline_without_its_package_is_a_row_and_an_entry_that_say_so(measured):
    printed, saved = measured()
    assert saved["results"]["PDQ"] == {"not_run": "pdqhash is not installed (extra bench)"}
    assert ["PDQ", "pdqhash", "is", "not", "installed", "(extra", "bench)"] in map(str.split, printed.splitlines())
    printed, saved = measured("--alone")
    assert "PDQ" not in saved["results"]
    assert "PDQ" not in printed

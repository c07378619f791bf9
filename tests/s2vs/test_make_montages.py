"""scripts/make_montages.py: a frame a second, truths that know who is related; what is there already stays."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from visil.s2vs.clips import find_clips
from visil.s2vs.training import related_clips

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_montages.py"
ROWS = [("videos", 0, "family"), ("videos", 1, "family")]
ROWS += [("footage", number, f"day {number}") for number in range(2, 6)]


@pytest.fixture
def data(tmp_path, clips):
    """Six videos: two of one group, the others of groups of their own, two of them of one component."""
    for folder in ("videos", "footage"):
        (tmp_path / folder).mkdir()
        names = [(f"clip_{k}.mp4", group) for place, k, group in ROWS if place == folder]
        for name, _ in names:
            (clips / name).rename(tmp_path / folder / name)
        manifest = "file,group,duration_s\n" + "".join(f"{name},{group},3\n" for name, group in names)
        components = {"clip_3.mp4": "clip_2.mp4"}
        rows = "".join(f"{name},{components.get(name, name)},train,yes\n" for name, _ in names)
        split = f"file,component,split,ship_ok\n{rows}"
        (tmp_path / folder / "manifest.csv").write_text(manifest)
        (tmp_path / folder / "split.csv").write_text(split)
    (tmp_path / "videos" / "pairs.csv").write_text("a,b,label\n")
    return tmp_path


def make(data, out, count, kind="videos"):
    command = [sys.executable, SCRIPT, "--data", data, "--out", out, "--count", str(count), "--of", kind]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_montages_of_videos_have_a_frame_a_second_and_a_truth(data, tmp_path):
    out = tmp_path / "montages"
    first = make(data, out, 1)
    assert first.returncode == 0, first.stderr
    written = {file: file.stat().st_mtime_ns for file in out.rglob("*.jpg")}
    again = make(data, out, 8)
    assert again.returncode == 0, again.stderr
    assert "7 of 8 montages to make" in again.stdout
    assert all(file.stat().st_mtime_ns == time_ns for file, time_ns in written.items())
    montages = find_clips([out / "frames"])
    assert len(montages) == 8
    families = {"clip_0.mp4": "clip_0.mp4", "clip_1.mp4": "clip_0.mp4"}
    shown = []
    for montage in montages:
        truth = json.loads((out / "truths" / f"{montage.id}.json").read_text())
        assert len(montage.frames) == truth["pieces"][-1]["end_s"]
        for piece in truth["pieces"]:
            assert piece["component"] == f"video:{families.get(piece['file'], piece['file'])}"
        shown.append({piece["component"] for piece in truth["pieces"]})
    is_related = related_clips(montages, out / "truths")
    assert is_related.tolist() == [[bool(a & b) for b in shown] for a in shown]
    assert not is_related.all()
    other = make(data, out, 8, "both")
    assert other.returncode == 1
    assert 'is of a run with another of ("videos", not "both")' in other.stderr


def test_data_without_what_is_asked_for(data, tmp_path):
    for table in ("videos", "footage"):
        split = data / table / "split.csv"
        split.write_text(split.read_text().replace("yes", "no"))
    refused = make(data, tmp_path / "montages", 1)
    assert refused.returncode == 1
    assert "no still or no video of train may ship" in refused.stderr

"""The README tells the truth: its Python runs, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from visil.cli.main import COMMANDS
from visil.synth.edits import apply_edit
from visil.synth.scenes import distinct_scenes, scene_pictures
from visil.synth.video_file import write_video

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_python_runs_and_finds_the_film_first(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "videos").mkdir()
    for name, scene in zip(("film.mp4", "other.mp4"), distinct_scenes(rng, 2), strict=True):
        pictures = scene_pictures(scene, duration_s=3.0, fps=8, size_px=(160, 96))
        write_video(tmp_path / "videos" / name, pictures, 8)
    apply_edit(tmp_path / "videos" / "film.mp4", "grayscale", "strong", tmp_path / "clip.mp4", rng)
    (script,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "script.py").write_text(script, encoding="utf-8")  # a plain script, without a main guard
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "2 added, 0 failed"
    assert lines[1].startswith("film.mp4 ")


def test_its_links_lead_to_files():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_it_names_every_command():
    assert [name for name in COMMANDS if not re.search(rf"^visil .*\b{name}\b", README, re.MULTILINE)] == []

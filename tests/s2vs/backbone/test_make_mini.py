"""scripts/make_mini: what is run in which order; python itself is one that writes down what it was asked for.

So is git: that it still has the first edition of the bundle is seen in a clone with its history.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def make(tmp_path):
    log = tmp_path / "asked"
    python = tmp_path / "environment" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\ncase "$1" in -c) echo "{python.parent.parent}";; *) echo "$@" >> "{log}";; esac\n')
    python.chmod(0o755)

    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text('#!/bin/sh\n[ -z "$NO_HISTORY" ] && echo "$@"\n')
    git.chmod(0o755)

    (tmp_path / "data").mkdir()
    (tmp_path / "sscd.onnx").touch()

    def run(*arguments, **more):
        log.unlink(missing_ok=True)
        path = f"{git.parent}:{os.environ['PATH']}"
        environment = {**os.environ, "VIRTUAL_ENV": str(python.parent.parent), "PATH": path, **more}
        command = ["bash", ROOT / "scripts/make_mini", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return done, log.read_text().splitlines() if log.exists() else []

    return run


def test_it_packs_then_trains_from_wherever_it_is_called(make, tmp_path):
    done, asked = make("data", "sscd.onnx", "my work", "--max-minutes", "60")
    assert done.returncode == 0, done.stderr
    assert asked[0].startswith("-m pip install")
    work = tmp_path / "my work"
    assert asked[1:] == [
        f"scripts/pack_pictures.py --data {tmp_path}/data --output {work}/pictures.safetensors",
        f"scripts/train_mini.py --work {work} --sscd {tmp_path}/sscd.onnx --start {work}/first.safetensors "
        f"--output {work}/mini.safetensors --max-minutes 60",
    ]
    assert (work / "first.safetensors").read_text().startswith("cat-file blob 5168fef")


def test_what_is_packed_is_not_packed_again(make, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work/pictures.safetensors").touch()
    _, asked = make("data", "sscd.onnx", "work")
    assert [line.split()[0] for line in asked[1:]] == ["scripts/train_mini.py"]


def test_a_copy_without_history_is_told_where_the_first_edition_is(make, tmp_path):
    done, asked = make("data", "sscd.onnx", "work", NO_HISTORY="1")
    assert (done.returncode, asked) == (1, [])
    assert "git fetch --unshallow" in done.stderr
    assert not (tmp_path / "work").exists()


def test_the_history_holds_the_first_edition():
    def git(*arguments):
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    if shutil.which("git") is None or git("rev-parse", "--is-shallow-repository") != "false":
        pytest.skip("no clone with its history")
    line = next(line for line in (ROOT / "scripts/make_mini").read_text().splitlines() if "first_edition=" in line)
    blob, commit = line.split("=")[1].split()[0], line.split()[-1]
    assert git("rev-parse", f"{commit}:visil/model/bundles/mini.safetensors") == blob


def test_too_few_arguments_are_answered_by_what_it_takes(make):
    done, asked = make("data")
    assert (done.returncode, asked) == (2, [])
    assert "scripts/make_mini DATA SSCD WORK" in done.stderr


@pytest.mark.parametrize("arguments", [("absent", "sscd.onnx", "work"), ("data", "absent/sscd.onnx", "work")])
def test_what_is_not_there_is_named_before_anything_is_made(make, tmp_path, arguments):
    done, asked = make(*arguments)
    assert (done.returncode, asked) == (1, [])
    assert "absent" in done.stderr
    assert not (tmp_path / "work").exists()

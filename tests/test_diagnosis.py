"""What `visil doctor` finds on a machine that is well, and on one that is not."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import namedtuple
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest

import visil.diagnosis as diagnosis
import visil.media.readers as readers_module
from visil.cli.main import run
from visil.defaults import READERS
from visil.diagnosis import ABSENT, OK, WRONG, Finding, check_disk, check_library, check_packages, check_readers
from visil.errors import MediaError, ModelError
from visil.library.library import Library
from visil.model.model import Model


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    """Findings by what was checked; where something is not well there is a remedy."""
    assert all(finding.remedy for finding in findings if finding.state != OK)
    return {finding.check: finding for finding in findings}


class TestDoctor:
    def test_of_a_machine_that_is_well_says_what_runs(self, tmp_path, capsys):
        assert run(["doctor", "--library", str(tmp_path / "none"), "--format", "json"]) == 0
        captured = capsys.readouterr()
        rows = {row["check"]: row for row in json.loads(captured.out)["rows"]}
        assert captured.err == "visil: nothing is wrong\n"
        assert [rows[name]["state"] for name in ("torch", "reader pyav", "device cpu", "disk")] == [OK] * 4
        assert "decodes in a worker" in rows["reader pyav"]["found"]
        assert "the built-in bundle's check differs by" in rows["device cpu"]["found"]
        assert rows["library"]["remedy"].startswith("visil index FOLDER --library ")

    def test_ends_with_1_where_something_is_wrong_and_still_checks_the_rest(self, tmp_path, capsys, monkeypatch):
        def breaks() -> Iterator[Finding]:
            yield Finding("reader pyav", OK, "fine")
            raise ZeroDivisionError("as never foreseen")

        monkeypatch.setattr(diagnosis, "check_readers", breaks)
        monkeypatch.setattr(Model, "check", lambda self: 0.5)
        assert run(["doctor", "--library", str(tmp_path), "--format", "json"]) == 1
        captured = capsys.readouterr()
        rows = {row["check"]: row for row in json.loads(captured.out)["rows"]}
        assert rows["readers"]["found"] == "ZeroDivisionError: as never foreseen"
        assert rows["device cpu"]["state"] == WRONG
        assert "differs by 5e-01 (allowed 2e-03)" in rows["device cpu"]["found"]
        assert rows["disk"]["state"] == OK
        assert captured.err == "visil: 2 of the checks found something wrong\n"


class TestPackages:
    def test_are_those_that_the_installation_asks_for(self):
        wanted = [line for line in requires("visil") or [] if "extra ==" not in line]
        names = [re.split(r"[^\w.-]", line)[0] for line in wanted]
        assert sorted(distribution for distribution, _ in diagnosis.PACKAGES) == sorted(names)

    def test_one_that_cannot_be_imported_is_to_be_reinstalled(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "faiss", None)
        found = by_check(list(check_packages()))["faiss-cpu"]
        assert (found.state, found.remedy) == (WRONG, "pip install --force-reinstall faiss-cpu")
        assert "cannot be imported" in found.found

    def test_one_that_is_missing_is_named(self, monkeypatch):
        monkeypatch.setattr(diagnosis, "PACKAGES", (("visil-needs-this", "visil_needs_this"),))
        found = by_check(list(check_packages()))["visil-needs-this"]
        assert (found.state, found.found) == (WRONG, "not installed")


class TestReaders:
    def test_every_one_is_told_and_a_missing_one_is_no_fault(self, monkeypatch):
        monkeypatch.setattr(readers_module, "find_spec", lambda package: None)
        found = by_check(list(check_readers()))
        assert [finding.state for finding in found.values()] == [OK, ABSENT, ABSENT]
        assert list(found) == [f"reader {name}" for name in READERS]
        assert found["reader decord"].remedy == 'pip install "visil[decord]"'

    def test_one_that_cannot_decode_is_wrong(self, monkeypatch):
        def fails(path: Path, *_: object, **__: object) -> None:
            raise MediaError(f"{path}: no\nframe")

        monkeypatch.setattr("visil.media.decoding.read_frames", fails)
        found = by_check(list(check_readers()))["reader pyav"]
        assert (found.state, found.found.split(": ")[1]) == (WRONG, "no frame")

    def test_one_that_decodes_other_pictures_is_wrong(self, monkeypatch):
        monkeypatch.setattr("visil.media.decoding.read_frames", lambda *_, **__: iter([]))
        found = by_check(list(check_readers()))["reader pyav"]
        assert (found.state, found.found) == (WRONG, "a made video of the greys [40, 120, 200] comes out as []")


class TestDevices:
    def test_a_device_that_cannot_encode_is_wrong(self, monkeypatch):
        def fails(**_: object) -> None:
            raise ModelError("no such\nbundle")

        monkeypatch.setattr("visil.model.model.load_model", fails)
        found = by_check(list(diagnosis.check_devices()))["device cpu"]
        assert (found.state, found.found) == (WRONG, "cannot encode (no such bundle)")

    @pytest.mark.parametrize(("cuda", "state"), [(None, ABSENT), ("13.0", WRONG)])
    def test_an_unused_gpu_is_told(self, monkeypatch, tmp_path, cuda, state):
        monkeypatch.setattr(diagnosis, "_encodes", lambda device, is_auto: Finding(f"device {device}", OK, ""))
        monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
        monkeypatch.setattr("torch.version.cuda", cuda)
        monkeypatch.setattr(diagnosis, "NVIDIA_DRIVER", tmp_path)
        found = by_check(list(diagnosis.check_devices()))
        assert found["device cuda"].state == state


class TestLibraryAndDisk:
    def test_a_library_is_counted(self, tmp_path, quick_model, made_clips):
        library = Library.create(tmp_path / "library", quick_model)
        library.add([made_clips / "clip_0.mp4"], workers=1)
        (found,) = check_library(tmp_path / "library")
        assert (found.state, found.found) == (OK, f"{tmp_path / 'library'}: 1 ok; bundle quick")

    def test_an_empty_folder_is_a_place_for_one(self, tmp_path):
        (found,) = check_library(tmp_path)
        assert (found.state, found.remedy) == (ABSENT, f"visil index FOLDER --library {tmp_path} makes it")

    def test_a_folder_of_something_else_is_none_and_needs_no_repair(self, tmp_path):
        (tmp_path / "clip.mp4").touch()
        (found,) = check_library(tmp_path)
        assert (found.state, found.found) == (ABSENT, f"{tmp_path} is none")
        assert found.remedy == "visil index FOLDER --library DIR makes one, in a new DIR"

    def test_videos_without_settings_are_wrong(self, tmp_path, quick_model, made_clips):
        Library.create(tmp_path / "library", quick_model).add([made_clips / "clip_0.mp4"], workers=1)
        (tmp_path / "library/library.toml").unlink()
        (found,) = check_library(tmp_path / "library")
        remedy = f"visil verify --repair --library {tmp_path / 'library'}"
        assert (found.state, found.remedy) == (WRONG, remedy)
        shutil.rmtree(tmp_path / "library/second")
        (found,) = check_library(tmp_path / "library")
        assert (found.state, found.found) == (WRONG, f"{tmp_path / 'library'} holds videos, but no library.toml")
        assert found.remedy.startswith("restore library.toml")

    def test_an_unfinished_move_is_told(self, tmp_path, quick_model):
        library = tmp_path / "library"
        Library.create(library, quick_model)
        shutil.copy(library / "library.toml", library / "reindex.toml")
        found = by_check(list(check_library(library)))
        assert (found["library"].state, found["reindex"].state) == (OK, ABSENT)
        assert found["reindex"].found.startswith("its move to bundle 'quick' is unfinished")

    def test_a_damaged_one_is_wrong(self, tmp_path):
        (tmp_path / "library.toml").write_text("format = 'not ours'")
        (found,) = check_library(tmp_path)
        assert found.state == WRONG
        assert "library.toml" in found.found and found.remedy.startswith("visil verify --repair --library")

    def test_a_full_disk_is_wrong_even_before_there_is_a_library(self, tmp_path, monkeypatch):
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr("shutil.disk_usage", lambda place: usage(10 << 30, 10 << 30, 1 << 20))
        found, _ = check_disk(tmp_path / "not" / "made" / "yet")
        assert (found.state, found.found.split(" free")[0]) == (WRONG, "0.0 GB")

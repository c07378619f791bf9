"""The awkward files of ../shared/data/hard_media, indexed: every one ends as its manifest says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from visil.errors import REASON_CLASSES
from visil.library.library import Library
from visil.library.store import FAILED, VideoRecord
from visil.model.bundle import Bundle
from visil.model.model import Model


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "hard_media"


@pytest.fixture(scope="module")
def entries(folder: Path) -> dict[str, dict]:
    """The manifest by file name."""
    return {entry["file"]: entry for entry in json.loads((folder / "manifest.json").read_text())["files"]}


@pytest.fixture(scope="module")
def library(
    tmp_path_factory: pytest.TempPathFactory, quick_model: Model, folder: Path, entries: dict[str, dict]
) -> Library:
    """All files, given by name, at one sample a second: the manifest knows no fewest samples."""
    preprocessing = replace(quick_model.settings.preprocessing, min_samples=1)
    settings = replace(quick_model.settings, name="one a second", preprocessing=preprocessing)
    library = Library.create(
        tmp_path_factory.mktemp("hard") / "library", Model(Bundle(settings, quick_model.bundle.tensors), device="cpu")
    )
    library.add([folder / name for name in entries], workers=2)
    return library


@pytest.fixture(scope="module")
def records(library: Library) -> dict[str, VideoRecord]:
    return {Path(record.file.path).name: record for record in library.list()}


class TestEveryFile:
    def test_has_a_row(self, records, entries):
        assert records.keys() == entries.keys()

    def test_ends_as_its_manifest_says(self, records, entries):
        assert {name: wrong for name in entries if (wrong := disagreement(records[name], entries[name]))} == {}

    def test_that_fails_says_why_on_one_line(self, records):
        for name, record in records.items():
            if record.status == FAILED:
                assert record.reason_class in set(REASON_CLASSES) - {"crashed", "stalled"}, name
                assert record.reason and "\n" not in record.reason and "Error:" not in record.reason, name

    def test_is_whole(self, library):
        assert library.verify() == []


WARNINGS = {
    "displaymatrix.mp4": "only 1.1 s of the 23.6 s that its header promises",
    "truncated_faststart.mp4": "only 4.0 s of the 8.0 s that its header promises",
    "truncated_half.mkv": "only 3.6 s of the 8.0 s that its header promises",
    "wmv_drm.wmv": "decoding stopped early",
    "corrupted.mp4": "its decoder found damage in 2 of 50 frames",
    "ts_broken_packets.ts": "its decoder found damage in 10 of 133 frames",
    "two_video_streams.mkv": "another video stream is left out",
}


class TestWarnings:
    @pytest.mark.parametrize("name", WARNINGS)
    def test_say_how_a_video_is_less_than_its_file_promises(self, records, name):
        assert records[name].reason.startswith(WARNINGS[name])

    def test_a_video_that_is_what_its_header_says_has_none(self, records):
        indexed = {name for name, record in records.items() if record.status != FAILED}
        assert {name: records[name].reason for name in indexed - WARNINGS.keys() if records[name].reason} == {}


def disagreement(record: VideoRecord, entry: dict) -> str:
    """What the manifest does not accept about a row, or an empty text."""
    note = entry.get("also_acceptable_or_note") or ""
    if record.status == FAILED:
        accepted = {entry.get("reason_class")} | {word for word in re.findall(r"\w+", note) if word in REASON_CLASSES}
        return "" if record.reason_class in accepted else f"failed: {record.reason_class}: {record.reason}"
    if entry["expectation"] == "fail":
        # The number of frames where one is named, else whatever decodes, with a warning.
        counted = re.match(r"index, (\d+) frame", note)
        if counted is None:
            return "" if note.startswith("index") and record.reason else "indexed"
        fewest = most = int(counted[1])
    else:
        fewest, most = entry["frames_at_1fps_accept"]
    if not fewest <= record.num_samples <= most:
        return f"{record.num_samples} samples, not {fewest} to {most}"
    size_px = record.video.rotated_size_px if record.video else None
    if "display_size" in entry and size_px != tuple(entry["display_size"]):
        return f"{size_px}, not {entry['display_size']}"
    return ""

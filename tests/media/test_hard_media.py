"""The awkward files of ../shared/data/hard_media, decoded: every one ends as its manifest says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.media.hard_media import ONE_A_SECOND, Outcome, disagreement, manifest_entries
from visil.errors import REASON_CLASSES
from visil.media.decoding import decode_files
from visil.values import Frames


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "hard_media"


@pytest.fixture(scope="module")
def entries(folder: Path) -> dict[str, dict]:
    return manifest_entries(folder)


@pytest.fixture(scope="module")
def outcomes(folder: Path, entries: dict[str, dict]) -> dict[str, Outcome]:
    """What came of every file, by name; one without an end has none."""
    paths = [folder / name for name in entries]
    so_far, ended = [Outcome()] * len(paths), {}
    for index, event in decode_files(paths, ONE_A_SECOND, workers=2):
        before = so_far[index]
        if isinstance(event, Frames):
            num_samples = before.num_samples + len(event)
            so_far[index] = Outcome(num_samples, event.video.rotated_size_px, event.warning)
            continue
        if event.error is not None:
            reason = str(event.error).removeprefix(f"{paths[index]}: ")
            before = replace(before, reason=reason, reason_class=event.error.reason_class)
        ended[paths[index].name] = before
    return ended


class TestEveryFile:
    def test_comes_to_an_end(self, outcomes, entries):
        assert outcomes.keys() == entries.keys()

    def test_ends_as_its_manifest_says(self, outcomes, entries):
        assert {name: wrong for name in entries if (wrong := disagreement(outcomes[name], entries[name]))} == {}

    def test_that_fails_says_why_on_one_line(self, outcomes):
        for name, outcome in outcomes.items():
            if outcome.reason_class:
                assert outcome.reason_class in set(REASON_CLASSES) - {"crashed", "stalled"}, name
                assert outcome.reason and "\n" not in outcome.reason and "Error:" not in outcome.reason, name


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
    def test_say_how_a_video_is_less_than_its_file_promises(self, outcomes, name):
        assert outcomes[name].reason.startswith(WARNINGS[name])

    def test_a_video_that_is_what_its_header_says_has_none(self, outcomes):
        indexed = {name for name, outcome in outcomes.items() if not outcome.reason_class}
        assert {name: outcomes[name].reason for name in indexed - WARNINGS.keys() if outcomes[name].reason} == {}

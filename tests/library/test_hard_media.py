"""The awkward files of ../shared/data/hard_media, indexed: the library says of them what decoding said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.media.hard_media import ONE_A_SECOND, Outcome, disagreement, manifest_entries
from visil.library.library import Library
from visil.library.store import FAILED
from visil.model.bundle import Bundle
from visil.model.model import Model


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "hard_media"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, quick_model: Model, folder: Path) -> Library:
    """All files, given by name."""
    preprocessing = replace(quick_model.settings.preprocessing, min_samples=ONE_A_SECOND.min_samples)
    settings = replace(quick_model.settings, name="one a second", preprocessing=preprocessing)
    model = Model(Bundle(settings, quick_model.bundle.tensors), device="cpu")
    library = Library.create(tmp_path_factory.mktemp("hard") / "library", model)
    library.add([folder / name for name in manifest_entries(folder)], workers=2)
    return library


def test_every_file_has_a_row_as_its_manifest_says(library: Library, folder: Path) -> None:
    outcomes = {
        Path(record.file.path).name: Outcome(
            record.num_samples,
            record.video.rotated_size_px if record.video else None,
            record.reason,
            record.reason_class if record.status == FAILED else "",
        )
        for record in library.list()
    }
    entries = manifest_entries(folder)
    assert outcomes.keys() == entries.keys()
    assert {name: wrong for name in entries if (wrong := disagreement(outcomes[name], entries[name]))} == {}


def test_the_library_is_whole(library: Library) -> None:
    assert library.verify() == []

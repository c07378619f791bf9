"""What tests of libraries share beside values (made.py)."""

from __future__ import annotations

import pytest


@pytest.fixture
def encoded_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decoded and encoded, as it happens."""
    import visil.library.ingest as ingest_module

    names: list[str] = []
    decode_files = ingest_module.decode_files

    def spy(paths, *arguments, **options):
        listed = list(paths)
        names.extend(path.name for path in listed)
        return decode_files(listed, *arguments, **options)

    monkeypatch.setattr(ingest_module, "decode_files", spy)
    return names

"""Pictures of precision-recall curves."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import visil.report.precision_recall as precision_recall_module
from visil.errors import DataError
from visil.report.precision_recall import COLOURS, SUFFIXES, Curve, check_picture, draw_precision_recall

RECALL = np.linspace(0, 1, 21)
CURVES = [
    Curve("DSVR", "DSVR (mAP 0.712)", RECALL, 1 - 0.5 * RECALL),
    Curve("ISVR", "ISVR (mAP 0.523)", RECALL, 1 - 0.9 * RECALL),
    Curve("DSVR", "DSVR, other run (mAP 0.6)", RECALL, 1 - 0.7 * RECALL, is_other=True),
]
FIRST_BYTES = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_suffix_says_the_format_and_the_same_curves_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    first, second = (tmp_path / f"{name}{suffix}" for name in ("first", "second"))
    draw_precision_recall(first, "FIVR-5K", CURVES)
    draw_precision_recall(second, "FIVR-5K", CURVES)
    assert first.read_bytes().startswith(FIRST_BYTES[suffix])
    assert first.read_bytes() == second.read_bytes()


def test_every_curve_is_named_and_the_other_run_is_dashed_in_the_colour_of_this_one(tmp_path: Path) -> None:
    draw_precision_recall(tmp_path / "curves.svg", "FIVR-5K, 50 of 50 queries", CURVES)
    picture = (tmp_path / "curves.svg").read_text(encoding="utf-8")
    for text in ("FIVR-5K, 50 of 50 queries", "recall", "precision", *(curve.label for curve in CURVES)):
        assert f">{text}</text>" in picture
    dashed = re.findall(r"stroke: (#\w+); stroke-dasharray|stroke-dasharray[^\"]*stroke: (#\w+)", picture.lower())
    first = COLOURS[0].lower()
    assert dashed and {next(filter(None, found)) for found in dashed} == {first}


def test_names_of_a_stranger_are_not_read_as_formulas(tmp_path: Path) -> None:
    draw_precision_recall(tmp_path / "curves.svg", r"my $\frac{ set", [Curve("x", "$x$", RECALL, RECALL)])
    picture = (tmp_path / "curves.svg").read_text(encoding="utf-8")
    assert r">my $\frac{ set</text>" in picture
    assert ">$x$</text>" in picture


def test_another_suffix_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"curves\.jpg: a picture ends in \.png, \.svg or \.pdf"):
        check_picture(tmp_path / "curves.jpg")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        check_picture(tmp_path / "nowhere/curves.png")


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_recall_module, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r'pip install "visil\[evaluate\]"'):
        draw_precision_recall(tmp_path / "curves.png", "", CURVES)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "curves.png").mkdir()
    with pytest.raises(DataError, match=r"curves\.png: cannot be written"):
        draw_precision_recall(tmp_path / "curves.png", "", CURVES)

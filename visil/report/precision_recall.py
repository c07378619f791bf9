"""Precision-recall curves as a picture.

Evaluation ─► curves ─► [picture]
                        this module
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from visil.errors import DataError

SUFFIXES = (".png", ".svg", ".pdf")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")  # Okabe and Ito
SIZE_INCHES = (9.0, 5.0)  # the legend takes the right part
DPI = 150  # of PNG


@dataclass(frozen=True)
class Curve:
    """One line of the picture.

    Attributes:
        task: curves of one task have one colour.
        label: as the legend shows it.
        recall, precision: float64 [P] in [0, 1].
        is_other: of another run: dashed.
    """

    task: str
    label: str
    recall: np.ndarray = field(repr=False)
    precision: np.ndarray = field(repr=False)
    is_other: bool = False


def check_picture(path: Path) -> None:
    """Say before the work begins that a picture cannot be drawn there.

    Raises:
        DataError: the suffix is not one of SUFFIXES, the folder is missing, or matplotlib is.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: a picture ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}")
    if find_spec("matplotlib") is None:
        raise DataError('pictures need matplotlib: pip install "visil[evaluate]"')


def draw_precision_recall(path: Path, title: str, curves: Sequence[Curve]) -> None:
    """Draw curves into a file; its suffix says in which format. Same curves, same matplotlib: same bytes.

    Raises:
        DataError: see `check_picture`, or the file cannot be written.
    """
    check_picture(path)
    from matplotlib import rc_context  # an extra, and half a second
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "visil", "svg.fonttype": "none"}):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot(
            title=_plain(title), xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02)
        )
        axes.grid(visible=True, color="0.9")
        axes.set_axisbelow(True)
        tasks = list(dict.fromkeys(curve.task for curve in curves))
        for curve in curves:
            colour = COLOURS[tasks.index(curve.task) % len(COLOURS)]
            style = "--" if curve.is_other else "-"
            axes.plot(curve.recall, curve.precision, style, color=colour, label=_plain(curve.label))
        figure.legend(loc="outside right upper", fontsize="small")
        # Times of writing would make every file another one.
        dates = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[path.suffix.lower()]
        try:
            figure.savefig(path, dpi=DPI, metadata=dates)
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


def _plain(text: str) -> str:
    """Names of a stranger's data set must not be read as formulas."""
    return text.replace("$", r"\$")

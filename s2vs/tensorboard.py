"""The log of a run as TensorBoard shows it, beside the log: `tensorboard --logdir RUN`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from visil.errors import DataError

EVENTS = "tensorboard"  # folder of a run


def tensorboard_log(folder: Path, step: int) -> Callable[[int, Mapping[str, float]], None]:
    """What writes the figures of a step.

    Args:
        folder: of the run.
        step: that it stands at; what was written of later ones, before it was ended, is no longer shown.

    Raises:
        DataError: the package is not installed, or the folder cannot be written.
    """
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        raise DataError('--tensorboard needs the package tensorboard: pip install "visil[tensorboard]"') from None
    try:
        writer = SummaryWriter(folder / EVENTS, purge_step=step + 1)
    except OSError as error:
        raise DataError(f"{folder / EVENTS}: cannot be written ({error})") from error

    def write(step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return write

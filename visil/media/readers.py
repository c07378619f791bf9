"""The readers by name.

    name ─► [readers.py] ─► FrameReader, in the worker that decodes with it

PyAV reads everything and is always there. decord and torchcodec are extras: they return the same frames on regular
files and leave the others to PyAV (docs/method.md). A reader's package is imported when the reader is opened.
"""

from __future__ import annotations

from importlib.util import find_spec

from visil.defaults import READERS
from visil.errors import VisilError
from visil.media.reader import FrameReader


def check_reader(name: str) -> None:
    """Whether a reader can be asked for, without importing its package: for the process that starts the workers.

    Raises:
        VisilError: no such reader, or its package is not installed; the message names the extra.
    """
    if name not in READERS:
        raise VisilError(f"no reader {name!r}; there are: {', '.join(READERS)}")
    if name != "pyav" and find_spec(name) is None:
        raise VisilError(f'the {name} reader is not installed: pip install "visil[{name}]"')


def open_reader(name: str) -> FrameReader:
    """The reader of this name, its package imported.

    Raises:
        VisilError: as `check_reader`, or the package is there but does not load on this machine.
    """
    check_reader(name)
    if name == "decord":
        from visil.media.decord_reader import DecordReader

        return DecordReader()
    if name == "torchcodec":
        from visil.media.torchcodec_reader import TorchcodecReader

        return TorchcodecReader()
    from visil.media.pyav_reader import PyAVReader

    return PyAVReader()

"""Memory of a process and all that it started, on Linux: `/proc`.

Counted is PSS, proportional set size: a page that n processes share counts 1/n in each, so that the sum over a tree is
what the tree takes. RSS would count the code of ten workers ten times.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

SAMPLE_SECONDS = 0.2


def tree_pss_bytes(process_id: int | None = None) -> int:
    """PSS of a process (default: this one) and its descendants, now; those that end meanwhile count 0."""
    process_id = process_id or os.getpid()
    return sum(_pss_bytes(member) for member in [process_id, *_descendants(process_id)])


class MemoryWatch:
    """Samples the tree of a process while it is entered.

    Attributes:
        peak_bytes: the largest sample since it was entered.
    """

    def __init__(self, process_id: int | None = None) -> None:
        self.peak_bytes = 0
        self._process_id = process_id
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, tree_pss_bytes(self._process_id))


def _descendants(process_id: int) -> Iterator[int]:
    for children in Path(f"/proc/{process_id}/task").glob("*/children"):
        try:
            listed = [int(child) for child in children.read_text().split()]
        except OSError:  # the thread has ended
            continue
        for child in listed:
            yield child
            yield from _descendants(child)


def _pss_bytes(process_id: int) -> int:
    try:
        for line in Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:  # the process has ended
        pass
    return 0

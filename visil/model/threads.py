"""How many threads torch computes with.

Torch's own threads share every operation and wait for each other at its end, spinning. Where decoders keep the cores
busy that costs more than it gains: 33 pictures a second in four threads of one each, 3 in one of four.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread, for hundreds of operations on small tensors, such as loading weights.

    Waking the other threads for each of them gains nothing, and costs seconds where other processes keep the cores
    busy.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def independent_threads(count: int) -> ThreadPoolExecutor:
    """Threads of which each computes alone: for work that comes in independent pieces."""
    threads = ThreadPoolExecutor(count, thread_name_prefix="visil-encode")
    all_started = threading.Barrier(count)

    def start(_: int) -> None:
        torch.get_num_threads()  # a thread takes over the setting of all when it is first asked, and then no more
        torch.set_num_threads(1)  # of this thread, and of all that are asked after it
        all_started.wait()

    before = torch.get_num_threads()
    list(threads.map(start, range(count)))
    torch.set_num_threads(before)  # others are not concerned
    return threads

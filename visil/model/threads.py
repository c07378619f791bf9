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

_setting = threading.RLock()  # torch's setting is that of one thread, and of all that torch sees later


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread, for hundreds of operations on small tensors, such as loading weights.

    Waking the other threads for each of them gains nothing, and costs seconds where other processes keep the cores
    busy. Two threads that want this take turns; a third that torch first sees meanwhile stays at one.
    """
    with _setting:
        before = torch.get_num_threads()
        if before == 1:  # setting it again would be for all later threads, whatever those are to have
            yield
            return
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

    with _setting:
        before = torch.get_num_threads()
        try:
            list(threads.map(start, range(count)))
        except BaseException:
            all_started.abort()  # those that have started would wait for the others for ever
            threads.shutdown()
            raise
        finally:
            torch.set_num_threads(before)  # others are not concerned
    return threads

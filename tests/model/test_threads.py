"""How many threads torch computes with, and where."""

from __future__ import annotations

import threading

import torch

from visil.model.threads import independent_threads, one_thread


def test_one_thread_is_for_a_while():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_independent_threads_compute_alone_and_leave_all_others_as_they_were():
    before = torch.get_num_threads()
    in_a_new_thread: list[int] = []
    with independent_threads(3) as threads:
        all_busy = threading.Barrier(3)

        def count(_: int) -> int:
            all_busy.wait()  # so that each of them answers
            return torch.get_num_threads()

        assert list(threads.map(count, range(3))) == [1, 1, 1]
        thread = threading.Thread(target=lambda: in_a_new_thread.append(torch.get_num_threads()))
        thread.start()
        thread.join()
    assert torch.get_num_threads() == before
    assert in_a_new_thread == [before]

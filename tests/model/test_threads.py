"""How many threads torch computes with, and where."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

import visil.model.model as model_module
from visil.model.model import Model
from visil.model.threads import independent_threads, one_thread


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads_of_a_new_thread() -> int:
    """What torch computes with in a thread that it has not seen yet."""
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return counts[0]


def test_one_thread_is_for_a_while():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_one_thread_within_one_thread_ends_with_the_outer_one():
    with one_thread():
        with one_thread():
            pass
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads_of_a_new_thread() == 2


def test_two_that_want_one_thread_at_once_leave_all_others_as_they_were():
    tries = threading.Event()
    after: list[int] = []

    def second() -> None:
        tries.set()
        with one_thread():
            pass
        after.append(torch.get_num_threads())

    thread = threading.Thread(target=second)
    with one_thread():
        thread.start()
        assert tries.wait(60)
    thread.join()
    assert [*after, torch.get_num_threads(), threads_of_a_new_thread()] == [2, 2, 2]


def test_independent_threads_compute_alone_and_leave_all_others_as_they_were():
    with independent_threads(3) as threads:
        all_busy = threading.Barrier(3)

        def count(_: int) -> int:
            all_busy.wait()  # so that each of them answers
            return torch.get_num_threads()

        assert list(threads.map(count, range(3))) == [1, 1, 1]
        assert threads_of_a_new_thread() == 2
    assert torch.get_num_threads() == 2


def test_one_thread_in_an_independent_one_is_what_it_has_anyway():
    def count() -> int:
        with one_thread():
            return torch.get_num_threads()

    with independent_threads(1) as threads:
        assert threads.submit(count).result() == 1
    assert threads_of_a_new_thread() == 2


def test_independent_threads_that_cannot_all_start_are_given_up(monkeypatch):
    start, started = threading.Thread.start, []

    def only_one(thread: threading.Thread) -> None:
        if thread.name.startswith("visil-encode"):
            if started:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", only_one)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            independent_threads(2)
    assert not started[0].is_alive()
    assert torch.get_num_threads() == threads_of_a_new_thread() == 2


def test_a_model_builds_its_backbone_once_and_leaves_the_threads_of_others_alone(quick_model, monkeypatch):
    built: list[object] = []
    backbone = model_module.Backbone

    def spy(*arguments, **options):
        built.append(arguments)
        return backbone(*arguments, **options)

    monkeypatch.setattr(model_module, "Backbone", spy)
    fresh = Model(quick_model.bundle, device="cpu")
    fresh.region_vectors(np.zeros((8, 64, 64, 3), np.uint8))  # four pictures a thread
    assert len(built) == 1
    assert torch.get_num_threads() == threads_of_a_new_thread() == 2

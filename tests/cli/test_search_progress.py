"""What a search says while it is at work: what is read, how far the comparison is, how long it will take."""

from __future__ import annotations

from typing import Any

import pytest

import visil.cli.search as search_command
from visil.cli.search import _Teller
from visil.library.search import SearchProgress


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(search_command, "time", clock)
    return clock


@pytest.fixture
def told(clock: Clock) -> list[tuple[Any, ...]]:
    return []


@pytest.fixture
def teller(told: list[tuple[Any, ...]]) -> _Teller:
    def report(done: int, total: int, note: str = "", *, share: float | None = None) -> None:
        told.append((done, total, note, share))

    return _Teller(report, 2, quiet=False)


def test_says_how_much_of_a_query_is_read(teller, told):
    teller(SearchProgress("film.mp4", read_s=754))
    assert told == [(0, 2, "reading film.mp4: 13 min of it", None)]


def test_says_which_file_is_read_to_tell_whether_it_is_a_copy(teller, told):
    teller(SearchProgress(hashing="/films/film.mp4", share=0.4))
    assert told == [(0, 2, "is it a copy? reading /films/film.mp4: 40%", None)]


def test_says_how_far_a_comparison_is_and_counts_it_for_its_queries(teller, told):
    teller.num_done = 1
    teller(SearchProgress(num_compared=1, share=0.5))
    assert told == [(1, 2, "comparing 1: 50%", 0.75)]


def test_says_how_long_it_takes_once_a_second_was_measured(teller, clock, capsys):
    for passed_s, share in [(0, 0.0), (0.5, 0.005), (1.5, 0.015), (50, 0.5)]:
        clock.now_s = 100 + passed_s
        teller(SearchProgress(num_compared=2, share=share))
    assert capsys.readouterr().err == "visil: comparing 2 queries takes about 2 min\n"


def test_does_not_speak_of_what_is_soon_done(teller, clock, capsys):
    for passed_s, share in [(0, 0.0), (2, 0.2), (9, 0.9)]:
        clock.now_s = 100 + passed_s
        teller(SearchProgress(num_compared=1, share=share))
    assert capsys.readouterr().err == ""

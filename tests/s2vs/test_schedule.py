"""The learning rate by step. Published values: tests/parity."""

import pytest

from visil.s2vs.schedule import CosineSchedule

SCHEDULE = CosineSchedule(rate=1.0, steps=100, warmup_steps=10, first_share=0.01, final_share=0.1)


def test_it_rises_in_a_line():
    assert [SCHEDULE.rate_of(step) for step in (0, 5, 9)] == pytest.approx([0.01, 0.505, 0.901])


def test_it_falls_as_half_a_cosine_from_step_0():
    assert SCHEDULE.rate_of(50) == pytest.approx(0.55)
    assert SCHEDULE.rate_of(10) < 1.0
    rates = [SCHEDULE.rate_of(step) for step in range(10, 101)]
    assert rates == sorted(rates, reverse=True)


def test_behind_the_end_it_stays():
    assert SCHEDULE.rate_of(100) == SCHEDULE.rate_of(10_000) == pytest.approx(0.1)


def test_without_a_warm_up():
    assert CosineSchedule(rate=1.0, warmup_steps=0).rate_of(0) == 1.0

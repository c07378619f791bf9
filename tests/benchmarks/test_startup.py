"""Where a command spends its time: the clock, and a search measured by it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from visil.benchmarks.startup import (
    BUILD,
    DECODE,
    ENCODE,
    IMPORTS,
    LOAD,
    PHASES,
    REST,
    SEARCH,
    START,
    TORCH,
    PhaseClock,
)
from visil.library.library import Library
from visil.model.model import Model


class TestPhaseClock:
    @staticmethod
    def clock(*times_s: float) -> PhaseClock:
        return PhaseClock(START, 10.0, iter(times_s).__next__)

    def test_gives_every_second_to_one_phase(self):
        clock = self.clock(11.0, 14.0)
        assert clock.switch(LOAD) == START
        clock.switch(REST)
        assert clock.seconds == dict.fromkeys(PHASES, 0.0) | {START: 1.0, LOAD: 3.0}

    def test_a_phase_inside_another_pauses_it(self):
        clock = self.clock(11.0, 13.0, 18.0, 19.0)
        with clock.during(ENCODE), clock.during(BUILD):  # 11 to 19, 13 to 18
            pass
        assert (clock.seconds[ENCODE], clock.seconds[BUILD]) == (3.0, 5.0)
        assert clock.phase == START

    def test_a_phase_ends_with_an_error(self):
        clock = self.clock(11.0, 12.0)
        with pytest.raises(OSError, match="gone"), clock.during(DECODE):
            raise OSError("gone")
        assert (clock.phase, clock.seconds[DECODE]) == (START, 1.0)


def test_every_phase_of_a_search_is_seen(quick_model: Model, made_clips: Path, tmp_path: Path) -> None:
    Library.create(tmp_path / "library", quick_model).add([made_clips], workers=2)
    copy = shutil.copy(made_clips / "clip_1.mp4", tmp_path / "copy.mp4")  # what is indexed is not decoded
    search = ["search", copy, "--library", tmp_path / "library", "--format", "csv"]
    began_s = time.monotonic()
    command = [sys.executable, "-m", "visil.benchmarks.startup", tmp_path / "phases.json", repr(began_s), *search]
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    whole_s = time.monotonic() - began_s

    assert "clip_1.mp4" in ended.stdout
    seconds = json.loads((tmp_path / "phases.json").read_text())
    assert list(seconds) == list(PHASES)
    assert all(seconds[phase] > 0 for phase in (START, TORCH, IMPORTS, LOAD, BUILD, DECODE, ENCODE, SEARCH, REST))
    assert sum(seconds.values()) < whole_s

"""Where a command spends its time, from process start to the last line of its table.

    python -m visil.benchmarks.startup REPORT STARTED_S search clip.mp4 ...

runs `visil search clip.mp4 ...` and writes {phase: seconds} as JSON to REPORT. STARTED_S is `time.monotonic()` of the
starter, just before. Phases do not overlap: one that begins inside another pauses it, and they add up to the whole.
`import torch` is what torch brings along, numpy included. `decode` is what the command waits for its decoding worker.

Imports nothing heavy: what is measured must import it.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

START, TORCH, IMPORTS, LOAD, BUILD, DECODE, ENCODE, SEARCH, REST = PHASES = (
    "python start",
    "import torch",
    "other imports",
    "load library",
    "build network",
    "decode",
    "encode",
    "search",
    "rest",
)
WITH_TORCH = ("torch", "numpy")  # torch imports numpy; who did so before does not make it cost more or less
# module -> its functions, methods and cached properties, and the phase each is
PLACES = {
    "visil.library.library": {"Library.open": LOAD, "Library._search": SEARCH},
    "visil.library.store": {"Store.refresh": LOAD, "Store.records": LOAD, "Store.descriptors": LOAD},
    "visil.media.decoding": {"read_frames": DECODE},
    "visil.model.model": {"Model.backbone": BUILD, "VideoEncoder.add": ENCODE, "VideoEncoder.finish": ENCODE},
}


class PhaseClock:
    """Adds up seconds by phase; one phase at a time."""

    def __init__(self, phase: str, started_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._since_s = started_s
        self.phase = phase
        self.seconds = dict.fromkeys(PHASES, 0.0)

    def switch(self, phase: str) -> str:
        """The phase from now on; returns the one before."""
        now_s, before = self._now_s(), self.phase
        self.seconds[before] += now_s - self._since_s
        self.phase, self._since_s = phase, now_s
        return before

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """A phase and then the one before again."""
        before = self.switch(phase)
        try:
            yield
        finally:
            self.switch(before)


def measured(arguments: Sequence[str], started_s: float) -> tuple[Any, dict[str, float]]:
    """Run `visil ARGUMENTS` in this process, which must be fresh: its exit code, and the seconds of every phase.

    Imports are seen by replacing the built-in `__import__`, and functions are replaced by timed ones as their module
    is imported, before another module can take them by name.
    """
    clock = PhaseClock(START, started_s)
    clock.switch(REST)
    plain_import = builtins.__import__

    def timed_import(name: str, *context: Any, **named: Any) -> ModuleType:
        with clock.during(TORCH if name in WITH_TORCH or clock.phase == TORCH else IMPORTS):
            module = plain_import(name, *context, **named)
            for function, phase in waiting.pop(name, {}).items():
                _replace_by_timed(sys.modules[name], function, phase, clock)
        return module

    waiting = dict(PLACES)
    builtins.__import__ = timed_import
    sys.argv = ["visil", *arguments]
    code: Any = None
    try:
        from visil.cli.main import main

        main()
    except SystemExit as ended:
        code = ended.code
    finally:
        builtins.__import__ = plain_import
    clock.switch(REST)
    return code, clock.seconds


def _replace_by_timed(module: ModuleType, function: str, phase: str, clock: PhaseClock) -> None:
    *owners, name = function.split(".")
    owner = attrgetter(owners[0])(module) if owners else module
    plain = inspect.getattr_static(owner, name)
    if isinstance(plain, functools.cached_property):
        plain.func = _timed(plain.func, phase, clock)
    elif isinstance(plain, classmethod):
        setattr(owner, name, classmethod(_timed(plain.__func__, phase, clock)))
    else:
        setattr(owner, name, _timed(plain, phase, clock))


def _timed(function: Callable[..., Any], phase: str, clock: PhaseClock) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*arguments: Any, **options: Any) -> Any:
        with clock.during(phase):
            result = function(*arguments, **options)
        return _timed_iterator(result, phase, clock) if inspect.isgenerator(result) else result

    return timed


def _timed_iterator(items: Iterator[Any], phase: str, clock: PhaseClock) -> Iterator[Any]:
    nothing = object()
    while True:
        with clock.during(phase):
            item = next(items, nothing)
        if item is nothing:
            return
        yield item


if __name__ == "__main__":
    report, started_s, *command = sys.argv[1:]
    code, seconds = measured(command, float(started_s))
    Path(report).write_text(json.dumps(seconds), encoding="utf-8")
    sys.exit(code)

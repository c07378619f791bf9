"""The clock of a video: which timestamps are believed.

    decoded pictures ─► [strictly increasing times] ─► shown frames ─► sampling
                        this module

A frame follows the one before within SLIGHT_S, or comes at most as much too early, and is dropped then. Any other step
is odd: the LASTING frames that begin with the odd one decide.

- Forward, the times are kept, unless one of these frames comes back by more than SLIGHT_S (in a video with gaps: to
  where the clock was): the odd one was an outlier then, and is ignored.
- Back, the clock was restarted and goes on from the end of the last frame, if the frames go on from there. If they
  return to where the clock was, or the file ends, the odd one was an outlier.
- Lone frames more than LONE_S away from LASTING regular ones are outliers: the first of a file, which may also come
  too late, and fewer than LASTING at its end.
- A jump of more than HELD_S to where no video ends is no gap: the clock goes on from the end of the last frame.

Pure and exact: times are fractions of seconds, nothing here opens a file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import islice, pairwise
from math import inf
from typing import Generic, NamedTuple, TypeVar

Picture = TypeVar("Picture")

SLIGHT_S = 1  # seconds
LONE_S = 1800  # seconds; a title or a closing slide is held for minutes, a frame of a faulty clock is hours away
HELD_S = 60  # seconds; pauses of a minute are common, and before a new clock no frame is held for longer
LASTING = 3  # frames; as many decoded pictures are held while the clock is in doubt, and no more
MPEG_PERIOD_S = Fraction(1 << 33, 90_000)  # the clock of MPEG streams has 33 bits: 26.5 hours


class Timed(NamedTuple, Generic[Picture]):
    """A decoded picture, when it is shown (None: when the one before is over), for how long by itself (over 0)."""

    time_s: Fraction | None
    own_s: Fraction
    picture: Picture


class Clock:
    """One pass over the frames of a video.

    Attributes:
        num_outliers: frames that were ignored.
        num_restarts: how often the clock was set back.
        num_far_jumps: how often it was set to where no video ends.
        ignored_s: from the earliest time of ignored frames to the latest end, by the file's own clock; None: no such.
    """

    def __init__(self, longest_s: Fraction | int) -> None:
        """
        Args:
            longest_s: what a video may last, seconds.
        """
        self.num_outliers = 0
        self.num_restarts = 0
        self.num_far_jumps = 0
        self.ignored_s: tuple[Fraction, Fraction] | None = None
        self._longest_s = longest_s
        self._first_s: Fraction | None = None
        self._last_s = Fraction(0)  # when the last believed frame is shown by the file's clock
        self._end_s = Fraction(0)  # when it is over by itself
        self._offset_s = Fraction(0)  # from the file's clock to the one that is believed
        self._num_believed = 0
        self._has_gaps = False  # not all steps were slight
        self._has_times = False  # a believed frame had one of its own

    @property
    def warning(self) -> str:
        """What was not believed, or an empty text."""
        outliers, restarts, jumps = self.num_outliers, self.num_restarts, self.num_far_jumps
        found = (
            (outliers, "1 frame's time was not believed", f"the times of {outliers} frames were not believed"),
            (restarts, "its clock restarts once", f"its clock restarts {restarts} times"),
            (jumps, "1 jump of its clock was not believed", f"{jumps} jumps of its clock were not believed"),
        )
        return "; ".join(one if count == 1 else several for count, one, several in found if count)

    def believed(self, frames: Iterable[Timed[Picture]]) -> Iterator[Timed[Picture]]:
        """The frames that are neither ignored nor dropped, in the order given, with strictly increasing times.

        The first time is the file's own, and so are all others until the clock is set back. A frame is asked for when
        it is due; behind the first one more, behind an odd one two, behind a first one that is odd three.
        """
        queue = _Queue(frames)
        for frame in queue:
            time_s = self._end_s if frame.time_s is None else frame.time_s
            if self._first_s is None:
                if self._is_outlier_at_start(time_s, frame.own_s, queue):
                    self._ignore(time_s, time_s + frame.own_s)
                    continue
                self._first_s = time_s
            elif not 0 < (step_s := time_s - self._last_s) <= SLIGHT_S:
                if -SLIGHT_S <= step_s <= 0:
                    continue
                if self._is_outlier(queue.times_s(time_s, frame.own_s, LASTING)):
                    self._ignore(time_s, time_s + frame.own_s)
                    continue
                self._set(step_s)
            self._last_s, self._end_s = time_s, time_s + frame.own_s
            self._num_believed += 1
            self._has_times |= frame.time_s is not None
            if self._offset_s or frame.time_s is None:
                frame = frame._replace(time_s=time_s + self._offset_s)
            yield frame

    def _ignore(self, time_s: Fraction, end_s: Fraction) -> None:
        self.num_outliers += 1
        earliest_s, latest_s = self.ignored_s or (time_s, end_s)
        self.ignored_s = min(earliest_s, time_s), max(latest_s, end_s)

    def _is_outlier_at_start(self, time_s: Fraction, own_s: Fraction, queue: _Queue[Picture]) -> bool:
        step_s = queue.times_s(time_s, own_s, 2)[-1] - time_s
        if -SLIGHT_S <= step_s <= LONE_S:
            return False
        following_s = queue.times_s(time_s, own_s, 1 + LASTING)[1:]
        return len(following_s) == LASTING and all(0 < b - a <= SLIGHT_S for a, b in pairwise(following_s))

    def _is_outlier(self, times_s: Sequence[Fraction]) -> bool:
        """Whether the first of these frames is one, after an odd step to it."""
        is_at_end = len(times_s) < LASTING
        if times_s[0] < self._last_s:
            return is_at_end or not self._go_on(times_s)
        # Among slides of minutes a restart comes within few frames, too: only a return to between two of them counts.
        back_to_s = self._last_s if self._has_gaps else -inf
        if any(back_to_s < time_s < times_s[0] - SLIGHT_S for time_s in times_s):
            return True
        is_alone = is_at_end and times_s[0] - self._last_s > LONE_S
        return is_alone and self._num_believed >= LASTING and not self._has_gaps

    def _go_on(self, times_s: Sequence[Fraction]) -> bool:
        """Whether the frames of a clock that was set back go on from there."""
        usual_s = Fraction(0)
        for before_s, after_s in pairwise(times_s):
            step_s = after_s - before_s
            returns = step_s > usual_s + SLIGHT_S and after_s >= self._last_s - SLIGHT_S
            if returns or step_s < -SLIGHT_S:
                return False
            usual_s = step_s
        return True

    def _set(self, step_s: Fraction) -> None:
        """The clock was set by this much."""
        assert self._first_s is not None
        is_far = step_s > HELD_S and self._last_s + self._offset_s + step_s - self._first_s > self._longest_s
        if step_s < 0 or is_far:
            self._offset_s += min(self._end_s - self._last_s, Fraction(HELD_S)) - step_s
        self.num_restarts += step_s < 0 and self._has_times  # else it starts behind frames before time zero
        self.num_far_jumps += is_far
        self._has_gaps |= step_s > 0 and not is_far


class _Queue(Generic[Picture]):
    """Frames that can be looked at before they are due."""

    def __init__(self, frames: Iterable[Timed[Picture]]) -> None:
        self._coming = iter(frames)
        self._ahead: deque[Timed[Picture]] = deque()

    def __iter__(self) -> Iterator[Timed[Picture]]:
        while self._ahead or self._look(1):
            yield self._ahead.popleft()

    def times_s(self, time_s: Fraction, own_s: Fraction, count: int) -> list[Fraction]:
        """Times of so many frames or, at the end, fewer: that of the one that is due, which is given, and the next."""
        self._look(count - 1)
        times_s = [time_s]
        for frame in islice(self._ahead, count - 1):
            times_s.append(times_s[-1] + own_s if frame.time_s is None else frame.time_s)
            own_s = frame.own_s
        return times_s

    def _look(self, count: int) -> bool:
        self._ahead.extend(islice(self._coming, max(0, count - len(self._ahead))))
        return bool(self._ahead)


def unwrapped(frames: Iterable[Timed[Picture]], period_s: Fraction) -> Iterator[Timed[Picture]]:
    """The frames of a clock that begins anew after every period, each as near to the one before as can be.

    FFmpeg takes what is more than a minute before the start of a file for the next period: where two recordings are
    joined, it puts the second one a day later.
    """
    shift_s, before_s = Fraction(0), None
    for frame in frames:
        if frame.time_s is not None:
            time_s = frame.time_s + shift_s
            if before_s is not None and abs(time_s - before_s) > period_s / 2:
                shift_s += period_s * round((before_s - time_s) / period_s)
                time_s = frame.time_s + shift_s
            before_s = time_s
            if shift_s:
                frame = frame._replace(time_s=time_s)
        yield frame


class PacketTimes:
    """Whether a `Clock` changes nothing of a file, told by its packets in the order of decoding; a no may be wrong.

    Frames are decoded in another order than they are shown in, but at ordinary rates not by as much as SLIGHT_S.
    """

    def __init__(self, time_base: Fraction, longest_s: Fraction | int = HELD_S) -> None:
        """
        Args:
            time_base: unit of the times, seconds.
            longest_s: a longer step forward is a no, too; at most HELD_S.
        """
        self._slight, self._longest = (int(seconds / time_base) for seconds in (SLIGHT_S, longest_s))
        self._latest: int | None = None

    def agree(self, time: int) -> bool:
        """Whether the clock passes on all times so far; the next packet is shown at this one."""
        before = time if self._latest is None else self._latest
        self._latest = max(time, before)
        return before - self._slight <= time <= before + self._longest

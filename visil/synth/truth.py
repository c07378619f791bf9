"""What is true of a made file: where its pictures come from, in seconds on both sides.

edits, montage, demo ─► [EditTruth] ─► JSON beside the files ─► benchmarks, tests
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class EditTruth:
    """Half-open intervals of two files that show the same: one was made from the other.

    Attributes:
        query: name of the edited file.
        source: name of the file it shows.
        family: kind of edit, a key of `edits.FAMILIES`; `cut` (strength in seconds); `montage` (share of it).
        strength: how much of it, in the unit of the family.
        query_start_s, query_end_s: in the edited file.
        start_s, end_s: the same moments in the source.
        labels: how evaluation counts the pair: `ND`, `PART` (as in the real videos' pairs).
        level: `mild` or `strong` for an edit; empty for cuts and montages.
        is_reversed: the query runs backwards: its interval starts with what lies just before `end_s`.
    """

    query: str
    source: str
    family: str
    strength: float
    query_start_s: float
    query_end_s: float
    start_s: float
    end_s: float
    labels: tuple[str, ...] = ("ND",)
    level: str = ""
    is_reversed: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))  # JSON has lists only
        for start_s, end_s in ((self.query_start_s, self.query_end_s), (self.start_s, self.end_s)):
            if not 0 <= start_s < end_s:
                raise ValueError(f"{self.query}: [{start_s}, {end_s}) is no interval of a video")

    @property
    def speed(self) -> float:
        """Seconds of the source shown in a second of the query; negative where it runs backwards."""
        forwards = (self.end_s - self.start_s) / (self.query_end_s - self.query_start_s)
        return -forwards if self.is_reversed else forwards

    def source_time_s(self, query_time_s: float) -> float:
        """The moment of the source that is seen at a moment of the query (both in seconds).

        A picture of the query starts with what is seen at its own start. Backwards it is the other way about: one shown
        during [t, t + d) is the picture that the source shows at the value of t + d.
        """
        first_s = self.end_s if self.is_reversed else self.start_s
        return first_s + (query_time_s - self.query_start_s) * self.speed


def write_truths(path: Path, truths: Sequence[EditTruth]) -> None:
    """A JSON list, one object a truth."""
    path.write_text(json.dumps([asdict(truth) for truth in truths], indent=1) + "\n", encoding="utf-8")


def read_truths(path: Path) -> list[EditTruth]:
    """What `write_truths` wrote."""
    return [EditTruth(**row) for row in json.loads(path.read_text(encoding="utf-8"))]

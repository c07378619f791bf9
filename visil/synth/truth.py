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

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))  # JSON has lists only
        for start_s, end_s in ((self.query_start_s, self.query_end_s), (self.start_s, self.end_s)):
            if not 0 <= start_s < end_s:
                raise ValueError(f"{self.query}: [{start_s}, {end_s}) is no interval of a video")

    @property
    def speed(self) -> float:
        """Seconds of the source shown in a second of the query."""
        return (self.end_s - self.start_s) / (self.query_end_s - self.query_start_s)


def write_truths(path: Path, truths: Sequence[EditTruth]) -> None:
    """A JSON list, one object a truth."""
    path.write_text(json.dumps([asdict(truth) for truth in truths], indent=1) + "\n", encoding="utf-8")


def read_truths(path: Path) -> list[EditTruth]:
    """What `write_truths` wrote."""
    return [EditTruth(**row) for row in json.loads(path.read_text(encoding="utf-8"))]

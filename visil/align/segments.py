"""A matching segment of two videos, in samples: what every method of this room ends in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AlignedSegment:
    """Half-open intervals of samples [start, end) of two videos that show the same.

    Attributes:
        query_start, query_end: rows of the similarity matrix.
        target_start, target_end: its columns.
        score: higher is surer; each method says what it is.
        is_reversed: the target runs backwards: the first sample of the query is seen last in it.
    """

    query_start: int
    query_end: int
    target_start: int
    target_end: int
    score: float
    is_reversed: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.query_start < self.query_end and 0 <= self.target_start < self.target_end):
            raise ValueError(f"a segment is an interval of both videos, got {self}")

    @property
    def speed(self) -> float:
        """Samples of the target shown in a sample of the query; negative where one of the two runs backwards.

        The ratio of the lengths: of a segment of n samples it is right to about 1/n.
        """
        forwards = (self.target_end - self.target_start) / (self.query_end - self.query_start)
        return -forwards if self.is_reversed else forwards

    @property
    def shorter_side(self) -> int:
        """Samples of the video that shows it in fewer."""
        return min(self.query_end - self.query_start, self.target_end - self.target_start)

    def overlaps(self, other: AlignedSegment) -> bool:
        """Whether the two have time in common on both sides."""
        return max(self.query_start, other.query_start) < min(self.query_end, other.query_end) and max(
            self.target_start, other.target_start
        ) < min(self.target_end, other.target_end)

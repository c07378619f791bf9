"""From a similarity matrix to the segments in which two videos show the same."""

from visil.align.methods import METHODS, align
from visil.align.segments import AlignedSegment

__all__ = ["METHODS", "AlignedSegment", "align"]

"""What one file may cost: time without progress, time altogether, memory.

    [limits] ─► worker_process.py waits no longer, worker.py allocates no more

Imports nothing heavy: parent and worker share it.
"""

from __future__ import annotations

from dataclasses import dataclass

from visil.errors import DataError

BYTES_A_SECOND = 20_000  # where the headers tell no length, a video is taken to have 160 kbit/s: lower is rare
TIMES_ITS_LENGTH = 10  # 4K HEVC of ten bits on one busy core takes three to ten times as long as the video
LONGEST_DECODING_S = 12 * 3600  # whatever length a file claims
LEAST_STALL_S = 1.0  # workers report progress several times a second
LEAST_MEMORY_BYTES = 16_000_000
PACKET_SHARE = 0.9  # of stall_s: a worker that ends a file itself keeps the last frames, too


@dataclass(frozen=True)
class DecodeLimits:
    """What a file may cost before it is given up.

    Attributes:
        stall_s: seconds without any progress. The whole file may take as much and TIMES_ITS_LENGTH, the latter at
            most LONGEST_DECODING_S. Only the time that the parent waits for the worker counts: neither a busy consumer
            nor a suspended computer uses it up.
        memory_bytes: what decoding may allocate in a worker, beside the worker itself. 2.2 GB hold the reference
            pictures of 8K video; see `worker.limit_memory` for where it is enforced.

    Raises:
        DataError: a limit below what any file needs.
    """

    stall_s: float = 60.0
    memory_bytes: int = 2_200_000_000

    def __post_init__(self) -> None:
        if not self.stall_s >= LEAST_STALL_S:
            raise DataError(f"stall_s must be at least {LEAST_STALL_S:g} seconds, got {self.stall_s}")
        if not self.memory_bytes >= LEAST_MEMORY_BYTES:
            raise DataError(f"memory_bytes must be at least {LEAST_MEMORY_BYTES}, got {self.memory_bytes}")

    @property
    def packet_s(self) -> float:
        """Seconds in which a demuxer must find the next packet: as long as can be waited for any progress."""
        return PACKET_SHARE * self.stall_s

    def file_s(self, size_bytes: int, header_duration_s: float | None) -> float:
        """Seconds that a whole file may take.

        Args:
            header_duration_s: length of the video as its headers tell it; None if they do not.
        """
        length_s = max(header_duration_s or 0.0, size_bytes / BYTES_A_SECOND)
        return self.stall_s + min(TIMES_ITS_LENGTH * length_s, LONGEST_DECODING_S)


@dataclass
class Patience:
    """How long one file has been waited for.

    Attributes:
        stall_s: seconds that may pass without progress.
        file_s: seconds that may pass altogether.
    """

    stall_s: float
    file_s: float
    silent_s: float = 0.0
    total_s: float = 0.0

    def waited(self, seconds: float) -> None:
        """Time has passed without a message."""
        self.silent_s += seconds
        self.total_s += seconds

    def heard(self) -> None:
        """The worker has made progress."""
        self.silent_s = 0.0

    @property
    def complaint(self) -> str:
        """Why there is no more patience, or an empty text."""
        if self.silent_s >= self.stall_s:
            return f"no progress for {self.stall_s:g} s"
        if self.total_s >= self.file_s:
            return f"not done after {self.file_s:g} s, too long for its size and length"
        return ""

"""Which clips share a cell: dealt anew in every round, related ones apart, and on demand beside clips like them.

    clips ─► [an order a round ─► cells] ─► cells.py

A clip is in one cell of a round at most. What shares a cell shares batches, so a cell of clips that look alike and are
not related has hard negatives in it. Beyond the paper, which draws clips at random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Generator, Tensor

from visil.errors import DataError
from visil.s2vs.clips import Clip
from visil.s2vs.loop import SEEDS_APART
from visil.s2vs.video_in_video import resized

NUM_DEALS = 8  # orders that are tried to keep related clips apart: what is dealt last has little choice
LOOKED_AT = 4  # frames of a clip that say what it is like


class Dealer:
    """The cells of every round.

    Args:
        count: of the clips, N.
        size: clips of a cell.
        is_related: bool [N, N], clips that show the same or may; they share a cell only where nothing else is left.
            None: no two are.
        takes_all: the last cell of a round may be smaller; otherwise its clips wait for another round.
        hard_share: of the other places of a cell, that go to the clips most like its first one.
        descriptors: unit vectors [N, D] that say what is alike; asked for when a round is dealt.
    """

    def __init__(
        self,
        count: int,
        size: int,
        *,
        seed: int,
        is_related: np.ndarray | None = None,
        takes_all: bool = False,
        hard_share: float = 0.0,
        descriptors: Callable[[], Tensor] | None = None,
    ) -> None:
        self._size, self._seed = min(size, count), seed
        self._count, self._num_cells = count, -(-count // self._size) if takes_all else count // self._size
        self._is_related = is_related
        self._num_hard = round(hard_share * (self._size - 1)) if descriptors is not None else 0
        self._descriptors = descriptors
        self._dealt: tuple[int, list[Tensor]] | None = None

    def __len__(self) -> int:
        return self._num_cells

    def cells(self, round: int) -> list[Tensor]:
        """Numbers of the clips of each cell, int64 [K]."""
        if self._dealt is None or self._dealt[0] != round:
            generator = Generator().manual_seed(self._seed * SEEDS_APART + round)
            orders = [torch.randperm(self._count, generator=generator) for _ in range(NUM_DEALS)]
            deals = map(self._deal, orders if self._is_related is not None else orders[:1])
            self._dealt = (round, min(deals, key=self._num_related))
        return self._dealt[1]

    def _num_related(self, cells: Sequence[Tensor]) -> int:
        related = self._is_related
        return 0 if related is None else sum(int(related[cell.numpy()][:, cell.numpy()].sum()) for cell in cells)

    def _deal(self, order: Tensor) -> list[Tensor]:
        if self._is_related is None and not self._num_hard:
            return list(order[: len(self) * self._size].split(self._size))
        vectors = self._descriptors().numpy() if self._descriptors is not None and self._num_hard else None
        waiting = order.numpy()
        cells = []
        for _ in range(len(self)):
            cell = [waiting[0]]
            is_waiting = np.ones(len(waiting), dtype=bool)
            is_waiting[0] = False
            turns = -np.arange(len(waiting), dtype=np.float64)  # who has waited longest
            likeness = turns if vectors is None else (vectors[waiting] @ vectors[cell[0]]).astype(np.float64)
            while len(cell) < self._size and is_waiting.any():
                if self._is_related is not None:
                    apart = 2.0 * len(waiting) * self._is_related[cell[-1], waiting]
                    turns, likeness = turns - apart, likeness - apart  # below all others
                wish = likeness if len(cell) <= self._num_hard else turns
                chosen = int(np.where(is_waiting, wish, -np.inf).argmax())
                cell.append(waiting[chosen])
                is_waiting[chosen] = False
            waiting = waiting[is_waiting]
            cells.append(torch.tensor(np.array(cell)))
        return cells


def describe_clips(clips: Sequence[Clip], encode: Callable[[np.ndarray], Tensor], side_px: int) -> Tensor:
    """What clips look like: the mean of all region vectors of a few of their frames, unit vectors [N, D].

    A clip that cannot be read is like no other.

    Args:
        encode: pictures uint8 [T, S, S, 3] -> region vectors [T, R, D].
    """
    described: list[Tensor | None] = []
    for clip in clips:
        places = np.unique(np.linspace(0, len(clip.frames) - 1, LOOKED_AT).round().astype(int))
        try:
            frames = np.concatenate([clip.read(place, place + 1) for place in places])
        except DataError:
            described.append(None)
            continue
        pictures = resized(torch.from_numpy(frames), (side_px, side_px))
        described.append(encode(pictures.numpy()).float().mean(dim=(0, 1)).cpu())
    width = next((len(vector) for vector in described if vector is not None), 1)
    vectors = torch.stack([torch.zeros(width) if vector is None else vector for vector in described])
    return torch.nn.functional.normalize(vectors, dim=1)

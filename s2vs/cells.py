"""Cells: a few clips whose views are made together, and the bank that keeps what a frozen model says of them.

    clips ─► dealt into cells ─► both views of each clip ─► furniture, video in video ─► frozen model ─► Cell
             (dealing.py)                                   within the cell                             kept in a bank
    cells of the order of an epoch ─► [Batch: vectors, masks, labels] ─► pair_scores.py, losses.py

What has to meet in a batch lies in one cell: a clip and the host around it. Cells meet others in every epoch anew. A
round is one pair of views of every clip; a bank keeps so many rounds, and epochs take turns with them. Without a bank
every epoch has a round of its own, as published.
Source: S2VS (CVPRW 2023), "Training"; cells, bank and lengths are ours.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor

from visil.errors import DataError
from visil.s2vs.clip_views import ClipViews
from visil.s2vs.clips import Clip
from visil.s2vs.dealing import Dealer
from visil.s2vs.labels import Labels, label, video_shares
from visil.s2vs.loop import SEEDS_APART, Share
from visil.s2vs.temporal import Timeline, draw_crop
from visil.s2vs.video_in_video import NO_HOST, mix

logger = logging.getLogger(__name__)

ENCODED_AT_ONCE = 512  # pictures (published)


@dataclass(frozen=True)
class Cell:
    """What a frozen model says of the views of K clips.

    Attributes:
        clips: int64 [K], their numbers.
        weak, strong: float16 [K, T, R, D], region vectors of the views, padded at the end.
        weak_lengths, strong_lengths: int64 [K], their frames.
        hosts: int64 [K], the clip of the cell around a strong view, by its place in it; NO_HOST for none.
        shares: float32 [K], see `labels.video_shares`.
    """

    clips: Tensor
    weak: Tensor
    strong: Tensor
    weak_lengths: Tensor
    strong_lengths: Tensor
    hosts: Tensor
    shares: Tensor

    def __len__(self) -> int:
        return len(self.clips)


class Cells(Protocol):
    """Where cells come from."""

    def __len__(self) -> int:
        """Cells of a round."""

    def cell(self, round: int, number: int) -> Cell: ...


class FreshCells:
    """Cells made when they are asked for; every one by the seed, the round and its number alone.

    Args:
        encode: pictures uint8 [T, S, S, 3] -> region vectors [T, R, D], see `Model.region_vectors`.
        dealer: of the clips.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        encode: Callable[[np.ndarray], Tensor],
        views: ClipViews,
        dealer: Dealer,
        *,
        seed: int,
    ) -> None:
        self._clips, self._encode, self._views, self._dealer, self._seed = clips, encode, views, dealer, seed
        self.failed: dict[str, str] = {}
        """Why clips could not be read, by their ids."""

    def __len__(self) -> int:
        return len(self._dealer)

    def cell(self, round: int, number: int) -> Cell:
        """Make one, without clips that cannot be read: they are noted in `failed`. Without any the next one is made.

        Raises:
            DataError: none of a whole round can be read.
        """
        for other in range(len(self)):
            made = self._make(round, (number + other) % len(self))
            if made is not None:
                return made
        raise DataError(f"none of the clips can be read: {next(iter(self.failed.values()))}")

    def _make(self, round: int, number: int) -> Cell | None:
        generator = Generator().manual_seed(((self._seed * SEEDS_APART + round) * SEEDS_APART + number) % 2**63)
        clips, weak, strong = [], [], []
        for clip in self._dealer.cells(round)[number].tolist():
            try:
                frames = self._read(self._clips[clip], generator)
            except DataError as error:
                self._note(self._clips[clip], error)
                continue
            clips.append(clip)
            weak.append(self._views.weak.draw(frames, generator))
            strong.append(self._views.strong.draw(frames, generator))
        if not clips:
            return None
        if self._views.furniture:
            furnished = self._views.furniture.draw([*weak, *strong], generator)
            weak, strong = furnished[: len(clips)], furnished[len(clips) :]
        mixed, lengths, hosts, shares = self._mixed(strong, generator)
        return Cell(
            torch.tensor(clips),
            self._described(*_padded(weak, self._views.weak.length)),
            self._described(mixed, lengths),
            torch.tensor([len(view) for view in weak]),
            lengths,
            hosts,
            shares,
        )

    def _mixed(self, views: Sequence[Tensor], generator: Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Strong views, one in another: views, their lengths, hosts, shares. A mixture ends where one of both does."""
        padded, lengths = _padded(views, self._views.strong.length)
        hosts, shares = torch.full((len(views),), NO_HOST), torch.ones(len(views))
        if self._views.strong.mixing is None:
            return padded, lengths, hosts, shares
        height, width = padded.shape[2:4]
        mixture = self._views.strong.mixing.draw(len(views), (height, width), generator)
        ends = torch.where(mixture.hosts == NO_HOST, lengths, torch.minimum(lengths, lengths[mixture.hosts]))
        return mix(padded, mixture), ends, mixture.hosts, mixture.shares

    def _note(self, clip: Clip, error: DataError) -> None:
        if clip.id not in self.failed:
            logger.warning("skipped: %s", error)
        self.failed[clip.id] = str(error)

    def _read(self, clip: Clip, generator: Generator) -> Tensor:
        """Consecutive frames, anywhere; of a shorter clip all, repeated to as many where its views are (published)."""
        window = self._views.window
        spare = max(1, len(clip.frames) - window + 1)
        start = int(torch.randint(spare, (), generator=generator))
        frames = torch.from_numpy(clip.read(start, start + window))
        if not self._views.strong.repeats:
            return frames
        return frames[draw_crop(Timeline.of(torch.arange(len(frames))), window, generator).frames]

    def _described(self, views: Tensor, lengths: Tensor) -> Tensor:
        """[K, T, R, D], 0 behind the ends; only what is before them is encoded."""
        is_real = torch.arange(views.shape[1]) < lengths[:, None]
        found = torch.cat([self._encode(part.numpy()).half().cpu() for part in views[is_real].split(ENCODED_AT_ONCE)])
        vectors = found.new_zeros(*views.shape[:2], *found.shape[1:])
        vectors[is_real] = found
        return vectors


class Bank:
    """Cells kept on disk, made once; which of them are there can be any.

    Args:
        rounds: that are kept; round k is round k mod `rounds`.
    """

    def __init__(self, cells: Cells, folder: Path, *, rounds: int) -> None:
        self._cells, self._folder, self._rounds = cells, folder, rounds

    def __len__(self) -> int:
        return len(self._cells)

    def cell(self, round: int, number: int) -> Cell:
        round %= self._rounds
        file = self._folder / f"round-{round:03d}" / f"{number:05d}.safetensors"
        if file.exists():
            return _load(file)
        made = self._cells.cell(round, number)
        _save(made, file)
        return made

    def fill(self, share: Share, stop: Callable[[], bool] = lambda: False) -> None:
        """Make what is not there yet of a share of the cells, round by round."""
        for round in range(self._rounds):
            for number in range(share.rank, len(self), share.count):
                if stop():
                    return
                self.cell(round, number)
            logger.info("bank: round %d of %d", round + 1, self._rounds)


@dataclass(frozen=True)
class Batch:
    """What a step learns from: 2B clips, the weak ones first.

    Attributes:
        vectors: float [2B, T, R, D].
        mask: bool [2B, T], True for the frames that count; None: all do.
        labels: of the pairs.
    """

    vectors: Tensor
    mask: Tensor | None
    labels: Labels

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        labels = Labels(self.labels.is_positive.to(device), self.labels.is_negative.to(device))
        return Batch(self.vectors.to(device), None if self.mask is None else self.mask.to(device), labels)


@dataclass(frozen=True)
class Lengths:
    """How many frames of a view count.

    Attributes:
        short_share: of the views, that are cut short.
        shortest: frames that are left to them at least.
    """

    short_share: float = 0.0
    shortest: int = 4

    def draw(self, count: int, length: int, generator: Generator) -> Tensor | None:
        """bool [count, length]; None if none is cut. A short one may have any number of frames from `shortest` on."""
        if not self.short_share:
            return None
        is_short = torch.rand(count, generator=generator) < self.short_share
        lengths = torch.randint(min(self.shortest, length), length + 1, (count,), generator=generator)
        return torch.arange(length) < torch.where(is_short, lengths, length)[:, None]


class Batches:
    """The batches of a run.

    Args:
        is_related: bool [N, N], of the clips; None: no two are.
        lengths: of the views.
    """

    def __init__(
        self,
        cells: Cells,
        *,
        cells_a_batch: int,
        seed: int,
        is_related: np.ndarray | None = None,
        lengths: Lengths = Lengths(),
    ) -> None:
        if not 1 <= cells_a_batch <= len(cells):
            raise DataError(
                f"{len(cells)} cells do not fill a batch of {cells_a_batch}; give more clips or a smaller batch"
            )
        self._cells, self._count, self._seed, self._lengths = cells, cells_a_batch, seed, lengths
        self._is_related = None if is_related is None else torch.from_numpy(is_related)

    def draw(self, number: int, share: Share) -> Batch:
        """The share of a process of the batch of this number.

        Cells are a stream, epoch after epoch, each in an order of its own: what the batches of an epoch leave over
        comes first in the next. Every process takes other cells of it.
        """
        first = (number * share.count + share.rank) * self._count
        cells = [self._cells.cell(*self._place(first + k)) for k in range(self._count)]
        batch = self.of(cells)
        generator = Generator().manual_seed(SEEDS_APART * self._seed + number * share.count + share.rank)
        mask = self._lengths.draw(len(batch.vectors), batch.vectors.shape[1], generator)
        return batch if mask is None else replace(batch, mask=mask if batch.mask is None else mask & batch.mask)

    def of(self, cells: Sequence[Cell]) -> Batch:
        """Cells as a batch, at their whole lengths."""
        vectors = torch.cat([cell.weak for cell in cells] + [cell.strong for cell in cells])
        ends = torch.cat([cell.weak_lengths for cell in cells] + [cell.strong_lengths for cell in cells])
        mask = torch.arange(vectors.shape[1]) < ends[:, None]
        return Batch(vectors.float(), None if mask.all() else mask, self._label(cells))

    def _place(self, position: int) -> tuple[int, int]:
        """Round and number of the cell at a position of the stream."""
        epoch, place = divmod(position, len(self._cells))
        order = torch.randperm(len(self._cells), generator=Generator().manual_seed(self._seed * SEEDS_APART + epoch))
        return epoch, int(order[place])

    def _label(self, cells: Sequence[Cell]) -> Labels:
        clips = torch.cat([cell.clips for cell in cells])
        starts = torch.tensor([0, *(len(cell) for cell in cells[:-1])]).cumsum(0)
        hosts = [
            torch.where(cell.hosts == NO_HOST, NO_HOST, cell.hosts + start)
            for cell, start in zip(cells, starts, strict=True)
        ]
        # Where two epochs meet, a clip can be in a batch twice: other views of it are no negatives.
        is_related = clips[:, None] == clips
        if self._is_related is not None:
            is_related |= self._is_related[clips][:, clips]
        return label(video_shares(torch.cat(hosts), torch.cat([cell.shares for cell in cells])), is_related)


def _padded(views: Sequence[Tensor], length: int) -> tuple[Tensor, Tensor]:
    """[K, length, ...], 0 behind the ends, and lengths int64 [K]."""
    whole = views[0].new_zeros(len(views), length, *views[0].shape[1:])
    for number, view in enumerate(views):
        whole[number, : len(view)] = view
    return whole, torch.tensor([len(view) for view in views])


def _save(cell: Cell, file: Path) -> None:
    """A whole file or none."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")  # another process may need the same cell
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(vars(cell), partial)
        partial.replace(file)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise DataError(f"{file}: a cell of the bank cannot be written ({error})") from error


def _load(file: Path) -> Cell:
    try:
        with safe_open(file, framework="pt") as opened:
            return Cell(**{name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, TypeError) as error:
        raise DataError(f"{file}: no readable cell of a bank ({error}); delete it and let it be made again") from error

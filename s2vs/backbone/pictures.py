"""The pictures that a student is trained on, from one file; and which of them are in which step.

    scripts/pack_pictures.py ─► pictures.safetensors ─► [PackedPictures, batch_indices] ─► batch of step k ─► views

The file is mapped into memory, not read: it may be larger than the memory is.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from visil.errors import DataError
from visil.s2vs.backbone.overlays import Stickers
from visil.s2vs.claims import digest

TENSORS = ("pictures", "groups", "captions", "logos", "emoji")
FORMAT = "visil training pictures 2"
ROWS_AT_ONCE = 1024  # of the similarities of all pictures


@dataclass(frozen=True)
class Source:
    """Where pictures come from.

    Attributes:
        name: of the public collection.
        licence: as the collection states it.
        num_pictures: of it in the file.
    """

    name: str
    licence: str
    num_pictures: int


@dataclass(frozen=True)
class PackedPictures:
    """All pictures of a training run.

    Attributes:
        pictures: uint8 RGB [N, side, side, 3].
        groups: int64 [N], each in [0, N). Pictures of one group show the same thing: never negatives of each other.
        stickers: to lay over them.
        num_stills: the first ones; those behind them are frames of videos.
        sources: where they come from, the largest first.
        rule: which pictures of the sources were taken.
    """

    pictures: Tensor
    groups: Tensor
    stickers: Stickers
    num_stills: int
    sources: tuple[Source, ...]
    rule: str

    def __post_init__(self) -> None:
        if self.pictures.dtype != torch.uint8 or self.pictures.shape != (len(self), self.side, self.side, 3):
            raise ValueError(f"pictures: expected uint8 [N, side, side, 3], got {_kind(self.pictures)}")
        if self.groups.dtype != torch.int64 or self.groups.shape != (len(self),):
            raise ValueError(f"groups: expected int64 [{len(self)}], got {_kind(self.groups)}")
        if not self.side:
            raise ValueError(f"pictures: expected sides of 1 px or more, got {_kind(self.pictures)}")
        if not len(self) or self.groups.min() < 0 or self.groups.max() >= len(self):
            raise ValueError(f"groups: expected numbers from 0 to below {len(self)}")
        if not 0 <= self.num_stills <= len(self):
            raise ValueError(f"stills: expected a number from 0 to {len(self)}, got {self.num_stills}")

    @classmethod
    def read(cls, path: Path) -> PackedPictures:
        """A file of `scripts/pack_pictures.py`.

        Raises:
            DataError: it is missing, truncated, or something else.
        """
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {}).get("visil", "null"))
                if not isinstance(facts, dict) or facts.get("format") != FORMAT:
                    raise ValueError(f"it is not marked as {FORMAT!r}")
                tensors = {name: file.get_tensor(name) for name in TENSORS}
            return cls(
                tensors["pictures"],
                tensors["groups"],
                Stickers(tensors["captions"], tensors["logos"], tensors["emoji"]),
                int(facts["stills"]),
                tuple(_source(entry) for entry in facts["sources"]),
                str(facts["rule"]),
            )
        except FileNotFoundError as error:
            raise DataError(f"{path}: no such file; `scripts/pack_pictures.py` makes it") from error
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{path}: no readable file of training pictures ({reason}); make it with `scripts/pack_pictures.py`"
            ) from error

    def __len__(self) -> int:
        return len(self.pictures)

    @cached_property
    def digest(self) -> str:
        """Of a part of all tensors: tells one file from another."""
        return digest([self.pictures, self.groups, *vars(self.stickers).values()])

    @property
    def side(self) -> int:
        """Of every picture, pixels."""
        return self.pictures.shape[1] if self.pictures.ndim > 1 else 0

    def without_frames(self) -> PackedPictures:
        """The stills alone."""
        return replace(
            self,
            pictures=self.pictures[: self.num_stills],
            groups=self.groups[: self.num_stills].unique(return_inverse=True)[1],
        )

    def batch(self, indices: Tensor) -> Tensor:
        """int64 [B] -> uint8 RGB [B, 3, side, side], channels last in memory."""
        return self.pictures[indices].movedim(-1, 1)


def batch_indices(groups: Tensor, *, seed: int, step: int, batch_size: int) -> Tensor:
    """Which pictures are in a step: int64 [batch_size], drawn from (seed, step) and nothing else.

    No picture comes twice within an epoch (as many whole batches as there are; other pictures are left over each
    time). The pictures of a group are dealt to as many batches of the epoch as possible, so that two of them meet only
    if the group is larger than the epoch has batches.

    Args:
        groups: int64 [N] as in `PackedPictures`.
        step: from 0.

    Raises:
        DataError: there are fewer pictures than a batch has.
    """
    num_batches = len(groups) // batch_size
    if not num_batches:
        raise DataError(f"{len(groups)} pictures are too few for batches of {batch_size}")
    epoch, number = divmod(step, num_batches)
    digest = hashlib.sha256(f"pictures, seed {seed}, epoch {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
    order = torch.randperm(len(groups), generator=generator)[: num_batches * batch_size]
    places = torch.randperm(len(groups), generator=generator)  # of the groups, one after another
    in_groups = order[places[groups[order]].argsort(stable=True)]
    return in_groups[number::num_batches]


def mixed_indices(
    groups: Tensor, num_stills: int, *, seed: int, step: int, batch_size: int, frame_share: float
) -> Tensor:
    """`batch_indices` of stills and of frames of videos apart, so that frames are a given share of every batch.

    Args:
        groups: int64 [N].
        num_stills: the first of N; the others are frames.
        frame_share: of the batch; without frames, or without stills, all is of the other kind.
    """
    num_frames = min(round(frame_share * batch_size), batch_size - 1) if 0 < num_stills < len(groups) else 0
    if not num_frames:
        return batch_indices(groups, seed=seed, step=step, batch_size=batch_size)
    kinds = ((groups[:num_stills], batch_size - num_frames), (groups[num_stills:], num_frames))
    stills, frames = (
        batch_indices(of_kind.unique(return_inverse=True)[1], seed=seed, step=step, batch_size=size)
        for of_kind, size in kinds
    )
    return torch.cat([stills, num_stills + frames])


def nearest_pictures(vectors: Tensor, groups: Tensor, *, count: int) -> Tensor:
    """The `count` pictures of other groups whose vectors [N, D] are most like each one's: int64 [N, count]."""
    nearest = []
    for rows, own in zip(vectors.split(ROWS_AT_ONCE), groups.split(ROWS_AT_ONCE), strict=True):
        similarity = (rows @ vectors.T).masked_fill(own[:, None] == groups, -torch.inf)
        nearest.append(similarity.topk(count, dim=1).indices)
    return torch.cat(nearest)


def with_nearest(
    chosen: Tensor, nearest: Tensor, *, batch_size: int, clique: int, generator: torch.Generator
) -> Tensor:
    """Fill a batch up with pictures that look like some of its own: negatives that are hard.

    Args:
        chosen: int64 [n], different pictures.
        nearest: as of `nearest_pictures`, at least `clique`.
        batch_size: pictures in the end, if there are so many that look like the chosen ones.
        clique: of the nearest pictures of one so many come, drawn without replacement.

    Returns:
        int64 [at most batch_size], different pictures, the chosen ones first.
    """
    batch = chosen
    for picture in chosen[torch.randperm(len(chosen), generator=generator)]:
        if len(batch) >= batch_size:
            break
        order = torch.randperm(nearest.shape[1], generator=generator)[:clique]
        found = nearest[picture, order]
        batch = torch.cat([batch, found[~torch.isin(found, batch)]])
    return batch[:batch_size]


def _source(entry: Any) -> Source:
    return Source(str(entry["source"]), str(entry["licence"]), int(entry["pictures"]))


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {[*tensor.shape]}"

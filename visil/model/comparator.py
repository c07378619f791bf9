"""The learned network that reads a frame-to-frame similarity matrix.

    RegionVectors ─ similarity ─► [Tq, Tt] ─► [comparator] ─► [Tq/4, Tt/4] ─ clip, Chamfer ─► score
                                               this module

Source: ViSiL (ICCV 2019), "Video-to-video similarity". One class for the three published forms: `replicate`
(ViSiL), `zeros` (DnS, S2VS), and `replicate` without pooling (S2VS, for localisation).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

PADDINGS = {"replicate": "replicate", "zeros": "constant"}  # our name: that of torch.nn.functional.pad
MIN_FRAMES = 4  # two 2 x 2 poolings leave one cell
TILE_FRAMES = 384  # side of a tile of a longer matrix: 20 MB in the first layer (128 bytes a pair of frames)
HALO_FRAMES = 8  # a cell of the output sees 7 frames before its own and 6 behind them; whole cells around a tile


class Comparator(nn.Module):
    """Four convolutions over the matrix, the first two followed by 2 x 2 max pooling: 92,801 parameters.

    Args:
        padding: what convolutions see beyond the matrix: `replicate` (its edge) or `zeros`.
        pooling: without it the output keeps the size of the input; its scores are not those with pooling.

    Attributes:
        stride: frames a cell of the output advances by, 4 or 1.
        min_frames: the fewest frames a side may have.
    """

    def __init__(self, padding: str = "replicate", *, pooling: bool = True) -> None:
        super().__init__()
        if padding not in PADDINGS:
            raise ValueError(f"padding of a comparator must be one of {', '.join(PADDINGS)}, got {padding!r}")
        self.padding = padding
        self.pooling = pooling
        self.stride = 4 if pooling else 1
        self.min_frames = MIN_FRAMES if pooling else 1
        self.conv1 = nn.Conv2d(1, 32, kernel_size=3)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3)
        self.conv3 = nn.Conv2d(64, 128, kernel_size=3)
        self.fconv = nn.Conv2d(128, 1, kernel_size=1)
        for conv in (self.conv1, self.conv2, self.conv3, self.fconv):
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.get_parameter("bias"))

    def forward(
        self, matrix: Tensor, *, query_lengths: Tensor | None = None, target_lengths: Tensor | None = None
    ) -> Tensor:
        """Refine a batch of similarity matrices.

        Args:
            matrix: [B, Tq, Tt], rows are query frames.
            query_lengths, target_lengths: int [B], real frames of a padded item, which come first; None: all.

        Returns:
            [B, Tq // stride, Tt // stride], not clipped. The first (length // stride) rows and columns of an
            item are what it gives unpadded; the rest is 0.

        Raises:
            ValueError: a side is shorter than `min_frames`.
        """
        lengths = self._lengths(matrix, query_lengths, target_lengths)
        if lengths is None and max(matrix.shape[-2:]) > TILE_FRAMES + MIN_FRAMES:
            return self._refine_in_tiles(matrix)
        return self._refine(matrix, lengths)

    def _refine_in_tiles(self, matrix: Tensor) -> Tensor:
        """The map of a long pair, tile by tile: memory does not grow with its length, and nothing else changes."""
        rows, columns = (_tiles(side) for side in matrix.shape[-2:])
        return torch.cat([torch.cat([self._tile(matrix, r, c) for c in columns], dim=-1) for r in rows], dim=-2)

    def _tile(self, matrix: Tensor, rows: range, columns: range) -> Tensor:
        """The cells of these frames; only at the ends of the matrix does a convolution see padding."""
        seen, kept = [], []
        for tile, side in ((rows, matrix.shape[-2]), (columns, matrix.shape[-1])):
            start = max(0, tile.start - HALO_FRAMES)
            seen.append(slice(start, min(side, tile.stop + HALO_FRAMES)))
            first = (tile.start - start) // self.stride
            kept.append(slice(first, first + len(tile) // self.stride))
        return self._refine(matrix[:, seen[0], seen[1]], None)[:, kept[0], kept[1]]

    def _refine(self, matrix: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is not None:
            # Nothing beyond the real block is read, but convolutions that work on tiles would round it in.
            matrix = matrix.masked_fill(~_real_cells(matrix, lengths), 0.0)
        # Channels last: twice as fast on a CPU, and what tensor cores want.
        x = rearrange(matrix, "b i j -> b 1 i j").to(memory_format=torch.channels_last)
        for conv in (self.conv1, self.conv2):
            x = conv(self._pad(x, lengths))
            if self.pooling:
                # A pooled cell is real if its four cells are: an odd last row goes, as it does unpadded.
                x = F.max_pool2d(x, 2)
                lengths = None if lengths is None else lengths // 2
            x = F.relu(x)  # after the pooling: the same value, a quarter of the work
        x = F.relu(self.conv3(self._pad(x, lengths)))
        refined = rearrange(self.fconv(x), "b 1 i j -> b i j")
        if lengths is None:
            return refined
        return refined.masked_fill(~_real_cells(refined, lengths), 0.0)

    def _lengths(self, matrix: Tensor, query: Tensor | None, target: Tensor | None) -> Tensor | None:
        """Real rows and columns of every item, [2, B]; None if the batch is not padded."""
        if min(matrix.shape[-2:]) < self.min_frames:
            raise ValueError(
                f"the comparator needs at least {self.min_frames} frames on both sides, "
                f"got {[*matrix.shape[-2:]]}; repeat a short video first (SimilarityNetwork.repeat_short)"
            )
        if query is None and target is None:
            return None
        full = [torch.full(matrix.shape[:1], side, device=matrix.device) for side in matrix.shape[-2:]]
        lengths = torch.stack([full[0] if query is None else query, full[1] if target is None else target])
        if (lengths < self.min_frames).any() or (lengths > torch.stack(full)).any():
            raise ValueError(
                f"lengths must lie between {self.min_frames} and the sides of the matrix "
                f"{[*matrix.shape[-2:]]}, got {lengths.tolist()}"
            )
        return lengths

    def _pad(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """One cell around the real block of every item, [B, C, H, W] -> [B, C, H + 2, W + 2].

        A convolution looks one cell far: if the first row and column beyond the real block hold what padding
        would, it cannot tell a padded item from an unpadded one. (In the result the real block starts at 1.)
        """
        x = F.pad(x, (1, 1, 1, 1), mode=PADDINGS[self.padding])
        if lengths is not None:
            item = torch.arange(len(x), device=x.device)
            row, column = lengths  # the last real ones
            x[item, :, row + 1] = x[item, :, row] if self.padding == "replicate" else 0.0
            x[item, :, :, column + 1] = x[item, :, :, column] if self.padding == "replicate" else 0.0
        return x


def _tiles(side: int) -> list[range]:
    """Stretches of TILE_FRAMES, a multiple of every stride; the last takes a rest that is too short to stand alone."""
    starts = range(0, max(side - MIN_FRAMES, 1), TILE_FRAMES)
    stops = [*starts[1:], side]
    return [range(start, stop) for start, stop in zip(starts, stops, strict=True)]


def _real_cells(x: Tensor, lengths: Tensor) -> Tensor:
    """bool [B, H, W], True inside the first rows and columns of every item."""
    rows, columns = (
        torch.arange(side, device=x.device) < rearrange(length, "b -> b 1")
        for side, length in zip(x.shape[-2:], lengths, strict=True)
    )
    return rows[:, :, None] & columns[:, None, :]

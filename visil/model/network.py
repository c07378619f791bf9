"""The ViSiL network: region vectors of two videos -> score.

    Frames ─ backbone, regions, whitening ─► region vectors
                [index ─► frame similarity ─► comparator, clip ─► Chamfer] ─► score
                                     this module

Puts attention, binarization, similarity and comparator together; the variants of the papers are settings:

    ViSiL_f    NetworkSettings()
    ViSiL_v    NetworkSettings(attention="linear", comparator_padding="replicate")
    DnS f_A    NetworkSettings(attention="sigmoid", comparator_padding="zeros")       also S2VS
    DnS f_B    NetworkSettings(bits=512, comparator_padding="zeros")

Source: ViSiL (ICCV 2019); DnS (IJCV 2022), fine-grained students.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import pack, rearrange, repeat, unpack
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from visil.model import attention, comparator
from visil.model.attention import Attention
from visil.model.binarization import Binarization
from visil.model.comparator import HALO_FRAMES, Comparator
from visil.model.similarity import (
    chamfer_similarity,
    frame_similarity,
    symmetric_chamfer_similarity,
    weigh_bursts,
)

MAX_BITS = 8192  # bounds what a stranger's bundle can ask for
BATCH_CELLS = 2**15  # of the matrices refined at once: 4 MB in the first layer of the comparator stay in a CPU's cache


@dataclass(frozen=True)
class NetworkSettings:
    """Which parts a network has.

    Attributes:
        attention: kind of `Attention`, or None.
        bits: length of sign codes, or None for float vectors. Excludes attention.
        comparator_padding: `replicate` or `zeros`; None: the score is the Chamfer of the plain matrix.
        pooling: of the comparator.
        symmetric: both Chamfer similarities average both directions. With a comparator the score still
            depends on which side is the query, since its kernels do not treat rows and columns alike (also in
            the published "symmetric" networks): average score(q, t) and score(t, q) where a pair is promised
            one score.
        burstiness: power by which the best match of a query frame counts less that many share, see
            `similarity.weigh_bursts`; of plain networks only. 0: all count alike (the papers).
    """

    attention: str | None = None
    bits: int | None = None
    comparator_padding: str | None = None
    pooling: bool = True
    symmetric: bool = False
    burstiness: float = 0.0

    def __post_init__(self) -> None:
        if self.attention is not None and self.bits is not None:
            raise ValueError(f"attention and bits exclude each other, got {self.attention!r} and {self.bits}")
        if self.attention not in (None, *attention.KINDS):
            raise ValueError(f"attention must be one of {', '.join(attention.KINDS)}, got {self.attention!r}")
        if self.bits is not None and not 1 <= self.bits <= MAX_BITS:
            raise ValueError(f"bits must lie between 1 and {MAX_BITS}, got {self.bits}")
        if self.comparator_padding not in (None, *comparator.PADDINGS):
            raise ValueError(
                f"padding must be one of {', '.join(comparator.PADDINGS)}, got {self.comparator_padding!r}"
            )
        if not 0 <= self.burstiness <= 1:
            raise ValueError(f"burstiness must lie between 0 and 1, got {self.burstiness}")
        if self.burstiness and (self.symmetric or self.comparator_padding):
            raise ValueError("burstiness is of plain networks: neither symmetric nor with a comparator")


class SimilarityNetwork(nn.Module):
    """Scores pairs of videos by their region vectors.

    `index` is applied once a video; everything below it takes indexed vectors: float [T, R, D], sign codes
    [T, R, bits], or packed sign codes uint8 [T, R, bits/8] (`pack_signs` of `index`).

    Args:
        settings: which parts there are.
        dim: D of the region vectors.
        region_weights: of the regions in the score of a frame, adding up to 1; None: all alike (the papers).
    """

    def __init__(self, settings: NetworkSettings, dim: int, *, region_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.dim = dim
        self.region_weights = region_weights
        self.attention = Attention(dim, settings.attention) if settings.attention else None
        self.binarization = Binarization(dim, settings.bits) if settings.bits else None
        self.comparator = (
            Comparator(settings.comparator_padding, pooling=settings.pooling) if settings.comparator_padding else None
        )

    @property
    def min_frames(self) -> int:
        """The fewest frames a scored video may have; see `repeat_short`."""
        return self.comparator.min_frames if self.comparator else 1

    @property
    def is_plain(self) -> bool:
        """Whether a score comes from the row maxima of a plain matrix (`score_of_best`): no more of it need be kept."""
        return self.comparator is None and not self.settings.symmetric

    def index(self, vectors: Tensor) -> Tensor:
        """What is stored of a video: its region vectors [..., D] weighted by attention, or as sign codes."""
        if vectors.shape[-1] != self.dim:
            raise ValueError(f"expected region vectors of {self.dim} dimensions, got {[*vectors.shape]}")
        if self.attention:
            return self.attention(vectors)
        if self.binarization:
            return self.binarization(vectors)
        return vectors

    def repeat_short(self, items: Tensor, dim: int = -3) -> Tensor:
        """Double a video [..., T, R, D] until the comparator can read it: 1 -> 4, 2 -> 4, 3 -> 6 frames.

        The whole sequence is repeated along `dim`, as in all published systems; doing so to the rows or columns of a
        similarity matrix is the same.
        """
        if items.shape[dim] == 0:
            raise ValueError(f"a video without frames has no score: {[*items.shape]}; leave it out")
        while items.shape[dim] < self.min_frames:
            items = torch.cat([items, items], dim=dim)
        return items

    def frame_mean(self, vectors: Tensor) -> Tensor:
        """One vector for all regions of a frame, [..., R, D] -> [..., D], for descriptors; not normalised."""
        if self.region_weights is None:
            return vectors.mean(dim=-2)
        return vectors.new_tensor(self.region_weights) @ vectors

    def frame_similarity(self, query: Tensor, target: Tensor) -> Tensor:
        """Indexed vectors [..., Tq, R, D] and [..., Tt, R, D] -> matrix [..., Tq, Tt] in [-1, 1]."""
        matrix = frame_similarity(query, target, weights=self.region_weights, symmetric=self.settings.symmetric)
        if self.settings.bits and query.dtype != torch.uint8:  # packed codes are divided already
            matrix = matrix / self.settings.bits
        return matrix

    def refine(
        self, matrix: Tensor, *, query_lengths: Tensor | None = None, target_lengths: Tensor | None = None
    ) -> Tensor:
        """Comparator and clipping: [..., Tq, Tt] -> [..., Tq // 4, Tt // 4] in [-1, 1].

        Full size without pooling; the matrix itself without a comparator. The unclipped map, which the
        regularisation of training looks at, is `network.comparator(matrix)`. Lengths: see `Comparator`.
        """
        if self.comparator is None:
            return matrix
        batch, shape = pack([matrix], "* i j")
        refined = self.comparator(batch, query_lengths=query_lengths, target_lengths=target_lengths)
        return unpack(F.hardtanh(refined).to(matrix.dtype), shape, "* i j")[0]

    def video_similarity(
        self, refined: Tensor, *, query_mask: Tensor | None = None, target_mask: Tensor | None = None
    ) -> Tensor:
        """Score of a refined matrix, [..., h, w] -> [...] in [-1, 1]."""
        masks = {"query_mask": query_mask, "target_mask": target_mask}
        if self.settings.symmetric:
            return symmetric_chamfer_similarity(refined, **masks)
        return chamfer_similarity(refined, **masks, burstiness=self.settings.burstiness)

    def score_of_best(self, best: Tensor, where: Tensor) -> Tensor:
        """Score of a plain network by the best match of every query frame, [..., Tq] -> [...] in [-1, 1].

        Args:
            best, where: maxima of the rows of the matrix, and their columns.
        """
        if self.settings.burstiness:
            best = weigh_bursts(best, where, self.settings.burstiness)
        return best.mean(dim=-1)

    def score(self, query: Tensor, target: Tensor) -> Tensor:
        """Raw score [] in [-1, 1] of one pair of indexed videos [Tq, R, D] and [Tt, R, D], of any length."""
        return self.scores_of_similarity([self.frame_similarity(query, target)])[0]

    def scores_of_similarity(self, matrices: Sequence[Tensor]) -> Tensor:
        """Refine, then Chamfer: raw scores [N] of a query with N videos.

        Args:
            matrices: whole frame-to-frame similarity matrices [Tq, Tt], Tt of any length each. They are refined in
                batches of similar length, padded.
        """
        if not matrices:
            return torch.empty(0)
        matrices = [self.repeat_short(self.repeat_short(matrix, dim=-2), dim=-1) for matrix in matrices]
        scores = torch.empty(len(matrices), dtype=matrices[0].dtype, device=matrices[0].device)
        for members in _batches([matrix.shape for matrix in matrices]):
            lengths = [matrices[n].shape[-1] for n in members]
            batch = pad_sequence([matrices[n].mT for n in members], batch_first=True).mT  # [B, Tq, Tt]
            is_padded = min(lengths) < max(lengths)
            scores[members] = self._scores(batch, None, batch.new_tensor(lengths).long() if is_padded else None)
        return scores

    def score_matrix(
        self,
        queries: Tensor,
        targets: Tensor,
        *,
        query_mask: Tensor | None = None,
        target_mask: Tensor | None = None,
    ) -> Tensor:
        """Raw scores [Bq, Bt] of all pairs of two batches of indexed videos.

        All pairs are refined at once, and the comparator holds 128 bytes for each pair of frames: bound the
        batches.

        Args:
            queries, targets: [Bq, Tq, R, D] and [Bt, Tt, R, D], padded at the end.
            query_mask, target_mask: bool [Bq, Tq] and [Bt, Tt], True for real frames; None: all are.

        Returns:
            What `score` gives for every pair of unpadded videos.

        Raises:
            ValueError: a mask with a real frame behind a padded one, or a video without frames.
        """
        matrices, query_lengths, target_lengths = self.pair_matrices(
            queries, targets, query_mask=query_mask, target_mask=target_mask
        )
        scores = self._scores(matrices, query_lengths, target_lengths)
        return rearrange(scores, "(a b) -> a b", a=len(queries))

    def pair_matrices(
        self,
        queries: Tensor,
        targets: Tensor,
        *,
        query_mask: Tensor | None = None,
        target_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The frame-to-frame matrices of all pairs of two batches, as `refine` takes them; see `score_matrix`.

        Returns:
            [Bq · Bt, Tq, Tt], pair (a, b) at a · Bt + b; the real rows and the real columns of each, int64 [Bq · Bt],
            or None where all are.
        """
        queries, query_lengths = self._repeat_short_in_batch(queries, query_mask)
        targets, target_lengths = self._repeat_short_in_batch(targets, target_mask)
        num_queries, num_targets = len(queries), len(targets)
        matrix = self.frame_similarity(
            rearrange(queries, "a i o d -> (a i) o d"), rearrange(targets, "b j p d -> (b j) p d")
        )
        if query_lengths is not None:
            query_lengths = repeat(query_lengths, "a -> (a b)", b=num_targets)
        if target_lengths is not None:
            target_lengths = repeat(target_lengths, "b -> (a b)", a=num_queries)
        matrices = rearrange(matrix, "(a i) (b j) -> (a b) i j", a=num_queries, b=num_targets)
        return matrices, query_lengths, target_lengths

    def scores_of_refined(
        self, refined: Tensor, *, query_lengths: Tensor | None = None, target_lengths: Tensor | None = None
    ) -> Tensor:
        """Raw scores [B] of a batch of refined matrices [B, h, w], by the lengths that `refine` was given."""
        return self.video_similarity(
            refined,
            query_mask=self._refined_mask(query_lengths, refined.shape[-2]),
            target_mask=self._refined_mask(target_lengths, refined.shape[-1]),
        )

    def _scores(self, matrices: Tensor, query_lengths: Tensor | None, target_lengths: Tensor | None) -> Tensor:
        """Raw scores [B] of a batch of matrices [B, Tq, Tt], padded at the end beyond the lengths [B]."""
        lengths = {"query_lengths": query_lengths, "target_lengths": target_lengths}
        return self.scores_of_refined(self.refine(matrices, **lengths), **lengths)

    def _repeat_short_in_batch(self, videos: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The batch with every short member repeated, and the members' lengths (None: all fill the batch)."""
        if mask is None:
            return self.repeat_short(videos), None
        lengths = mask.sum(dim=-1)  # [B]
        if mask.shape != videos.shape[:2] or (mask != _first(lengths, mask.shape[1])).any():
            raise ValueError(
                f"mask must be bool {[*videos.shape[:2]]} with the real frames first, got {[*mask.shape]}; "
                "leave frames out before padding"
            )
        if (lengths == 0).any():
            raise ValueError("a video without frames has no score; leave it out of the batch")
        repeated = lengths
        while (repeated < self.min_frames).any():
            repeated = torch.where(repeated < self.min_frames, 2 * repeated, repeated)
        num_frames = max(videos.shape[1], int(repeated.max()))
        source = torch.arange(num_frames, device=videos.device) % rearrange(lengths, "b -> b 1")  # [B, T]
        return videos.take_along_dim(rearrange(source, "b i -> b i 1 1"), dim=1), repeated

    def _refined_mask(self, lengths: Tensor | None, size: int) -> Tensor | None:
        if lengths is None:
            return None
        return _first(lengths // self.comparator.stride if self.comparator else lengths, size)


class RunningScore:
    """Score of a pair whose matrix [Tq, Tt] comes in pieces of columns: what the whole gives, which is never there.

    Kept between the pieces are the columns that the next ones still change, and maxima.
    """

    def __init__(self, network: SimilarityNetwork) -> None:
        self._network = network
        self._stride, self._halo = (network.comparator.stride, HALO_FRAMES) if network.comparator else (1, 0)
        self._columns: Tensor | None = None  # [Tq, t], the first `_num_refined` of them for their neighbours' sake
        self._num_refined = 0
        self._best_of_rows: list[Tensor] = []  # one [h]
        self._best_of_columns: list[Tensor] = []  # [w] of every piece

    def add(self, columns: Tensor, *, is_last: bool) -> None:
        """The next columns [Tq, t]."""
        if self._columns is not None:
            columns = torch.cat([self._columns, columns], dim=1)
        if is_last and not self._num_refined:
            columns = self._network.repeat_short(columns, dim=1)
        width = columns.shape[1]
        end = width if is_last else (width - self._halo) // self._stride * self._stride  # what is behind still changes
        start = self._num_refined
        if end - start >= self._stride:
            refined = self._network.refine(self._network.repeat_short(columns, dim=0))
            cells = refined[:, start // self._stride : end // self._stride]  # [h, w]
            best = torch.stack([*self._best_of_rows, cells.amax(dim=1)]).amax(dim=0)
            self._best_of_rows = [best]
            self._best_of_columns.append(cells.amax(dim=0))
            self._num_refined = min(end, self._halo)
            columns = columns[:, end - self._num_refined :]
        self._columns = columns

    def score(self) -> Tensor:
        """Raw score [] of the pieces up to the last one."""
        (rows,) = self._best_of_rows
        if not self._network.settings.symmetric:
            return rows.mean()
        return (rows.mean() + torch.cat(self._best_of_columns).mean()) / 2


def _first(lengths: Tensor, size: int) -> Tensor:
    """bool [B, size], True for the first `length` items of every row."""
    return torch.arange(size, device=lengths.device) < rearrange(lengths, "b -> b 1")


def _batches(shapes: Sequence[torch.Size]) -> list[list[int]]:
    """Numbers of the matrices [Tq, Tt] to refine together: of similar length, at most BATCH_CELLS padded (or one)."""
    batches: list[list[int]] = []
    for number in sorted(range(len(shapes)), key=lambda number: shapes[number][-1]):
        if not batches or (len(batches[-1]) + 1) * shapes[number].numel() > BATCH_CELLS:
            batches.append([])
        batches[-1].append(number)
    return batches

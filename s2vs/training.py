"""S2VS: a similarity network that trains itself, on the region vectors of a frozen bundle.

    settings ─► clips ─► cells (a bank) ─► batch of step k ─► network ─► scores of all pairs ─► losses ─► loop.py
                                                                                   best or last weights ─► bundle

Source: S2VS (CVPRW 2023); where its sections are: docs/architecture.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from visil.errors import DataError
from visil.evaluation.metrics import MicroAveragePrecision, RankedQuery
from visil.model.bundle import Bundle, load_bundle
from visil.model.catalogue import find_bundle
from visil.model.model import Model
from visil.model.network import SimilarityNetwork
from visil.s2vs.cells import Bank, Batch, Batches, Cells, FreshCells
from visil.s2vs.claims import claim
from visil.s2vs.clips import Clip, digest_of, find_clips
from visil.s2vs.dealing import Dealer, describe_clips
from visil.s2vs.loop import BEST, LOSS, Loop, LoopSettings, Share, first_alone, this_share
from visil.s2vs.losses import clip_info_nce, hardest_negative, self_similarity, triplet_loss
from visil.s2vs.pair_scores import score_all_pairs, score_pairs
from visil.s2vs.settings import Data, LossSettings, S2VSSettings, placed
from visil.synth.montage_truth import read_montage_truth, related_matrix

BANK, VALIDATION = "bank", "validation"  # folders of a run
NETWORK_PARTS = ("attention", "binarization", "comparator")  # of a bundle
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class S2VSStep(nn.Module):
    """Batch -> losses by name."""

    def __init__(self, network: SimilarityNetwork, settings: LossSettings, precision: str) -> None:
        super().__init__()
        self.network = network
        self._settings = settings
        self._precision = precision

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        settings, labels = self._settings, batch.labels
        half = HALF.get(self._precision)
        with torch.autocast(batch.vectors.device.type, half) if half else nullcontext():
            scores = score_all_pairs(self.network, batch.vectors, batch.mask)
        similarity = scores.similarity.float()
        figures = {"regularisation": scores.regularisation.float()}
        penalty = settings.regularisation * figures["regularisation"]
        if settings.kind == "triplet":
            figures["triplet"] = _triplets(2 * similarity - 1, labels.is_positive, labels.is_negative, settings.margin)
            return {**figures, LOSS: figures["triplet"] + penalty}
        figures["info_nce"] = clip_info_nce(
            similarity, labels.is_positive, labels.is_negative, temperature=settings.temperature
        )
        figures["hardest_negative"] = hardest_negative(similarity, labels.is_negative)
        figures["self_similarity"] = self_similarity(similarity)
        sshn = settings.sshn * (figures["hardest_negative"] + figures["self_similarity"])
        return {**figures, LOSS: figures["info_nce"] + sshn + penalty}


def _triplets(similarity: Tensor, is_positive: Tensor, is_negative: Tensor, margin: float) -> Tensor:
    """ViSiL's loss, of scores in [-1, 1]: every positive of a clip against its most alike negative."""
    hardest = similarity.masked_fill(~is_negative, -torch.inf).amax(dim=1)
    rows, columns = (is_positive & is_negative.any(dim=1, keepdim=True)).nonzero(as_tuple=True)
    return triplet_loss(similarity[rows, columns], hardest[rows], margin) if len(rows) else similarity.new_zeros(())


class S2VSTraining:
    """A run and where it stands: made anew, or from its newest checkpoint. The task of its loop.

    Args:
        data: where the frames are.
        folder: of the run; holds its bank, checkpoints and log.
        base: folder that relative ones in the settings are below.
        screened: bool [N, N], clips that may show the same, beside those of which the truths say so.

    Raises:
        DataError: the folder is of a run with other settings or clips; there are too few clips; or something of it is
            damaged.
    """

    def __init__(
        self,
        settings: S2VSSettings,
        data: Data,
        folder: Path,
        *,
        base: Path,
        device: str = "cpu",
        screened: np.ndarray | None = None,
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.bundle = load_bundle(bundle_file(settings, base))
        self._model = Model(self.bundle, device=device)
        self._device = self._model.device
        clips, validation = clips_below(data.frames, base), clips_below(data.validation_frames, base)
        if not clips:
            raise DataError("[data] names neither frames nor videos: training needs clips")
        self._num_clips = len(clips)
        training = settings.training
        if len(clips) < training.batch:
            raise DataError(
                f"{len(clips)} clips do not fill a batch of {training.batch}; give more clips, or a smaller "
                "training.batch and training.cell"
            )
        is_related = related_clips(clips, placed(base, data.truths) if data.truths else None)
        if screened is not None:
            is_related = screened if is_related is None else is_related | screened
        entries = {name: value for name, value in asdict(settings).items() if name != "data"}
        truths = placed(base, data.validation_truths) if data.validation_truths else None
        self._validation_related = related_clips(validation, truths) if validation else None
        digests = {
            **self._digests(clips, is_related),
            "validation": f"{digest_of(validation)} {_relations(self._validation_related)}",
            "processes": str(this_share().count),  # they share out the cells
        }
        with first_alone():
            claim(folder, entries, digests)
        self._sources = [self._fresh(clips, is_related, validates=False)]
        self.cells: Cells = self._sources[0]
        if training.rounds:
            place = placed(base, training.bank) if training.bank else folder / BANK
            with first_alone():
                claim(place, _made_by(settings), self._digests(clips, is_related))
            self.cells = Bank(self.cells, place, rounds=training.rounds)
        self._batches = Batches(
            self.cells,
            cells_a_batch=training.batch // training.cell,
            seed=training.seed,
            is_related=is_related,
            lengths=settings.views.lengths(),
        )
        self._validation = None
        if validation:
            self._sources.append(self._fresh(validation, self._validation_related, validates=True))
            self._validation = Bank(self._sources[-1], folder / VALIDATION, rounds=1)
        torch.manual_seed(training.seed)
        network = SimilarityNetwork(
            settings.network, self._model.dim, region_weights=self.bundle.settings.regions.weights
        )
        self.module = S2VSStep(network, settings.loss, training.precision).to(self._device).train()
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(), lr=settings.schedule.rate, weight_decay=training.weight_decay
        )
        self.loop = Loop(self, self._loop_settings(), folder, self._device)

    def _digests(self, clips: Sequence[Clip], is_related: np.ndarray | None) -> dict[str, str]:
        """Of the data what it is counts, and not where it lies."""
        return {"bundle": self.bundle.hash, "clips": digest_of(clips), "relations": _relations(is_related)}

    @property
    def failed(self) -> dict[str, str]:
        """Why clips could not be read, by their ids."""
        return {name: reason for source in self._sources for name, reason in source.failed.items()}

    def fill(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Make what the bank has not yet: every process its share of it, before any of them trains."""
        if isinstance(self.cells, Bank):
            self.cells.fill(this_share(), stop)
        if dist.is_initialized():
            dist.barrier()

    def _fresh(self, clips: Sequence[Clip], is_related: np.ndarray | None, *, validates: bool) -> FreshCells:
        """Cells to train on, or to validate with: those are the same whatever is switched on beyond the paper."""
        training, views = self.settings.training, self.settings.views
        side_px = self.bundle.settings.preprocessing.sides_px[0]
        encode = self._model.region_vectors
        dealer = Dealer(
            len(clips),
            training.cell,
            seed=training.seed,
            is_related=is_related,
            takes_all=validates,
            hard_share=0.0 if validates else training.hard_share,
            descriptors=cache(lambda: describe_clips(clips, encode, side_px)),
        )
        views = replace(views, furniture=0.0) if validates else views
        return FreshCells(clips, encode, views.of_side(side_px), dealer, seed=training.seed)

    def _loop_settings(self) -> LoopSettings:
        training = self.settings.training
        return LoopSettings(
            steps=self.settings.schedule.steps,
            seed=training.seed,
            accumulation=training.accumulation,
            scales_gradients=training.precision == "fp16",
            log_steps=training.log_steps,
            checkpoint_steps=training.checkpoint_steps,
            validation_steps=training.validation_steps if self._validation is not None else None,
        )

    def begin(self) -> None:
        pass  # the network starts at random

    def draw(self, batch: int, share: Share) -> Batch:
        return self._batches.draw(batch, share).to(self._device)

    def rate_of(self, step: int) -> float:
        return self.settings.schedule.rate_of(step)

    def tensors(self) -> Mapping[str, Tensor]:
        return {}

    @torch.no_grad()
    def validate(self) -> Mapping[str, float]:
        """Strong views of the validation clips as queries, the weak ones of all as targets: one micro-AP."""
        if self._validation is None:
            return {}
        cells = [self._validation.cell(0, number) for number in range(len(self._validation))]
        batches = Batches(self._validation, cells_a_batch=1, seed=0, is_related=self._validation_related)
        batch = batches.of(cells).to(self._device)
        count = len(batch.vectors) // 2
        masks = (None, None) if batch.mask is None else (batch.mask[count:], batch.mask[:count])
        found = score_pairs(self.module.network, batch.vectors[count:], batch.vectors[:count], *masks)
        is_positive = batch.labels.is_positive[count:, :count].cpu().numpy()
        is_known = is_positive | batch.labels.is_negative[count:, :count].cpu().numpy()
        queries = [
            RankedQuery.sort(row[known], relevant[known], int(relevant.sum()))
            for row, relevant, known in zip(found.double().cpu().numpy(), is_positive, is_known, strict=True)
        ]
        return {"micro_ap": MicroAveragePrecision(queries)()}

    def finished(self, name: str, *, best: bool = True) -> Bundle:
        """The bundle that was trained on, with the trained network.

        Args:
            best: of the validations, where there was one; otherwise, and without one, the last weights.
        """
        weights = dict(self.module.state_dict())
        if best and self._validation is not None:
            try:
                weights = load_file(self.folder / BEST)
            except (OSError, SafetensorError) as error:
                raise DataError(f"{self.folder / BEST}: the best weights cannot be read ({error})") from error
        trained = {key.removeprefix("network."): tensor.cpu() for key, tensor in weights.items()}
        kept = {key: tensor for key, tensor in self.bundle.tensors.items() if key.split(".")[0] not in NETWORK_PARTS}
        before = self.bundle.settings
        steps = self.settings.schedule.steps
        data = f"{before.training_data}; the network on it: {steps} steps of S2VS on {self._num_clips} clips"
        settings = replace(before, name=name, network=self.settings.network, training_data=data)
        return Bundle(settings, {**kept, **trained})


def bundle_file(settings: S2VSSettings, base: Path) -> Path:
    """Of the settings: a name, or a file, which like other paths in them is below the folder of the settings."""
    is_file = "/" in settings.bundle or settings.bundle.endswith(".safetensors")
    return find_bundle(placed(base, settings.bundle) if is_file else settings.bundle)


def related_clips(clips: Sequence[Clip], truths: Path | None) -> np.ndarray | None:
    """Which clips show the same or may, bool [N, N], by the truths of montages; None where there are none.

    Raises:
        DataError: a truth is missing or damaged.
    """
    if truths is None:
        return None
    try:
        videos = [read_montage_truth(truths / f"{clip.id}.json") for clip in clips]
    except OSError as error:
        raise DataError(f"{error.filename}: no truth of a clip ({error.strerror})") from error
    return related_matrix(videos, videos)


def _made_by(settings: S2VSSettings) -> dict[str, object]:
    """What the cells of a bank depend on beside the clips; how batches are cut out of them does not matter."""
    views = {k: v for k, v in asdict(settings.views).items() if k not in ("short_share", "shortest")}
    training = settings.training
    names = ("cell", "rounds", "hard_share", "seed")
    return {"views": views, **{name: getattr(training, name) for name in names}}


def clips_below(folders: Sequence[str], base: Path) -> list[Clip]:
    """Clips of folders that the settings name."""
    return find_clips([placed(base, folder) for folder in folders])


def _relations(is_related: np.ndarray | None) -> str:
    return "none" if is_related is None else hashlib.sha256(np.packbits(is_related).tobytes()).hexdigest()

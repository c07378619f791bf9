"""What a training run depends on beside its data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from visil.model.pyramid import num_regions
from visil.s2vs.backbone.furniture import FurnitureSettings
from visil.s2vs.backbone.views import ViewSettings

VIEWS = ViewSettings(inset_weight=3.0, inset=(0.72, 0.32), mirrored=0.4, crop_area=(0.75, 0.22))  # of a plain run


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that a run depends on beside its data.

    Attributes:
        stages: of the backbone, see `BackboneSettings`.
        levels: of the pyramid of regions; the first is the whole picture.
        shares: of the levels in the score of a frame, 1 together.
        dim: of a region vector.
        sides_px: schedule of (share, side): from this share of the run on, views have this side.
        steps: of the whole run.
        batch_size: pictures a step; each has two views.
        warmup_steps: the learning rate rises linearly.
        decay_share: of the run, at its end: the learning rate falls linearly to 0.
        temperature, pooled_temperature: of InfoNCE over frame scores, within a query and pooled over queries.
        region_temperature: of InfoNCE over single regions, the `num_matching` best ones of a query.
        host_weight: of the picture around a query as a second positive; the query's own has 1.
        whole_share: of the targets, that are whole pictures; the others are windows.
        frame_share: of the other pictures of a batch, that are frames of videos.
        hard_share: of a batch, that looks like other pictures of it to the teacher.
        teacher_host: what the picture around a query counts where the teacher's vector of what it shows is asked for;
            the query's own counts 1.
        bank_size: vectors of the teacher that a query and a target are compared with, besides the batch's own.
        bank_temperature, similarity_temperature: of the two losses that compare with the bank.
        num_friends: highest similarities with others that are held against the teacher's.
        alike: cosine of the teacher from which on two pictures are no negatives of each other.
        apart: cosine of the teacher below which KoLeo drives two pictures apart.
        pooled_weight, region_weight, koleo_weight: of the losses between queries and targets; InfoNCE has weight 1.
        bank_weight, similarity_weight, distillation_weight, friends_weight, window_weight: of those with the teacher.
        max_gradient: norm to which gradients are clipped.
        average_decay: a step, of the running average of the weights, which is what ships.
        precision: of the backbone: `fp32` or `bf16`.
        log_steps, checkpoint_steps: between two lines of the log, two checkpoints.
        views: schedule of (share, settings): from this share of the run on, views are drawn so.
    """

    backbone: str = "fasternet_t0"
    stages: tuple[int, ...] = (2, 3)
    levels: tuple[int, ...] = (1, 2, 3)
    shares: tuple[float, ...] = (0.5, 0.15, 0.35)
    dim: int = 384
    sides_px: tuple[tuple[float, int], ...] = ((0.0, 96), (0.4, 128), (0.72, 160))
    steps: int = 4375
    batch_size: int = 192
    learning_rate: float = 1.5e-3
    warmup_steps: int = 300
    decay_share: float = 0.5
    weight_decay: float = 0.05
    max_gradient: float = 1.0
    temperature: float = 0.04
    pooled_temperature: float = 0.07
    region_temperature: float = 0.07
    num_matching: int = 3
    host_weight: float = 0.25
    whole_share: float = 0.5
    frame_share: float = 0.15
    hard_share: float = 0.45
    teacher_host: float = 0.4
    bank_size: int = 4096
    bank_temperature: float = 0.05
    similarity_temperature: float = 0.05
    num_friends: int = 16
    alike: float = 0.5
    apart: float = 0.3
    pooled_weight: float = 0.3
    region_weight: float = 0.5
    koleo_weight: float = 0.3
    bank_weight: float = 1.0
    similarity_weight: float = 1.0
    distillation_weight: float = 2.0
    friends_weight: float = 4.0
    window_weight: float = 2.0
    average_decay: float = 0.998
    precision: str = "bf16"
    log_steps: int = 20
    checkpoint_steps: int = 250
    seed: int = 0
    views: tuple[tuple[float, ViewSettings], ...] = ((0.0, VIEWS), (0.4, replace(VIEWS, inset_weight=6.0)))
    furniture: FurnitureSettings = field(default_factory=FurnitureSettings)

    def __post_init__(self) -> None:
        is_ascending = list(self.levels) == sorted(set(self.levels)) and self.levels[:1] == (1,)
        if not is_ascending or len(self.shares) != len(self.levels) or abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(
                f"expected rising levels from 1 and a share for each, 1 together, got {self.levels} and {self.shares}"
            )
        if not 1 <= self.num_matching <= num_regions(self.levels):
            raise ValueError(
                f"num_matching must lie between 1 and the regions of {self.levels}, got {self.num_matching}"
            )
        if not 0 <= self.hard_share < 1 or not 0 <= self.frame_share < 1:
            raise ValueError("frame_share and hard_share must be at least 0 and less than 1")
        if self.num_friends > self.bank_size:
            raise ValueError(f"num_friends must be at most bank_size, got {self.num_friends} and {self.bank_size}")

    @property
    def num_dealt(self) -> int:
        """Pictures of a batch that are dealt; the others look like some of them."""
        return self.batch_size - round(self.hard_share * self.batch_size)

    def rate_of(self, step: int) -> float:
        """The learning rate of a step."""
        rising = (step + 1) / self.warmup_steps if self.warmup_steps else 1.0
        falling = (self.steps - step) / max(1.0, self.decay_share * self.steps)
        return self.learning_rate * min(1.0, rising, falling)

    def side_of(self, step: int) -> int:
        """Side of the views of a step, pixels."""
        return next(side for share, side in reversed(self.sides_px) if step >= share * self.steps)

    def views_of(self, step: int) -> ViewSettings:
        """How the views of a step are drawn."""
        return next(views for share, views in reversed(self.views) if step >= share * self.steps)

"""What students and selector are asked for.

    teacher's similarities of pairs ─► [distillation] ─► gradient of a student
    fine and coarse similarities ────► [labels, cross-entropy] ─► gradient of the selector

Regularisation and triplets are those of `visil.s2vs.losses`. Source: DnS (IJCV 2022), "Training" (case `losses`).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

LABEL_THRESHOLD = 0.2  # published
REGULARISATION = 1e-3  # weight of the penalty of fine students (published)


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean |student - teacher| over similarities of any shape; a coarse student learns s/2 + 1/2 of the teacher's."""
    if student.shape != teacher.shape:
        raise ValueError(f"a similarity of the teacher for each of {[*student.shape]} pairs, got {[*teacher.shape]}")
    return (student - teacher).abs().mean()


def selector_labels(fine: Tensor, coarse: Tensor, threshold: float = LABEL_THRESHOLD) -> Tensor:
    """Which pairs the coarse student is wrong about: 1.0 where |fine / 2 + 1/2 - coarse| is above the threshold.

    Args:
        fine: raw similarities in [-1, 1].
        coarse: dot products.
    """
    return ((fine / 2 + 0.5 - coarse).abs() > threshold).to(fine)


def selector_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of scores in (0, 1), []."""
    return F.binary_cross_entropy(scores, labels)

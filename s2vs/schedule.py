"""The learning rate of a step: linear warm-up, then half a cosine (S2VS, CVPRW 2023; constants of its code)."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class CosineSchedule:
    """Rises linearly over `warmup_steps`, then falls as half a cosine that is counted from step 0.

    So the rate steps down a little where the warm-up ends: from 4.995e-5 to 4.988e-5 with the published values.

    Attributes:
        rate: the highest.
        steps: after which the rate stays at `final_share` of it.
        warmup_steps: 0: none.
        first_share, final_share: of the rate, at step 0 and from `steps` on.
    """

    rate: float = 5e-5
    steps: int = 30_000
    warmup_steps: int = 1_000
    first_share: float = 0.01
    final_share: float = 0.1

    def __post_init__(self) -> None:
        if not (self.rate > 0 and self.steps >= 1 and self.warmup_steps >= 0):
            raise ValueError("rate must be above 0, steps 1 or more, warmup_steps 0 or more")
        if not (0 <= self.first_share <= 1 and 0 <= self.final_share <= 1):
            raise ValueError("first_share and final_share must lie between 0 and 1")

    def rate_of(self, step: int) -> float:
        """The rate of a step, by the number of steps done before it."""
        first, final = self.first_share * self.rate, self.final_share * self.rate
        if step < self.warmup_steps:
            return first + step * (self.rate - first) / self.warmup_steps
        if step >= self.steps:
            return final
        return final + 0.5 * (self.rate - final) * (1 + math.cos(math.pi * step / self.steps))

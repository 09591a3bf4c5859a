"""Learning-rate schedules: pure functions of the iteration, so that a resumed run needs no state of theirs."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence


class CosineAnnealingRestartLR:
    """Cosine from the base rate to eta_min over each period, then again from a restart weight's share of the base rate.

    ``lr = eta_min + weight * (base - eta_min) * (1 + cos(pi * i / period)) / 2``, i iterations into the period. The
    last iteration of a period (i = period) has eta_min, as in BasicSR, and the restart comes one later.

    Args:
        periods: lengths in iterations.
        restart_weights: factor of each period.
        eta_min: the lowest rate.
    """

    def __init__(self, periods: list[int], restart_weights: Sequence[float] = (1,), eta_min: float = 0):
        if len(periods) != len(restart_weights):
            raise ValueError(f'{len(periods)} periods but {len(restart_weights)} restart_weights')
        self.periods, self.restart_weights, self.eta_min = list(periods), list(restart_weights), eta_min
        self.ends = list(itertools.accumulate(periods))

    def __call__(self, base_lr: float, iteration: int) -> float:
        """The rate after `iteration` updates; beyond the last period it stays at that period's end."""
        iteration = min(iteration, self.ends[-1])
        index = bisect.bisect_left(self.ends, iteration)
        inside = iteration - (self.ends[index] - self.periods[index])
        wave = (1 + math.cos(math.pi * inside / self.periods[index])) / 2
        return self.eta_min + self.restart_weights[index] * (base_lr - self.eta_min) * wave


class MultiStepLR:
    """The base rate times gamma at each milestone.

    Args:
        milestones: iterations, increasing.
        gamma: factor, or one for each milestone.
    """

    def __init__(self, milestones: list[int], gamma: float | list[float] = 0.1):
        factors = gamma if isinstance(gamma, list) else [gamma] * len(milestones)
        if len(factors) != len(milestones):
            raise ValueError(f'{len(milestones)} milestones but {len(factors)} of gamma')
        self.milestones, self.factors = sorted(milestones), factors

    def __call__(self, base_lr: float, iteration: int) -> float:
        return base_lr * math.prod(self.factors[: bisect.bisect_right(self.milestones, iteration)])

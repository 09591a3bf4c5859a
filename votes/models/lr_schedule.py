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
        if min(periods, default=0) < 1:
            raise ValueError('periods are lengths of 1 or more iterations')
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
    """The base rate times gamma at each milestone; at a restart it is a weight's share of the base rate again.

    After a warm-up it is the base rate; BasicSR's, which goes on from the rate before, stays at (N - 1) / N of it after
    N iterations of warm-up, up to the next restart.

    Args:
        milestones: iterations, increasing.
        gamma: factor, or one for each milestone.
        restarts, restart_weights: iterations at which the rate begins anew, and its factors (BasicSR's
            MultiStepRestartLR). Milestones before a restart, or at it, count no more.
    """

    def __init__(
        self,
        milestones: list[int],
        gamma: float | list[float] = 0.1,
        restarts: Sequence[int] = (0,),
        restart_weights: Sequence[float] = (1,),
    ):
        factors = gamma if isinstance(gamma, list) else [gamma] * len(milestones)
        if len(factors) != len(milestones):
            raise ValueError(f'{len(milestones)} milestones but {len(factors)} of gamma')
        if len(restarts) != len(restart_weights):
            raise ValueError(f'{len(restarts)} restarts but {len(restart_weights)} restart_weights')
        if any(a >= b for a, b in itertools.pairwise(milestones)):
            raise ValueError('milestones must increase')
        self.steps = list(zip(milestones, factors, strict=True))
        self.restarts = sorted(zip(restarts, restart_weights, strict=True))

    def __call__(self, base_lr: float, iteration: int) -> float:
        """The rate after `iteration` updates."""
        begun, weight = max(((at, w) for at, w in self.restarts if at <= iteration), default=(-1, 1.0))
        return base_lr * weight * math.prod(factor for at, factor in self.steps if begun < at <= iteration)


class HoldThenCosineLR:
    """The base rate until `hold`, then a cosine from it to eta_min at `total`.

    A run may go on at its base rate until the time that it has is nearly over, and then end well: `hold` and `total`
    need not be known before.

    Args:
        hold: the last iteration at the base rate.
        total: the iteration from which on the rate is eta_min.
        eta_min: the lowest rate.
    """

    def __init__(self, hold: int, total: int, eta_min: float = 0):
        if not 0 <= hold < total:
            raise ValueError(f'hold {hold} must be below total {total}')
        self.hold, self.total, self.eta_min = hold, total, eta_min

    def __call__(self, base_lr: float, iteration: int) -> float:
        share = min(max(iteration - self.hold, 0) / (self.total - self.hold), 1)
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * share)) / 2

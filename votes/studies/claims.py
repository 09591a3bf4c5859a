"""What measurements say about a claim: an interval over clips and seeds, and a verdict. Numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
REPRODUCED, BETTER, NOT_REPRODUCED = 'REPRODUCED', 'BETTER', 'NOT REPRODUCED'
INCONCLUSIVE, NOT_RUN, MEASURED = 'INCONCLUSIVE', 'NOT RUN', 'MEASURED'
VERDICTS = (REPRODUCED, BETTER, NOT_REPRODUCED, INCONCLUSIVE, NOT_RUN, MEASURED)
SEEDS = 3  # a claim about training takes so many runs
DRAWS, LEVEL = 10_000, 0.95


@dataclass(frozen=True)
class Interval:
    """A number and where it may lie.

    Attributes:
        seeds, clips: what it was measured on.
    """

    value: float
    low: float
    high: float
    seeds: int
    clips: int

    @property
    def width(self) -> float:
        return self.high - self.low


def first(means: Array) -> Array:
    """(D, K) -> (D,), the first of the K."""
    return means[:, 0]


def bootstrap(
    values: Array,
    statistic: Callable[[Array], Array] = first,
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """A statistic of means, and the interval that it has when seeds and clips are drawn anew.

    Seeds and clips are drawn with replacement, independently of each other, and all K quantities are measured on the
    same draws; the interval is that of the percentiles. Few seeds resampled vary too little, by (n - 1) / n: the
    effects of seeds and of clips are enlarged by what is missing. Three seeds are still few: an interval of three says
    what these three allow to say.

    Args:
        values: (K, S, C), K quantities of S seeds on C clips; differences where pairs are compared.
        statistic: (D, K) means over seeds and clips -> (D,).

    Returns:
        The statistic of the means themselves, and its interval. A pure function of its arguments.
    """
    count_seeds, count_clips = values.shape[1:]
    rng = np.random.default_rng(seed)
    shares = [
        rng.multinomial(count, np.full(count, 1 / count), size=draws) / count for count in (count_seeds, count_clips)
    ]
    spread = _enlarged(_enlarged(values, 1), 2)
    means = np.einsum('ds,ksc,dc->dk', shares[0], spread, shares[1], optimize=True)
    drawn = statistic(means)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    value = statistic(values.mean((1, 2))[None])[0]
    return Interval(float(value), float(low), float(high), count_seeds, count_clips)


def _enlarged(values: Array, axis: int) -> Array:
    """Effects along an axis, the means over the other one less the whole mean, times sqrt(n / (n - 1))."""
    count = values.shape[axis]
    if count < 2:
        return values
    effects = values.mean(3 - axis, keepdims=True) - values.mean((1, 2), keepdims=True)
    return values + effects * (np.sqrt(count / (count - 1)) - 1)


def ranks(values: Array) -> Array:
    """(D, K) -> their ranks in each row, from 1; equal ones share the mean of theirs."""
    below = (values[:, None, :] < values[:, :, None]).sum(2)
    equal = (values[:, None, :] == values[:, :, None]).sum(2)
    return below + (equal + 1) / 2


def rank_correlation(published: Sequence[float]) -> Callable[[Array], Array]:
    """Spearman's correlation of each row of (D, K) with K published values: 1 where the order is the same."""
    expected = ranks(np.asarray(published, float)[None])[0]

    def statistic(means: Array) -> Array:
        a, b = ranks(means) - (len(expected) + 1) / 2, expected - expected.mean()
        scale = np.sqrt((a**2).sum(1) * (b**2).sum())
        return np.divide(a @ b, scale, out=np.zeros(len(a)), where=scale > 0)

    return statistic


def judged_against(found: Interval, published: float, tolerance: float) -> tuple[str, str]:
    """The verdict on a published number: the interval lies within the tolerance of it, above, below, or across."""
    low, high = published - tolerance, published + tolerance
    said = f'{_said(found)}, published {published:+.3f} ± {tolerance}'
    if found.low >= low and found.high <= high:
        return REPRODUCED, ''
    if found.low > high:
        return BETTER, f'{said}: more than published; the same data, protocol?'
    if found.high < low:
        return NOT_REPRODUCED, said
    return INCONCLUSIVE, f'{said}: the interval lies across the border'


def judged_above(found: Interval, bound: float, resolution: float) -> tuple[str, str]:
    """The verdict on a claim that something is above a bound, where no number is published.

    Args:
        resolution: what is not worth a claim: an interval that ends below ``bound + resolution`` without lying above
            the bound shows that there is no gain of that size.
    """
    if found.low > bound:
        return REPRODUCED, ''
    if found.high < bound + resolution:
        return NOT_REPRODUCED, f'{_said(found)}: not above {bound:g}, and less than {resolution:g} more than it'
    return INCONCLUSIVE, f'{_said(found)}: too wide to tell whether it is above {bound:g}'


def judged_value(value: float, published: float, tolerance: float) -> tuple[str, str]:
    """The verdict on a number without an interval: within the tolerance, from above as well."""
    if value > published + tolerance:
        return BETTER, f'{value:.4f} is above {published} + {tolerance}: the same data, protocol?'
    if value < published - tolerance:
        return NOT_REPRODUCED, f'{value:.4f} is below {published} - {tolerance}'
    return REPRODUCED, ''


def together(verdicts: Sequence[str]) -> str:
    """The verdict of a row with several: the worst."""
    order = (NOT_RUN, NOT_REPRODUCED, INCONCLUSIVE, BETTER, REPRODUCED, MEASURED)
    return min(verdicts, key=order.index, default=MEASURED)


def _said(found: Interval) -> str:
    return f'{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]'

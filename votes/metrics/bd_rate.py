"""Bjøntegaard's difference of two rate-quality curves."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from votes.errors import UserError

METHOD = 'Bjøntegaard delta rate, piecewise cubic (PCHIP) interpolation of log rate over quality'
Curve = list[tuple[float, float]]


def bd_rate(anchor: Curve, test: Curve) -> float:
    """How many percent more bits `test` needs for the same quality; negative is better.

    ``100 * (10 ** mean(log10 R_test(q) - log10 R_anchor(q)) - 1)`` over the qualities q that both curves reach.

    Args:
        anchor: (rate, quality), four points or more, rates above zero, quality rising with the rate.
        test: likewise.

    Raises:
        UserError: too few points, a curve that does not rise, or no quality that both reach.
    """
    curves = []
    for name, curve in (('anchor', anchor), ('test', test)):
        points = np.array(sorted(curve, key=lambda point: point[1]), float)
        if len(points) < 4 or (points[:, 0] <= 0).any() or (np.diff(points, axis=0) <= 0).any():
            what = 'BD-rate needs four points or more, of rising rate and quality'
            raise UserError(what, where=name, value=sorted(curve))
        curves.append((points[:, 1], np.log10(points[:, 0])))
    low, high = max(q[0] for q, _ in curves), min(q[-1] for q, _ in curves)
    if low >= high:
        raise UserError('the two curves have no quality in common', value=f'{low:.3f} is not below {high:.3f}')
    first, second = (PchipInterpolator(q, r).antiderivative() for q, r in curves)
    mean = ((second(high) - second(low)) - (first(high) - first(low))) / (high - low)
    return float(100 * (10**mean - 1))

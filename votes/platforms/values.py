"""Measured values with how sure they are, and distributions of what differs from clip to clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SURE = 0.9  # said of what a stream states itself, where all clips agree
ENOUGH = 3  # clips from which a spread is taken


@dataclass
class Measured:
    """A value of a recipe.

    Attributes:
        value: as recipes have it, perhaps a distribution.
        confidence: 0 to 1; 1 is what a stream states itself.
        why: what it rests on, in words.
    """

    value: Any
    confidence: float
    why: str

    def __post_init__(self) -> None:
        self.confidence = round(float(np.clip(self.confidence, 0, 1)), 2)


def spread(
    values: Sequence[float], tolerance: float, why: str, limits: tuple[float, float], whole: bool = False
) -> Measured:
    """One number where clips agree to a tolerance, else a normal distribution, or a uniform one near a limit."""
    found = np.asarray(values, float)
    center, deviation = float(np.median(found)), float(found.std(ddof=1)) if len(found) > 1 else 0.0
    apart = float(found.max() - found.min())
    shown = f'{why}: {found.min():.4g} to {found.max():.4g} in {len(found)} clips'
    if apart <= 2 * tolerance or len(found) < ENOUGH:
        sure = 0.95 - 0.25 * min(1, apart / (2 * tolerance + 1e-9)) - (0.3 if len(found) < ENOUGH else 0)
        near = round(center)
        return Measured(near if whole or abs(center - near) <= tolerance / 2 else round(center, 1), sure, shown)
    mean = float(found.mean())
    if limits[0] <= mean - 3 * deviation and mean + 3 * deviation <= limits[1]:
        value: Any = {'normal': [round(mean, 1), round(deviation, 2)]}
    else:
        value = {'uniform': [round(float(found.min()), 1), round(float(found.max()), 1)]}
    return Measured(value, 0.75 - 1 / len(found), shown)


def common(values: Sequence[Hashable], why: str, confidence: float = SURE) -> Measured:
    """The value of most clips, or a choice by weight where more than a fifth have others."""
    counts = Counter(values).most_common()
    said = ', '.join(f'{value} in {count}' for value, count in counts)
    share = counts[0][1] / len(values)
    if share >= 0.8:
        return Measured(counts[0][0], confidence * share, f'{why}: {said} of {len(values)} clips')
    return Measured({'choice': dict(counts)}, confidence * 0.8, f'{why}: {said} of {len(values)} clips')


def votes_of(values: Sequence[Hashable]) -> tuple[Any, float]:
    """The value of most clips, and the share that has it."""
    value, count = Counter(values).most_common(1)[0]
    return value, count / len(values)

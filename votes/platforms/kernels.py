"""How a platform shrinks: candidates are shrunk and encoded as measured, and compared with what came back.

Comparing with what an encoder of the same settings makes of each candidate takes out what compression itself does to
details: without it, the blurriest kernel would be nearest to any strongly compressed video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from votes.platforms.pairs import Frames
from votes.platforms.rates import with_encoding
from votes.platforms.synthesis import apart, luma, made_by
from votes.platforms.values import Measured
from votes.video.recipe import Recipe
from votes.video.shrink import KERNELS

PHASES = ((-0.5, -0.5), (0.5, 0.5), (0.5, 0.0), (-0.5, 0.0), (0.0, 0.5), (0.0, -0.5))  # pixels of GT
SHARPER = (-0.4, -0.2, 0.2, 0.4, 0.7, 1.0)
FEW, CLOSE = 2, 3  # clips on which all kernels are tried; kernels that are tried on all
NO_SHIFT, NO_EMPHASIS = 0.15, 0.06  # pixels of GT; share of fine detail: below these nothing is looked for
FLOOR = 0.02  # squared levels: less difference than this is none
WORTH = 0.93  # what is left of the error where another phase or sharpening is taken for real


@dataclass
class Crop:
    """Some frames of a clip, GT and what the platform made of them, cut to a piece of the picture.

    Attributes:
        measure: qp, qp_cycle or crf with which the recipe compresses this clip as strongly as the platform did.
        matrix: with which its colours were coded.
    """

    name: str
    gt: Frames
    lq: Frames
    measure: dict[str, Any] = field(default_factory=dict)
    matrix: str = 'bt601'


def changed(recipe: Recipe, **values: Any) -> Recipe:
    data: dict[str, Any] = recipe.model_dump(mode='json', exclude_none=True)
    return Recipe(**(data | values))


def made_of(recipe: Recipe, crop: Crop) -> Frames:
    """What a recipe makes of a crop, compressed as strongly as its clip was."""
    own = with_encoding(recipe, crop.measure) if crop.measure else recipe
    return made_by(own, crop.gt, clip=crop.name, stream=False).frames


def errors(recipe: Recipe, crops: Sequence[Crop]) -> list[float]:
    """Mean squared difference of luma between what the recipe makes and what came back, for each clip."""
    return [apart(made_of(recipe, crop), crop.lq) for crop in crops]


def kernel_of(recipe: Recipe, crops: Sequence[Crop]) -> tuple[Measured, dict[str, float]]:
    """The kernel that fits best, and each kernel's error relative to the best one's."""
    first = _relative({name: errors(changed(recipe, kernel=name), crops[:FEW]) for name in KERNELS})
    close = sorted(first, key=lambda name: first[name])[:CLOSE]
    table = {name: errors(changed(recipe, kernel=name), crops) for name in close}
    lowest = np.min(list(table.values()), axis=0)
    relative = _relative(table)
    best, second = sorted(relative, key=lambda name: relative[name])[:2]
    wins = float(np.mean(np.array(table[best]) <= lowest * 1.0001))
    relative = first | relative
    ranked = sorted(relative, key=lambda name: relative[name])
    margin = relative[second] / relative[best] - 1
    sure = 0.35 + 0.3 * wins + 0.35 * min(1, margin / 0.1)
    best_in = f'best in {round(wins * len(crops))} of {len(crops)} clips'
    why = f'{second} leaves {100 * margin:.1f} % more difference; {best_in}'
    return Measured(best, sure, why), {name: round(relative[name] / relative[best], 4) for name in ranked}


def _relative(table: dict[str, list[float]]) -> dict[str, float]:
    """Errors as times of the best one's; clips count alike, however strongly they were compressed."""
    lowest = np.min(list(table.values()), axis=0)
    return {name: float(np.mean((np.array(e) + FLOOR) / (lowest + FLOOR))) for name, e in table.items()}


def phase_of(recipe: Recipe, crops: Sequence[Crop]) -> Measured:
    """Where the kernel takes its pixels from, relative to the grid of pixel centres, to half a pixel of GT."""
    moved = [_shift(crop.lq, made_of(recipe, crop)) for crop in crops]
    x, y = np.median(moved, axis=0) * recipe.scale
    if max(abs(x), abs(y)) < NO_SHIFT:
        return Measured([0, 0], 0.9, f'pixels lie {x:+.2f} right and {y:+.2f} down of the grid of centres')
    nearby = [list(phase) for phase in PHASES if np.hypot(phase[0] - x, phase[1] - y) < 0.75]
    return _better(recipe, crops, 'phase', nearby, [0, 0], 'shift by half a pixel')


def sharpening_of(recipe: Recipe, crops: Sequence[Crop]) -> Measured:
    """The weight of unsharp masking after shrinking; below 0 what was smoothed."""
    weight = float(np.median([_emphasis(crop.lq, made_of(recipe, crop)) for crop in crops]))
    if abs(weight) < NO_EMPHASIS:
        return Measured(0, 0.9, f'fine detail is {100 * weight:+.0f} % of that without')
    tried = [value for value in SHARPER if value * weight > 0]
    return _better(recipe, crops, 'sharpen', tried, 0, 'sharpening or smoothing')


def _shift(seen: Frames, made: Frames) -> tuple[float, float]:
    """(right, down) pixels by which the picture of `seen` lies where `made` has it further on, to first order."""
    found = []
    for a, b in zip(seen, made, strict=False):
        height, width = (min(m, n) for m, n in zip(a.shape[:2], b.shape[:2], strict=True))
        there = luma(b[:height, :width])
        down, right = np.gradient(there)
        columns = np.stack([right.ravel(), down.ravel()], 1)
        difference = (luma(a[:height, :width]) - there).ravel()
        found.append(np.linalg.lstsq(columns, difference, rcond=None)[0])
    right_, down_ = np.median(found, axis=0)
    return float(right_), float(down_)


def _emphasis(seen: Frames, made: Frames) -> float:
    """How much of the fine detail of `made` is more in `seen`: 0.2 for a fifth more."""
    found = []
    for a, b in zip(seen, made, strict=False):
        height, width = (min(m, n) for m, n in zip(a.shape[:2], b.shape[:2], strict=True))
        there = luma(b[:height, :width])
        fine = there - cv2.GaussianBlur(there, (0, 0), 1)
        found.append(float(((luma(a[:height, :width]) - there) * fine).sum() / max(1e-6, float((fine**2).sum()))))
    return float(np.median(found))


def _better(recipe: Recipe, crops: Sequence[Crop], field: str, tried: list, plain: object, what: str) -> Measured:
    base = np.array(errors(changed(recipe, **{field: plain}), crops))
    found = [(1.0, plain, 0.0)]
    for value in tried:
        left = np.array(errors(changed(recipe, **{field: value}), crops)) / np.maximum(base, 1e-6)
        found.append((float(left.mean()), value, float(left.max())))
    share, value, worst = min(found, key=lambda row: row[0])
    if share < WORTH and worst < 1:
        return Measured(value, 0.5 + 0.4 * min(1, (1 - share) * 2), f'{what} explains {100 * (1 - share):.0f} %')
    return Measured(plain, 0.6, f'no {what} fits better')

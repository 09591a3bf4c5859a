"""Encodings before the last: what a download lost beyond what its last encoding takes, and traces of older blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from votes.platforms.kernels import Crop, made_of
from votes.platforms.pairs import Frames
from votes.platforms.synthesis import luma
from votes.platforms.values import Measured
from votes.video.recipe import Recipe
from votes.video.shrink import shrink

TAPS = 2  # a filter of 5x5 takes out what a wrong kernel, sharpening or smoothing would explain
SLACK = 1.0  # squared levels: what conversions of colours and rounding may add
LOST = 1.2  # times the error of one encoding from which on an earlier one is taken for real
EARLIER = {'codec': 'libx264', 'preset': 'veryfast'}
SEARCH = (14.0, 45.0, 5)  # crf from, to, encodings


def loss(recipe: Recipe, gt: Frames, frames: Frames, matrix: str = 'bt601') -> float:
    """Mean squared error of luma (by `matrix`) against the shrunk original that no small filter of it explains."""
    size = frames[0].shape[:2]
    found = []
    for original, frame in zip(gt, frames, strict=True):
        clean = luma(shrink(original, size, recipe.kernel, recipe.phase), matrix)
        found.append(_unexplained(clean, luma(frame, matrix)))
    return float(np.mean(found))


def _unexplained(clean: NDArray[np.float32], seen: NDArray[np.float32]) -> float:
    height, width = clean.shape
    t = TAPS
    inner = clean[t : height - t, t : width - t]
    columns = [
        (clean[t + dy : height - t + dy, t + dx : width - t + dx] - inner).ravel()
        for dy in range(-t, t + 1)
        for dx in range(-t, t + 1)
        if dy or dx
    ]
    matrix = np.stack([*columns, np.ones(inner.size, np.float32)], 1)
    rest = (seen[t : height - t, t : width - t] - inner).ravel()
    weights = np.linalg.solve(matrix.T @ matrix + 1e-3 * np.eye(matrix.shape[1]), matrix.T @ rest)
    return float(((rest - matrix @ weights) ** 2).mean())


def earlier_generation(recipe: Recipe, crops: Sequence[Crop]) -> tuple[Measured, Measured | None]:
    """(generations, crf of the one before the last): an x264 stands for whatever encoder it was.

    A download that lost more than one encoding takes away at its quantisers was compressed before. How strongly, is
    searched: the crf of a first generation with which as much is lost.
    """
    lost = np.array([loss(recipe, crop.gt, crop.lq, crop.matrix) for crop in crops])
    one = np.array([loss(recipe, crop.gt, made_of(recipe, crop)) for crop in crops])
    ratio = lost / (one + SLACK)
    middle = float(np.median(ratio))
    share = float(np.mean(ratio > LOST))
    if middle <= LOST:
        sure = 0.5 + 0.4 * (1 - share)
        return Measured(1, sure, f'one encoding explains the loss ({middle:.2f} times what it takes)'), None
    low, high, rounds = SEARCH
    for _ in range(rounds):
        crf = (low + high) / 2
        two = twice(recipe, crf)
        again = np.array([loss(two, crop.gt, made_of(two, crop)) for crop in crops])
        low, high = (crf, high) if float(np.median(lost / np.maximum(again, 1e-3))) > 1 else (low, crf)
    crf = round((low + high) / 2)
    why = f'{middle:.2f} times the loss of one encoding, in {round(share * len(crops))} of {len(crops)} clips'
    sure = 0.4 + 0.4 * share * min(1, (middle - 1) / 0.5)
    return Measured(2, sure, why), Measured(crf, sure * 0.7, 'an earlier x264 with this crf loses as much')


def twice(recipe: Recipe, crf: float) -> Recipe:
    """The recipe with an earlier encoding."""
    data = recipe.model_dump(mode='json', exclude_none=True)
    first = {**EARLIER, 'crf': round(crf), 'rate': recipe.generations[-1].rate}
    return Recipe(**(data | {'generations': [first, data['generations'][-1]]}))


def block_grid(frames: Frames, sizes: Sequence[int] = (8, 16)) -> dict[int, float]:
    """How much more luma changes across the borders of blocks of each size than between them; 1 for no blocks.

    Of one encoding both grids begin at the corner. A grid with another origin is that of an earlier encoding, before
    the picture was cropped or framed: see `other_origin`.
    """
    change = np.mean([_second_difference(luma(frame)) for frame in frames], axis=0)
    return {size: _excess(change, size, size - 1) for size in sizes}


def other_origin(frames: Frames, size: int = 8) -> tuple[int, float]:
    """The column (0 to size - 1) other than 0 at which borders of blocks are clearest, and how clear they are."""
    change = np.mean([_second_difference(luma(frame)) for frame in frames], axis=0)
    found = {start: _excess(change, size, (start - 1) % size) for start in range(1, size)}
    best = max(found, key=lambda start: found[start])
    return best, found[best]


def _second_difference(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each border between columns: its step beyond the mean of the steps beside it, both signs alike."""
    step = np.abs(np.diff(grey, axis=1))
    around = np.pad((step[:, :-2] + step[:, 2:]) / 2, ((0, 0), (1, 1)), mode='edge')
    return np.asarray(np.log1p(step).mean(0) - np.log1p(around).mean(0) + 1, np.float32)


def _excess(change: NDArray[np.float32], size: int, place: int) -> float:
    at = change[place::size]
    rest = np.delete(change, np.arange(place, len(change), size))
    return float(at.mean() / max(1e-6, float(np.median(rest))))

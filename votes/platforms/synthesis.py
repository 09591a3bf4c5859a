"""Originals through a recipe, beside what the platform made of them: how measured values are tried."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from votes.platforms.pairs import Frames
from votes.video.bitstream import Bitstream, read_bitstream
from votes.video.colour import MATRICES
from votes.video.recipe import Degradation, Recipe


@dataclass
class Made:
    """What a recipe made of a clip; `stream` is of the last generation, None without any or where not asked for."""

    frames: Frames
    stream: Bitstream | None


def made_by(recipe: Recipe, gt: Frames, seed: int = 0, clip: str = '', stream: bool = True) -> Made:
    """GT frames through a recipe (which may draw, by seed and clip)."""
    recipe = recipe.for_clip(seed, clip)
    step = recipe.step
    height, width = (n // step * step for n in gt[0].shape[:2])
    cut = [np.ascontiguousarray(frame[:height, :width]) for frame in gt]
    with tempfile.TemporaryDirectory(prefix='votes_platform_') as folder:
        passing = Degradation(lambda: iter(cut), len(cut), (height, width), recipe, seed, Path(folder))
        frames = list(passing.frames(describe=False))
        return Made(frames, read_bitstream(passing.video) if recipe.generations and stream else None)


def luma(frame: NDArray[np.uint8], matrix: str = 'bt601') -> NDArray[np.float32]:
    """(H, W, 3) -> (H, W), levels; by the matrix with which it was coded, else losses of chroma come into it."""
    red, blue = MATRICES[matrix]
    return np.asarray(frame.astype(np.float32) @ np.array([red, 1 - red - blue, blue], np.float32), np.float32)


def apart(first: Frames, second: Frames) -> float:
    """Mean squared difference of luma, over frames of one size (cut to the smaller)."""
    found = []
    for a, b in zip(first, second, strict=False):
        height, width = (min(m, n) for m, n in zip(a.shape[:2], b.shape[:2], strict=True))
        found.append(float(((luma(a[:height, :width]) - luma(b[:height, :width])) ** 2).mean()))
    return float(np.mean(found))


def psnr(error: float) -> float:
    """dB of a mean squared error of 8-bit values, 100 at most."""
    return min(100.0, float(10 * np.log10(255**2 / max(error, 1e-9))))

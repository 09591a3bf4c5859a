"""Smaller traces of processing: noise that was added, and where chroma lies."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.platforms.kernels import Crop, changed, made_of
from votes.platforms.pairs import Frames
from votes.platforms.synthesis import luma
from votes.platforms.values import Measured
from votes.video.recipe import Recipe

NOISES = (1.0, 2.0, 4.0, 8.0)  # deviations that are tried
MOVED = 0.17  # pixels to the right from which on chroma lies left: half a pixel is seen as some 0.3 after compression
NOISIER = 1.35  # times the fine detail of flat places from which on noise is looked for


def noise_of(recipe: Recipe, crops: Sequence[Crop]) -> Measured:
    """The deviation of noise that was added before encoding, by how much there is in the flattest places."""
    seen = np.array([flat_detail(crop.lq) for crop in crops])
    plain = np.array([flat_detail(made_of(recipe, crop)) for crop in crops])
    ratio = float(np.median(seen / np.maximum(plain, 0.05)))
    if ratio < NOISIER:
        word = 'less' if ratio < 1 / NOISIER else 'as much'
        return Measured(0, 0.6, f'flat places have {word} fine detail as without noise ({ratio:.2f} times)')
    found = []
    for sigma in NOISES:
        tried = np.array([flat_detail(made_of(changed(recipe, noise=sigma), crop)) for crop in crops])
        found.append((abs(float(np.median(np.log(seen / np.maximum(tried, 0.05))))), sigma))
    miss, sigma = min(found)
    return Measured(sigma, 0.6 * max(0.0, 1 - miss), f'flat places have {ratio:.2f} times the fine detail of no noise')


def flat_detail(frames: Frames) -> float:
    """Deviation of what a Gaussian of sigma 1 takes away, in the flattest quarter of 16x16 blocks; levels of luma."""
    found = []
    for frame in frames:
        grey = luma(frame)
        fine = grey - cv2.GaussianBlur(grey, (0, 0), 1)
        height, width = (n // 16 * 16 for n in fine.shape)
        if not height or not width:
            return 0.0
        blocks = fine[:height, :width].reshape(height // 16, 16, width // 16, 16)
        found.append(float(np.quantile(blocks.std((1, 3)), 0.25)))
    return float(np.mean(found))


def chroma_siting(recipe: Recipe, crops: Sequence[Crop]) -> Measured:
    """'centre' or 'left': where chroma lies between the columns of luma, against the recipe, whose chroma is centred.

    Chroma that was taken at the left column and is shown as centred is half a pixel further to the right.
    """
    shifts = []
    for crop in crops:
        made = made_of(recipe, crop)
        found = [_shift(_chroma(a), _chroma(b)) for a, b in zip(crop.lq, made, strict=False)]
        rows = [row for row in found if row is not None]
        shifts += [float(np.median(rows))] if rows else []
    if not shifts:
        return Measured('centre', 0.1, 'too little colour')
    middle = float(np.median(shifts))
    side = 'left' if middle > MOVED else 'centre'
    sure = 0.4 + 0.5 * min(1, abs(abs(middle) - MOVED) / MOVED)
    return Measured(side, sure, f'chroma is {middle:+.2f} pixels to the right of centred chroma')


def _chroma(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    rgb = frame.astype(np.float32)
    grey = luma(frame)
    return np.stack([rgb[..., 2] - grey, rgb[..., 0] - grey])


def _shift(seen: NDArray[np.float32], made: NDArray[np.float32]) -> float | None:
    """Pixels to the right by which one picture lies off the other, to first order; None where it is too plain."""
    height, width = (min(a, b) for a, b in zip(seen.shape[1:], made.shape[1:], strict=True))
    seen, made = seen[:, :height, :width], made[:, :height, :width]
    slope = (np.roll(made, -1, 2) - np.roll(made, 1, 2))[:, :, 1:-1] / 2
    energy = float((slope**2).sum())
    if energy / slope.size < 0.5:
        return None
    return -float(((seen - made)[:, :, 1:-1] * slope).sum()) / energy

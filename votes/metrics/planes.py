"""PSNR and SSIM of the planes that a video file holds, at its depth, as FFmpeg's filters psnr and ssim define them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from votes.errors import UserError

Planes = Sequence[NDArray[Any]]  # uint8 or uint16 (H, W)
NAMES = ('y', 'u', 'v')


def squared_errors(first: Planes, second: Planes) -> list[float]:
    """Mean squared error of each plane (H, W)."""
    return [
        float(np.mean(np.square(a.astype(np.int64) - b.astype(np.int64)))) for a, b in zip(first, second, strict=True)
    ]


def psnr_of(error: float, bits: int) -> float:
    """PSNR in dB of a mean squared error, peak 2^bits - 1; infinite for 0."""
    return 10 * math.log10((2**bits - 1) ** 2 / error) if error else math.inf


def weighted(values: Sequence[float], planes: Planes) -> float:
    """Mean over planes, each counted by its pixels."""
    sizes = [plane.size for plane in planes]
    return sum(value * size for value, size in zip(values, sizes, strict=True)) / sum(sizes)


def ssim_of(first: NDArray[Any], second: NDArray[Any], bits: int) -> float:
    """SSIM of a plane (H, W) over 8x8 windows, one every four pixels, without a Gaussian: the measure of x264 and of
    FFmpeg, which is not that of Wang et al. with an 11x11 Gaussian. Rows and columns beyond a multiple of 4 are left
    out.

    Raises:
        UserError: the plane is smaller than a window.
    """
    rows, columns = (side // 4 for side in first.shape)
    if min(rows, columns) < 2:
        raise UserError('SSIM needs planes of 8x8 values', value=f'{first.shape[1]}x{first.shape[0]}')
    a, b = (plane[: 4 * rows, : 4 * columns].astype(np.int64) for plane in (first, second))

    def windows(values: NDArray[np.int64]) -> NDArray[np.float64]:
        blocks = values.reshape(rows, 4, columns, 4).sum((1, 3))
        return (blocks[:-1, :-1] + blocks[1:, :-1] + blocks[:-1, 1:] + blocks[1:, 1:]).astype(np.float64)

    sum_a, sum_b, squares, products = windows(a), windows(b), windows(a * a + b * b), windows(a * b)
    peak = 2**bits - 1
    c1, c2 = int(0.01**2 * peak**2 * 64 + 0.5), int(0.03**2 * peak**2 * 64 * 63 + 0.5)
    variances = squares * 64 - sum_a**2 - sum_b**2
    covariance = products * 64 - sum_a * sum_b
    similarity = (2 * sum_a * sum_b + c1) * (2 * covariance + c2)
    similarity /= (sum_a**2 + sum_b**2 + c1) * (variances + c2)
    return float(similarity.mean())

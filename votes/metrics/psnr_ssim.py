"""PSNR and SSIM in the protocol of the VOTES release (and of BasicSR's Y-channel mode).

Pictures are RGB (H, W, 3), uint8 or float in [0, 255]. Luma is BT.601 in studio range, not rounded.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.errors import UserError

Picture = NDArray[Any]
WINDOW = cv2.getGaussianKernel(11, 1.5)
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def to_y_channel(image: Picture) -> NDArray[np.float64]:
    """RGB (H, W, 3) in [0, 255] -> Y (H, W) in [16, 235].

    ``Y = 16 + (65.481 R + 128.553 G + 24.966 B)`` with R, G, B in [0, 1], not rounded.
    """
    return image.astype(np.float64) @ (np.array([65.481, 128.553, 24.966]) / 255) + 16


def _prepare(image: Picture, other: Picture, crop_border: int, test_y_channel: bool) -> list[NDArray[np.float64]]:
    if image.shape != other.shape or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f'two RGB pictures (H, W, 3) of one size are needed, not {image.shape} and {other.shape}')
    if 2 * crop_border >= min(image.shape[:2]):
        raise UserError(f'crop_border {crop_border} leaves nothing of a picture', value=image.shape)
    inner = slice(crop_border, -crop_border or None)
    pair = [picture[inner, inner] for picture in (image, other)]
    return [to_y_channel(p) if test_y_channel else p.astype(np.float64) for p in pair]


def calculate_psnr(img: Picture, img2: Picture, crop_border: int, test_y_channel: bool = False) -> float:
    """Peak signal-to-noise ratio in dB, peak 255; infinite for equal pictures.

    Args:
        crop_border: pixels left out at each edge.
        test_y_channel: compare luma instead of all three channels together.
    """
    first, second = _prepare(img, img2, crop_border, test_y_channel)
    mse = np.mean((first - second) ** 2)
    return float('inf') if mse == 0 else float(10 * np.log10(255**2 / mse))


def _ssim(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """SSIM of one channel: 11x11 Gaussian, sigma 1.5, over the region where the window fits."""

    def blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.sepFilter2D(x, cv2.CV_64F, WINDOW, WINDOW), np.float64)[5:-5, 5:-5]

    mean1, mean2 = blur(first), blur(second)
    variance1 = blur(first**2) - mean1**2
    variance2 = blur(second**2) - mean2**2
    covariance = blur(first * second) - mean1 * mean2
    luminance = (2 * mean1 * mean2 + C1) / (mean1**2 + mean2**2 + C1)
    structure = (2 * covariance + C2) / (variance1 + variance2 + C2)
    return float((luminance * structure).mean())


def calculate_ssim(img: Picture, img2: Picture, crop_border: int, test_y_channel: bool = False) -> float:
    """Structural similarity, K1 = 0.01, K2 = 0.03, range 255; of luma, or the mean over R, G and B.

    Raises:
        ValueError: what is left after cropping is smaller than the 11x11 window.
    """
    pair = _prepare(img, img2, crop_border, test_y_channel)
    if min(pair[0].shape[:2]) < 11:
        raise ValueError(f'SSIM needs 11x11 pixels after cropping, there are {pair[0].shape[:2]}')
    first, second = (p.reshape(*p.shape[:2], -1) for p in pair)
    return float(np.mean([_ssim(first[..., c].copy(), second[..., c].copy()) for c in range(first.shape[2])]))

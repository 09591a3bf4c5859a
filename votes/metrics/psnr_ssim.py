"""PSNR, SSIM and MS-SSIM in the protocol of the VOTES release (and of BasicSR's Y-channel mode), or on RGB.

Computed in float64, for a batch of frames at once, on the device that they are on. Values lie in [0, 255]. Luma is
BT.601 in studio range, not rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from votes.errors import UserError

Picture = NDArray[Any]
Channel = Literal['y', 'rgb']
Rounding = Literal['round', 'truncate', 'none']
ROUNDINGS = ('round', 'truncate', 'none')
COMISR_LESS = 16  # pixels, see calculate_psnr
WINDOW = cv2.getGaussianKernel(11, 1.5)
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli, Bovik 2003
LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)


def planes(frames: Tensor, crop_border: int, channel: Channel) -> Tensor:
    """RGB frames (B, 3, H, W) in [0, 255] -> float64 (B, C, h, w): luma (C = 1) or RGB, without a border.

    Raises:
        UserError: nothing is left of a frame.
    """
    if 2 * crop_border >= min(frames.shape[-2:]):
        raise UserError(f'crop_border {crop_border} leaves nothing of a picture', value=tuple(frames.shape[-2:]))
    inner = slice(crop_border, -crop_border or None)
    frames = frames[..., inner, inner].double()
    if channel == 'rgb':
        return frames
    weights = frames.new_tensor(LUMA)
    return (frames.movedim(-3, -1) @ weights + 16).unsqueeze(-3)


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of planes (B, C, h, w), peak 255: (B,); infinite for equal frames."""
    return 10 * torch.log10(255**2 / ((first - second) ** 2).mean((1, 2, 3)))


def _blur(x: Tensor) -> Tensor:
    """The 11x11 Gaussian, sigma 1.5, where it fits: (B, C, h, w) -> (B, C, h - 10, w - 10)."""
    if x.device.type != 'cpu':
        kernel = torch.from_numpy(WINDOW[:, 0]).to(x)
        one_by_one = x.flatten(0, 1).unsqueeze(1)
        blurred = F.conv2d(F.conv2d(one_by_one, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
        return blurred.view(*x.shape[:2], *blurred.shape[-2:])
    # OpenCV is ten times as fast as a float64 convolution on the CPU
    done = [cv2.sepFilter2D(plane, cv2.CV_64F, WINDOW, WINDOW)[5:-5, 5:-5] for plane in x.flatten(0, 1).numpy()]
    return torch.from_numpy(np.stack(done)).unflatten(0, x.shape[:2])


def _components(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast times structure, at every place of the window: each (B, C, h - 10, w - 10)."""
    mean1, mean2 = _blur(first), _blur(second)
    variance1 = _blur(first**2) - mean1**2
    variance2 = _blur(second**2) - mean2**2
    covariance = _blur(first * second) - mean1 * mean2
    luminance = (2 * mean1 * mean2 + C1) / (mean1**2 + mean2**2 + C1)
    return luminance, (2 * covariance + C2) / (variance1 + variance2 + C2)


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity of planes (B, C, h, w), K1 = 0.01, K2 = 0.03, range 255, mean over channels: (B,).

    Raises:
        ValueError: a frame is smaller than the 11x11 window.
    """
    if min(first.shape[-2:]) < 11:
        raise ValueError(f'SSIM needs 11x11 pixels after cropping, there are {tuple(first.shape[-2:])}')
    luminance, structure = _components(first, second)
    return (luminance * structure).mean((1, 2, 3))


def ms_ssim(first: Tensor, second: Tensor) -> Tensor:
    """Multi-scale SSIM of planes (B, C, h, w): five scales, 2x2 means between them, mean over channels: (B,).

    ``MS-SSIM = l_5^0.1333 * prod_j cs_j^w_j``; a negative structure term counts as zero.

    Raises:
        UserError: the shorter side is below 176 pixels: the window does not fit into the fifth scale.
    """
    if min(first.shape[-2:]) < 176:
        raise UserError('MS-SSIM needs 176 pixels after cropping', value=tuple(first.shape[-2:]))
    result = torch.ones(first.shape[:2], dtype=first.dtype, device=first.device)
    for number, weight in enumerate(MS_WEIGHTS, 1):
        luminance, structure = _components(first, second)
        last = number == len(MS_WEIGHTS)
        value = (luminance * structure if last else structure).mean((2, 3))
        result = result * value.clamp(min=0) ** weight
        if not last:
            odd = [side % 2 for side in first.shape[-2:]]
            first, second = (F.avg_pool2d(x, 2, padding=odd, count_include_pad=True) for x in (first, second))
    return result.mean(1)


def uniform_ssim(first: Tensor, second: Tensor, data_range: Literal['prediction'] | float = 255.0) -> Tensor:
    """SSIM as scikit-image has it unless told: plain means over 7x7 windows, variances of 49 values over 48, windows
    that lie inside alone. Planes (B, C, h, w) -> (B,), the mean over channels.

    Raises:
        ValueError: a frame is smaller than the window.
    """
    if min(first.shape[-2:]) < 7:
        raise ValueError(f'this SSIM needs 7x7 pixels after cropping, there are {tuple(first.shape[-2:])}')

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 7, 1)

    more = 49 / 48
    mean1, mean2 = mean(first), mean(second)
    variance1, variance2 = more * (mean(first**2) - mean1**2), more * (mean(second**2) - mean2**2)
    covariance = more * (mean(first * second) - mean1 * mean2)
    span = first.flatten(1).amax(1) - first.flatten(1).amin(1)
    span = span if data_range == 'prediction' else torch.full_like(span, float(data_range))
    c1, c2 = ((k * span.view(-1, 1, 1, 1)) ** 2 for k in (0.01, 0.03))
    similar = (2 * mean1 * mean2 + c1) * (2 * covariance + c2)
    return (similar / ((mean1**2 + mean2**2 + c1) * (variance1 + variance2 + c2))).mean((1, 2, 3))


def brought_to_8_bits(picture: Picture, rounding: Rounding) -> Picture:
    """A picture of floats as it is measured: 'round' or 'truncate' to whole values in [0, 255], or 'none': as it is."""
    if rounding not in ROUNDINGS:
        raise UserError('unknown rounding of a metric', value=rounding, fix=', '.join(ROUNDINGS))
    if picture.dtype == np.uint8 or rounding == 'none':
        return picture
    clipped = np.clip(picture, 0, 255)
    return np.floor(clipped) if rounding == 'truncate' else np.rint(clipped)


def _middle(picture: Picture, multiple: int) -> Picture:
    """COMISR's crop, see calculate_psnr; all of a picture where there is no multiple."""
    if not multiple:
        return picture
    sides = [(n - COMISR_LESS) // multiple * multiple for n in picture.shape[:2]]
    if min(sides) < 1:
        raise UserError(f'centre_multiple {multiple} leaves nothing of a picture', value=picture.shape[:2])
    top, left = ((n - side) // 2 for n, side in zip(picture.shape, sides, strict=False))
    return picture[top : top + sides[0], left : left + sides[1]]


def _of_pictures(measure: Callable[..., Tensor]) -> Callable[..., float]:
    """A measure of batches of planes as one of two pictures, with the arguments of calculate_psnr."""

    def calculate(
        img: Picture,
        img2: Picture,
        crop_border: int,
        test_y_channel: bool = False,
        rounding: Rounding = 'round',
        centre_multiple: int = 0,
    ) -> float:
        """A measure of two RGB pictures (H, W, 3), uint8 or float in [0, 255]: PSNR in dB, SSIM or MS-SSIM.

        Args:
            crop_border: pixels left out at each edge.
            test_y_channel: compare luma instead of R, G and B: PSNR of them together, SSIM as their mean.
            rounding: of floats: 'round' or 'truncate' to 8 bits, or 'none', which does not clamp either (MFQE, STDF,
                RFDA, TSAN, OVQE: luma as the network gives it; DUF, COMISR: truncated).
            centre_multiple: COMISR's crop: of the middle, sides that are multiples of this and at least 16 pixels
                shorter.
        """
        if img.shape != img2.shape or img.ndim != 3 or img.shape[2] != 3:
            raise ValueError(f'two RGB pictures (H, W, 3) of one size are needed, not {img.shape} and {img2.shape}')
        pictures = (brought_to_8_bits(_middle(picture, centre_multiple), rounding) for picture in (img, img2))
        batches = [torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1))).unsqueeze(0) for p in pictures]
        return float(measure(*(planes(batch, crop_border, 'y' if test_y_channel else 'rgb') for batch in batches)))

    return calculate


calculate_psnr, calculate_ssim, calculate_ms_ssim = map(_of_pictures, (psnr, ssim, ms_ssim))


def calculate_uniform_ssim(
    img: Picture,
    img2: Picture,
    crop_border: int,
    test_y_channel: bool = False,
    rounding: Rounding = 'round',
    centre_multiple: int = 0,
    data_range: Literal['prediction'] | float = 255.0,
) -> float:
    """SSIM by scikit-image's defaults, see uniform_ssim and calculate_psnr.

    Args:
        data_range: 'prediction': from the least to the largest value of the first picture, as COMISR has it.
    """
    measure = partial(uniform_ssim, data_range=data_range)
    return _of_pictures(measure)(img, img2, crop_border, test_y_channel, rounding, centre_multiple)

"""Blur kernels and what is done with them: filtering, sharpening, and the blur before every s-th pixel is taken."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from votes.errors import UserError

Kernel = NDArray[np.float64]
SHAPES = ('gaussian', 'generalized', 'plateau')


def bivariate_kernel(
    size: int, sigma: tuple[float, float], theta: float = 0.0, shape: str = 'gaussian', beta: float = 1.0
) -> Kernel:
    """A blur kernel (size, size), size odd, its sum 1.

    With q = p^T S^-1 p of a place p (x to the right, y down) and S of the two sigmas, turned by `theta` radians:
    'gaussian' exp(-q/2), 'generalized' exp(-q^beta/2), 'plateau' 1/(1 + q^beta).
    """
    if shape not in SHAPES:
        raise UserError('no such shape of a blur kernel', value=shape, fix=', '.join(SHAPES))
    half = size // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    along = x * math.cos(theta) + y * math.sin(theta)
    across = y * math.cos(theta) - x * math.sin(theta)
    q = (along / sigma[0]) ** 2 + (across / sigma[1]) ** 2
    kernel = {
        'gaussian': lambda: np.exp(-q / 2),
        'generalized': lambda: np.exp(-(q**beta) / 2),
        'plateau': lambda: 1 / (1 + q**beta),
    }[shape]()
    return np.asarray(kernel / kernel.sum())


def sinc_kernel(cutoff: float, size: int) -> Kernel:
    """The circular low-pass filter c J1(c r) / (2 pi r), its sum 1: what rings at edges.

    Args:
        cutoff: c, radians a pixel, at most pi.
    """
    half = size // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    r = torch.from_numpy(np.hypot(x, y))
    r[half, half] = 1
    kernel = (cutoff * torch.special.bessel_j1(cutoff * r) / (2 * math.pi * r)).numpy()
    kernel[half, half] = cutoff**2 / (4 * math.pi)
    return np.asarray(kernel / kernel.sum())


def padded_kernel(kernel: Kernel, size: int) -> Kernel:
    return np.pad(kernel, (size - len(kernel)) // 2)


def gaussian_taps(sigma: float, taps: int) -> Kernel:
    """(taps, taps): a Gaussian that ends 4 sigmas from its middle, rounded, as scipy's filters do."""
    radius = min(int(4 * sigma + 0.5), taps // 2)
    line = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    line /= line.sum()
    return padded_kernel(np.outer(line, line), taps)


def filter2d(x: Tensor, kernel: Tensor) -> Tensor:
    """(B, C, H, W) correlated with a kernel (k, k), (1, k, k), or (B, k, k) of each picture; edges are mirrored."""
    kernel = kernel.reshape(-1, *kernel.shape[-2:]).to(x)
    batch, channels, (height, width), half = len(x), x.shape[1], x.shape[-2:], kernel.shape[-1] // 2
    padded = mirrored(x, half)
    if len(kernel) == 1:
        flat = padded.reshape(batch * channels, 1, *padded.shape[-2:])
        return F.conv2d(flat, kernel[:, None]).view(batch, channels, height, width)
    weight = kernel[:, None].repeat_interleave(channels, 0)
    flat = padded.reshape(1, batch * channels, *padded.shape[-2:])
    return F.conv2d(flat, weight, groups=batch * channels).view(batch, channels, height, width)


def mirrored(x: Tensor, by: int) -> Tensor:
    """More pixels on all sides, mirrored without the edge pixel.

    Raises:
        UserError: the picture is too small to be mirrored that far.
    """
    if min(x.shape[-2:]) <= by:
        raise UserError('a picture is too small for this blur', value=f'{x.shape[-1]}x{x.shape[-2]}, {by} pixels aside')
    return F.pad(x, (by, by, by, by), mode='reflect')


def blur_and_pick(x: Tensor, scale: int, sigma: float, taps: int = 13) -> Tensor:
    """BD of the field: (..., C, H, W) -> (..., C, ceil(H/S), ceil(W/S)), a Gaussian and then every S-th pixel.

    The grid is aligned at the origin: LQ pixel j lies on GT pixel S*j, where that of bicubic shrinking lies between
    pixels. sigma 0.4 S is that of DUF (the same numbers as its downsampling of 13 taps), which RSDN, TGA and BasicVSR
    use at x4 (1.6); FRVSR and COMISR have sigma 1.5 and 9 taps.
    """
    kernel = torch.from_numpy(gaussian_taps(sigma, taps)).to(x)
    flat = x.reshape(-1, 1, *x.shape[-2:])
    small = F.conv2d(mirrored(flat, taps // 2), kernel[None, None], stride=scale)
    return small.view(*x.shape[:-2], *small.shape[-2:])


def sharpened(x: Tensor, weight: float = 0.5, threshold: float = 10, radius: int = 50, sigma: float = 0.0) -> Tensor:
    """(B, C, H, W) in [0, 1] -> unsharp masking where the difference to the blurred picture exceeds `threshold` / 255.

    Args:
        radius: taps of the Gaussian, an even number gets one more.
        sigma: of it; 0: OpenCV's rule for so many taps.
    """
    line = torch.from_numpy(cv2.getGaussianKernel(radius + 1 - radius % 2, sigma)).to(x).view(1, 1, -1, 1)

    def blurred(y: Tensor) -> Tensor:
        """By columns, then by rows, a 25th of the operations of both at once."""
        flat = mirrored(y, line.shape[2] // 2).flatten(0, 1)[:, None]
        return F.conv2d(F.conv2d(flat, line), line.mT).view(y.shape)

    rest = x - blurred(x)
    mask = blurred((rest.abs() * 255 > threshold).to(x))
    return mask * (x + weight * rest).clamp(0, 1) + (1 - mask) * x

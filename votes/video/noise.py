"""Noise on pictures in [0, 1], Gaussian and of counted light."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

LUMA = (0.2989, 0.587, 0.114)


def _of_each(value: ArrayLike, x: Tensor) -> Tensor:
    """A number for all pictures, or one for each: (B or 1, 1, 1, 1)."""
    return torch.as_tensor(value, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1)


def gaussian_noise(x: Tensor, sigma: ArrayLike, gray: ArrayLike, rng: np.random.Generator) -> Tensor:
    """The noise alone, like x (B, C, H, W).

    Args:
        sigma: in 8-bit levels; a number, or one for each picture.
        gray: 1 where all channels have the same noise, else 0; the same way. Gray noise is one map (H, W) for all
            pictures, times the sigma of each, as in the public code.
    """
    sigma, gray = _of_each(sigma, x), _of_each(gray, x)
    grey = torch.as_tensor(rng.standard_normal(x.shape[-2:])).to(x) if bool(gray.any()) else None
    if grey is not None and bool(gray.all()):
        return (grey * sigma / 255).expand_as(x)
    colour = torch.as_tensor(rng.standard_normal(tuple(x.shape))).to(x) * sigma / 255
    return colour if grey is None else colour * (1 - gray) + grey * sigma / 255 * gray


def poisson_noise(x: Tensor, scale: ArrayLike, gray: ArrayLike, rng: np.random.Generator) -> Tensor:
    """The noise alone, like x (B, C, H, W): of photons, as many as the picture has different 8-bit values (rounded up
    to a power of 2) for white.

    Args:
        scale: multiplies it; a number, or one for each picture.
        gray: 1 where all channels have the noise of the luma, else 0; the same way.
    """
    scale, gray = _of_each(scale, x), _of_each(gray, x)
    grey = None
    if bool(gray.any()):
        grey = _counted((x * torch.tensor(LUMA).to(x).view(1, 3, 1, 1)).sum(1, keepdim=True), rng)
    if grey is not None and bool(gray.all()):
        return (grey * scale).expand_as(x)
    colour = _counted(x, rng)
    return (colour if grey is None else colour * (1 - gray) + grey * gray) * scale


def _counted(x: Tensor, rng: np.random.Generator) -> Tensor:
    """What counting changes in each picture at 8 bits."""
    x = (x * 255).round().clamp(0, 255) / 255
    values = [2.0 ** int(np.ceil(np.log2(len(torch.unique(picture))))) for picture in x]
    most = torch.tensor(values).to(x).view(-1, 1, 1, 1)
    counts = torch.as_tensor(np.asarray(rng.poisson((x * most).cpu().numpy()))).to(x)
    return counts / most - x

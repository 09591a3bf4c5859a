"""Bicubic resizing as MATLAB's imresize does it, borders included: the field's BI degradation."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor


def imresize(x: Tensor, scale: float) -> Tensor:
    """(..., H, W) -> (..., ceil(H * scale), ceil(W * scale)) by the cubic of a = -0.5, on the grid of pixel centres.

    Below scale 1 the kernel is widened. Edges are mirrored with the edge pixel repeated.
    Vertical first, then horizontal; nothing is rounded or cut.
    """
    down = _weights(x.shape[-2], scale).to(x)
    across = _weights(x.shape[-1], scale).to(x)
    return down @ x @ across.T


@lru_cache(maxsize=64)
def _weights(length: int, scale: float) -> Tensor:
    """(ceil(length * scale), length): how much of each pixel is in each new one."""
    count = math.ceil(length * scale)
    stretch = min(1.0, scale)
    reach = 2 / stretch
    places = (torch.arange(count, dtype=torch.float64) + 0.5) / scale - 0.5
    first = torch.floor(places - reach).long()
    taps = first[:, None] + torch.arange(math.ceil(2 * reach) + 2)
    weights = _cubic((places[:, None] - taps) * stretch)
    weights /= weights.sum(1, keepdim=True)
    around = taps % (2 * length)  # mirrored with the edge: 0 1 2 2 1 0 0 1 ...
    around = torch.where(around < length, around, 2 * length - 1 - around)
    return torch.zeros(count, length, dtype=torch.float64).scatter_add_(1, around, weights)


def _cubic(x: Tensor) -> Tensor:
    x = x.abs()
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))

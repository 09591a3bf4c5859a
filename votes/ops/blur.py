"""A Gaussian over pictures, as two short convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_blur(x: Tensor, taps: int, sigma: float) -> Tensor:
    """Pictures under a Gaussian, mirrored at their edges (repeated where they are too small for that).

    Args:
        x: (B, C, H, W).
        taps: odd, in each direction.
        sigma: in pixels.
    """
    half = taps // 2
    places = torch.arange(-half, half + 1, dtype=x.dtype, device=x.device)
    kernel = torch.softmax(-0.5 * (places / sigma) ** 2, 0)
    for axis, shape in ((-1, (1, 1, 1, taps)), (-2, (1, 1, taps, 1))):
        sides = (half, half, 0, 0) if axis == -1 else (0, 0, half, half)
        grown = F.pad(x, sides, mode='reflect' if x.shape[axis] > half else 'replicate')
        x = F.conv2d(grown, kernel.view(shape).expand(x.shape[1], 1, *shape[2:]), groups=x.shape[1])
    return x

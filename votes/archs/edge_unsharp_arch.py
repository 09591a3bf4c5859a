"""EdgeWeightedUnsharp: sharpening where there are edges (stage III of an anonymous system in track 2 of the NTIRE 2021
challenge).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.published import Weights
from votes.ops.blur import gaussian_blur


class EdgeWeightedUnsharp(nn.Module):
    """``x + amount * edge(x) * (x - blur(x))``: sharper where there are edges. (B, 3, h, w) -> (B, 3, h, w).

    The report of the challenge specifies the formula, with Sobel's operator for edges; chosen are the amount, which is
    learned, the width of the blur, and that edges are the gradient of the mean of RGB, at most 1 (a step from black to
    white is 4, whose quarter it is).

    Args:
        amount: how it starts.
        taps, sigma: of the Gaussian.
    """

    sees = Frame()
    small = {'taps': 5}
    kernels: Tensor

    def __init__(self, amount: float = 0.5, taps: int = 9, sigma: float = 1.5):
        super().__init__()
        if taps % 2 == 0 or taps < 3 or sigma <= 0:
            raise ValueError(f'taps is odd, 3 or more, sigma above 0; not {taps} and {sigma}')
        self.taps, self.sigma = taps, sigma
        self.amount = nn.Parameter(torch.tensor(float(amount)))
        across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
        self.register_buffer('kernels', torch.stack((across, across.T)).unsqueeze(1), persistent=False)

    def edges(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 1, h, w) in [0, 1]."""
        gray = F.pad(x.float().mean(1, keepdim=True), (1, 1, 1, 1), mode='replicate')
        squares = F.conv2d(gray, self.kernels.float()).square().sum(1, keepdim=True)
        # a root has no gradient where nothing changes
        return (squares + 1e-12).sqrt().clamp(max=1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            return x + self.amount * self.edges(x) * (x - gaussian_blur(x, self.taps, self.sigma))

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """The defaults, where nothing but the amount is there."""
        return {} if set(weights) == {'amount'} else None

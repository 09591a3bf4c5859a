"""Losses that look at detail: Fourier coefficients, and edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FourierLoss(nn.Module):
    """Mean absolute difference of the real and imaginary parts of the coefficients of ``rfft2``.

    Args:
        loss_weight: factor.
        norm: of the transform, as torch.fft has it: 'backward' none, 'ortho' by the root of the pixels.
    """

    def __init__(self, loss_weight: float = 1.0, norm: str = 'backward'):
        super().__init__()
        if norm not in ('backward', 'ortho', 'forward'):
            raise ValueError(f"norm is 'backward', 'ortho' or 'forward', not {norm!r}")
        self.loss_weight, self.norm = loss_weight, norm

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """(..., H, W) of one shape -> a number."""
        with torch.autocast(pred.device.type, enabled=False):
            difference = torch.fft.rfft2(pred.float() - target.float(), norm=self.norm)
            return self.loss_weight * torch.view_as_real(difference).abs().mean()


class GradientLoss(nn.Module):
    """Mean absolute difference of the derivatives across and down, by Sobel's operator inside of the picture.

    Args:
        loss_weight: factor.
    """

    kernels: Tensor

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        self.loss_weight = loss_weight
        across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
        self.register_buffer('kernels', torch.stack((across, across.T)).unsqueeze(1), persistent=False)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """(..., H, W) of one shape -> a number."""
        with torch.autocast(pred.device.type, enabled=False):
            difference = (pred.float() - target.float()).flatten(0, -3).unsqueeze(1)
            return self.loss_weight * F.conv2d(difference, self.kernels).abs().mean()

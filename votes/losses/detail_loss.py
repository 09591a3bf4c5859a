"""Losses that look at detail: Fourier coefficients, edges, and what a Gaussian leaves or takes away."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.losses.pixel_loss import CharbonnierLoss
from votes.ops.blur import gaussian_blur


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
        channel: the only one that is looked at (1 is green, which Shannon's system has); all of them unless told.
    """

    kernels: Tensor

    def __init__(self, loss_weight: float = 1.0, channel: int | None = None):
        super().__init__()
        self.loss_weight, self.channel = loss_weight, channel
        across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
        self.register_buffer('kernels', torch.stack((across, across.T)).unsqueeze(1), persistent=False)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """(..., H, W) of one shape -> a number."""
        with torch.autocast(pred.device.type, enabled=False):
            difference = pred.float() - target.float()
            if self.channel is not None:
                difference = difference.narrow(-3, self.channel, 1)
            difference = difference.flatten(0, -3).unsqueeze(1)
            return self.loss_weight * F.conv2d(difference, self.kernels).abs().mean()


class BandLoss(CharbonnierLoss):
    """Charbonnier's loss of what a Gaussian leaves of pictures ('low'), or of what it takes away ('high'); both are
    linear, so that the difference alone is filtered.

    Args:
        band: 'low' or 'high'.
        taps, sigma: of the Gaussian; Shannon's system in the NTIRE 2021 challenge has 5 and 1.
        loss_weight, reduction, eps, epsilon: see CharbonnierLoss.
    """

    def __init__(
        self,
        band: Literal['low', 'high'] = 'low',
        taps: int = 5,
        sigma: float = 1.0,
        loss_weight: float = 1.0,
        reduction: Literal['none', 'mean', 'sum'] = 'mean',
        eps: float | None = None,
        epsilon: float | None = None,
    ):
        super().__init__(loss_weight, reduction, eps, epsilon)
        if band not in ('low', 'high') or taps % 2 == 0 or taps < 1 or sigma <= 0:
            raise ValueError(f"band is 'low' or 'high', taps odd, sigma above 0; not {band!r}, {taps}, {sigma}")
        self.band, self.taps, self.sigma = band, taps, sigma

    def term(self, difference: Tensor) -> Tensor:
        low = gaussian_blur(difference, self.taps, self.sigma)
        return super().term(low if self.band == 'low' else difference - low)

"""A deformable convolution whose offsets and masks are made elsewhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from votes.ops import deform_conv2d


def offsets_and_masks(raw: Tensor) -> tuple[Tensor, Tensor]:
    """What a convolution gave (B, 3*K*G, H, W) -> offsets (B, 2*K*G, H, W) and masks in [0, 1] (B, K*G, H, W)."""
    third = raw.shape[1] // 3
    # gradients of `split` are put side by side as they lie, those of slices are added up in planes of zeros
    offset, mask = raw.split((2 * third, third), 1)
    return offset, mask.sigmoid()


class DeformConv(nn.Module):
    """Of size-keeping padding; weights start uniform within 1 / sqrt(kernel**2 * in_channels), the bias at zero.

    `offset_mean` holds mean |offset| in pixels of the last training step, on the device.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True, kernel: int = 3):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        bound = 1 / math.sqrt(kernel**2 * in_channels)
        nn.init.uniform_(self.weight, -bound, bound)
        self.offset_mean: Tensor | None = None

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, C_in, H, W), offset (B, 2*K*G, H, W) and mask (B, K*G, H, W) of K taps and G groups, see
        ops.deform_conv2d -> (B, C_out, H, W).
        """
        if self.training:
            self.offset_mean = offset.detach().abs().mean()
        return deform_conv2d(x, offset, mask, self.weight, self.bias, padding=self.weight.shape[-1] // 2)

"""CBDNet: toward convolutional blind denoising of real photographs (Guo et al., CVPR 2019), as PowerQE has it."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.blocks import conv3x3, count_of
from votes.archs.parts.luma import set_channels
from votes.archs.parts.published import Weights, fitting, size_of
from votes.archs.parts.unet import UNet


class CBDNet(nn.Module):
    """(B, C, h, w) in [0, 1], any size from 2^(nlevel_denoise - 1) on -> the same size, not clamped: an estimate of the
    noise, and a U-Net that finds from it and the frame what is added to the frame.

    ReLU stands after the last convolution of the estimate too. Keys as in PowerQE.

    Args:
        in_channels: 3 for RGB, 1 for Y.
        estimate_channels: of the estimate's features.
        nlevel_denoise, nf_base_denoise, nf_gr_denoise, nl_base_denoise, nl_gr_denoise, down_denoise, up_denoise,
        reduce_denoise: of the U-Net, see parts.unet.UNet.
    """

    sees = Frame()
    small = {'estimate_channels': 6, 'nf_base_denoise': 4}

    def __init__(
        self,
        in_channels: int = 3,
        estimate_channels: int = 32,
        nlevel_denoise: int = 3,
        nf_base_denoise: int = 64,
        nf_gr_denoise: int = 2,
        nl_base_denoise: int = 1,
        nl_gr_denoise: int = 2,
        down_denoise: Literal['avepool2d', 'strideconv'] = 'avepool2d',
        up_denoise: Literal['transpose2d', 'upsample'] = 'transpose2d',
        reduce_denoise: Literal['add', 'concat'] = 'add',
    ):
        super().__init__()
        set_channels(self, in_channels)
        self.smallest = 2 ** (nlevel_denoise - 1)
        widths = (in_channels, *[estimate_channels] * 4, in_channels)
        layers: list[nn.Module] = []
        for i in range(5):
            layers += [conv3x3(widths[i], widths[i + 1]), nn.ReLU(inplace=True)]
        self.estimate = nn.Sequential(*layers)
        self.denoise = UNet(
            2 * in_channels,
            in_channels,
            nlevel_denoise,
            nf_base_denoise,
            nf_gr=nf_gr_denoise,
            nl_base=nl_base_denoise,
            nl_gr=nl_gr_denoise,
            down=down_denoise,
            up=up_denoise,
            reduce=reduce_denoise,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return self.denoise(torch.cat((x, self.estimate(x)), 1)) + x

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of PowerQE."""
        if 'estimate.8.weight' not in weights or 'denoise.outc.weight' not in weights:
            return None
        nf_base, in_channels = size_of(weights, 'denoise.inc.0.weight'), size_of(weights, 'estimate.8.weight')
        nl_base = (count_of(weights, 'denoise.dec_0.') - 1) // 2
        wider = size_of(weights, 'denoise.enc_1.0.weight')
        return fitting(
            cls,
            weights,
            in_channels=in_channels,
            estimate_channels=size_of(weights, 'estimate.0.weight'),
            nlevel_denoise=count_of(weights, 'denoise.enc_'),
            nf_base_denoise=nf_base,
            nf_gr_denoise=wider // nf_base,
            nl_base_denoise=nl_base,
            nl_gr_denoise=(count_of(weights, 'denoise.enc_1.') - 1) // 2 // max(nl_base, 1),
            down_denoise='strideconv' if 'denoise.down_1.0.weight' in weights else 'avepool2d',
            up_denoise='transpose2d' if 'denoise.up_0.up.weight' in weights else 'upsample',
            reduce_denoise='add' if size_of(weights, 'denoise.dec_0.0.weight', 1) == nf_base else 'concat',
        )

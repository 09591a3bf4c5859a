"""QE-CNN: enhancing quality for HEVC compressed videos (Yang, Xu, Liu and Wang, TCSVT 2019), as in the baseline of the
NTIRE 2021 challenge: the network for P frames, whose second branch also takes what the one for I frames finds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.luma import set_channels
from votes.archs.parts.published import Weights, fitting, from_tensorflow, size_of

KERNELS = (9, 7, 3, 1)


class QECNN(nn.Module):
    """(B, C, h, w) in [0, 1], any size -> the same size, not clamped.

    Two branches of four convolutions; each of the second branch sees what both branches found before it. A convolution
    of both makes what is added to the frame. PReLU, a slope a channel, after all convolutions but the last. Keys as the
    TensorFlow graph has them, with . for /.

    Args:
        io_channels: 3 for RGB, 1 for Y.
        mid_channels: channels after the four convolutions of each branch.
    """

    sees = Frame()
    small = {'mid_channels': [8, 6, 6, 4]}

    def __init__(self, io_channels: int = 3, mid_channels: tuple[int, int, int, int] = (128, 64, 64, 32)):
        super().__init__()
        set_channels(self, io_channels)
        for first, shared in ((1, 1), (6, 2)):
            before = io_channels
            for i, (kernel, channels) in enumerate(zip(KERNELS, mid_channels, strict=True)):
                conv = nn.Conv2d(before, channels, kernel, padding=kernel // 2)
                self.add_module(f'conv_{first + i}', conv)
                self.add_module(f'prelu_{first + i}', nn.PReLU(channels))
                before = shared * channels
        self.conv_out = nn.Conv2d(2 * mid_channels[3], io_channels, 5, padding=2)

    def _layer(self, number: int, x: Tensor) -> Tensor:
        return self.get_submodule(f'prelu_{number}')(self.get_submodule(f'conv_{number}')(x))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        first, both = x, x
        for i in range(4):
            first = self._layer(1 + i, first)
            both = torch.cat((first, self._layer(6 + i, both)), 1)
        return self.conv_out(both) + x

    published_weights = staticmethod(from_tensorflow)

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class, or by the variables of the challenge's file."""
        own = from_tensorflow(weights)
        if 'conv_9.weight' not in own or 'conv_out.weight' not in own:
            return None
        widths = [size_of(own, f'conv_{i}.weight') for i in range(1, 5)]
        return fitting(cls, own, io_channels=size_of(own, 'conv_out.weight'), mid_channels=widths)

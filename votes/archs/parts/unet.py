"""U-Nets whose sizes need not divide."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.parts.blocks import conv3x3


def matched(x: Tensor, like: Tensor) -> Tensor:
    """`x` cropped at the bottom and the right, or padded with zeros on all sides, to the size of `like`."""
    height, width = like.shape[-2:]
    x = x[..., :height, :width]
    rows, columns = height - x.shape[-2], width - x.shape[-1]
    return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


def enlarging(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """Transposed 3x3 convolution: n rows -> 2n - 1."""
    return nn.ConvTranspose2d(in_channels, out_channels, 3, 2, 1)


def _convs(in_channels: int, out_channels: int, more: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(1 + more):
        layers += [conv3x3(in_channels, out_channels), nn.ReLU(inplace=True)]
        in_channels = out_channels
    return nn.Sequential(*layers)


class _Up(nn.Module):
    def __init__(self, channels: int, how: str):
        super().__init__()
        self.up = (
            enlarging(channels, channels // 2)
            if how == 'transpose2d'
            else nn.Upsample(scale_factor=2, mode='bicubic', align_corners=False)
        )

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        return matched(self.up(x), like)


class UNet(nn.Module):
    """The U-Net of PowerQE, without a skip around it: (B, nf_in, h, w) -> (B, nf_out, h, w), h and w of at least
    2^(nlevel - 1). Keys as there.

    Args:
        nlevel: sizes at which it works.
        nf_base, nf_gr, nf_max: channels of the largest size; growth from size to size, and its end.
        nl_base, nl_gr, nl_max: convolutions likewise, besides the first of each size.
        down: means of 2x2 pixels, or a convolution of stride 2.
        up: a transposed convolution that halves the channels, or bicubic.
        reduce: what was enlarged and what was there before are added, or stand next to each other.
    """

    def __init__(
        self,
        nf_in: int,
        nf_out: int,
        nlevel: int,
        nf_base: int,
        nf_max: int = 1024,
        nf_gr: int = 2,
        nl_base: int = 1,
        nl_max: int = 8,
        nl_gr: int = 2,
        down: Literal['avepool2d', 'strideconv'] = 'avepool2d',
        up: Literal['transpose2d', 'upsample'] = 'transpose2d',
        reduce: Literal['add', 'concat'] = 'concat',
    ):
        super().__init__()
        if down not in ('avepool2d', 'strideconv') or up not in ('transpose2d', 'upsample'):
            raise ValueError(f'down is avepool2d or strideconv, up is transpose2d or upsample, not {down} and {up}')
        if reduce not in ('add', 'concat'):
            raise ValueError(f'reduce is add or concat, not {reduce}')
        self.nlevel, self.reduce = nlevel, reduce
        widths, counts = [nf_base], [nl_base]
        self.inc = nn.Sequential(conv3x3(nf_in, nf_base), nn.ReLU(inplace=True))
        for level in range(1, nlevel):
            before = widths[-1]
            widths.append(min(before * nf_gr, nf_max))
            counts.append(min(counts[-1] * nl_gr, nl_max))
            smaller = (
                nn.AvgPool2d(2)
                if down == 'avepool2d'
                else nn.Sequential(conv3x3(before, before, stride=2), nn.ReLU(inplace=True))
            )
            self.add_module(f'down_{level}', smaller)
            self.add_module(f'enc_{level}', _convs(before, widths[-1], counts[-1]))
        for level in reversed(range(nlevel - 1)):
            joined = widths[level if reduce == 'add' else level + 1]
            self.add_module(f'up_{level}', _Up(widths[level + 1], up))
            self.add_module(f'dec_{level}', _convs(joined, widths[level], counts[level]))
        self.outc = conv3x3(nf_base, nf_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inc(x)
        skips = []
        for level in range(1, self.nlevel):
            skips.append(x)
            x = self.get_submodule(f'enc_{level}')(self.get_submodule(f'down_{level}')(x))
        for level in reversed(range(self.nlevel - 1)):
            skip = skips[level]
            x = self.get_submodule(f'up_{level}')(x, skip)
            x = self.get_submodule(f'dec_{level}')(x + skip if self.reduce == 'add' else torch.cat((x, skip), 1))
        return self.outc(x)

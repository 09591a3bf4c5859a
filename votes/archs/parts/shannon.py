"""What the networks of the Shannon lab in the NTIRE 2021 challenge are made of: blocks of dilated branches, groups of
them, and the U-Net that finds the offsets of a deformable convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.parts.blocks import conv3x3
from votes.archs.parts.channel_attention import ChannelAttention
from votes.archs.parts.deform import DeformConv
from votes.archs.parts.published import Weights, renamed
from votes.archs.parts.unet import matched

LARGEST_OFFSET = 64.0  # pixels
SLOPES = (0.01, 0.01)  # of ShannonNet's ReLUs below zero: inside dilated branches, and after them


class DilatedBranches(nn.Module):
    """Four branches of different reach next to each other: plain 3x3; 3x1, and 1x3, before a 3x3 with dilation 3; both
    before one with dilation 5. (B, C_in, h, w) -> (B, C_out, h/stride, w/stride).
    """

    def __init__(self, in_channels: int, out_channels: int, slope: float, stride: int = 1):
        super().__init__()
        n, narrow, between = out_channels // 4, out_channels // 8, out_channels * 3 // 16
        act = partial(nn.LeakyReLU, slope)
        entries = [nn.Conv2d(in_channels, width, 1, stride) for width in (n, n, n, narrow)]
        self.branch1 = nn.Sequential(entries[0], act(), conv3x3(n, out_channels - 3 * n))
        self.branch2 = nn.Sequential(
            entries[1], act(), nn.Conv2d(n, n, (3, 1), padding=(1, 0)), act(), nn.Conv2d(n, n, 3, padding=3, dilation=3)
        )
        self.branch3 = nn.Sequential(
            entries[2], act(), nn.Conv2d(n, n, (1, 3), padding=(0, 1)), act(), nn.Conv2d(n, n, 3, padding=3, dilation=3)
        )
        self.branch4 = nn.Sequential(
            entries[3],
            act(),
            nn.Conv2d(narrow, between, (1, 3), padding=(0, 1)),
            act(),
            nn.Conv2d(between, n, (3, 1), padding=(1, 0)),
            act(),
            nn.Conv2d(n, n, 3, padding=5, dilation=5),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), 1)


class SpatialAttention(nn.Module):
    """x times a factor in (0, 1) for each channel and place, found at a sixth of the size: h and w from 15 on."""

    def __init__(self, num_feat: int, width: int = 1):
        """Args:
        width: quarters of `num_feat` that are looked at.
        """
        super().__init__()
        f = num_feat // 4
        self.conv1 = nn.Conv2d(num_feat, f, 1)
        self.conv_f = nn.Conv2d(width * f, width * f, 1)
        self.conv_max = conv3x3(f, f)
        self.conv2 = nn.Conv2d(width * f, f, 3, 2)
        self.conv3 = conv3x3(f, f)
        self.conv3_ = conv3x3(f, f)
        self.conv4 = nn.Conv2d(f, num_feat if width == 1 else width * f, 1)

    def far(self, x: Tensor) -> Tensor:
        """Of (B, width*f, h, w), what is seen from afar: (B, f, h, w)."""
        small = F.max_pool2d(self.conv2(x), 7, 3)
        small = self.conv3_(self.conv3(self.conv_max(small).relu()).relu())
        return F.interpolate(small, x.shape[-2:], mode='bilinear', align_corners=False)

    def forward(self, x: Tensor, info: Tensor | None = None) -> Tensor:
        """`info` is not looked at."""
        narrow = self.conv1(x)
        return x * self.conv4(self.far(narrow) + self.conv_f(narrow)).sigmoid()


class DilatedBlock(nn.Module):
    """Dilated branches, a 1x1 convolution of them and an attention; with `skip`, a 1x1 convolution of x is added.

    In the release the blocks' sums are made in place, so that what a group collects from a block includes its skip:
    the published weights want it that way.
    """

    def __init__(self, num_feat: int, attention: nn.Module, skip: bool = True, slopes: tuple[float, float] = SLOPES):
        super().__init__()
        self.slope = slopes[1]
        self.branches = DilatedBranches(num_feat, num_feat, slopes[0])
        self.ConvLinear = nn.Conv2d(num_feat, num_feat, 1)
        self.ShortPath = nn.Conv2d(num_feat, num_feat, 1) if skip else None
        self.attention = attention

    def forward(self, x: Tensor, info: Tensor | None = None) -> Tensor:
        found = F.leaky_relu(self.ConvLinear(self.branches(x)), self.slope)
        found = self.attention(found) if info is None else self.attention(found, info)
        return found if self.ShortPath is None else found + F.leaky_relu(self.ShortPath(x), self.slope)


def dilated_with_channels(num_feat: int, slopes: tuple[float, float]) -> DilatedBlock:
    """A dilated block with channel attention."""
    return DilatedBlock(num_feat, ChannelAttention(num_feat, num_feat // 8), slopes=slopes)


class AttendedBlock(nn.Module):
    """Two 3x3 convolutions and spatial attention; with `skip`, x is added."""

    def __init__(self, num_feat: int, skip: bool = True):
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(num_feat, num_feat), nn.LeakyReLU(0.01), conv3x3(num_feat, num_feat), SpatialAttention(num_feat)
        )
        self.skip = skip

    def forward(self, x: Tensor, info: Tensor | None = None) -> Tensor:
        return self.body(x) + x if self.skip else self.body(x)


class Group(nn.Module):
    """Four blocks, of which the last has no skip; a 1x1 convolution of what all of them gave is added to x."""

    def __init__(self, num_feat: int, block: Callable[[bool], nn.Module]):
        """Args:
        block: makes one, with or without skip.
        """
        super().__init__()
        for number in range(1, 5):
            self.add_module(f'block{number}', block(number < 4))
        self.Aggre = nn.Conv2d(4 * num_feat, num_feat, 1)

    def forward(self, x: Tensor, info: Tensor | None = None) -> Tensor:
        found, feature = [], x
        for number in range(1, 5):
            feature = self.get_submodule(f'block{number}')(feature, info)
            found.append(feature)
        return self.Aggre(torch.cat((found[3], *found[:3]), 1)) + x


class Groups(nn.Module):
    """A convolution, groups with a skip around them, and a convolution."""

    def __init__(self, num_feat: int, count: int, block: Callable[[bool], nn.Module]):
        super().__init__()
        self.headConv = conv3x3(num_feat, num_feat)
        self.body = nn.ModuleList([Group(num_feat, block) for _ in range(count)])
        self.tailConv = conv3x3(num_feat, num_feat)

    def forward(self, x: Tensor, info: Tensor | None = None) -> Tensor:
        x = self.headConv(x)
        feature = x
        for group in self.body:
            feature = group(feature, info)
        return self.tailConv(feature + x)


def frame_encoder(channels: int) -> nn.Sequential:
    """Features of a frame, (B, 3, h, w) -> (B, channels, h, w)."""
    groups = Groups(channels, 2, lambda skip: AttendedBlock(channels, skip))
    return nn.Sequential(nn.Conv2d(3, channels, 1), groups)


class _Double(nn.Sequential):
    """Twice a convolution, batch normalisation and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, between: int | None = None):
        widths = (in_channels, between or out_channels, out_channels)
        layers: list[nn.Module] = []
        for i in range(2):
            layers += [conv3x3(widths[i], widths[i + 1]), nn.BatchNorm2d(widths[i + 1]), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class OffsetUNet(nn.Module):
    """A deformable convolution whose offsets, of at most 64 pixels, a U-Net of five sizes finds.

    Args:
        guide_channels: of what the U-Net sees.
        in_channels, out_channels: of the deformable convolution.
        groups: with offsets of their own.
        slopes: of its dilated blocks.
        nf: channels of the two largest sizes, twice and four times as many below them.
    """

    def __init__(
        self,
        guide_channels: int,
        in_channels: int,
        out_channels: int,
        groups: int = 1,
        slopes: tuple[float, float] = SLOPES,
        nf: int = 64,
    ):
        super().__init__()
        self.inc = _Double(guide_channels, nf)
        for i, (before, after) in enumerate(((nf, nf), (nf, 2 * nf), (2 * nf, 4 * nf), (4 * nf, 4 * nf)), 1):
            self.add_module(f'down{i}', nn.Sequential(nn.MaxPool2d(2), _Double(before, after)))
        self.dilated_conv_0, self.dilated_conv_1 = (dilated_with_channels(4 * nf, slopes) for _ in range(2))
        for i, (before, after) in enumerate(((8 * nf, 2 * nf), (4 * nf, nf), (2 * nf, nf), (2 * nf, nf)), 1):
            self.add_module(f'up{i}', _Double(before, after, before // 2))
        self.outc = nn.Sequential(nn.Conv2d(nf, nf, 1), nn.ReLU(inplace=True))
        self.groups = groups
        self.offset_mask = conv3x3(nf, 27 * groups)
        self.deform_conv = DeformConv(in_channels, out_channels)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """(B, in_channels, h, w), (B, guide_channels, h, w) -> (B, out_channels, h, w), not negative."""
        skips = [self.inc(guide)]
        for i in range(1, 5):
            skips.append(self.get_submodule(f'down{i}')(skips[-1]))
        feature = self.dilated_conv_1(self.dilated_conv_0(skips.pop()))
        for i in range(1, 5):
            larger = F.interpolate(feature, scale_factor=2, mode='bilinear', align_corners=True)
            skip = skips.pop()
            feature = self.get_submodule(f'up{i}')(torch.cat((skip, matched(larger, skip)), 1))
        offset, mask = self.offset_mask(self.outc(feature)).split((18 * self.groups, 9 * self.groups), 1)
        return self.deform_conv(x, F.hardtanh(offset, -LARGEST_OFFSET, LARGEST_OFFSET), mask.sigmoid()).relu()


def shannon_names(weights: Weights, unused: Sequence[str] = ()) -> Weights:
    """Weights of the lab's releases with the names here, without what has no effect: a 1x1 convolution around the last
    block of each group, and what begins with `unused`.
    """
    own: dict[str, str | None] = {r'.*\.RB4\.ShortPath\.': None, **dict.fromkeys(unused)}
    weights = renamed(weights, own)
    for names in (
        {r'enc\.head\.conv\.': 'enc.0.', r'enc\.extractfeats\.': 'enc.1.'},
        {
            r'(ffnet\.down\d)\.maxpool_conv\.1\.double_conv\.': r'\1.1.',
            r'(ffnet\.(?:inc|up\d))(?:\.conv)?\.double_conv\.': r'\1.',
            r'ffnet\.outc\.conv\.': 'ffnet.outc.0.',
        },
        {r'(.*\.(?:headConv|tailConv|Aggre|body\.[02]|rfa\.[02]))\.conv\.': r'\1.'},
        {r'(.*\.(?:EHDC\d|RB4|dilated_conv_\d|down_conv\.[12]))\.branch(?=\d)': r'\1.branches.branch'},
        {r'(.*)\.(?:sa_new|sa)\.': r'\1.attention.'},
        {r'(.*)\.(?:ca|CA)\.conv_du\.0\.': r'\1.attention.attention.1.'},
        {r'(.*)\.(?:ca|CA)\.conv_du\.2\.': r'\1.attention.attention.3.'},
        {r'(.*)\.(?:EHDC|RB)(\d)\.': r'\1.block\2.'},
    ):
        weights = renamed(weights, names)
    return weights

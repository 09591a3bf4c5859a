"""NOAHTCV: a U-Net in whose encoder and decoder three frames are aligned at every size (NOAHTCV in the NTIRE 2021
challenge).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.parts.blocks import check_window, conv3x3, count_of, lrelu, residual_blocks, upsample, zero_
from votes.archs.parts.deform import DeformConv, offsets_and_masks
from votes.archs.parts.published import Weights, fitting, size_of

FRAMES = 3


class OffsetUNet(nn.Module):
    """Looks at the features of all frames at once: a U-Net with what it knows at every size, on the way down and up."""

    def __init__(self, num_feat: int, num_level: int):
        super().__init__()
        self.first = conv3x3(FRAMES * num_feat, num_feat)
        self.downs = nn.ModuleList([conv3x3(num_feat, num_feat, 2) for _ in range(num_level - 1)])
        self.ups = nn.ModuleList([conv3x3(2 * num_feat, num_feat) for _ in range(num_level - 1)])

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """(B, 3*C, h, w) -> features (B, C, ...) of the way down, from the largest size, and of the way up, from the
        second smallest.
        """
        down = [lrelu(self.first(x))]
        for conv in self.downs:
            down.append(lrelu(conv(down[-1])))
        up: list[Tensor] = []
        feature = down[-1]
        for conv, skip in zip(self.ups, down[-2::-1], strict=True):
            feature = lrelu(conv(torch.cat((upsample(feature, 2), skip), 1)))
            up.append(feature)
        return down, up


class Fusing(nn.Module):
    """Frames aligned by a deformable convolution that they share, with offsets of their own, and fused."""

    def __init__(self, guide_feat: int, width: int, groups: int):
        super().__init__()
        self.head = conv3x3(guide_feat, FRAMES * groups * 27)
        zero_(self.head.weight, self.head.bias)
        self.deform_conv = DeformConv(width, width)
        self.fuse = nn.Conv2d(FRAMES * width, width, 1)

    def forward(self, frames: Tensor, guide: Tensor) -> Tensor:
        """(B, 3, C, h, w) and (B, C_guide, h, w) -> (B, C, h, w)."""
        raw = self.head(guide).unflatten(1, (FRAMES, -1)).flatten(0, 1)
        aligned = self.deform_conv(frames.flatten(0, 1), *offsets_and_masks(raw))
        return lrelu(self.fuse(aligned.unflatten(0, frames.shape[:2]).flatten(1, 2)))


class NOAHTCV(nn.Module):
    """(B, 3, 3, h, w) RGB in [0, 1], h and w multiples of 2^(num_level - 1) -> the centre frame (B, 3, h, w), not
    clamped.

    The report of the challenge specifies three frames (the two others of peak quality), residual blocks that extract
    features, a U-Net that finds the offsets of all frames together, a U-Net whose encoder is shared by the frames with
    deformable fusion at each size in encoder and decoder, residual blocks at the end, and that their result is added to
    the frame; chosen are all widths and depths, the number of sizes, and the layers that change them.

    Args:
        num_feat: channels of the largest size, twice as many at each smaller one.
        guide_feat: channels of the network that finds offsets.
        num_level: sizes.
        num_block: residual blocks before and after.
        deformable_groups: num_feat divides by it.
    """

    sees = Window(FRAMES, pick='peaks')
    parts = {
        'features': ('conv_first.', 'extraction.'),
        'alignment': ('offsets.', 'encoder_fusion.', 'decoder_fusion.'),
    }
    small = {'num_feat': 8, 'guide_feat': 8, 'num_level': 2, 'num_block': 1, 'deformable_groups': 2}

    def __init__(
        self,
        num_feat: int = 64,
        guide_feat: int = 64,
        num_level: int = 3,
        num_block: int = 5,
        deformable_groups: int = 8,
    ):
        if num_feat % deformable_groups or num_level < 2:
            raise ValueError(f'{num_feat} divides by deformable_groups, num_level is 2 or more, not {num_level}')
        super().__init__()
        self.multiple = 2 ** (num_level - 1)
        widths = [num_feat << level for level in range(num_level)]
        self.conv_first = conv3x3(3, num_feat)
        self.extraction = residual_blocks(num_block, num_feat)
        self.offsets = OffsetUNet(guide_feat, num_level)
        self.reduce = nn.Conv2d(num_feat, guide_feat, 1)
        self.downs = nn.ModuleList([conv3x3(width, 2 * width, 2) for width in widths[:-1]])
        self.encoder_fusion = nn.ModuleList([Fusing(guide_feat, width, deformable_groups) for width in widths])
        self.decoder_fusion = nn.ModuleList(
            [Fusing(guide_feat, width, deformable_groups) for width in reversed(widths[:-1])]
        )
        self.ups = nn.ModuleList([conv3x3(2 * width, 4 * width) for width in reversed(widths[:-1])])
        self.joins = nn.ModuleList([conv3x3(3 * width, width) for width in reversed(widths[:-1])])
        self.reconstruction = residual_blocks(num_block, num_feat)
        self.conv_last = conv3x3(num_feat, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 3, h, w) -> (B, 3, h, w)."""
        check_window(x, FRAMES, self.multiple)
        batch = x.shape[0]
        frames = self.extraction(lrelu(self.conv_first(x.flatten(0, 1))))
        guides, above = self.offsets(self.reduce(frames).unflatten(0, (batch, FRAMES)).flatten(1, 2))
        levels = [frames]
        for conv in self.downs:
            levels.append(lrelu(conv(levels[-1])))
        sizes = [level.unflatten(0, (batch, FRAMES)) for level in levels]
        fused = [fusion(level, guide) for fusion, level, guide in zip(self.encoder_fusion, sizes, guides, strict=True)]
        feature = fused.pop()
        rest = zip(self.ups, self.joins, self.decoder_fusion, sizes[-2::-1], above, strict=True)
        for up, join, fusion, level, guide in rest:
            grown = F.pixel_shuffle(up(feature), 2)
            feature = lrelu(join(torch.cat((grown, fused.pop(), fusion(level, guide)), 1)))
        return self.conv_last(self.reconstruction(feature)) + x[:, 1]

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class."""
        if 'encoder_fusion.0.deform_conv.weight' not in weights or 'offsets.first.weight' not in weights:
            return None
        return fitting(
            cls,
            weights,
            num_feat=size_of(weights, 'conv_first.weight'),
            guide_feat=size_of(weights, 'reduce.weight'),
            num_level=1 + count_of(weights, 'downs.'),
            num_block=count_of(weights, 'extraction.'),
            deformable_groups=size_of(weights, 'encoder_fusion.0.head.weight') // (27 * FRAMES),
        )

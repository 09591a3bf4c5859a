"""EDVRResUNet: alignment and fusion of EDVR before a residual U-Net (Gogoing in the NTIRE 2021 challenge)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.edvr_arch import TSAFusion
from votes.archs.parts.blocks import check_window, conv3x3, count_of
from votes.archs.parts.channel_attention import RCAB
from votes.archs.parts.published import Weights, fitting, size_of
from votes.archs.parts.window_network import AlignedFeatures


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*[RCAB(width, max(width // 16, 1)) for _ in range(count)])


class ResUNet(nn.Module):
    """Blocks with channel attention at each size, convolutions of stride 2 down, pixel shuffling up, and skips.

    (B, C, h, w), h and w multiples of 2^(num_level - 1) -> (B, C, h, w).
    """

    def __init__(self, num_feat: int, num_level: int, num_block: int):
        super().__init__()
        widths = [num_feat << level for level in range(num_level)]
        self.encoders = nn.ModuleList([_blocks(width, num_block) for width in widths])
        self.downs = nn.ModuleList([conv3x3(width, 2 * width, stride=2) for width in widths[:-1]])
        self.ups = nn.ModuleList([conv3x3(2 * width, 4 * width) for width in widths[:-1]])
        self.joins = nn.ModuleList([nn.Conv2d(2 * width, width, 1) for width in widths[:-1]])
        self.decoders = nn.ModuleList([_blocks(width, num_block) for width in widths[:-1]])

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=False):
            skips.append(encoder(x))
            x = down(skips[-1])
        x = self.encoders[-1](x)
        for up, join, decoder in zip(*(reversed(part) for part in (self.ups, self.joins, self.decoders)), strict=True):
            x = decoder(join(torch.cat((F.pixel_shuffle(up(x), 2), skips.pop()), 1)))
        return x


class EDVRResUNet(AlignedFeatures):
    """(B, T, 3, h, w) RGB in [0, 1], h and w multiples of 4 and of 2^(num_level - 1) -> the centre frame (B, 3, h, w),
    not clamped.

    The report of the challenge specifies seven frames, EDVR's alignment and fusion, a U-Net of residual blocks with
    channel attention and the training; chosen are all widths and depths, how sizes change in the U-Net, and that what
    it finds is added to the frame.

    Args:
        num_feat: channels of the largest size, twice as many at each smaller one.
        num_frame: frames T of the window, odd.
        deformable_groups: num_feat divides by it.
        num_extract_block: residual blocks before alignment.
        num_level: sizes of the U-Net.
        num_block: blocks at each place of the U-Net.
    """

    parts = {
        'features': ('conv_first.', 'feature_extraction.', 'conv_l2_', 'conv_l3_'),
        'alignment': ('pcd_align.',),
        'deformable': ('pcd_align.dcn_pack.', 'pcd_align.cas_dcnpack.'),
        'fusion': ('fusion.',),
        'reconstruction': ('unet.', 'conv_last.'),
    }
    small = {
        'num_feat': 8,
        'num_frame': 3,
        'deformable_groups': 2,
        'num_extract_block': 1,
        'num_level': 2,
        'num_block': 1,
    }

    def __init__(
        self,
        num_feat: int = 64,
        num_frame: int = 7,
        deformable_groups: int = 8,
        num_extract_block: int = 5,
        num_level: int = 3,
        num_block: int = 4,
    ):
        if num_frame % 2 == 0 or num_level < 1:
            raise ValueError(f'num_frame is odd, num_level 1 or more, not {num_frame} and {num_level}')
        super().__init__(3, num_feat, num_frame // 2, deformable_groups, num_extract_block)
        self.sees = Window(num_frame)
        self.multiple = max(4, 2 ** (num_level - 1))
        self.fusion = TSAFusion(num_feat, num_frame, self.centre)
        self.unet = ResUNet(num_feat, num_level, num_block)
        self.conv_last = conv3x3(num_feat, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, 3, h, w) -> (B, 3, h, w)."""
        check_window(x, self.sees.frames, self.multiple)
        aligned = self.align(self.features(x.flatten(0, 1)), x.shape[0])
        return self.conv_last(self.unet(self.fusion(aligned))) + x[:, self.centre]

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class."""
        if 'unet.encoders.0.0.rcab.0.weight' not in weights or 'fusion.feat_fusion.weight' not in weights:
            return None
        num_feat = size_of(weights, 'conv_first.weight')
        return fitting(
            cls,
            weights,
            num_feat=num_feat,
            num_frame=size_of(weights, 'fusion.feat_fusion.weight', 1) // num_feat,
            deformable_groups=size_of(weights, 'pcd_align.cas_dcnpack.conv_offset.weight') // 27,
            num_extract_block=count_of(weights, 'feature_extraction.'),
            num_level=count_of(weights, 'unet.encoders.'),
            num_block=count_of(weights, 'unet.encoders.0.'),
        )

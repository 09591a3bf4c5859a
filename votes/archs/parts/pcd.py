"""Pyramid, cascading and deformable alignment (PCD) of EDVR (Wang et al., CVPR Workshops 2019)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from votes.archs.parts.blocks import conv3x3, conv_of_pair, first_share, lrelu, one_by_one, upsample, with_second, zero_
from votes.archs.parts.deform import DeformConv, offsets_and_masks
from votes.ops.deform_conv import choose_backend, fused_deform_conv2d, watching

LEVELS = ('l1', 'l2', 'l3')


class DeformableConv(DeformConv):
    """Modulated deformable 3x3 convolution whose offsets and masks come from a convolution of `guide`.

    That convolution starts at zero: at first every tap samples its own place with weight 0.5. Where `offset_mean` is
    above 50, training diverges.
    """

    def __init__(self, num_feat: int, deformable_groups: int):
        super().__init__(num_feat, num_feat)
        self.conv_offset = conv3x3(num_feat, deformable_groups * 27)
        zero_(self.conv_offset.weight, self.conv_offset.bias)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:  # type: ignore[override]
        """x and guide (B, C, H, W) -> (B, C, H, W)."""
        fused = x.dtype != torch.float64 and not watching()
        if fused and choose_backend(None, x.device.type) == 'triton':
            offsets = cast(nn.Conv2d, self.conv_offset)
            out, mean = fused_deform_conv2d(
                x, guide, offsets.weight, cast(Tensor, offsets.bias), self.weight, cast(Tensor, self.bias)
            )
            self.offset_mean = mean if self.training else self.offset_mean
            return out
        return super().forward(x, *offsets_and_masks(self.conv_offset(guide)))


class PCDAlignment(nn.Module):
    """Aligns every frame of a window to its centre frame, coarse to fine."""

    def __init__(self, num_feat: int, deformable_groups: int):
        super().__init__()

        def levels(names: tuple[str, ...], inputs: int = 2) -> nn.ModuleDict:
            return nn.ModuleDict({name: conv3x3(inputs * num_feat, num_feat) for name in names})

        self.offset_conv1 = levels(LEVELS)
        self.offset_conv2 = nn.ModuleDict({**levels(LEVELS[:2]), **levels(LEVELS[2:], inputs=1)})
        self.offset_conv3 = levels(LEVELS[:2], inputs=1)
        self.dcn_pack = nn.ModuleDict({name: DeformableConv(num_feat, deformable_groups) for name in LEVELS})
        self.feat_conv = levels(LEVELS[:2])
        self.cas_offset_conv1 = conv3x3(2 * num_feat, num_feat)
        self.cas_offset_conv2 = conv3x3(num_feat, num_feat)
        self.cas_dcnpack = DeformableConv(num_feat, deformable_groups)

    def shares(self, frames: list[Tensor]) -> list[Tensor]:
        """What the first offset convolution of each level takes from a frame itself, whatever window it is in."""
        convs = [cast(nn.Conv2d, self.offset_conv1[level]) for level in LEVELS]
        return [
            one_by_one(self, lambda frame, conv=conv: [first_share(conv, frame)], x)[0]  # type: ignore[misc]
            for conv, x in zip(convs, frames, strict=True)
        ]

    def forward(self, frames: list[Tensor], centre: list[Tensor], shares: list[Tensor] | None = None) -> Tensor:
        """Aligned level-1 features.

        Args:
            frames: levels 1, 2, 3 of all frames, (B*T, C, H, W), (B*T, C, H/2, W/2), (B*T, C, H/4, W/4).
            centre: the same levels of each window's centre frame, (B, C, ...).
            shares: of `frames`, where they are known.

        Returns:
            (B*T, C, H, W).
        """
        shares = shares or self.shares(frames)
        offset = feature = frames[2]
        for index in (2, 1, 0):
            level = LEVELS[index]
            guide = lrelu(with_second(cast(nn.Conv2d, self.offset_conv1[level]), shares[index], centre[index]))
            if level == 'l3':
                guide = lrelu(self.offset_conv2[level](guide))
                feature = lrelu(self.dcn_pack[level](frames[index], guide))
            else:
                # offsets are in pixels of their own level: twice as many one level down
                guide = lrelu(self.offset_conv2[level](torch.cat((guide, upsample(offset, 2) * 2), 1)))
                guide = lrelu(self.offset_conv3[level](guide))
                aligned = self.dcn_pack[level](frames[index], guide)
                feature = self.feat_conv[level](torch.cat((aligned, upsample(feature, 2)), 1))
                if level == 'l2':
                    feature = lrelu(feature)
            offset = guide
        guide = lrelu(conv_of_pair(self.cas_offset_conv1, feature, centre[0]))
        guide = lrelu(self.cas_offset_conv2(guide))
        return lrelu(self.cas_dcnpack(feature, guide))

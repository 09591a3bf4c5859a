"""EDVR: video restoration with enhanced deformable convolutions (Wang et al., CVPR Workshops 2019)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.parts.blocks import ResidualBlock, conv3x3, lrelu, residual_blocks, upsample
from votes.archs.parts.enlarging import scale_of
from votes.archs.parts.published import Weights, fitting, renamed, trunk_of
from votes.archs.parts.window_network import Init, WindowNetwork


def _pooled(x: Tensor) -> Tensor:
    """Maximum and average over 3x3 at half size, next to each other."""
    return torch.cat((F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1)), 1)


class TSAFusion(nn.Module):
    """Temporal and spatial attention: weighs each frame by its likeness to the centre, then each place."""

    def __init__(self, num_feat: int, num_frame: int, centre: int):
        super().__init__()
        self.centre = centre
        self.temporal_attn1 = conv3x3(num_feat, num_feat)
        self.temporal_attn2 = conv3x3(num_feat, num_feat)
        self.feat_fusion = nn.Conv2d(num_frame * num_feat, num_feat, 1)
        self.spatial_attn1 = nn.Conv2d(num_frame * num_feat, num_feat, 1)
        self.spatial_attn2 = nn.Conv2d(num_feat * 2, num_feat, 1)
        self.spatial_attn3 = conv3x3(num_feat, num_feat)
        self.spatial_attn4 = nn.Conv2d(num_feat, num_feat, 1)
        self.spatial_attn5 = conv3x3(num_feat, num_feat)
        self.spatial_attn_l1 = nn.Conv2d(num_feat, num_feat, 1)
        self.spatial_attn_l2 = conv3x3(num_feat * 2, num_feat)
        self.spatial_attn_l3 = conv3x3(num_feat, num_feat)
        self.spatial_attn_add1 = nn.Conv2d(num_feat, num_feat, 1)
        self.spatial_attn_add2 = nn.Conv2d(num_feat, num_feat, 1)

    def forward(self, aligned: Tensor) -> Tensor:
        """(B, T, C, h, w) -> (B, C, h, w)."""
        reference = self.temporal_attn1(aligned[:, self.centre]).unsqueeze(1)
        embedding = self.temporal_attn2(aligned.flatten(0, 1)).view_as(aligned)
        likeness = (embedding * reference).sum(2, keepdim=True).sigmoid()
        weighted = (aligned * likeness).flatten(1, 2)
        feature = lrelu(self.feat_fusion(weighted))
        attention = lrelu(self.spatial_attn2(_pooled(lrelu(self.spatial_attn1(weighted)))))
        level = lrelu(self.spatial_attn_l2(_pooled(lrelu(self.spatial_attn_l1(attention)))))
        level = upsample(lrelu(self.spatial_attn_l3(level)), 2)
        attention = lrelu(self.spatial_attn4(lrelu(self.spatial_attn3(attention)) + level))
        attention = self.spatial_attn5(upsample(attention, 2))
        added = self.spatial_attn_add2(lrelu(self.spatial_attn_add1(attention)))
        return feature * attention.sigmoid() * 2 + added


class PreDeblur(nn.Module):
    """First features of frames that are blurred or compressed, from three sizes of them.

    Args:
        halvings: of what comes in, for frames as large as the output.
    """

    def __init__(self, num_in_ch: int, num_feat: int, halvings: int):
        super().__init__()
        self.halvings = halvings
        self.conv_first = conv3x3(num_in_ch, num_feat)
        for i in range(1, halvings + 1):
            self.add_module(f'stride_conv_hr{i}', conv3x3(num_feat, num_feat, stride=2))
        self.stride_conv_l2 = conv3x3(num_feat, num_feat, stride=2)
        self.stride_conv_l3 = conv3x3(num_feat, num_feat, stride=2)
        self.resblock_l3 = ResidualBlock(num_feat)
        self.resblock_l2_1, self.resblock_l2_2 = ResidualBlock(num_feat), ResidualBlock(num_feat)
        self.resblock_l1 = residual_blocks(5, num_feat)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, h, w) -> (B, C, h / 2**halvings, w / 2**halvings), which are multiples of 4."""
        level1 = lrelu(self.conv_first(x))
        for i in range(1, self.halvings + 1):
            level1 = lrelu(self.get_submodule(f'stride_conv_hr{i}')(level1))
        level2 = lrelu(self.stride_conv_l2(level1))
        level3 = self.resblock_l3(lrelu(self.stride_conv_l3(level2)))
        level2 = self.resblock_l2_2(self.resblock_l2_1(level2) + upsample(level3, 2))
        level1 = self.resblock_l1[:2](level1) + upsample(level2, 2)
        return self.resblock_l1[2:](level1)


class EDVR(WindowNetwork):
    """(B, T, 3, h, w) RGB in [0, 1], h and w multiples of 4 -> (B, 3, S*h, S*w); keys of the state_dict as in BasicSR.

    With `hr_in` the size stays: h and w are multiples of 4 * scale.

    Args:
        hr_in: frames are as large as the output, and made smaller by `scale` inside; with `with_predeblur` only, as the
            sizes of BasicSR's network fit only there. Not of scale 3.
        with_predeblur: a module in place of the first convolution that restores blurred frames.
        with_tsa: temporal and spatial attention, or a 1x1 convolution in its place.
        scale: 1, 2, 3 or 4 (BasicSR: always 4).
        init: how weights start, see WindowNetwork.
        Others: see WindowNetwork.
    """

    small = {**WindowNetwork.small, 'scale': 2}

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_frame: int = 5,
        deformable_groups: int = 8,
        num_extract_block: int = 5,
        num_reconstruct_block: int = 10,
        center_frame_idx: int | None = None,
        hr_in: bool = False,
        with_predeblur: bool = False,
        with_tsa: bool = True,
        scale: int = 4,
        init: Init = 'default',
    ):
        if hr_in and (not with_predeblur or scale not in (2, 4)):
            raise ValueError(f'hr_in needs with_predeblur, and a scale of 2 or 4: {with_predeblur} and {scale}')
        sizes = (num_feat, num_frame, deformable_groups, num_extract_block, num_reconstruct_block)
        super().__init__(num_in_ch, num_out_ch, *sizes, center_frame_idx, scale)
        if hr_in:
            self.scale, self.multiple = 1, 4 * scale
        if with_predeblur:
            del self.conv_first  # the module has one of its own
            self.predeblur = PreDeblur(num_in_ch, num_feat, scale // 2 if hr_in else 0)
            self.conv_1x1 = nn.Conv2d(num_feat, num_feat, 1)
            features = ('predeblur.', 'conv_1x1.', *self.parts['features'][1:])
            self.parts = {**self.parts, 'features': features, 'predeblur': ('predeblur.', 'conv_1x1.')}
        self.fusion = (
            TSAFusion(num_feat, num_frame, self.centre) if with_tsa else nn.Conv2d(num_frame * num_feat, num_feat, 1)
        )
        self.with_tsa, self.with_predeblur = with_tsa, with_predeblur
        self.initialise(init)

    def first_features(self, frames: Tensor) -> Tensor:
        return self.conv_1x1(self.predeblur(frames)) if self.with_predeblur else super().first_features(frames)

    def fuse(self, aligned: Tensor, dfm: Tensor) -> Tensor:
        return self.fusion(aligned if self.with_tsa else aligned.flatten(1, 2))

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """mmagic's names: activated convolutions are modules, and a few layers are called otherwise."""
        plain = {key.replace('.conv.', '.'): value for key, value in weights.items()}
        return renamed(
            plain,
            {
                r'feat_l(\d)_conv(\d)\.': r'conv_l\1_\2.',
                r'pcd_alignment\.': 'pcd_align.',
                r'upsample(\d)\.upsample_conv\.': r'upconv\1.',
            },
        )

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict: of BasicSR or mmagic, whose scale is 4, or of this project."""
        weights = cls.published_weights(weights)
        told = trunk_of(weights)
        with_tsa = 'fusion.temporal_attn1.weight' in weights
        fusion = weights.get('fusion.feat_fusion.weight' if with_tsa else 'fusion.weight')
        if told is None or fusion is None:
            return None
        return fitting(
            cls,
            weights,
            **told,
            num_frame=fusion.shape[1] // told['num_feat'],
            hr_in='predeblur.stride_conv_hr1.weight' in weights,
            with_predeblur='predeblur.conv_first.weight' in weights,
            with_tsa=with_tsa,
            scale=scale_of(weights),
        )

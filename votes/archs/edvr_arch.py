"""EDVR: video restoration with enhanced deformable convolutions (Wang et al., CVPR Workshops 2019)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.parts.blocks import conv3x3, lrelu, upsample
from votes.archs.parts.enlarging import scale_of
from votes.archs.parts.window_network import Init, WindowNetwork, trunk_of


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


class EDVR(WindowNetwork):
    """(B, T, 3, h, w) RGB in [0, 1], h and w multiples of 4 -> (B, 3, S*h, S*w); keys of the state_dict as in BasicSR.

    Args:
        with_tsa: temporal and spatial attention, or a 1x1 convolution in its place.
        hr_in, with_predeblur: False only; BasicSR's variants for deblurring are not part of this project.
        scale: 2, 3 or 4 (BasicSR: always 4).
        init: how weights start, see WindowNetwork.
        Others: see WindowNetwork.
    """

    small = {'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1, 'scale': 2}

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
        super().__init__(
            num_in_ch,
            num_out_ch,
            num_feat,
            num_frame,
            deformable_groups,
            num_extract_block,
            num_reconstruct_block,
            center_frame_idx,
            scale,
        )
        if hr_in or with_predeblur:
            raise ValueError('hr_in and with_predeblur (deblurring at the size of the input) are not supported')
        self.fusion = (
            TSAFusion(num_feat, num_frame, self.centre) if with_tsa else nn.Conv2d(num_frame * num_feat, num_feat, 1)
        )
        self.with_tsa = with_tsa
        self.initialise(init)

    def fuse(self, aligned: Tensor, dfm: Tensor) -> Tensor:
        return self.fusion(aligned if self.with_tsa else aligned.flatten(1, 2))

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict: of BasicSR, whose scale is 4, or of this project."""
        told = trunk_of(weights)
        with_tsa = 'fusion.temporal_attn1.weight' in weights
        fusion = weights.get('fusion.feat_fusion.weight' if with_tsa else 'fusion.weight')
        if told is None or fusion is None or 'fusion.mask_modulation_first.weight' in weights:
            return None
        num_frame = fusion.shape[1] // told['num_feat']
        return {**told, 'num_frame': num_frame, 'with_tsa': with_tsa, 'scale': scale_of(weights)}

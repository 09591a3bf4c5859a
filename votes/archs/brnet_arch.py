"""BRNet: single frames at half size (Ivp-tencent in the NTIRE 2021 challenge)."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.blocks import conv3x3, count_of, residual_blocks
from votes.archs.parts.pictures import DIV2K_MEAN, MeanShift
from votes.archs.parts.published import Weights, fitting, renamed, size_of


class BRNet(nn.Module):
    """(B, 3, h, w) RGB in [0, 1], any size -> the same size, clamped to [0, 1]: the frame itself, nothing is added.

    Pixels of 2x2 become channels; a convolution, residual blocks and a convolution with a skip around them, and back.

    Args:
        n_feats: channels of the features.
        n_resblocks: residual blocks.
    """

    sees = Frame()
    small = {'n_feats': 8, 'n_resblocks': 2}

    def __init__(self, n_feats: int = 64, n_resblocks: int = 8):
        super().__init__()
        # trained as in the release, which means to keep them fixed
        self.sub_mean, self.add_mean = (MeanShift(1.0, DIV2K_MEAN, sign, trained=True) for sign in (-1, 1))
        self.head = nn.Sequential(conv3x3(12, n_feats))
        self.body = residual_blocks(n_resblocks, n_feats, pytorch_init=True)
        self.body.append(conv3x3(n_feats, n_feats))
        self.tail = nn.Sequential(conv3x3(n_feats, 12), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, h, w)."""
        height, width = x.shape[-2:]
        x = F.pad(self.sub_mean(x), (0, width % 2, 0, height % 2), mode='replicate')
        feature = self.head(F.pixel_unshuffle(x, 2))
        x = self.tail(self.body(feature) + feature)[..., :height, :width]
        return self.add_mean(x).clamp(0, 1)

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """The authors' names of the convolutions in residual blocks."""
        return renamed(
            weights, {r'body\.(\d+)\.body\.0\.': r'body.\1.conv1.', r'body\.(\d+)\.body\.2\.': r'body.\1.conv2.'}
        )

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class or of the authors."""
        own = cls.published_weights(weights)
        if 'sub_mean.weight' not in own or 'body.0.conv2.weight' not in own:
            return None
        return fitting(cls, own, n_feats=size_of(own, 'head.0.weight'), n_resblocks=count_of(own, 'body.') - 1)

"""RCAN: image super-resolution using very deep residual channel attention networks (Zhang et al., ECCV 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from votes.archs.contract import Frame
from votes.archs.parts.blocks import conv3x3, count_of
from votes.archs.parts.channel_attention import AttentionTrunk
from votes.archs.parts.pictures import DIV2K_MEAN, MeanShift, enlarging, range_and_mean, scale_of_enlarging
from votes.archs.parts.published import Weights, fitting, renamed, size_of


class RCAN(AttentionTrunk):
    """(B, 3, h, w) RGB in [0, 1] -> (B, 3, S*h, S*w), not clamped; keys of the state_dict as in BasicSR, and those of
    the authors' layers of the mean, sub_mean and add_mean: they were trained, files hold what became of them.

    Args:
        num_in_ch, num_out_ch: channels of the frames.
        num_feat: channels F of the features.
        num_group: residual groups.
        num_block: blocks in each group; 20 in the paper, where BasicSR's default is 16.
        squeeze_factor: the attention has F / squeeze_factor channels between.
        upscale: S, 2, 3, 4 or 8; 1 keeps the size.
        res_scale: factor on what a block adds; the authors' code ignores it.
        img_range: what pixels are multiplied by inside; published weights are made for 255.
        rgb_mean: what is taken from pixels in [0, 1] at the entrance and given back at the exit.
        train_mean: sub_mean and add_mean are trained, as by the authors' code, which means to keep them fixed.
    """

    sees = Frame()
    small = {'num_feat': 8, 'num_group': 2, 'num_block': 1, 'squeeze_factor': 2, 'upscale': 2}

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_group: int = 10,
        num_block: int = 20,
        squeeze_factor: int = 16,
        upscale: int = 4,
        res_scale: float = 1.0,
        img_range: float = 255.0,
        rgb_mean: Sequence[float] = DIV2K_MEAN,
        train_mean: bool = False,
    ):
        super().__init__(num_feat, num_group, num_block, num_feat // squeeze_factor, res_scale)
        self.scale, self.img_range = upscale, img_range
        self.sub_mean = MeanShift(img_range, rgb_mean, -1, train_mean)
        self.conv_first = conv3x3(num_in_ch, num_feat)
        self.upsample = enlarging(upscale, num_feat)
        self.conv_last = conv3x3(num_feat, num_out_ch)
        self.add_mean = MeanShift(img_range, rgb_mean, 1, train_mean)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, S*h, S*w)."""
        features = super().forward(self.conv_first(self.sub_mean(x * self.img_range)))
        return self.add_mean(self.conv_last(self.upsample(features))) / self.img_range

    def published_weights(self, weights: Weights) -> Weights:
        """Weights of the authors' code, or of BasicSR, where the mean is an argument and not in the file."""
        own = {
            f'{name}.{key}': x
            for name in ('sub_mean', 'add_mean')
            for key, x in getattr(self, name).state_dict().items()
        }
        return own | _renamed(weights)

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, of this class, of BasicSR or of the authors' code."""
        own = _renamed(weights)
        between = 'body.0.residual_group.0.rcab.3.attention.1.weight'
        if not {'conv_first.weight', between, 'conv_last.weight', 'conv_after_body.weight'} <= own.keys():
            return None
        num_feat = size_of(own, 'conv_first.weight')
        return fitting(
            cls,
            weights,
            num_in_ch=size_of(own, 'conv_first.weight', 1),
            num_out_ch=size_of(own, 'conv_last.weight'),
            num_feat=num_feat,
            num_group=count_of(own, 'body.'),
            num_block=count_of(own, 'body.0.residual_group.'),
            squeeze_factor=num_feat // max(1, size_of(own, between)),
            upscale=scale_of_enlarging(own, 'upsample.'),
            **range_and_mean(weights),
        )


def _renamed(weights: Weights) -> Weights:
    """The authors' names in BasicSR's words."""
    return renamed(
        weights,
        {
            r'head\.0\.': 'conv_first.',
            r'body\.(\d+)\.body\.(\d+)\.body\.3\.conv_du\.0\.': r'body.\1.residual_group.\2.rcab.3.attention.1.',
            r'body\.(\d+)\.body\.(\d+)\.body\.3\.conv_du\.2\.': r'body.\1.residual_group.\2.rcab.3.attention.3.',
            r'body\.(\d+)\.body\.(\d+)\.body\.([02])\.': r'body.\1.residual_group.\2.rcab.\3.',
            r'body\.(\d+)\.body\.\d+\.(?=weight|bias)': r'body.\1.conv.',
            r'body\.\d+\.(?=weight|bias)': 'conv_after_body.',
            r'tail\.0\.': 'upsample.',
            r'tail\.1\.': 'conv_last.',
        },
    )

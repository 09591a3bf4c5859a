"""EDSR: enhanced deep residual networks for single image super-resolution (Lim et al., CVPR Workshops 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.blocks import conv3x3, count_of, residual_blocks
from votes.archs.parts.pictures import DIV2K_MEAN, channel_mean, enlarging, range_and_mean, scale_of_enlarging
from votes.archs.parts.published import Weights, fitting, renamed, size_of


class EDSR(nn.Module):
    """(B, 3, h, w) RGB in [0, 1] -> (B, 3, S*h, S*w), not clamped; keys of the state_dict as in BasicSR.

    Args:
        num_in_ch, num_out_ch: channels of the frames.
        num_feat: channels F of the features; the paper's baseline has 64, the whole network 256.
        num_block: residual blocks, 16 and 32.
        upscale: S, 2, 3, 4 or 8; 1 keeps the size.
        res_scale: factor on what a block adds, 1 and 0.1.
        img_range: what pixels are multiplied by inside; published weights are made for 255.
        rgb_mean: what is taken from pixels in [0, 1] at the entrance and given back at the exit.
    """

    sees = Frame()
    small = {'num_feat': 8, 'num_block': 2, 'upscale': 2}

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 16,
        upscale: int = 4,
        res_scale: float = 1.0,
        img_range: float = 255.0,
        rgb_mean: Sequence[float] = DIV2K_MEAN,
    ):
        super().__init__()
        self.scale, self.img_range = upscale, img_range
        self.mean: Tensor
        self.register_buffer('mean', channel_mean(rgb_mean), persistent=False)
        self.conv_first = conv3x3(num_in_ch, num_feat)
        self.body = residual_blocks(num_block, num_feat, res_scale, pytorch_init=True)
        self.conv_after_body = conv3x3(num_feat, num_feat)
        self.upsample = enlarging(upscale, num_feat)
        self.conv_last = conv3x3(num_feat, num_out_ch)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, S*h, S*w)."""
        shallow = self.conv_first((x - self.mean) * self.img_range)
        deep = self.conv_after_body(self.body(shallow)) + shallow
        return self.conv_last(self.upsample(deep)) / self.img_range + self.mean

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """Weights of the authors' PyTorch code, whose fixed layers of the mean are the argument `rgb_mean` here."""
        return renamed(
            weights,
            {
                r'(sub|add)_mean\.': None,
                r'head\.0\.': 'conv_first.',
                r'body\.(\d+)\.body\.0\.': r'body.\1.conv1.',
                r'body\.(\d+)\.body\.2\.': r'body.\1.conv2.',
                r'body\.\d+\.(?=weight|bias)': 'conv_after_body.',
                r'tail\.0\.': 'upsample.',
                r'tail\.1\.': 'conv_last.',
            },
        )

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, of this class or of the authors' code."""
        own = cls.published_weights(weights)
        if not {'conv_first.weight', 'body.0.conv1.weight', 'conv_last.weight'} <= own.keys():
            return None
        num_feat = size_of(own, 'conv_first.weight')
        return fitting(
            cls,
            weights,
            num_in_ch=size_of(own, 'conv_first.weight', 1),
            num_out_ch=size_of(own, 'conv_last.weight'),
            num_feat=num_feat,
            num_block=count_of(own, 'body.'),
            upscale=scale_of_enlarging(own, 'upsample.'),
            res_scale=0.1 if num_feat == 256 else 1.0,  # no file says it: the paper's two networks
            **range_and_mean(weights),
        )

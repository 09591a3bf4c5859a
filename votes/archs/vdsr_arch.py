"""VDSR: accurate image super-resolution using very deep convolutional networks (Kim et al., CVPR 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.blocks import count_of, enlarged
from votes.archs.parts.pictures import DIV2K_MEAN, MeanShift, range_and_mean
from votes.archs.parts.published import Weights, fitting, size_of


class VDSR(nn.Module):
    """(B, 3, h, w) RGB in [0, 1] -> (B, 3, S*h, S*w), not clamped: what a chain of convolutions adds to the enlarged
    frame. Keys of the state_dict as in EDSR-PyTorch, which works on three channels where the paper has luma.

    Args:
        num_feat: channels F.
        num_layer: convolutions, 20 in the paper.
        upscale: S: frames are enlarged so often by bicubic interpolation first; 1 for frames that are enlarged already.
        bias: whether convolutions have biases; the older version of EDSR-PyTorch has none.
        img_range: what pixels are multiplied by inside.
        rgb_mean: what is taken from pixels in [0, 1].
    """

    sees = Frame()
    small = {'num_feat': 8, 'num_layer': 4}

    def __init__(
        self,
        num_feat: int = 64,
        num_layer: int = 20,
        upscale: int = 1,
        bias: bool = True,
        img_range: float = 255.0,
        rgb_mean: Sequence[float] = DIV2K_MEAN,
    ):
        super().__init__()
        if num_layer < 2:
            raise ValueError(f'num_layer must be 2 or more, not {num_layer}')
        self.scale, self.img_range = upscale, img_range
        self.sub_mean = MeanShift(img_range, rgb_mean, -1)
        widths = [3, *[num_feat] * (num_layer - 1), 3]
        self.body = nn.Sequential(
            *[
                nn.Sequential(
                    nn.Conv2d(widths[i], widths[i + 1], 3, 1, 1, bias=bias),
                    *([nn.ReLU(inplace=True)] if i < num_layer - 1 else []),
                )
                for i in range(num_layer)
            ]
        )
        self.add_mean = MeanShift(img_range, rgb_mean, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, S*h, S*w)."""
        if self.scale > 1:
            x = enlarged(x, (x.shape[-2] * self.scale, x.shape[-1] * self.scale))
        x = self.sub_mean(x * self.img_range)
        return self.add_mean(self.body(x) + x) / self.img_range

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict; which scale it is for, none tells."""
        if not {'sub_mean.weight', 'body.0.0.weight'} <= weights.keys():
            return None
        return fitting(
            cls,
            weights,
            num_feat=size_of(weights, 'body.0.0.weight'),
            num_layer=count_of(weights, 'body.'),
            bias='body.0.0.bias' in weights,
            **range_and_mean(weights),
        )

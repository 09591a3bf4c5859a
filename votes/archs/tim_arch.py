"""TIM: a U-Net whose decoder is modulated by what its encoder saw (stage I of an anonymous system in track 2 of the
NTIRE 2021 challenge).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.blocks import conv3x3, count_of, lrelu, residual_blocks, upsample
from votes.archs.parts.published import Weights, fitting, size_of


class Modulation(nn.Module):
    """Spatial feature transform: ``x * (1 + scale) + shift``, both found from a guide."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.shared = conv3x3(num_feat, num_feat)
        self.scale, self.shift = conv3x3(num_feat, num_feat), conv3x3(num_feat, num_feat)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """(B, C, h, w) each -> (B, C, h, w)."""
        known = lrelu(self.shared(guide))
        return x * (1 + self.scale(known)) + self.shift(known)


class TIM(nn.Module):
    """(B, 3, h, w) RGB in [0, 1], h and w multiples of 2^(num_level - 1) -> (B, 3, h, w), not clamped.

    The report of the challenge specifies a U-Net with spatial feature transforms in its decoder that the encoder
    guides, its losses and two further stages (EDVR with PreDeblur, and sharpening by edges, see EdgeWeightedUnsharp);
    chosen are widths and depths, and that what it finds is added to the frame.

    Args:
        num_feat: channels of the largest size, twice as many at each smaller one.
        num_level: sizes.
        num_block: residual blocks at each place.
    """

    sees = Frame()
    small = {'num_feat': 8, 'num_level': 2, 'num_block': 1}

    def __init__(self, num_feat: int = 64, num_level: int = 4, num_block: int = 2):
        if num_level < 2:
            raise ValueError(f'num_level is 2 or more, not {num_level}')
        super().__init__()
        self.multiple = 2 ** (num_level - 1)
        widths = [num_feat << level for level in range(num_level)]
        self.conv_first = conv3x3(3, num_feat)
        self.encoders = nn.ModuleList([residual_blocks(num_block, width) for width in widths])
        self.downs = nn.ModuleList([conv3x3(width, 2 * width, 2) for width in widths[:-1]])
        upwards = widths[-2::-1]
        self.ups = nn.ModuleList([conv3x3(2 * width, width) for width in upwards])
        self.modulations = nn.ModuleList([Modulation(width) for width in upwards])
        self.decoders = nn.ModuleList([residual_blocks(num_block, width) for width in upwards])
        self.conv_last = conv3x3(num_feat, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, h, w)."""
        feature, guides = self.conv_first(x), []
        for encoder, down in zip(self.encoders, self.downs, strict=False):
            guides.append(encoder(feature))
            feature = lrelu(down(guides[-1]))
        feature = self.encoders[-1](feature)
        for up, modulation, decoder in zip(self.ups, self.modulations, self.decoders, strict=True):
            feature = decoder(modulation(lrelu(up(upsample(feature, 2))), guides.pop()))
        return self.conv_last(feature) + x

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class."""
        if 'modulations.0.shared.weight' not in weights:
            return None
        return fitting(
            cls,
            weights,
            num_feat=size_of(weights, 'conv_first.weight'),
            num_level=count_of(weights, 'encoders.'),
            num_block=count_of(weights, 'encoders.0.'),
        )

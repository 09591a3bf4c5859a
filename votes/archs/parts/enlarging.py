"""How EDVR, VOTES and the BasicVSR family make pictures of features: sub-pixel convolutions, then two 3x3."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.parts.blocks import conv3x3, lrelu


class Enlarging(nn.Module):
    """A network with these layers, under the names that BasicSR gives them: x4 in two steps, x2 and x3 in one."""

    methods: dict[str, tuple[str, ...]] = {'_restored': ('upconv', 'conv_hr.', 'conv_last.')}

    def add_enlarging(self, num_feat: int, num_out_ch: int, factor: int, in_channels: int | None = None) -> None:
        """Called by constructors where the layers belong.

        Args:
            num_feat: channels between the two steps of x4.
            factor: 2, 3 or 4; 1 for none of the sub-pixel convolutions.
            in_channels: of the features, `num_feat` unless told.
        """
        if factor not in (1, 2, 3, 4):
            raise ValueError(f'scale must be 1, 2, 3 or 4, not {factor}')
        self.factor, in_channels = factor, in_channels or num_feat
        if factor == 4:
            self.upconv1 = conv3x3(in_channels, num_feat * 4)
            self.upconv2 = conv3x3(num_feat, 64 * 4)
        elif factor > 1:
            self.upconv1 = conv3x3(in_channels, 64 * factor**2)
        self.conv_hr = conv3x3(64 if factor > 1 else in_channels, 64)
        self.conv_last = conv3x3(64, num_out_ch)

    def enlarge(self, x: Tensor) -> Tensor:
        """Features (B, C, h, w) -> (B, C_out, factor*h, factor*w)."""
        if self.factor == 4:
            x = lrelu(F.pixel_shuffle(self.upconv1(x), 2))
            x = lrelu(F.pixel_shuffle(self.upconv2(x), 2))
        elif self.factor > 1:
            x = lrelu(F.pixel_shuffle(self.upconv1(x), self.factor))
        return self.conv_last(lrelu(self.conv_hr(x)))


def scale_of(weights: Mapping[str, Tensor]) -> int:
    """The factor, told by the layers that enlarge."""
    if 'upconv2.weight' in weights:
        return 4
    if 'upconv1.weight' not in weights:
        return 1
    return 3 if weights['upconv1.weight'].shape[0] == 576 else 2

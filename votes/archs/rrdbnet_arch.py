"""RRDBNet: the generator of ESRGAN (Wang et al., ECCV Workshops 2018) and of Real-ESRGAN (Wang et al., ICCV Workshops
2021).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.blocks import conv3x3, count_of, kaiming_small_
from votes.archs.parts.published import Weights, fitting, renamed, size_of

FOLDED = {4: 1, 2: 2, 1: 4}  # scale -> how many pixels a side of the input become channels of one
RESIDUAL = 0.2  # factor on what a block adds


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


class ResidualDenseBlock(nn.Module):
    """Five convolutions, each of the input and of what those before it gave; a fifth of the last is added."""

    def __init__(self, num_feat: int, num_grow_ch: int):
        super().__init__()
        widths = [num_feat + i * num_grow_ch for i in range(5)]
        self.conv1, self.conv2, self.conv3, self.conv4 = (conv3x3(width, num_grow_ch) for width in widths[:4])
        self.conv5 = conv3x3(widths[4], num_feat)
        kaiming_small_(self.conv1, self.conv2, self.conv3, self.conv4, self.conv5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        found = [x]
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            found.append(_lrelu(conv(torch.cat(found, 1))))
        return x + RESIDUAL * self.conv5(torch.cat(found, 1))


class RRDB(nn.Module):
    """Residual in residual: three dense blocks, a fifth of whose result is added to the input."""

    compiled_alone = True

    def __init__(self, num_feat: int, num_grow_ch: int):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (ResidualDenseBlock(num_feat, num_grow_ch) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + RESIDUAL * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDBNet(nn.Module):
    """(B, 3, h, w) RGB in [0, 1] -> (B, 3, S*h, S*w), not clamped; keys of the state_dict as in BasicSR, those of
    the ESRGAN repository, old and new, are read.

    The network enlarges 4 times. For S = 2 and S = 1 squares of 2 and of 4 pixels of the input are channels of one, so
    that h and w are multiples of 2 and of 4.

    Args:
        num_in_ch, num_out_ch: channels of the frames.
        scale: S, 4, 2 or 1.
        num_feat: channels F of the features.
        num_block: RRDBs, 23 in the papers, 6 in Real-ESRGAN's network of drawings.
        num_grow_ch: channels that a convolution of a dense block adds.
        upsampling: false, of scale 1, for features at the size of the input and nothing that enlarges them, as pSMGF in
            the NTIRE 2021 challenge has it.
    """

    sees = Frame()
    small = {'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4, 'scale': 2}

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        scale: int = 4,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
        upsampling: bool = True,
    ):
        super().__init__()
        if scale not in FOLDED or (scale > 1 and not upsampling):
            raise ValueError(f'scale must be 4, 2 or 1, and 1 without upsampling, not {scale}')
        self.scale, self.multiple = scale, FOLDED[scale] if upsampling else 1
        self.conv_first = conv3x3(num_in_ch * self.multiple**2, num_feat)
        self.body = nn.Sequential(*[RRDB(num_feat, num_grow_ch) for _ in range(num_block)])
        self.conv_body = conv3x3(num_feat, num_feat)
        self.upsampling = upsampling
        if upsampling:
            self.conv_up1 = conv3x3(num_feat, num_feat)
            self.conv_up2 = conv3x3(num_feat, num_feat)
        self.conv_hr = conv3x3(num_feat, num_feat)
        self.conv_last = conv3x3(num_feat, num_out_ch)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, S*h, S*w)."""
        shallow = self.conv_first(F.pixel_unshuffle(x, self.multiple))
        deep = self.conv_body(self.body(shallow)) + shallow
        for conv in (self.conv_up1, self.conv_up2) if self.upsampling else ():
            deep = _lrelu(conv(F.interpolate(deep, scale_factor=2, mode='nearest')))
        return self.conv_last(_lrelu(self.conv_hr(deep)))

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """Weights of the ESRGAN repository, by its names or by the older ones of a sequence of layers."""
        return renamed(
            weights,
            {
                r'RRDB_trunk\.(\d+)\.RDB(\d)\.': r'body.\1.rdb\2.',
                r'trunk_conv\.': 'conv_body.',
                r'upconv([12])\.': r'conv_up\1.',
                r'HRconv\.': 'conv_hr.',
                r'model\.0\.': 'conv_first.',
                r'model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.': r'body.\1.rdb\2.conv\3.',
                r'model\.1\.sub\.\d+\.(?=weight|bias)': 'conv_body.',
                r'model\.3\.': 'conv_up1.',
                r'model\.6\.': 'conv_up2.',
                r'model\.8\.': 'conv_hr.',
                r'model\.10\.': 'conv_last.',
            },
        )

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, of BasicSR or of the ESRGAN repository."""
        own = cls.published_weights(weights)
        if not {'conv_first.weight', 'body.0.rdb1.conv1.weight', 'conv_last.weight'} <= own.keys():
            return None
        channels, num_out_ch = size_of(own, 'conv_first.weight', 1), size_of(own, 'conv_last.weight')
        upsampling = 'conv_up1.weight' in own
        scale = next((scale for scale, n in FOLDED.items() if channels == num_out_ch * n**2), 4) if upsampling else 1
        return fitting(
            cls,
            weights,
            num_in_ch=channels // FOLDED[scale] ** 2 if upsampling else channels,
            num_out_ch=num_out_ch,
            scale=scale,
            num_feat=size_of(own, 'conv_first.weight'),
            num_block=count_of(own, 'body.'),
            num_grow_ch=size_of(own, 'body.0.rdb1.conv1.weight'),
            upsampling=upsampling,
        )

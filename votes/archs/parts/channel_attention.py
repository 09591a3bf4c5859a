"""Channel attention (Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks", ECCV
2018), with BasicSR's names.
"""

from __future__ import annotations

from torch import Tensor, nn

from votes.archs.parts.blocks import conv3x3
from votes.archs.parts.published import Weights, renamed


class ChannelAttention(nn.Module):
    """x times a factor in (0, 1) for each channel, which follows from all channels' means over the picture.

    Args:
        num_feat: channels C.
        hidden: channels of the layer between.
        bias: of both layers.
    """

    def __init__(self, num_feat: int, hidden: int, bias: bool = True):
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(num_feat, hidden, 1, bias=bias),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, num_feat, 1, bias=bias),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x * self.attention(x)


class RCAB(nn.Module):
    """x + res_scale * attention(conv(ReLU(conv(x)))); the ReLU leaks by `slope` below zero."""

    compiled_alone = True

    def __init__(self, num_feat: int, hidden: int, res_scale: float = 1.0, slope: float = 0.0):
        super().__init__()
        self.res_scale = res_scale
        self.rcab = nn.Sequential(
            conv3x3(num_feat, num_feat),
            nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True),
            conv3x3(num_feat, num_feat),
            ChannelAttention(num_feat, hidden),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        change = self.rcab(x)
        return x + (change if self.res_scale == 1 else change * self.res_scale)


class ResidualGroup(nn.Module):
    """Blocks with channel attention, a convolution, and the input added."""

    def __init__(self, num_feat: int, hidden: int, num_block: int, res_scale: float = 1.0):
        super().__init__()
        self.residual_group = nn.Sequential(*[RCAB(num_feat, hidden, res_scale) for _ in range(num_block)])
        self.conv = conv3x3(num_feat, num_feat)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return self.conv(self.residual_group(x)) + x


class AttentionTrunk(nn.Module):
    """Groups of blocks with channel attention, a convolution, and the input added: residual in residual.

    Args:
        num_feat: channels C.
        num_group: groups.
        num_block: blocks in each.
        hidden: channels between, in the attention.
        res_scale: factor on what a block adds.
    """

    def __init__(self, num_feat: int, num_group: int, num_block: int, hidden: int, res_scale: float = 1.0):
        super().__init__()
        self.body = nn.Sequential(*[ResidualGroup(num_feat, hidden, num_block, res_scale) for _ in range(num_group)])
        self.conv_after_body = conv3x3(num_feat, num_feat)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return self.conv_after_body(self.body(features)) + features


def rcvn_trunk(weights: Weights, prefix: str) -> Weights:
    """Weights of RCVN, whose names of a trunk that begin with `prefix` (a regular expression) become these here."""
    group = rf'({prefix})rg\.(\d+)\.module\.'
    return renamed(
        weights,
        {
            rf'{group}(\d+)\.module\.3\.module\.': r'\1body.\2.residual_group.\3.rcab.3.attention.',
            rf'{group}(\d+)\.module\.': r'\1body.\2.residual_group.\3.rcab.',
            rf'{group}\d+\.(?=weight|bias)': r'\1body.\2.conv.',
            rf'({prefix})recons\.': r'\1conv_after_body.',
        },
    )

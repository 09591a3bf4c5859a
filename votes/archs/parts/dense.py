"""Residual dense blocks (Zhang et al., "Residual Dense Network for Image Super-Resolution", CVPR 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from votes.archs.parts.blocks import conv3x3


class DenseLayer(nn.Module):
    """cat(x, ReLU(conv(x)))."""

    def __init__(self, in_channels: int, growth: int):
        super().__init__()
        self.conv = nn.Sequential(conv3x3(in_channels, growth), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.conv(x)), 1)


class ResidualDenseBlock(nn.Module):
    """Dense layers, a 1x1 convolution back to `num_feat` channels, and the input added."""

    compiled_alone = True

    def __init__(self, num_feat: int, num_layer: int, growth: int):
        super().__init__()
        self.convs = nn.Sequential(*[DenseLayer(num_feat + i * growth, growth) for i in range(num_layer)])
        self.LFF = nn.Conv2d(num_feat + num_layer * growth, num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.LFF(self.convs(x)) + x


class ResidualDenseTrunk(nn.Module):
    """The features of a residual dense network: two convolutions, blocks whose outputs are fused, and the first
    features added.

    Args:
        first: the first convolution, to num_feat channels (G0).
        num_block: blocks (D).
        num_layer: dense layers in a block (C).
        growth: channels that a layer adds (G).
    """

    def __init__(self, first: nn.Conv2d, num_block: int, num_layer: int, growth: int):
        super().__init__()
        num_feat = first.out_channels
        self.SFENet1 = first
        self.SFENet2 = conv3x3(num_feat, num_feat)
        self.RDBs = nn.ModuleList([ResidualDenseBlock(num_feat, num_layer, growth) for _ in range(num_block)])
        self.GFF = nn.Sequential(nn.Conv2d(num_block * num_feat, num_feat, 1), conv3x3(num_feat, num_feat))

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, G0, H, W)."""
        shallow = self.SFENet1(x)
        x = self.SFENet2(shallow)
        outputs = []
        for block in self.RDBs:
            x = block(x)
            outputs.append(x)
        return self.GFF(torch.cat(outputs, 1)) + shallow

"""CVQENet: alignment of EDVR, and a nested U-Net (VIP&DJI in the NTIRE 2021 challenge)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.edvr_arch import TSAFusion
from votes.archs.parts.attention import ECA
from votes.archs.parts.blocks import check_window, conv3x3, count_of, residual_blocks
from votes.archs.parts.edvr_names import edvr_names
from votes.archs.parts.pcd import PCDAlignment
from votes.archs.parts.published import Weights, fitting, renamed, size_of

# x[i, j] of the nested U-Net, i halvings below the frame and the j-th of its size, in the order in which they are made:
# the attention through which each input goes, those of its size and at last what is enlarged (3 and 10 serve nothing)
NODES = {
    (1, 0): (0,),
    (0, 1): (1, 2),
    (2, 0): (4,),
    (1, 1): (5, 6),
    (0, 2): (7, 8, 9),
    (3, 0): (11,),
    (2, 1): (12, 13),
    (1, 2): (14, 15, 16),
    (0, 3): (17, 18, 19, 20),
}
UP = {1: 'UpConv_64', 2: 'UpConv_96', 3: 'UpConv_128'}  # their names, after the channels of a network half as wide

_blocks = partial(residual_blocks, pytorch_init=True)


def _layer(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(conv3x3(in_channels, out_channels, stride), nn.ReLU(inplace=True))


class _Input(nn.Module):
    def __init__(self, num_feat: int):
        super().__init__()
        self.head = _layer(num_feat, num_feat)
        self.InputConv = _blocks(1, num_feat)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.InputConv(x) + x


class _Down(nn.Module):
    def __init__(self, num_feat: int, num_block: int):
        super().__init__()
        self.body = _blocks(num_block, num_feat)
        self.DownConv = _layer(num_feat, num_feat, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.DownConv(self.body(x) + x)


class _Up(nn.Module):
    def __init__(self, num_feat: int, inputs: int, num_block: int):
        super().__init__()
        self.UpConv = nn.Sequential(conv3x3(num_feat, 4 * num_feat), nn.PixelShuffle(2), nn.ReLU(inplace=True))
        self.head = _layer(inputs * num_feat, num_feat)
        self.conv = _blocks(num_block, num_feat)

    def forward(self, same: list[Tensor], lower: Tensor) -> Tensor:
        x = self.head(torch.cat((*same, self.UpConv(lower)), 1))
        return self.conv(x) + x


class NestedUNet(nn.Module):
    """Four sizes; each node sees all nodes of its size before it, and the one below, through attention of their own.

    (B, C, h, w), h and w multiples of 8 -> (B, C, h, w).
    """

    def __init__(self, num_feat: int, num_block: int):
        super().__init__()
        self.InputConv = _Input(num_feat)
        self.ECA = nn.ModuleDict({str(i): ECA() for places in NODES.values() for i in places})
        self.DownConv = nn.ModuleList([_Down(num_feat, num_block) for _ in range(3)])
        self.UpConv_64 = nn.ModuleList([_Up(num_feat, 2, num_block) for _ in range(3)])
        self.UpConv_96 = nn.ModuleList([_Up(num_feat, 3, num_block) for _ in range(2)])
        self.UpConv_128 = _Up(num_feat, 4, num_block)
        self.OutConv = nn.ModuleDict({'OutConv': conv3x3(num_feat, num_feat)})

    def forward(self, x: Tensor) -> Tensor:
        nodes = {(0, 0): self.InputConv(x)}
        for (level, number), places in NODES.items():
            sources = [(level, j) for j in range(number)]
            sources.append((level + 1, number - 1) if number else (level - 1, 0))
            *same, other = (self.ECA[str(i)](nodes[source]) for i, source in zip(places, sources, strict=True))
            if number == 0:
                nodes[level, 0] = self.DownConv[level - 1](other)
            else:
                up = self.get_submodule(UP[number] if number == 3 else f'{UP[number]}.{level}')
                nodes[level, number] = up(same, other)
        return self.OutConv['OutConv'](nodes[0, 3])


class CVQENet(nn.Module):
    """(B, 5, 3, h, w) RGB in [0, 1], h and w multiples of 8 -> the centre frame (B, 3, h, w), not clamped.

    Features in three sizes (the third by the convolutions of the second once more, as released), alignment and fusion
    of EDVR, a nested U-Net, and residual blocks of what it finds and the centre's first features.

    Args:
        nf: channels; published weights have 64.
        b1: residual blocks of the features.
        b2: residual blocks of the reconstruction; one less in each node of the nested U-Net.
    """

    sees = Window(5)
    multiple = 8
    parts = {
        'features': ('conv_first.', 'feature_extraction.', 'conv_l2_'),
        'alignment': ('pcd_align.',),
        'deformable': ('pcd_align.dcn_pack.', 'pcd_align.cas_dcnpack.'),
        'fusion': ('fusion.',),
        'enhancement': ('qe.',),
        'reconstruction': ('reconstruction.', 'conv_last.'),
    }
    small = {'nf': 8, 'b1': 1, 'b2': 2}

    def __init__(self, nf: int = 64, b1: int = 10, b2: int = 20):
        super().__init__()
        self.conv_first = conv3x3(3, nf)
        self.feature_extraction = _blocks(b1, nf)
        self.conv_l2_1 = conv3x3(nf, nf, stride=2)
        self.conv_l2_2 = conv3x3(nf, nf)
        self.pcd_align = PCDAlignment(nf, 8)
        self.fusion = TSAFusion(nf, self.sees.frames, self.sees.centre)
        self.qe = NestedUNet(nf, b2 - 1)
        self.reconstruction = _blocks(b2, nf)
        self.conv_last = conv3x3(nf, 3)

    def _halved(self, x: Tensor) -> Tensor:
        return F.relu(self.conv_l2_2(F.relu(self.conv_l2_1(x))))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 5, 3, h, w) -> (B, 3, h, w)."""
        check_window(x, self.sees.frames, self.multiple)
        shape, centre = x.shape[:2], self.sees.centre
        shallow = F.relu(self.conv_first(x.flatten(0, 1)))
        pyramid = [self.feature_extraction(shallow)]
        for _ in range(2):
            pyramid.append(self._halved(pyramid[-1]))
        aligned = self.pcd_align(pyramid, [level.unflatten(0, shape)[:, centre] for level in pyramid])
        found = self.qe(self.fusion(aligned.unflatten(0, shape)))
        found = self.reconstruction(found + shallow.unflatten(0, shape)[:, centre])
        return self.conv_last(found) + x[:, centre]

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """The authors' names, without what has no effect: convolutions of a third size, and two attentions."""
        return renamed(weights, {r'fea_L3_': None, r'qe\.ECA\.(3|10)\.': None, **edvr_names()})

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class or of the authors."""
        own = cls.published_weights(weights)
        if 'qe.OutConv.OutConv.weight' not in own or 'pcd_align.cas_dcnpack.weight' not in own:
            return None
        return fitting(
            cls,
            own,
            nf=size_of(own, 'conv_first.weight'),
            b1=count_of(own, 'feature_extraction.'),
            b2=count_of(own, 'reconstruction.'),
        )

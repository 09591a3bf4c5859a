"""SMGF: fusion of adjacent and of peak-quality frames, and a gate between two models (BILIBILI AI and FDU, the first of
track 1 in the NTIRE 2021 challenge).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.parts.blocks import check_window, conv3x3, count_of
from votes.archs.parts.channel_attention import ChannelAttention
from votes.archs.parts.deformable_fusion import DeformableFusion
from votes.archs.parts.gated_fusion import between, gate_of
from votes.archs.parts.published import Weights, fitting, size_of
from votes.archs.windows import Pick


class AdaptiveBlock(nn.Module):
    """Ada-WDSR-A: ``alpha * x + beta * attention(conv(ReLU(conv(x))))``, wide in between; alpha starts at 1, beta at
    0.2.
    """

    compiled_alone = True

    def __init__(self, num_feat: int, wide: int):
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(num_feat, wide),
            nn.ReLU(inplace=True),
            conv3x3(wide, num_feat),
            ChannelAttention(num_feat, max(num_feat // 16, 1)),
        )
        self.alpha, self.beta = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(0.2))

    def forward(self, x: Tensor) -> Tensor:
        return self.alpha * x + self.beta * self.body(x)


class _Fusion(nn.Module):
    """One model: the fusion of STDF over all planes, then adaptive blocks; their result is added to the frame."""

    def __init__(self, planes: int, nf: int, nb: int, fused_nf: int, num_feat: int, wide: int, num_block: int):
        super().__init__()
        self.ffnet = DeformableFusion(planes, nf, nb, fused_nf)
        self.in_conv = conv3x3(fused_nf, num_feat)
        self.blocks = nn.Sequential(*[AdaptiveBlock(num_feat, wide) for _ in range(num_block)])
        self.out_conv = conv3x3(num_feat, 3)

    def forward(self, planes: Tensor, frame: Tensor) -> Tensor:
        return self.out_conv(self.blocks(self.in_conv(self.ffnet(planes)))) + frame


class SMGF(nn.Module):
    """(B, 9, 3, h, w) RGB in [0, 1], h and w multiples of 2^nb -> the centre frame (B, 3, h, w), not clamped.

    The report of the challenge specifies the choice of frames (on each side the adjacent one, then those of peak
    quality, the farthest again where there are no more), fusion as in STDF, the blocks with their widths, and the gate
    ``M * first + (1 - M) * second``; chosen are STDF's sizes, that 128 are the channels of what is fused and 96 the
    blocks, the place of the attention, and three convolutions for the gate.

    Args:
        radius: frames on each side.
        nf, nb, fused_nf: of the fusion, see parts.deformable_fusion.
        num_feat, wide, num_block: channels of the blocks, of their insides, and blocks.
        gated: two models, between which a gate decides everywhere; false: one.
        pick: frames that are picked, see archs.contract.Window: 'anchors' in track 3, whose videos have I and P frames.
    """

    small = {'radius': 2, 'nf': 4, 'nb': 2, 'fused_nf': 8, 'num_feat': 8, 'wide': 16, 'num_block': 1, 'gated': True}

    def __init__(
        self,
        radius: int = 4,
        nf: int = 32,
        nb: int = 3,
        fused_nf: int = 128,
        num_feat: int = 64,
        wide: int = 256,
        num_block: int = 96,
        gated: bool = False,
        pick: Pick = 'peaks',
    ):
        super().__init__()
        self.sees = Window(2 * radius + 1, pick=pick, adjacent=True)
        self.multiple = 2**nb
        size = 3 * self.sees.frames, nf, nb, fused_nf, num_feat, wide, num_block
        self.models = nn.ModuleList([_Fusion(*size) for _ in range(2 if gated else 1)])
        self.gate: nn.Sequential | None = None
        self.parts = {
            'alignment': tuple(f'models.{i}.ffnet.' for i in range(len(self.models))),
            'deformable': tuple(
                f'models.{i}.ffnet.{name}.' for i in range(len(self.models)) for name in ('offset_mask', 'deform_conv')
            ),
        }
        if gated:
            self.gate = gate_of(num_feat)
            self.parts |= {'first': ('models.0.',), 'second': ('models.1.',), 'gate': ('gate.',)}

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, 3, h, w) -> (B, 3, h, w)."""
        check_window(x, self.sees.frames, self.multiple)
        frame = x[:, self.sees.centre]
        planes = x.transpose(1, 2).flatten(1, 2)
        found = [model(planes, frame) for model in self.models]
        if self.gate is None:
            return found[0]
        return between(self.gate, found[0], found[1], frame)

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class."""
        if 'models.0.blocks.0.alpha' not in weights:
            return None
        prefix = 'models.0.'
        return fitting(
            cls,
            weights,
            radius=size_of(weights, f'{prefix}ffnet.in_conv.0.weight', 1) // 6,
            nf=size_of(weights, f'{prefix}ffnet.in_conv.0.weight'),
            nb=1 + sum(key.startswith(f'{prefix}ffnet.dn_conv') and key.endswith('.0.weight') for key in weights),
            fused_nf=size_of(weights, f'{prefix}ffnet.deform_conv.weight'),
            num_feat=size_of(weights, f'{prefix}in_conv.weight'),
            wide=size_of(weights, f'{prefix}blocks.0.body.0.weight'),
            num_block=count_of(weights, f'{prefix}blocks.'),
            gated='gate.0.weight' in weights,
        )

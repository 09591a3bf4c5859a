"""STDF: spatio-temporal deformable fusion for the enhancement of compressed video (Deng et al., AAAI 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.parts.blocks import check_window, conv3x3, count_of, upsample
from votes.archs.parts.deformable_fusion import DeformableFusion, with_relus


class Enhancement(nn.Module):
    """The residual of the centre frame from fused features, by a plain chain of `qe_nb` convolutions."""

    def __init__(self, fused_nf: int, qe_nf: int, qe_nb: int, out_channels: int):
        super().__init__()
        self.in_conv = with_relus(conv3x3(fused_nf, qe_nf))
        self.hid_conv = with_relus(*(conv3x3(qe_nf, qe_nf) for _ in range(qe_nb - 2)))
        self.out_conv = conv3x3(qe_nf, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_conv(self.hid_conv(self.in_conv(x)))


class STDF(nn.Module):
    """(B, 2*radius + 1, in_nc, h, w) in [0, 1], h and w multiples of 2**nb -> the centre frame (B, in_nc, S*h, S*w),
    not clamped.

    Keys of the state_dict as in the first public implementation. Inside, the maps of a window lie channel by channel:
    all frames of red, then of green, then of blue.

    Args:
        radius: frames before and after the centre: 1 (R1) or 3 (R3).
        in_nc: 1 restores luma, 3 RGB.
        nf, nb: channels and halvings of the network that finds the offsets.
        fused_nf: channels of the fused features.
        qe_nf, qe_nb: channels and layers of the enhancement.
        scale: 1 as in the paper. Larger: the last layer makes scale**2 pixels of each, and what is added is the
            enlarged centre frame (bilinear); there are no published weights of it.
    """

    parts = {
        'alignment': ('ffnet.',),
        'deformable': ('ffnet.offset_mask.', 'ffnet.deform_conv.'),
        'enhancement': ('qenet.',),
    }
    small = {'radius': 1, 'in_nc': 3, 'nf': 4, 'nb': 2, 'fused_nf': 4, 'qe_nf': 4, 'qe_nb': 3, 'scale': 2}

    def __init__(
        self,
        radius: int = 3,
        in_nc: int = 1,
        nf: int = 32,
        nb: int = 3,
        fused_nf: int = 64,
        qe_nf: int = 48,
        qe_nb: int = 8,
        scale: int = 1,
    ):
        super().__init__()
        if radius < 1 or nb < 1 or qe_nb < 2 or scale not in (1, 2, 3, 4):
            raise ValueError(
                f'radius {radius}, nb {nb}, qe_nb {qe_nb}, scale {scale}: 1 or more, 1 or more, 2 or more, 1 to 4'
            )
        self.radius, self.scale = radius, scale
        self.sees = Window(2 * radius + 1)
        self.multiple = 2**nb
        if in_nc == 1:
            self.channels = 'luma'
            self.supervised = {'l_pix': {'output': 'luma', 'target': 'gt_luma'}}
        self.ffnet = DeformableFusion(self.sees.frames * in_nc, nf, nb, fused_nf)
        self.qenet = Enhancement(fused_nf, qe_nf, qe_nb, in_nc * scale**2)

    def forward(self, x: Tensor) -> Tensor:
        check_window(x, self.sees.frames, self.multiple)
        residual = self.qenet(self.ffnet(x.transpose(1, 2).flatten(1, 2)))
        centre = x[:, self.radius]
        if self.scale == 1:
            return centre + residual
        return upsample(centre, self.scale) + F.pixel_shuffle(residual, self.scale)

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, of luma or RGB."""
        characteristic = (
            'ffnet.in_conv.0',
            'ffnet.offset_mask',
            'ffnet.deform_conv',
            'qenet.in_conv.0',
            'qenet.out_conv',
        )
        if not all(f'{name}.weight' in weights for name in characteristic) or 'fuse.0.weight' in weights:  # RFDA's
            return None
        out, maps = weights['qenet.out_conv.weight'].shape[0], weights['ffnet.in_conv.0.weight'].shape[1]
        in_nc = 1 if math.isqrt(out) ** 2 == out else 3
        return {
            'radius': maps // in_nc // 2,
            'in_nc': in_nc,
            'nf': weights['ffnet.in_conv.0.weight'].shape[0],
            'nb': 1 + sum(1 for key in weights if key.startswith('ffnet.dn_conv') and key.endswith('.0.weight')),
            'fused_nf': weights['ffnet.deform_conv.weight'].shape[0],
            'qe_nf': weights['qenet.in_conv.0.weight'].shape[0],
            'qe_nb': 2 + (count_of(weights, 'qenet.hid_conv.') + 1) // 2,
            'scale': math.isqrt(out // in_nc),
        }

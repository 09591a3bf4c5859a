"""PEN: a parallel enhancement network of compressed video (McEnhance in the NTIRE 2021 challenge)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.edvr_arch import EDVR
from votes.archs.parts.blocks import check_window, conv3x3, count_of
from votes.archs.parts.deformable_fusion import DeformableFusion
from votes.archs.parts.edvr_names import edvr_names
from votes.archs.parts.published import Weights, fitting, renamed, size_of
from votes.archs.stdf_arch import Enhancement

STDF_SIZE = {'in_nc': 3, 'out_nc': 64, 'nf': 32, 'nb': 3, 'deform_ks': 3}
QENET_SIZE = {'in_nc': 64, 'nf': 48, 'nb': 4, 'out_nc': 3}
EDVR_SIZE = {'nf': 64, 'groups': 2, 'front_RBs': 3, 'back_RBs': 3}


class SameSizeEDVR(EDVR):
    """EDVR whose last convolution follows its residual blocks: what it makes is as large as its input."""

    def add_enlarging(self, num_feat: int, num_out_ch: int, factor: int, in_channels: int | None = None) -> None:
        self.factor = factor
        self.conv_last = conv3x3(in_channels or num_feat, num_out_ch)

    def enlarge(self, x: Tensor) -> Tensor:
        return self.conv_last(x)


def _sizes(given: Mapping[str, int] | None, default: Mapping[str, int], what: str) -> dict[str, int]:
    unknown = set(given or {}) - set(default)
    if unknown:
        raise ValueError(f'{what} has no {", ".join(sorted(unknown))}; it has {", ".join(default)}')
    return {**default, **(given or {})}


class PEN(nn.Module):
    """(B, 2*radius + 1, 3, h, w) RGB in [0, 1], the frame between its neighbours of peak quality, h and w multiples of
    2^nb and of 4 -> (B, 3, h, w), not clamped: the mean of two branches.

    The first is STDF, over the planes of all frames: red, then green, then blue ones. The second is EDVR, its two
    deformable groups as published.

    Args:
        radius: peaks on either side.
        stdf: in_nc planes of a frame, nf channels and nb halvings of what finds the offsets, out_nc fused channels,
            deform_ks 3.
        qenet: in_nc (stdf.out_nc), nf channels and nb convolutions of what follows it, out_nc 3.
        edvr: nf channels, deformable groups, residual blocks before alignment (front_RBs) and after (back_RBs).
        red_base: the first branch is added to the red plane of the frame in all three channels, as published weights
            were trained; false: to the frame.
    """

    parts = {
        'stdf': ('ffnet.', 'qenet.'),
        'edvr': ('edvr.',),
        'deformable': (
            'ffnet.offset_mask.',
            'ffnet.deform_conv.',
            'edvr.pcd_align.dcn_pack.',
            'edvr.pcd_align.cas_dcnpack.',
        ),
    }
    small = {
        'stdf': {'nf': 4, 'nb': 2, 'out_nc': 4},
        'qenet': {'in_nc': 4, 'nf': 4, 'nb': 3},
        'edvr': {'nf': 8, 'front_RBs': 1, 'back_RBs': 1},
    }

    def __init__(
        self,
        radius: int = 1,
        stdf: dict[str, int] | None = None,
        qenet: dict[str, int] | None = None,
        edvr: dict[str, int] | None = None,
        red_base: bool = True,
    ):
        super().__init__()
        first, plain = _sizes(stdf, STDF_SIZE, 'stdf'), _sizes(qenet, QENET_SIZE, 'qenet')
        second = _sizes(edvr, EDVR_SIZE, 'edvr')
        if first['deform_ks'] != 3 or first['in_nc'] != 3 or plain['out_nc'] != 3 or plain['in_nc'] != first['out_nc']:
            raise ValueError('deform_ks, stdf.in_nc and qenet.out_nc are 3, qenet.in_nc is stdf.out_nc')
        self.radius, self.red_base = radius, red_base
        self.sees = Window(2 * radius + 1, pick='peaks')
        self.multiple = 2 ** max(first['nb'], 2)
        planes = first['in_nc'] * self.sees.frames
        self.ffnet = DeformableFusion(planes, first['nf'], first['nb'], first['out_nc'])
        self.qenet = Enhancement(plain['in_nc'], plain['nf'], plain['nb'], plain['out_nc'])
        self.edvr = SameSizeEDVR(
            num_feat=second['nf'],
            num_frame=self.sees.frames,
            deformable_groups=second['groups'],
            num_extract_block=second['front_RBs'],
            num_reconstruct_block=second['back_RBs'],
            scale=1,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, 3, h, w) -> (B, 3, h, w)."""
        check_window(x, self.sees.frames, self.multiple)
        centre = x[:, self.radius]
        first = self.qenet(self.ffnet(x.transpose(1, 2).flatten(1, 2)))
        return (first + (centre[:, :1] if self.red_base else centre) + self.edvr(x)) / 2

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """The names of EDVR's authors in the second branch."""
        return renamed(weights, edvr_names('edvr.'))

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class or of the authors."""
        own = cls.published_weights(weights)
        if 'edvr.conv_first.weight' not in own or 'ffnet.deform_conv.weight' not in own:
            return None
        nf, fused = size_of(own, 'edvr.conv_first.weight'), size_of(own, 'ffnet.deform_conv.weight')
        return fitting(
            cls,
            own,
            radius=size_of(own, 'ffnet.in_conv.0.weight', 1) // 6,
            stdf={
                'nf': size_of(own, 'ffnet.in_conv.0.weight'),
                'nb': 1 + sum(key.startswith('ffnet.dn_conv') and key.endswith('.0.weight') for key in own),
                'out_nc': fused,
            },
            qenet={
                'in_nc': fused,
                'nf': size_of(own, 'qenet.in_conv.0.weight'),
                'nb': 2 + (count_of(own, 'qenet.hid_conv.') + 1) // 2,
            },
            edvr={
                'nf': nf,
                'groups': size_of(own, 'edvr.pcd_align.cas_dcnpack.conv_offset.weight') // 27,
                'front_RBs': count_of(own, 'edvr.feature_extraction.'),
                'back_RBs': count_of(own, 'edvr.reconstruction.'),
            },
        )

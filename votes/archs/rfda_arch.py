"""RFDA: recursive fusion and deformable spatio-temporal attention for compressed video (Zhao et al., ACM MM 2021)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Causal, run_causal
from votes.archs.parts.blocks import conv3x3, count_of
from votes.archs.parts.deform import DeformConv, offsets_and_masks
from votes.archs.parts.deformable_fusion import DeformableFusion
from votes.archs.parts.luma import set_channels
from votes.archs.stdf_arch import Enhancement

KEPT = 0.2  # share of the recursive fusion in the features
State = dict[str, Tensor]


class DeformableAttention(nn.Module):
    """Weighs features by place and by channel; what it looks at, it finds at small size with offsets (paper, DSTA).

    (B, C, h, w) -> (B, C, h, w), h and w at least 15.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        thin = num_feat // 4
        self.conv1 = nn.Conv2d(num_feat, thin, 1)
        self.conv_f = nn.Conv2d(thin, thin, 1)
        self.conv2 = nn.Conv2d(thin, thin, 3, stride=2)
        self.conv_max = conv3x3(thin, thin)
        self.conv3 = conv3x3(thin, thin)
        self.conv3_ = conv3x3(thin, thin)
        self.down_conv2 = nn.Sequential(conv3x3(thin, thin, 2), nn.ReLU(inplace=True))
        self.mask = conv3x3(thin, 27 * thin)
        self.mask2 = conv3x3(thin, 27 * thin)
        self.dcn = DeformConv(thin, thin)
        self.conv4 = nn.Conv2d(thin, num_feat, 1)
        self.conv_du = nn.Sequential(
            nn.Conv2d(thin, 2 * thin, 1), nn.ReLU(inplace=True), nn.Conv2d(2 * thin, num_feat, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(x)
        small = F.max_pool2d(self.conv2(first), 7, 3)
        seen = F.relu(self.conv_max(small))
        seen = F.relu(self.conv3_(F.relu(self.conv3(seen))))
        coarse = self.mask2(self.down_conv2(seen))
        raw = self.mask(seen) + F.interpolate(coarse, seen.shape[-2:], mode='bilinear', align_corners=False)
        found = F.relu(self.dcn(small, *offsets_and_masks(raw)))
        channels = self.conv_du(found.mean((2, 3), keepdim=True))
        found = F.interpolate(found, x.shape[-2:], mode='bilinear', align_corners=False)
        return x * self.conv4(found + self.conv_f(first)).sigmoid() * channels


class AttentiveEnhancement(Enhancement):
    """STDF's enhancement with attention behind each hidden layer."""

    def __init__(self, fused_nf: int, qe_nf: int, qe_nb: int, out_channels: int):
        super().__init__(fused_nf, qe_nf, qe_nb, out_channels)
        layers: list[nn.Module] = []
        for _ in range(qe_nb - 2):
            layers += [conv3x3(qe_nf, qe_nf), nn.ReLU(inplace=True), DeformableAttention(qe_nf)]
        self.hid_conv = nn.Sequential(*layers)


class RFDA(nn.Module):
    """(B, T, in_nc, h, w) in [0, 1], h and w multiples of 2**nb -> the same, each frame from the `radius` frames on
    both sides of it and from what the frame before left; not clamped.

    Args:
        radius: frames before and after: 3 in the paper.
        in_nc: 1 restores luma, 3 RGB.
        nf, nb: channels and halvings of the networks that find offsets.
        fused_nf: channels of the fused features, which are the state.
        qe_nf, qe_nb: channels and layers of the enhancement.
        att: with attention; without it this is the second stage of the authors' training.
    """

    smallest = 16  # the attention pools over 7x7 at half size
    parts = {
        'fusion': ('ffnet.',),
        'recursion': ('wpnet.', 'fuse.'),
        'deformable': ('ffnet.offset_mask.', 'ffnet.deform_conv.', 'wpnet.offset_mask.', 'wpnet.deform_conv.'),
        'enhancement': ('qenet.',),
    }
    small = {'radius': 1, 'in_nc': 3, 'nf': 4, 'nb': 2, 'fused_nf': 4, 'qe_nf': 8, 'qe_nb': 3}

    def __init__(
        self,
        radius: int = 3,
        in_nc: int = 1,
        nf: int = 32,
        nb: int = 3,
        fused_nf: int = 64,
        qe_nf: int = 48,
        qe_nb: int = 8,
        att: bool = True,
    ):
        super().__init__()
        if radius < 1 or nb < 1 or qe_nb < 2 or (att and qe_nf % 4):
            raise ValueError(f'radius {radius} and nb {nb} must be 1 or more, qe_nb {qe_nb} 2, qe_nf {qe_nf} 4 times n')
        set_channels(self, in_nc)
        self.radius, self.multiple = radius, 2**nb
        self.sees = Causal(look_ahead=radius)
        self.ffnet = DeformableFusion((2 * radius + 1) * in_nc, nf, nb, fused_nf)
        self.wpnet = DeformableFusion(2 * fused_nf, nf, nb, fused_nf, kernel=1)
        self.fuse = nn.Sequential(
            conv3x3(2 * fused_nf, fused_nf), nn.ReLU(inplace=True), conv3x3(fused_nf, fused_nf), nn.ReLU(inplace=True)
        )
        self.qenet = (AttentiveEnhancement if att else Enhancement)(fused_nf, qe_nf, qe_nb, in_nc)

    def step(self, frames: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One frame and the `radius` frames after it, see contract.Causal; the state has those before it, too."""
        before = frames[:, :1].expand(-1, self.radius, -1, -1, -1) if state is None else state['frames']
        fused = self.ffnet(torch.cat((before, frames), 1).transpose(1, 2).flatten(1, 2))
        hidden = self._recursive(fused, None if state is None else state['hidden'])
        after = torch.cat((before, frames[:, :1]), 1)[:, 1:]
        return frames[:, 0] + self.qenet(hidden), {'hidden': hidden, 'frames': after}

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return run_causal(self, x)
        batch, count = x.shape[:2]  # only the recursion goes from frame to frame
        around = torch.arange(-self.radius, self.radius + 1, device=x.device)
        places = (torch.arange(count, device=x.device)[:, None] + around).clamp(0, count - 1)
        windows = x[:, places].flatten(0, 1)  # (B*T, 2*radius + 1, C, h, w)
        fused = self.ffnet(windows.transpose(1, 2).flatten(1, 2)).unflatten(0, (batch, count))
        hidden, found = None, []
        for t in range(count):
            hidden = self._recursive(fused[:, t], hidden)
            found.append(hidden)
        return x + self.qenet(torch.stack(found, 1).flatten(0, 1)).unflatten(0, (batch, count))

    def _recursive(self, fused: Tensor, hidden: Tensor | None) -> Tensor:
        """Features (B, fused_nf, h, w) with what comes of those of the frame before, zeros where there was none."""
        hidden = torch.zeros_like(fused) if hidden is None else hidden.to(fused.dtype)
        warped = self.wpnet(torch.cat((fused, hidden), 1))
        return KEPT * self.fuse(torch.cat((fused, warped), 1)) + fused

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, of this project or of the authors."""
        if not {'wpnet.deform_conv.weight', 'fuse.2.weight', 'qenet.out_conv.weight'} <= weights.keys():
            return None
        nf, maps = weights['ffnet.in_conv.0.weight'].shape[:2]
        in_nc = weights['qenet.out_conv.weight'].shape[0]
        att = 'qenet.hid_conv.2.conv4.weight' in weights
        return {
            'radius': maps // in_nc // 2,
            'in_nc': in_nc,
            'nf': nf,
            'nb': 1 + sum(1 for key in weights if key.startswith('ffnet.dn_conv') and key.endswith('.0.weight')),
            'fused_nf': weights['fuse.2.weight'].shape[0],
            'qe_nf': weights['qenet.out_conv.weight'].shape[1],
            'qe_nb': 2 + (count_of(weights, 'qenet.hid_conv.') + 1) // (3 if att else 2),
            'att': att,
        }

"""OVQE: quality enhancement by omniscient propagation, four times through a clip (Peng et al., IEEE TBC 2022)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Clip
from votes.archs.parts.blocks import conv3x3, count_of, lrelu
from votes.archs.parts.deform import DeformConv, offsets_and_masks
from votes.archs.parts.luma import set_channels
from votes.errors import UserError


def _leaky(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, nn.LeakyReLU(0.1, inplace=True))


def _doubled(x: Tensor) -> Tensor:
    """Bilinear, the corners kept in place, as the public code has it."""
    return F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=True)


class SelectiveFusion(nn.Module):
    """Weighs two inputs, channel by channel, by what both of them show (SKFF)."""

    def __init__(self, num_feat: int):
        super().__init__()
        thin = max(num_feat // 8, 4)
        self.conv_du = nn.Sequential(nn.Conv2d(num_feat, thin, 1, bias=False), nn.PReLU())
        self.fcs = nn.ModuleList(nn.Conv2d(thin, num_feat, 1, bias=False) for _ in range(2))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        told = self.conv_du((first + second).mean((2, 3), keepdim=True))
        weights = torch.stack([fc(told) for fc in self.fcs], 1).softmax(1)
        return first * weights[:, 0] + second * weights[:, 1]


class SelectiveUnet(nn.Module):
    """A U of three halvings that fuses selectively where it comes back up.

    One fusion serves both levels; a second one is in the authors' files and has no influence.
    """

    def __init__(self, nf: int):
        super().__init__()
        for level in range(3):
            self.add_module(f'Down0_{level}', _leaky(conv3x3(nf, nf, 2)))
            self.add_module(f'conv0_{level}', nn.ModuleDict({'conv1': conv3x3(nf, nf)}))
        self.Up1, self.Up2, self.Up3 = (_leaky(nn.ConvTranspose2d(nf, nf, 4, 2, 1)) for _ in range(3))
        self.SKFF_1 = SelectiveFusion(nf)
        self.SKFF_2 = SelectiveFusion(nf).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        down = [x]
        for level in range(3):
            half = self.get_submodule(f'Down0_{level}')(down[-1])
            down.append(lrelu(self.get_submodule(f'conv0_{level}.conv1')(half)))
        up = self.Up1(down[3])[..., : down[2].shape[-2], : down[2].shape[-1]]
        up = self.Up2(self.SKFF_1(up, down[2]))
        return self.Up3(self.SKFF_1(up, down[1])) + x


class DeformableFusion(nn.Module):
    """Fuses maps by a deformable convolution in which each has offsets of its own (paper, STFF)."""

    def __init__(self, maps: int, nf: int, out_nc: int, kernel: int):
        super().__init__()
        self.in_conv = _leaky(conv3x3(maps, nf))
        self.unet = SelectiveUnet(nf)
        self.out_conv = _leaky(conv3x3(nf, nf))
        self.offset_mask = conv3x3(nf, 3 * maps * kernel**2)
        self.deform_conv = DeformConv(maps, out_nc, kernel=kernel)
        bound = (maps * kernel**2) ** -0.5
        nn.init.uniform_(self.deform_conv.bias, -bound, bound)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, maps, h, w) -> (B, out_nc, h, w)."""
        raw = self.offset_mask(self.out_conv(self.unet(self.in_conv(x))))
        return F.relu(self.deform_conv(x, *offsets_and_masks(raw)))


class FrequencyEnhancement(nn.Module):
    """Enhances low, middle and high frequencies one after the other (paper, OFAE).

    Args:
        in_channels, out_channels: where they differ, the input is brought to the latter before it is added.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.high_freq = _leaky(conv3x3(in_channels, out_channels))
        self.mid_freq = _leaky(conv3x3(in_channels, out_channels, 2))
        self.low_freq = _leaky(conv3x3(in_channels, out_channels, 4))
        self.dcn_1 = _leaky(conv3x3(out_channels, out_channels))
        self.dcn_2 = _leaky(conv3x3(out_channels, out_channels))
        self.dcn_3 = _leaky(conv3x3(out_channels, out_channels))
        self.SKFF_1 = SelectiveFusion(out_channels)
        self.SKFF_2 = SelectiveFusion(out_channels)
        layers = (
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(out_channels, out_channels // 32, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels // 32, out_channels, 1),
            nn.Sigmoid(),
        )
        self.se = nn.ModuleDict({'module': nn.Sequential(*layers)})
        self.decrease_dim = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        high, middle, low = self.high_freq(x), self.mid_freq(x), self.low_freq(x)
        high, middle = high - _doubled(middle), middle - _doubled(low)
        found = _doubled(self.dcn_3(low))
        found = _doubled(self.dcn_2(self.SKFF_1(found, middle)))
        found = self.dcn_1(self.SKFF_2(found, high))
        found = found * self.se['module'](found)
        return found + (x if self.decrease_dim is None else self.decrease_dim(x))


class Enhancement(nn.Module):
    """What the four passes found of a frame -> its residual."""

    def __init__(self, out_nc: int, nb: int):
        super().__init__()
        self.in_conv = nn.Sequential(conv3x3(4 * out_nc, out_nc), nn.ReLU(inplace=True))
        self.reconstruct = nn.Sequential(*(FrequencyEnhancement(out_nc, out_nc) for _ in range(nb)))
        self.out_conv = conv3x3(out_nc, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_conv(self.reconstruct(self.in_conv(x)))


class OVQE(nn.Module):
    """(B, T, 1, h, w) luma in [0, 1], h and w multiples of 4 -> (B, T, 1, h, w), not clamped.

    Args:
        in_nc: frames of the window that a frame's first features are made of, odd.
        nf: channels of the networks that find offsets.
        out_nc: channels of the features, at least 32.
        nb: blocks of the enhancement.
    """

    sees = Clip()
    multiple = 4
    parts = {
        'alignment': ('stff.', 'first_backward.', 'first_forward.', 'second_backward.', 'second_forward.'),
        'deformable': tuple(
            f'{name}.{layer}.'
            for name in ('stff', 'first_backward', 'first_forward', 'second_backward', 'second_forward')
            for layer in ('offset_mask', 'deform_conv')
        ),
        'enhancement': ('ofae.', 'qenet.'),
    }
    small = {'in_nc': 3, 'nf': 4, 'out_nc': 32, 'nb': 1}

    def __init__(self, in_nc: int = 7, nf: int = 32, out_nc: int = 64, nb: int = 5):
        super().__init__()
        if in_nc % 2 == 0 or out_nc < 32:
            raise ValueError(f'in_nc {in_nc} must be odd, out_nc {out_nc} 32 or more')
        set_channels(self, 1)
        self.radius, self.out_nc = in_nc // 2, out_nc
        self.stff = DeformableFusion(in_nc, nf, out_nc, 3)
        self.first_backward = DeformableFusion(2 * out_nc, nf, out_nc, 1)
        self.first_forward = DeformableFusion(3 * out_nc, nf, out_nc, 1)
        self.second_backward = DeformableFusion(3 * out_nc, nf, out_nc, 1)
        self.second_forward = DeformableFusion(3 * out_nc, nf, out_nc, 1)
        self.ofae = FrequencyEnhancement(2 * out_nc, out_nc)
        self.qenet = Enhancement(out_nc, nb)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 5 or x.shape[2] != 1 or x.shape[3] % self.multiple or x.shape[4] % self.multiple:
            raise UserError('OVQE takes clips of luma (B, T, 1, h, w), sides multiples of 4', value=tuple(x.shape))
        count = x.shape[1]
        around = torch.arange(-self.radius, self.radius + 1, device=x.device)
        places = (torch.arange(count, device=x.device)[:, None] + around).clamp(0, count - 1)
        windows = x[:, :, 0][:, places]  # (B, T, in_nc, h, w)
        seen = [self.stff(windows[:, t]) for t in range(count)]
        first = self._pass(self.first_backward, seen, reverse=True)
        second = self._pass(self.first_forward, first, beside=1)
        third = self._pass(self.second_backward, second, beside=-1, reverse=True)
        fourth = self._pass(self.second_forward, third, beside=1)
        passes = zip(first, second, third, fourth, strict=True)
        return torch.stack([self.qenet(torch.cat(found, 1)) for found in passes], 1) + x

    def _pass(self, fusion: nn.Module, features: list[Tensor], beside: int = 0, reverse: bool = False) -> list[Tensor]:
        """Once through a clip: what each frame (B, C, h, w) makes of its features and of those visited before it.

        Args:
            beside: also of the features so many frames after it, of its own where the clip ends; 0 for none.
        """
        count = len(features)
        state, found = torch.zeros_like(features[0]), list(features)
        for t in range(count - 1, -1, -1) if reverse else range(count):
            here = features[t]
            other = features[t + beside] if 0 <= t + beside < count else here
            state = fusion(torch.cat((state, here, other) if beside else (here, state), 1))
            found[t] = state = self.ofae(torch.cat((here, state), 1)) + here
        return found

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, of this project or of the authors."""
        if not {'stff.unet.Up3.0.weight', 'second_forward.offset_mask.weight', 'ofae.dcn_3.0.weight'} <= weights.keys():
            return None
        nf, in_nc = weights['stff.in_conv.0.weight'].shape[:2]
        return {
            'in_nc': in_nc,
            'nf': nf,
            'out_nc': weights['stff.deform_conv.weight'].shape[0],
            'nb': count_of(weights, 'qenet.reconstruct.'),
        }

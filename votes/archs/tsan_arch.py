"""TSAN: restoration of video that was encoded twice (Xu et al., AAAI 2022)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.parts.blocks import check_window, conv3x3, lrelu, upsample
from votes.archs.parts.deform import DeformConv
from votes.archs.parts.luma import set_channels
from votes.archs.parts.propagation import flows_of
from votes.archs.spynet_arch import SpyNet, layer_name
from votes.ops.warp import flow_warp


class LeakyResidualBlock(nn.Module):
    """x + conv(LeakyReLU(conv(x)))."""

    compiled_alone = True

    def __init__(self, num_feat: int):
        super().__init__()
        self.conv1 = conv3x3(num_feat, num_feat)
        self.conv2 = conv3x3(num_feat, num_feat)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(lrelu(self.conv1(x)))


def _blocks(count: int, num_feat: int) -> nn.Sequential:
    return nn.Sequential(*(LeakyResidualBlock(num_feat) for _ in range(count)))


class DeformableAlignment(nn.Module):
    """Temporal deformable alignment (paper, TDAM): one deformable convolution of the frames of a window, each with
    offsets of its own that flows and warped frames tell.
    """

    def __init__(self, frames: int, channels: int, nf: int, backward_warp_quirk: bool):
        super().__init__()
        self.frames, self.quirk = frames, backward_warp_quirk
        self.spynet = SpyNet()
        layers: list[nn.Module] = []
        for before in ((2 * frames + 1) * channels, nf, nf):
            layers += [nn.Conv2d(before, nf, 3, padding=1, bias=False), nn.LeakyReLU(0.1, inplace=True)]
        self.conv_offset_extra = nn.Sequential(*layers)
        self.conv_flow = conv3x3(4 * (frames - 1), 18 * frames)
        self.conv_offset = conv3x3(nf, 18 * frames)
        self.conv_mask = conv3x3(nf, 9 * frames)
        self.deform_conv = DeformConv(frames * channels, nf)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C, h, w) -> (B, nf, h, w)."""
        to_next, to_previous = self._flows(x)
        # what comes of frames 0 .. T-2 at the places of 1 .. T-1, the last one first, and of 1 .. T-1 the other way
        ahead = _warped(x[:, :-1], to_previous).flip(1)
        behind = _warped(x[:, :-1] if self.quirk else x[:, 1:], to_next)
        nothing = torch.zeros_like(x[:, :1])
        seen = torch.cat((ahead, nothing, behind, nothing, x[:, self.frames // 2, None]), 1).flatten(1, 2)
        guide = self.conv_offset_extra(seen)
        flows = torch.cat((to_previous, to_next), 1).flatten(1, 2)
        offset = self.conv_flow(flows) + self.conv_offset(guide)
        return F.relu(self.deform_conv(x.flatten(1, 2), offset, self.conv_mask(guide).sigmoid()))

    def _flows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T-1, 2, h, w): from frames to the next ones, and from those back."""
        back, there = flows_of(self.spynet, x.expand(-1, -1, 3, -1, -1))
        return there, back


def _warped(frames: Tensor, flows: Tensor) -> Tensor:
    return flow_warp(frames.flatten(0, 1), flows.flatten(0, 1)).view_as(frames)


class PyramidFusion(nn.Module):
    """Pyramidal spatial fusion (paper, PSFM): features halved in four ways at a time, and brought together again."""

    def __init__(self, nf: int):
        super().__init__()
        self.s0_u0_res = _blocks(4, nf)
        for level, width in ((1, nf), (2, 2 * nf)):
            thin = width // 2
            self.add_module(f'd{level}_conv1', conv3x3(width, thin))
            self.add_module(f'd{level}_str2', nn.Sequential(conv3x3(thin, thin, 2), nn.LeakyReLU(0.1, inplace=True)))
            self.add_module(f'd{level}_Res', LeakyResidualBlock(2 * width))
        self.u2_deconv = nn.ConvTranspose2d(4 * nf, 2 * nf, 4, 2, 1)
        self.u1_conv = nn.Sequential(conv3x3(4 * nf, 2 * nf), nn.LeakyReLU(0.1, inplace=True))
        self.u1_deconv = nn.ConvTranspose2d(2 * nf, nf, 4, 2, 1)
        self.s0_u1 = nn.Sequential(conv3x3(2 * nf, nf), nn.LeakyReLU(0.1, inplace=True))
        self.hid_conv = _blocks(5, nf)

    def _halved(self, level: int, x: Tensor) -> Tensor:
        x = self.get_submodule(f'd{level}_conv1')(x)
        bicubic = F.interpolate(x, scale_factor=0.5, mode='bicubic', align_corners=False)
        found = (bicubic, F.avg_pool2d(x, 2), F.max_pool2d(x, 2), self.get_submodule(f'd{level}_str2')(x))
        return self.get_submodule(f'd{level}_Res')(torch.cat([x.to(found[-1].dtype) for x in found], 1))

    def forward(self, x: Tensor) -> Tensor:
        whole = self.s0_u0_res(x)
        half = self._halved(1, whole)
        quarter = self._halved(2, half)
        up = self.u1_deconv(self.u1_conv(torch.cat((self.u2_deconv(quarter), half), 1)))
        return self.hid_conv(whole + self.s0_u1(torch.cat((up, whole), 1)))


class DilatedOutput(nn.Module):
    """Features -> a picture, by convolutions of three dilations (paper, HDRO)."""

    def __init__(self, nf: int, channels: int):
        super().__init__()
        self.dilation_1 = nn.Conv2d(nf, channels, 3, padding=1)
        self.dilation_2 = nn.Conv2d(nf, channels, 3, padding=2, dilation=2)
        self.dilation_3 = nn.Conv2d(nf, channels, 3, padding=4, dilation=4)
        self.conv = conv3x3(3 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.cat((self.dilation_1(x), self.dilation_2(x), self.dilation_3(x)), 1))


class AuxiliarySupervision(nn.Module):
    """Estimates the frame after the first encoding, and tells the features where it is (paper, ASAM)."""

    def __init__(self, nf: int, channels: int):
        super().__init__()
        self.conv1 = conv3x3(nf, nf)
        self.conv2 = conv3x3(nf, channels).requires_grad_(False)  # in the authors' files; nothing uses it
        self.conv3 = conv3x3(channels, nf)
        self.hdro = DilatedOutput(nf, channels)

    def forward(self, x: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv1(x)
        middle = self.hdro(x) + centre
        told = self.conv3(middle)
        return x * told.sigmoid() + told, middle


class Reconstruction(nn.Module):
    """Global supervised reconstruction (paper, GSRM)."""

    def __init__(self, nf: int, channels: int, scale: int):
        super().__init__()
        self.init_conv = _blocks(10, nf)
        self.hdro = DilatedOutput(nf, channels * scale**2)

    def forward(self, x: Tensor) -> Tensor:
        return self.hdro(self.init_conv(x))


class TSAN(nn.Module):
    """(B, 2*radius + 1, in_nc, h, w) in [0, 1], h and w multiples of 4 -> 'out', the centre frame (B, in_nc, S*h, S*w),
    and 'mid', an estimate of it after the first encoding (B, in_nc, h, w); neither clamped.

    Args:
        radius: frames before and after the centre, 3 in the public code.
        in_nc: 1 restores luma, 3 RGB.
        out_nc: the same.
        nf: channels, even; 64 in the public code.
        scale: 1 as in the paper. Larger: the last layer makes scale**2 pixels of each, and what is added is the
            enlarged centre frame (bilinear); there are no published weights of it.
        backward_warp_quirk: the public code warps each frame by the flow to the next where the next one is meant; its
            weights were trained so.
    """

    multiple = 4  # two halvings
    parts = {
        'flow': ('tdam.spynet.',),
        'alignment': ('tdam.conv_', 'tdam.deform_conv.'),
        'deformable': ('tdam.deform_conv.',),
        'fusion': ('psfm.',),
        'supervision': ('asam.',),
        'reconstruction': ('gsrm.',),
    }
    small = {'radius': 1, 'in_nc': 3, 'out_nc': 3, 'nf': 4, 'scale': 2}

    def __init__(
        self,
        radius: int = 3,
        in_nc: int = 1,
        out_nc: int = 1,
        nf: int = 64,
        scale: int = 1,
        backward_warp_quirk: bool = True,
    ):
        super().__init__()
        if in_nc != out_nc or nf % 2 or radius < 1 or scale not in (1, 2, 3, 4):
            raise ValueError(
                f'in_nc {in_nc} and out_nc {out_nc} must be the same, nf {nf} even, radius {radius} 1 or more, '
                f'scale {scale} 1 to 4'
            )
        set_channels(self, in_nc)
        self.sees, self.scale = Window(2 * radius + 1), scale
        self.tdam = DeformableAlignment(self.sees.frames, in_nc, nf, backward_warp_quirk)
        self.psfm = PyramidFusion(nf)
        self.asam = AuxiliarySupervision(nf, in_nc)
        self.gsrm = Reconstruction(nf, in_nc, scale)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        check_window(x, self.sees.frames, self.multiple)
        centre = x[:, self.sees.centre]
        features, middle = self.asam(self.psfm(self.tdam(x)), centre)
        found = self.gsrm(features)
        if self.scale == 1:
            return {'out': found + centre, 'mid': middle}
        return {'out': F.pixel_shuffle(found, self.scale) + upsample(centre, self.scale), 'mid': middle}

    @classmethod
    def published_weights(cls, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The authors' files have a flow network of mmagic's names."""
        return {layer_name(key): value for key, value in weights.items()}

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, of this project or of the authors."""
        if not {'tdam.conv_flow.weight', 'asam.hdro.conv.weight', 'gsrm.hdro.dilation_3.weight'} <= weights.keys():
            return None
        nf, channels = weights['asam.conv3.weight'].shape[:2]
        return {
            'radius': weights['tdam.conv_flow.weight'].shape[1] // 8,
            'in_nc': channels,
            'out_nc': channels,
            'nf': nf,
            'scale': round((weights['gsrm.hdro.conv.weight'].shape[0] / channels) ** 0.5),
        }

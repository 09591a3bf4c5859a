"""MFQE 2.0 as its authors wrote it (Guan et al., TPAMI 2021): Y alone, with a motion network that is trained along."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.mfqev2_arch import KERNELS, dense
from votes.archs.parts.blocks import check_window, zero_
from votes.archs.parts.luma import set_channels
from votes.archs.parts.published import fitting, size_of
from votes.ops.warp import flow_warp

REACH = 64  # pixels that a flow of one stands for


class HalvingConv(nn.Conv2d):
    """5x5 with a stride of 2, padded as TensorFlow does where sides are even: one pixel before, two after."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (1, 2, 1, 2)))


def _prelu(channels: int) -> nn.PReLU:
    return nn.PReLU(channels, init=0)


def _flow_part(inputs: int, halvings: tuple[bool, ...], factor: int) -> nn.Sequential:
    """Convolutions of 24 channels, some of which halve, then one for the flow (B, 2, h, w) of what comes in."""
    layers: list[nn.Module] = []
    for halves in halvings:
        conv = HalvingConv(inputs, 24) if halves else nn.Conv2d(inputs, 24, 3, padding=1)
        layers += [conv, _prelu(24)]
        inputs = 24
    return nn.Sequential(*layers, nn.Conv2d(24, 2 * factor**2, 3, padding=1), nn.Tanh(), nn.PixelShuffle(factor))


class MotionCompensation(nn.Module):
    """Warps a neighbour to a frame by a flow found at a quarter, a half and the whole of the size.

    Args:
        channels: of a frame.
        zero_outside: what comes from outside of a neighbour is zero, else its nearest pixel (MFQE 1.0).
    """

    def __init__(self, channels: int, zero_outside: bool = True):
        super().__init__()
        self.zero_outside = zero_outside
        pair, all_of_it = 2 * channels, 3 * channels + 2
        self.coarse = _flow_part(pair, (True, False, True, False), 4)
        self.middle = _flow_part(all_of_it, (True, False, False, False), 2)
        self.fine = _flow_part(all_of_it, (False, False, False, False), 1)

    def forward(self, current: Tensor, neighbour: Tensor) -> Tensor:
        """(B, C, h, w) each, h and w multiples of 4 -> the neighbour as it would be at the time of `current`.

        Always in float32: a flow of 64 pixels is beyond bfloat16.
        """
        with torch.autocast(current.device.type, enabled=False):
            return self._compensated(current.float(), neighbour.float())

    def _compensated(self, current: Tensor, neighbour: Tensor) -> Tensor:
        pair = torch.cat((current, neighbour), 1)
        flow = self.coarse(pair)
        for part in (self.middle, self.fine):
            flow = flow + part(torch.cat((pair, flow, self._warped(neighbour, flow)), 1))
        return self._warped(neighbour, flow)

    def _warped(self, x: Tensor, flow: Tensor) -> Tensor:
        return warped(x, flow) if self.zero_outside else flow_warp(x, REACH * flow, 'border')


def warped(x: Tensor, flow: Tensor) -> Tensor:
    """x (B, C, h, w) sampled `REACH` times the flow (B, 2, h, w) away; what lies outside of it is zero, with no
    transition to that.
    """
    height, width = x.shape[-2:]
    flow = REACH * flow.float()
    across = torch.arange(width, device=x.device) + flow[:, :1]
    down = torch.arange(height, device=x.device).unsqueeze(1) + flow[:, 1:]
    inside = (across >= 0) & (across <= width - 1) & (down >= 0) & (down <= height - 1)
    return flow_warp(x, flow, 'border') * inside


class MFQEv2Original(nn.Module):
    """(B, 3, C, h, w) in [0, 1], h and w multiples of 4: the peak-quality frames before and after a frame around it ->
    'out' (B, C, h, w), not clamped, and 'warped' (B, 2, C, h, w), the neighbours as they should look like the frame.

    The names of the authors' files are TensorFlow's and were not mapped.

    Args:
        in_channels: 1 for Y, 3 for RGB.
        nf: channels of the features.
        dense: the densely connected network with batch normalisation, of QP 37 and 42; False is the plain chain of
            eight layers that the authors used at QP 22, 27 and 32.
    """

    sees = Window(3, pick='peaks')
    multiple = 4
    parts = {'motion': ('motion.',), 'features': ('ks3_', 'ks5_', 'ks7_'), 'reconstruction': ('rec_conv.',)}
    small = {'nf': 4}
    rec_conv: nn.ModuleList | nn.Sequential

    def __init__(self, in_channels: int = 1, nf: int = 32, dense: bool = True):
        super().__init__()
        set_channels(self, in_channels)
        luma = in_channels == 1
        # both losses of the paper; which of them counts more is the option file's, by stages
        self.supervised = {
            'l_pix': {'output': 'luma', 'target': 'gt_luma'} if luma else {},
            'l_mc': {'output': 'warped', 'target': 'lq_luma' if luma else 'lq'},
        }
        self.motion = MotionCompensation(in_channels)
        for kernel in KERNELS:
            convs = [
                nn.Sequential(nn.Conv2d(in_channels, nf, kernel, padding=kernel // 2), _prelu(nf)) for _ in range(3)
            ]
            self.add_module(f'ks{kernel}_conv_list', nn.ModuleList(convs))
        if dense:
            layers = [self._normalised(n * nf, nf) for n in (9, 1, 2, 3, 4)]
            self.rec_conv = nn.ModuleList([*layers, self._normalised(nf, in_channels)])
        else:
            widths = [9 * nf, *[nf] * 7, nf // 2]
            chain: list[nn.Module] = []
            for before, after in itertools.pairwise(widths):
                chain += [nn.Conv2d(before, after, 3, padding=1), _prelu(after)]
            self.rec_conv = nn.Sequential(*chain, nn.Conv2d(nf // 2, in_channels, 3, padding=1))
        self.dense = dense
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                zero_(module.bias)

    @staticmethod
    def _normalised(inputs: int, outputs: int) -> nn.Sequential:
        normalisation = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)  # TensorFlow's constants
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), normalisation, _prelu(outputs))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        check_window(x, 3, self.multiple)
        current = x[:, 1]
        warped = self.motion(current.repeat_interleave(2, 0), x[:, ::2].flatten(0, 1)).unflatten(0, (-1, 2))
        features = [
            self.get_submodule(f'ks{kernel}_conv_list.{i}')(frame)
            for i, frame in enumerate((warped[:, 0], current, warped[:, 1]))
            for kernel in KERNELS
        ]
        together = torch.cat(features, 1)
        if self.dense:
            *layers, last = self.rec_conv
            residual = last(dense(layers, together))
        else:
            residual = self.rec_conv(together)
        return {'out': current + residual, 'warped': warped}

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict."""
        nf, channels = (size_of(dict(weights), 'ks3_conv_list.0.0.weight', dim) for dim in (0, 1))
        if not nf or channels not in (1, 3):
            return None
        plain = 'rec_conv.0.weight' in weights
        return fitting(cls, dict(weights), in_channels=channels, nf=nf, dense=not plain)

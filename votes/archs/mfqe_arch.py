"""MFQE: multi-frame quality enhancement for compressed video (Yang, Xu, Wang and Li, CVPR 2018), and the network of the
NTIRE 2021 baseline that has another motion network in it.
"""

from __future__ import annotations

import itertools
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.mfqev2_original_arch import MotionCompensation
from votes.archs.parts.blocks import check_window
from votes.archs.parts.luma import set_channels
from votes.archs.parts.published import Weights, fitting, size_of
from votes.archs.qecnn_arch import QECNN
from votes.archs.windows import Pick
from votes.ops.exporting import exported_form
from votes.ops.warp import flow_warp

LEVELS = 5  # sizes of the baseline's flow


def doubled(x: Tensor) -> Tensor:
    """Twice the size, bilinear as TensorFlow 1 has it: each pixel stays where it is, means between two of them."""
    for axis in (2, 3):
        after = torch.cat((x.narrow(axis, 1, x.shape[axis] - 1), x.narrow(axis, x.shape[axis] - 1, 1)), axis)
        x = torch.stack((x, (x + after) / 2), axis + 1).flatten(axis, axis + 1)
    return x


class PyramidCompensation(nn.Module):
    """Warps a neighbour to a frame by a flow found from a sixteenth of the size to the whole.

    As in the baseline the flow is not doubled where it is enlarged, has its rows first, and points from where a pixel
    is taken to where it goes: what is specified is the convolutions, their input and the warp. That each adds to the
    flow of the size below is chosen, as in SPyNet.
    """

    def __init__(self, channels: int):
        super().__init__()
        widths = (2 * channels + 2, 32, 64, 32, 16, 2)
        self.levels = nn.ModuleList()
        for _ in range(LEVELS):
            layers: list[nn.Module] = []
            for before, after in itertools.pairwise(widths):
                layers += [nn.Conv2d(before, after, 7, padding=3), nn.ReLU(inplace=True)]
            self.levels.append(nn.Sequential(*layers[:-1]))

    def forward(self, current: Tensor, neighbour: Tensor) -> Tensor:
        """(B, C, h, w) each, h and w multiples of 16 -> the neighbour as it would be at the time of `current`."""
        pairs = [(current, neighbour)]
        for _ in range(LEVELS - 1):
            pairs.append((F.avg_pool2d(pairs[-1][0], 2), F.avg_pool2d(pairs[-1][1], 2)))
        small = pairs[-1][0]
        flow = small.new_zeros(small.shape[0], 2, *small.shape[2:])
        for number, (level, (frame, other)) in enumerate(zip(self.levels, reversed(pairs), strict=True)):
            flow = doubled(flow) if number else flow
            flow = flow + level(torch.cat((_taken(other, flow), frame, flow), 1))
        return _taken(neighbour, flow)


def _taken(x: Tensor, flow: Tensor) -> Tensor:
    return flow_warp(x, -flow.flip(1), 'border')


class MFQE(nn.Module):
    """(B, 3, C, h, w) in [0, 1], a frame between its neighbours of peak quality -> 'out', the frame (B, C, h, w), not
    clamped, and 'warped' (B, 2, C, h, w), the neighbours as they should look like the frame.

    The neighbours are warped to the frame; a network of two branches, each over the frame and one neighbour, finds what
    is added. Frames of peak quality go through a network of single frames instead. What the challenge's report and the
    baseline tell is all layers; that PReLUs have a slope a channel, and how the parts start, is chosen.

    Args:
        io_channels: 3 for RGB, 1 for Y.
        motion: 'stmc', the paper's, at three sizes and shared by both neighbours; 'pyramid', the baseline's, at five
            and one for each.
        width: channels of the first layer.
        enhance_peaks: frames of peak quality go through QE-CNN, which is a part of the network; else they do not differ
            from others.
        pick: 'next' shows the neighbours that are adjacent, whatever their quality: so it is measured what those of
            peak quality are worth.
    """

    small = {'width': 8}

    def __init__(
        self,
        io_channels: int = 3,
        motion: Literal['stmc', 'pyramid'] = 'stmc',
        width: int = 128,
        enhance_peaks: bool = True,
        pick: Pick = 'peaks',
    ):
        super().__init__()
        if motion not in ('stmc', 'pyramid') or width % 4:
            raise ValueError(f"motion is 'stmc' or 'pyramid', width a multiple of 4, not {motion!r} and {width}")
        self.sees = Window(3, pick=pick)
        set_channels(self, io_channels)
        luma = io_channels == 1
        self.supervised = {
            'l_pix': {'output': 'luma', 'target': 'gt_luma'} if luma else {},
            'l_mc': {'output': 'warped', 'target': 'lq_luma' if luma else 'lq'},
        }
        self.multiple = 4 if motion == 'stmc' else 2 ** (LEVELS - 1)
        if motion == 'stmc':
            self.motion = nn.ModuleList([MotionCompensation(io_channels, zero_outside=False)])
        else:
            self.motion = nn.ModuleList([PyramidCompensation(io_channels) for _ in range(2)])

        def layer(before: int, after: int, kernel: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.PReLU(after))

        half = width // 2
        self.first = nn.ModuleList([layer(io_channels, width, 9) for _ in range(3)])
        self.pairs = nn.ModuleList([nn.Sequential(layer(2 * width, half, 7), layer(half, half, 3)) for _ in range(2)])
        self.last = nn.Sequential(layer(width, half // 2, 1), nn.Conv2d(half // 2, io_channels, 5, padding=2))
        self.parts = {'motion': ('motion.',), 'enhancement': ('first.', 'pairs.', 'last.')}
        self.peaks: QECNN | None = None
        if enhance_peaks:
            self.peaks = QECNN(io_channels, (width, half, half, half // 2))
            self.parts['peaks'] = ('peaks.',)
            self.inputs = ('pqf',)

    def forward(self, x: Tensor, pqf: Tensor | None = None) -> dict[str, Tensor]:
        """(B, 3, C, h, w) -> 'out' (B, C, h, w) and 'warped' (B, 2, C, h, w).

        Args:
            pqf: which frames are of peak quality (B, 3); the middle one counts.
        """
        check_window(x, 3, self.multiple)
        frame = x[:, 1]
        at_peak = None if self.peaks is None or pqf is None else pqf[:, 1].bool()
        if self.peaks and at_peak is not None and not (self.training or exported_form()) and bool(at_peak.all()):
            return {'out': self.peaks(frame)}
        before, after = self.motion[0](frame, x[:, 0]), self.motion[-1](frame, x[:, 2])
        features = [layer(part) for layer, part in zip(self.first, (before, frame, after), strict=True)]
        joined = [pair(torch.cat(features[i : i + 2], 1)) for i, pair in enumerate(self.pairs)]
        out = self.last(torch.cat(joined, 1)) + frame
        if self.peaks and at_peak is not None:
            out = torch.where(at_peak.view(-1, 1, 1, 1), self.peaks(frame), out)
        return {'out': out, 'warped': torch.stack((before, after), 1)}

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class."""
        if 'pairs.1.1.0.weight' not in weights or 'first.2.0.weight' not in weights:
            return None
        return fitting(
            cls,
            weights,
            io_channels=size_of(weights, 'first.0.0.weight', 1),
            motion='pyramid' if 'motion.1.levels.0.0.weight' in weights else 'stmc',
            width=size_of(weights, 'first.0.0.weight'),
            enhance_peaks='peaks.conv_out.weight' in weights,
        )

"""MGBP3D: multi-grid back-projection of a clip by 3-D convolutions (BOE-IOT-AIBD in the NTIRE 2021 challenge; in two
dimensions Navarrete Michelini et al., JSTSP 2021).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from votes.archs.contract import Clip
from votes.archs.parts.blocks import lrelu
from votes.archs.parts.published import Weights, fitting


def _down(channels: int, out: int) -> nn.Conv3d:
    return nn.Conv3d(channels, out, 3, (1, 2, 2), 1)


def _up(channels: int, out: int) -> nn.ConvTranspose3d:
    return nn.ConvTranspose3d(channels, out, (3, 4, 4), (1, 2, 2), 1)


class MGBP3D(nn.Module):
    """(B, T, 3, h, w) RGB in [0, 1], h and w multiples of 2^(levels - 1) -> (B, T, 3, h, w), not clamped; in training
    also 'noisy', what comes out with noise beside the frames, where asked for.

    At each level features u are corrected `steps` times by what the next coarser level, itself corrected, makes of them
    made smaller: ``u <- u + up(corrected(down(u)) - y)`` with y the features that came down to that level at first.

    The report of the challenge specifies five levels, two steps, enlarging and reducing in space alone by (transposed)
    3-D convolutions with strides, single 3-D convolutions from frames to features and back, widths that grow with
    depth, and one channel of noise; the widths are those of the authors' code in two dimensions. Chosen are that the
    convolutions of a level serve all steps, what is taken away in a step, and that the result is added to the frames.

    Args:
        widths: channels of the levels, from the full size down.
        steps: corrections of a level.
        noisy: track 2: the same with noise of deviation 1 in the last channel, for losses that judge detail.
    """

    small = {'widths': [4, 6, 8], 'steps': 2, 'noisy': True}

    def __init__(self, widths: Sequence[int] = (9, 48, 128, 192, 256), steps: int = 2, noisy: bool = False):
        super().__init__()
        if len(widths) < 2 or steps < 1:
            raise ValueError(f'two levels or more and a step or more are needed, not {list(widths)} and {steps}')
        self.sees = Clip(context=len(widths))
        self.steps, self.noisy, self.multiple = steps, noisy, 2 ** (len(widths) - 1)
        pairs = list(itertools.pairwise(widths))
        self.analysis = nn.Conv3d(4, widths[0], 3, 1, 1)
        self.downs = nn.ModuleList([_down(fine, coarse) for fine, coarse in pairs])
        self.ups = nn.ModuleList([_up(coarse, fine) for fine, coarse in pairs])
        self.coarsest = nn.Conv3d(widths[-1], widths[-1], 3, 1, 1)
        self.synthesis = nn.Conv3d(widths[0], 3, 3, 1, 1)

    def _corrected(self, u: Tensor, level: int) -> Tensor:
        """Features (B, C, T, h, w) of a level, after its steps."""
        if level == len(self.downs):
            return u + lrelu(self.coarsest(u))
        first: Tensor | None = None
        for _ in range(self.steps):
            below = lrelu(self.downs[level](u))
            first = below if first is None else first
            u = u + lrelu(self.ups[level](self._corrected(below, level + 1) - first))
        return u

    def _restored(self, x: Tensor, noise: Tensor) -> Tensor:
        frames = torch.cat((x, noise), 2).transpose(1, 2)
        found = self.synthesis(self._corrected(lrelu(self.analysis(frames)), 0))
        return found.transpose(1, 2) + x

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """(B, T, 3, h, w) -> the same, or 'out' and 'noisy'."""
        none = torch.zeros_like(x[:, :, :1])
        out = self._restored(x, none)
        if not (self.noisy and self.training):
            return out
        return {'out': out, 'noisy': self._restored(x, torch.randn_like(none))}

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class; the number of steps is not."""
        if 'coarsest.weight' not in weights or 'analysis.weight' not in weights:
            return None
        widths = [weights['analysis.weight'].shape[0]]
        while f'downs.{len(widths) - 1}.weight' in weights:
            widths.append(weights[f'downs.{len(widths) - 1}.weight'].shape[0])
        return fitting(cls, weights, widths=widths)

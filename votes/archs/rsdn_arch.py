"""RSDN: recurrent super-resolution in a stream for structure and one for detail (Isobe et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Causal, run_causal
from votes.archs.parts.blocks import conv3x3, lrelu, upsample, zero_
from votes.errors import UserError


class StructureDetailBlock(nn.Module):
    """A residual block of each stream, whose residuals are added to both."""

    compiled_alone = True

    def __init__(self, num_feat: int):
        super().__init__()
        self.conv_d1, self.conv_d2 = conv3x3(num_feat, num_feat), conv3x3(num_feat, num_feat)
        self.conv_s1, self.conv_s2 = conv3x3(num_feat, num_feat), conv3x3(num_feat, num_feat)

    def forward(self, detail: Tensor, structure: Tensor) -> tuple[Tensor, Tensor]:
        residual = self.conv_d2(F.relu(self.conv_d1(detail))) + self.conv_s2(F.relu(self.conv_s1(structure)))
        return detail + residual, structure + residual


class Cell(nn.Module):
    """One step of both streams at low resolution."""

    def __init__(self, num_feat: int, num_block: int, out_channels: int):
        super().__init__()
        inputs = 2 * 3 + num_feat + out_channels
        self.forget = conv3x3(3, 9)
        self.conv_d, self.conv_s = conv3x3(inputs, num_feat), conv3x3(inputs, num_feat)
        self.num_block = num_block
        for i in range(1, num_block + 1):
            self.add_module(f'SD{i}', StructureDetailBlock(num_feat))
        self.conv_hd, self.conv_hs = conv3x3(num_feat, num_feat), conv3x3(num_feat, num_feat)
        self.conv_od, self.conv_os = conv3x3(num_feat, out_channels), conv3x3(num_feat, out_channels)

    def adapted(self, frame: Tensor, hidden: Tensor) -> Tensor:
        """Hidden state adaptation: what of the state (B, C, h, w) is like the frame (B, 3, h, w), by a 3x3 filter of
        each place's own, which all channels share.
        """
        height, width = hidden.shape[-2:]
        taps, around = lrelu(self.forget(frame)), F.pad(hidden, (1, 1, 1, 1))
        likeness = sum(
            taps[:, 3 * y + x, None] * around[..., y : y + height, x : x + width] for y in range(3) for x in range(3)
        )
        return hidden * torch.sigmoid(likeness)  # type: ignore[arg-type]

    def forward(
        self, frame: Tensor, details: Tensor, structures: Tensor, hidden: Tensor, out_d: Tensor, out_s: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """
        Args:
            frame: (B, 3, h, w).
            details, structures: of the frame before and of this one, (B, 6, h, w).
            hidden, out_d, out_s: what the step before returned.

        Returns:
            The hidden state (B, C, h, w), and detail and structure (B, 3*S**2, h, w).
        """
        hidden = self.adapted(frame, hidden)
        detail = lrelu(self.conv_d(torch.cat((details, hidden, out_d), 1)))
        structure = lrelu(self.conv_s(torch.cat((structures, hidden, out_s), 1)))
        for i in range(1, self.num_block + 1):
            detail, structure = self.get_submodule(f'SD{i}')(detail, structure)
        hidden = lrelu(self.conv_hd(detail)) + lrelu(self.conv_hs(structure))
        return hidden, self.conv_od(detail), self.conv_os(structure)


class RSDN(nn.Module):
    """(B, T, 3, h, w) RGB in [0, 1], T >= 3, h and w even -> 'out', 'out_d' (detail) and 'out_s' (structure), each
    (B, T, 3, S*h, S*w), not clamped.

    Nothing is added to them: there is no interpolated base. The first frame's predecessor is the second frame, so a
    stream waits for one frame more. The LQ grid that published weights know is that of every S-th pixel from the first.

    Args:
        scale: S, 4 in the paper; 1, 2 and 3 have 3*S**2 channels where that has 48.
        num_feat: channels of a stream.
        num_block: structure-detail blocks.
    """

    sees = Causal(look_ahead=1, least=3)
    multiple = 2
    parts = {'adaptation': ('neuro.forget.',), 'streams': ('neuro.',), 'reconstruction': ('conv.',)}
    # each output's loss counts as much (paper, equation 4)
    supervised = {
        'l_pix': {},
        'l_structure': {'output': 'out_s', 'target': 'gt_structure'},
        'l_detail': {'output': 'out_d', 'target': 'gt_detail'},
    }
    small = {'scale': 2, 'num_feat': 4, 'num_block': 2}

    def __init__(self, scale: int = 4, num_feat: int = 128, num_block: int = 9):
        super().__init__()
        if scale not in (1, 2, 3, 4):
            raise ValueError(f'scale must be 1, 2, 3 or 4, not {scale}')
        self.scale, self.num_feat = scale, num_feat
        channels = 3 * scale**2
        self.neuro = Cell(num_feat, num_block, channels)
        self.conv = conv3x3(2 * channels, channels)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and name != 'neuro.forget':
                nn.init.kaiming_normal_(module.weight)
                with torch.no_grad():
                    module.weight.mul_(0.1)
                zero_(module.bias)

    def step(self, frames: Tensor, state: dict[str, Tensor] | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One frame and the next, see contract.Causal; the state has the frame's structure and detail, and what the
        cell returned, all at low resolution.
        """
        frame = frames[:, 0]
        structure = halved_and_doubled(frame)
        if state is None:
            blank = frame.new_zeros(frame.shape[0], 1, *frame.shape[-2:])
            before = halved_and_doubled(frames[:, 1])
            state = {
                'structure': before,
                'detail': frames[:, 1] - before,
                'hidden': blank.expand(-1, self.num_feat, -1, -1),
                'out_d': blank.expand(-1, 3 * self.scale**2, -1, -1),
                'out_s': blank.expand(-1, 3 * self.scale**2, -1, -1),
            }
        detail = frame - structure
        hidden, out_d, out_s = self.neuro(
            frame,
            torch.cat((state['detail'], detail), 1),
            torch.cat((state['structure'], structure), 1),
            state['hidden'],
            state['out_d'],
            state['out_s'],
        )
        pictures = {'out': self.conv(torch.cat((out_d, out_s), 1)), 'out_d': out_d, 'out_s': out_s}
        result = {name: F.pixel_shuffle(picture, self.scale) for name, picture in pictures.items()}
        after = {'structure': structure, 'detail': detail, 'hidden': hidden, 'out_d': out_d, 'out_s': out_s}
        return result, after

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if x.shape[1] < self.sees.least:
            raise UserError('RSDN takes clips of at least 3 frames', value=tuple(x.shape), fix='repeat the last frame')
        result: dict[str, Tensor] = run_causal(self, x)
        return result

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict."""
        if not {'neuro.forget.weight', 'neuro.SD1.conv_d1.weight', 'neuro.conv_od.weight'} <= weights.keys():
            return None
        channels, num_feat = weights['neuro.conv_od.weight'].shape[:2]
        return {
            'scale': round((channels / 3) ** 0.5),
            'num_feat': num_feat,
            'num_block': sum(key.startswith('neuro.SD') and key.endswith('conv_d1.weight') for key in weights),
        }


def halved_and_doubled(frame: Tensor) -> Tensor:
    """The structure of frames (B, 3, h, w), h and w even."""
    return upsample(F.interpolate(frame, scale_factor=0.5, mode='bilinear', align_corners=False), 2)

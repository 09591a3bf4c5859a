"""RBQE: early exit or not, resource-efficient blind quality enhancement for compressed images (Xing, Xu, Li and Guan,
ECCV 2020), as PowerQE has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.attention import ECA
from votes.archs.parts.blocks import conv3x3, count_of
from votes.archs.parts.exit_score import GOOD, Codec, quality
from votes.archs.parts.luma import set_channels
from votes.archs.parts.published import Weights, fitting, size_of
from votes.archs.parts.unet import enlarging, matched


class _Separable(nn.Module):
    """A 3x3 convolution of each channel, then a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.separable_conv = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels),
            nn.Conv2d(in_channels, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.separable_conv(x)


def _conv(in_channels: int, out_channels: int, separable: bool, attention: bool) -> list[nn.Module]:
    conv = (_Separable if separable else conv3x3)(in_channels, out_channels)
    return [ECA(), conv] if attention else [conv]


class _Down(nn.Module):
    def __init__(self, channels: int, how: str, separable: bool, attention: bool):
        super().__init__()
        smaller = conv3x3(channels, channels, stride=2) if how == 'strideconv' else nn.AvgPool2d(2)
        before, after = (_conv(channels, channels, separable, attention) for _ in range(2))
        self.layers = nn.Sequential(*before, smaller, *after)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class _Up(nn.Module):
    def __init__(self, channels: int, joined: int, how: str, separable: bool, attention: bool):
        super().__init__()
        self.up = enlarging(channels, channels) if how == 'transpose2d' else nn.Upsample(scale_factor=2)
        first = _conv(joined * channels, channels, separable, attention)
        self.layers = nn.Sequential(*first, nn.ReLU(inplace=True), *_conv(channels, channels, separable, attention))

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        return self.layers(torch.cat((matched(self.up(x), skips[0]), *skips), 1))


class RBQE(nn.Module):
    """(B, C, h, w) in [0, 1], any size (with avepool2d from 2^nlevel on) -> the same size, not clamped.

    Nested U-Nets, each one level deeper than the one before, with an exit after the last of them or after each. Keys as
    in PowerQE.

    Args:
        nf_in, nf_out: channels of a frame, 3 for RGB, 1 for Y.
        nf_base: channels of the features.
        nlevel: U-Nets.
        down_method, up_method: how sizes change; upsample repeats pixels.
        if_separable: convolutions of each channel and 1x1 convolutions in place of 3x3 ones.
        if_eca: efficient channel attention before convolutions.
        all_exits: an exit after each U-Net; `forward` gives them all.
        comp_type: with all exits, in evaluation: frames leave at the first exit after which what was compressed with
            HEVC or JPEG looks good enough, see parts.exit_score.
    """

    sees = Frame()
    small = {'nf_base': 6, 'nlevel': 3, 'all_exits': True}

    def __init__(
        self,
        nf_in: int = 3,
        nf_base: int = 32,
        nlevel: int = 5,
        down_method: Literal['strideconv', 'avepool2d'] = 'strideconv',
        up_method: Literal['transpose2d', 'upsample'] = 'transpose2d',
        if_separable: bool = False,
        if_eca: bool = True,
        nf_out: int = 3,
        all_exits: bool = False,
        comp_type: Codec | None = None,
    ):
        super().__init__()
        if comp_type is not None and (not all_exits or comp_type not in GOOD):
            raise ValueError(f'comp_type is hevc or jpeg, and needs all_exits, not {comp_type}')
        set_channels(self, nf_in)
        self.nlevel, self.all_exits, self.comp_type = nlevel, all_exits, comp_type
        self.smallest = 2**nlevel if down_method == 'avepool2d' else 1
        if all_exits:
            luma = {'output': 'luma', 'target': 'gt_luma'} if self.channels == 'luma' else {}
            exits = {f'l_exit_{i}': {'output': f'exit_{i}', 'target': luma.get('target', 'gt')} for i in self._early()}
            self.supervised = {**exits, 'l_pix': luma}
        kind = if_separable, if_eca
        self.in_conv_seq = nn.Sequential(
            *_conv(nf_in, nf_base, if_separable, False),
            nn.ReLU(inplace=True),
            *_conv(nf_base, nf_base, if_separable, False),
        )
        for i in range(nlevel):
            self.add_module(f'down_{i}', _Down(nf_base, down_method, *kind))
            for j in range(i + 1):
                self.add_module(f'up_{i}_{j}', _Up(nf_base, j + 2, up_method, *kind))
        exits_made = [_conv(nf_base, nf_out, *kind) for _ in range(nlevel if all_exits else 1)]
        self.out_layers = nn.ModuleList([nn.Sequential(*e) if if_eca else e[0] for e in exits_made])

    def _early(self) -> range:
        return range(self.nlevel - 1)

    def arguments(self, sample: dict[str, Tensor]) -> dict[str, Any]:
        """Exits by name: one output has to be the restored frame."""
        return {**sample, 'named': True}

    def forward(self, x: Tensor, named: bool = False) -> Tensor | dict[str, Tensor]:
        """(B, C, h, w) -> (B, C, h, w), or with all exits (nlevel, B, C, h, w).

        Args:
            named: the exits as {'exit_0': first, ..., 'out': last}; with `comp_type` in evaluation just 'out'.
        """
        if self.comp_type and not self.training and named:
            return {'out': torch.cat([self._until_good(frame) for frame in x.split(1)])}
        exits = list(self._exits(x))
        if not self.all_exits:
            return exits[0]
        if named:
            return {'out': exits[-1], **{f'exit_{i}': exits[i] for i in self._early()}}
        return torch.stack(exits)

    def _until_good(self, frame: Tensor) -> Tensor:
        assert self.comp_type
        out = frame
        for out in self._exits(frame):
            if quality(out[0], self.comp_type) >= GOOD[self.comp_type]:
                break
        return out

    def _exits(self, x: Tensor) -> Iterator[Tensor]:
        """What comes out of each U-Net that has an exit, one after the other."""
        # features[i][j]: of U-Net i, j sizes above its smallest; what there is before the first counts as one
        features = [[self.in_conv_seq(x)]]
        for i in range(self.nlevel):
            path = [self.get_submodule(f'down_{i}')(features[-1][0])]
            for j in range(i + 1):
                skips = [before[k] for k, before in enumerate(features[-(j + 1) :])]
                path.append(self.get_submodule(f'up_{i}_{j}')(path[-1], skips))
            features.append(path)
            if self.all_exits or i == self.nlevel - 1:
                yield self.out_layers[i if self.all_exits else 0](path[-1]) + x

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of PowerQE, with one exit or with all."""
        if 'up_0_0.layers.0.conv.weight' not in weights and 'up_0_0.layers.0.weight' not in weights:
            return None
        if_separable = any('separable_conv' in key for key in weights)
        if_eca = 'up_0_0.layers.0.conv.weight' in weights
        first, last = ('.separable_conv.0', '.separable_conv.1') if if_separable else ('', '')
        return fitting(
            cls,
            weights,
            nf_in=size_of(weights, f'in_conv_seq.0{first}.weight', 0 if if_separable else 1),
            nf_base=size_of(weights, f'in_conv_seq.2{last}.weight'),
            nlevel=count_of(weights, 'down_'),
            down_method='strideconv' if f'down_0.layers.{2 if if_eca else 1}.weight' in weights else 'avepool2d',
            up_method='transpose2d' if 'up_0_0.up.weight' in weights else 'upsample',
            if_separable=if_separable,
            if_eca=if_eca,
            nf_out=size_of(weights, f'out_layers.0{".1" if if_eca else ""}{last}.weight'),
            all_exits=count_of(weights, 'out_layers.') > 1,
        )

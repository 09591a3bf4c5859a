"""BasicVSR++: second-order propagation through a grid of branches, with alignment by deformable convolutions that start
from optical flow (Chan et al., CVPR 2022).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Clip
from votes.archs.parts.blocks import conv3x3, count_of, upsample, zero_
from votes.archs.parts.deform import DeformConv
from votes.archs.parts.enlarging import Enlarging, scale_of
from votes.archs.parts.propagation import AT_ONCE, ConvResidualBlocks, basicsr_names, flows_of, in_pieces
from votes.archs.parts.published import fitting
from votes.archs.spynet_arch import SpyNet
from votes.ops.warp import flow_warp

BRANCHES = ('backward_1', 'forward_1', 'backward_2', 'forward_2')
GROUPS = 16  # of the deformable convolutions: half of them for each of the two frames


def _put(aside: bool, x: Tensor) -> Tensor:
    return x.cpu() if aside else x


class SecondOrderDeformableAlignment(DeformConv):
    """Features of two frames, aligned to a third.

    Args:
        channels: C of a frame's features.
        max_residue_magnitude: how many pixels an offset may be away from the flow.
    """

    def __init__(self, channels: int, max_residue_magnitude: float):
        super().__init__(2 * channels, channels)
        self.magnitude = max_residue_magnitude
        layers: list[nn.Module] = [conv3x3(3 * channels + 4, channels)]
        for width in (channels, channels, 27 * GROUPS):
            layers += [nn.LeakyReLU(0.1, inplace=True), conv3x3(channels, width)]
        self.conv_offset = nn.Sequential(*layers)
        zero_(*layers[-1].parameters())

    def forward(self, x: Tensor, guide: Tensor, flow1: Tensor, flow2: Tensor) -> Tensor:  # type: ignore[override]
        """(B, C, h, w).

        Args:
            x: (B, 2C, h, w), features of the frame before and of the one before that.
            guide: (B, 3C, h, w), the first of them warped, those of the frame itself, the second warped.
            flow1, flow2: (B, 2, h, w), from the frame to either.
        """
        # split, not sliced: see offsets_and_masks
        raw, mask = self.conv_offset(torch.cat((guide, flow1, flow2), 1)).split((18 * GROUPS, 9 * GROUPS), 1)
        # pixels of a flow are beyond half precision
        residue = self.magnitude * torch.tanh(raw.float())
        flows = [flow.float().flip(1).repeat(1, 9 * GROUPS // 2, 1, 1) for flow in (flow1, flow2)]
        return super().forward(x, residue + torch.cat(flows, 1), mask.sigmoid())


class BasicVSRPlusPlus(Enlarging):
    """(B, T, 3, h, w) RGB in [0, 1] -> (B, T, 3, S*h, S*w), not clamped; keys of the state_dict as in BasicSR.

    Args:
        mid_channels: channels C of the features.
        num_blocks: residual blocks of each branch.
        max_residue_magnitude: see SecondOrderDeformableAlignment.
        is_low_res_input: frames are enlarged; False: the output is as large as the input (NTIRE 2021, compressed
            video), flow and features are at a fraction of that size, and sides must be multiples of `scale`.
        cpu_cache_length: features of longer clips wait in the memory of the CPU, outside of training.
        scale: how often the features are enlarged: 4 as published, or 2; 3 with `is_low_res_input` alone.

    Training starts from a trained flow network, which rests at first and then learns slowly: the part `flow`.
    """

    sees = Clip()
    parts = {
        'flow': ('spynet.',),
        'features': ('feat_extract.',),
        'alignment': ('deform_align.',),
        'deformable': ('deform_align.',),
        'propagation': ('backbone.',),
        'reconstruction': ('reconstruction.', 'upconv', 'conv_hr.', 'conv_last.'),
    }
    small = {'mid_channels': 16, 'num_blocks': 1, 'scale': 2}

    def __init__(
        self,
        mid_channels: int = 64,
        num_blocks: int = 7,
        max_residue_magnitude: float = 10,
        is_low_res_input: bool = True,
        cpu_cache_length: int = 100,
        scale: int = 4,
    ):
        super().__init__()
        if 2 * mid_channels % GROUPS:
            raise ValueError(f'mid_channels must be a multiple of {GROUPS // 2}, not {mid_channels}')
        if not is_low_res_input and scale not in (2, 4):
            raise ValueError(f'scale is 2 or 4 where the size is kept, not {scale}')
        self.width, self.low_res, self.cache_length = mid_channels, is_low_res_input, cpu_cache_length
        self.scale, self.multiple = (scale, 1) if is_low_res_input else (1, scale)
        self.spynet = SpyNet()
        self.feat_extract = self._extraction(scale)
        self.deform_align = nn.ModuleDict(
            {name: SecondOrderDeformableAlignment(mid_channels, max_residue_magnitude) for name in BRANCHES}
        )
        self.backbone = nn.ModuleDict(
            {
                name: ConvResidualBlocks((2 + number) * mid_channels, mid_channels, num_blocks)
                for number, name in enumerate(BRANCHES)
            }
        )
        self.reconstruction = ConvResidualBlocks(5 * mid_channels, mid_channels, 5)
        self.add_enlarging(mid_channels, 3, scale)

    def _extraction(self, scale: int) -> nn.Module:
        if self.low_res:
            return ConvResidualBlocks(3, self.width, 5)
        layers: list[nn.Module] = []
        for before in (3, self.width)[: scale // 2]:
            layers += [conv3x3(before, self.width, stride=2), nn.LeakyReLU(0.1, inplace=True)]
        return nn.Sequential(*layers, ConvResidualBlocks(self.width, self.width, 5))

    def forward(self, lqs: Tensor) -> Tensor:
        batch, count = lqs.shape[:2]
        frames = lqs.flatten(0, 1)
        aside = not torch.is_grad_enabled() and count > self.cache_length
        past, future = flows_of(self.spynet, self._small(frames).unflatten(0, (batch, count)))
        spatial = in_pieces(lambda x: _put(aside, self.feat_extract(x)), frames)
        features = list(spatial.unflatten(0, (batch, count)).unbind(1))
        branches: list[list[Tensor]] = []
        for name in BRANCHES:
            backward = name.startswith('backward')
            branches.append(self._branch(name, features, branches, future if backward else past, backward, aside))
        found = [torch.stack(each, 1).flatten(0, 1) for each in (features, *branches)]
        return in_pieces(self._restored, frames, *found, at_once=AT_ONCE // self.scale**2).unflatten(0, (batch, count))

    def _small(self, frames: Tensor) -> Tensor:
        """Frames of the size of the features, on which flow is computed."""
        if self.low_res:
            return frames
        return F.interpolate(frames, scale_factor=1 / self.factor, mode='bicubic', align_corners=False)

    def _branch(
        self, name: str, features: list[Tensor], branches: list[list[Tensor]], flows: Tensor, reverse: bool, aside: bool
    ) -> list[Tensor]:
        """What a branch makes of each frame's features, of what earlier branches made of them, and of the two frames
        visited before.
        """
        align, backbone, device = self.deform_align[name], self.backbone[name], flows.device
        count = len(features)
        state = torch.zeros_like(features[0], device=device)
        before, step = torch.zeros_like(state), flows.new_zeros(len(flows), *flows.shape[2:])
        found: dict[int, Tensor] = {}
        for number, i in enumerate(reversed(range(count)) if reverse else range(count)):
            own = features[i].to(device)
            if number:
                flow1 = flows[:, i if reverse else i - 1]
                flow2, second = torch.zeros_like(flow1), torch.zeros_like(before)
                if number > 1:
                    flow2 = flow1 + flow_warp(step, flow1)
                    second = flow_warp(before, flow2)
                guide = torch.cat((flow_warp(state, flow1), own, second), 1)
                aligned = align(torch.cat((state, before), 1), guide, flow1, flow2)
                before, state, step = state, aligned, flow1
            others = [branch[i].to(device) for branch in branches]
            state = state + backbone(torch.cat((own, *others, state), 1))
            found[i] = _put(aside, state)
        return [found[i] for i in range(count)]

    def _restored(self, frames: Tensor, *features: Tensor) -> Tensor:
        joined = torch.cat([x.to(frames.device) for x in features], 1)
        return self.enlarge(self.reconstruction(joined)) + (upsample(frames, self.scale) if self.low_res else frames)

    published_weights = staticmethod(basicsr_names)

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class, of BasicSR or of mmagic."""
        weights = cls.published_weights(weights)
        if not {'backbone.backward_1.main.0.weight', 'upconv1.weight'} <= weights.keys():
            return None
        return fitting(
            cls,
            weights,
            mid_channels=weights['backbone.backward_1.main.0.weight'].shape[0],
            num_blocks=count_of(weights, 'backbone.backward_1.main.2.'),
            is_low_res_input='feat_extract.main.0.weight' in weights,
            scale=scale_of(weights),
        )

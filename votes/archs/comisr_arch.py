"""COMISR: compression-informed video super-resolution (Li et al., ICCV 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.parts.blocks import conv3x3, count_of, mirrored_at_edges, zero_
from votes.archs.parts.frame_recurrent import (
    FirstPixelUpsample,
    FNet,
    FrameRecurrent,
    SRNet,
    Transposed,
    cubic_kernels,
    linear_kernels,
    space_to_depth,
)
from votes.archs.parts.propagation import AT_ONCE, in_pieces
from votes.archs.parts.published import Weights, fitting, from_tensorflow, renamed, size_of
from votes.ops.warp import flow_warp

STEPS = {2: (2,), 3: (3,), 4: (2, 2)}
FLOW_FEAT = 64
SIDE = math.exp(-1 / (2 * 1.5**2)) / (1 + 2 * math.exp(-1 / (2 * 1.5**2)))  # of three taps, sigma 1.5


class COMISR(FrameRecurrent):
    """(B, T, 3, h, w) RGB in [0, 1], h and w at least 8 -> 'out' (B, T, 3, S*h, S*w), not clamped, and 'warped' of the
    same size, what was restored of the frame before as the flow moves it (of the first frame its enlargement).

    A published file (TensorFlow's variables, saved as a dictionary of tensors under their names) loads as it is. The LQ
    grid that it knows is that of every S-th pixel from the first. The authors put frames 5, 4, 3, 2, 1 before a clip.

    Args:
        vsr_scale: S, 4 in the paper. 2 and 3 enlarge in one step; there are no published weights of them, and the
            authors' code cannot compute them.
        num_resblock: residual blocks.
        num_feat: channels of the features.
    """

    parts = {'flow': ('fnet.', 'flow_up.'), 'reconstruction': ('srnet.',)}
    supervised = {'l_pix': {}, 'l_warp': {'output': 'warped', 'target': 'gt'}}
    small = {'vsr_scale': 2, 'num_resblock': 1, 'num_feat': 4}

    def __init__(self, vsr_scale: int = 4, num_resblock: int = 10, num_feat: int = 64):
        super().__init__()
        if vsr_scale not in STEPS:
            raise ValueError(f'vsr_scale must be 2, 3 or 4, not {vsr_scale}')
        self.scale = vsr_scale
        self.fnet = FNet()
        layers: list[nn.Module] = []
        for step in STEPS[vsr_scale]:
            layers += [Transposed(FLOW_FEAT if layers else 2, FLOW_FEAT, step, 'end'), nn.ReLU(inplace=True)]
        self.flow_up = nn.Sequential(*layers, conv3x3(FLOW_FEAT, 2))
        self.srnet = SRNet(num_feat, num_resblock, STEPS[vsr_scale], 'end')
        self.linear = FirstPixelUpsample(linear_kernels(vsr_scale))
        self.cubic = FirstPixelUpsample(cubic_kernels(vsr_scale))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(module.weight)
                zero_(module.bias)

    def flow(self, frame: Tensor, before: Tensor) -> Tensor:
        """From restored frames to those before them, (B, 2, S*h, S*w) in pixels of them, x then y."""
        found = self.fnet(torch.cat((before, frame), 1))
        bottom, right = (there - here for there, here in zip(frame.shape[-2:], found.shape[-2:], strict=True))
        found = mirrored_at_edges(found, 0, bottom, 0, right)
        with torch.autocast(frame.device.type, enabled=False):
            large = in_pieces(self._large, found, at_once=AT_ONCE // self.scale**2)
        return -large.flip(1)  # the published network has y first, and says where to a pixel moves

    def _large(self, flow: Tensor) -> Tensor:
        return self.flow_up(flow) + self.linear(self.scale * flow)

    def step(
        self, frames: Tensor, state: dict[str, Tensor] | None, flow: Tensor | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One frame, see FrameRecurrent; the state is the frame before and what was restored of it."""
        frame = frames[:, 0]
        base = self.cubic(frame)
        if state is None:
            warped, before = base, torch.zeros_like(base)
        else:
            if flow is None:
                flow = self.flow(frame, state['frame'])
            warped = flow_warp(state['out'], flow, 'border')
            before = 2 * warped - blurred(warped)
        out = base + self.srnet(frame, space_to_depth(before, self.scale))
        return {'out': out, 'warped': warped}, {'frame': frame, 'out': out}

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """The authors' variables by the names of this class."""
        given = from_tensorflow(weights)
        unit, flow = r'generator\.generator_unit\.', r'fnet\.autoencode_unit\.'
        blocks = {  # counted from 1
            rf'{unit}resblock_{i}\.conv_{j}\.Conv\.': f'srnet.resblocks.{i - 1}.conv.{2 * j - 2}.'
            for i in range(1, len(given))
            for j in (1, 2)
            if f'generator.generator_unit.resblock_{i}.conv_{j}.Conv.weight' in given
        }
        return renamed(
            given,
            {
                rf'{unit}input_stage\.conv\.Conv\.': 'srnet.conv_in.0.',
                **blocks,
                rf'{unit}conv_tran2highres\.conv_tran1\.Conv2d_transpose\.': 'srnet.conv_up.0.',
                rf'{unit}conv_tran2highres\.conv_tran2\.Conv2d_transpose\.': 'srnet.conv_up.2.',
                rf'{unit}output_stage\.conv\.Conv\.': 'srnet.conv_out.',
                rf'{flow}(encoder|decoder)_(\d)\.conv_1\.Conv\.': r'fnet.\1\2.0.',
                rf'{flow}(encoder|decoder)_(\d)\.conv_2\.Conv\.': r'fnet.\1\2.2.',
                rf'{flow}output_stage\.conv1\.Conv\.': 'fnet.flow.0.',
                rf'{flow}output_stage\.conv2\.Conv\.': 'fnet.flow.2.',
                r'fnet\.deconv_flow_tran1\.Conv2d_transpose\.': 'flow_up.0.',
                r'fnet\.deconv_flow_tran2\.Conv2d_transpose\.': 'flow_up.2.',
                r'fnet\.deconv_flow_conv\.Conv\.': 'flow_up.4.',
            },
        )

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, of this class or of the authors."""
        found = cls.published_weights(dict(weights))
        num_feat, inputs = (size_of(found, 'srnet.conv_in.0.weight', dim) for dim in (0, 1))
        if not num_feat:
            return None
        return fitting(
            cls,
            found,
            vsr_scale=math.isqrt((inputs - 3) // 3),
            num_resblock=count_of(found, 'srnet.resblocks.'),
            num_feat=num_feat,
        )


def blurred(x: Tensor) -> Tensor:
    """A Gaussian of 3x3 pixels and sigma 1.5, mirrored at the edges: (B, C, H, W) -> the same."""
    for dim, pad in ((2, (0, 0, 1, 1)), (3, (1, 1, 0, 0))):
        wide, length = F.pad(x, pad, mode='reflect'), x.shape[dim]
        first, middle, last = (wide.narrow(dim, i, length) for i in range(3))
        x = SIDE * (first + last) + (1 - 2 * SIDE) * middle
    return x

"""FRVSR: frame-recurrent video super-resolution (Sajjadi, Vemulapalli and Brown, CVPR 2018), as TecoGAN's generator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from votes.archs.parts.blocks import count_of, upsample
from votes.archs.parts.frame_recurrent import (
    FirstPixelUpsample,
    FNet,
    FrameRecurrent,
    SRNet,
    cubic_kernels,
    space_to_depth,
)
from votes.archs.parts.published import fitting, size_of
from votes.ops.warp import flow_warp


class FRVSR(FrameRecurrent):
    """(B, T, 3, h, w) RGB in [0, 1], h and w at least 8 -> 'out' (B, T, 3, S*h, S*w), not clamped, and 'warped'
    (B, T, 3, h, w), each frame as the one before it and the flow show it (of the first frame itself).

    Keys of the state_dict as in TecoGAN-PyTorch. The paper rounds nothing that is fed back, and neither is it here.

    Args:
        scale: S, 2 or 4.
        num_feat, num_block: channels and residual blocks; TecoGAN has 16 blocks.
        degradation: how LQ lies over GT, and so how frames and flows are enlarged: 'BD' (blurred, then every S-th pixel
            from the first) by cubic convolution on that grid, 'BI' (bicubic) bilinearly on pixel centres.
    """

    parts = {'flow': ('fnet.',), 'reconstruction': ('srnet.',)}
    supervised = {'l_pix': {}, 'l_warp': {'output': 'warped', 'target': 'lq'}}
    small = {'scale': 2, 'num_feat': 4, 'num_block': 1}

    def __init__(
        self, scale: int = 4, num_feat: int = 64, num_block: int = 10, degradation: Literal['BD', 'BI'] = 'BD'
    ):
        super().__init__()
        if scale not in (2, 4) or degradation not in ('BD', 'BI'):
            raise ValueError(f"scale is 2 or 4, degradation 'BD' or 'BI'; not {scale} and {degradation!r}")
        self.scale = scale
        self.fnet = FNet()
        self.srnet = SRNet(num_feat, num_block, (2,) * (scale // 2))
        self.upsample_func: FirstPixelUpsample | None = None
        if degradation == 'BD':
            self.upsample_func = FirstPixelUpsample(cubic_kernels(scale), stored=True)
            # public files hold the kernels twice
            self.srnet.upsample_func = FirstPixelUpsample(cubic_kernels(scale), stored=True)

    def enlarged(self, x: Tensor) -> Tensor:
        """Frames or flows on the grid of the degradation."""
        return upsample(x, self.scale) if self.upsample_func is None else self.upsample_func(x)

    def flow(self, frame: Tensor, before: Tensor) -> Tensor:
        """From frames (B, 3, h, w) to those before them, (B, 2, h, w) in pixels."""
        found = self.fnet(torch.cat((frame, before), 1))
        bottom, right = (there - here for there, here in zip(frame.shape[-2:], found.shape[-2:], strict=True))
        return F.pad(found, (0, right, 0, bottom), mode='reflect')

    def step(
        self, frames: Tensor, state: dict[str, Tensor] | None, flow: Tensor | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One frame, see FrameRecurrent; the state is the frame before and what was restored of it."""
        frame = frames[:, 0]
        base = self.enlarged(frame)
        if state is None:
            seen, before = frame, torch.zeros_like(base)
        else:
            if flow is None:
                flow = self.flow(frame, state['frame'])
            seen = flow_warp(state['frame'], flow, 'border')
            before = flow_warp(state['out'], self.scale * self.enlarged(flow), 'border')
        out = base + self.srnet(frame, space_to_depth(before, self.scale))
        return {'out': out, 'warped': seen}, {'frame': frame, 'out': out}

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict."""
        found = dict(weights)
        num_feat, inputs = (size_of(found, 'srnet.conv_in.0.weight', dim) for dim in (0, 1))
        if not num_feat:
            return None
        return fitting(
            cls,
            found,
            scale=math.isqrt((inputs - 3) // 3),
            num_feat=num_feat,
            num_block=count_of(found, 'srnet.resblocks.'),
            degradation='BD' if 'upsample_func.kernels' in found else 'BI',
        )

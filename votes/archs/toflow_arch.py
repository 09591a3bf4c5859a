"""TOFlow: video enhancement with task-oriented flow (Xue et al., IJCV 2019)."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.parts.blocks import check_window, enlarged
from votes.archs.parts.published import Weights, fitting, size_of
from votes.archs.spynet_arch import DEVIATION, MEAN
from votes.ops.warp import flow_warp

FRAMES, CENTRE = 7, 3
LEVELS = 4
OFFICIAL_ORDER = (3, 0, 1, 2, 4, 5, 6)  # the centre frame first


class FlowLevel(nn.Module):
    """What the flow of one level lacks: (B, 8, h, w), both frames and the flow so far -> (B, 2, h, w). Unlike in the
    SpyNet of other networks, convolutions but the last are normalised by their batch.
    """

    compiled_alone = True

    def __init__(self, num_feat: int):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((8, num_feat // 2, num_feat, num_feat // 2, num_feat // 4)):
            layers += [nn.Conv2d(before, after, 7, padding=3, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.basic_module = nn.Sequential(*layers, nn.Conv2d(num_feat // 4, 2, 7, padding=3))

    def forward(self, x: Tensor) -> Tensor:
        return self.basic_module(x)


class SpyNetTOF(nn.Module):
    """Flow by a pyramid of four levels: normalised frames (B, 3, h, w), h and w multiples of 16 -> (B, 2, h, w) in
    pixels, x then y: `supp` sampled at a pixel plus its flow looks like `ref`.

    All pairs of a window are one batch, also to the normalisation in training, where the public code has a batch for
    each place in the window.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.basic_module = nn.ModuleList(FlowLevel(num_feat) for _ in range(LEVELS))

    def forward(self, ref: Tensor, supp: Tensor) -> Tensor:
        pyramid = [(ref, supp)]
        for _ in range(LEVELS - 1):
            pyramid.append(tuple(F.avg_pool2d(x, 2) for x in pyramid[-1]))  # type: ignore[arg-type]
        height, width = ref.shape[2] // 2**LEVELS, ref.shape[3] // 2**LEVELS
        flow = ref.new_zeros(ref.shape[0], 2, height, width)
        for (one, other), module in zip(reversed(pyramid), self.basic_module, strict=True):
            flow = 2 * F.interpolate(flow, scale_factor=2, mode='bilinear', align_corners=True)
            flow = flow + module(torch.cat((one, flow_warp(other, flow), flow), 1)).to(flow.dtype)
        return flow


class TOFlow(nn.Module):
    """(B, 7, 3, h, w) RGB in [0, 1] -> the centre frame (B, 3, S*h, S*w), not clamped; keys of the state_dict as in
    BasicSR. Height and width of the output are multiples of 16.

    Frames are brought to the centre one by optical flow, and four convolutions tell what the centre frame lacks.

    Args:
        adapt_official_weights: the centre frame goes before the others, as the converted weights of the authors need
            it; else frames are in the order of time.
        upscale: S: frames are enlarged so often by bicubic interpolation first; 1 for frames that are enlarged already.
        num_feat: channels, a multiple of 4, 64 in the paper; layers of the flow have as many and fewer.
    """

    parts = {'flow': ('spynet.',)}
    small = {'adapt_official_weights': True, 'num_feat': 8}
    mean: Tensor
    std: Tensor

    def __init__(self, adapt_official_weights: bool = False, upscale: int = 1, num_feat: int = 64):
        super().__init__()
        if upscale not in (1, 2, 3, 4):
            raise ValueError(f'upscale must be 1, 2, 3 or 4, not {upscale}')
        self.sees, self.scale = Window(FRAMES), upscale
        self.multiple = {1: 16, 2: 8, 3: 16, 4: 4}[upscale]
        self.order = OFFICIAL_ORDER if adapt_official_weights else tuple(range(FRAMES))
        self.register_buffer('mean', torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor(DEVIATION).view(1, 3, 1, 1))
        self.spynet = SpyNetTOF(num_feat)
        self.conv_1 = nn.Conv2d(3 * FRAMES, num_feat, 9, padding=4)
        self.conv_2 = nn.Conv2d(num_feat, num_feat, 9, padding=4)
        self.conv_3 = nn.Conv2d(num_feat, num_feat, 1)
        self.conv_4 = nn.Conv2d(num_feat, 3, 1)

    def aligned(self, frames: Tensor) -> Tensor:
        """Normalised frames (B, 7, 3, h, w) brought to the centre one, (B, 7, 3, h, w)."""
        others = [i for i in range(FRAMES) if i != CENTRE]
        supp = frames[:, others].flatten(0, 1)
        ref = frames[:, CENTRE : CENTRE + 1].expand(-1, len(others), -1, -1, -1).flatten(0, 1)
        with torch.autocast(frames.device.type, enabled=False):  # half a pixel far away is beyond bfloat16
            warped = flow_warp(supp, self.spynet(ref, supp)).unflatten(0, (-1, len(others)))
        return torch.cat((warped[:, :CENTRE], frames[:, CENTRE : CENTRE + 1], warped[:, CENTRE:]), 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 7, 3, h, w) -> (B, 3, S*h, S*w)."""
        check_window(x, FRAMES, self.multiple)
        if self.scale > 1:
            size = (x.shape[-2] * self.scale, x.shape[-1] * self.scale)
            x = enlarged(x.flatten(0, 1), size).unflatten(0, x.shape[:2])
        frames = (x - self.mean) / self.std
        found = self.aligned(frames)[:, self.order].flatten(1, 2)
        for conv in (self.conv_1, self.conv_2, self.conv_3):
            found = F.relu(conv(found), inplace=True)
        return (self.conv_4(found) + frames[:, CENTRE]) * self.std + self.mean

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict. All published weights are the authors', converted."""
        if not {'conv_4.weight', 'spynet.basic_module.3.basic_module.12.weight'} <= weights.keys():
            return None
        if size_of(weights, 'conv_1.weight', 1) != 3 * FRAMES:
            return None
        return fitting(cls, weights, adapt_official_weights=True, num_feat=size_of(weights, 'conv_1.weight'))

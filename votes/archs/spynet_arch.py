"""SpyNet: optical flow by a pyramid of small networks (Ranjan and Black, CVPR 2017), as the BasicVSR family has it."""

from __future__ import annotations

import itertools
import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.parts.published import fitting
from votes.ops.exporting import autocast
from votes.ops.warp import flow_warp

LEVELS = 6
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class BasicModule(nn.Module):
    """What the flow of one level lacks: (B, 8, h, w), both frames and the flow so far -> (B, 2, h, w)."""

    compiled_alone = True

    def __init__(self) -> None:
        super().__init__()
        widths = (8, 32, 64, 32, 16, 2)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 7, padding=3), nn.ReLU(inplace=True)]
        self.basic_module = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.basic_module(x)


class SpyNet(nn.Module):
    """``net(ref, supp)``: frames (B, 3, h, w) RGB in [0, 1] -> flow (B, 2, h, w) in pixels, x then y: `supp` sampled at
    a pixel plus its flow looks like `ref`.

    Always in float32: half a pixel at a distance of 100 is beyond bfloat16. Keys are BasicSR's.
    """

    sees = None
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.basic_module = nn.ModuleList(BasicModule() for _ in range(LEVELS))
        self.register_buffer('mean', torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor(DEVIATION).view(1, 3, 1, 1))

    def forward(self, ref: Tensor, supp: Tensor) -> Tensor:
        with autocast(ref.device.type):
            return self._flow(ref.to(self.mean.dtype), supp.to(self.mean.dtype))

    def _flow(self, ref: Tensor, supp: Tensor) -> Tensor:
        height, width = ref.shape[-2:]
        size = -(-height // 32) * 32, -(-width // 32) * 32
        refs, supps = self._pyramid(ref, size), self._pyramid(supp, size)
        # BasicSR starts from half of the coarsest level, which is nothing where a side is 32; the numbers are the same
        flow = torch.zeros_like(refs[0][:, :2])
        for level, (one, other, module) in enumerate(zip(refs, supps, self.basic_module, strict=True)):
            if level:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode='bilinear', align_corners=True)
            flow = flow + module(torch.cat((one, flow_warp(other, flow, 'border'), flow), 1))
        flow = F.interpolate(flow, (height, width), mode='bilinear', align_corners=False)
        return torch.cat((flow[:, :1] * (width / size[1]), flow[:, 1:] * (height / size[0])), 1)

    def _pyramid(self, x: Tensor, size: tuple[int, int]) -> list[Tensor]:
        """Normalised frames of `size` and halved five times, the smallest first."""
        levels = [(F.interpolate(x, size, mode='bilinear', align_corners=False) - self.mean) / self.std]
        for _ in range(LEVELS - 1):
            levels.append(F.avg_pool2d(levels[-1], 2))
        return levels[::-1]

    @classmethod
    def published_weights(cls, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Files of this network alone lack the constants; mmagic counts convolutions, not layers."""
        constants = {'mean': torch.tensor(MEAN).view(1, 3, 1, 1), 'std': torch.tensor(DEVIATION).view(1, 3, 1, 1)}
        return constants | {layer_name(key): value for key, value in weights.items()}

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class, of BasicSR or of mmagic: there are none."""
        return (
            fitting(cls, weights)
            if f'basic_module.{LEVELS - 1}.basic_module.0.weight' in map(layer_name, weights)
            else None
        )


def layer_name(key: str) -> str:
    """``...basic_module.3.conv.weight`` of mmagic -> ``...basic_module.6.weight``; other keys as they are."""
    return re.sub(r'basic_module\.(\d)\.conv\.', lambda found: f'basic_module.{2 * int(found[1])}.', key)

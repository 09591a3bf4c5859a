"""Pieces of networks that enlarge single pictures: how they take pixels in, and how they get larger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.parts.blocks import conv3x3, count_of

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # of the training pictures, R, G, B


def enlarging(scale: int, num_feat: int) -> nn.Sequential:
    """(B, C, h, w) -> (B, C, S*h, S*w) by convolutions and pixel shuffling: once by 3, or so often by 2; no layers for
    a scale of 1.
    """
    steps = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
    if scale < 1 or (scale != 3 and scale & (scale - 1)):
        raise ValueError(f'scale must be 3 or a power of 2, not {scale}')
    layers: list[nn.Module] = []
    for step in steps:
        layers += [conv3x3(num_feat, num_feat * step**2), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """x + res_scale * body(x), with the names of EDSR's authors.

    Args:
        layers: of the body.
        res_scale: factor on what is added.
    """

    compiled_alone = True  # see compile_blocks

    def __init__(self, *layers: nn.Module, res_scale: float = 1.0):
        super().__init__()
        self.res_scale = res_scale
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        change = self.body(x)
        return x + (change if self.res_scale == 1 else change * self.res_scale)


def scale_of_enlarging(weights: Mapping[str, Tensor], prefix: str) -> int:
    """The scale of `enlarging`, told by a state_dict whose keys of it begin with `prefix`."""
    first = weights.get(f'{prefix}0.weight')
    if first is None:
        return 1
    if first.shape[0] == 9 * first.shape[1]:
        return 3
    return int(2 ** ((count_of(weights, prefix) + 1) // 2))


def channel_mean(values: Sequence[float]) -> Tensor:
    """One value a channel, (1, C, 1, 1)."""
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


class MeanShift(nn.Conv2d):
    """A 1x1 convolution of three channels that takes a mean from pixels, or gives it back: at the start
    ``x + sign * img_range * mean``. Some published files hold other values, which were trained.

    Args:
        sign: -1 to take the mean away, 1 to give it back.
        trained: it is a part of the network that learns; EDSR's authors keep it fixed.
    """

    def __init__(self, img_range: float, mean: Sequence[float], sign: int, trained: bool = False):
        super().__init__(3, 3, 1)
        with torch.no_grad():
            self.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
            self.bias.copy_(sign * img_range * torch.tensor(mean))  # type: ignore[union-attr]
        self.requires_grad_(trained)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> the same in float32 also under autocast: bfloat16 does not tell pixel 250 from 251."""
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(x.float(), self.weight, self.bias)


def range_and_mean(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """`img_range` and `rgb_mean`, told by the layers sub_mean and add_mean of EDSR's authors where a file has them."""
    mean = weights.get('add_mean.bias')
    if mean is None:
        return {}
    img_range = 255.0 if mean.abs().max() > 1 else 1.0
    return {'img_range': img_range, 'rgb_mean': [round(float(m) / img_range, 6) for m in mean]}

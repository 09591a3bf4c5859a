"""Frames of any size through a network that wants multiples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn


def to_multiple(x: Tensor, multiple: int) -> Tensor:
    """x (B, T, C, h, w) grown at the bottom and the right until h and w are multiples.

    Padding mirrors the frame; frames too small to be mirrored repeat their edge.
    """
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not (bottom or right):
        return x
    mode = 'reflect' if bottom < height and right < width else 'replicate'
    return F.pad(x.flatten(0, 1), (0, right, 0, bottom), mode=mode).unflatten(0, x.shape[:2])


def forward_padded(net: nn.Module, x: Tensor, output_of: Callable[[Any], Tensor] = lambda result: result) -> Tensor:
    """``net(x)`` for x (B, T, C, h, w) of any size: padded to multiples of ``net.multiple``, the output cropped back.

    Args:
        output_of: picks the picture out of what the network returns.
    """
    height, width = x.shape[-2:]
    multiple, scale = int(cast(int, net.multiple)), int(cast(int, net.scale))
    return output_of(net(to_multiple(x, multiple)))[..., : height * scale, : width * scale]

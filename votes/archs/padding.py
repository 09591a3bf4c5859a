"""Frames of any size through a network that wants multiples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn


def forward_padded(net: nn.Module, x: Tensor, output_of: Callable[[Any], Tensor] = lambda result: result) -> Tensor:
    """``net(x)`` for x (B, T, C, h, w) of any size: padded to multiples of ``net.multiple``, the output cropped back.

    Padding mirrors the frame; frames too small to be mirrored repeat their edge.

    Args:
        output_of: picks the picture out of what the network returns.
    """
    height, width = x.shape[-2:]
    multiple, scale = int(cast(int, net.multiple)), int(cast(int, net.scale))
    bottom, right = -height % multiple, -width % multiple
    if bottom or right:
        mode = 'reflect' if bottom < height and right < width else 'replicate'
        x = F.pad(x.flatten(0, 1), (0, right, 0, bottom), mode=mode).unflatten(0, x.shape[:2])
    return output_of(net(x))[..., : height * scale, : width * scale]

"""Warping by optical flow: the one way in which networks sample a picture at places that move."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def flow_warp(
    x: Tensor,
    flow: Tensor,
    padding: Literal['zeros', 'border', 'reflection'] = 'zeros',
    align_corners: bool = True,
    mode: Literal['bilinear', 'nearest'] = 'bilinear',
) -> Tensor:
    """``out[y, x] = x[y + flow_y, x + flow_x]``, between pixels by `mode`.

    Args:
        x: (B, C, h, w), a picture, features or a map.
        flow: (B, 2, h, w) in pixels of `x`: to the right, then downwards, from a pixel to where it is sampled.
        padding: what lies outside of the picture: zeros, its nearest pixel, or its mirror image.
        align_corners: where sampling starts to lie outside: beyond the centres of the outermost pixels (True), or
            beyond their outer edges. What lies between the centres is the same.

    Returns:
        (B, C, h, w) of the type of `x`. Places are computed in float32 or better: bfloat16 knows no pixel 257.
    """
    height, width = x.shape[-2:]
    kind = torch.promote_types(torch.promote_types(x.dtype, flow.dtype), torch.float32)
    flow = flow.to(kind)
    across = torch.arange(width, dtype=kind, device=x.device) + flow[:, 0]
    down = torch.arange(height, dtype=kind, device=x.device).unsqueeze(1) + flow[:, 1]
    if align_corners:
        places = (2 * across / max(width - 1, 1) - 1, 2 * down / max(height - 1, 1) - 1)
    else:
        places = ((2 * across + 1) / width - 1, (2 * down + 1) / height - 1)
    with torch.autocast(x.device.type, enabled=False):
        warped = F.grid_sample(
            x.to(kind), torch.stack(places, -1), mode=mode, padding_mode=padding, align_corners=align_corners
        )
    return warped.to(x.dtype)

"""Deformable convolution written down as its definition: the twin that every backend is tested against.

Slow and large in memory; differentiable any number of times.
"""

from __future__ import annotations

import torch
from torch import Tensor


def deform_conv2d(
    x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor | None, *geometry: int
) -> Tensor:
    (batch, channels, height, width), (stride, padding, dilation) = x.shape, geometry
    kernel_height, kernel_width = weight.shape[2:]
    taps = kernel_height * kernel_width
    groups = offset.shape[1] // (2 * taps)
    out_height, out_width = offset.shape[2:]
    dtype = torch.promote_types(x.dtype, torch.float32)
    shift = offset.to(dtype).reshape(batch, groups, taps, 2, out_height, out_width)
    tap = torch.arange(taps, device=x.device)
    tap_y = (tap // kernel_width * dilation - padding).view(taps, 1, 1)
    tap_x = (tap % kernel_width * dilation - padding).view(taps, 1, 1)
    y = shift[:, :, :, 0] + tap_y + torch.arange(out_height, device=x.device).view(-1, 1) * stride
    x_ = shift[:, :, :, 1] + tap_x + torch.arange(out_width, device=x.device) * stride
    flat = x.to(dtype).reshape(batch, groups, channels // groups, height * width)

    def corner(row: Tensor, column: Tensor) -> Tensor:
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
        index = index.reshape(batch, groups, 1, taps * out_height * out_width).expand(-1, -1, channels // groups, -1)
        value = flat.gather(3, index).view(batch, groups, channels // groups, taps, out_height, out_width)
        return value * inside.unsqueeze(2)

    top, left = y.detach().floor(), x_.detach().floor()
    down, right = (y - top).unsqueeze(2), (x_ - left).unsqueeze(2)
    columns = (
        (1 - down) * (1 - right) * corner(top, left)
        + (1 - down) * right * corner(top, left + 1)
        + down * (1 - right) * corner(top + 1, left)
        + down * right * corner(top + 1, left + 1)
    )
    if mask is not None:
        columns = columns * mask.to(dtype).reshape(batch, groups, 1, taps, out_height, out_width)
    columns = columns.reshape(batch, channels * taps, out_height * out_width)
    out = (weight.to(dtype).reshape(weight.shape[0], -1) @ columns).view(batch, weight.shape[0], out_height, out_width)
    if bias is not None:
        out = out + bias.to(dtype).view(-1, 1, 1)
    return out.to(x.dtype)

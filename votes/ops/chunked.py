"""Deformable convolution in pure torch, for every dtype and device, without a compiler.

Columns (nine sampled values a channel) are made for a few images or rows at a time, multiplied with the weight and
forgotten; the backward pass makes them again. Sampling is grid_sample on a map padded to powers of two: there the way
from pixels to normalised coordinates and back is exact for integers, so that floor() falls on the right side at the
zero offsets that every network starts from. On unpadded maps a tenth of the offset gradients would be wrong there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

FORWARD_BYTES = 4 << 20  # columns that stay in the cache are measurably faster than larger ones
MAX_ROW_CHUNKS = 8  # of one image in the backward pass, each of which clears a whole gradient map


def power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()


@dataclass
class _Sampler:
    """Samples the columns of a chunk: a range of images and a range of output rows."""

    maps: Tensor  # (B, G, C/G, Hp, Wp), zero beyond (H, W)
    offset: Tensor  # (B, G, K, 2, Ho, Wo)
    mask: Tensor | None  # (B, G, K, Ho, Wo)
    kernel_width: int
    stride: int
    padding: int
    dilation: int

    def grid(self, images: slice, rows: slice) -> Tensor:
        """(b*G, K*r, Wo, 2) normalised coordinates, x before y."""
        shift = self.offset[images, ..., rows, :]
        device, taps, width = shift.device, shift.shape[2], shift.shape[-1]
        tap = torch.arange(taps, device=device)
        tap_y = (tap // self.kernel_width * self.dilation - self.padding).view(taps, 1, 1)
        tap_x = (tap % self.kernel_width * self.dilation - self.padding).view(taps, 1, 1)
        y = shift[:, :, :, 0] + (tap_y + torch.arange(rows.start, rows.stop, device=device).view(-1, 1) * self.stride)
        x = shift[:, :, :, 1] + (tap_x + torch.arange(width, device=device) * self.stride)
        height_scale, width_scale = self.scales
        grid = torch.stack((x.add_(0.5).mul_(width_scale).sub_(1), y.add_(0.5).mul_(height_scale).sub_(1)), -1)
        return grid.view(-1, taps * y.shape[3], width, 2)

    @property
    def scales(self) -> tuple[float, float]:
        """d(normalised) / d(pixel), vertical and horizontal."""
        return 2 / self.maps.shape[-2], 2 / self.maps.shape[-1]

    def sample(self, images: slice, grid: Tensor) -> Tensor:
        """(b*G, C/G, K*r, Wo) values of the maps at the grid, before the mask."""
        return F.grid_sample(self.maps[images].flatten(0, 1), grid, padding_mode='zeros', align_corners=False)

    def mask_of(self, images: slice, rows: slice) -> Tensor | None:
        """(b*G, 1, K*r, Wo)."""
        if self.mask is None:
            return None
        part = self.mask[images, ..., rows, :]
        return part.reshape(-1, 1, part.shape[2] * part.shape[3], part.shape[4])


def _chunks(sampler: _Sampler, flat_weight: Tensor, most: int | None = None) -> Iterator[tuple[slice, slice]]:
    """Whole images together while their columns fit FORWARD_BYTES, else rows of one image, in `most` parts of it."""
    batch, (height, width) = sampler.offset.shape[0], sampler.offset.shape[-2:]
    per_image = max(1, flat_weight.shape[1] * height * width * flat_weight.element_size())
    images = max(1, FORWARD_BYTES // per_image)
    parts = min(height, most or height, -(-per_image // FORWARD_BYTES))
    rows = -(-height // parts)  # alike: a short last one would cost as many calls
    for first in range(0, batch, images):
        for top in range(0, height, rows):
            yield slice(first, min(batch, first + images)), slice(top, min(height, top + rows))


def _columns(sampler: _Sampler, factor: Tensor, images: slice, rows: slice) -> Tensor:
    """(b, C*K, r*Wo) sampled values times their masks, in the dtype of the weights (Co, C*K)."""
    columns = sampler.sample(images, sampler.grid(images, rows))
    mask_part = sampler.mask_of(images, rows)
    if mask_part is not None:
        columns *= mask_part
    return columns.view(images.stop - images.start, factor.shape[1], -1).to(factor.dtype)


def deform_conv2d_by_shape(
    x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor | None, *geometry: int
) -> Tensor:
    """What counts operations and memory on fake tensors sees of `deform_conv2d`, in a few operators instead of some for
    every chunk: two chunks stand for the memory of all, one product of the whole size for their arithmetic. The values
    mean nothing.
    """
    with torch.autocast(x.device.type, enabled=False):
        sampler, flat_weight = _prepare(x, offset, mask, weight, geometry)
        batch, size = x.shape[0], offset.shape[2:]
        factor = flat_weight.to(x.dtype)
        everything = factor.new_empty(()).expand(batch, factor.shape[1], size[0] * size[1])  # holds one number
        out = torch.bmm(factor.expand(batch, -1, -1), everything).view(batch, -1, *size)
        for images, rows in itertools.islice(_chunks(sampler, flat_weight), 2):
            columns = _columns(sampler, factor, images, rows)  # while those of the chunk before are still there
            factor.new_empty(len(columns), len(factor), columns.shape[2])  # their product lives for a moment
        if bias is not None:
            out += bias.to(out.dtype).view(-1, 1, 1)
    return out.to(x.dtype)


class _DeformConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor | None, *geometry: int
    ) -> Tensor:
        ctx.save_for_backward(x, offset, mask, weight, bias)
        ctx.geometry = geometry
        with torch.autocast(x.device.type, enabled=False):
            sampler, flat_weight = _prepare(x, offset, mask, weight, ctx.geometry)
            batch, out_channels, (height, width) = x.shape[0], weight.shape[0], offset.shape[2:]
            # sampled in float32; the product of half-precision features may then use what the hardware has for them
            factor = flat_weight.to(x.dtype)
            out = factor.new_empty(batch, out_channels, height, width)
            for images, rows in _chunks(sampler, flat_weight):
                columns = _columns(sampler, factor, images, rows)
                out[images, :, rows] = (factor @ columns).view(len(columns), out_channels, -1, width)
            if bias is not None:
                out += bias.to(out.dtype).view(-1, 1, 1)
        return out.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        x, offset, mask, weight, bias = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            sampler, flat_weight = _prepare(x, offset, mask, weight, ctx.geometry)
            grad_out = grad_out.to(flat_weight.dtype).contiguous()
            grad_maps = torch.zeros_like(sampler.maps)
            grad_offset = torch.empty_like(sampler.offset)
            grad_mask = None if sampler.mask is None else torch.empty_like(sampler.mask)
            grad_weight = torch.zeros_like(flat_weight)
            height_scale, width_scale = sampler.scales
            for images, rows in _chunks(sampler, flat_weight, MAX_ROW_CHUNKS):
                grid = sampler.grid(images, rows)
                sampled = sampler.sample(images, grid)
                mask_part = sampler.mask_of(images, rows)
                grad_rows = grad_out[images, :, rows].flatten(2)
                grad_columns = (flat_weight.t() @ grad_rows).view_as(sampled)
                if mask_part is not None and grad_mask is not None:
                    target = grad_mask[images, ..., rows, :]
                    target.copy_((grad_columns * sampled).sum(1).view(target.shape))
                    sampled *= mask_part
                    grad_columns *= mask_part
                columns = sampled.view(len(grad_rows), flat_weight.shape[1], -1)
                grad_weight += torch.bmm(grad_rows, columns.transpose(1, 2)).sum(0)
                part, grad_grid = torch.ops.aten.grid_sampler_2d_backward(
                    grad_columns, sampler.maps[images].flatten(0, 1), grid, 0, 0, False, [True, True]
                )
                grad_maps[images] += part.view_as(grad_maps[images])
                target = grad_offset[images, ..., rows, :]
                grad_grid = grad_grid.view(*target.shape[:3], *target.shape[4:], 2)
                target[:, :, :, 0] = grad_grid[..., 1] * height_scale
                target[:, :, :, 1] = grad_grid[..., 0] * width_scale
                # else they are still there while those of the next chunk are made
                del grid, sampled, mask_part, columns, grad_columns, part, grad_grid, target
        grad_x = grad_maps[..., : x.shape[2], : x.shape[3]].reshape(x.shape).to(x.dtype)
        grad_bias = None if bias is None else grad_out.sum((0, 2, 3)).to(bias.dtype)
        return (
            grad_x,
            grad_offset.view_as(offset).to(offset.dtype),
            None if mask is None or grad_mask is None else grad_mask.view_as(mask).to(mask.dtype),
            grad_weight.view_as(weight).to(weight.dtype),
            grad_bias,
            *(None for _ in ctx.geometry),
        )


deform_conv2d: Callable[..., Tensor] = _DeformConv.apply


def _prepare(
    x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, geometry: tuple[int, ...]
) -> tuple[_Sampler, Tensor]:
    """The sampler and the weight as (Co, C*K), both in float32, or float64 for float64 features."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    batch, channels, height, width = x.shape
    taps = weight.shape[2] * weight.shape[3]
    groups = offset.shape[1] // (2 * taps)
    size = offset.shape[2:]
    maps = F.pad(x.to(dtype), (0, power_of_two(width) - width, 0, power_of_two(height) - height))
    sampler = _Sampler(
        maps.contiguous().view(batch, groups, channels // groups, *maps.shape[2:]),
        offset.to(dtype).reshape(batch, groups, taps, 2, *size),
        None if mask is None else mask.to(dtype).reshape(batch, groups, taps, *size),
        weight.shape[3],
        *geometry,
    )
    return sampler, weight.to(dtype).reshape(weight.shape[0], -1)

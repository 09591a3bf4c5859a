"""Backends that need something else: Triton, torchvision, mmcv. Each is imported on first use."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


def _in_float32(*tensors: Tensor | None) -> list[Tensor | None]:
    """Half precision raised to float32: these operators compute coordinates in the dtype of the features."""
    return [t.float() if t is not None and t.dtype in (torch.float16, torch.bfloat16) else t for t in tensors]


def triton_deform_conv2d(x: Tensor, *others: Any) -> Tensor:
    """Our own, fused; float64 is left to the one in torch."""
    from votes.ops import chunked, fused

    fused.check_device(x)
    compute = chunked.deform_conv2d if x.dtype == torch.float64 else fused.deform_conv2d
    return compute(x, *others)


def torchvision_deform_conv2d(
    x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor | None, *geometry: int
) -> Tensor:
    from torchvision.ops import deform_conv2d

    with torch.autocast(x.device.type, enabled=False):
        data, offset_, mask_, weight_, bias_ = _in_float32(x, offset, mask, weight, bias)
        return deform_conv2d(data, offset_, weight_, bias_, *geometry, mask_).to(x.dtype)


def mmcv_deform_conv2d(
    x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor | None, *geometry: int
) -> Tensor:
    from mmcv.ops import modulated_deform_conv2d

    groups = offset.shape[1] // (2 * weight.shape[2] * weight.shape[3])
    if mask is None:
        mask = offset.new_ones(offset.shape[0], offset.shape[1] // 2, *offset.shape[2:])
    with torch.autocast(x.device.type, enabled=False):
        data, offset_, mask_, weight_, bias_ = _in_float32(x, offset, mask, weight, bias)
        return modulated_deform_conv2d(
            cast(Tensor, data).contiguous(), offset_, mask_, weight_, bias_, *geometry, 1, groups
        ).to(x.dtype)

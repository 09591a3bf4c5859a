"""What a loss compares an output with, made of a sample's GT; of its LQ where the name begins with 'lq'."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from votes.archs.contract import luma_of


def _resized(frames: Tensor, factor: float, mode: str, antialias: bool = False) -> Tensor:
    flat = frames.flatten(0, -4)
    corners = None if mode == 'area' else False
    small = F.interpolate(flat, scale_factor=factor, mode=mode, align_corners=corners, antialias=antialias)
    return small.unflatten(0, frames.shape[:-3])


def gt(frames: Tensor, scale: int) -> Tensor:
    """GT itself, (..., 3, H, W)."""
    return frames


def gt_small(frames: Tensor, scale: int) -> Tensor:
    """GT at LQ size, antialiased bicubic (a = -0.5, MATLAB's kernel), clamped to [0, 1]: (..., 3, H/S, W/S)."""
    return _resized(frames, 1 / scale, 'bicubic', antialias=True).clamp(0, 1)


def gt_small_area(frames: Tensor, scale: int) -> Tensor:
    """GT at LQ size, means of S x S pixels."""
    return _resized(frames, 1 / scale, 'area')


def gt_structure(frames: Tensor, scale: int) -> Tensor:
    """GT halved and doubled bilinearly: its structure in RSDN (Isobe et al., ECCV 2020)."""
    return _resized(_resized(frames, 0.5, 'bilinear'), 2, 'bilinear')


def gt_detail(frames: Tensor, scale: int) -> Tensor:
    """GT less its structure."""
    return frames - gt_structure(frames, scale)


def gt_luma(frames: Tensor, scale: int) -> Tensor:
    """Y of GT, (..., 1, H, W), for networks of one channel."""
    return luma_of(frames)


def lq(frames: Tensor, scale: int) -> Tensor:
    """The compressed frames themselves, (..., 3, h, w): what neighbours that are aligned or warped should look like."""
    return frames


def lq_luma(frames: Tensor, scale: int) -> Tensor:
    """Their Y, (..., 1, h, w), for networks of one channel."""
    return luma_of(frames)

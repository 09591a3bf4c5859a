"""What a loss compares an output with, made of a sample's GT; of its LQ where the name begins with 'lq'."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from votes.archs.contract import luma_of
from votes.ops.blur import gaussian_blur

SHARP_SIGMA = 0.3 * ((51 - 1) * 0.5 - 1) + 0.8  # the width that OpenCV gives to a kernel of 51 taps


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


def gt_sharp(frames: Tensor, scale: int) -> Tensor:
    """GT with unsharp masking, as Real-ESRGAN and RealBasicVSR have it: half of what a Gaussian of 51 x 51 takes away
    is added where that is more than 10 steps of 8 bits, with soft borders.
    """
    flat = frames.flatten(0, -4)
    detail = flat - gaussian_blur(flat, 51, SHARP_SIGMA)
    where = gaussian_blur((detail.abs() * 255 > 10).to(flat.dtype), 51, SHARP_SIGMA)
    return (flat + where * ((flat + 0.5 * detail).clamp(0, 1) - flat)).unflatten(0, frames.shape[:-3])


def gt_sharp_small_area(frames: Tensor, scale: int) -> Tensor:
    """`gt_sharp` at LQ size, means of S x S pixels."""
    return gt_small_area(gt_sharp(frames, scale), scale)


def gt_structure(frames: Tensor, scale: int) -> Tensor:
    """GT halved and doubled bilinearly: its structure in RSDN (Isobe et al., ECCV 2020)."""
    return _resized(_resized(frames, 0.5, 'bilinear'), 2, 'bilinear')


def gt_detail(frames: Tensor, scale: int) -> Tensor:
    """GT less its structure."""
    return frames - gt_structure(frames, scale)


def gt_half(frames: Tensor, scale: int) -> Tensor:
    """GT at half its size, means of 2 x 2 pixels: for networks that give pictures of several sizes."""
    return _resized(frames, 1 / 2, 'area')


def gt_quarter(frames: Tensor, scale: int) -> Tensor:
    """GT at a quarter of its size."""
    return _resized(frames, 1 / 4, 'area')


def gt_eighth(frames: Tensor, scale: int) -> Tensor:
    """GT at an eighth of its size."""
    return _resized(frames, 1 / 8, 'area')


def gt_sixteenth(frames: Tensor, scale: int) -> Tensor:
    """GT at a sixteenth of its size."""
    return _resized(frames, 1 / 16, 'area')


def gt_luma(frames: Tensor, scale: int) -> Tensor:
    """Y of GT, (..., 1, H, W), for networks of one channel."""
    return luma_of(frames)


def once(frames: Tensor, scale: int) -> Tensor:
    """Frames after the first of two encodes, (..., 3, h, w)."""
    return frames


def once_luma(frames: Tensor, scale: int) -> Tensor:
    """Their Y, (..., 1, h, w), for networks of one channel."""
    return luma_of(frames)


def lq(frames: Tensor, scale: int) -> Tensor:
    """The compressed frames themselves, (..., 3, h, w): what neighbours that are aligned or warped should look like."""
    return frames


def lq_luma(frames: Tensor, scale: int) -> Tensor:
    """Their Y, (..., 1, h, w), for networks of one channel."""
    return luma_of(frames)

"""Degradation feature map: where the platform did the damage (paper, equation 5)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

MapNorm = Literal['sample', 'batch', 'fixed']
LARGEST_QP = 51  # of H.264 and H.265


def luma(x: Tensor) -> Tensor:
    """(B, 3, H, W) RGB in [0, 1] -> (B, 1, H, W), 0.299 R + 0.587 G + 0.114 B on the 8-bit grid, 0 to 255."""
    red, green, blue = x.float().unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue).mul(255).round().unsqueeze(1)


@torch.no_grad()
def luma_difference(estimate: Tensor, frame: Tensor) -> Tensor:
    """``|z - x|`` of the luma of the DSM's estimate z and the compressed frame x: (B, 1, H, W), whole numbers 0 to 255.

    Args:
        estimate, frame: (B, 3, H, W) RGB; the estimate is clamped to [0, 1] here.
    """
    return (luma(frame) - luma(estimate.float().clamp(0, 1))).abs_()


@torch.no_grad()
def neighbour_difference(previous: Tensor, frame: Tensor, following: Tensor) -> Tensor:
    """How far the luma of a frame is from that of its two neighbours: (B, 1, H, W), the mean, whole numbers 0 to 255.

    Args:
        previous, frame, following: (B, 3, H, W) RGB in [0, 1].
    """
    here = luma(frame)
    return ((luma(previous) - here).abs_() + (luma(following) - here).abs_()).div_(2).floor_()


@torch.no_grad()
def map_of_quantiser(qp: Tensor) -> Tensor:
    """A quantiser for each pixel (B, 1, H, W), -1 where it is not known -> its share of the largest, in [0, 1]."""
    return qp.float().clamp(0, LARGEST_QP) / LARGEST_QP


@torch.no_grad()
def map_of_difference(difference: Tensor, norm: MapNorm = 'sample') -> Tensor:
    """The DFM of a `luma_difference` (B, 1, H, W), in float32; see degradation_feature_map."""
    with torch.autocast(difference.device.type, enabled=False):
        logarithm = difference.float().add(1).log2_()
        if norm == 'fixed':
            largest = logarithm.new_tensor(8.0)  # log2(255 + 1)
        else:
            largest = logarithm.amax((1, 2, 3), keepdim=True) if norm == 'sample' else logarithm.max()
        return (logarithm / largest.clamp_min(1e-12) * 255).round_().div_(255)


@torch.no_grad()
def degradation_feature_map(estimate: Tensor, frame: Tensor, norm: MapNorm = 'sample') -> Tensor:
    """``e = log2(|z - x| + 1) / max`` of the luma of the DSM's estimate z and the compressed frame x, in 8-bit steps.

    The paper divides by the largest value of the frame (equation 5). The release divides by the largest of the whole
    batch, which makes the map depend on batch mates; ``norm='batch'`` reproduces that. Both make the same difference
    brighter in a small crop than in a whole frame, whose largest value is larger; ``norm='fixed'`` divides by the
    largest possible value, so that a map means the same in training and in use. No difference gives a zero map (0 / 0
    in the release). Computed in float32 under autocast.

    Args:
        estimate: (B, 3, H, W), clamped to [0, 1] here.
        frame: (B, 3, H, W) RGB in [0, 1].

    Returns:
        (B, 1, H, W) float32 in [0, 1], without gradient.
    """
    with torch.autocast(frame.device.type, enabled=False):
        return map_of_difference(luma_difference(estimate, frame), norm)

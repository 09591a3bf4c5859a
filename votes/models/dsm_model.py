"""Stage 1: the degradation sensing module learns what the frames looked like before the platform."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from votes.models.restoration_model import RestorationModel


def shrink(frames: Tensor, scale: int) -> Tensor:
    """(..., 3, S*h, S*w) -> (..., 3, h, w), antialiased bicubic (a = -0.5, MATLAB's kernel), clamped to [0, 1]."""
    flat = frames.flatten(0, -4)
    small = F.interpolate(flat, scale_factor=1 / scale, mode='bicubic', align_corners=False, antialias=True)
    return small.clamp(0, 1).unflatten(0, frames.shape[:-3])


class DSMModel(RestorationModel):
    """Sum of the losses of z_{t-1}, z_t and z_{t+1} against the original frames brought to the input's size.

    GT batches hold all frames of the window (``center_gt: false``); validation compares z_t.
    """

    def losses(self, lq: Tensor, gt: Tensor, *difference: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        previous, following, centre = self.run(lq)
        small = shrink(gt, self.opt.scale)
        middle = small.shape[1] // 2
        return {
            'l_previous': self.pixel_loss(previous, small[:, middle - 1]),
            'l_centre': self.pixel_loss(centre, small[:, middle]),
            'l_next': self.pixel_loss(following, small[:, middle + 1]),
        }, centre

    def output_of(self, result: Any) -> Tensor:
        return result[2]

    def target(self, gt: Tensor) -> Tensor:
        return shrink(gt[:, gt.shape[1] // 2] if gt.dim() == 5 else gt, self.opt.scale)

    def baselines(self, lq: Tensor) -> dict[str, Tensor]:
        return {'LQ': lq}

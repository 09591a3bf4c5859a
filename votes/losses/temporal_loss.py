"""A loss that looks at how a restored video changes from frame to frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from votes.errors import UserError
from votes.ops.dis_flow import dis_flow
from votes.ops.warp import flow_warp


class WarpingLoss(nn.Module):
    """Mean ``(out_t - W(out_{t-1}))^2`` over pixels that are seen in both frames, W along the target's motion: the
    warping error of metrics.temporal (Lai et al., ECCV 2018), with ops.dis_flow.

    Frames that are less sharp than the target have a smaller one, so that it goes beside a loss that compares pixels.

    Args:
        loss_weight: factor.
    """

    of_clips = True

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """(B, T, 3, H, W) of one shape, RGB in [0, 1], T above 1 -> a number."""
        if pred.shape[1] < 2:
            raise UserError('WarpingLoss compares frames with those before, and one comes out', fix='a causal network')
        with torch.autocast(pred.device.type, enabled=False):
            frames, guide = pred.float(), target.float()
            now, before = guide[:, 1:].flatten(0, 1), guide[:, :-1].flatten(0, 1)
            motion, back = dis_flow(torch.cat((now, before)), torch.cat((before, now))).chunk(2)
            moved = flow_warp(frames[:, :-1].flatten(0, 1), motion)
            seen = visible(motion, back)
            apart = (frames[:, 1:].flatten(0, 1) - moved).square() * seen
            return self.loss_weight * apart.sum() / (pred.shape[2] * seen.sum()).clamp(min=1)


def visible(motion: Tensor, back: Tensor) -> Tensor:
    """Where pixels are seen in both frames, (B, 1, H, W) of 0 and 1, from motions (B, 2, H, W) there and back: as
    metrics.temporal.visible has it, ``|f + b|^2 < 0.01 (|f|^2 + |b|^2) + 0.5``, and nothing from outside.
    """
    inside = flow_warp(torch.ones_like(motion[:, :1]), motion) > 0.999
    returned = flow_warp(back, motion)
    apart = (motion + returned).square().sum(1, keepdim=True)
    limit = 0.01 * (motion.square() + returned.square()).sum(1, keepdim=True) + 0.5
    return (inside & (apart < limit)).to(motion.dtype)

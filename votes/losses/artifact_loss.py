"""LDL: details or artefacts, a locally discriminative learning approach (Liang, Zeng and Zhang, CVPR 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LDLLoss(nn.Module):
    """``loss_weight * mean |M * pred - M * target|`` with LDL's map M of artefacts, see get_refined_artifact_map.

    What the moving average of the weights makes of the same sample is compared with as well: train.ema_decay.

    Args:
        loss_weight: factor.
        ksize: side of the windows, odd.
    """

    compares_average = True

    def __init__(self, loss_weight: float = 1.0, ksize: int = 7):
        super().__init__()
        if ksize < 3 or ksize % 2 == 0:
            raise ValueError(f'ksize is odd, 3 or more, not {ksize}')
        self.loss_weight, self.ksize = loss_weight, ksize

    def forward(self, pred: Tensor, target: Tensor, averaged: Tensor) -> Tensor:
        """Pictures (B, C, H, W), the third of the averaged weights -> a number. The map takes part in the gradient, as
        in BasicSR.
        """
        with torch.autocast(pred.device.type, enabled=False):
            pred, target = pred.float(), target.float()
            weight = get_refined_artifact_map(target, pred, averaged.float(), self.ksize)
            return self.loss_weight * (weight * (pred - target)).abs().mean()


def get_refined_artifact_map(img_gt: Tensor, img_output: Tensor, img_ema: Tensor, ksize: int) -> Tensor:
    """LDL's map of artefacts, by BasicSR's name: the variance of the residual over the picture to the power 1/5, times
    its variance in windows; 0 where the residual of the averaged weights is larger.

    Args:
        img_gt, img_output, img_ema: (B, C, H, W).
        ksize: side of the windows, odd.

    Returns:
        (B, 1, H, W).
    """
    ours = (img_gt - img_output).abs().sum(1, keepdim=True)
    averaged = (img_gt - img_ema).abs().sum(1, keepdim=True)
    whole = ours.var(dim=(-1, -2, -3), keepdim=True) ** (1 / 5)
    half = ksize // 2
    windows = F.pad(ours, (half, half, half, half), mode='reflect').unfold(2, ksize, 1).unfold(3, ksize, 1)
    return torch.where(ours < averaged, torch.zeros_like(ours), whole * windows.var(dim=(-1, -2)))

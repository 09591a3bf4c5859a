"""A loss that compares what a network says of two frames of a sample, and no frame with a target."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class RankingLoss(nn.Module):
    """``loss_weight * mean(max(0, better - worse + margin))`` over pairs of scores, of which the larger is the worse
    (margin ranking, CAVSR, CVPR 2023).

    Args:
        margin: by how much the worse one must exceed; the paper does not say it.
    """

    def __init__(self, margin: float = 0.5, loss_weight: float = 1.0):
        super().__init__()
        self.margin, self.loss_weight = margin, loss_weight

    def forward(self, scores: Tensor, target: Tensor | None = None) -> Tensor:
        """
        Args:
            scores: (2*B, ...), the two frames of a sample next to each other, the better one first.
            target: is not looked at.
        """
        better, worse = scores.float().unflatten(0, (-1, 2)).unbind(1)
        return self.loss_weight * F.relu(better - worse + self.margin).mean()

"""Losses that compare pixels. Always worked out in float32, also under autocast."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

Reduction = Literal['none', 'mean', 'sum']


class PixelLoss(nn.Module, ABC):
    """``loss_weight * reduce(term(pred - target))``; subclasses give the term.

    Args:
        loss_weight: factor.
        reduction: 'mean', 'sum' (over everything, as the release does) or 'none'.
    """

    def __init__(self, loss_weight: float = 1.0, reduction: Reduction = 'mean'):
        super().__init__()
        if reduction not in ('none', 'mean', 'sum'):
            raise ValueError(f"reduction is 'none', 'mean' or 'sum', not {reduction!r}")
        self.loss_weight, self.reduction = loss_weight, reduction

    @abstractmethod
    def term(self, difference: Tensor) -> Tensor:
        """The loss of each value, of any shape."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Tensors of one shape -> a number, or with 'none' a tensor of that shape."""
        with torch.autocast(pred.device.type, enabled=False):
            loss = self.term(pred.float() - target.float())
            if self.reduction != 'none':
                loss = loss.mean() if self.reduction == 'mean' else loss.sum()
            return self.loss_weight * loss


class L1Loss(PixelLoss):
    """``|pred - target|``."""

    def term(self, difference: Tensor) -> Tensor:
        return difference.abs()


class MSELoss(PixelLoss):
    """``(pred - target)^2``."""

    def term(self, difference: Tensor) -> Tensor:
        return difference.square()


class CharbonnierLoss(PixelLoss):
    """``sqrt((pred - target)^2 + eps)``, or with `epsilon` ``sqrt((pred - target)^2 + epsilon^2)``.

    Args:
        eps: what is added to the square; BasicSR's and the release's meaning, their default 1e-12.
        epsilon: the paper's epsilon, which is squared first (1e-3 there). Give one of the two.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        reduction: Reduction = 'mean',
        eps: float | None = None,
        epsilon: float | None = None,
    ):
        super().__init__(loss_weight, reduction)
        if eps is not None and epsilon is not None:
            raise ValueError(f'eps (added to the square) and epsilon (squared first) are both given: {eps}, {epsilon}')
        self.offset = epsilon**2 if epsilon is not None else 1e-12 if eps is None else eps

    def term(self, difference: Tensor) -> Tensor:
        return (difference.square() + self.offset).sqrt()

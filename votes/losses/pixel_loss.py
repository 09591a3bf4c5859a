"""Losses that compare pixels. Always worked out in float32, also under autocast."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import luma_of

Reduction = Literal['none', 'mean', 'sum']


class PixelLoss(nn.Module, ABC):
    """``loss_weight * reduce(weight * term(pred - target))``; subclasses give the term.

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

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Tensors (B, C, H, W) of one shape -> a number, or with 'none' a tensor of that shape.

        Args:
            weight: of each value, (B, C, H, W) or (B, 1, H, W); a mean is then one by weights.
        """
        with torch.autocast(pred.device.type, enabled=False):
            loss = self.term(pred.float() - target.float())
            return self.loss_weight * reduced(loss, weight, self.reduction)


def reduced(loss: Tensor, weight: Tensor | None, reduction: Reduction) -> Tensor:
    """Mean or sum of a loss (B, C, H, W), weighted by (B, C, H, W) or (B, 1, H, W)."""
    if weight is None:
        return loss if reduction == 'none' else loss.mean() if reduction == 'mean' else loss.sum()
    weight = weight.float().expand_as(loss)
    loss = loss * weight
    if reduction == 'none':
        return loss
    return loss.sum() / weight.sum() if reduction == 'mean' else loss.sum()


class L1Loss(PixelLoss):
    """``|pred - target|``."""

    def term(self, difference: Tensor) -> Tensor:
        return difference.abs()


class MSELoss(PixelLoss):
    """``(pred - target)^2``."""

    def term(self, difference: Tensor) -> Tensor:
        return difference.square()


class HuberLoss(PixelLoss):
    """``d^2 / 2`` where ``|d| = |pred - target|`` is at most delta, ``delta (|d| - delta / 2)`` beyond.

    Args:
        delta: where the parabola becomes a line; DUF has 0.01.
    """

    def __init__(self, loss_weight: float = 1.0, reduction: Reduction = 'mean', delta: float = 0.01):
        super().__init__(loss_weight, reduction)
        if delta <= 0:
            raise ValueError(f'delta must be above 0, not {delta}')
        self.delta = delta

    def term(self, difference: Tensor) -> Tensor:
        return F.huber_loss(difference, torch.zeros_like(difference), reduction='none', delta=self.delta)


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


class PSNRLoss(nn.Module):
    """``-PSNR`` in dB of each picture, ``10 log10(MSE + 1e-8)``, the mean over pictures: as NAFNet has it (Chen et al.,
    ECCV 2022). A picture that is hardly compressed counts as much as one that is compressed strongly.

    Args:
        loss_weight: factor.
        luma: of Y (BT.601, 16/255 to 235/255) alone, as results are reported; what the colours do, another term says.
    """

    def __init__(self, loss_weight: float = 1.0, luma: bool = False):
        super().__init__()
        self.loss_weight, self.luma = loss_weight, luma

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """(B, C, H, W) of one shape, in [0, 1] -> a number."""
        with torch.autocast(pred.device.type, enabled=False):
            pictures = [luma_of(x.float()) if self.luma else x.float() for x in (pred, target)]
            error = (pictures[0] - pictures[1]).square().mean((-3, -2, -1))
            return self.loss_weight * 10 * (error + 1e-8).log10().mean()


class WeightedTVLoss(nn.Module):
    """Total variation: ``|x - next row|`` plus ``|x - next column|`` of the output alone, each reduced by itself.

    Args:
        loss_weight: factor.
        reduction: 'mean' or 'sum'.
    """

    def __init__(self, loss_weight: float = 1.0, reduction: Literal['mean', 'sum'] = 'mean'):
        super().__init__()
        if reduction not in ('mean', 'sum'):
            raise ValueError(f"reduction is 'mean' or 'sum', not {reduction!r}")
        self.loss_weight, self.reduction = loss_weight, reduction

    def forward(self, pred: Tensor, target: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> a number; `weight` as of PixelLoss, without its last row or column; `target` is not used."""
        with torch.autocast(pred.device.type, enabled=False):
            x, total = pred.float(), pred.new_zeros((), dtype=torch.float32)
            for axis in (-2, -1):
                count = x.shape[axis] - 1
                near, far = x.narrow(axis, 0, count), x.narrow(axis, 1, count)
                share = None if weight is None else weight.narrow(axis, 0, count)
                total = total + reduced((near - far).abs(), share, self.reduction)
            return self.loss_weight * total

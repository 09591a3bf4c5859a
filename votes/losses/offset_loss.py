"""What keeps the offsets of deformable convolutions in order (MT.MaxClear in the NTIRE 2021 challenge, upon EDVR)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class OffsetLoss(nn.Module, ABC):
    """The mean over all deformable convolutions that ran, as far as their offsets take a gradient; subclasses say of
    what.

    Args:
        loss_weight: factor. The report names neither it nor how it decays; `until_iter` of a loss takes it to 0.
    """

    of_offsets = True

    def __init__(self, loss_weight: float = 1e-3):
        super().__init__()
        self.loss_weight = loss_weight

    @abstractmethod
    def term(self, offsets: Tensor) -> Tensor:
        """(B, n, 2, H, W), dy and dx in pixels of n taps of all groups -> a number."""

    def forward(self, offsets: Sequence[Tensor]) -> Tensor:
        """Offsets (B, 2*G*K, H, W) of each convolution, see ops.deform_conv2d -> a number."""
        with torch.autocast(offsets[0].device.type, enabled=False):
            terms = [self.term(each.float().unflatten(1, (-1, 2))) for each in offsets if each.requires_grad]
            return self.loss_weight * (torch.stack(terms).mean() if terms else offsets[0].new_zeros(()))


class OffsetTVLoss(OffsetLoss):
    """Total variation: mean ``|o - next row|`` plus mean ``|o - next column|``."""

    def term(self, offsets: Tensor) -> Tensor:
        return offsets.diff(dim=-2).abs().mean() + offsets.diff(dim=-1).abs().mean()


class OffsetDeviationLoss(OffsetLoss):
    """Mean ``|o - m|``, m the mean over all taps of a place: taps stay together."""

    def term(self, offsets: Tensor) -> Tensor:
        return (offsets - offsets.mean(1, keepdim=True)).abs().mean()

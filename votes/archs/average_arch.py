"""Average: the mean of several networks' results, as challenge systems are tested (VUE, MT.MaxClear and others in the
NTIRE 2021 challenge).
"""

from __future__ import annotations

import torch
from torch import Tensor

from votes.archs.parts.several import Combined


class Average(Combined):
    """The mean over networks, see Combined.

    The report of the challenge specifies two BasicVSR networks of different sizes for track 1 and four for track 3
    (VUE), without their sizes, which are chosen.
    """

    small = {'networks': [{'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1, 'scale': 1}] * 2}

    def combine(self, found: list[Tensor], frames: Tensor) -> Tensor:
        """(B, T, 3, H, W) of each -> (B, T, 3, H, W)."""
        return torch.stack(found).mean(0)

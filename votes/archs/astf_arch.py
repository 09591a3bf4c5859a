"""ASTF: adaptive spatial-temporal fusion of what two networks make of a clip (VUE in track 2 of the NTIRE 2021
challenge).
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from votes.archs.contract import Clip
from votes.archs.parts.several import Combined

SIDE = 11  # pixels of the windows in which variance is taken


def texture_mask(frames: Tensor) -> Tensor:
    """Where frames have texture: (B, T, 3, H, W) -> (B, T, 1, H, W) in [0, 1].

    The variance of the mean of RGB in windows of 11x11 pixels, brought to [0, 1] by its largest and smallest value in a
    frame and the two next to it. Windows over the edge see it mirrored, which the report does not say.
    """
    gray = frames.mean(2).flatten(0, 1).unsqueeze(1)
    half = SIDE // 2
    mode = 'reflect' if min(gray.shape[-2:]) > half else 'replicate'
    grown = F.pad(gray, (half, half, half, half), mode=mode)
    mean = F.avg_pool2d(grown, SIDE, 1)
    variance = (F.avg_pool2d(grown.square(), SIDE, 1) - mean.square()).clamp(min=0).unflatten(0, frames.shape[:2])
    ends = variance.flatten(2)
    largest, smallest = ends.amax(2).unsqueeze(1), ends.amin(2).unsqueeze(1)  # (B, 1, T)
    high = F.max_pool1d(largest, 3, 1, 1).transpose(1, 2)[..., None, None]
    low = -F.max_pool1d(-smallest, 3, 1, 1).transpose(1, 2)[..., None, None]
    return (variance - low) / (high - low).clamp(min=1e-8)


class ASTF(Combined):
    """``M * first + (1 - M) * second`` where M is the texture of the second network's frames: the first (EN1, trained
    by LPIPS alone) gives textured areas, the second (EN2) smooth ones. See Combined; networks see clips.

    The report of the challenge specifies the mask; its text and its formula have the two networks the other way round,
    of which the text is taken. Chosen is what windows see beyond the edge.

    Args:
        networks: options of EN1 and EN2.
        swap: as the formula has it: EN2 where there is texture.
    """

    small = {'networks': [{'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1, 'scale': 1}] * 2}

    def __init__(self, networks: list[dict[str, Any]], swap: bool = False):
        super().__init__(networks)
        if len(networks) != 2 or not isinstance(self.sees, Clip):
            raise ValueError(f'two networks that see clips are fused, not {len(networks)} that see {self.sees}')
        self.swap = swap

    def combine(self, found: list[Tensor], frames: Tensor) -> Tensor:
        """(B, T, 3, H, W) of each -> (B, T, 3, H, W)."""
        first, second = found
        mask = texture_mask(second)
        mask = 1 - mask if self.swap else mask
        return mask * first + (1 - mask) * second

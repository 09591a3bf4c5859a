"""DCAD: a deep convolutional network for the decoder's side of HEVC (Wang, Chen and Chao, DCC 2017)."""

from __future__ import annotations

from typing import Any

from votes.archs.dncnn_arch import DnCNN
from votes.archs.parts.published import Weights


class DCAD(DnCNN):
    """(B, C, h, w) in [0, 1], any size -> the same size: the layers of a DnCNN without batch normalisation, ten of them
    altogether. Keys as in PowerQE.

    Args:
        in_channels, out_channels: 3 for RGB, 1 for Y.
        mid_channels: channels of the features.
        num_blocks: layers between the first and the last.
    """

    small = {'mid_channels': 8}

    def __init__(self, in_channels: int = 3, out_channels: int = 3, mid_channels: int = 64, num_blocks: int = 8):
        super().__init__(in_channels, out_channels, mid_channels, num_blocks)

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of eight layers between the first and the last: what is deeper or
        shallower, or has batch normalisation, with the same keys, is a DnCNN.
        """
        if any(key.endswith('running_mean') for key in weights):
            return None
        told = super().from_weights(weights)
        return told if told and told['num_blocks'] == 8 else None

"""Gated: two networks and a gate that decides between them everywhere (pSMGF, BILIBILI AI and FDU in track 2 of the
NTIRE 2021 challenge).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from votes.archs.parts.gated_fusion import between, gate_of
from votes.archs.parts.published import Weights, size_of
from votes.archs.parts.several import Combined


class Gated(Combined):
    """``M * first + (1 - M) * second``, M found from both and the frame, see Combined.

    The report of the challenge specifies for track 2 two copies of ESRGAN's RRDBNet without upsampling after a frozen
    SMGF, and gated fusion again; chosen are the three convolutions of the gate.

    Args:
        networks: options of the two.
        num_feat: channels of the gate.
    """

    small = {
        'networks': [
            {'type': 'RRDBNet', 'scale': 1, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4, 'upsampling': False}
        ]
        * 2,
        'num_feat': 4,
    }

    def __init__(self, networks: list[dict[str, Any]], num_feat: int = 64):
        super().__init__(networks)
        if len(networks) != 2:
            raise ValueError(f'a gate is between two networks, not {len(networks)}')
        self.gate = gate_of(num_feat)
        self.parts = {**self.parts, 'gate': ('gate.',)}

    def combine(self, found: list[Tensor], frames: Tensor) -> Tensor:
        """(B, T, 3, H, W) of each, and the frames -> (B, T, 3, H, W)."""
        first, second = found
        flat = between(self.gate, first.flatten(0, 1), second.flatten(0, 1), frames.flatten(0, 1))
        return flat.unflatten(0, first.shape[:2])

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class."""
        if 'gate.0.weight' not in weights or not all(key.startswith(('networks.', 'gate.')) for key in weights):
            return None
        found = cls.inside(weights)
        return {'networks': found, 'num_feat': size_of(weights, 'gate.0.weight')} if found else None

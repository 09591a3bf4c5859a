"""ByQuantiser: of networks that were each trained at one quantiser, as MFQE (Yang et al., CVPR 2018) and those after it
are, the one that a frame asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from votes.archs.contract import Window
from votes.archs.parts.published import Weights
from votes.archs.parts.several import Several
from votes.ops.exporting import exported_form


class ByQuantiser(Several):
    """The network whose quantiser is nearest to the mean one of the frame (of a window's centre; of networks of clips
    to that of the clip); the middle one where the codec tells none. See Several. Each tile of a frame chooses.

    In training all networks are asked, and learn from the frames that they are chosen for. Files of networks that were
    trained apart become one by ``votes checkpoint join``.

    Args:
        networks: options of each.
        quantisers: at which each was trained.
    """

    small = {'networks': [{'type': 'ARCNN', 'mid_channels': [8, 6, 4]}] * 2, 'quantisers': [27, 37]}

    def __init__(self, networks: Sequence[dict[str, Any]], quantisers: Sequence[float]):
        super().__init__(networks)
        if len(quantisers) != len(networks) or len(set(quantisers)) != len(quantisers):
            raise ValueError(f'{len(networks)} networks need as many different quantisers, not {list(quantisers)}')
        self.inputs = tuple(dict.fromkeys((*self.inputs, 'qp')))
        self.quantisers: Tensor
        self.register_buffer('quantisers', torch.tensor([float(qp) for qp in quantisers]))

    def chosen(self, qp: Tensor) -> Tensor:
        """Quantisers (B, T, 1, h, w), -1 where unknown -> the number of a network for each, (B,)."""
        if isinstance(self.sees, Window):
            qp = qp[:, self.sees.centre : self.sees.centre + 1]
        each, known = qp.flatten(1).float(), qp.flatten(1) >= 0
        middle = self.quantisers.float().sort().values[len(self.quantisers) // 2]
        mean = (each * known).sum(1) / known.sum(1).clamp_min(1)
        mean = torch.where(known.any(1), mean, middle)
        return (mean[:, None] - self.quantisers.float()).abs().argmin(1)

    def restored(self, x: Tensor, fields: dict[str, Tensor]) -> Tensor:
        """See Several."""
        chosen = self.chosen(fields['qp'])
        if self.training or exported_form():  # a graph has no choice but the last
            found = torch.stack([self.result(number, x, fields) for number in range(len(self.networks))])
            return found[chosen, torch.arange(len(x), device=x.device)]
        numbers = chosen.tolist()
        places = {number: [i for i, other in enumerate(numbers) if other == number] for number in set(numbers)}
        parts = [
            self.result(number, x[rows], {name: value[rows] for name, value in fields.items()})
            for number, rows in places.items()
        ]
        order = [i for rows in places.values() for i in rows]
        return torch.cat(parts)[[order.index(i) for i in range(len(x))]]

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class."""
        if 'quantisers' not in weights or not all(key.startswith(('networks.', 'quantisers')) for key in weights):
            return None
        found = cls.inside(weights)
        return {'networks': found, 'quantisers': weights['quantisers'].tolist()} if found else None

"""A network made of several that see the same frames, and of what is made of their results."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from votes.archs import build_network, infer_options
from votes.archs.contract import Causal, Clip, Frame, Promise, Sees, Window, apply, promise
from votes.archs.parts.blocks import count_of, enlarged
from votes.archs.parts.published import Weights
from votes.errors import UserError


class Several(nn.Module, ABC):
    """Frames as the networks take them -> what `restored` makes of the networks.

    Args:
        networks: options of each, {'type': ..., constructor arguments}: of the same kind and scale.

    The parts `network0`, `network1` ..., and theirs as `network0.flow`, may have weights from files of their own, and
    be frozen.
    """

    def __init__(self, networks: Sequence[dict[str, Any]]):
        super().__init__()
        self.networks = nn.ModuleList([build_network(each) for each in networks])
        self.promises = [promise(net) for net in self.networks]
        scales = {said.scale for said in self.promises}
        if len(self.networks) < 2 or len(scales) != 1:
            raise ValueError(f'two networks or more of one scale are needed, not {len(networks)} of {sorted(scales)}')
        self.scale, self.sees = scales.pop(), _common([said.sees for said in self.promises])
        self.multiple = math.lcm(*(said.multiple for said in self.promises))
        self.smallest = max(said.smallest for said in self.promises)
        self.inputs = tuple(dict.fromkeys(name for said in self.promises for name in said.inputs))
        self.optional = tuple(dict.fromkeys(name for said in self.promises for name in said.optional))
        self.parts = joint_parts({f'network{i}': (f'networks.{i}.', said) for i, said in enumerate(self.promises)})

    @abstractmethod
    def restored(self, x: Tensor, fields: dict[str, Tensor]) -> Tensor:
        """Frames (B, T, 3, h, w) and fields -> (B, T, 3, H, W)."""

    def result(self, number: int, x: Tensor, fields: dict[str, Tensor]) -> Tensor:
        """(B, T, 3, h, w) through one of the networks -> (B, T, 3, H, W)."""
        net, said = self.networks[number], self.promises[number]
        return apply(net, {**fields, 'lq': x}, amp=amp_around(x), said=said)['out']

    def forward(self, x: Tensor, **fields: Tensor) -> Tensor:
        """(B, T, 3, h, w), or (B, 3, h, w) of networks of single frames -> as the networks do."""
        single = isinstance(self.sees, Frame)
        if single:
            x, fields = x.unsqueeze(1), {name: value.unsqueeze(1) for name, value in fields.items()}
        out = self.restored(x, fields)
        return out[:, 0] if single or isinstance(self.sees, Window) else out

    @classmethod
    def inside(cls, weights: Weights) -> list[dict[str, Any]] | None:
        """The options of the networks, where their classes tell."""
        starts = [f'networks.{i}.' for i in range(count_of(weights, 'networks.'))]
        try:
            return [
                infer_options({key.removeprefix(start): x for key, x in weights.items() if key.startswith(start)})
                for start in starts
            ]
        except UserError:
            return None


class Combined(Several):
    """Several networks that are all asked; `combine` makes one of their results."""

    @abstractmethod
    def combine(self, found: list[Tensor], frames: Tensor) -> Tensor:
        """Results (B, T, 3, H, W) of the networks, and the frames that they are of, (B, T, 3, H, W) -> the same."""

    def restored(self, x: Tensor, fields: dict[str, Tensor]) -> Tensor:
        """See Several."""
        found = [self.result(number, x, fields) for number in range(len(self.networks))]
        frames = x[:, self.promises[0].restored(x.shape[1])]
        if self.scale > 1:
            size = found[0].shape[-2], found[0].shape[-1]
            frames = enlarged(frames.flatten(0, 1), size).unflatten(0, frames.shape[:2])
        return self.combine(found, frames)


def joint_parts(members: dict[str, tuple[str, Promise]]) -> dict[str, tuple[str, ...]]:
    """Each network, its own parts as `network0.flow`, and as `flow` those of all.

    Args:
        members: by name, how the keys of its weights begin, and what it promises.
    """
    parts: dict[str, tuple[str, ...]] = {member: (start,) for member, (start, _) in members.items()}
    for member, (start, said) in members.items():
        for name, prefixes in said.parts.items():
            inside = tuple(f'{start}{prefix}' for prefix in prefixes)
            parts[f'{member}.{name}'] = inside
            if name not in members:  # of a member that is itself made of several
                parts[name] = (*parts.get(name, ()), *inside)
    return parts


def amp_around(x: Tensor) -> torch.dtype | None:
    """The precision of the autocast that `x` is computed in; None without one."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def _common(kinds: list[Sees]) -> Sees:
    first = kinds[0]
    if all(isinstance(sees, Clip) for sees in kinds):
        least, context = (max(getattr(sees, name) for sees in kinds) for name in ('least', 'context'))
        return Clip(least, context)
    if isinstance(first, Causal) or any(sees != first for sees in kinds):
        raise ValueError(f'networks that see the same frames are needed, none from frame to frame: {kinds}')
    return first

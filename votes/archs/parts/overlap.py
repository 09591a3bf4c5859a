"""Networks that see patches of a frame: where patches lie, and how what they become is put together."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from votes.archs import build_network, infer_options
from votes.archs.contract import Promise, Window, promise
from votes.archs.parts.published import Weights
from votes.checkpoint import own_names
from votes.errors import UserError
from votes.options.outline import shapes_only


def starts_of(length: int, patch: int, stride: int) -> list[int]:
    """Where patches of a side begin: at every `stride` pixels, the last one at the end of the frame."""
    if patch >= length:
        return [0]
    return [*range(0, length - patch, stride), length - patch]


def triangle(length: int, device: torch.device | None = None) -> Tensor:
    """Weights of a patch's pixels along a side, 1 at its ends, more towards the middle; their mean is 1."""
    places = torch.arange(length, dtype=torch.float32, device=device)
    weights = 1 + torch.minimum(places, length - 1 - places)
    return weights / weights.mean()


class Around(nn.Module, ABC):
    """What shows patches to a network of its own: weights of that alone fit, by its names or published ones."""

    parts = {'network': ('network.',)}
    no_graph = 'its course depends on how many patches a frame has'
    network: nn.Module

    @classmethod
    @abstractmethod
    def told(cls, said: Promise, channels: int) -> dict[str, Any] | None:
        """Constructor arguments that a network inside tells by its promise and its channels of input; None where it is
        not one that this class shows patches to.
        """

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class; patches and strides, none tells.

        Raises:
            UserError: the network inside can stand in several of these classes.
        """
        if not weights or not all(key.startswith('network.') for key in weights):
            return None
        try:
            options = infer_options({key.removeprefix('network.'): x for key, x in weights.items()})
        except UserError:  # of something else whose parts have this name
            return None
        with shapes_only():
            net = build_network(options)
        said = promise(net)
        any_frame = 'center_frame_idx' in inspect.signature(type(net)).parameters
        if isinstance(said.sees, Window) and said.scale == 1 and any_frame:
            raise UserError(
                f'weights of {said.name} in a network of patches do not tell which: PIM, or Block2Rock, whose patches '
                'are not at one place',
                fix='name it: -opt OPTION_FILE',
            )
        told = cls.told(said, options.get('num_in_ch', 3))
        return None if told is None else {'network': options, **told}

    def published_weights(self, weights: Weights) -> Weights:
        if all(key.startswith('network.') for key in weights):
            return weights
        return {f'network.{key}': value for key, value in own_names(self.network, weights).items()}


class Canvas:
    """What patches become, added up by weights.

    Args:
        like: of the device and precision of what is added.
        shape: of the whole; the last dimensions are those of patches.
    """

    def __init__(self, like: Tensor, shape: tuple[int, ...]):
        self.total = like.new_zeros(shape)
        self.count = like.new_zeros(shape)

    def add(self, place: tuple[Any, ...], patch: Tensor, weight: Tensor) -> None:
        """Adds a patch at an index of the whole.

        Args:
            weight: of a shape that spreads over the patch's.
        """
        self.total[place] += patch * weight
        self.count[place] += weight.expand_as(patch)

    def mean(self) -> Tensor:
        return self.total / self.count

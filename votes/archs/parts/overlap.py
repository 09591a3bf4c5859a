"""Networks that see patches of a frame: where patches lie, and how what they become is put together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from votes.archs.parts.published import Weights
from votes.checkpoint import own_names


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


class Around(nn.Module):
    """What shows patches to a network of its own: weights of that alone fit, by its names or published ones."""

    parts = {'network': ('network.',)}
    network: nn.Module

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

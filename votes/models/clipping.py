"""Adaptive gradient clipping (Brock et al., ICML 2021)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

LEAST = 1e-3  # weights that are zero at first would never move


def _norms(x: Tensor) -> Tensor:
    """Of each output of a layer, (C, 1, ...); of what has one dimension as a whole, as in the authors' code."""
    if x.dim() < 2:
        return torch.linalg.vector_norm(x)
    return torch.linalg.vector_norm(x, dim=tuple(range(1, x.dim())), keepdim=True)


@torch.no_grad()
def clip_adaptively(parameters: Iterable[Tensor], factor: float) -> None:
    """Gradients G whose norm is above `factor` times that of their weights W are made as long as that, each output of a
    layer for itself: ``G <- G * factor * max(|W|, 1e-3) / |G|``.
    """
    for parameter in parameters:
        if parameter.grad is not None:
            largest = factor * _norms(parameter).clamp(min=LEAST)
            parameter.grad.mul_((largest / _norms(parameter.grad).clamp(min=1e-6)).clamp(max=1))

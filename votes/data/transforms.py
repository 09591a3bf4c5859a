"""Crops, flips and rotations, alike for everything in a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from votes.data.sources import Crop, Frame

MAPS = ('lq', 'gt', 'difference', 'qp', 'past_valid', 'future_valid')
VECTORS = ('mv_past', 'mv_future')  # x and y of a motion: a mirrored picture moves the other way


def random_crop(rng: np.random.Generator, size: tuple[int, int], crop: int) -> Crop:
    """A square crop of an (H, W) frame, every place equally likely."""
    return int(rng.integers(size[0] - crop + 1)), int(rng.integers(size[1] - crop + 1)), crop, crop


def random_turn(rng: np.random.Generator, use_flip: bool, use_rot: bool) -> Tensor:
    """One of the eight orientations of a square: bool (3,), mirrored left to right, top to bottom, then transposed.

    Together they make every rotation by 90 degrees. `use_flip` allows the first two, `use_rot` the third.
    """
    draws = rng.random(3) < 0.5
    return torch.from_numpy(draws & np.array([use_flip, use_flip, use_rot]))


def orient(sample: dict[str, Any], turn: Tensor) -> dict[str, Any]:
    """A sample with `turn` (3,), or a batch with a turn (B, 3) for each of its samples, in that orientation.

    Turns the square pictures (..., C, n, n) of a sample and the vectors in them. The device is that of the tensors.
    """
    return {name: _oriented(name, value, turn) if name in MAPS + VECTORS else value for name, value in sample.items()}


def _oriented(name: str, x: Tensor, turn: Tensor) -> Tensor:
    for flag, axis in zip(turn.unbind(-1), (-1, -2, None), strict=True):
        if turn.ndim == 1 and not flag:
            continue
        changed = x.flip(axis) if axis else x.transpose(-1, -2)
        if name in VECTORS and axis:
            part = torch.tensor([-1, 1] if axis == -1 else [1, -1], dtype=x.dtype, device=x.device)
            changed = changed * part.view(2, 1, 1)
        elif name in VECTORS:
            changed = changed.flip(-3)  # x becomes y
        x = changed if turn.ndim == 1 else torch.where(flag.view(-1, *[1] * (x.ndim - 1)), changed, x)
    return x.contiguous()


def to_tensor(frames: Sequence[Frame]) -> Tensor:
    """T frames (H, W, 3) -> uint8 (T, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(frames).transpose(0, 3, 1, 2)))

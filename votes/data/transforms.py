"""Crops, flips and rotations, alike for everything in a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from votes.archs.fields import turned
from votes.data.sources import Crop, Frame


def random_crop(rng: np.random.Generator, size: tuple[int, int], crop: int) -> Crop:
    """A square crop of an (H, W) frame, every place equally likely."""
    return int(rng.integers(size[0] - crop + 1)), int(rng.integers(size[1] - crop + 1)), crop, crop


def random_walk(rng: np.random.Generator, size: tuple[int, int], crop: Crop, count: int) -> list[Crop]:
    """`count` crops of an (H, W) frame, the first one `crop`, each at most a pixel further in either direction."""
    top, left, height, width = crop
    found = [crop]
    for down, right in rng.integers(-1, 2, (count - 1, 2)):
        top = int(np.clip(top + down, 0, size[0] - height))
        left = int(np.clip(left + right, 0, size[1] - width))
        found.append((top, left, height, width))
    return found


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
    return {name: turned(name, value, turn) for name, value in sample.items()}


def to_tensor(frames: Sequence[Frame]) -> Tensor:
    """T frames (H, W, 3) -> uint8 (T, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(frames).transpose(0, 3, 1, 2)))

"""Crops, flips and rotations, alike for all frames of a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from votes.data.sources import Crop, Frame


def random_crop(rng: np.random.Generator, size: tuple[int, int], crop: int) -> Crop:
    """A square crop of an (H, W) frame, every place equally likely."""
    return int(rng.integers(size[0] - crop + 1)), int(rng.integers(size[1] - crop + 1)), crop, crop


class Orientation:
    """One of the eight orientations of a picture: flips with `use_flip`, transposition with `use_rot`.

    Together they make every rotation by 90 degrees.
    """

    def __init__(self, rng: np.random.Generator, use_flip: bool, use_rot: bool):
        draws = rng.random(3) < 0.5
        self.horizontal, self.vertical = (bool(draw) and use_flip for draw in draws[:2])
        self.transpose = bool(draws[2]) and use_rot

    def __call__(self, frame: Frame) -> Frame:
        if self.horizontal:
            frame = frame[:, ::-1]
        if self.vertical:
            frame = frame[::-1]
        return frame.transpose(1, 0, 2) if self.transpose else frame


def to_tensor(frames: Sequence[Frame]) -> Tensor:
    """T frames (H, W, 3) -> uint8 (T, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(frames).transpose(0, 3, 1, 2)))

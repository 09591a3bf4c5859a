"""A clip as it is compared: small pictures of its frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.checkpoint import atomic_write

Picture = NDArray[np.uint8]
GREY, COLOURED = 192, 48  # longest sides of the small pictures
WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)  # of luma; any would do, both clips are given the same


@dataclass(frozen=True)
class Look:
    """Frames of a clip, small.

    Attributes:
        size: height and width of the clip's frames.
        numbers: (T,) frame numbers; all of them, or those that were read.
        times: (T,) seconds; frame numbers where no times are known.
        grey: (T, h, w) uint8 luma, the longest side at most 192.
        coloured: (T, h, w, 3) uint8 RGB, the longest side at most 48.
    """

    size: tuple[int, int]
    numbers: NDArray[np.int64]
    times: NDArray[np.float64]
    grey: Picture
    coloured: Picture

    def __len__(self) -> int:
        return len(self.numbers)

    def save(self, path: Path) -> None:
        with atomic_write(path) as temporary:
            content: dict[str, Any] = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
            np.savez_compressed(temporary, **content)

    @classmethod
    def load(cls, path: Path) -> Look:
        with np.load(path, allow_pickle=False) as stored:
            content: dict[str, Any] = {f.name: stored[f.name] for f in fields(cls)}
        height, width = content.pop('size').tolist()
        return cls((height, width), **content)


def within(size: tuple[int, int], side: int) -> tuple[int, int]:
    """A size of the same shape whose longest side is at most `side`."""
    factor = min(1.0, side / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def shrunk(picture: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """(H, W[, C]) averaged down to (h, w[, C])."""
    if picture.shape[:2] == size:
        return picture
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA))


def luma(rgb: NDArray[Any]) -> NDArray[np.float32]:
    """(..., 3) -> (...)."""
    return np.asarray(rgb.astype(np.float32) @ WEIGHTS, np.float32)


def look(frames: Iterable[tuple[int, float, Picture]]) -> Look:
    """Of (number, seconds, RGB uint8 (H, W, 3)); a frame is forgotten before the next one is asked for.

    Raises:
        ValueError: there is none.
    """
    numbers: list[int] = []
    times, grey, coloured = [], [], []
    size = 0, 0
    for number, seconds, rgb in frames:
        size = rgb.shape[:2] if not numbers else size
        mid = shrunk(rgb, within(size, GREY))
        numbers.append(number)
        times.append(seconds)
        grey.append(np.rint(luma(mid)).astype(np.uint8))
        coloured.append(shrunk(mid, within(size, COLOURED)))
    if not numbers:
        raise ValueError('a clip without frames')
    return Look(size, np.array(numbers), np.array(times, np.float64), np.stack(grey), np.stack(coloured))

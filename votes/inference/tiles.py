"""A frame in overlapping tiles, and how large they may be."""

from __future__ import annotations

import itertools
import re
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SMALLEST = 64  # pixels: a tile that does not fit then is an error
SHARE = 0.8  # of the free memory may be used


@dataclass
class Limits:
    """What fits into memory; shrinks when something did not.

    Attributes:
        tile: side of the tiles in pixels of the input, None for whole frames.
        overlap: pixels of the input that neighbouring tiles share.
        batch: windows at a time.
    """

    tile: int | None = None
    overlap: int = 32
    batch: int = 1


@dataclass(frozen=True)
class Tile:
    """A part of a frame: where it begins, and its size, in pixels of the input."""

    top: int
    left: int
    height: int
    width: int

    def of(self, x: Tensor) -> Tensor:
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]


def tiles(height: int, width: int, side: int, overlap: int, multiple: int) -> list[Tile]:
    """Tiles that cover a frame, all of one size; height and width are multiples of `multiple`."""
    side = max(multiple, side // multiple * multiple)

    def starts(length: int) -> list[int]:
        step = max(multiple, (side - min(overlap, side // 2)) // multiple * multiple)
        return [*range(0, max(1, length - side), step), max(0, length - side)] if length > side else [0]

    places = itertools.product(starts(height), starts(width))
    return [Tile(top, left, min(side, height), min(side, width)) for top, left in places]


def weight(tile: Tile, height: int, width: int, overlap: int, scale: int, device: torch.device) -> Tensor:
    """How much a tile counts at each pixel of its output: 1, falling smoothly towards neighbouring tiles."""

    def side(start: int, size: int, length: int) -> Tensor:
        place = (torch.arange(size * scale, device=device) + 0.5) / scale
        fade = min(overlap, size // 2)
        ramp = torch.ones(size * scale, device=device)
        for distance, at_edge in ((place, start == 0), (size - place, start + size == length)):
            if not at_edge:
                ramp = ramp * torch.sin((distance / fade).clamp(0, 1) * (torch.pi / 2)) ** 2
        return ramp.clamp_min(1e-6)

    return side(tile.top, tile.height, height)[:, None] * side(tile.left, tile.width, width)[None, :]


def in_tiles(
    compute: Callable[[Tile | None], Tensor], height: int, width: int, limits: Limits, multiple: int, scale: int
) -> Tensor:
    """What `compute` gives for a whole frame (None), (B, C, S*height, S*width), or for each of its tiles, blended to
    one picture without seams. Heights and widths of tiles are multiples of `multiple`.
    """
    side, overlap = limits.tile, limits.overlap
    if side is None or side >= max(height, width):
        return compute(None).float()
    parts = tiles(height, width, side, overlap, multiple)
    for tile in parts:
        output = compute(tile).float()
        if tile is parts[0]:
            total = output.new_zeros(*output.shape[:2], height * scale, width * scale)
            share = output.new_zeros(height * scale, width * scale)
        importance = weight(tile, height, width, overlap, scale, output.device)
        enlarged = Tile(*(n * scale for n in (tile.top, tile.left, tile.height, tile.width)))
        enlarged.of(total).add_(output * importance)
        enlarged.of(share).add_(importance)
    return total / share


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, and the most there were.

    Args:
        apart: tensors that are not counted, such as weights and the input.
    """

    def __init__(self, apart: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.most = 0
        self.apart = [x.untyped_storage() for x in apart]  # as long as they are held, no other has their place
        self.seen: set[int] = {storage._cdata for storage in self.apart}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for storage in (leaf.untyped_storage() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)):
            key, size = storage._cdata, storage.nbytes()
            if key not in self.seen:
                self.seen.add(key)
                self.now += size
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._gone, key, size)
        return result

    def _gone(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


def bytes_per_pixel(run: Callable[[int], object]) -> float:
    """Working memory for a pixel of the input, measured with ``run(side)`` on a square of 128."""
    with LiveBytes() as counted:
        run(128)
    return counted.most / 128**2


def free_bytes(device: torch.device) -> int:
    """Memory that can be had on a device."""
    if device.type == 'cuda':
        return int(torch.cuda.mem_get_info(device)[0])
    about = Path('/proc/meminfo')
    there = re.search(r'^MemAvailable: *(\d+) kB', about.read_text(), re.MULTILINE) if about.is_file() else None
    return int(there[1]) * 1024 if there else 8 * 2**30


def fitting_tile(height: int, width: int, needed: float, free: int) -> int | None:
    """The side of tiles of which one fits, None if the whole frame does.

    Args:
        needed: bytes a pixel.
    """
    if height * width * needed <= free * SHARE:
        return None
    side = max(height, width)
    while side > SMALLEST and min(side, height) * min(side, width) * needed > free * SHARE:
        side //= 2
    return max(SMALLEST, side)

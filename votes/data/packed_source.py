"""Frames as they are in memory, so that a crop reads the pixels of that crop and nothing else.

Clips lie one after the other in shards, NumPy files of bytes; packed.json says where: clip -> shard, offset, shape,
SHA-256. ``numpy.load(shard)[offset:offset + T * H * W * 3].reshape(T, H, W, 3)`` is a clip. Of raw frames, tiles and
compressed tiles, raw frames were chosen by measurement (benchmarks/data.py): nothing has to be decoded. Stores of
version 0.1 have a file for each clip, CLIP.npy, and are read as well.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from votes.data.sources import Crop, Frame, KnownClips, check_clip_name, cropped
from votes.errors import UserError, explained

MANIFEST = 'packed.json'


@lru_cache(maxsize=32)  # over all stores of a process: each file that is mapped costs a file descriptor
def _mapped(store: object, path: Path) -> NDArray[np.uint8]:
    return np.load(path, mmap_mode='r').view(np.ndarray)


class PackedSource(KnownClips):
    """``root`` is a folder made by ``votes pack``: shards and packed.json, which is written last.

    Raises:
        UserError: no such folder, one that was not finished, or a shard that is not what packed.json says.
    """

    @staticmethod
    def holds(root: Path) -> bool:
        """Whether such frames lie there."""
        return (root / MANIFEST).is_file()

    def __init__(self, root: str | Path):
        self.root = Path(root)
        kinds = OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError
        where = self.root.absolute() / MANIFEST
        with explained('no packed frames', *kinds, where=where, fix='votes pack FRAMES OUT'):
            self.manifest: dict[str, dict[str, Any]] = json.loads((self.root / MANIFEST).read_text())['clips']
            self.known = {clip: tuple(map(int, about['shape'])) for clip, about in sorted(self.manifest.items())}
            if any(len(shape) != 4 or shape[3] != 3 or min(shape) < 1 for shape in self.known.values()):
                raise ValueError('a shape is not (T, H, W, 3)')
            self._places = {
                clip: (str(about['shard']), int(about['offset'])) if 'shard' in about else None
                for clip, about in self.manifest.items()
            }
            if any(place and ('/' in place[0] or place[1] < 0) for place in self._places.values()):
                raise ValueError('a shard is not a file of this folder')
        for clip in self.manifest:
            check_clip_name(clip, self.root / MANIFEST)
        self._key = object()  # another store that is made at the same place is another one

    def length(self, clip: str) -> int:
        return int(self._of(clip)[0])

    def size(self, clip: str) -> tuple[int, int]:
        _, height, width, _ = self._of(clip)
        return height, width

    def frames(self, clip: str) -> NDArray[np.uint8]:
        """All frames of a clip, uint8 (T, H, W, 3), mapped into memory and not read."""
        shape = self._of(clip)
        place = self._places[clip]
        name, offset = place or (f'{clip}.npy', 0)
        try:
            stored = _mapped(self._key, self.root / name)
        except (OSError, ValueError, SyntaxError, TokenError) as error:  # NumPy parses a header of Python text
            fix = 'allow more open files: ulimit -n' if getattr(error, 'errno', 0) == 24 else 'pack it again'
            raise UserError('packed clip cannot be read', where=self.root / name, value=error, fix=fix) from error
        count = math.prod(shape)
        fits = stored.ndim == 1 and offset + count <= len(stored) if place else stored.shape == shape
        if not fits or stored.dtype != np.uint8:
            raise UserError(
                'packed clip is another one',
                where=self.root / name,
                value=f'{stored.dtype} {stored.shape}',
                fix=f'uint8 {shape} at byte {offset}: pack it again',
            )
        return stored[offset : offset + count].reshape(shape) if place else stored

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        return np.array(cropped(self.frames(clip)[index], crop))

"""Frames as they are in memory, so that a crop reads the pixels of that crop and nothing else.

Clips lie one after the other in shards, NumPy files of bytes; packed.json says where: clip -> shard, offset, shape,
SHA-256. ``numpy.load(shard)[offset:offset + T * H * W * 3].reshape(T, H, W, 3)`` is a clip. Of raw frames, tiles and
compressed tiles, raw frames were chosen by measurement (benchmarks/data.py): nothing has to be decoded. Stores of
version 0.1 have a file for each clip, CLIP.npy, and are read as well.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from votes.checkpoint import read_record
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

    told_by = (MANIFEST,)

    def _find(self) -> dict[str, Any]:
        self._key = object()  # another store that is made at the same place is another one
        kinds = OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError
        where, known = self.root.absolute() / MANIFEST, {}
        with explained('no packed frames', *kinds, where=where, fix='votes pack FRAMES OUT'):
            self.manifest: dict[str, dict[str, Any]] = read_record(where, unsigned=True)['clips']
            for clip, about in sorted(self.manifest.items()):
                check_clip_name(clip, where)
                count, *size, channels = map(int, about['shape'])
                if len(size) != 2 or channels != 3 or min(count, *size) < 1:
                    raise ValueError('a shape is not (T, H, W, 3)')
                place = (str(about['shard']), int(about['offset'])) if 'shard' in about else None
                if place and ('/' in place[0] or place[1] < 0):
                    raise ValueError('a shard is not a file of this folder')
                known[clip] = count, size, place
        return known

    def frames(self, clip: str) -> NDArray[np.uint8]:
        """All frames of a clip, uint8 (T, H, W, 3), mapped into memory and not read."""
        frames, size, place = self._of(clip)
        shape = frames, *size, 3
        name, offset = place or (f'{clip}.npy', 0)
        try:
            stored = _mapped(self._key, self.root / name)
        except (OSError, ValueError, SyntaxError, TokenError) as error:  # NumPy parses a header of Python text
            fix = 'allow more open files: ulimit -n' if getattr(error, 'errno', 0) == 24 else 'pack it again'
            raise UserError('packed clip cannot be read', where=self.root / name, value=error, fix=fix) from error
        count = math.prod(shape)
        fits = stored.ndim == 1 and offset + count <= len(stored) if place else stored.shape == shape
        if not fits or stored.dtype != np.uint8:
            value, fix = f'{stored.dtype} {stored.shape}', f'uint8 {shape} at byte {offset}: pack it again'
            raise UserError('packed clip is another one', where=self.root / name, value=value, fix=fix)
        return stored[offset : offset + count].reshape(shape) if place else stored

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        return np.array(cropped(self.frames(clip)[index], crop))

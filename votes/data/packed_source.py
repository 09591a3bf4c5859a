"""Frames as they are in memory, so that a crop reads the pixels of that crop and nothing else.

A clip is a NumPy file, ``CLIP.npy``, uint8 (T, H, W, 3). Of raw frames, tiles and compressed tiles, raw frames were
chosen by measurement (benchmarks/data.py): nothing has to be decoded, and the file is one that everybody can open.
"""

from __future__ import annotations

import json
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from votes.data.sources import Crop, Frame, cropped
from votes.errors import UserError

MANIFEST = 'packed.json'


class PackedSource:
    """``root`` is a folder made by ``votes pack``: CLIP.npy files and packed.json, which is written last.

    Raises:
        UserError: no such folder, one that was not finished, or a clip whose file is not what packed.json says.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        try:
            self.manifest: dict[str, dict] = json.loads((self.root / MANIFEST).read_text())['clips']
            self._shapes = {clip: [int(n) for n in about['shape']] for clip, about in self.manifest.items()}
            if any(len(shape) != 4 for shape in self._shapes.values()):
                raise ValueError('a shape is not (T, H, W, 3)')
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                'no packed frames', where=self.root.absolute() / MANIFEST, value=error, fix='votes pack FRAMES OUT'
            ) from error
        self._maps: dict[str, NDArray[np.uint8]] = {}

    def clips(self) -> list[str]:
        return sorted(self.manifest)

    def _about(self, clip: str) -> list[int]:
        if clip not in self.manifest:
            raise UserError(f'no clip {clip!r}', where=self.root, value=f'{len(self.manifest)} clips')
        return self._shapes[clip]

    def length(self, clip: str) -> int:
        return self._about(clip)[0]

    def size(self, clip: str) -> tuple[int, int]:
        _, height, width, _ = self._about(clip)
        return height, width

    def frames(self, clip: str) -> NDArray[np.uint8]:
        """All frames of a clip, uint8 (T, H, W, 3), mapped into memory and not read."""
        if clip not in self._maps:
            path, shape = self.root / f'{clip}.npy', tuple(self._about(clip))
            try:
                frames = np.load(path, mmap_mode='r')
            except (OSError, ValueError, SyntaxError, TokenError) as error:  # NumPy parses a header of Python text
                raise UserError('packed clip cannot be read', where=path, value=error, fix='pack it again') from error
            if frames.shape != shape or frames.dtype != np.uint8:
                raise UserError(
                    'packed clip is another one',
                    where=path,
                    value=f'{frames.dtype} {frames.shape}',
                    fix=f'uint8 {shape}',
                )
            self._maps[clip] = frames
        return self._maps[clip]

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        return np.array(cropped(self.frames(clip)[index], crop))

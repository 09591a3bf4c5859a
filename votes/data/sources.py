"""Frame sources: clips, sizes and frames, whole or cropped, no matter how they are stored."""
from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.errors import UserError

Crop = tuple[int, int, int, int]        # top, left, height, width
Frame = NDArray[np.uint8]
SUFFIXES = ('.png', '.jpg', '.jpeg')


class FrameSource(Protocol):
    """Named clips of frames."""

    def clips(self) -> list[str]:
        """Names, sorted."""

    def length(self, clip: str) -> int:
        """Frames of a clip."""

    def size(self, clip: str) -> tuple[int, int]:
        """Height and width of a clip's frames."""

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        """Frame `index` (from 0), or a crop (top, left, height, width) of it: uint8 RGB (H, W, 3)."""


class FolderSource:
    """``root/CLIP/NUMBER.png``: a folder a clip, a PNG or JPEG file a frame, numbered without gaps from any number.

    Hidden files and files that are no pictures are passed over.

    Raises:
        UserError: there is no such folder, no clip in it, a gap in a clip's numbering, or (when read) a damaged picture.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not self.root.is_dir():
            beside = sorted(p.name for p in self.root.parent.iterdir()) if self.root.parent.is_dir() else []
            raise UserError('dataset folder not found', where=self.root.absolute(),
                            fix=f'beside it: {", ".join(beside[:8]) or "nothing"}')
        with os.scandir(self.root) as entries:
            self._clips = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith('.'))
        if not self._clips:
            found = sorted(p.name for p in self.root.iterdir())
            raise UserError('no clips: a folder for each clip is expected', where=self.root.absolute(),
                            value=f'it holds {", ".join(found[:5]) or "nothing"}', fix='ROOT/001/00000000.png')
        self._files: dict[str, list[str]] = {}

    def clips(self) -> list[str]:
        return self._clips

    def files(self, clip: str) -> list[str]:
        """Names of a clip's pictures in the order of frames."""
        if clip not in self._files:
            folder = self.root / clip
            if not folder.is_dir():
                raise UserError(f'no clip {clip!r}', where=self.root, value=f'{len(self._clips)} clips, {self._clips[0]} ...')
            names = [n for n in os.listdir(folder) if n.lower().endswith(SUFFIXES) and not n.startswith('.')]
            self._files[clip] = [name for _, name in sorted(self._numbered(clip, names))]
        return self._files[clip]

    def _numbered(self, clip: str, names: list[str]) -> list[tuple[int, str]]:
        numbers = {}
        for name in names:
            found = re.search(r'(\d+)\D*$', Path(name).stem)
            if not found:
                raise UserError('a frame without a number', where=self.root / clip / name, fix='frames are named like 00000000.png')
            if int(found[1]) in numbers:
                raise UserError('two files for one frame', where=self.root / clip, value=f'{numbers[int(found[1])]}, {name}')
            numbers[int(found[1])] = name
        if not numbers:
            raise UserError('a clip without frames', where=self.root / clip, fix=f'pictures end in {", ".join(SUFFIXES)}')
        missing = set(range(min(numbers), max(numbers))) - numbers.keys()
        if missing:
            raise UserError(f'{len(missing)} frames are missing', where=self.root / clip,
                            value=f'the first is number {min(missing)}', fix='restore or renumber them: a gap is a jump in time')
        return list(numbers.items())

    def length(self, clip: str) -> int:
        return len(self.files(clip))

    def size(self, clip: str) -> tuple[int, int]:
        return picture_size(self.root / clip / self.files(clip)[0])

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        frame = read_picture(self.root / clip / self.files(clip)[index])
        if frame.shape[:2] != self._size_once(clip):
            raise UserError('frames of different sizes in a clip', where=self.root / clip / self.files(clip)[index],
                            value=f'{frame.shape[1]}x{frame.shape[0]}, the first has {self._size_once(clip)[::-1]}')
        if crop is None:
            return frame
        top, left, height, width = crop
        return frame[top:top + height, left:left + width]

    @lru_cache(maxsize=None)    # noqa: B019  one small entry a clip, as long as the source lives
    def _size_once(self, clip: str) -> tuple[int, int]:
        return self.size(clip)


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width from the header of a PNG; other pictures are decoded."""
    try:
        with open(path, 'rb') as file:
            head = file.read(24)
    except OSError as error:
        raise UserError('picture cannot be read', where=path, value=error) from error
    if head[:8] == b'\x89PNG\r\n\x1a\n' and len(head) == 24:
        return int.from_bytes(head[20:24], 'big'), int.from_bytes(head[16:20], 'big')
    height, width = read_picture(path).shape[:2]
    return height, width


def read_picture(path: Path) -> Frame:
    """uint8 RGB (H, W, 3). 16-bit pictures are rounded to 8 bit, grey ones get three equal channels.

    Raises:
        UserError: the file is damaged or has an alpha channel.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError('picture cannot be read', where=path, value=error) from error
    image: NDArray[Any] | None = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    # OpenCV returns what it has of a truncated PNG without a word; a whole one ends in IEND
    cut = data[:8].tobytes() == b'\x89PNG\r\n\x1a\n' and b'IEND' not in data[-64:].tobytes()
    if image is None or cut:
        raise UserError('damaged picture', where=path, value=f'{data.size} bytes', fix='copy or extract this frame again')
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if image.ndim == 2:
        return np.repeat(image[:, :, None], 3, 2)
    if image.shape[2] != 3:
        raise UserError('picture has an alpha channel', where=path, value=f'{image.shape[2]} channels',
                        fix='write frames as RGB')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

"""Pictures of a page: in it while they are few, else in a folder beside it, where a browser takes what it shows."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.errors import UserError

INSIDE = 8_000_000  # bytes of pictures that a page holds itself
QUALITY = 95  # of JPEG, with all of its colour
JPEG = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
KINDS = {'.jpg': 'image/jpeg', '.png': 'image/png'}


class Pictures:
    """Takes pictures one after the other, and gives them numbers.

    Args:
        page: the HTML file; the folder is ``PAGE_files`` beside it.
        lossless: PNG in place of JPEG.

    Attributes:
        bytes: of all of them.
    """

    def __init__(self, page: Path, lossless: bool = False):
        self.folder = page.with_name(f'{page.stem}_files')
        self._new = page.with_name(f'.{page.stem}_files.new')
        self.suffix = '.png' if lossless else '.jpg'
        self.bytes = 0
        self._names: list[str] = []
        self._inside: dict[str, bytes] = {}

    def add(self, image: NDArray[np.uint8]) -> int:
        """A picture, RGB (H, W, 3)."""
        how = JPEG if self.suffix == '.jpg' else []
        done, data = cv2.imencode(self.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), how)
        assert done
        return self._take(data.tobytes(), self.suffix)

    def add_file(self, path: Path) -> int:
        """A PNG as it is."""
        return self._take(path.read_bytes(), '.png')

    def _take(self, data: bytes, suffix: str) -> int:
        number = len(self._names)
        self._names.append(f'{number:06d}{suffix}')
        before, self.bytes = self.bytes, self.bytes + len(data)
        self._inside[self._names[-1]] = data
        if self.bytes > INSIDE:
            if before <= INSIDE:
                shutil.rmtree(self._new, ignore_errors=True)  # of a report that was interrupted
                self._new.mkdir(parents=True)
            for name, content in self._inside.items():
                (self._new / name).write_bytes(content)
            self._inside.clear()
        return number

    @property
    def lossy(self) -> bool:
        """Whether some of them are JPEG."""
        return any(name.endswith('.jpg') for name in self._names)

    def finish(self) -> list[str]:
        """Where each picture is found, by number. The folder of an earlier page is replaced.

        Raises:
            UserError: something else lies in it.
        """
        if self.folder.exists():
            foreign = [p.name for p in self.folder.iterdir() if not (p.stem.isdecimal() and p.suffix in KINDS)]
            if foreign:
                raise UserError(
                    'the folder for the pictures holds something else',
                    where=self.folder,
                    value=', '.join(sorted(foreign)[:3]),
                    fix='another name for the page: -o',
                )
            shutil.rmtree(self.folder)
        if self.bytes > INSIDE:
            self._new.rename(self.folder)
            return [f'{quote(self.folder.name)}/{name}' for name in self._names]
        return [
            f'data:{KINDS[Path(name).suffix]};base64,{base64.b64encode(data).decode()}'
            for name, data in self._inside.items()
        ]

    def drop(self) -> None:
        """Removes what was written where the page does not come about."""
        shutil.rmtree(self._new, ignore_errors=True)

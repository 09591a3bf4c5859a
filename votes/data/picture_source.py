"""A folder of pictures, each of them a clip of one frame, as data sets of single pictures have them."""

from __future__ import annotations

from pathlib import Path

from votes.data.sources import SUFFIXES, Crop, Frame, cropped, picture_size, read_picture
from votes.errors import UserError


class PictureSource:
    """``root/NAME.png``, of any size each; LQ and GT have the same names. Chosen by ``io_backend: {type: pictures}``
    alone: the same folder may be one clip.

    Raises:
        UserError: no such folder, no picture in it, two of one name, or (when read) a damaged one.
    """

    @staticmethod
    def holds(root: Path) -> bool:
        """Never told from what lies there."""
        return False

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not self.root.is_dir():
            raise UserError('dataset folder not found', where=self.root.absolute())
        self._files: dict[str, Path] = {}
        for path in sorted(self.root.iterdir()):
            if path.suffix.lower() not in SUFFIXES or path.name.startswith('.'):
                continue
            if path.stem in self._files:
                raise UserError('two pictures of one name', where=path, value=self._files[path.stem].name)
            self._files[path.stem] = path
        if not self._files:
            raise UserError('no pictures', where=self.root.absolute(), fix=f'they end in {", ".join(SUFFIXES)}')

    def clips(self) -> list[str]:
        return list(self._files)

    def _file(self, clip: str) -> Path:
        if clip not in self._files:
            raise UserError(f'no picture {clip!r}', where=self.root, fix='the same names for LQ and GT')
        return self._files[clip]

    def length(self, clip: str) -> int:
        self._file(clip)
        return 1

    def size(self, clip: str) -> tuple[int, int]:
        return picture_size(self._file(clip))

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        if index:
            raise IndexError(index)
        return cropped(read_picture(self._file(clip)), crop)

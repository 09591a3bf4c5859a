"""A folder of pictures, each of them a clip of one frame, as data sets of single pictures have them."""

from __future__ import annotations

from pathlib import Path

from votes.data.sources import SUFFIXES, Crop, Frame, KnownClips, cropped, picture_size, read_picture


class PictureSource(KnownClips):
    """``root/NAME.png``, of any size each; LQ and GT have the same names. Chosen by ``io_backend: {type: pictures}``
    alone: the same folder may be one clip.

    Raises:
        UserError: no such folder, no picture in it, two of one name, or (when read) a damaged one.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self._list('pictures', SUFFIXES, lambda path: (path.stem, path))

    def length(self, clip: str) -> int:
        self._of(clip)
        return 1

    def size(self, clip: str) -> tuple[int, int]:
        return picture_size(self._of(clip))

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        if index:
            raise IndexError(index)
        return cropped(read_picture(self._of(clip)), crop)

"""A folder of pictures, each of them a clip of one frame, as data sets of single pictures have them."""

from __future__ import annotations

from typing import Any

from votes.data.sources import SUFFIXES, Crop, Frame, KnownClips, cropped, picture_size, read_picture


class PictureSource(KnownClips):
    """``root/NAME.png``, of any size each; LQ and GT have the same names. Chosen by ``io_backend: {type: pictures}``
    alone: the same folder may be one clip.

    Raises:
        UserError: no such folder, no picture in it, two of one name, or (when read) a damaged one.
    """

    def _find(self) -> dict[str, Any]:
        return self._listed('pictures', SUFFIXES, lambda path: (path.stem, (1, path)))

    def size(self, clip: str) -> tuple[int, int]:
        return picture_size(self._of(clip)[1])

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        if index:
            raise IndexError(index)
        return cropped(read_picture(self._of(clip)[1]), crop)
